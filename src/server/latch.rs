//! Something that happens once, and whom it wakes. For one thread.

use std::cell::Cell;

use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Latch {
    set: Cell<bool>,
    happens: Notify,
}

impl Latch {
    /// It has happened.
    pub fn set(&self) {
        self.set.set(true);
        self.happens.notify_waiters();
    }

    /// Whether it has.
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Completes when it happens, at once if it has.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait(&self) {
        let happens = self.happens.notified();
        if !self.is_set() {
            happens.await;
        }
    }
}
