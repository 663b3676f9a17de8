//! Prometheus metrics: one set of counters per worker, added up when somebody asks.
//!
//! Counters of different workers share no cache line, and handles are resolved when a plan is taken up, so
//! counting a request costs a few uncontended additions. Every series whose labels are known exists at zero
//! from the start: `increase()` does not see a first event otherwise.

mod audit;
mod merge;
mod process;
mod reading;
mod upstream;
mod worker;

pub use audit::AuditMetrics;
pub use process::{ProcessMetrics, RELOAD_TRIGGERS};
pub use reading::{Durations, RouteTotals, UpstreamTotals};
pub use upstream::UpstreamMetrics;
pub use worker::{ListenerMetrics, RouteMetrics, WorkerMetrics};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, Registry, Result, TextEncoder};

use self::merge::{Merged, merge};
use self::reading::Handles;

/// The one gauge that is not a sum over workers: the latest of them counts.
const LAST_ACCEPTED: &str = "countersign_last_accepted_timestamp_seconds";

/// Closed sets of label values, each in the order in which the caller counts its positions.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// How a request can end.
    pub outcomes: &'static [&'static str],
    /// Why it can be rejected.
    pub reasons: &'static [&'static str],
    /// How a challenge can come.
    pub challenge_methods: &'static [&'static str],
    /// What can become of it.
    pub challenge_results: &'static [&'static str],
    /// What can go wrong with an upstream.
    pub upstream_errors: &'static [&'static str],
    /// Statuses that exist from the start.
    pub codes: &'static [u16],
    /// TLS versions.
    pub tls_versions: &'static [&'static str],
    /// Why a handshake can fail.
    pub tls_failures: &'static [&'static str],
    /// Why a connection can end.
    pub connection_ends: &'static [&'static str],
    /// Why a PROXY header can be refused.
    pub proxy_faults: &'static [&'static str],
}

/// All metrics of the process. Cloning gives another handle.
#[derive(Clone)]
pub struct Metrics {
    labels: Labels,
    workers: Arc<Mutex<Vec<(Registry, Handles)>>>,
    process: Registry,
}

impl Metrics {
    /// An empty set.
    pub fn new(labels: Labels) -> Self {
        Self {
            labels,
            workers: Arc::default(),
            process: Registry::new(),
        }
    }

    /// The metrics that the process has once.
    ///
    /// # Errors
    /// When called twice.
    pub fn process(&self) -> Result<ProcessMetrics> {
        ProcessMetrics::new(&self.process)
    }

    /// The metrics of one more worker.
    ///
    /// # Errors
    /// None that a caller can cause: names and labels are fixed here.
    pub fn worker(&self, listeners: &[Arc<str>]) -> Result<WorkerMetrics> {
        let registry = Registry::new();
        let worker = WorkerMetrics::new(self.labels, &registry, listeners)?;
        self.workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((registry, worker.handles()));
        Ok(worker)
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// None in practice: writing into memory does not fail.
    pub fn render(&self) -> Result<Vec<u8>> {
        let mut families = BTreeMap::new();
        for (registry, _) in &*self.workers.lock().unwrap_or_else(PoisonError::into_inner) {
            merge(&mut families, registry.gather());
        }
        merge(&mut families, self.process.gather());
        let families: Vec<_> = families.into_values().map(Merged::into_family).collect();
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::telemetry) const LABELS: Labels = Labels {
        outcomes: &["forwarded", "rejected"],
        reasons: &["token_missing"],
        challenge_methods: &["get"],
        challenge_results: &["answered"],
        upstream_errors: &["refused"],
        codes: &[200],
        tls_versions: &["TLSv1.3"],
        tls_failures: &["io"],
        connection_ends: &["peer"],
        proxy_faults: &["closed"],
    };

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().unwrap()).unwrap()
    }

    #[test]
    fn workers_are_added_up_and_the_latest_time_counts() {
        let metrics = Metrics::new(LABELS);
        for (worker, at) in [(1, 200), (2, 100)] {
            let set = metrics.worker(&["public".into()]).unwrap();
            let route = set.route("redox", &["2026-11".into()]);
            for _ in 0..worker {
                route.request(0, 0, 0.2);
                route.response(200);
                route.response(599);
            }
            route.token_used(0, at);
            set.listener(0).unwrap().opened();
        }
        let text = text(&metrics);
        for line in [
            r#"countersign_requests_total{listener="public",outcome="forwarded",route="redox"} 3"#,
            r#"countersign_requests_total{listener="public",outcome="rejected",route="redox"} 0"#,
            r#"countersign_responses_total{code="599",route="redox"} 3"#,
            r#"countersign_last_accepted_timestamp_seconds{route="redox"} 200"#,
            r#"countersign_connections_open{listener="public"} 2"#,
            r#"countersign_token_uses_total{route="redox",token_id="2026-11"} 2"#,
            r#"countersign_request_duration_seconds_bucket{outcome="forwarded",route="redox",le="0.25"} 3"#,
            r#"countersign_request_duration_seconds_bucket{outcome="forwarded",route="redox",le="0.1"} 0"#,
            r#"countersign_request_duration_seconds_count{outcome="forwarded",route="redox"} 3"#,
            r#"countersign_tls_handshakes_total{listener="public",resumed="true",version="TLSv1.3"} 0"#,
        ] {
            assert!(text.contains(line), "{line}\nnot in\n{text}");
        }
    }
}
