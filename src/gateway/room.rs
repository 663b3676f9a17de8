//! How many verified requests a route may have in flight, over all workers and over new configurations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The room of one route.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    taken: Arc<AtomicUsize>,
}

/// A request in it, until dropped.
#[derive(Debug)]
pub(super) struct RoomPlace(Arc<AtomicUsize>);

impl Room {
    /// Room for this many requests.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    /// Counts those who are in the old room of the same route. Where there are more of them than the new limit allows,
    /// they stay, and nobody comes in until enough have left.
    pub(super) fn inherit(&mut self, old: &Self) {
        self.taken = Arc::clone(&old.taken);
    }

    /// A place, if there is one.
    pub(super) fn enter(&self) -> Option<RoomPlace> {
        let enter = |taken| (taken < self.limit).then_some(taken + 1);
        let entered = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter);
        entered.ok().map(|_| RoomPlace(Arc::clone(&self.taken)))
    }
}

impl Drop for RoomPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_limit_counts_those_who_are_in_already() {
        let old = Room::new(3);
        let mut inside: Vec<_> = (0..3).filter_map(|_| old.enter()).collect();
        assert_eq!(inside.len(), 3);
        assert!(old.enter().is_none());
        let mut new = Room::new(2);
        new.inherit(&old);
        inside.pop();
        assert!(new.enter().is_none(), "two are in");
        inside.pop();
        assert!(new.enter().is_some());
    }
}
