//! From the workers to the writer: buffers of fields over a bounded queue. Nothing here waits for a disk.
//!
//! A worker that finds the queue full keeps its records, up to a bound; what is beyond is lost, counted, and told by a
//! record once there is one again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::event::AuditEvent;
use super::notice::{Notice, write_request};
use crate::telemetry::access::AccessEntry;
use crate::telemetry::line::Calendar;
use crate::telemetry::metrics::AuditMetrics;

/// A buffer is handed over when it has grown to this size.
const BUFFER_BYTES: usize = 64 * 1024;
/// Or when its first record has waited this long.
const FLUSH_AFTER: Duration = Duration::from_millis(250);
/// A write that takes longer does not work.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// What a worker keeps at most while the queue is full, in bytes.
const KEPT_CAP: usize = 1024 * 1024;
/// What it keeps beyond that of requests that were let through: a flood of others may not cost their records.
const RESERVED: usize = 256 * 1024;

/// What the writer is told.
pub(super) enum Order {
    /// Records, each as the mark of its event, its fields and a line break.
    Records(Vec<u8>),
    /// The file may have been renamed.
    Look,
}

/// Whether writing works.
#[derive(Clone)]
pub struct AuditState(pub(super) Arc<Shared>);

pub(super) struct Shared {
    /// Requests wait for better times while writing fails.
    pub(super) strict: bool,
    /// The last try to write failed.
    pub(super) failing: AtomicBool,
    /// The queue was full, and the writer has not come round since.
    pub(super) full: AtomicBool,
    /// What the writer is at now, as the milliseconds from `base` to when it began, and one more; 0 while it waits.
    pub(super) busy: AtomicU64,
    pub(super) base: Instant,
    /// Records that are gone, and not told of yet.
    pub(super) lost: AtomicU64,
    pub(super) metrics: AuditMetrics,
}

impl AuditState {
    /// Whether nothing may be forwarded or answered: writing fails, and the configuration says `strict`.
    pub fn refuses(&self) -> bool {
        self.0.strict && self.fails()
    }

    /// Whether writing fails.
    pub fn fails(&self) -> bool {
        let shared = &self.0;
        shared.failing.load(Ordering::Relaxed)
            || shared.full.load(Ordering::Relaxed)
            || shared.is_stalled()
    }
}

impl Shared {
    pub(super) fn new(strict: bool, metrics: AuditMetrics) -> Self {
        Self {
            strict,
            failing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            base: Instant::now(),
            lost: AtomicU64::new(0),
            metrics,
        }
    }

    /// The writer asks something of the disk.
    pub(super) fn begin(&self) {
        let since = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.busy.store(since.saturating_add(1), Ordering::Relaxed);
    }

    /// The disk has answered.
    pub(super) fn end(&self) {
        self.busy.store(0, Ordering::Relaxed);
    }

    /// Whether the disk keeps the writer waiting, and with it every record that comes.
    fn is_stalled(&self) -> bool {
        // The clock is asked only while something is written.
        let since = self.busy.load(Ordering::Relaxed).checked_sub(1);
        since.is_some_and(|since| {
            let waited = self
                .base
                .elapsed()
                .saturating_sub(Duration::from_millis(since));
            waited >= STALLED_AFTER
        })
    }

    pub(super) fn lose(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
        self.metrics.lost.inc_by(records);
    }

    /// The queue is full, or the writer is stalled: the trail fails until that writes again.
    fn overflow(&self) {
        if !self.full.swap(true, Ordering::Relaxed) {
            self.metrics.write_failures.inc();
            self.metrics.failing.set(1);
            tracing::error!(
                strict = self.strict,
                "the audit trail is not written fast enough: its queue is full, or its disk does not answer"
            );
        }
    }
}

/// Where records go. Cheap to clone; each worker makes its own [`AuditLog`] from it.
#[derive(Clone)]
pub struct AuditSink {
    pub(super) queue: SyncSender<Order>,
    pub(super) state: AuditState,
}

