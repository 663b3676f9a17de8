//! An upstream's answer as it comes over the wire: its head, and where its body ends (RFC 9112 §4, §6, §7.1).
//!
//! The upstream is trusted to mean well, not to be right: what has no reading, or more than one, is an error, and every
//! part has a bound. Nothing here reads or waits.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use httparse::Status;
use hyper::ext::ReasonPhrase;
use memchr::memchr_iter;

/// Most fields in a head.
const MOST_HEADERS: usize = 100;
/// Largest head.
const HEAD_CAP: usize = 64 * 1024;
/// Most bytes of interim answers before the answer itself.
const INTERIM_CAP: usize = 256 * 1024;
/// Longest line of a chunk's size, extensions included.
const CHUNK_LINE_CAP: usize = 4096;
/// Most bytes of trailers.
const TRAILER_CAP: usize = 16 * 1024;

/// Bytes that are no answer, or no end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Looks for the head of an answer in what has come.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    scanned: usize,
    interim: usize,
}

/// A head, and what it says of what follows.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) body: BodyReader,
    /// Whether the connection may serve again.
    pub(super) keep: bool,
}

impl HeadReader {
    /// Takes the head off the front of `incoming` if it is whole. Interim answers are passed over.
    ///
    /// # Errors
    /// It has no reading, or more than one, or is too large.
    pub(super) fn read(&mut self, incoming: &mut BytesMut) -> Result<Option<Head>, Malformed> {
        loop {
            if !incoming.starts_with(b"HTTP/1.") && !b"HTTP/1.".starts_with(incoming) {
                return Err(Malformed);
            }
            let Some(end) = self.find_end(incoming) else {
                return if incoming.len() < HEAD_CAP {
                    Ok(None)
                } else {
                    Err(Malformed)
                };
            };
            self.scanned = 0;
            let head = parse(incoming.split_to(end).freeze())?;
            // 101 would hand the connection over to another protocol, which nobody asked for.
            if !head.response.status().is_informational()
                || head.response.status() == StatusCode::SWITCHING_PROTOCOLS
            {
                return Ok(Some(head));
            }
            self.interim += end;
            if self.interim > INTERIM_CAP {
                return Err(Malformed);
            }
        }
    }

    /// A line that is empty, whether or not it ends in a carriage return.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let fresh = bytes.get(self.scanned..).unwrap_or_default();
        for at in memchr_iter(b'\n', fresh).map(|at| at + self.scanned) {
            let line = bytes.get(..at).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.ends_with(b"\n") {
                return Some(at + 1);
            }
        }
        self.scanned = bytes.len();
        None
    }
}

/// Reads a whole head. Values share its memory.
fn parse(head: Bytes) -> Result<Head, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let length = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, &head, &mut fields)
        .map_err(|_| Malformed)?;
    if length != Status::Complete(head.len()) {
        return Err(Malformed);
    }
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + 1);
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value));
        headers.append(name, value.map_err(|_| Malformed)?);
    }
    let code = parsed.code.ok_or(Malformed)?;
    let modern = parsed.version == Some(1);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(code).map_err(|_| Malformed)?;
    *response.version_mut() = if modern {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let reason = parsed.reason.unwrap_or_default();
    if response.status().canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(head.slice_ref(reason.as_bytes()))
    {
        // The server writes it as it is.
        response.extensions_mut().insert(reason);
    }
    let body = framing(response.status(), &headers, modern)?;
    let keep = stays_open(&headers, modern) && !matches!(body.state, State::UntilEnd);
    *response.headers_mut() = headers;
    Ok(Head {
        response,
        body,
        keep,
    })
}

/// RFC 9112 §6.3. Both framings at once is how answers are smuggled, and a coding under `chunked` would be lost on the
/// way.
fn framing(status: StatusCode, headers: &HeaderMap, modern: bool) -> Result<BodyReader, Malformed> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let fields = [
        lengths.next(),
        lengths.next(),
        codings.next(),
        codings.next(),
    ];
    let state = match fields {
        [None, None, None, None] => State::UntilEnd,
        [Some(length), None, None, None] => State::Length(number(length.as_bytes())?),
        [None, None, Some(coding), None]
            if modern && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            State::ChunkSize
        }
        _ => return Err(Malformed),
    };
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let state = match state {
        _ if bodiless => State::Done,
        State::Length(0) => State::Done,
        state => state,
    };
    Ok(BodyReader { state, trailer: 0 })
}

