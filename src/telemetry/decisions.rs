//! The last decisions: what became of the most recent requests, for the status page.
//!
//! Each worker writes into slots of its own, and never waits for whoever looks: a slot that is being read is passed
//! over for the next one. Like an access line, a decision has no field for anything that a sender wrote; unlike one, it
//! has no address either.

use std::cell::Cell;
use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

/// Decisions that are kept: by each worker, so that the latest of all are among them.
pub const DECISION_LIMIT: usize = 50;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When the request began.
    pub time: SystemTime,
    /// Until its answer had ended.
    pub duration: Duration,
    /// When its answer had ended, by a clock that nobody sets: decisions are in this order.
    pub ended: Instant,
    /// Ours, never the sender's.
    pub request_id: String,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the route; `none` where no route matched.
    pub route: Arc<str>,
    /// One of four.
    pub outcome: &'static str,
    /// Why it was not forwarded or answered.
    pub reason: Option<&'static str>,
    /// The operator's name for the token that matched.
    pub token_id: Option<Arc<str>>,
    /// What the sender was told; none when it was told nothing.
    pub status: Option<u16>,
}

type Slots = [Mutex<Option<Decision>>; DECISION_LIMIT];

/// The last decisions of all workers. Cloning gives another handle.
#[derive(Clone, Default)]
pub struct Decisions {
    workers: Arc<Mutex<Vec<Arc<Slots>>>>,
}

/// Where one worker writes.
pub struct DecisionRing {
    slots: Arc<Slots>,
    next: Cell<usize>,
}

impl Decisions {
    /// Room for one more worker.
    pub fn ring(&self) -> DecisionRing {
        let slots: Arc<Slots> = Arc::new(std::array::from_fn(|_| Mutex::default()));
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(&slots));
        DecisionRing {
            slots,
            next: Cell::new(0),
        }
    }

    /// The last ones, at most [`DECISION_LIMIT`]: what ended last comes first.
    pub fn latest(&self) -> Vec<Decision> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        // One slot at a time, so that a worker finds at most one of its slots busy.
        let slots = workers.iter().flat_map(|slots| slots.iter());
        let read =
            |slot: &Mutex<Option<_>>| slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut decisions: Vec<Decision> = slots.filter_map(read).collect();
        decisions.sort_by_key(|decision| Reverse(decision.ended));
        decisions.truncate(DECISION_LIMIT);
        decisions
    }
}

impl DecisionRing {
    /// Writes over the oldest decision. Does not wait.
    pub fn write(&self, decision: Decision) {
        // Whoever reads holds one slot at most, so the second try succeeds.
        for _ in 0..DECISION_LIMIT {
            let position = self.next.get();
            self.next.set((position + 1) % DECISION_LIMIT);
            let Some(slot) = self.slots.get(position) else {
                return;
            };
            match slot.try_lock() {
                Ok(mut slot) => {
                    *slot = Some(decision);
                    return;
                }
                Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    fn decision(second: u64) -> Decision {
        Decision {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            duration: Duration::from_millis(3),
            ended: *START + Duration::from_secs(second),
            request_id: format!("{second:x}"),
            listener: "public".into(),
            route: "redox".into(),
            outcome: "forwarded",
            reason: None,
            token_id: Some("2026-11".into()),
            status: Some(200),
        }
    }

    fn seconds(decisions: &Decisions) -> Vec<u64> {
        let since = |decision: &Decision| decision.time.duration_since(SystemTime::UNIX_EPOCH);
        let latest = decisions.latest();
        latest
            .iter()
            .map(|decision| since(decision).unwrap().as_secs())
            .collect()
    }

    #[test]
    fn the_latest_of_all_workers_are_kept_and_never_more() {
        let decisions = Decisions::default();
        assert_eq!(decisions.latest(), []);
        let (one, other) = (decisions.ring(), decisions.ring());
        for second in 0..200 {
            let ring = if second % 3 == 0 { &one } else { &other };
            ring.write(decision(second));
        }
        assert_eq!(
            seconds(&decisions),
            (150..200).rev().collect::<Vec<_>>(),
            "latest first"
        );
    }

    #[test]
    fn a_slot_that_is_being_read_is_passed_over() {
        let decisions = Decisions::default();
        let ring = decisions.ring();
        let held = ring.slots[0].lock().unwrap();
        ring.write(decision(1));
        drop(held);
        assert_eq!(seconds(&decisions), [1]);
        assert!(ring.slots[0].lock().unwrap().is_none());
    }

    #[test]
    fn what_ended_last_comes_first() {
        let decisions = Decisions::default();
        let ring = decisions.ring();
        let ended = |second| *START + Duration::from_secs(second);
        let slow = Decision {
            duration: Duration::from_secs(60),
            ended: ended(61),
            ..decision(1)
        };
        ring.write(decision(2));
        ring.write(slow);
        assert_eq!(seconds(&decisions), [1, 2]);
        // Somebody has set the wall clock back by some minutes.
        ring.write(Decision {
            ended: ended(62),
            ..decision(0)
        });
        assert_eq!(seconds(&decisions), [0, 1, 2]);
    }
}