impl AuditSink {
    /// Hands over a record of a change.
    pub fn tell(&self, event: AuditEvent, notice: &Notice) {
        let mut line = Vec::with_capacity(notice.line.len() + 2);
        line.push(event.mark());
        line.extend_from_slice(&notice.line);
        line.push(b'\n');
        if self.state.0.is_stalled() {
            self.state.0.overflow();
        }
        if self.queue.try_send(Order::Records(line)).is_err() {
            self.state.0.overflow();
            self.state.0.lose(1);
        }
    }

    /// Looks whether the file was renamed, and begins another one if so. It would at the next record in any case.
    pub fn look(&self) {
        // Where the queue is full there are records in it.
        let _ = self.queue.try_send(Order::Look);
    }

    /// Whether writing works.
    pub fn state(&self) -> AuditState {
        self.state.clone()
    }
}

/// The audit trail of one worker.
pub struct AuditLog {
    sink: AuditSink,
    buffer: RefCell<Vec<u8>>,
    records: Cell<u64>,
    filled: Notify,
    calendar: Calendar,
}

impl AuditLog {
    /// A trail that hands its records to `sink`.
    pub fn new(sink: AuditSink) -> Rc<Self> {
        Rc::new(Self {
            sink,
            buffer: RefCell::default(),
            records: Cell::new(0),
            filled: Notify::new(),
            calendar: Calendar::default(),
        })
    }

    /// Hands over records that have waited. One task of the worker runs this for ever.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.filled.notified().await;
            tokio::time::sleep(FLUSH_AFTER).await;
            self.flush();
        }
    }

    /// Whether nothing may be forwarded or answered: as [`AuditState::refuses`], and where there is no room for one more
    /// record here, which may be so for a moment after that has ended.
    pub fn refuses(&self) -> bool {
        let state = &self.sink.state;
        state.refuses() || (state.0.strict && !self.has_room())
    }

    fn has_room(&self) -> bool {
        self.buffer.borrow().len() < KEPT_CAP
    }

    /// Writes the record of a request; `tls` says whether its sender came over TLS.
    pub fn request(&self, event: AuditEvent, entry: &AccessEntry<'_>, tls: bool) {
        let full = || self.sink.state.0.full.load(Ordering::Relaxed);
        if !self.has_room() && !full() {
            self.flush();
        }
        let expendable = event.is_expendable(entry.token_id.is_some());
        let cap = KEPT_CAP + if expendable { 0 } else { RESERVED };
        if self.buffer.borrow().len() >= cap {
            self.sink.state.0.lose(1);
            return;
        }
        let length = {
            let mut buffer = self.buffer.borrow_mut();
            if buffer.is_empty() {
                self.filled.notify_one();
            }
            write_request(&mut buffer, &self.calendar, event, entry, tls);
            buffer.len()
        };
        self.records.set(self.records.get() + 1);
        // Not at every record while the queue is full.
        if length >= BUFFER_BYTES && !full() {
            self.flush();
        }
    }

    /// Hands over what there is, or keeps it where the queue is full.
    fn flush(&self) {
        let buffer = self.buffer.take();
        if buffer.is_empty() {
            return;
        }
        if self.sink.state.0.is_stalled() {
            self.sink.state.0.overflow();
        }
        match self.sink.queue.try_send(Order::Records(buffer)) {
            Ok(()) => self.records.set(0),
            Err(TrySendError::Full(Order::Records(kept))) => {
                *self.buffer.borrow_mut() = kept;
                self.sink.state.0.overflow();
                self.filled.notify_one();
            }
            // The writer is gone, which it is only after a panic of its own.
            Err(TrySendError::Full(Order::Look) | TrySendError::Disconnected(_)) => {
                self.sink.state.0.overflow();
                self.sink.state.0.lose(self.records.take());
            }
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.flush();
        // What the queue has no room for goes with the worker.
        if self.records.get() > 0 {
            self.sink.state.0.lose(self.records.take());
        }
    }
}

