//! Single numbers out of the metrics, added up over all workers: for the status page, which shows some routes and must
//! not gather the series of all of them.
//!
//! Here is everything of the metrics that the page looks at; the rest of it never touches a counter.

use std::sync::{Arc, PoisonError};

use super::cell::{DURATIONS, Observed, exact};
use super::configured::ConfiguredUpstream;
use super::route::SENDERS;
use super::view::{RouteView, UNROUTED, UpstreamView};
use super::worker::WorkerBlocks;
use super::{Labels, Metrics};

/// What has been counted of one route.
#[derive(Clone, Debug, Default)]
pub struct RouteTotals {
    /// Requests by how they ended, in the order of [`Labels::outcomes`].
    pub outcomes: Vec<u64>,
    /// Refused ones by reason, in the order of [`Labels::reasons`].
    pub rejected: Vec<u64>,
    /// Failed exchanges with its upstream by kind, in the order of [`Labels::upstream_errors`].
    pub upstream_errors: Vec<u64>,
    /// Answers of its upstream by status, in the order of [`Labels::upstream_codes`].
    pub upstream_responses: Vec<u64>,
    /// Uses of its tokens, in configured order.
    pub token_uses: Vec<u64>,
    /// When a request or challenge was last verified, in seconds since 1970; 0 for never.
    pub last_accepted: u64,
    /// Verified requests whose answer has not ended.
    pub in_flight: u64,
    /// How long requests took that ended with the first outcome.
    pub durations: Durations,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    /// For each bucket its upper bound in seconds and how many took at most as long.
    buckets: Vec<(f64, u64)>,
    count: u64,
}

/// What has been counted of one upstream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTotals {
    /// Connections that carry a request.
    pub active: u64,
    /// Connections that wait for one.
    pub idle: u64,
    /// Requests that wait for a connection.
    pub waiting: u64,
    /// How often each endpoint was passed over.
    pub passed_over: Vec<u64>,
}

impl Metrics {
    /// The label sets that positions in totals belong to.
    pub fn labels(&self) -> Labels {
        self.shape.labels
    }

    /// Requests of a route by how they ended, in the order of [`Labels::outcomes`].
    pub fn outcome_totals(&self, route: &str) -> Vec<u64> {
        let view = self.view(route);
        self.outcomes(&view)
    }

    /// Answers of a route's upstream by status, in the order of [`Labels::upstream_codes`].
    pub fn upstream_response_totals(&self, route: &str) -> Vec<u64> {
        let view = self.view(route);
        self.upstream_responses(&view)
    }

    /// All that the page shows of a route.
    pub fn route_totals(&self, route: &str, tokens: &[Arc<str>]) -> RouteTotals {
        let view = self.view(route);
        let reasons = 0..self.shape.labels.reasons.len();
        let refused = |reason: usize| {
            let positions = (0..SENDERS.len()).map(|sender| reason * SENDERS.len() + sender);
            let each = positions.map(|position| view.sum(|block| &block.rejected, position));
            each.sum()
        };
        let errors = 0..self.shape.labels.upstream_errors.len();
        let failed = |kind| view.exchange_sum(|block| &block.errors, kind);
        let durations = view.histogram(&DURATIONS, |block| block.durations.first());
        RouteTotals {
            outcomes: self.outcomes(&view),
            rejected: reasons.map(refused).collect(),
            upstream_errors: errors.map(failed).collect(),
            upstream_responses: self.upstream_responses(&view),
            token_uses: (tokens.iter())
                .map(|id| view.token_uses(id, None))
                .collect(),
            last_accepted: view.last_accepted(),
            in_flight: view.in_flight(),
            durations: Durations::from(&durations),
        }
    }

    /// Connections of a listener that are open now.
    pub fn open_connections(&self, listener: &str) -> u64 {
        let mut listeners = self.shape.listeners.iter();
        let position = listeners.position(|known| *known.name == *listener);
        let workers = self.worker_blocks();
        let counted = workers
            .iter()
            .filter_map(|worker| worker.listeners.get(position?));
        counted
            .map(|listener| listener.open.get())
            .fold(0, u64::wrapping_add)
    }

    /// All that the page shows of an upstream.
    pub fn upstream_totals(&self, upstream: &str, endpoints: &[Arc<str>]) -> UpstreamTotals {
        let known = ConfiguredUpstream {
            name: upstream.into(),
            endpoints: endpoints.to_vec(),
        };
        let view = UpstreamView::new(&known, &self.worker_blocks());
        UpstreamTotals {
            active: view.gauge(|block| &block.active),
            idle: view.gauge(|block| &block.idle),
            waiting: view.gauge(|block| &block.waiting),
            passed_over: endpoints
                .iter()
                .map(|name| view.passed_over(name))
                .collect(),
        }
    }

