//! The tables of the page. On a narrow screen most of them become a list of cards, and the others scroll in their own
//! box.

use maud::{Markup, html};

use super::moment::{Moment, duration, span};
use super::picture::{
    Certificate, Counts, Decision, Endpoint, EndpointState, Listener, Picture, Route, Token,
    TokenState, Upstream,
};
use super::sparkline::{sparkline, sum};
use super::state::RouteState;
use super::words::{ago, count, stamp};

/// Days before its end from which an end is coloured.
const SOON: i64 = 14;

pub(super) fn routes(picture: &Picture) -> Markup {
    let now = picture.time;
    html! {
        section {
            h2 { "Routes" }
            div.box {
                table.stack {
                    caption { "Routes, those that need attention first" }
                    thead {
                        tr {
                            th scope="col" { "Route" }
                            th scope="col" { "State" }
                            th scope="col" { "Last hour" }
                            th.n scope="col" { "Accepted" }
                            th.n scope="col" { "Refused" }
                            th.n scope="col" { "Failed" }
                            th scope="col" { "Last verified" }
                            th.n scope="col" { "In flight" }
                            th.n scope="col" { "Median, p95" }
                        }
                    }
                    tbody { @for route in &picture.routes.shown { (self::route(route, now)) } }
                }
            }
            (left_out(picture.routes.left_out, "routes"))
            p.note {
                "A bar is a minute: "
                span.key.accepted {} "accepted, " span.key.refused {} "refused, " span.key.failed {} "failed."
            }
            (unrouted(picture))
        }
    }
}

/// Messages that reached the upstream, and that it did not want.
fn turned_down(route: &Route) -> u64 {
    route.upstream_errors_by_code.values().sum()
}

fn route(route: &Route, now: Moment) -> Markup {
    let hour = &route.last_hour;
    html! {
        tr {
            th scope="row" {
                (route.name)
                div.sub { code { (route.pattern) } " to " code { (route.upstream) } }
            }
            td data-label="State" { div { (route_state(route.state)) } }
            td data-label="Last hour" {
                div {
                    (sparkline(hour))
                    div.sub {
                        (count(sum(&hour.accepted))) " accepted, " (count(sum(&hour.refused))) " refused, "
                        (count(sum(&hour.failed))) " failed"
                    }
                }
            }
            td.n data-label="Accepted" {
                div {
                    (count((route.forwarded + route.challenges).saturating_sub(turned_down(route))))
                    div.sub { (count(route.forwarded)) " forwarded" }
                    div.sub { (count(route.challenges)) " challenges" }
                }
            }
            td.n data-label="Refused" { div { (count(route.refused)) (by(&route.refused_by_reason)) } }
            td.n data-label="Failed" {
                div {
                    (count(route.errors + turned_down(route)))
                    (by(&route.upstream_errors_by_kind))
                    (by(&route.upstream_errors_by_code))
                }
            }
            td.nowrap data-label="Last verified" {
                div {
                    @match route.last_accepted {
                        Some(at) => { (ago(at, now)) }
                        None => { span.quiet { "never" } }
                    }
                }
            }
            td.n data-label="In flight" { div { (count(route.in_flight)) } }
            td.n data-label="Median, p95" {
                div {
                    @match (route.duration_median_s, route.duration_p95_s) {
                        (Some(median), Some(p95)) => {
                            (duration(median)) div.sub { "p95 " (duration(p95)) }
                        }
                        _ => { span.quiet { "none yet" } }
                    }
                }
            }
        }
    }
}

fn route_state(state: RouteState) -> Markup {
    let class = match state {
        RouteState::Failing => "state bad",
        RouteState::Unsteady | RouteState::Refusing | RouteState::Maintenance => "state warn",
        RouteState::Working => "state good",
        RouteState::Quiet => "state quiet",
    };
    html! { span class=(class) { (state.label()) } }
}

/// Most frequent first.
fn by(counts: &Counts) -> Markup {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    html! {
        @for (label, number) in counts { div.sub { (label) " " (count(*number)) } }
    }
}

fn unrouted(picture: &Picture) -> Markup {
    let unrouted = &picture.unrouted;
    let reasons: Vec<String> = (unrouted.refused_by_reason.iter())
        .map(|(reason, number)| format!("{reason} {}", count(*number)))
        .collect();
    html! {
        p.note {
            "Requests without a route: " (count(unrouted.refused)) " refused"
            @if !reasons.is_empty() { " (" (reasons.join(", ")) ")" }
            ", " (count(unrouted.errors)) " broken off."
        }
    }
}

