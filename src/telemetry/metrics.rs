//! Prometheus metrics: one set of counters per worker, added up when somebody asks.
//!
//! Counters of different workers share no cache line, and handles are resolved when a plan is taken up, so
//! counting a request costs a few uncontended additions. Every series whose labels are known exists at zero
//! from the start: `increase()` does not see a first event otherwise.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramValue, Metric, MetricFamily, MetricType,
};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result, TextEncoder,
};

/// Bounds of the duration histogram, in seconds; the top is the sender's own limit.
const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

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
}

/// All metrics of the process. Cloning gives another handle.
#[derive(Clone)]
pub struct Metrics {
    labels: Labels,
    workers: Arc<Mutex<Vec<Registry>>>,
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
            .push(registry);
        Ok(worker)
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// None in practice: writing into memory does not fail.
    pub fn render(&self) -> Result<Vec<u8>> {
        let mut families = BTreeMap::new();
        for registry in &*self.workers.lock().unwrap_or_else(PoisonError::into_inner) {
            merge(&mut families, registry.gather());
        }
        merge(&mut families, self.process.gather());
        let families: Vec<_> = families.into_values().map(Merged::into_family).collect();
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// A family while it is added up.
struct Merged {
    family: MetricFamily,
    metrics: BTreeMap<Vec<(String, String)>, Metric>,
}

impl Merged {
    fn into_family(mut self) -> MetricFamily {
        self.family.set_metric(self.metrics.into_values().collect());
        self.family
    }
}

fn merge(into: &mut BTreeMap<String, Merged>, families: Vec<MetricFamily>) {
    for mut family in families {
        let kind = family.get_field_type();
        let name = family.name().to_owned();
        let metrics = std::mem::take(family.mut_metric());
        let latest = name == LAST_ACCEPTED;
        let merged = into.entry(name).or_insert_with(|| Merged {
            family,
            metrics: BTreeMap::new(),
        });
        for metric in metrics {
            let key = metric
                .get_label()
                .iter()
                .map(|pair| (pair.name().to_owned(), pair.value().to_owned()));
            match merged.metrics.entry(key.collect()) {
                std::collections::btree_map::Entry::Vacant(empty) => {
                    empty.insert(metric);
                }
                std::collections::btree_map::Entry::Occupied(mut sum) => {
                    add(sum.get_mut(), &metric, kind, latest);
                }
            }
        }
    }
}

fn add(sum: &mut Metric, more: &Metric, kind: MetricType, latest: bool) {
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(sum.get_counter().get_value() + more.get_counter().get_value());
        sum.set_counter(counter);
    } else if kind == MetricType::GAUGE {
        let (one, other) = (sum.get_gauge().get_value(), more.get_gauge().get_value());
        let mut gauge = Gauge::default();
        gauge.set_value(if latest { one.max(other) } else { one + other });
        sum.set_gauge(gauge);
    } else if kind == MetricType::HISTOGRAM {
        let value = add_histograms(sum.get_histogram(), more.get_histogram());
        sum.set_histogram(value);
    }
}

fn add_histograms(one: &HistogramValue, other: &HistogramValue) -> HistogramValue {
    let buckets = one
        .get_bucket()
        .iter()
        .zip(other.get_bucket())
        .map(|(one, other)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(one.upper_bound());
            bucket.set_cumulative_count(one.cumulative_count() + other.cumulative_count());
            bucket
        });
    let mut sum = HistogramValue::default();
    sum.set_bucket(buckets.collect());
    sum.set_sample_count(one.get_sample_count() + other.get_sample_count());
    sum.set_sample_sum(one.get_sample_sum() + other.get_sample_sum());
    sum
}

/// Metrics that exist once.
pub struct ProcessMetrics {
    reload_successful: IntGauge,
    reload_timestamp: IntGauge,
    certificates: IntGaugeVec,
    /// Access lines thrown away because whoever reads them was too slow.
    pub log_dropped: IntCounter,
}

impl ProcessMetrics {
    fn new(registry: &Registry) -> Result<Self> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = IntGaugeVec::new(
            Opts::new(
                "countersign_build_info",
                "Version of the running program; always 1",
            ),
            &["version", "revision", "target"],
        )?;
        let version = env!("CARGO_PKG_VERSION");
        build
            .with_label_values(&[version, crate::REVISION, crate::TARGET])
            .set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            reload_successful: register(
                registry,
                IntGauge::new(
                    "countersign_config_last_reload_successful",
                    "Whether the last configuration offered was taken up: 1 or 0",
                )?,
            )?,
            reload_timestamp: register(
                registry,
                IntGauge::new(
                    "countersign_config_last_reload_success_timestamp_seconds",
                    "When a configuration was last taken up",
                )?,
            )?,
            certificates: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "countersign_tls_certificate_not_after_timestamp_seconds",
                        "When a certificate expires",
                    ),
                    &["certificate"],
                )?,
            )?,
            log_dropped: register(
                registry,
                IntCounter::new(
                    "countersign_log_dropped_total",
                    "Access lines thrown away because their reader was too slow",
                )?,
            )?,
        })
    }

    /// A configuration was offered; `at` is in seconds since 1970.
    pub fn configuration(&self, taken_up: bool, at: u64) {
        self.reload_successful.set(i64::from(taken_up));
        if taken_up {
            self.reload_timestamp
                .set(i64::try_from(at).unwrap_or(i64::MAX));
        }
    }

    /// A certificate is in use; `not_after` is in seconds since 1970.
    pub fn certificate(&self, name: &str, not_after: u64) {
        self.certificates
            .with_label_values(&[name])
            .set(i64::try_from(not_after).unwrap_or(i64::MAX));
    }
}