/// The time of day, as the caller's clock has it: this room reads none.
pub type Now = fn() -> SystemTime;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use std::net::SocketAddr;
    use std::sync::mpsc::{Receiver, sync_channel};

    fn sink(strict: bool) -> (AuditSink, Receiver<Order>) {
        let metrics = Metrics::new(crate::telemetry::metrics::tests::LABELS, Vec::new());
        let (queue, orders) = sync_channel(1);
        let metrics = metrics.process().unwrap().audit;
        let state = AuditState(Arc::new(Shared::new(strict, metrics)));
        (AuditSink { queue, state }, orders)
    }

    fn request(log: &AuditLog) {
        request_of(log, AuditEvent::MessageAccepted);
    }

    fn request_of(log: &AuditLog, event: AuditEvent) {
        let entry = AccessEntry {
            time: SystemTime::UNIX_EPOCH,
            request_id: "abc",
            listener: "public",
            route: "redox",
            outcome: "forwarded",
            reason: None,
            token_id: None,
            method: "POST",
            status: Some(200),
            received: 0,
            sent: 0,
            duration: Duration::ZERO,
            upstream_duration: None,
            peer: SocketAddr::from(([192, 0, 2, 1], 4)),
            client: None,
            upstream: None,
        };
        log.request(event, &entry, true);
    }

    fn lines(order: &Order) -> usize {
        match order {
            Order::Records(records) => records.iter().filter(|byte| **byte == b'\n').count(),
            Order::Look => 0,
        }
    }

    #[test]
    fn a_full_queue_keeps_records_up_to_a_bound_and_holds_up_nobody() {
        let (sink, orders) = sink(true);
        let state = sink.state();
        let log = AuditLog::new(sink);
        request(&log);
        log.flush();
        assert!(!state.fails());
        request(&log);
        log.flush();
        assert!(state.refuses(), "nobody takes them");
        let mut kept = 1;
        while state.0.metrics.lost.get() == 0 {
            request(&log);
            kept += 1;
        }
        assert!(log.buffer.borrow().len() < KEPT_CAP + RESERVED + 1024);
        assert_eq!(state.0.metrics.write_failures.get(), 1, "told once");
        assert_eq!(lines(&orders.recv().unwrap()), 1);
        log.flush();
        assert_eq!(lines(&orders.recv().unwrap()), kept - 1);
        assert_eq!(state.0.lost.load(Ordering::Relaxed), 1);
    }

    /// The writer may have come round before a worker has handed over what it kept.
    #[test]
    fn nothing_goes_on_that_has_no_room_to_be_told_of() {
        let (sink, orders) = sink(true);
        let state = sink.state();
        let log = AuditLog::new(sink);
        request(&log);
        log.flush();
        request(&log);
        log.flush();
        while state.0.metrics.lost.get() == 0 {
            request(&log);
        }
        assert_eq!(lines(&orders.recv().unwrap()), 1);
        state.0.full.store(false, Ordering::Relaxed);
        assert!(!state.refuses(), "it is written again");
        assert!(log.refuses(), "but here is no room yet");
        request(&log);
        assert_eq!(state.0.metrics.lost.get(), 1, "room is made at once");
        assert!(!log.refuses());
    }

    /// A flood of them needs no token.
    #[test]
    fn refusals_leave_room_for_what_was_let_through() {
        let (sink, _orders) = sink(true);
        sink.look();
        let log = AuditLog::new(sink.clone());
        request(&log);
        log.flush();
        let lost = || sink.state.0.metrics.lost.get();
        while lost() == 0 {
            request_of(&log, AuditEvent::MessageRefused);
        }
        request(&log);
        request_of(&log, AuditEvent::ClientLeft);
        request(&log);
        assert_eq!(lost(), 2);
    }

    #[test]
    fn only_strict_refuses() {
        let (sink, _orders) = sink(false);
        sink.look();
        let notice = Notice::new(AuditEvent::Ready, SystemTime::UNIX_EPOCH);
        sink.tell(AuditEvent::Ready, &notice);
        assert!(sink.state().fails() && !sink.state().refuses());
        assert_eq!(sink.state().0.lost.load(Ordering::Relaxed), 1);
    }
}
