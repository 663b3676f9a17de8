//! Medians, quantiles, and repeatable chance.

/// The sample at or below which this share of all samples lies; zero without samples.
pub(crate) fn quantile(samples: &mut [u32], share: f64) -> u32 {
    let rank = (samples.len() as f64 * share).ceil() as usize;
    let at = rank.saturating_sub(1);
    if at >= samples.len() {
        return 0;
    }
    *samples.select_nth_unstable(at).1
}

/// Several rounds of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// `None` without values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self {
            median,
            lowest,
            highest,
        })
    }
}

/// Numbers that look like chance and are the same each time (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// From an exponential distribution with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        // Above 0 and at most 1, so that the logarithm is a number.
        let uniform = (bits + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(quantile(&mut samples, 0.5), 50);
        assert_eq!(quantile(&mut samples, 0.99), 99);
        assert_eq!(quantile(&mut samples, 1.0), 100);
        assert_eq!(quantile(&mut [], 0.5), 0);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of(vec![3.0, 1.0, 10.0]).expect("values");
        assert_eq!(
            (spread.median, spread.lowest, spread.highest),
            (3.0, 1.0, 10.0)
        );
        assert_eq!(
            Spread::of(vec![1.0, 2.0]).map(|spread| spread.median),
            Some(1.5)
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn chance_is_repeatable_and_has_its_mean() {
        let (mut one, mut other) = (Random::seeded(7), Random::seeded(7));
        let sum: f64 = (0..100_000).map(|_| one.exponential()).sum();
        assert_eq!(
            Random::exponential(&mut other),
            Random::seeded(7).exponential()
        );
        assert!((sum / 100_000.0 - 1.0).abs() < 0.02, "{sum}");
    }
}