/// The counters of one worker.
pub struct WorkerMetrics {
    labels: Labels,
    listeners: Vec<ListenerMetrics>,
    listener_names: Vec<Arc<str>>,
    requests: IntCounterVec,
    responses: IntCounterVec,
    rejected: IntCounterVec,
    challenges: IntCounterVec,
    token_uses: IntCounterVec,
    last_accepted: IntGaugeVec,
    duration: HistogramVec,
    upstream_responses: IntCounterVec,
    upstream_errors: IntCounterVec,
}

/// The counters of one listener.
pub struct ListenerMetrics {
    /// Connections open now.
    pub connections_open: IntGauge,
    handshakes: Vec<[IntCounter; 2]>,
    handshake_failures: Vec<IntCounter>,
}

impl ListenerMetrics {
    /// Counts a finished handshake; `version` is a position in [`Labels::tls_versions`].
    pub fn handshake(&self, version: usize, resumed: bool) {
        let counter = self
            .handshakes
            .get(version)
            .and_then(|both| both.get(usize::from(resumed)));
        inc(counter);
    }

    /// Counts a failed handshake; `reason` is a position in [`Labels::tls_failures`].
    pub fn handshake_failure(&self, reason: usize) {
        inc(self.handshake_failures.get(reason));
    }
}

impl WorkerMetrics {
    fn new(labels: Labels, registry: &Registry, listener_names: &[Arc<str>]) -> Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let open = gauge(
            "countersign_connections_open",
            "Connections open now",
            &["listener"],
        )?;
        let handshakes = counter(
            "countersign_tls_handshakes_total",
            "TLS handshakes that succeeded",
            &["listener", "version", "resumed"],
        )?;
        let failures = counter(
            "countersign_tls_handshake_failures_total",
            "TLS handshakes that failed",
            &["listener", "reason"],
        )?;
        let listeners = listener_names.iter().map(|listener| ListenerMetrics {
            connections_open: open.with_label_values(&[listener]),
            handshakes: (labels.tls_versions.iter())
                .map(|version| {
                    ["false", "true"].map(|resumed| {
                        handshakes.with_label_values(&[&**listener, version, resumed])
                    })
                })
                .collect(),
            handshake_failures: (labels.tls_failures.iter())
                .map(|reason| failures.with_label_values(&[&**listener, reason]))
                .collect(),
        });
        Ok(Self {
            labels,
            listeners: listeners.collect(),
            listener_names: listener_names.to_vec(),
            requests: counter(
                "countersign_requests_total",
                "Requests by how they ended; each is counted once",
                &["listener", "route", "outcome"],
            )?,
            responses: counter(
                "countersign_responses_total",
                "Answers by status",
                &["route", "code"],
            )?,
            rejected: counter(
                "countersign_rejected_requests_total",
                "Requests refused, by reason",
                &["route", "reason"],
            )?,
            challenges: counter(
                "countersign_challenges_total",
                "Verification challenges, by what became of them",
                &["route", "method", "result"],
            )?,
            token_uses: counter(
                "countersign_token_uses_total",
                "Requests and challenges that a token let through",
                &["route", "token_id"],
            )?,
            last_accepted: gauge(
                LAST_ACCEPTED,
                "When a request was last let through; 0 for never",
                &["route"],
            )?,
            duration: register(
                registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "countersign_request_duration_seconds",
                        "From the first byte of a request's head to the last byte of its answer",
                    )
                    .buckets(DURATION_BUCKETS.to_vec()),
                    &["route", "outcome"],
                )?,
            )?,
            upstream_responses: counter(
                "countersign_upstream_responses_total",
                "Answers of upstreams by status",
                &["route", "code"],
            )?,
            upstream_errors: counter(
                "countersign_upstream_errors_total",
                "Exchanges with upstreams that failed, by kind",
                &["route", "kind"],
            )?,
        })
    }

    /// The counters of a listener, by position.
    pub fn listener(&self, position: usize) -> Option<&ListenerMetrics> {
        self.listeners.get(position)
    }

    /// The counters of a route; makes every series of it exist.
    pub fn route(&self, name: &str, tokens: &[Arc<str>]) -> RouteMetrics {
        let labels = &self.labels;
        let each = |family: &IntCounterVec, values: &[&str]| -> Vec<IntCounter> {
            values
                .iter()
                .map(|value| family.with_label_values(&[name, value]))
                .collect()
        };
        let requests = self.listener_names.iter().map(|listener| {
            labels
                .outcomes
                .iter()
                .map(|outcome| self.requests.with_label_values(&[listener, name, outcome]))
                .collect()
        });
        let challenges = labels.challenge_methods.iter().map(|method| {
            (labels.challenge_results.iter())
                .map(|result| self.challenges.with_label_values(&[name, method, result]))
                .collect()
        });
        let ids: Vec<&str> = tokens.iter().map(AsRef::as_ref).collect();
        RouteMetrics {
            requests: requests.collect(),
            responses: Codes::new(&self.responses, name, labels.codes),
            rejected: each(&self.rejected, labels.reasons),
            challenges: challenges.collect(),
            token_uses: each(&self.token_uses, &ids),
            last_accepted: self.last_accepted.with_label_values(&[name]),
            durations: (labels.outcomes.iter())
                .map(|outcome| self.duration.with_label_values(&[name, outcome]))
                .collect(),
            upstream_responses: Codes::new(&self.upstream_responses, name, &[]),
            upstream_errors: each(&self.upstream_errors, labels.upstream_errors),
        }
    }
}

