//! Limits and timeouts: bounds, and values that do not go together.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::context::Context;
use crate::config::document::{self, Document};
use crate::config::value::{DURATION, DurationText, SIZE, SizeText, duration_text, size_text};
use crate::gateway::plan::RouteTimeouts;
use crate::server::ServerLimits;

/// Largest message the sender documents: 40 MB.
const SENDER_BODY: u64 = 40_000_000;
/// When the sender gives up on an answer.
const SENDER_PATIENCE: Duration = Duration::from_secs(120);
/// Longest pause in which a peer takes no byte of an answer.
const SEND_STALL: Duration = Duration::from_secs(30);

const KIB: u64 = 1024;
const BODY: RangeInclusive<u64> = KIB..=KIB * KIB * KIB * KIB;
const CHALLENGE_BODY: RangeInclusive<u64> = 256..=64 * KIB;
const HEADER_BYTES: RangeInclusive<u64> = KIB..=64 * KIB;
// 100 is as far as hyper goes without an allocation for each request.
const HEADER_COUNT: RangeInclusive<u64> = 1..=100;
const REQUESTS: RangeInclusive<u64> = 1..=1_000_000;
const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
/// A drain of nothing ends requests at once, which is a choice one may make.
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);

/// Limits and timeouts for everything that sets none of its own.
pub(super) struct General {
    pub(super) drain_delay: Duration,
    pub(super) server: ServerLimits,
    pub(super) route: RouteLimits,
}

/// What may differ from route to route.
#[derive(Clone, Copy)]
pub(super) struct RouteLimits {
    pub(super) body: u64,
    pub(super) challenge_body: usize,
    pub(super) requests: usize,
    pub(super) timeouts: RouteTimeouts,
}

/// The general limits and timeouts. A value that cannot be read stands as nothing; its finding stops the rest.
pub(super) fn general(context: &mut Context<'_>, document: &Document) -> General {
    let limits = &document.limits;
    let timeouts = &document.timeouts;
    let body = size(context, "limits.body", &limits.body, &BODY);
    warn_small_body(context, "limits.body", body);
    let count = limits.header_count;
    if !HEADER_COUNT.contains(&count) {
        let found = format!("the number {}", context.shown("limits.header_count"));
        context.error("limits.header_count", found, "1 to 100");
    }
    let mut timeout = |name: &str, text: &DurationText| {
        duration(context, &format!("timeouts.{name}"), text, &TIMEOUT).unwrap_or_default()
    };
    let tls_handshake = timeout("tls_handshake", &timeouts.tls_handshake);
    let request_head = timeout("request_head", &timeouts.request_head);
    let keep_alive = timeout("keep_alive", &timeouts.keep_alive);
    let route = RouteTimeouts {
        request_body_idle: timeout("request_body_idle", &timeouts.request_body_idle),
        connect: timeout("connect", &timeouts.connect),
        response: timeout("response", &timeouts.response),
    };
    // What cannot be read must not look too short.
    let drain = duration(context, "timeouts.drain", &timeouts.drain, &DRAIN);
    let drain = drain.unwrap_or(Duration::MAX);
    check_response(context, "timeouts", &route);
    let drain_path = if context.has("timeouts.drain") {
        "timeouts.drain"
    } else {
        "timeouts.response"
    };
    warn_short_drain(context, drain_path, drain, route.response);
    let drain_delay = duration(
        context,
        "timeouts.drain_delay",
        &timeouts.drain_delay,
        &DRAIN,
    );
    General {
        drain_delay: drain_delay.unwrap_or_default(),
        server: ServerLimits {
            header_bytes: number(size(
                context,
                "limits.header_bytes",
                &limits.header_bytes,
                &HEADER_BYTES,
            )),
            header_count: number(count),
            tls_handshake,
            request_head,
            keep_alive,
            send_stall: SEND_STALL,
            drain,
            preserve_header_case: false,
        },
        route: RouteLimits {
            body,
            challenge_body: number(size(
                context,
                "limits.challenge_body",
                &limits.challenge_body,
                &CHALLENGE_BODY,
            )),
            requests: requests(context, "limits.requests", limits.requests),
            timeouts: route,
        },
    }
}

fn requests(context: &mut Context<'_>, path: &str, count: u64) -> usize {
    if !REQUESTS.contains(&count) {
        let found = format!("the number {}", context.shown(path));
        context.error(path, found, "1 to 1000000");
    }
    number(count)
}