fn left_out(more: usize, what: &str) -> Markup {
    html! { @if more > 0 { p.note { (count_of(more)) " more " (what) " are left out here." } } }
}

fn count_of(number: usize) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX))
}

pub(super) fn upstreams(picture: &Picture) -> Markup {
    html! {
        section {
            h2 { "Upstreams" }
            div.box {
                table.stack {
                    caption { "Upstreams, those in trouble first" }
                    thead {
                        tr {
                            th scope="col" { "Upstream" }
                            th scope="col" { "Addresses" }
                            th scope="col" { "Last error" }
                            th.n scope="col" { "Active" }
                            th.n scope="col" { "Idle" }
                            th.n scope="col" { "Limit" }
                            th.n scope="col" { "Waiting" }
                        }
                    }
                    tbody {
                        @for upstream in &picture.upstreams.shown { (self::upstream(upstream, picture.time)) }
                    }
                }
            }
            (left_out(picture.upstreams.left_out, "upstreams"))
        }
    }
}

fn upstream(upstream: &Upstream, now: Moment) -> Markup {
    html! {
        tr {
            th scope="row" { code { (upstream.name) } }
            td data-label="Addresses" {
                div { @for endpoint in &upstream.endpoints { (self::endpoint(endpoint)) } }
            }
            td data-label="Last error" {
                div {
                    @match &upstream.last_error {
                        Some(error) => { (error.kind) ", " (ago(error.time, now)) }
                        None => { span.quiet { "none" } }
                    }
                }
            }
            td.n data-label="Active" { div { (count(upstream.connections_active)) } }
            td.n data-label="Idle" { div { (count(upstream.connections_idle)) } }
            td.n data-label="Limit" { div { (upstream.connections_limit.map_or("none".to_owned(), count_of)) } }
            td.n data-label="Waiting" { div { (count(upstream.waiting)) } }
        }
    }
}

fn endpoint(endpoint: &Endpoint) -> Markup {
    let class = match endpoint.state {
        EndpointState::Up => "state good",
        EndpointState::Out | EndpointState::PassedOver => "state bad",
        EndpointState::Unknown => "state quiet",
    };
    html! {
        div {
            span class=(class) { (endpoint.state.label()) } " " code { (endpoint.name) }
            @if let Some(seconds) = endpoint.passed_over_for_s {
                small { " for " (span(seconds)) }
            }
            @if endpoint.passed_over > 0 { small { ", " (times(endpoint.passed_over)) " so far" } }
        }
    }
}

fn times(number: u64) -> String {
    match number {
        1 => "once".to_owned(),
        number => format!("{} times", count(number)),
    }
}

pub(super) fn tokens(picture: &Picture) -> Markup {
    html! {
        section {
            h2 { "Tokens" }
            div.box {
                table.stack {
                    caption { "Tokens of the routes above, by the names that the configuration gives them" }
                    thead {
                        tr {
                            th scope="col" { "Token" }
                            th scope="col" { "Route" }
                            th scope="col" { "State" }
                            th.n scope="col" { "Uses" }
                            th scope="col" { "Last used" }
                            th scope="col" { "Expires" }
                        }
                    }
                    tbody {
                        @for route in &picture.routes.shown {
                            @for token in &route.tokens.shown { (self::token(token, route, picture.time)) }
                        }
                    }
                }
            }
            @for route in &picture.routes.shown {
                (left_out(route.tokens.left_out, &format!("tokens of {}", route.name)))
            }
        }
    }
}

fn token(token: &Token, route: &Route, now: Moment) -> Markup {
    let class = match token.state {
        TokenState::Active => "state good",
        TokenState::Retiring => "state warn",
        TokenState::Expired => "state bad",
    };
    html! {
        tr {
            th scope="row" { (token.id) }
            td data-label="Route" { div { (route.name) } }
            td data-label="State" { div { span class=(class) { (token.state.label()) } } }
            td.n data-label="Uses" { div { (count(token.uses)) } }
            td data-label="Last used" {
                div {
                    @match token.last_used {
                        Some(at) => { (span(now.since(at))) " ago" }
                        None => { span.quiet { "never" } }
                    }
                }
            }
            td data-label="Expires" {
                div {
                    @match (token.not_after, token.days_left) {
                        (Some(end), Some(days)) => {
                            (stamp(end))
                            @if token.state != TokenState::Expired { small { ", " (days) " days left" } }
                        }
                        _ => { span.quiet { "no end" } }
                    }
                }
            }
        }
    }
}

