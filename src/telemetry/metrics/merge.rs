//! Adding up the metrics of several workers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, Metric, MetricFamily, MetricType};

use super::LAST_ACCEPTED;

/// A family while it is added up.
pub(super) struct Merged {
    family: MetricFamily,
    metrics: BTreeMap<Vec<(String, String)>, Metric>,
}

impl Merged {
    pub(super) fn into_family(mut self) -> MetricFamily {
        self.family.set_metric(self.metrics.into_values().collect());
        self.family
    }
}

/// Adds these families to those there are.
pub(super) fn merge(into: &mut BTreeMap<String, Merged>, families: Vec<MetricFamily>) {
    for mut family in families {
        let kind = family.get_field_type();
        let name = family.name().to_owned();
        let metrics = std::mem::take(family.mut_metric());
        let latest = name == LAST_ACCEPTED;
        let merged = into.entry(name).or_insert_with(|| Merged {
            family,
            metrics: BTreeMap::new(),
        });
        for metric in metrics {
            let key = metric
                .get_label()
                .iter()
                .map(|pair| (pair.name().to_owned(), pair.value().to_owned()));
            match merged.metrics.entry(key.collect()) {
                Entry::Vacant(empty) => {
                    empty.insert(metric);
                }
                Entry::Occupied(mut sum) => {
                    add(sum.get_mut(), &metric, kind, latest);
                }
            }
        }
    }
}

fn add(sum: &mut Metric, more: &Metric, kind: MetricType, latest: bool) {
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(sum.get_counter().get_value() + more.get_counter().get_value());
        sum.set_counter(counter);
    } else if kind == MetricType::GAUGE {
        let (one, other) = (sum.get_gauge().get_value(), more.get_gauge().get_value());
        let mut gauge = Gauge::default();
        gauge.set_value(if latest { one.max(other) } else { one + other });
        sum.set_gauge(gauge);
    } else if kind == MetricType::HISTOGRAM {
        let value = add_histograms(sum.get_histogram(), more.get_histogram());
        sum.set_histogram(value);
    }
}

fn add_histograms(one: &Histogram, other: &Histogram) -> Histogram {
    let buckets = one
        .get_bucket()
        .iter()
        .zip(other.get_bucket())
        .map(|(one, other)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(one.upper_bound());
            bucket.set_cumulative_count(one.cumulative_count() + other.cumulative_count());
            bucket
        });
    let mut sum = Histogram::default();
    sum.set_bucket(buckets.collect());
    sum.set_sample_count(one.get_sample_count() + other.get_sample_count());
    sum.set_sample_sum(one.get_sample_sum() + other.get_sample_sum());
    sum
}
