//! Stopping: one signal from outside reaches every connection of every worker.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::{Notify, watch};

use super::latch::Latch;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    Not,
    /// All goes on, but whoever asks is told to go elsewhere: readiness has ended, and answers close their connections.
    Leave,
    /// Listeners close, idle connections go, requests in flight finish.
    Drain,
    /// Now, whatever is in flight.
    Now,
}

/// The drain state of one worker.
#[derive(Clone)]
pub(super) struct Drain {
    shared: Rc<Shared>,
}

struct Shared {
    leaving: Cell<bool>,
    closed: Latch,
    begun: Latch,
    open: Cell<usize>,
    empty: Notify,
}

impl Drain {
    pub(super) fn new() -> Self {
        let shared = Shared {
            leaving: Cell::new(false),
            closed: Latch::default(),
            begun: Latch::default(),
            open: Cell::new(0),
            empty: Notify::new(),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// From here on answers close their connections.
    pub(super) fn leave(&self) {
        self.shared.leaving.set(true);
    }

    /// Whether answers close their connections.
    pub(super) fn is_leaving(&self) -> bool {
        self.shared.leaving.get()
    }

    /// From here on nobody is let in but those who have been accepted already.
    pub(super) fn close_doors(&self) {
        self.shared.closed.set();
    }

    /// Completes when nobody is let in any more, at once if so.
    pub(super) async fn doors_closed(&self) {
        self.shared.closed.wait().await;
    }

    pub(super) fn begin(&self) {
        self.shared.begun.set();
    }

    /// Completes when drain begins, at once if it has.
    pub(super) async fn begun(&self) {
        self.shared.begun.wait().await;
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn hold(&self) -> Hold {
        self.shared.open.set(self.shared.open.get() + 1);
        Hold(Rc::clone(&self.shared))
    }

    /// Completes when no connection is left.
    pub(super) async fn empty(&self) {
        while self.shared.open.get() > 0 {
            self.shared.empty.notified().await;
        }
    }
}

/// An open connection, as drain sees it.
pub(super) struct Hold(Rc<Shared>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        if self.0.open.get() == 0 {
            self.0.empty.notify_one();
        }
    }
}

/// Waits until stopping has come at least as far as `stage`; a sender that is gone means now.
pub(super) async fn reached(signal: &mut watch::Receiver<Stop>, stage: Stop) {
    // An error means that nobody can ever say stop again, which is a reason to stop.
    let _ = signal.wait_for(|stop| *stop >= stage).await;
}
