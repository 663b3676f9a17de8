//! The limits in `limits.yaml`: what a figure was when somebody last said that it is right.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::exchanges::EXCHANGES;
use crate::pieces::PIECES;
use crate::stage::Result;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/limits.yaml"
);
const HEADER: &str = "\
# Instructions for one operation; a figure more than 5 % above fails. Not written by hand:
#     cargo bench --locked --profile release --bench instructions -- write
";

/// How a figure lies to its limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Within,
    Above,
    /// Worth a lower limit.
    Below,
    /// There is none yet.
    Unlimited,
}

/// All limits, and the figures that would be.
pub(crate) struct Limits {
    old: BTreeMap<String, u64>,
    new: BTreeMap<String, u64>,
}

impl Limits {
    pub(crate) fn read() -> Result<Self> {
        let old: BTreeMap<String, u64> = serde_yaml::from_str(&std::fs::read_to_string(FILE)?)?;
        let new = old.clone();
        Ok(Self { old, new })
    }

    /// A line of the table, and what it says.
    pub(crate) fn compare(&mut self, name: &str, counted: u64) -> (String, Comparison) {
        self.new.insert(name.to_owned(), counted);
        let limit = self.old.get(name).copied();
        let comparison = limit.map_or(Comparison::Unlimited, |limit| judge(counted, limit));
        let said = match comparison {
            Comparison::Within => "",
            Comparison::Above => "  ABOVE the limit",
            Comparison::Below => "  lower the limit",
            Comparison::Unlimited => "  no limit yet",
        };
        let (limit, change) = limit.map_or_else(Default::default, |limit| {
            (limit.to_string(), change(counted, limit))
        });
        let line = format!("{name:42} {counted:>12} {limit:>12} {change:>8}{said}");
        (line, comparison)
    }

    /// Makes the figures the limits; those that were not counted this time stay.
    pub(crate) fn write(&self) -> Result<()> {
        let mut text = HEADER.to_owned();
        let pieces = PIECES.iter().map(|piece| piece.name);
        for name in pieces.chain(EXCHANGES.iter().map(|exchange| exchange.name)) {
            if let Some(counted) = self.new.get(name) {
                writeln!(text, "{name}: {counted}")?;
            }
        }
        Ok(std::fs::write(FILE, text)?)
    }
}

/// With 5 % for what differs between machines and runs, in whole numbers.
fn judge(counted: u64, limit: u64) -> Comparison {
    let (counted, limit) = (u128::from(counted) * 100, u128::from(limit));
    if counted > limit * 105 {
        Comparison::Above
    } else if counted < limit * 95 {
        Comparison::Below
    } else {
        Comparison::Within
    }
}

#[expect(
    clippy::as_conversions,
    reason = "numbers that are printed need no exact conversion"
)]
fn change(counted: u64, limit: u64) -> String {
    format!("{:+.1} %", (counted as f64 / limit as f64 - 1.0) * 100.0)
}
