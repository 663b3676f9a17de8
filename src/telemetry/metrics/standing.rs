//! The families that do not follow from the plan: of listeners, and of the process.

use prometheus::proto::MetricType::{self, COUNTER, GAUGE, HISTOGRAM};

use super::cell::{CONNECTS, Counter, OVERHEADS, Observed};
use super::listener::ListenerMetrics;
use super::samples::{Description, Label, Samples};
use super::source::Source;

/// A family that is written at once.
pub(super) struct StandingFamily {
    pub(super) description: Description,
    pub(super) write: fn(&Source, &mut Samples),
}

const fn family(
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    write: fn(&Source, &mut Samples),
) -> StandingFamily {
    StandingFamily {
        description: Description { name, help, kind },
        write,
    }
}

pub(super) static STANDING_FAMILIES: [StandingFamily; 12] = [
    family(
        "countersign_overhead_seconds",
        "What the gateway itself adds before an answer begins, without waiting for sender or upstream",
        HISTOGRAM,
        overheads,
    ),
    family(
        "countersign_tls_handshakes_total",
        "TLS handshakes that succeeded",
        COUNTER,
        handshakes,
    ),
    family(
        "countersign_tls_handshake_failures_total",
        "TLS handshakes that failed",
        COUNTER,
        |source, to| {
            let reasons = source.shape.labels.tls_failures;
            each(source, to, "reason", reasons, |listener| {
                &listener.handshake_failures
            });
        },
    ),
    family(
        "countersign_tls_handshake_seconds",
        "How long TLS handshakes took that succeeded",
        HISTOGRAM,
        handshake_times,
    ),
    family(
        "countersign_connections_open",
        "Connections open now",
        GAUGE,
        |source, to| {
            for (position, listener) in source.shape.listeners.iter().enumerate() {
                let counted = source.listener(position);
                let open = counted.map(|listener| listener.open.get());
                to.gauge(
                    &[("listener", &*listener.name)],
                    open.fold(0, u64::wrapping_add),
                );
            }
        },
    ),
    family(
        "countersign_connections_limit",
        "Most connections that may be open",
        GAUGE,
        |source, to| {
            for listener in &*source.shape.listeners {
                let limit = u64::try_from(listener.limit).unwrap_or(u64::MAX);
                to.gauge(&[("listener", &*listener.name)], limit);
            }
        },
    ),
    family(
        "countersign_connections_accepted_total",
        "Connections accepted",
        COUNTER,
        |source, to| {
            for (position, listener) in source.shape.listeners.iter().enumerate() {
                let counted = source.listener(position);
                let accepted = counted.map(|listener| listener.accepted.get()).sum();
                to.counter(&[("listener", &*listener.name)], accepted);
            }
        },
    ),
    family(
        "countersign_connections_closed_total",
        "Connections that ended, by why they did",
        COUNTER,
        |source, to| {
            let reasons = source.shape.labels.connection_ends;
            each(source, to, "reason", reasons, |listener| &listener.closed);
        },
    ),
    family(
        "countersign_proxy_protocol_errors_total",
        "Connections without the PROXY header that there has to be",
        COUNTER,
        |source, to| {
            let reasons = source.shape.labels.proxy_faults;
            each(source, to, "reason", reasons, |listener| {
                &listener.proxy_faults
            });
        },
    ),
    family(
        "countersign_ready",
        "Whether the program wants traffic: 1 or 0",
        GAUGE,
        |source, to| to.gauge(&[], source.admin.ready()),
    ),
    family(
        "countersign_draining",
        "Whether the program was told to stop: 1 or 0",
        GAUGE,
        |source, to| to.gauge(&[], source.admin.draining()),
    ),
    family(
        "countersign_admin_requests_total",
        "Requests to the admin listener",
        COUNTER,
        |source, to| {
            for ((endpoint, code), count) in source.admin.counts() {
                let mut digits = itoa::Buffer::new();
                let labels = [("code", digits.format(code)), ("endpoint", endpoint)];
                to.counter(&labels, count);
            }
        },
    ),
];

fn overheads(source: &Source, to: &mut Samples) {
    for (position, outcome) in source.shape.labels.outcomes.iter().enumerate() {
        let mut all = Observed::none(&OVERHEADS);
        for worker in &source.workers {
            if let Some(histogram) = worker.overheads.get(position) {
                all.add(histogram);
            }
        }
        to.histogram(&[("outcome", outcome)], &all);
    }
}

fn handshakes(source: &Source, to: &mut Samples) {
    for (number, listener) in source.shape.listeners.iter().enumerate() {
        for (place, version) in source.shape.labels.tls_versions.iter().enumerate() {
            for (which, resumed) in ["false", "true"].into_iter().enumerate() {
                let labels = [
                    ("listener", &*listener.name),
                    ("resumed", resumed),
                    ("version", version),
                ];
                let counted = source.listener(number);
                let counters = counted.filter_map(|own| own.handshakes.get(place * 2 + which));
                to.counter(&labels, counters.map(Counter::get).sum());
            }
        }
    }
}

fn handshake_times(source: &Source, to: &mut Samples) {
    for (position, listener) in source.shape.listeners.iter().enumerate() {
        let mut all = Observed::none(&CONNECTS);
        for counted in source.listener(position) {
            all.add(&counted.handshake_time);
        }
        to.histogram(&[("listener", &*listener.name)], &all);
    }
}

/// One series for each listener and value of a label.
fn each(
    source: &Source,
    to: &mut Samples,
    label: &'static str,
    values: &[&str],
    list: impl Fn(&ListenerMetrics) -> &[Counter],
) {
    for (number, listener) in source.shape.listeners.iter().enumerate() {
        for (position, value) in values.iter().enumerate() {
            let labels: [Label<'_>; 2] = [("listener", &*listener.name), (label, value)];
            let counted = source.listener(number);
            let counters = counted.filter_map(|own| list(own).get(position));
            to.counter(&labels, counters.map(Counter::get).sum());
        }
    }
}
