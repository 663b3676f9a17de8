//! What the gateway writes: access lines are counted, the log is watched for panics, and both for canaries.
//!
//! Nothing is kept but the last lines of the log, however long the gateway runs.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem::find;

use super::Promises;
use super::site::CANARIES;

const KEPT: usize = 30;
const PIECE: usize = 256 * 1024;

/// Everything that was seen so far.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) access_lines: AtomicU64,
    panics: AtomicU64,
    canaries: AtomicU64,
    last: Mutex<VecDeque<String>>,
}

impl Output {
    /// Watches both streams, and gives the log's lines to whoever waits for one of them.
    pub(super) fn watch(
        access: impl Read + Send + 'static,
        log: impl Read + Send + 'static,
    ) -> (Arc<Self>, Receiver<String>) {
        let (output, (lines, said)) = (Arc::new(Self::default()), channel());
        let (for_access, for_log) = (Arc::clone(&output), Arc::clone(&output));
        std::thread::spawn(move || {
            read(access, |whole| {
                let lines = memchr::memchr_iter(b'\n', whole).count();
                let lines = u64::try_from(lines).unwrap_or(0);
                for_access.access_lines.fetch_add(lines, Ordering::SeqCst);
                for_access.look_for_canaries(whole);
            });
        });
        std::thread::spawn(move || read(log, |whole| for_log.log(whole, &lines)));
        (output, said)
    }

    /// What is promised of everything that a gateway writes.
    pub(crate) fn judge(&self, promises: &mut Promises) {
        promises.that(
            self.panics.load(Ordering::SeqCst) == 0,
            "no panic in the log",
        );
        promises.that(
            self.canaries.load(Ordering::SeqCst) == 0,
            "no token and no body in what the gateway wrote",
        );
    }

    fn log(&self, whole: &[u8], lines: &Sender<String>) {
        self.look_for_canaries(whole);
        for line in String::from_utf8_lossy(whole).lines() {
            if line.contains("panicked") {
                self.panics.fetch_add(1, Ordering::SeqCst);
            }
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.push_back(line.to_owned());
            if last.len() > KEPT {
                last.pop_front();
            }
            // Nobody waits any more once the gateway has started.
            let _ = lines.send(line.to_owned());
        }
    }

    fn look_for_canaries(&self, text: &[u8]) {
        if CANARIES
            .iter()
            .any(|canary| find(text, canary.as_bytes()).is_some())
        {
            self.canaries.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The last lines of the log.
    pub(crate) fn last(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

/// Gives whole lines, many at a time.
fn read(mut stream: impl Read, mut give: impl FnMut(&[u8])) {
    let (mut piece, mut kept) = (vec![0; PIECE], Vec::new());
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        kept.extend_from_slice(&piece[..length]);
        if let Some(end) = memchr::memrchr(b'\n', &kept) {
            give(&kept[..=end]);
            kept.drain(..=end);
        }
    }
    give(&kept);
}
