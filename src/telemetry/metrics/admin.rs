//! What the admin listener counts, and what it knows of the process.

use super::cell::{Counter, Gauge};

/// Pages of the admin listener, as its metric calls them, each with the statuses that it may answer.
const ANSWERS: [(&str, &[u16]); 5] = [
    ("metrics", &[200, 405]),
    ("healthz", &[200, 405]),
    ("readyz", &[200, 405, 503]),
    ("status", &[200, 404, 405, 421, 500]),
    ("other", &[404, 405]),
];

/// The number of pairs in [`ANSWERS`].
const PAIRS: usize = 14;

/// The numbers of the admin listener, which one thread serves.
#[derive(Default)]
pub(super) struct AdminBlock {
    answers: [Counter; PAIRS],
    ready: Gauge,
    draining: Gauge,
}

fn pairs() -> impl Iterator<Item = (&'static str, u16)> {
    let each = ANSWERS.iter();
    each.flat_map(|(endpoint, codes)| codes.iter().map(|code| (*endpoint, *code)))
}

impl AdminBlock {
    /// A page was asked for by this path, and answered with this status.
    pub(super) fn answered(&self, path: &str, status: u16) {
        let endpoint = match path {
            "/metrics" => "metrics",
            "/healthz" => "healthz",
            "/readyz" => "readyz",
            "/status" | "/status.json" => "status",
            _ => "other",
        };
        let mut counters = pairs().zip(&self.answers);
        if let Some((_, counter)) = counters.find(|(pair, _)| *pair == (endpoint, status)) {
            counter.inc();
        }
    }

    pub(super) fn state(&self, ready: bool, draining: bool) {
        self.ready.set(u64::from(ready));
        self.draining.set(u64::from(draining));
    }

    pub(super) fn ready(&self) -> u64 {
        self.ready.get()
    }

    pub(super) fn draining(&self) -> u64 {
        self.draining.get()
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = ((&'static str, u16), u64)> {
        pairs().zip(self.answers.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_counter() {
        let block = AdminBlock::default();
        assert_eq!(pairs().count(), PAIRS);
        block.answered("/readyz", 503);
        block.answered("/status.json", 200);
        block.answered("/x", 404);
        block.answered("/x", 200);
        let moved = block.counts().filter(|(_, count)| *count > 0);
        let moved: Vec<_> = moved.map(|(pair, _)| pair).collect();
        assert_eq!(moved, [("readyz", 503), ("status", 200), ("other", 404)]);
    }
}
