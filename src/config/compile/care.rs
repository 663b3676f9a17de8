//! How connections to an upstream are looked after: retries, limits, keep-alive, health checks.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::limits::duration;
use crate::config::context::Context;
use crate::config::document::{self, Upstream};
use crate::config::value::{KEEP, duration_text};
use crate::gateway::plan::{HealthCheck, UpstreamCare};

const RETRY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
const KEPT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const WAIT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const CONNECTIONS: RangeInclusive<u64> = 1..=100_000;
const QUEUE: RangeInclusive<u64> = 0..=100_000;
const REQUESTS: RangeInclusive<u64> = 1..=1_000_000;
const CHECKS: RangeInclusive<u64> = 1..=100;

/// Compiles the settings; `None` where one of them cannot be.
pub(super) fn compile(
    context: &mut Context<'_>,
    path: &str,
    upstream: &Upstream,
) -> Option<UpstreamCare> {
    let at = |key: &str| format!("{path}.{key}");
    let retry = duration(
        context,
        &at("connect_retry"),
        &upstream.connect_retry,
        &RETRY,
    );
    let limit = upstream.max_connections;
    let limit = limit.map(|limit| number(context, &at("max_connections"), limit, &CONNECTIONS));
    let queue = number(context, &at("queue"), upstream.queue, &QUEUE);
    let queue_timeout = duration(
        context,
        &at("queue_timeout"),
        &upstream.queue_timeout,
        &WAIT,
    );
    let keep_alive = keep_alive(context, &at("keep_alive"), upstream);
    let requests = number(
        context,
        &at("keep_alive_requests"),
        upstream.keep_alive_requests,
        &REQUESTS,
    );
    let check = upstream.health_check.as_ref();
    let check = check.map(|check| health_check(context, &at("health_check"), check));
    Some(UpstreamCare {
        connect_retry: retry?,
        max_connections: match limit {
            Some(limit) => Some(usize::try_from(limit?).ok()?),
            None => None,
        },
        queue: usize::try_from(queue?).ok()?,
        queue_timeout: queue_timeout?,
        keep_alive: keep_alive?,
        keep_alive_requests: requests?,
        health_check: match check {
            Some(check) => Some(check?),
            None => None,
        },
    })
}

fn keep_alive(context: &mut Context<'_>, path: &str, upstream: &Upstream) -> Option<Duration> {
    let Some(keep_alive) = upstream.keep_alive.duration() else {
        let found = format!("the duration {}", context.shown(path));
        context.error(path, found, KEEP);
        return None;
    };
    if !KEPT.contains(&keep_alive) {
        let found = format!("the duration {}", context.shown(path));
        context.error(path, found, format!("0s to {}", duration_text(*KEPT.end())));
        return None;
    }
    Some(keep_alive)
}

fn health_check(
    context: &mut Context<'_>,
    path: &str,
    check: &document::HealthCheck,
) -> Option<HealthCheck> {
    let at = |key: &str| format!("{path}.{key}");
    let interval = duration(context, &at("interval"), &check.interval, &WAIT);
    let timeout = duration(context, &at("timeout"), &check.timeout, &WAIT);
    let fall = number(context, &at("fall"), check.fall, &CHECKS);
    let rise = number(context, &at("rise"), check.rise, &CHECKS);
    let text = check.path.as_deref()?;
    let parsed = PathAndQuery::try_from(text).ok();
    let target = parsed.filter(|parsed| text.starts_with('/') && parsed.as_str() == text);
    if target.is_none() {
        let path = at("path");
        let found = format!("the path {}", context.shown(&path));
        context.error(&path, found, "a path such as /health");
    }
    Some(HealthCheck {
        path: target?,
        interval: interval?,
        timeout: timeout?,
        fall: u32::try_from(fall?).ok()?,
        rise: u32::try_from(rise?).ok()?,
    })
}

fn number(
    context: &mut Context<'_>,
    path: &str,
    number: u64,
    range: &RangeInclusive<u64>,
) -> Option<u64> {
    if range.contains(&number) {
        return Some(number);
    }
    let found = format!("the number {}", context.shown(path));
    context.error(path, found, format!("{} to {}", range.start(), range.end()));
    None
}
