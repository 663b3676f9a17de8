//! The only place where the status page looks at metrics.

use std::sync::Arc;

use super::minutes::Counted;
use crate::telemetry::{Metrics, RouteTotals, UpstreamTotals};

/// What stands for requests without a route.
pub(super) const UNROUTED: &str = "none";

/// Counts of one route, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteNumbers {
    pub(super) forwarded: u64,
    pub(super) challenges: u64,
    pub(super) refused: u64,
    pub(super) errors: u64,
    /// Reasons that have occurred, most frequent first.
    pub(super) reasons: Vec<(&'static str, u64)>,
    /// Kinds of upstream errors that have occurred, most frequent first.
    pub(super) kinds: Vec<(&'static str, u64)>,
    /// Statuses with which the upstream turned messages down, most frequent first.
    pub(super) codes: Vec<(&'static str, u64)>,
    pub(super) token_uses: Vec<u64>,
    /// In seconds since 1970; 0 for never.
    pub(super) last_accepted: u64,
    pub(super) in_flight: u64,
    /// In seconds; of forwarded requests.
    pub(super) median: Option<f64>,
    pub(super) p95: Option<f64>,
}

/// How the requests of a route have ended since the start. To a sender, a message that the upstream turned down has
/// failed like one that did not reach it.
pub(super) fn counted(metrics: &Metrics, route: &str) -> Counted {
    let [forwarded, challenges, refused, failed] = outcomes(&metrics.outcome_totals(route));
    let codes = turned_down(metrics, &metrics.upstream_response_totals(route));
    Counted {
        accepted: forwarded + challenges,
        refused,
        failed,
        turned_down: codes.iter().map(|(_, count)| count).sum(),
    }
}

/// All numbers of a route.
pub(super) fn of_route(metrics: &Metrics, route: &str, tokens: &[Arc<str>]) -> RouteNumbers {
    let labels = metrics.labels();
    let totals: RouteTotals = metrics.route_totals(route, tokens);
    let [forwarded, challenges, refused, errors] = outcomes(&totals.outcomes);
    RouteNumbers {
        forwarded,
        challenges,
        refused,
        errors,
        reasons: occurred(labels.reasons, &totals.rejected),
        kinds: occurred(labels.upstream_errors, &totals.upstream_errors),
        codes: turned_down(metrics, &totals.upstream_responses),
        token_uses: totals.token_uses,
        last_accepted: totals.last_accepted,
        in_flight: totals.in_flight,
        median: totals.durations.quantile(0.5),
        p95: totals.durations.quantile(0.95),
    }
}

/// All numbers of an upstream.
pub(super) fn of_upstream(metrics: &Metrics, name: &str, endpoints: &[Arc<str>]) -> UpstreamTotals {
    metrics.upstream_totals(name, endpoints)
}

/// Connections of a listener that are open now.
pub(super) fn open(metrics: &Metrics, listener: &str) -> u64 {
    metrics.open_connections(listener)
}

/// Forwarded, challenge, rejected, error: the order is the contract's.
fn outcomes(totals: &[u64]) -> [u64; 4] {
    totals.first_chunk().copied().unwrap_or_default()
}

/// A status of 400 or above: senders take it for a failure, and keep the message.
fn turned_down(metrics: &Metrics, responses: &[u64]) -> Vec<(&'static str, u64)> {
    let mut codes = occurred(metrics.labels().upstream_codes, responses);
    codes.retain(|(code, _)| code.starts_with(['4', '5']));
    codes
}

fn occurred(labels: &[&'static str], counts: &[u64]) -> Vec<(&'static str, u64)> {
    let pairs = labels.iter().copied().zip(counts.iter().copied());
    let mut pairs: Vec<_> = pairs.filter(|(_, count)| *count > 0).collect();
    pairs.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    pairs
}
