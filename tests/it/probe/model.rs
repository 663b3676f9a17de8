//! A small gateway over real TLS, one thread for each connection: its sockets, its HTTP, and its flaws in both.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConnection, StreamOwned};
use rustls_pki_types::CertificateDer;

use super::certificates::shown;
use super::flaw::Flaw;
use super::judgement::{Act, Request, judge};
use crate::support::{PATIENCE, TOKEN};

const HEAD_CAP: usize = 16 * 1024;
const BODY_CAP: usize = 42 * 1024 * 1024;

/// See the module. Its thread ends with it.
pub(super) struct Model {
    pub(super) address: SocketAddr,
    pub(super) authority: CertificateDer<'static>,
    pub(super) authority_pem: String,
    seen: Arc<Seen>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    forwarded: Mutex<Vec<Vec<u8>>>,
    token: AtomicBool,
}

impl Model {
    pub(super) fn with(flaw: Flaw) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shown = shown(flaw);
        let (seen, over) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let (watched, ended) = (Arc::clone(&seen), Arc::clone(&over));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, config) = (Arc::clone(&watched), Arc::clone(&shown.config));
                std::thread::spawn(move || {
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    socket.set_nodelay(true).unwrap();
                    let connection = Connection {
                        flaw,
                        seen: &seen,
                        read: Vec::new(),
                    };
                    if flaw == Flaw::NoTls {
                        connection.serve(socket);
                    } else if !(flaw == Flaw::OldTls && agrees_to_old(&socket)) {
                        let session = ServerConnection::new(config).unwrap();
                        connection.serve(StreamOwned::new(session, socket));
                    }
                });
            }
        });
        Self {
            address,
            authority: shown.authority,
            authority_pem: shown.authority_pem,
            seen,
            over,
        }
    }

    /// Bodies of the requests that went to the backend.
    pub(super) fn forwarded(&self) -> Vec<Vec<u8>> {
        self.seen.forwarded.lock().unwrap().clone()
    }

    /// Whether the token was ever shown to it.
    pub(super) fn saw_token(&self) -> bool {
        self.seen.token.load(Ordering::Relaxed)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers a greeting in TLS 1.1 as a server of that time would begin to.
fn agrees_to_old(mut socket: &TcpStream) -> bool {
    let mut greeting = [0; 11];
    while socket
        .peek(&mut greeting)
        .is_ok_and(|count| count > 0 && count < 11)
    {
        std::thread::yield_now();
    }
    if greeting[9..] != [3, 2] {
        return false;
    }
    // Unread bytes would turn the end of the connection into a reset.
    let _ = socket.read(&mut [0; 1024]);
    let hello = [
        &[22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2][..],
        &[7; 32],
        &[0, 0xc0, 0x13, 0],
    ]
    .concat();
    let _ = socket.write_all(&hello);
    true
}

struct Connection<'s> {
    flaw: Flaw,
    seen: &'s Seen,
    read: Vec<u8>,
}

/// Why there is no request.
enum Broken {
    Refuse(u16),
    End,
}

