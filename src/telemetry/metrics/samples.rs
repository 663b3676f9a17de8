//! Samples in the making: what the encoder of the `prometheus` crate takes.

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Result, TextEncoder};

use super::cell::{Observed, exact};

/// Name and value of a label. In each list they stand in the order of the alphabet, as the encoder's users expect.
pub(super) type Label<'l> = (&'static str, &'l str);

/// Samples of one family.
#[derive(Default)]
pub(super) struct Samples(Vec<Metric>);

impl Samples {
    pub(super) fn counter(&mut self, labels: &[Label<'_>], value: u64) {
        let mut counter = proto::Counter::default();
        counter.set_value(exact(value));
        self.metric(labels).set_counter(counter);
    }

    pub(super) fn gauge(&mut self, labels: &[Label<'_>], value: u64) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(exact(value));
        self.metric(labels).set_gauge(gauge);
    }

    pub(super) fn histogram<const N: usize>(&mut self, labels: &[Label<'_>], all: &Observed<N>) {
        let buckets = all.cumulative().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(all.count());
        histogram.set_sample_sum(all.sum());
        self.metric(labels).set_histogram(histogram);
    }

    fn metric(&mut self, labels: &[Label<'_>]) -> &mut Metric {
        debug_assert!(labels.is_sorted(), "{labels:?}");
        let pairs = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        self.0.push_mut(Metric::from_label(pairs.collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What all samples of a family have in common.
pub(super) struct Description {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
}

impl Description {
    /// Appends samples in text form, with the family's head where `headed`.
    ///
    /// # Errors
    /// None in practice: writing into memory does not fail.
    pub(super) fn encode(&self, samples: Samples, headed: bool, text: &mut Vec<u8>) -> Result<()> {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(samples.0);
        if headed {
            family.set_help(self.help.to_owned());
            return TextEncoder::new().encode(&[family], text);
        }
        let mut more = Vec::new();
        TextEncoder::new().encode(&[family], &mut more)?;
        // The type has been told: it may stand there once only, and the encoder always writes it.
        let mut lines = more.splitn(2, |byte| *byte == b'\n');
        text.extend_from_slice(lines.nth(1).unwrap_or_default());
        Ok(())
    }
}
