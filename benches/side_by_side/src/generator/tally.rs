//! What a cell has seen.

use std::time::{Duration, Instant};

use crate::requests::Request;

/// Counts of one cell.
#[derive(Default)]
pub(crate) struct Tally {
    /// Answers that came within the window.
    pub(crate) answered: u64,
    /// Nanoseconds from the request's moment to its answer; above 4 s, 4 s.
    pub(crate) latencies: Vec<u32>,
    /// Requests that have to come to the backend, over all phases, and the bytes of their bodies.
    pub(crate) forwarded: u64,
    pub(crate) forwarded_bytes: u64,
    /// Connections that the proxy closed after an answer although it was not asked to.
    pub(crate) closed_by_proxy: u64,
    /// Connections within the window that began with a full handshake.
    pub(crate) full_handshakes: u64,
    /// Requests that were due within the window and could not be sent.
    pub(crate) unsent: u64,
    /// Requests that belong to the window because they were due in it, however late the answer.
    by_schedule: bool,
    opened: Option<Instant>,
    closed: Option<Instant>,
    last: Option<Instant>,
}

impl Tally {
    /// So many answers, whenever they came.
    pub(crate) fn of(answered: u64) -> Self {
        Self {
            answered,
            ..Self::default()
        }
    }

    pub(super) fn by_schedule() -> Self {
        Self {
            by_schedule: true,
            ..Self::default()
        }
    }

    pub(super) fn open(&mut self, now: Instant) {
        self.opened = Some(now);
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.closed = Some(now);
    }

    fn is_within(&self, moment: Instant) -> bool {
        self.opened.is_some_and(|opened| opened <= moment)
            && self.closed.is_none_or(|closed| moment < closed)
    }

    /// A request is on its way.
    pub(super) fn sent(&mut self, request: &Request, now: Instant) {
        if let Some(bytes) = request.forwarded {
            self.forwarded += 1;
            self.forwarded_bytes += bytes;
        }
        self.last.get_or_insert(now);
    }

    /// Its answer is here; `at` is when it was sent, or should have been.
    pub(super) fn answered(&mut self, at: Instant, now: Instant) {
        self.last = Some(now);
        let within = self.is_within(now);
        self.answered += u64::from(within);
        if if self.by_schedule {
            self.is_within(at)
        } else {
            within
        } {
            self.latencies
                .push(nanoseconds(now.saturating_duration_since(at)));
        }
    }

    /// A connection that has given its first answer, and how it began.
    pub(super) fn began(&mut self, resumed: Option<bool>, now: Instant) {
        self.full_handshakes += u64::from(resumed == Some(false) && self.is_within(now));
    }

    /// It was due and never sent: it has waited until now at least.
    pub(super) fn never_sent(&mut self, at: Instant, now: Instant) {
        if self.is_within(at) {
            self.unsent += 1;
            self.latencies
                .push(nanoseconds(now.saturating_duration_since(at)));
        }
    }

    /// When something was last answered, or first sent.
    pub(super) fn last_answer(&self, now: Instant) -> Instant {
        self.last.unwrap_or(now)
    }
}

fn nanoseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut tally = Tally::default();
        tally.answered(at(0), at(1));
        tally.open(at(10));
        tally.answered(at(9), at(11));
        tally.close(at(20));
        tally.answered(at(19), at(21));
        assert_eq!((tally.answered, tally.latencies), (1, vec![2_000_000]));
    }

    #[test]
    fn by_schedule_a_late_answer_is_not_forgotten() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut tally = Tally::by_schedule();
        tally.open(at(10));
        tally.answered(at(9), at(11));
        tally.close(at(20));
        tally.answered(at(19), at(21));
        tally.never_sent(at(15), at(20));
        assert_eq!((tally.answered, tally.unsent), (1, 1));
        assert_eq!(tally.latencies, [2_000_000, 5_000_000]);
    }
}
