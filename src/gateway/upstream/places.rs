//! How many connections an upstream may have, over all workers, and the queue of requests that wait for one.
//!
//! A [`Place`] belongs to a connection from before it is opened until its socket is closed, so the limit is exact. A
//! place that becomes free goes to whoever has waited longest. A connection that nobody uses gives its place up as
//! soon as somebody waits; that is up to the worker that has it, which is told by [`Places::wanted`].
//!
//! Not here: how long a request waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

/// The places of one upstream.
#[derive(Debug)]
pub(in crate::gateway) struct Places {
    state: Mutex<State>,
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    /// Most places.
    limit: usize,
    /// Most requests that wait.
    queue: usize,
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// The right to one connection. Dropping it gives it to the next in the queue.
#[derive(Debug)]
pub(super) struct Place {
    /// `None` only on its way out of a queue that nobody stands in any more.
    home: Option<Arc<Places>>,
}

/// What became of somebody who wants a place.
pub(super) enum Entry {
    /// It is free.
    Place(Place),
    /// It will be sent here. Dropping this leaves the queue.
    Queued(oneshot::Receiver<Place>),
    /// The queue is full as well.
    Full,
}

impl Places {
    pub(in crate::gateway) fn new(limit: usize, queue: usize) -> Self {
        Self {
            state: Mutex::new(State {
                limit,
                queue,
                taken: 0,
                waiting: VecDeque::new(),
            }),
            wanted: Notify::new(),
        }
    }

    /// New numbers for the same upstream. A smaller limit holds once enough connections have gone, a larger one at
    /// once: as long as somebody waits, a place that becomes free only changes hands, and whoever comes waits as well.
    pub(in crate::gateway) fn resize(self: &Arc<Self>, limit: usize, queue: usize) {
        let mut state = self.locked();
        (state.limit, state.queue) = (limit, queue);
        while state.taken < state.limit {
            let Some(next) = state.waiting.pop_front() else {
                return;
            };
            // What comes back unsent is disarmed: dropping it would ask for the lock that is held here.
            match next.send(self.place()) {
                Ok(()) => state.taken += 1,
                Err(mut place) => drop(place.home.take()),
            }
        }
    }

    /// Asks for a place.
    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        let mut state = self.locked();
        // Whoever has gone is no longer in anybody's way.
        state.waiting.retain(|waiting| !waiting.is_closed());
        if state.taken < state.limit && state.waiting.is_empty() {
            state.taken += 1;
            return Entry::Place(self.place());
        }
        if state.waiting.len() >= state.queue {
            return Entry::Full;
        }
        let (tell, told) = oneshot::channel();
        state.waiting.push_back(tell);
        drop(state);
        self.wanted.notify_waiters();
        Entry::Queued(told)
    }

    /// A place that is free right now.
    pub(super) fn enter_now(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.locked();
        let free =
            state.taken < state.limit && state.waiting.iter().all(oneshot::Sender::is_closed);
        state.taken += usize::from(free);
        free.then(|| self.place())
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        let state = self.locked();
        let here = state.waiting.iter().filter(|waiting| !waiting.is_closed());
        here.count()
    }

    /// Completes when somebody begins to wait after this call.
    pub(super) fn wanted(&self) -> Notified<'_> {
        self.wanted.notified()
    }

    fn place(self: &Arc<Self>) -> Place {
        Place {
            home: Some(Arc::clone(self)),
        }
    }

    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.locked();
                let next = if state.taken > state.limit {
                    None
                } else {
                    state.waiting.pop_front()
                };
                if next.is_none() {
                    state.taken = state.taken.saturating_sub(1);
                }
                next
            };
            let Some(next) = next else {
                return;
            };
            match next.send(self.place()) {
                Ok(()) => return,
                // Nobody there any more; the place itself must not come back here by being dropped.
                Err(mut place) => drop(place.home.take()),
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(places: &Arc<Places>) -> Place {
        match places.enter() {
            Entry::Place(place) => place,
            Entry::Queued(_) | Entry::Full => panic!("no place"),
        }
    }

    fn queued(places: &Arc<Places>) -> oneshot::Receiver<Place> {
        match places.enter() {
            Entry::Queued(told) => told,
            Entry::Place(_) | Entry::Full => panic!("not queued"),
        }
    }

    #[test]
    fn places_go_to_those_who_waited_longest_and_are_still_there() {
        let places = Arc::new(Places::new(1, 2));
        let first = place(&places);
        let (gone, mut second) = (queued(&places), queued(&places));
        assert!(matches!(places.enter(), Entry::Full));
        drop(gone);
        let mut third = queued(&places);
        assert_eq!(places.waiting(), 2);
        drop(first);
        let second = second.try_recv().unwrap();
        assert!(third.try_recv().is_err(), "one place, one owner");
        drop(second);
        drop(third);
        assert_eq!(places.locked().taken, 0, "sent to somebody who then left");
        drop(place(&places));
    }

    #[test]
    fn a_smaller_limit_holds_once_connections_have_gone() {
        let places = Arc::new(Places::new(3, 1));
        let [one, two, three] = [(); 3].map(|()| place(&places));
        places.resize(1, 1);
        let mut waiting = queued(&places);
        drop(one);
        drop(two);
        assert!(waiting.try_recv().is_err());
        drop(three);
        assert!(waiting.try_recv().is_ok());
    }

    #[test]
    fn a_larger_limit_lets_in_those_who_wait() {
        let places = Arc::new(Places::new(1, 4));
        let _only = place(&places);
        let (gone, mut second) = (queued(&places), queued(&places));
        let (mut third, mut fourth) = (queued(&places), queued(&places));
        drop(gone);
        places.resize(3, 4);
        assert!(second.try_recv().is_ok());
        assert!(third.try_recv().is_ok());
        assert!(fourth.try_recv().is_ok(), "the places that came back");
        assert_eq!(places.locked().taken, 1);
    }

    #[test]
    fn a_free_place_is_not_taken_from_the_queue() {
        let places = Arc::new(Places::new(1, 1));
        let only = places.enter_now().unwrap();
        let waiting = queued(&places);
        assert!(places.enter_now().is_none());
        drop(only);
        assert!(places.enter_now().is_none(), "it is on its way");
        drop(waiting);
        assert!(places.enter_now().is_some());
    }
}
