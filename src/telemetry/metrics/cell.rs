//! Numbers that one thread counts and others read.
//!
//! Each has a single writer, so counting is a load and a store, without a locked instruction; whoever reads may see a
//! value that is a moment old. Several cells are not read at one moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts so many.
    pub fn add(&self, more: u64) {
        self.0
            .store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(Counter);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// One less.
    pub fn dec(&self) {
        self.0.add(u64::MAX);
    }

    /// Puts another number in its place.
    pub fn set(&self, value: u64) {
        self.0.0.store(value, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Upper bounds of a histogram's buckets, in whole units, and what one unit of the metric is in them.
#[derive(Debug)]
pub(super) struct Bounds<const N: usize> {
    limits: [u64; N],
    unit: f64,
}

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// How long a request takes; the top is the sender's own limit.
pub(super) static DURATIONS: Bounds<14> = Bounds {
    limits: [
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
        30_000_000_000,
        60_000_000_000,
        120_000_000_000,
    ],
    unit: SECOND,
};

/// How long it takes to make a connection.
pub(super) static CONNECTS: Bounds<13> = Bounds {
    limits: [
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
    ],
    unit: SECOND,
};

/// What the gateway itself takes.
pub(super) static OVERHEADS: Bounds<9> = Bounds {
    limits: [
        50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 50_000_000,
    ],
    unit: SECOND,
};

/// Sizes of bodies, in bytes: 1 KiB to 64 MiB.
pub(super) static BODIES: Bounds<9> = Bounds {
    limits: [
        1 << 10,
        1 << 12,
        1 << 14,
        1 << 16,
        1 << 18,
        1 << 20,
        1 << 22,
        1 << 24,
        1 << 26,
    ],
    unit: 1.0,
};

/// What was observed, by size.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    buckets: [Counter; N],
    above: Counter,
    sum: Counter,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: [const { Counter(AtomicU64::new(0)) }; N],
            above: Counter::default(),
            sum: Counter::default(),
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Takes a value in, in the unit of the limits.
    pub(super) fn observe(&self, bounds: &Bounds<N>, value: u64) {
        let mut buckets = bounds.limits.iter().zip(&self.buckets);
        let bucket = buckets.find(|(limit, _)| value <= **limit);
        bucket.map_or(&self.above, |(_, bucket)| bucket).inc();
        self.sum.add(value);
    }

    /// The same for a time.
    pub(super) fn observe_time(&self, bounds: &Bounds<N>, time: Duration) {
        self.observe(bounds, nanoseconds(time));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    let whole = time.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(time.subsec_nanos()))
}

/// The sum of several histograms.
#[derive(Clone, Debug)]
pub(super) struct Observed<const N: usize> {
    bounds: &'static Bounds<N>,
    counts: [u64; N],
    above: u64,
    sum: u64,
}

impl<const N: usize> Observed<N> {
    pub(super) fn none(bounds: &'static Bounds<N>) -> Self {
        Self {
            bounds,
            counts: [0; N],
            above: 0,
            sum: 0,
        }
    }

    pub(super) fn add(&mut self, histogram: &Histogram<N>) {
        for (sum, bucket) in self.counts.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.get();
        }
        self.above += histogram.above.get();
        self.sum = self.sum.wrapping_add(histogram.sum.get());
    }

    /// Upper bounds in the metric's unit, each with how many values are not above it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut below = 0;
        let each = self.bounds.limits.iter().zip(self.counts);
        each.map(move |(limit, count)| {
            below += count;
            (exact(*limit) / self.bounds.unit, below)
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }

    /// In the metric's unit.
    pub(super) fn sum(&self) -> f64 {
        exact(self.sum) / self.bounds.unit
    }
}

/// Counts are far below 2^53, up to which this is exact.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "numbers of metrics are floating-point"
)]
pub(super) fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_in_its_bucket() {
        let histogram = Histogram::default();
        for value in [0, 1024, 1025, 1 << 26, (1 << 26) + 1, u64::MAX >> 8] {
            histogram.observe(&BODIES, value);
        }
        let mut observed = Observed::none(&BODIES);
        observed.add(&histogram);
        observed.add(&histogram);
        let all: Vec<_> = observed.cumulative().collect();
        assert_eq!(all[..2], [(1024.0, 4), (4096.0, 6)]);
        assert_eq!(all[8], (67_108_864.0, 8));
        assert_eq!(observed.count(), 12);
    }

    #[test]
    fn times_are_seconds_outside_and_saturate() {
        let histogram = Histogram::default();
        histogram.observe_time(&OVERHEADS, Duration::from_micros(50));
        histogram.observe_time(&OVERHEADS, Duration::from_millis(51));
        let mut observed = Observed::none(&OVERHEADS);
        observed.add(&histogram);
        assert_eq!(observed.cumulative().next(), Some((0.00005, 1)));
        assert_eq!((observed.count(), observed.sum()), (2, 0.05105));
        assert_eq!(nanoseconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn bounds_rise() {
        assert!(DURATIONS.limits.is_sorted() && CONNECTS.limits.is_sorted());
        assert!(OVERHEADS.limits.is_sorted() && BODIES.limits.is_sorted());
    }

    #[test]
    fn gauges_go_both_ways() {
        let gauge = Gauge::default();
        gauge.inc();
        gauge.inc();
        gauge.dec();
        assert_eq!(gauge.get(), 1);
    }
}
