//! The families that workers count in: names, help, and of which numbers each is made. `docs/metrics.md` has the same.

use prometheus::proto::MetricType::{COUNTER, GAUGE, HISTOGRAM};

use super::cell::{BODIES, CONNECTS, DURATIONS};
use super::route::SENDERS;
use super::samples::{Description, Samples};
use super::view::{RouteView, UpstreamView};

/// A family of which each route has series.
pub(super) struct RouteFamily {
    pub(super) description: Description,
    /// Whether requests without a route have series too.
    pub(super) unrouted: bool,
    pub(super) write: fn(&RouteView<'_>, &mut Samples),
}

/// A family of which each upstream has series.
pub(super) struct UpstreamFamily {
    pub(super) description: Description,
    pub(super) write: fn(&UpstreamView<'_>, &mut Samples),
}

pub(super) static ROUTE_FAMILIES: [RouteFamily; 15] = [
    RouteFamily {
        description: Description {
            name: "countersign_requests_total",
            help: "Requests by how they ended; each is counted once",
            kind: COUNTER,
        },
        unrouted: true,
        write: requests,
    },
    RouteFamily {
        description: Description {
            name: "countersign_responses_total",
            help: "Answers by what the sender was told",
            kind: COUNTER,
        },
        unrouted: true,
        write: responses,
    },
    RouteFamily {
        description: Description {
            name: "countersign_rejected_requests_total",
            help: "Requests refused, by reason and by who says to send them",
            kind: COUNTER,
        },
        unrouted: true,
        write: rejected,
    },
    RouteFamily {
        description: Description {
            name: "countersign_challenges_total",
            help: "Verification challenges, by what became of them",
            kind: COUNTER,
        },
        unrouted: false,
        write: challenges,
    },
    RouteFamily {
        description: Description {
            name: "countersign_token_uses_total",
            help: "Requests and challenges that a token let through",
            kind: COUNTER,
        },
        unrouted: false,
        write: token_uses,
    },
    RouteFamily {
        description: Description {
            name: "countersign_token_not_after_timestamp_seconds",
            help: "The last second in which a token is accepted; only where that is set",
            kind: GAUGE,
        },
        unrouted: false,
        write: token_ends,
    },
    RouteFamily {
        description: Description {
            name: "countersign_last_accepted_timestamp_seconds",
            help: "When a token last let a request or challenge through; 0 for never",
            kind: GAUGE,
        },
        unrouted: false,
        write: |route, to| to.gauge(&[("route", route.name)], route.last_accepted()),
    },
    RouteFamily {
        description: Description {
            name: "countersign_request_duration_seconds",
            help: "From the first byte of a request's head to the last byte of its answer",
            kind: HISTOGRAM,
        },
        unrouted: true,
        write: durations,
    },
    RouteFamily {
        description: Description {
            name: "countersign_requests_in_flight",
            help: "Verified requests whose answer has not ended",
            kind: GAUGE,
        },
        unrouted: false,
        write: |route, to| to.gauge(&[("route", route.name)], route.in_flight()),
    },
    RouteFamily {
        description: Description {
            name: "countersign_received_bytes_total",
            help: "Bytes of requests' bodies that were read, of requests that have ended",
            kind: COUNTER,
        },
        unrouted: true,
        write: |route, to| {
            let total = route.total(|block| &block.received);
            to.counter(&[("route", route.name)], total);
        },
    },
    RouteFamily {
        description: Description {
            name: "countersign_sent_bytes_total",
            help: "Bytes of answers' bodies that were handed to the sender's connection, of requests that have ended",
            kind: COUNTER,
        },
        unrouted: true,
        write: |route, to| {
            let total = route.total(|block| &block.sent);
            to.counter(&[("route", route.name)], total);
        },
    },
    RouteFamily {
        description: Description {
            name: "countersign_request_body_bytes",
            help: "Sizes of the bodies of forwarded requests",
            kind: HISTOGRAM,
        },
        unrouted: false,
        write: |route, to| {
            let sizes = route.histogram(&BODIES, |block| Some(&block.bodies));
            to.histogram(&[("route", route.name)], &sizes);
        },
    },
    RouteFamily {
        description: Description {
            name: "countersign_upstream_responses_total",
            help: "Answers of upstreams by status",
            kind: COUNTER,
        },
        unrouted: false,
        write: upstream_responses,
    },
    RouteFamily {
        description: Description {
            name: "countersign_upstream_response_seconds",
            help: "From when a request looks for a connection to the head of the upstream's answer",
            kind: HISTOGRAM,
        },
        unrouted: false,
        write: |route, to| {
            let times = route.histogram(&DURATIONS, |block| Some(&block.upstream_response));
            to.histogram(&[("route", route.name)], &times);
        },
    },
    RouteFamily {
        description: Description {
            name: "countersign_upstream_errors_total",
            help: "Exchanges with upstreams that failed, by kind",
            kind: COUNTER,
        },
        unrouted: false,
        write: upstream_errors,
    },
];

fn requests(route: &RouteView<'_>, to: &mut Samples) {
    let outcomes = route.shape.labels.outcomes;
    for (number, listener) in route.shape.listeners.iter().enumerate() {
        for (position, outcome) in outcomes.iter().enumerate() {
            let labels = [
                ("listener", &*listener.name),
                ("outcome", outcome),
                ("route", route.name),
            ];
            let position = number * outcomes.len() + position;
            to.counter(&labels, route.sum(|block| &block.requests, position));
        }
    }
}

fn responses(route: &RouteView<'_>, to: &mut Samples) {
    for (position, code) in route.shape.codes.labels().iter().enumerate() {
        let labels = [("code", *code), ("route", route.name)];
        to.counter(&labels, route.sum(|block| &block.responses, position));
    }
}

fn rejected(route: &RouteView<'_>, to: &mut Samples) {
    for (number, reason) in route.shape.labels.reasons.iter().enumerate() {
        for (position, sender) in SENDERS.iter().enumerate() {
            let labels = [
                ("reason", *reason),
                ("route", route.name),
                ("sender", sender),
            ];
            let position = number * SENDERS.len() + position;
            to.counter(&labels, route.sum(|block| &block.rejected, position));
        }
    }
}

fn challenges(route: &RouteView<'_>, to: &mut Samples) {
    let results = route.shape.labels.challenge_results;
    for (number, method) in route.shape.labels.challenge_methods.iter().enumerate() {
        for (position, result) in results.iter().enumerate() {
            let labels = [
                ("method", *method),
                ("result", result),
                ("route", route.name),
            ];
            let position = number * results.len() + position;
            to.counter(&labels, route.sum(|block| &block.challenges, position));
        }
    }
}

fn token_uses(route: &RouteView<'_>, to: &mut Samples) {
    for token in route.known.iter().flat_map(|known| &known.tokens) {
        let state = token.state();
        let labels = [
            ("route", route.name),
            ("state", state.label()),
            ("token_id", &*token.id),
        ];
        to.counter(&labels, route.token_uses(&token.id, Some(state)));
    }
}

fn token_ends(route: &RouteView<'_>, to: &mut Samples) {
    for token in route.known.iter().flat_map(|known| &known.tokens) {
        if let Some(not_after) = token.not_after {
            let labels = [("route", route.name), ("token_id", &*token.id)];
            to.gauge(&labels, not_after);
        }
    }
}

fn durations(route: &RouteView<'_>, to: &mut Samples) {
    for (position, outcome) in route.shape.labels.outcomes.iter().enumerate() {
        let labels = [("outcome", *outcome), ("route", route.name)];
        let times = route.histogram(&DURATIONS, |block| block.durations.get(position));
        to.histogram(&labels, &times);
    }
}

fn upstream_responses(route: &RouteView<'_>, to: &mut Samples) {
    let Some(known) = route.known else {
        return;
    };
    for (position, code) in route.shape.upstream_codes.labels().iter().enumerate() {
        let labels = [
            ("code", *code),
            ("route", route.name),
            ("upstream", &*known.upstream),
        ];
        let sum = route.exchange_sum(|block| &block.responses, position);
        to.counter(&labels, sum);
    }
}

fn upstream_errors(route: &RouteView<'_>, to: &mut Samples) {
    let Some(known) = route.known else {
        return;
    };
    for (position, kind) in route.shape.labels.upstream_errors.iter().enumerate() {
        let labels = [
            ("kind", *kind),
            ("route", route.name),
            ("upstream", &*known.upstream),
        ];
        let sum = route.exchange_sum(|block| &block.errors, position);
        to.counter(&labels, sum);
    }
}

pub(super) static UPSTREAM_FAMILIES: [UpstreamFamily; 6] = [
    UpstreamFamily {
        description: Description {
            name: "countersign_upstream_connect_seconds",
            help: "How long it took to make a connection to an upstream, name look-up and TLS included",
            kind: HISTOGRAM,
        },
        write: |upstream, to| {
            let labels = [("upstream", &*upstream.known.name)];
            to.histogram(&labels, &upstream.connects(&CONNECTS));
        },
    },
    UpstreamFamily {
        description: Description {
            name: "countersign_upstream_connections",
            help: "Connections to an upstream, by whether a request is on them",
            kind: GAUGE,
        },
        write: |upstream, to| {
            let name = ("upstream", &*upstream.known.name);
            let active = upstream.gauge(|block| &block.active);
            to.gauge(&[("state", "active"), name], active);
            let idle = upstream.gauge(|block| &block.idle);
            to.gauge(&[("state", "idle"), name], idle);
        },
    },
    UpstreamFamily {
        description: Description {
            name: "countersign_upstream_waiting",
            help: "Requests that wait for a connection to an upstream",
            kind: GAUGE,
        },
        write: |upstream, to| {
            let labels = [("upstream", &*upstream.known.name)];
            to.gauge(&labels, upstream.gauge(|block| &block.waiting));
        },
    },
    UpstreamFamily {
        description: Description {
            name: "countersign_upstream_retries_total",
            help: "Connections tried once more because nobody accepted; no byte of a request had been sent",
            kind: COUNTER,
        },
        write: |upstream, to| {
            let labels = [("upstream", &*upstream.known.name)];
            to.counter(&labels, upstream.retries());
        },
    },
    UpstreamFamily {
        description: Description {
            name: "countersign_upstream_ejections_total",
            help: "How often an endpoint was passed over for a while because it accepted no connections",
            kind: COUNTER,
        },
        write: |upstream, to| {
            for endpoint in &upstream.known.endpoints {
                let labels = [
                    ("endpoint", &**endpoint),
                    ("upstream", &upstream.known.name),
                ];
                to.counter(&labels, upstream.passed_over(endpoint));
            }
        },
    },
    UpstreamFamily {
        description: Description {
            name: "countersign_upstream_up",
            help: "What active checks say of an endpoint: 1 or 0; only where there are checks",
            kind: GAUGE,
        },
        write: |upstream, to| {
            for endpoint in &upstream.known.endpoints {
                if let Some(up) = upstream.up(endpoint) {
                    let labels = [
                        ("endpoint", &**endpoint),
                        ("upstream", &upstream.known.name),
                    ];
                    to.gauge(&labels, u64::from(up));
                }
            }
        },
    },
];