pub(super) fn certificates(picture: &Picture) -> Markup {
    html! {
        section {
            h2 { "Certificates" }
            div.box {
                table.stack {
                    caption { "Certificates, the one that ends first at the top" }
                    thead {
                        tr {
                            th scope="col" { "Names" }
                            th scope="col" { "Listener" }
                            th scope="col" { "Valid" }
                            th.n scope="col" { "Days left" }
                        }
                    }
                    tbody { @for certificate in &picture.certificates.shown { (self::certificate(certificate)) } }
                }
            }
            (left_out(picture.certificates.left_out, "certificates"))
        }
    }
}

fn certificate(certificate: &Certificate) -> Markup {
    let names = &certificate.names.shown;
    let class = match certificate.days_left {
        ..0 => "state bad",
        0..SOON => "state warn",
        SOON.. => "state good",
    };
    html! {
        tr {
            th scope="row" {
                @if names.is_empty() { (certificate.name) } @else { (names.join(", ")) }
                @if certificate.names.left_out > 0 { " and " (certificate.names.left_out) " more" }
                div.sub { "serial " span.id { (certificate.serial) } }
            }
            td data-label="Listener" { div { (certificate.listener) } }
            td data-label="Valid" { div { (certificate.not_before.date()) " to " (certificate.not_after.date()) } }
            td.n data-label="Days left" { div { span class=(class) { (certificate.days_left) } } }
        }
    }
}

pub(super) fn listeners(picture: &Picture) -> Markup {
    html! {
        section {
            h2 { "Listeners" }
            div.box {
                table.stack {
                    caption { "Listeners" }
                    thead {
                        tr {
                            th scope="col" { "Listener" }
                            th scope="col" { "Address" }
                            th scope="col" { "Speaks" }
                            th.n scope="col" { "Connections" }
                        }
                    }
                    tbody { @for listener in &picture.listeners.shown { (self::listener(listener)) } }
                }
            }
            (left_out(picture.listeners.left_out, "listeners"))
        }
    }
}

fn listener(listener: &Listener) -> Markup {
    let speaks = if listener.tls { "TLS" } else { "plain HTTP" };
    html! {
        tr {
            th scope="row" { (listener.name) }
            td data-label="Address" { div { code { (listener.address) } } }
            td data-label="Speaks" { div { (speaks) } }
            td.n data-label="Connections" {
                div { (count(listener.connections_open)) " of " (count_of(listener.connections_limit)) }
            }
        }
    }
}

pub(super) fn decisions(picture: &Picture) -> Markup {
    html! {
        section {
            h2 { "Last decisions" }
            div.box tabindex="0" role="region" aria-label="Last decisions" {
                table.dense {
                    caption { "The last decisions, what ended last at the top" }
                    thead {
                        tr {
                            th scope="col" { "Began" }
                            th scope="col" { "Outcome" }
                            th scope="col" { "Reason" }
                            th.n scope="col" { "Status" }
                            th scope="col" { "Route" }
                            th scope="col" { "Listener" }
                            th scope="col" { "Token" }
                            th.n scope="col" { "Took" }
                            th scope="col" { "Request id" }
                        }
                    }
                    tbody {
                        @for decision in &picture.decisions { (self::decision(decision)) }
                        @if picture.decisions.is_empty() {
                            tr { td.quiet colspan="9" { "none since the start" } }
                        }
                    }
                }
            }
        }
    }
}

fn decision(decision: &Decision) -> Markup {
    let class = match decision.outcome {
        "forwarded" | "challenge" => "state good",
        "rejected" => "state warn",
        _ => "state bad",
    };
    html! {
        tr {
            th scope="row" { time datetime=(decision.time.rfc3339()) { (decision.time.clock()) } }
            td { span class=(class) { (decision.outcome) } }
            td { (decision.reason.unwrap_or_default()) }
            td.n { @match decision.status { Some(status) => (status), None => "none" } }
            td { (decision.route) }
            td { (decision.listener) }
            td { (decision.token_id.as_deref().unwrap_or_default()) }
            td.n { (duration(decision.duration_s)) }
            td.id { (decision.request_id) }
        }
    }
}