/// The limits of a route: its own, else the general ones.
pub(super) fn of_route(
    context: &mut Context<'_>,
    path: &str,
    route: &document::Route,
    general: &General,
) -> RouteLimits {
    let mut limits = general.route;
    if let Some(body) = &route.limits.body {
        let path = format!("{path}.limits.body");
        limits.body = size(context, &path, body, &BODY);
        warn_small_body(context, &path, limits.body);
    }
    if let Some(body) = &route.limits.challenge_body {
        let path = format!("{path}.limits.challenge_body");
        limits.challenge_body = number(size(context, &path, body, &CHALLENGE_BODY));
    }
    if let Some(count) = route.limits.requests {
        limits.requests = requests(context, &format!("{path}.limits.requests"), count);
    }
    let path = format!("{path}.timeouts");
    let own = &route.timeouts;
    let settings = [
        (
            "request_body_idle",
            &own.request_body_idle,
            &mut limits.timeouts.request_body_idle,
        ),
        ("connect", &own.connect, &mut limits.timeouts.connect),
        ("response", &own.response, &mut limits.timeouts.response),
    ];
    for (name, text, value) in settings {
        if let Some(text) = text {
            *value =
                duration(context, &format!("{path}.{name}"), text, &TIMEOUT).unwrap_or_default();
        }
    }
    if own.connect.is_some() || own.response.is_some() {
        check_response(context, &path, &limits.timeouts);
    }
    if own.response.is_some() {
        let response = format!("{path}.response");
        warn_short_drain(
            context,
            &response,
            general.server.drain,
            limits.timeouts.response,
        );
    }
    limits
}

fn warn_small_body(context: &mut Context<'_>, path: &str, body: u64) {
    // Zero: it could not be read.
    if (1..SENDER_BODY).contains(&body) {
        let found = format!("a largest body of {}", context.shown(path));
        let help = "Redox sends up to 40 MB; a message that is refused for its size blocks its queue for good";
        context.warn_help(path, found, "40MB or more", help);
    }
}

fn check_response(context: &mut Context<'_>, path: &str, timeouts: &RouteTimeouts) {
    let response = format!("{path}.response");
    if timeouts.response > SENDER_PATIENCE {
        let found = format!("a response timeout of {}", duration_text(timeouts.response));
        let help = "the sender gives up at 120s and sends the message again, while the upstream is still at it";
        context.warn_help(&response, found, "less than 120s", help);
    }
    if !timeouts.response.is_zero() && timeouts.connect >= timeouts.response {
        let found = format!(
            "a connect timeout of {} within a response timeout of {}",
            duration_text(timeouts.connect),
            duration_text(timeouts.response)
        );
        let help =
            "the response timeout covers the whole exchange, so the other never comes to bear";
        context.warn_help(
            &format!("{path}.connect"),
            found,
            "less than the response timeout",
            help,
        );
    }
}

fn warn_short_drain(context: &mut Context<'_>, path: &str, drain: Duration, response: Duration) {
    if drain < response {
        let found = format!(
            "a drain of {}, shorter than the response timeout of {}",
            duration_text(drain),
            duration_text(response)
        );
        let help =
            "requests that are still waiting for the upstream are cut off when the gateway stops";
        context.warn_help(
            path,
            found,
            "a drain longer than the response timeout",
            help,
        );
    }
}

fn size(
    context: &mut Context<'_>,
    path: &str,
    text: &SizeText,
    range: &RangeInclusive<u64>,
) -> u64 {
    let Some(bytes) = text.bytes() else {
        let found = format!("the size {}", context.shown(path));
        context.error_help(path, found, SIZE, "units are B, KiB, MiB, GiB, kB, MB, GB");
        return 0;
    };
    if !range.contains(&bytes) {
        let found = format!("the size {}", context.shown(path));
        let expected = format!(
            "{} to {}",
            size_text(*range.start()),
            size_text(*range.end())
        );
        context.error(path, found, expected);
    }
    bytes
}

/// `None` where it cannot be read.
pub(super) fn duration(
    context: &mut Context<'_>,
    path: &str,
    text: &DurationText,
    range: &RangeInclusive<Duration>,
) -> Option<Duration> {
    let Some(duration) = text.duration() else {
        let found = format!("the duration {}", context.shown(path));
        let shown = context.shown(path);
        let number = shown.trim_matches('`');
        let help = if number.chars().all(|c| c.is_ascii_digit()) {
            format!("a unit is missing: `{number}s`?")
        } else {
            "one number with one unit: ms, s, m, h or d".to_owned()
        };
        context.error_help(path, found, DURATION, help);
        return None;
    };
    if !range.contains(&duration) {
        let found = format!("the duration {}", context.shown(path));
        let expected = format!(
            "{} to {}",
            duration_text(*range.start()),
            duration_text(*range.end())
        );
        context.error(path, found, expected);
    }
    Some(duration)
}

fn number(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
