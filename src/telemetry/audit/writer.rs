//! The thread that writes: numbers records, chains them, and goes on trying where it cannot.
//!
//! What cannot be written is kept up to a bound, the oldest first, and written once that works again; what is beyond
//! the bound is counted, and a record says how many. A failure is told to the log once, and its end once.
//!
//! The disk is asked to keep what was written at most once a second, and at the end of a file and of the process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::chain::Seal;
use super::event::AuditEvent;
use super::file::{ChainFile, Writer};
use super::notice::Notice;
use super::stream::{AuditSink, AuditState, Now, Order, Shared};
use crate::telemetry::metrics::AuditMetrics;

/// Buffers in the queue for each worker: what some seconds of a disk that hangs bring about.
const QUEUE_PER_WORKER: usize = 32;
/// What is kept at most while writing fails, in bytes.
const PENDING_CAP: usize = 16 * 1024 * 1024;
/// What is kept beyond that of all but [expendable](AuditEvent::is_expendable) records, in bytes.
const RESERVED: usize = 2 * 1024 * 1024;
/// How much is written in one go, in bytes.
const BATCH_BYTES: usize = 1024 * 1024;
/// From one try to the next.
const RETRY: Duration = Duration::from_secs(1);
/// How long what was written may be on its way to the disk.
const SYNC_AFTER: Duration = Duration::from_secs(1);
/// Longest wait for the last records when the process ends.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// What a trail is started with.
pub struct AuditStart {
    /// The file.
    pub path: PathBuf,
    /// How hashes are made.
    pub seal: Seal,
    /// Whether requests are refused while writing fails.
    pub strict: bool,
    /// A random number that stands for this start of the process.
    pub boot: u64,
    /// How many workers will write.
    pub workers: usize,
    /// Counters.
    pub metrics: AuditMetrics,
    /// The clock.
    pub now: Now,
}

/// The thread that writes, until it has ended.
pub struct AuditWriter {
    done: Receiver<bool>,
}

impl AuditWriter {
    /// Waits until everything is written, but not for ever; `false` if some records are lost. All sinks and logs have
    /// to be gone.
    pub fn join(self) -> bool {
        self.done.recv_timeout(LAST_RECORDS).unwrap_or(false)
    }
}

impl AuditStart {
    /// Opens the file, writes the first record and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread be had. A file that cannot be written to is no error.
    pub fn start(self) -> io::Result<(AuditSink, AuditWriter)> {
        let capacity = QUEUE_PER_WORKER.saturating_mul(self.workers.max(2));
        let (queue, orders) = sync_channel(capacity);
        let state = AuditState(Arc::new(Shared::new(self.strict, self.metrics)));
        let writer = Writer {
            boot: format!("{:016x}", self.boot),
            host: host(),
        };
        let mut thread = Thread {
            file: ChainFile::new(self.path, self.seal, writer),
            shared: Arc::clone(&state.0),
            pending: Vec::new(),
            look: true,
            retry_at: Instant::now(),
            sync_at: Instant::now(),
            now: self.now,
        };
        thread.file.open()?;
        // Here and not in the thread, so that it is known before the first request whether it works.
        thread.write();
        let (end, done) = sync_channel(1);
        let builder = std::thread::Builder::new().name("audit".to_owned());
        builder.spawn(move || {
            let whole = thread.run(&orders);
            // Nobody listens where nobody waits.
            let _ = end.send(whole);
        })?;
        Ok((AuditSink { queue, state }, AuditWriter { done }))
    }
}

/// The name of this host, as Linux tells it.
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty() && name.len() <= 255).then(|| name.to_owned())
}

struct Thread {
    file: ChainFile,
    shared: Arc<Shared>,
    /// Records that are still to be written, as in [`Order::Records`].
    pending: Vec<u8>,
    /// The file has to be looked at, even without a record.
    look: bool,
    retry_at: Instant,
    sync_at: Instant,
    now: Now,
}

