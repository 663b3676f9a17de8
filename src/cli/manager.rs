//! What the service manager is told: ready, reloading, stopping, and that the workers still turn (`sd_notify`).
//!
//! Without a manager that listens nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// The interval in which the manager wants to hear that we are alive; `None` where it does not.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|every| !every.is_zero())
}

/// Whether a manager listens.
pub(super) fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Followed by [`ready`], whether or not the new configuration was taken up.
pub(super) fn reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else {
        return;
    };
    tell(&[NotifyState::Reloading, now]);
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Tells the manager that we are alive, as long as every worker is.
pub(super) struct Alive {
    last: Vec<u64>,
}

impl Alive {
    pub(super) fn new() -> Self {
        Self { last: Vec::new() }
    }

    /// `beats` is what the workers have counted. A worker that has not counted since the last time does not turn.
    pub(super) fn look(&mut self, beats: Vec<u64>) {
        if self.is_alive(beats) {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(
                "a worker does not turn any more; the service manager is not told that all is well"
            );
        }
    }

    fn is_alive(&mut self, beats: Vec<u64>) -> bool {
        let still = self.last.len() == beats.len()
            && self
                .last
                .iter()
                .zip(&beats)
                .any(|(before, now)| before == now);
        self.last = beats;
        !still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_stands_still_is_enough() {
        let mut alive = Alive::new();
        assert!(alive.is_alive(vec![0, 0]));
        assert!(alive.is_alive(vec![2, 1]));
        assert!(!alive.is_alive(vec![3, 1]));
        assert!(alive.is_alive(vec![4, 2]));
    }
}
