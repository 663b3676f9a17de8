//! Where the numbers of a scrape come from.

use std::sync::Arc;

use prometheus::Registry;

use super::admin::AdminBlock;
use super::configured::Configured;
use super::listener::ListenerMetrics;
use super::shape::Shape;
use super::worker::WorkerBlocks;

/// See the module.
pub(super) struct Source {
    pub(super) shape: Arc<Shape>,
    pub(super) configured: Arc<Configured>,
    pub(super) workers: Vec<Arc<WorkerBlocks>>,
    pub(super) admin: Arc<AdminBlock>,
    pub(super) process: Registry,
}

impl Source {
    /// A listener in all workers.
    pub(super) fn listener(&self, position: usize) -> impl Iterator<Item = &ListenerMetrics> {
        let workers = self.workers.iter();
        workers.filter_map(move |worker| worker.listeners.get(position))
    }
}
