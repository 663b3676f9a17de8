//! Access lines: one per request, formatted by hand into a buffer of the worker's own.
//!
//! A line holds configured names, numbers and the peer's address. There is no field for anything else that a
//! sender wrote, so no body, query, path, header or token can get in.
//!
//! Full buffers go to one writer thread over a bounded queue. A reader that is too slow loses lines, which are
//! counted; it never holds up a request.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use tokio::sync::Notify;

use super::address::{write_address, write_peer};
use super::line::{Calendar, json_key, json_number, json_seconds, json_text, seconds};

/// A buffer is handed over when it has grown to this size.
const BUFFER_BYTES: usize = 64 * 1024;
/// Or when its first line has waited this long.
const FLUSH_AFTER: Duration = Duration::from_millis(250);
/// Buffers that may wait for the writer: 16 MiB at most.
const QUEUE: usize = 256;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// One request, as the log tells it. Absent values are left out of the line.
#[derive(Clone, Copy, Debug)]
pub struct AccessEntry<'a> {
    /// When the request began.
    pub time: SystemTime,
    /// Ours, never the sender's.
    pub request_id: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// Name of the route; `none` where no route matched.
    pub route: &'a str,
    /// One of four.
    pub outcome: &'static str,
    /// Why it was not forwarded or answered.
    pub reason: Option<&'static str>,
    /// The operator's name for the token that matched.
    pub token_id: Option<&'a str>,
    /// From a fixed list.
    pub method: &'static str,
    /// What the sender was told; none when it was told nothing.
    pub status: Option<u16>,
    /// Body bytes that came from the sender.
    pub received: u64,
    /// Body bytes that went to the sender.
    pub sent: u64,
    /// From the first byte of the head to the end of the answer.
    pub duration: Duration,
    /// Of that, until the upstream's answer began.
    pub upstream_duration: Option<Duration>,
    /// The other end of the connection, with its port.
    pub peer: SocketAddr,
    /// The client that a trusted proxy spoke for; none where the peer is the client.
    pub client: Option<IpAddr>,
    /// The upstream's address that got the request; its first one, where none did; nothing where none was involved.
    pub upstream: Option<&'a str>,
}

/// Where lines go. Cheap to clone; each worker makes its own [`AccessLog`] from it.
#[derive(Clone)]
pub struct AccessSink {
    queue: SyncSender<Vec<u8>>,
    format: Format,
    dropped: IntCounter,
}

/// Longest wait for the last lines to be written when the program ends: whoever reads them may have stopped.
const LAST_LINES: Duration = Duration::from_secs(5);

/// The thread that writes.
pub struct AccessWriter {
    done: Receiver<()>,
}

impl AccessSink {
    /// Starts a writer thread on `output`.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        output: impl Write + Send + 'static,
        format: Format,
        dropped: IntCounter,
    ) -> std::io::Result<(Self, AccessWriter)> {
        let (queue, buffers) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let (end, done) = sync_channel(1);
        thread.spawn(move || {
            write_all(&buffers, output);
            // Nobody listens where nobody waits.
            let _ = end.send(());
        })?;
        Ok((
            Self {
                queue,
                format,
                dropped,
            },
            AccessWriter { done },
        ))
    }
}

impl AccessWriter {
    /// Waits until everything is written, but not for ever; `false` if some lines may be lost. All sinks and logs
    /// have to be gone.
    pub fn join(self) -> bool {
        self.done.recv_timeout(LAST_LINES).is_ok()
    }
}

fn write_all(buffers: &Receiver<Vec<u8>>, mut output: impl Write) {
    for buffer in buffers {
        // Whoever reads the lines is gone: nobody is left to be told, and requests go on.
        if output
            .write_all(&buffer)
            .and_then(|()| output.flush())
            .is_err()
        {
            tracing::warn!("access log cannot be written");
        }
    }
}

/// The access log of one worker.
pub struct AccessLog {
    sink: AccessSink,
    buffer: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    filled: Notify,
    calendar: Calendar,
}

impl AccessLog {
    /// A log that hands its lines to `sink`.
    pub fn new(sink: AccessSink) -> Rc<Self> {
        Rc::new(Self {
            sink,
            buffer: RefCell::default(),
            lines: Cell::new(0),
            filled: Notify::new(),
            calendar: Calendar::default(),
        })
    }

