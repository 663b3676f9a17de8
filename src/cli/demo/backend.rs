//! The demo's legacy backend: takes any POST, knows nothing of tokens, and remembers what it was given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest request head or body that it takes; the demo sends far less.
const BODY_CAP: u64 = 1024 * 1024;

/// See the module. Its threads end with the process.
pub(super) struct Backend {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    last: Mutex<String>,
}

impl Backend {
    pub(super) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        std::thread::Builder::new()
            .name("demo-backend".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    let seen = Arc::clone(&shared);
                    std::thread::spawn(move || serve(&stream, &seen));
                }
            })?;
        Ok(Self { address, seen })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has got.
    pub(super) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Head line and body size of the last one.
    pub(super) fn last(&self) -> String {
        self.seen
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn serve(stream: &TcpStream, seen: &Seen) {
    // A connection that breaks off is the other side's business.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        *seen.last.lock().unwrap_or_else(PoisonError::into_inner) = request;
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nstored";
        let mut stream = stream;
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// Reads one request whole and describes it; `None` at the end of the connection.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut first = String::new();
    let mut length = 0;
    let mut token = false;
    loop {
        let mut line = String::new();
        if reader.take(BODY_CAP).read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() && !first.is_empty() {
            break;
        }
        if first.is_empty() {
            line.clone_into(&mut first);
        } else if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
            token |= name.eq_ignore_ascii_case("verification-token");
        }
    }
    let body = std::io::copy(&mut reader.take(length.min(BODY_CAP)), &mut std::io::sink()).ok()?;
    let token = if token {
        "with the token"
    } else {
        "without the token"
    };
    Some(format!("{first}, {body} bytes, {token}"))
}
