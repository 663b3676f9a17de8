//! What one worker counts of a listener.

use std::time::Duration;

use super::Labels;
use super::cell::{CONNECTS, Counter, Gauge, Histogram};
use super::route::{inc, list};

/// The counters of one listener in one worker. Only that worker's thread may count in it.
pub struct ListenerMetrics {
    pub(super) open: Gauge,
    pub(super) accepted: Counter,
    pub(super) closed: Box<[Counter]>,
    pub(super) proxy_faults: Box<[Counter]>,
    /// By version, each without and with an earlier session.
    pub(super) handshakes: Box<[Counter]>,
    pub(super) handshake_failures: Box<[Counter]>,
    pub(super) handshake_time: Histogram<13>,
}

impl ListenerMetrics {
    pub(super) fn new(labels: &Labels) -> Self {
        Self {
            open: Gauge::default(),
            accepted: Counter::default(),
            closed: list(labels.connection_ends.len()),
            proxy_faults: list(labels.proxy_faults.len()),
            handshakes: list(labels.tls_versions.len() * 2),
            handshake_failures: list(labels.tls_failures.len()),
            handshake_time: Histogram::default(),
        }
    }

    /// Counts a connection that was accepted.
    pub fn opened(&self) {
        self.open.inc();
        self.accepted.inc();
    }

    /// Counts the end of a connection; `why` is a position in [`Labels::connection_ends`].
    pub fn closed(&self, why: usize) {
        self.open.dec();
        inc(self.closed.get(why));
    }

    /// Counts a refused PROXY header; `reason` is a position in [`Labels::proxy_faults`].
    pub fn proxy_fault(&self, reason: usize) {
        inc(self.proxy_faults.get(reason));
    }

    /// Counts a finished handshake; `version` is a position in [`Labels::tls_versions`].
    pub fn handshake(&self, version: usize, resumed: bool, took: Duration) {
        let first = version.checked_mul(2);
        inc(first.and_then(|first| self.handshakes.get(first + usize::from(resumed))));
        self.handshake_time.observe_time(&CONNECTS, took);
    }

    /// Counts a failed handshake; `reason` is a position in [`Labels::tls_failures`].
    pub fn handshake_failure(&self, reason: usize) {
        inc(self.handshake_failures.get(reason));
    }
}
