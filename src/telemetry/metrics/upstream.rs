//! What one worker counts of connections to upstreams.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result};

use super::{counters, gauges};

/// The families of one worker.
#[derive(Clone)]
pub(super) struct UpstreamFamilies {
    connections: IntGaugeVec,
    waiting: IntGaugeVec,
    retries: IntCounterVec,
    passed_over: IntCounterVec,
    up: IntGaugeVec,
}

/// The counters of one upstream in one worker.
pub struct UpstreamMetrics {
    /// Connections that carry a request.
    pub active: IntGauge,
    /// Connections that wait for one.
    pub idle: IntGauge,
    /// Requests that wait for a connection.
    pub waiting: IntGauge,
    /// Connections tried once more because nobody accepted.
    pub retries: IntCounter,
    passed_over: Vec<IntCounter>,
    name: Box<str>,
    endpoints: Vec<Arc<str>>,
    up: IntGaugeVec,
}

impl UpstreamFamilies {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            connections: gauges(
                registry,
                "countersign_upstream_connections",
                "Connections to an upstream, by whether a request is on them",
                &["upstream", "state"],
            )?,
            waiting: gauges(
                registry,
                "countersign_upstream_waiting",
                "Requests that wait for a connection to an upstream",
                &["upstream"],
            )?,
            retries: counters(
                registry,
                "countersign_upstream_retries_total",
                "Connections tried once more because nobody accepted; no byte of a request had been sent",
                &["upstream"],
            )?,
            passed_over: counters(
                registry,
                "countersign_upstream_ejections_total",
                "How often an endpoint was passed over for a while because it accepted no connections",
                &["upstream", "endpoint"],
            )?,
            up: gauges(
                registry,
                "countersign_upstream_up",
                "What active checks say of an endpoint: 1 or 0; only where there are checks",
                &["upstream", "endpoint"],
            )?,
        })
    }

    pub(super) fn of(&self, name: &str, endpoints: &[Arc<str>]) -> UpstreamMetrics {
        UpstreamMetrics {
            active: self.connections.with_label_values(&[name, "active"]),
            idle: self.connections.with_label_values(&[name, "idle"]),
            waiting: self.waiting.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            passed_over: (endpoints.iter())
                .map(|endpoint| self.passed_over.with_label_values(&[name, &**endpoint]))
                .collect(),
            name: name.into(),
            endpoints: endpoints.to_vec(),
            up: self.up.clone(),
        }
    }

    pub(super) fn forget_endpoints(&self) {
        self.up.reset();
    }
}

impl UpstreamMetrics {
    /// The endpoint at this position is passed over from now on.
    pub fn passed_over(&self, endpoint: usize) {
        if let Some(counter) = self.passed_over.get(endpoint) {
            counter.inc();
        }
    }

    /// How often each endpoint was passed over, in the order of the endpoints.
    pub(super) fn passed_over_counts(&self) -> impl Iterator<Item = u64> {
        self.passed_over.iter().map(IntCounter::get)
    }

    /// What active checks say of the endpoint at this position.
    pub fn up(&self, endpoint: usize, up: bool) {
        if let Some(endpoint) = self.endpoints.get(endpoint) {
            self.up
                .with_label_values(&[&*self.name, &**endpoint])
                .set(i64::from(up));
        }
    }
}
