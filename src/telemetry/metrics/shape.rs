//! What every worker's numbers have in common: the label sets, and the listeners.

use std::sync::Arc;

use super::Labels;
use super::codes::Codes;
use super::configured::ConfiguredListener;

/// See the module.
pub(super) struct Shape {
    pub(super) labels: Labels,
    pub(super) codes: Codes,
    pub(super) upstream_codes: Codes,
    pub(super) listeners: Arc<[ConfiguredListener]>,
}

impl Shape {
    pub(super) fn new(labels: Labels, listeners: Arc<[ConfiguredListener]>) -> Self {
        Self {
            labels,
            codes: Codes::new(labels.codes),
            upstream_codes: Codes::new(labels.upstream_codes),
            listeners,
        }
    }
}
