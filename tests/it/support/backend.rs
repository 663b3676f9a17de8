//! A backend that reads requests by the strictest reading of RFC 9112, records them, and answers as told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{Nobody, PATIENCE};

/// A request as it stood on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names as they were spelt, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body_length: usize,
    pub(crate) body_sha256: [u8; 32],
    /// The first 64 KiB.
    pub(crate) body: Vec<u8>,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    /// What was wrong with it, by the strict reading.
    pub(crate) complaint: Option<String>,
}

impl Recorded {
    /// Every value of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a field.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "{name} came {} times", values.len());
        values.first().copied()
    }
}

/// What the backend does with a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// 200 with this body.
    Ok(&'static str),
    /// These bytes, then on with the connection.
    Raw(Vec<u8>),
    /// These bytes, then the end of the connection.
    RawAndClose(Vec<u8>),
    /// Resets the connection without a byte.
    Reset,
    /// Says nothing until the other side gives up.
    Hang,
    /// Any of these one after the other, then the end of the connection.
    Steps(Vec<Step>),
}

/// A part of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// These bytes.
    Write(Vec<u8>),
    /// These bytes again and again, until the other side has had enough.
    Endless(&'static [u8]),
    /// Ends our side of the connection and waits for the other.
    HalfClose,
    /// Waits for the other side to end the connection.
    Wait,
    /// Resets the connection.
    Reset,
}

/// A port of the kernel's choice.
const LOOPBACK: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

type Behaviour = dyn Fn(&Recorded) -> Reply + Send + Sync;

/// See the module. Lives until the process ends; its threads block on sockets that die with their peers.
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    requests: Mutex<Vec<Recorded>>,
    connections: Mutex<usize>,
    changed: Condvar,
    behaviour: Box<Behaviour>,
    /// Answers before it has read the body.
    early: bool,
}

impl Backend {
    /// Answers 200 to everything.
    pub(crate) fn ok() -> Self {
        Self::with(|_| Reply::Ok("received"))
    }

    /// Answers as `behaviour` says.
    pub(crate) fn with(behaviour: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Box::new(behaviour), false)
    }

    /// Answers 200 to everything, where there was nobody before.
    pub(crate) fn instead_of(nobody: Nobody) -> Self {
        let behaviour: Box<Behaviour> = Box::new(|_| Reply::Ok("received"));
        Self::serve(nobody.listen(), behaviour, false, None)
    }

    /// Answers 200 to everything, and counts how many connections are open at most.
    pub(crate) fn counting(most: &'static AtomicUsize) -> Self {
        let listener = TcpListener::bind(LOOPBACK).unwrap();
        let behaviour: Box<Behaviour> = Box::new(|_| Reply::Ok("received"));
        Self::serve(listener, behaviour, false, Some(most))
    }

    /// The same, before the body has been read.
    pub(crate) fn early(behaviour: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Box::new(behaviour), true)
    }

    fn start(behaviour: Box<Behaviour>, early: bool) -> Self {
        let listener = TcpListener::bind(LOOPBACK).unwrap();
        Self::serve(listener, behaviour, early, None)
    }

    fn serve(
        listener: TcpListener,
        behaviour: Box<Behaviour>,
        early: bool,
        most: Option<&'static AtomicUsize>,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            connections: Mutex::default(),
            changed: Condvar::new(),
            behaviour,
            early,
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let shared = Arc::clone(&serving);
                *shared.connections.lock().unwrap() += 1;
                if let Some(most) = most {
                    open.push(stream.try_clone().unwrap());
                    open.retain(is_open);
                    most.fetch_max(open.len(), Ordering::SeqCst);
                }
                std::thread::spawn(move || serve(&shared, stream, number));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many connections were opened so far.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// The only request so far.
    pub(crate) fn only_request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// Waits until this many requests have arrived.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Recorded> {
        let deadline = Instant::now() + PATIENCE;
        let mut requests = self.shared.requests.lock().unwrap();
        while requests.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "only {} of {count} requests arrived",
                requests.len()
            );
            requests = self.shared.changed.wait_timeout(requests, left).unwrap().0;
        }
        requests.clone()
    }
}

/// Whether the other side has not ended the connection. Asks the kernel, which knows of the end of one connection
/// before it hears of the next.
fn is_open(stream: &TcpStream) -> bool {
    /// `MSG_PEEK | MSG_DONTWAIT`, as Linux has them.
    const LOOK: i32 = 0x2 | 0x40;
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket2::SockRef::from(stream).recv_with_flags(&mut byte, LOOK) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

fn serve(shared: &Shared, stream: TcpStream, connection: usize) {
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(mut request) = read_head(&mut reader, connection) {
        if shared.early && !act(shared, &request, &mut writer) {
            return;
        }
        let whole = read_body(&mut reader, &mut request);
        shared.requests.lock().unwrap().push(request.clone());
        shared.changed.notify_all();
        if !whole || (!shared.early && !act(shared, &request, &mut writer)) {
            return;
        }
    }
}

/// Does what it was told to; `false` ends the connection.
fn act(shared: &Shared, request: &Recorded, writer: &mut TcpStream) -> bool {
    match (shared.behaviour)(request) {
        Reply::Ok(body) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
            );
            writer.write_all((head + body).as_bytes()).is_ok()
        }
        Reply::Raw(bytes) => writer.write_all(&bytes).is_ok(),
        Reply::RawAndClose(bytes) => {
            let _ = writer.write_all(&bytes);
            let _ = writer.shutdown(std::net::Shutdown::Both);
            false
        }
        Reply::Reset => step(&Step::Reset, writer),
        Reply::Steps(steps) => {
            steps.iter().all(|each| step(each, writer));
            false
        }
        Reply::Hang => {
            let _ = writer.read(&mut [0; 1]);
            false
        }
    }
}

