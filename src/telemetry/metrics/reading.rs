//! Single numbers out of the metrics, added up over all workers: for the status page, which shows some routes and must
//! not gather the series of all of them.
//!
//! Here is everything of the metrics that the page looks at; the rest of it never touches a counter.

use std::sync::{Arc, PoisonError};

use prometheus::core::Metric as _;
use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::upstream::UpstreamFamilies;
use super::{Labels, Metrics};

/// The families of one worker that are read here.
pub(super) struct Handles {
    pub(super) listeners: Vec<(Arc<str>, IntGauge)>,
    pub(super) requests: IntCounterVec,
    pub(super) rejected: IntCounterVec,
    pub(super) token_uses: IntCounterVec,
    pub(super) last_accepted: IntGaugeVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) durations: HistogramVec,
    pub(super) upstream_errors: IntCounterVec,
    pub(super) upstreams: UpstreamFamilies,
}

/// What has been counted of one route.
#[derive(Clone, Debug, Default)]
pub struct RouteTotals {
    /// Requests by how they ended, in the order of [`Labels::outcomes`].
    pub outcomes: Vec<u64>,
    /// Refused ones by reason, in the order of [`Labels::reasons`].
    pub rejected: Vec<u64>,
    /// Failed exchanges with its upstream by kind, in the order of [`Labels::upstream_errors`].
    pub upstream_errors: Vec<u64>,
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
        self.labels
    }

    /// Requests of a route by how they ended, in the order of [`Labels::outcomes`].
    pub fn outcome_totals(&self, route: &str) -> Vec<u64> {
        let mut outcomes = vec![0; self.labels.outcomes.len()];
        self.each_worker(|handles| handles.add_outcomes(route, self.labels, &mut outcomes));
        outcomes
    }

    /// All that the page shows of a route.
    pub fn route_totals(&self, route: &str, tokens: &[Arc<str>]) -> RouteTotals {
        let mut totals = RouteTotals {
            outcomes: self.outcome_totals(route),
            rejected: vec![0; self.labels.reasons.len()],
            upstream_errors: vec![0; self.labels.upstream_errors.len()],
            token_uses: vec![0; tokens.len()],
            ..RouteTotals::default()
        };
        self.each_worker(|handles| {
            let add = |family: &IntCounterVec, sums: &mut [u64], labels: &[&str]| {
                for (sum, label) in sums.iter_mut().zip(labels) {
                    *sum += family.with_label_values(&[route, label]).get();
                }
            };
            let labels = self.labels;
            add(&handles.rejected, &mut totals.rejected, labels.reasons);
            let errors = &mut totals.upstream_errors;
            add(&handles.upstream_errors, errors, labels.upstream_errors);
            let ids: Vec<&str> = tokens.iter().map(AsRef::as_ref).collect();
            add(&handles.token_uses, &mut totals.token_uses, &ids);
            let last = gauge(&handles.last_accepted.with_label_values(&[route]));
            totals.last_accepted = totals.last_accepted.max(last);
            totals.in_flight += gauge(&handles.in_flight.with_label_values(&[route]));
            if let Some(outcome) = labels.outcomes.first() {
                totals.durations.add(&handles.durations, route, outcome);
            }
        });
        totals
    }

    /// Connections of a listener that are open now.
    pub fn open_connections(&self, listener: &str) -> u64 {
        let mut open = 0;
        self.each_worker(|handles| {
            let own = handles.listeners.iter();
            let own = own.filter(|(name, _)| **name == *listener);
            open += own.map(|(_, gauge)| self::gauge(gauge)).sum::<u64>();
        });
        open
    }

    /// All that the page shows of an upstream.
    pub fn upstream_totals(&self, upstream: &str, endpoints: &[Arc<str>]) -> UpstreamTotals {
        let mut totals = UpstreamTotals {
            passed_over: vec![0; endpoints.len()],
            ..UpstreamTotals::default()
        };
        self.each_worker(|handles| {
            let one = handles.upstreams.of(upstream, endpoints);
            totals.active += gauge(&one.active);
            totals.idle += gauge(&one.idle);
            totals.waiting += gauge(&one.waiting);
            for (sum, count) in totals.passed_over.iter_mut().zip(one.passed_over_counts()) {
                *sum += count;
            }
        });
        totals
    }

    fn each_worker(&self, mut look: impl FnMut(&Handles)) {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().for_each(|(_, handles)| look(handles));
    }
}

impl Handles {
    fn add_outcomes(&self, route: &str, labels: Labels, outcomes: &mut [u64]) {
        for (listener, _) in &self.listeners {
            for (sum, outcome) in outcomes.iter_mut().zip(labels.outcomes) {
                *sum += self
                    .requests
                    .with_label_values(&[&**listener, route, outcome])
                    .get();
            }
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

    fn add(&mut self, family: &HistogramVec, route: &str, outcome: &str) {
        let metric = family.with_label_values(&[route, outcome]).metric();
        let histogram = metric.get_histogram();
        self.count += histogram.get_sample_count();
        for (position, bucket) in histogram.get_bucket().iter().enumerate() {
            match self.buckets.get_mut(position) {
                Some((_, count)) => *count += bucket.cumulative_count(),
                None => {
                    let bucket = (bucket.upper_bound(), bucket.cumulative_count());
                    self.buckets.push(bucket);
                }
            }
        }
    }
}

fn gauge(gauge: &IntGauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or(0)
}

/// Counts are far below 2^53, up to which this is exact.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "there is no other way from a count to a share of it"
)]
fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::tests::LABELS;

    #[test]
    fn totals_are_sums_over_workers_and_listeners() {
        let metrics = Metrics::new(LABELS);
        let listeners = ["public".into(), "plain".into()];
        let tokens: [Arc<str>; 2] = ["a".into(), "b".into()];
        for at in [200, 100] {
            let worker = metrics.worker(&listeners).unwrap();
            let route = worker.route("redox", &tokens);
            route.request(0, 0, 0.2);
            route.request(1, 0, 0.2);
            route.request(1, 1, 0.2);
            route.rejected(0);
            route.upstream_error(0);
            route.token_used(1, at);
            route.in_flight.inc();
            worker.listener(1).unwrap().opened();
            let upstream = worker.upstream("u", &tokens);
            upstream.active.inc();
            upstream.waiting.inc();
            upstream.passed_over(1);
        }
        let totals = metrics.route_totals("redox", &tokens);
        assert_eq!(totals.outcomes, [4, 2]);
        assert_eq!(metrics.outcome_totals("redox"), [4, 2]);
        assert_eq!(
            (totals.rejected, totals.upstream_errors),
            (vec![2], vec![2])
        );
        assert_eq!((totals.token_uses, totals.last_accepted), (vec![0, 2], 200));
        assert_eq!(totals.in_flight, 2);
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