    fn outcomes(&self, view: &RouteView<'_>) -> Vec<u64> {
        let outcomes = self.shape.labels.outcomes.len();
        let total = |outcome: usize| {
            let positions =
                (0..self.shape.listeners.len()).map(|listener| listener * outcomes + outcome);
            let each = positions.map(|position| view.sum(|block| &block.requests, position));
            each.sum()
        };
        (0..outcomes).map(total).collect()
    }

    fn upstream_responses(&self, view: &RouteView<'_>) -> Vec<u64> {
        let codes = 0..self.shape.labels.upstream_codes.len();
        let answered = |code| view.exchange_sum(|block| &block.responses, code);
        codes.map(answered).collect()
    }

    fn view<'v>(&'v self, route: &'v str) -> RouteView<'v> {
        let workers = self.worker_blocks();
        if route == UNROUTED {
            RouteView::unrouted(&self.shape, &workers)
        } else {
            RouteView::named(&self.shape, route, None, &workers)
        }
    }

    fn worker_blocks(&self) -> Vec<Arc<WorkerBlocks>> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.clone()
    }
}

impl From<&Observed<14>> for Durations {
    fn from(observed: &Observed<14>) -> Self {
        Self {
            buckets: observed.cumulative().collect(),
            count: observed.count(),
        }
    }
}

impl Durations {
    /// What a share of them took at most, in seconds; between the bounds of a bucket they are taken to lie evenly, and
    /// beyond the last bound none is. `None` while there are none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * exact(self.count);
        let (mut lower, mut below) = (0.0, 0);
        for (bound, count) in &self.buckets {
            if self.count > 0 && exact(*count) >= rank {
                let inside = exact(count - below).max(1.0);
                return Some(lower + (bound - lower) * (rank - exact(below)) / inside);
            }
            (lower, below) = (*bound, *count);
        }
        (self.count > 0).then_some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::telemetry::metrics::tests::{LABELS, configured, listeners};

    #[test]
    fn totals_are_sums_over_workers_and_listeners() {
        let metrics = Metrics::new(LABELS, listeners(&["public", "plain"]));
        let tokens: [Arc<str>; 2] = ["a".into(), "b".into()];
        let plan = configured(&[("redox", "u", &[("a", None), ("b", Some(9))])]);
        for at in [200, 100] {
            let worker = metrics.worker();
            let counters = worker.plan(&plan);
            let route = &counters.routes[0];
            route.request(0, 0, Duration::from_millis(200));
            route.request(1, 0, Duration::from_millis(200));
            route.request(1, 1, Duration::from_millis(200));
            route.rejected(0, true);
            route.rejected(0, false);
            route.upstream_error(0);
            route.token_used(1, at);
            route.began();
            counters.unrouted.request(0, 1, Duration::ZERO);
            worker.listener(1).unwrap().opened();
            let upstream = worker.upstream(&"u".into(), &tokens);
            upstream.active().inc();
            upstream.waiting().inc();
            upstream.passed_over(1);
        }
        let totals = metrics.route_totals("redox", &tokens);
        assert_eq!(totals.outcomes, [4, 2]);
        assert_eq!(metrics.outcome_totals("redox"), [4, 2]);
        assert_eq!(metrics.outcome_totals("none"), [0, 2]);
        assert_eq!(
            (totals.rejected, totals.upstream_errors),
            (vec![4], vec![2])
        );
        assert_eq!((totals.token_uses, totals.last_accepted), (vec![0, 2], 200));
        assert_eq!(totals.in_flight, 2);
        let median = totals.durations.quantile(0.5).unwrap();
        assert!((0.1..=0.25).contains(&median), "{median}");
        let open = ["public", "plain", "other"].map(|name| metrics.open_connections(name));
        assert_eq!(open, [0, 2, 0]);
        let upstream = metrics.upstream_totals("u", &tokens);
        assert_eq!(
            (upstream.active, upstream.idle, upstream.waiting),
            (2, 0, 2)
        );
        assert_eq!(upstream.passed_over, [0, 2]);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let durations = |buckets: &[(f64, u64)], count| Durations {
            buckets: buckets.to_vec(),
            count,
        };
        let none = durations(&[(1.0, 0), (2.0, 0)], 0);
        assert_eq!(none.quantile(0.5), None);
        let even = durations(&[(1.0, 10), (2.0, 20)], 20);
        assert_eq!(even.quantile(0.5), Some(1.0));
        assert_eq!(even.quantile(0.75), Some(1.5));
        let first = durations(&[(1.0, 0), (2.0, 1)], 1);
        assert_eq!(first.quantile(0.95), Some(1.95));
        let beyond = durations(&[(1.0, 1), (2.0, 1)], 100);
        assert_eq!(beyond.quantile(0.95), Some(2.0));
    }
}
