//! What one worker counts of connections to upstreams.

use std::sync::Arc;
use std::time::Duration;

use super::cell::{CONNECTS, Counter, Gauge, Histogram};

/// The numbers of one upstream in one worker.
#[derive(Default)]
pub(super) struct UpstreamBlock {
    pub(super) active: Gauge,
    pub(super) idle: Gauge,
    pub(super) waiting: Gauge,
    pub(super) retries: Counter,
    pub(super) connects: Histogram<13>,
}

/// The numbers of one endpoint in one worker.
#[derive(Default)]
pub(super) struct EndpointBlock {
    pub(super) passed_over: Counter,
    up: Gauge,
}

impl EndpointBlock {
    const UNKNOWN: u64 = 0;
    const DOWN: u64 = 1;
    const UP: u64 = 2;

    /// What active checks say, where there are any and this worker makes them.
    pub(super) fn up(&self) -> Option<bool> {
        match self.up.get() {
            Self::UNKNOWN => None,
            state => Some(state == Self::UP),
        }
    }

    pub(super) fn forget(&self) {
        self.up.set(Self::UNKNOWN);
    }
}

/// The blocks of an upstream as they are now.
#[derive(Clone, Default)]
pub(super) struct UpstreamParts {
    pub(super) block: Arc<UpstreamBlock>,
    pub(super) endpoints: Vec<(Arc<str>, Arc<EndpointBlock>)>,
}

impl UpstreamParts {
    /// The block of an endpoint, which is made where there is none.
    pub(super) fn endpoint(&mut self, name: &Arc<str>) -> Arc<EndpointBlock> {
        if let Some(block) = self.known(name) {
            return Arc::clone(block);
        }
        let block = Arc::<EndpointBlock>::default();
        self.endpoints.push((Arc::clone(name), Arc::clone(&block)));
        block
    }

    pub(super) fn known(&self, name: &str) -> Option<&Arc<EndpointBlock>> {
        let mut endpoints = self.endpoints.iter();
        endpoints
            .find(|(known, _)| **known == *name)
            .map(|(_, block)| block)
    }
}

/// The counters of one upstream in one worker. Only that worker's thread may count in it.
pub struct UpstreamMetrics {
    block: Arc<UpstreamBlock>,
    endpoints: Vec<Arc<EndpointBlock>>,
}

impl UpstreamMetrics {
    pub(super) fn new(parts: &mut UpstreamParts, endpoints: &[Arc<str>]) -> Self {
        Self {
            endpoints: endpoints.iter().map(|name| parts.endpoint(name)).collect(),
            block: Arc::clone(&parts.block),
        }
    }

    /// Connections that carry a request.
    pub fn active(&self) -> &Gauge {
        &self.block.active
    }

    /// Connections that wait for one.
    pub fn idle(&self) -> &Gauge {
        &self.block.idle
    }

    /// Requests that wait for a connection.
    pub fn waiting(&self) -> &Gauge {
        &self.block.waiting
    }

    /// Connections tried once more because nobody accepted.
    pub fn retries(&self) -> &Counter {
        &self.block.retries
    }

    /// A connection was made, and took so long.
    pub fn connected(&self, took: Duration) {
        self.block.connects.observe_time(&CONNECTS, took);
    }

    /// The endpoint at this position is passed over from now on.
    pub fn passed_over(&self, endpoint: usize) {
        if let Some(endpoint) = self.endpoints.get(endpoint) {
            endpoint.passed_over.inc();
        }
    }

    /// What active checks say of the endpoint at this position.
    pub fn up(&self, endpoint: usize, up: bool) {
        if let Some(endpoint) = self.endpoints.get(endpoint) {
            let state = if up {
                EndpointBlock::UP
            } else {
                EndpointBlock::DOWN
            };
            endpoint.up.set(state);
        }
    }
}