impl Thread {
    /// Writes until nobody can send records any more; `false` if some are lost.
    fn run(mut self, orders: &Receiver<Order>) -> bool {
        loop {
            let order = match self.next_turn() {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => orders.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match order {
                Ok(order) => {
                    self.take(order);
                    // As many as there are, so that they share a lock and a write.
                    for order in orders.try_iter().take(QUEUE_PER_WORKER) {
                        self.take(order);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
            if !self.is_failing() || Instant::now() >= self.retry_at {
                self.write();
            }
            // While writing fails a sync that works would look like the end of that.
            if !self.is_failing() && self.file.is_dirty() && Instant::now() >= self.sync_at {
                self.sync();
            }
        }
    }

    /// When there is something to do without an order.
    fn next_turn(&self) -> Option<Instant> {
        let retry = self.is_failing().then_some(self.retry_at);
        let sync = (self.file.is_dirty() && retry.is_none()).then_some(self.sync_at);
        retry.into_iter().chain(sync).min()
    }

    fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Look => self.look = true,
            Order::Records(records) if self.pending.len() + records.len() <= PENDING_CAP => {
                self.pending.extend_from_slice(&records);
            }
            Order::Records(records) => {
                for line in lines(&records) {
                    self.take_scarce(line);
                }
            }
        }
    }

    /// Keeps a record where there may be no room for it.
    fn take_scarce(&mut self, line: &[u8]) {
        let event = line.first().and_then(|mark| AuditEvent::of_mark(*mark));
        // Records have no text of a sender, so nobody can write this in one.
        let verified = || memchr::memmem::find(line, b"\"token_id\":\"").is_some();
        let expendable = event.is_none_or(|event| event.is_expendable(verified()));
        let cap = PENDING_CAP + if expendable { 0 } else { RESERVED };
        if self.pending.len() + line.len() < cap {
            self.pending.extend_from_slice(line);
            self.pending.push(b'\n');
        } else {
            self.shared.lose(1);
        }
    }

    /// Writes all there is, and notices whether that works.
    fn write(&mut self) {
        let was_dirty = self.file.is_dirty();
        self.shared.begin();
        let mut result = self.write_pending().and_then(|()| self.write_lost());
        // What made it fail may have been the disk, that takes bytes and does not keep them.
        if result.is_ok() && self.is_failing() {
            result = self.file.sync();
        }
        self.shared.end();
        if !was_dirty && self.file.is_dirty() {
            self.sync_at = Instant::now() + SYNC_AFTER;
        }
        self.notice(result);
    }

    fn sync(&mut self) {
        self.shared.begin();
        let result = self.file.sync();
        self.shared.end();
        self.sync_at = Instant::now() + SYNC_AFTER;
        self.notice(result);
    }

    fn write_pending(&mut self) -> io::Result<()> {
        while self.look || !self.pending.is_empty() {
            // Each batch has its time.
            self.shared.begin();
            let batch = batch(&self.pending);
            let fields = lines(batch).filter_map(|line| line.get(1..));
            let appended = self.file.append(fields, (self.now)());
            let metrics = &self.shared.metrics;
            if appended.introduced {
                metrics.record(AuditEvent::ChainStarted);
            }
            let mut end = 0;
            for line in lines(batch).take(appended.records) {
                end += line.len() + 1;
                if let Some(event) = line.first().and_then(|mark| AuditEvent::of_mark(*mark)) {
                    metrics.record(event);
                }
            }
            self.pending.drain(..end.min(self.pending.len()));
            appended.result?;
            self.look = false;
        }
        Ok(())
    }

    /// Says how many records are gone, if any are.
    fn write_lost(&mut self) -> io::Result<()> {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return Ok(());
        }
        let event = AuditEvent::RecordsLost;
        let notice = Notice::new(event, (self.now)()).number("records", lost);
        let line = std::iter::once(notice.line.as_slice());
        let appended = self.file.append(line, (self.now)());
        if appended.records == 0 {
            self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        } else {
            self.shared.metrics.record(event);
        }
        appended.result
    }

    /// Tells the log and the counters of a change from good to bad or back.
    fn notice(&mut self, result: io::Result<()>) {
        let metrics = &self.shared.metrics;
        match result {
            Ok(()) => {
                let was_full = self.shared.full.swap(false, Ordering::Relaxed);
                if self.shared.failing.swap(false, Ordering::Relaxed) || was_full {
                    metrics.failing.set(0);
                    tracing::info!("the audit trail is written again");
                }
            }
            Err(error) => {
                metrics.write_failures.inc();
                self.retry_at = Instant::now() + RETRY;
                if !self.shared.failing.swap(true, Ordering::Relaxed) {
                    metrics.failing.set(1);
                    let strict = self.shared.strict;
                    tracing::error!(%error, strict, "the audit trail cannot be written; trying again every second");
                }
            }
        }
    }

    /// The last try.
    fn finish(mut self) -> bool {
        self.write();
        if !self.is_failing() {
            self.sync();
        }
        self.pending.is_empty() && self.shared.lost.load(Ordering::Relaxed) == 0
    }
}

/// The lines of a buffer, without their breaks.
fn lines(buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', buffer).map_while(move |end| {
        let line = buffer.get(start..end);
        start = end + 1;
        line
    })
}