/// Does one step; `false` where the connection is over.
fn step(step: &Step, writer: &mut TcpStream) -> bool {
    match step {
        Step::Write(bytes) => writer.write_all(bytes).is_ok(),
        Step::Endless(bytes) => {
            while writer.write_all(bytes).is_ok() {}
            false
        }
        Step::HalfClose => {
            let _ = writer.shutdown(std::net::Shutdown::Write);
            let _ = writer.read(&mut [0; 1]);
            false
        }
        Step::Wait => {
            let _ = writer.read(&mut [0; 1]);
            false
        }
        Step::Reset => {
            socket2::SockRef::from(&*writer)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            false
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> Option<Result<String, String>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    if line.is_empty() {
        return None;
    }
    let Some(line) = line.strip_suffix(b"\r\n") else {
        return Some(Err(format!("line without CRLF: {}", line.escape_ascii())));
    };
    if line.iter().any(|byte| *byte < b' ' && *byte != b'\t') {
        return Some(Err(format!("control in line: {}", line.escape_ascii())));
    }
    Some(Ok(String::from_utf8_lossy(line).into_owned()))
}

fn read_head(reader: &mut impl BufRead, connection: usize) -> Option<Recorded> {
    let mut request = Recorded {
        method: String::new(),
        target: String::new(),
        headers: Vec::new(),
        body_length: 0,
        body_sha256: [0; 32],
        body: Vec::new(),
        connection,
        complaint: None,
    };
    match read_line(reader)? {
        Ok(line) => {
            let parts: Vec<_> = line.split(' ').collect();
            if let [method, target, "HTTP/1.1"] = parts[..] {
                (request.method, request.target) = (method.to_owned(), target.to_owned());
            } else {
                request.complaint = Some(format!("request line: {line}"));
            }
        }
        Err(complaint) => request.complaint = Some(complaint),
    }
    loop {
        match read_line(reader)? {
            Ok(line) if line.is_empty() => return Some(request),
            Ok(line) => match line.split_once(':') {
                Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) => {
                    request
                        .headers
                        .push((name.to_owned(), value.trim().to_owned()));
                }
                _ => request.complaint = Some(format!("header line: {line}")),
            },
            Err(complaint) => request.complaint = Some(complaint),
        }
    }
}

/// Reads the body; `false` when it broke off.
fn read_body(reader: &mut impl BufRead, request: &mut Recorded) -> bool {
    let lengths: Vec<String> = request
        .values("content-length")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let codings: Vec<String> = request
        .values("transfer-encoding")
        .into_iter()
        .map(str::to_owned)
        .collect();
    if request.values("host").len() != 1 {
        request.complaint = Some("not exactly one Host".to_owned());
    }
    let mut digest = Sha256::new();
    let whole = match (&lengths[..], &codings[..]) {
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            read_exactly(reader, length.parse().unwrap(), request, &mut digest)
        }
        ([], [coding]) if coding == "chunked" => read_chunks(reader, request, &mut digest),
        ([], []) if request.method == "GET" => true,
        framing => {
            request.complaint = Some(format!("framing: {framing:?}"));
            false
        }
    };
    request.body_sha256 = digest.finalize().into();
    if !whole {
        request
            .complaint
            .get_or_insert_with(|| "body broke off".to_owned());
    }
    whole
}

fn read_exactly(
    reader: &mut impl BufRead,
    length: usize,
    request: &mut Recorded,
    digest: &mut Sha256,
) -> bool {
    let mut left = length;
    while left > 0 {
        let Ok(bytes) = reader.fill_buf() else {
            return false;
        };
        let taken = bytes.len().min(left);
        if taken == 0 {
            return false;
        }
        digest.update(&bytes[..taken]);
        let keep = (64 * 1024_usize)
            .saturating_sub(request.body.len())
            .min(taken);
        request.body.extend_from_slice(&bytes[..keep]);
        request.body_length += taken;
        reader.consume(taken);
        left -= taken;
    }
    true
}

fn read_chunks(reader: &mut impl BufRead, request: &mut Recorded, digest: &mut Sha256) -> bool {
    loop {
        let Some(Ok(line)) = read_line(reader) else {
            return false;
        };
        let Ok(length) = usize::from_str_radix(&line, 16) else {
            return false;
        };
        if !read_exactly(reader, length, request, digest) {
            return false;
        }
        let Some(Ok(end)) = read_line(reader) else {
            return false;
        };
        if !end.is_empty() {
            request.complaint = Some(format!("after a chunk: {end}"));
            return false;
        }
        if length == 0 {
            return true;
        }
    }
}
