//! The counters of one worker, and the handles its requests use.

use std::cell::RefCell;
use std::sync::Arc;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, Result,
};

use super::reading::Handles;
use super::upstream::{UpstreamFamilies, UpstreamMetrics};
use super::{LAST_ACCEPTED, Labels, counters, gauges, register};

/// Bounds of the duration histogram, in seconds; the top is the sender's own limit.
const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

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
    in_flight: IntGaugeVec,
    duration: HistogramVec,
    upstream_responses: IntCounterVec,
    upstream_errors: IntCounterVec,
    upstreams: UpstreamFamilies,
}

/// The counters of one listener.
pub struct ListenerMetrics {
    open: IntGauge,
    accepted: IntCounter,
    closed: Vec<IntCounter>,
    proxy_faults: Vec<IntCounter>,
    handshakes: Vec<[IntCounter; 2]>,
    handshake_failures: Vec<IntCounter>,
}

impl ListenerMetrics {
    fn all(registry: &Registry, labels: Labels, listeners: &[Arc<str>]) -> Result<Vec<Self>> {
        let open = gauges(
            registry,
            "countersign_connections_open",
            "Connections open now",
            &["listener"],
        )?;
        let handshakes = counters(
            registry,
            "countersign_tls_handshakes_total",
            "TLS handshakes that succeeded",
            &["listener", "version", "resumed"],
        )?;
        let failures = counters(
            registry,
            "countersign_tls_handshake_failures_total",
            "TLS handshakes that failed",
            &["listener", "reason"],
        )?;
        let accepted = counters(
            registry,
            "countersign_connections_accepted_total",
            "Connections accepted",
            &["listener"],
        )?;
        let closed = counters(
            registry,
            "countersign_connections_closed_total",
            "Connections that ended, by why they did",
            &["listener", "reason"],
        )?;
        let proxy_faults = counters(
            registry,
            "countersign_proxy_protocol_errors_total",
            "Connections closed for want of a PROXY header that can be believed",
            &["listener", "reason"],
        )?;
        let each = |family: &IntCounterVec, listener: &str, reasons: &[&str]| -> Vec<IntCounter> {
            (reasons.iter())
                .map(|reason| family.with_label_values(&[listener, reason]))
                .collect()
        };
        let one = |listener: &Arc<str>| Self {
            open: open.with_label_values(&[listener]),
            accepted: accepted.with_label_values(&[listener]),
            closed: each(&closed, listener, labels.connection_ends),
            proxy_faults: each(&proxy_faults, listener, labels.proxy_faults),
            handshakes: (labels.tls_versions.iter())
                .map(|version| {
                    let resumed =
                        |resumed| handshakes.with_label_values(&[&**listener, version, resumed]);
                    ["false", "true"].map(resumed)
                })
                .collect(),
            handshake_failures: (labels.tls_failures.iter())
                .map(|reason| failures.with_label_values(&[&**listener, reason]))
                .collect(),
        };
        Ok(listeners.iter().map(one).collect())
    }

    /// Counts a connection that was accepted.
    pub fn opened(&self) {
        self.open.inc();
        self.accepted.inc();
    }

    /// Counts the end of a connection; `why` is a position in [`Labels::connection_ends`].
    pub fn closed(&self, why: usize) {
        self.open.dec();
        inc(self.closed.get(why));
    }

    /// Counts a refused PROXY header; `reason` is a position in [`Labels::proxy_faults`].
    pub fn proxy_fault(&self, reason: usize) {
        inc(self.proxy_faults.get(reason));
    }

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
    pub(super) fn new(labels: Labels, registry: &Registry, listeners: &[Arc<str>]) -> Result<Self> {
        let counter = |name, help, labels: &[&str]| counters(registry, name, help, labels);
        Ok(Self {
            labels,
            listeners: ListenerMetrics::all(registry, labels, listeners)?,
            listener_names: listeners.to_vec(),
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
                "Requests and challenges that a token verified",
                &["route", "token_id"],
            )?,
            last_accepted: gauges(
                registry,
                LAST_ACCEPTED,
                "When a request or challenge was last verified; 0 for never",
                &["route"],
            )?,
            in_flight: gauges(
                registry,
                "countersign_requests_in_flight",
                "Verified requests whose answer has not ended",
                &["route"],
            )?,
            duration: durations(registry)?,
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
            upstreams: UpstreamFamilies::new(registry)?,
        })
    }

    /// What the status page reads.
    pub(super) fn handles(&self) -> Handles {
        let listeners = self.listener_names.iter().cloned();
        let open = self.listeners.iter().map(|listener| listener.open.clone());
        Handles {
            listeners: listeners.zip(open).collect(),
            requests: self.requests.clone(),
            rejected: self.rejected.clone(),
            token_uses: self.token_uses.clone(),
            last_accepted: self.last_accepted.clone(),
            in_flight: self.in_flight.clone(),
            durations: self.duration.clone(),
            upstream_errors: self.upstream_errors.clone(),
            upstreams: self.upstreams.clone(),
        }
    }

    /// The counters of a listener, by position.
    pub fn listener(&self, position: usize) -> Option<&ListenerMetrics> {
        self.listeners.get(position)
    }

    /// The counters of an upstream; makes every series of it exist, but those of active checks.
    pub fn upstream(&self, name: &str, endpoints: &[Arc<str>]) -> UpstreamMetrics {
        self.upstreams.of(name, endpoints)
    }

    /// Takes the results of active checks out: a new plan may check others.
    pub fn forget_endpoints(&self) {
        self.upstreams.forget_endpoints();
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
            in_flight: self.in_flight.with_label_values(&[name]),
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
    /// Verified requests in flight.
    pub in_flight: IntGauge,
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

fn inc(counter: Option<&IntCounter>) {
    if let Some(counter) = counter {
        counter.inc();
    }
}

fn durations(registry: &Registry) -> Result<HistogramVec> {
    let options = HistogramOpts::new(
        "countersign_request_duration_seconds",
        "From the first byte of a request's head to the last byte of its answer",
    );
    let options = options.buckets(DURATION_BUCKETS.to_vec());
    register(registry, HistogramVec::new(options, &["route", "outcome"])?)
}