impl Connection<'_> {
    fn serve(mut self, mut stream: impl Read + Write) {
        loop {
            let (request, keeps) = match self.request(&mut stream) {
                Ok(found) => found,
                Err(Broken::Refuse(status)) => {
                    let _ = self.say(&mut stream, status, "", b"refused", false);
                    // What is still coming is read to its end, or the answer would not arrive.
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                    return;
                }
                Err(Broken::End) => return,
            };
            let act = judge(&request, self.flaw);
            let goes_on = self.act(&mut stream, act, &request);
            if !keeps || !matches!(goes_on, Ok(true)) {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    fn act(&self, stream: &mut impl Write, act: Act, request: &Request) -> std::io::Result<bool> {
        match act {
            Act::Hang => {
                std::thread::park_timeout(PATIENCE);
                Ok(false)
            }
            Act::Answer(value) => self.answer(stream, &value, request),
            Act::Forward => {
                self.forward(request);
                self.say(stream, 200, "", b"stored", true)
            }
            Act::ForwardIntoNothing => self.say(stream, 502, "", b"no backend", true),
            Act::Refuse(status) => self.refuse(stream, status, request),
        }
    }

    fn forward(&self, request: &Request) {
        let mut forwarded = self.seen.forwarded.lock().unwrap();
        forwarded.push(request.body.clone());
    }

    fn answer(
        &self,
        stream: &mut impl Write,
        value: &str,
        request: &Request,
    ) -> std::io::Result<bool> {
        if self.flaw == Flaw::ChallengeCut {
            let length = value.len() + 5;
            let answer = format!(
                "HTTP/1.1 200 x\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{value}"
            );
            stream.write_all(answer.as_bytes())?;
            return Ok(false);
        }
        let (kind, body) = match self.flaw {
            Flaw::RepliesInJson => (
                "application/json",
                format!("{{\"challenge\": \"{value}\"}}"),
            ),
            Flaw::ChallengeQuoted => ("application/json", format!("\"{value}\"")),
            Flaw::ChallengeWithLineEnd => ("text/plain", format!("{value}\n")),
            Flaw::ChallengeAsPage => ("text/html", value.to_owned()),
            Flaw::ChallengeCanned => (
                "text/plain",
                "b1b0c1de-0000-4000-8000-000000000000".to_owned(),
            ),
            Flaw::ChallengeForwarded => {
                self.forward(request);
                ("text/plain", "stored".to_owned())
            }
            _ => ("text/plain; charset=utf-8", value.to_owned()),
        };
        self.say(
            stream,
            200,
            &format!("Content-Type: {kind}\r\n"),
            body.as_bytes(),
            true,
        )
    }

    fn refuse(
        &self,
        stream: &mut impl Write,
        status: u16,
        request: &Request,
    ) -> std::io::Result<bool> {
        let (mut said, mut fields, mut body) = (status, String::new(), b"refused".to_vec());
        match self.flaw {
            // The socket ends before a byte, as it does where `write_all` fails.
            Flaw::ClosesOnRefusal => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            Flaw::LimitsFailures if status == 401 => said = 429,
            Flaw::RedirectsRefusals => {
                said = 302;
                "Location: /login\r\n".clone_into(&mut fields);
            }
            Flaw::OkRefusals => (said, body) = (200, b"error: not verified".to_vec()),
            Flaw::ChallengeInRefusal => body.extend(&request.body),
            Flaw::TokenInRefusal if status == 401 => {
                body = format!("expected {TOKEN}").into_bytes()
            }
            Flaw::TokenInRefusalField if status == 401 => {
                fields = format!("X-Expected: {TOKEN}\r\n")
            }
            Flaw::QueryInRefusal => body.extend(request.query.as_bytes()),
            Flaw::CutsBodies if status == 401 => {
                stream.write_all(b"HTTP/1.1 401 x\r\nContent-Length: 7\r\n\r\nref")?;
                return Ok(false);
            }
            Flaw::CutsRefusals if status == 401 => {
                stream.write_all(b"HTTP/1.1 401 Unauth")?;
                return Ok(false);
            }
            _ => {}
        }
        if request.method == "HEAD" {
            body.clear();
        }
        let goes_on = self.say(stream, said, &fields, &body, true)?;
        Ok(goes_on && self.flaw != Flaw::ClosesUnsaid)
    }

    fn say(
        &self,
        stream: &mut impl Write,
        status: u16,
        fields: &str,
        body: &[u8],
        keeps: bool,
    ) -> std::io::Result<bool> {
        let connection = if keeps { "" } else { "Connection: close\r\n" };
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n{connection}{fields}\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        stream.flush()?;
        Ok(keeps)
    }

    fn fill(&mut self, stream: &mut impl Read) -> Result<(), Broken> {
        let mut bytes = [0; 16 * 1024];
        let before = self.read.len();
        match stream.read(&mut bytes) {
            Ok(count) if count > 0 => self.read.extend_from_slice(&bytes[..count]),
            _ => return Err(Broken::End),
        }
        // Only in what is new, and where that may end what came before: all of a megabyte for each piece takes seconds.
        let new = &self.read[before.saturating_sub(TOKEN.len() - 1)..];
        if new
            .windows(TOKEN.len())
            .any(|part| part == TOKEN.as_bytes())
        {
            self.seen.token.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The next request, and whether the connection may go on after it.
    fn request(&mut self, stream: &mut (impl Read + Write)) -> Result<(Request, bool), Broken> {
        let cap = if self.flaw == Flaw::LongHeaders {
            usize::MAX
        } else {
            HEAD_CAP
        };
        let mut looked = 0;
        let end = loop {
            let mut fours = self.read[looked..].windows(4);
            if let Some(end) = fours.position(|four| four == b"\r\n\r\n") {
                break looked + end;
            }
            looked = self.read.len().saturating_sub(3);
            if self.read.len() > cap {
                return Err(Broken::Refuse(431));
            }
            if self
                .read
                .first()
                .is_some_and(|first| !first.is_ascii_uppercase() && *first != b'{')
            {
                return Err(Broken::Refuse(400));
            }
            self.fill(stream)?;
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8(head).map_err(|_| Broken::Refuse(400))?;
        let mut lines = head.trim_end().split("\r\n");
        let mut start = lines.next().unwrap().split(' ');
        let (method, target) = (
            start.next().unwrap(),
            start.next().ok_or(Broken::Refuse(400))?,
        );
        let fields = lines
            .map(|line| self.field(line))
            .collect::<Result<Vec<_>, _>>()?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            fields,
            body: Vec::new(),
        };
        let keeps = !request
            .fields
            .contains(&("connection".to_owned(), "close".to_owned()));
        request.body = self.body(stream, &request)?;
        Ok((request, keeps))
    }

    fn field(&self, line: &str) -> Result<(String, String), Broken> {
        let (name, value) = line.split_once(':').ok_or(Broken::Refuse(400))?;
        let space = name.ends_with(' ') && self.flaw != Flaw::SpaceBeforeColon;
        let control = name.contains(char::is_control) && self.flaw != Flaw::BrokenNames;
        if space || control {
            return Err(Broken::Refuse(400));
        }
        Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    }

    fn body(
        &mut self,
        stream: &mut (impl Read + Write),
        request: &Request,
    ) -> Result<Vec<u8>, Broken> {
        let values = |name: &str| -> Vec<String> {
            let same = request.fields.iter().filter(|(other, _)| other == name);
            same.map(|(_, value)| value.clone()).collect()
        };
        let (lengths, chunked) = (
            values("content-length"),
            !values("transfer-encoding").is_empty(),
        );
        if chunked && !(lengths.is_empty() || self.flaw == Flaw::LengthAndChunked)
            || lengths.len() > 1 && self.flaw != Flaw::TwoLengths
        {
            return Err(Broken::Refuse(400));
        }
        if chunked {
            return self.chunks(stream);
        }
        let length: usize = lengths
            .first()
            .map_or(0, |length| length.parse().unwrap_or(usize::MAX));
        if length > BODY_CAP {
            if self.flaw != Flaw::AsksForAnything {
                return Err(Broken::Refuse(413));
            }
            let _ = stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .and_then(|()| stream.flush());
        }
        if self.flaw == Flaw::LeavesBodies && !values("verification-token").is_empty() {
            return Ok(Vec::new());
        }
        while self.read.len() < length {
            self.fill(stream)?;
        }
        Ok(self.read.drain(..length).collect())
    }

    /// Chunks of a lenient server, which only broken requests have here.
    fn chunks(&mut self, stream: &mut impl Read) -> Result<Vec<u8>, Broken> {
        while !self.read.ends_with(b"0\r\n\r\n") {
            self.fill(stream)?;
        }
        let all = std::mem::take(&mut self.read);
        let start = all.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
        Ok(all[start..all.len() - 7].to_vec())
    }
}