/// The counters of one route in one worker; positions are those of [`Labels`].
pub struct RouteMetrics {
    requests: Vec<Vec<IntCounter>>,
    responses: Codes,
    rejected: Vec<IntCounter>,
    challenges: Vec<Vec<IntCounter>>,
    token_uses: Vec<IntCounter>,
    last_accepted: IntGauge,
    durations: Vec<Histogram>,
    upstream_responses: Codes,
    upstream_errors: Vec<IntCounter>,
}

impl RouteMetrics {
    /// A request on this listener ended this way after this many seconds.
    pub fn request(&self, listener: usize, outcome: usize, seconds: f64) {
        inc(self
            .requests
            .get(listener)
            .and_then(|outcomes| outcomes.get(outcome)));
        if let Some(histogram) = self.durations.get(outcome) {
            histogram.observe(seconds);
        }
    }

    /// An answer with this status was given.
    pub fn response(&self, code: u16) {
        self.responses.inc(code);
    }

    /// A request was refused.
    pub fn rejected(&self, reason: usize) {
        inc(self.rejected.get(reason));
    }

    /// A challenge was dealt with.
    pub fn challenge(&self, method: usize, result: usize) {
        inc(self
            .challenges
            .get(method)
            .and_then(|results| results.get(result)));
    }

    /// A token let something through at this time, in seconds since 1970.
    pub fn token_used(&self, token: usize, at: u64) {
        inc(self.token_uses.get(token));
        self.last_accepted
            .set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    /// The upstream answered with this status.
    pub fn upstream_response(&self, code: u16) {
        self.upstream_responses.inc(code);
    }

    /// An exchange with the upstream failed.
    pub fn upstream_error(&self, kind: usize) {
        inc(self.upstream_errors.get(kind));
    }
}

/// Counters by status, resolved when a status is first seen. There are at most 900 of them.
struct Codes {
    family: IntCounterVec,
    route: Box<str>,
    known: RefCell<Vec<(u16, IntCounter)>>,
}

impl Codes {
    fn new(family: &IntCounterVec, route: &str, known: &[u16]) -> Self {
        let codes = Self {
            family: family.clone(),
            route: route.into(),
            known: RefCell::default(),
        };
        codes
            .known
            .borrow_mut()
            .extend(known.iter().map(|code| (*code, codes.resolve(*code))));
        codes
    }

    fn resolve(&self, code: u16) -> IntCounter {
        self.family
            .with_label_values(&[&*self.route, itoa::Buffer::new().format(code)])
    }

    fn inc(&self, code: u16) {
        let mut known = self.known.borrow_mut();
        if let Some((_, counter)) = known.iter().find(|(other, _)| *other == code) {
            counter.inc();
            return;
        }
        let counter = self.resolve(code);
        counter.inc();
        known.push((code, counter));
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn inc(counter: Option<&IntCounter>) {
    if let Some(counter) = counter {
        counter.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels = Labels {
        outcomes: &["forwarded", "rejected"],
        reasons: &["token_missing"],
        challenge_methods: &["get"],
        challenge_results: &["answered"],
        upstream_errors: &["refused"],
        codes: &[200],
        tls_versions: &["TLSv1.3"],
        tls_failures: &["io"],
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
            set.listener(0).unwrap().connections_open.inc();
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