/// As many whole lines from the front as make a batch: at least one.
fn batch(pending: &[u8]) -> &[u8] {
    let Some(front) = pending.get(..BATCH_BYTES) else {
        return pending;
    };
    let end = memchr::memrchr(b'\n', front);
    end.and_then(|end| pending.get(..=end)).unwrap_or(pending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use std::time::SystemTime;

    fn thread(path: PathBuf) -> Thread {
        let metrics = Metrics::new(crate::telemetry::metrics::tests::LABELS, Vec::new());
        let metrics = metrics.process().unwrap().audit;
        let writer = Writer {
            boot: "0000000000000001".to_owned(),
            host: None,
        };
        Thread {
            file: ChainFile::new(path, Seal::Plain, writer),
            shared: Arc::new(Shared::new(false, metrics)),
            pending: Vec::new(),
            look: true,
            retry_at: Instant::now(),
            sync_at: Instant::now(),
            now: || SystemTime::UNIX_EPOCH,
        }
    }

    fn records_of(event: AuditEvent, count: usize) -> Vec<u8> {
        let (mark, label) = (char::from(event.mark()), event.label());
        let filling = "x".repeat(1000);
        format!("{mark}\"event\":\"{label}\",\"x\":\"{filling}\"\n")
            .repeat(count)
            .into_bytes()
    }

    fn records(count: usize) -> Vec<u8> {
        records_of(AuditEvent::MessageAccepted, count)
    }

    /// A flood of them needs no token.
    #[test]
    fn refusals_leave_room_for_what_was_let_through() {
        let folder = tempfile::tempdir().unwrap();
        let mut thread = thread(folder.path().join("none").join("audit.jsonl"));
        thread.write();
        let refusals = |count| records_of(AuditEvent::MessageRefused, count);
        thread.take(Order::Records(refusals(
            PENDING_CAP / refusals(1).len() + 5,
        )));
        thread.take(Order::Records(
            [refusals(2), records(3), refusals(1)].concat(),
        ));
        assert_eq!(thread.shared.metrics.lost.get(), 8);
        let kept = lines(&thread.pending);
        let kept = kept.filter(|line| line.first() == Some(&AuditEvent::MessageAccepted.mark()));
        assert_eq!(kept.count(), 3);
    }

    #[test]
    fn what_cannot_be_written_is_kept_up_to_a_bound_and_the_rest_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("later");
        let mut thread = thread(place.join("audit.jsonl"));
        thread.write();
        assert!(thread.is_failing());
        let many = (PENDING_CAP + RESERVED) / records(1).len();
        thread.take(Order::Records(records(many)));
        thread.take(Order::Records(records(7)));
        assert_eq!(thread.shared.metrics.lost.get(), 7);
        thread.write();
        assert_eq!(thread.shared.metrics.write_failures.get(), 2);
        std::fs::create_dir(&place).unwrap();
        thread.write();
        assert!(!thread.is_failing());
        let text = std::fs::read_to_string(place.join("audit.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 1 + many + 1);
        let last = text.lines().next_back().unwrap();
        assert!(
            last.contains(r#""event":"records_lost","records":7,"#),
            "{last}"
        );
        let mut verifier = crate::telemetry::Verifier::new(vec![Seal::Plain], Vec::new());
        verifier.file("file", text.as_bytes()).unwrap();
        assert!(verifier.finish(false).is_whole());
    }

    #[test]
    fn batches_are_whole_lines() {
        let line = records(1).len();
        assert_eq!(batch(&records(3)), records(3));
        let many = records(2 * BATCH_BYTES / line);
        assert_eq!(batch(&many).len(), BATCH_BYTES / line * line);
        let long = [vec![b'x'; 2 * BATCH_BYTES], b"\n".to_vec()].concat();
        assert_eq!(batch(&long), long);
    }
}