    /// Hands over lines that have waited. One task of the worker runs this for ever.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.filled.notified().await;
            tokio::time::sleep(FLUSH_AFTER).await;
            self.flush();
        }
    }

    /// Writes one line.
    pub fn write(&self, entry: &AccessEntry<'_>) {
        let full = {
            let mut buffer = self.buffer.borrow_mut();
            if buffer.is_empty() {
                self.filled.notify_one();
            }
            let stamp = self.calendar.stamp(entry.time);
            match self.sink.format {
                Format::Json => write_json(&mut buffer, &stamp, entry),
                Format::Text => write_text(&mut buffer, &stamp, entry),
            }
            buffer.len() >= BUFFER_BYTES
        };
        self.lines.set(self.lines.get() + 1);
        if full {
            self.flush();
        }
    }

    /// Hands over what there is.
    pub fn flush(&self) {
        let buffer = self.buffer.take();
        let lines = self.lines.take();
        if buffer.is_empty() {
            return;
        }
        match self.sink.queue.try_send(buffer) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.sink.dropped.inc_by(lines)
            }
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_json(line: &mut Vec<u8>, stamp: &[u8], entry: &AccessEntry<'_>) {
    line.extend_from_slice(b"{\"time\":\"");
    line.extend_from_slice(stamp);
    line.extend_from_slice(b"\"");
    json_text(line, "request_id", Some(entry.request_id));
    json_text(line, "listener", Some(entry.listener));
    json_text(line, "route", Some(entry.route));
    json_text(line, "outcome", Some(entry.outcome));
    json_text(line, "reason", entry.reason);
    json_text(line, "token_id", entry.token_id);
    json_text(line, "method", Some(entry.method));
    json_number(line, "status", entry.status.map(u64::from));
    json_number(line, "received_bytes", Some(entry.received));
    json_number(line, "sent_bytes", Some(entry.sent));
    json_seconds(line, "duration_s", Some(entry.duration));
    json_seconds(line, "upstream_s", entry.upstream_duration);
    json_parties(line, entry);
    line.extend_from_slice(b"}\n");
}

/// Between whom the request went: client, peer where that is another one, upstream. An address needs no escaping.
pub(super) fn json_parties(line: &mut Vec<u8>, entry: &AccessEntry<'_>) {
    json_key(line, "client");
    line.push(b'"');
    client(line, entry);
    line.push(b'"');
    if entry.client.is_some() {
        json_key(line, "peer");
        line.push(b'"');
        write_peer(line, entry.peer);
        line.push(b'"');
    }
    json_text(line, "upstream", entry.upstream);
}

/// Who sent the request; a client that somebody spoke for has no port.
fn client(line: &mut Vec<u8>, entry: &AccessEntry<'_>) {
    match entry.client {
        Some(client) => write_address(line, client),
        None => write_peer(line, entry.peer),
    }
}

fn write_text(line: &mut Vec<u8>, stamp: &[u8], entry: &AccessEntry<'_>) {
    line.extend_from_slice(stamp);
    let status = entry
        .status
        .map_or("---".to_owned(), |status| status.to_string());
    let reason = entry
        .reason
        .map(|reason| format!(" reason={reason}"))
        .unwrap_or_default();
    let token = entry
        .token_id
        .map(|id| format!(" token={}", id.escape_debug()))
        .unwrap_or_default();
    let upstream = entry
        .upstream
        .map(|name| format!(" upstream={}", name.escape_debug()))
        .unwrap_or_default();
    let _ = write!(
        line,
        " {status} {outcome:<9} {method} route={route}{reason}{token} in={received} out={sent} time=",
        outcome = entry.outcome,
        method = entry.method,
        route = entry.route.escape_debug(),
        received = entry.received,
        sent = entry.sent,
    );
    seconds(line, entry.duration);
    let peer = entry
        .client
        .map(|_| format!(" peer={}", entry.peer))
        .unwrap_or_default();
    line.extend_from_slice(b" client=");
    client(line, entry);
    let _ = writeln!(
        line,
        "{peer}{upstream} listener={} id={}",
        entry.listener.escape_debug(),
        entry.request_id
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// Keeps what is written.
    struct Kept(Sender<Vec<u8>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, entries: &[AccessEntry<'_>]) -> String {
        let (sender, kept) = channel();
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let (sink, writer) = AccessSink::start(Kept(sender), format, dropped).unwrap();
        let log = AccessLog::new(sink);
        entries.iter().for_each(|entry| log.write(entry));
        drop(log);
        writer.join();
        String::from_utf8(kept.iter().flatten().collect()).unwrap()
    }

    fn entry() -> AccessEntry<'static> {
        AccessEntry {
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_478_400_000_042),
            request_id: "abc",
            listener: "public",
            route: "red\"ox",
            outcome: "rejected",
            reason: Some("token_mismatch"),
            token_id: None,
            method: "POST",
            status: Some(401),
            received: 12,
            sent: 3,
            duration: Duration::from_micros(1_000_007),
            upstream_duration: None,
            peer: SocketAddr::from(([192, 0, 2, 1], 4)),
            client: None,
            upstream: None,
        }
    }

    #[test]
    fn json_lines_are_json() {
        let text = written(Format::Json, &[entry(), entry()]);
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["time"], "2026-11-24T00:00:00.000042Z");
            assert_eq!(value["route"], "red\"ox");
            assert_eq!(value["status"], 401);
            assert_eq!(value["duration_s"], 1.000_007);
            assert!(value.get("token_id").is_none());
        }
    }

    #[test]
    fn text_lines_are_one_line_each() {
        let odd = AccessEntry {
            route: "two\nlines",
            status: None,
            ..entry()
        };
        let text = written(Format::Text, &[odd]);
        assert_eq!(
            text,
            "2026-11-24T00:00:00.000042Z --- rejected  POST route=two\\nlines reason=token_mismatch in=12 out=3 \
             time=1.000007 client=192.0.2.1:4 listener=public id=abc\n"
        );
    }
}