fn number(digits: &[u8]) -> Result<u64, Malformed> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    digits.parse().map_err(|_| Malformed)
}

/// RFC 9112 §9.3
fn stays_open(headers: &HeaderMap, modern: bool) -> bool {
    let lines = headers.get_all(CONNECTION).iter();
    let mut says = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut keep = modern;
    while let Some(word) = says.next() {
        let word = word.trim_ascii();
        if word.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep |= word.eq_ignore_ascii_case(b"keep-alive");
    }
    keep
}

/// Where in a body the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This much is left.
    Length(u64),
    ChunkSize,
    /// This much of a chunk is left.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// The connection's end is the body's.
    UntilEnd,
    Done,
}

/// Takes a body apart as it comes.
#[derive(Debug)]
pub(super) struct BodyReader {
    state: State,
    trailer: usize,
}

impl BodyReader {
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How much is left, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            State::ChunkSize
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailer
            | State::UntilEnd => None,
        }
    }

    /// Takes the next piece of the body off the front of `incoming`; `None` where more has to come first, or where the
    /// body is done.
    ///
    /// # Errors
    /// Chunks that are none.
    pub(super) fn read(&mut self, incoming: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        self.settle(incoming)?;
        let left = match &mut self.state {
            State::Length(left) | State::Chunk(left) => left,
            State::UntilEnd if !incoming.is_empty() => return Ok(Some(incoming.split().freeze())),
            _ => return Ok(None),
        };
        let available = u64::try_from(incoming.len()).map_err(|_| Malformed)?;
        let taken = available.min(*left);
        if taken == 0 {
            return Ok(None);
        }
        *left -= taken;
        let data = incoming.split_to(usize::try_from(taken).map_err(|_| Malformed)?);
        // What is behind it may be the end, and whoever gets the last piece wants to know that it is.
        self.settle(incoming)?;
        Ok(Some(data.freeze()))
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// Within the body.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        if self.state != State::UntilEnd {
            return Err(Malformed);
        }
        self.state = State::Done;
        Ok(())
    }

    /// Passes over what stands between the pieces of a body.
    fn settle(&mut self, incoming: &mut BytesMut) -> Result<(), Malformed> {
        loop {
            self.state = match self.state {
                State::Length(0) => State::Done,
                State::Chunk(0) => State::ChunkEnd,
                State::ChunkEnd if incoming.len() < 2 => return Ok(()),
                State::ChunkEnd if incoming.starts_with(b"\r\n") => {
                    incoming.advance(2);
                    State::ChunkSize
                }
                State::ChunkEnd => return Err(Malformed),
                // httparse takes an empty line for a size of nought.
                State::ChunkSize
                    if incoming
                        .first()
                        .is_some_and(|byte| !byte.is_ascii_hexdigit()) =>
                {
                    return Err(Malformed);
                }
                State::ChunkSize => match httparse::parse_chunk_size(incoming) {
                    Ok(Status::Complete((line, size))) => {
                        incoming.advance(line);
                        if size == 0 {
                            State::Trailer
                        } else {
                            State::Chunk(size)
                        }
                    }
                    Ok(Status::Partial) if incoming.len() < CHUNK_LINE_CAP => return Ok(()),
                    Ok(Status::Partial) | Err(_) => return Err(Malformed),
                },
                // Nothing in a trailer may be trusted, and nobody here wants any.
                State::Trailer => {
                    let Some(end) = memchr::memchr(b'\n', incoming) else {
                        let over = self.trailer + incoming.len() > TRAILER_CAP;
                        return if over { Err(Malformed) } else { Ok(()) };
                    };
                    let line = incoming.split_to(end + 1);
                    self.trailer += line.len();
                    if self.trailer > TRAILER_CAP {
                        return Err(Malformed);
                    }
                    match &line[..] {
                        b"\r\n" => State::Done,
                        line if line.ends_with(b"\r\n") => State::Trailer,
                        _ => return Err(Malformed),
                    }
                }
                State::Length(_) | State::Chunk(_) | State::UntilEnd | State::Done => return Ok(()),
            };
        }
    }
}
