//! An upstream's answer as it comes over the wire: its head, and where its body ends (RFC 9112 §4, §6, §7.1).
//!
//! The upstream is trusted to mean well, not to be right: what has no reading, or more than one, is an error, and every
//! part has a bound. Nothing here reads or waits.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
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
            if end > HEAD_CAP {
                return Err(Malformed);
            }
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
    let state = if bodiless || state == State::Length(0) {
        State::Done
    } else {
        state
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
    let says = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut keep = modern;
    for word in says {
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
            State::ChunkSize | State::ChunkEnd | State::Trailer | State::UntilEnd | State::Done => {
                return Ok(None);
            }
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
                        // httparse reads over a line feed in an extension, which to others is the end of the line.
                        let end = memchr::memchr(b'\n', incoming).map(|at| at + 1);
                        if end != Some(line) || line > CHUNK_LINE_CAP {
                            return Err(Malformed);
                        }
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a head says: its status, its body, whether the connection may serve again. And what is behind it.
    type Reading = (String, Vec<u8>);

    fn read(pieces: &[&[u8]]) -> Result<Option<Reading>, Malformed> {
        let mut reader = HeadReader::default();
        let mut incoming = BytesMut::new();
        let mut found = None;
        for piece in pieces {
            incoming.extend_from_slice(piece);
            if found.is_none() {
                found = reader.read(&mut incoming)?;
            }
        }
        Ok(found.map(|head| {
            let status = head.response.status().as_u16();
            let says = format!("{status} {:?} {}", head.body.state, head.keep);
            (says, incoming.to_vec())
        }))
    }

    fn crumbs(bytes: &[u8]) -> Vec<&[u8]> {
        bytes.chunks(1).collect()
    }

    /// Heads behind `HTTP/`; and their status, their body, and whether the connection may serve again.
    const HEADS: [(&str, &str); 28] = [
        ("1.1 200 OK\r\n\r\n", "200 UntilEnd false"),
        (
            "1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
            "200 UntilEnd false",
        ),
        (
            "1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "200 Length(5) true",
        ),
        (
            "1.1 200 OK\r\nCONTENT-LENGTH:5\r\n\r\n",
            "200 Length(5) true",
        ),
        (
            "1.1 200 OK\r\nContent-Length: \t 5 \t\r\n\r\n",
            "200 Length(5) true",
        ),
        (
            "1.1 200 OK\r\nContent-Length: 007\r\n\r\n",
            "200 Length(7) true",
        ),
        ("1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 Done true"),
        (
            "1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "200 Length(18446744073709551615) true",
        ),
        (
            "1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "200 ChunkSize true",
        ),
        (
            "1.1 200 OK\r\nTransfer-Encoding: CHUNKED \r\n\r\n",
            "200 ChunkSize true",
        ),
        (
            "1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
            "200 Length(1) false",
        ),
        (
            "1.1 200 OK\r\nConnection: x , CLOSE\r\nContent-Length: 1\r\n\r\n",
            "200 Length(1) false",
        ),
        (
            "1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
            "200 Length(1) false",
        ),
        (
            "1.1 200 OK\r\nConnection: closed\r\nContent-Length: 1\r\n\r\n",
            "200 Length(1) true",
        ),
        (
            "1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            "200 Length(5) false",
        ),
        (
            "1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n",
            "200 Length(5) true",
        ),
        (
            "1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
            "200 UntilEnd false",
        ),
        // RFC 9110 §8.6: what a body would have been, where there is none.
        (
            "1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            "204 Done true",
        ),
        (
            "1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "304 Done true",
        ),
        (
            "1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
            "304 Done true",
        ),
        ("1.1 204 No Content\r\n\r\n", "204 Done true"),
        (
            "1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
            "101 Done true",
        ),
        ("1.1 200\r\nContent-Length: 1\r\n\r\n", "200 Length(1) true"),
        (
            "1.1 999 \r\nContent-Length: 1\r\n\r\n",
            "999 Length(1) true",
        ),
        // RFC 9112 §2.2: a line feed alone may end a line.
        ("1.1 200 OK\nContent-Length: 1\n\n", "200 Length(1) true"),
        (
            "1.1 200 OK\r\nX: caf\u{e9}\tx\r\nY:\r\nContent-Length: 1\r\n\r\n",
            "200 Length(1) true",
        ),
        (
            "1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "204 Done true",
        ),
        (
            "1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\nHTTP/1.0 199 \n\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
            "200 Length(1) true",
        ),
    ];

    #[test]
    fn reads_heads() {
        for (text, says) in HEADS {
            for behind in ["", "HTTP/1.1 200 OK\r\n\r\n", "\r\n"] {
                let head = format!("HTTP/{text}");
                let expected = Some((says.to_owned(), behind.as_bytes().to_vec()));
                let all = [head.as_bytes(), behind.as_bytes()].concat();
                assert_eq!(read(&[&all]), Ok(expected.clone()), "{text}");
                assert_eq!(read(&crumbs(&all)), Ok(expected), "{text}");
                let (short, _) = head.as_bytes().split_at(head.len() - 1);
                assert_eq!(read(&[short]), Ok(None), "{text}");
            }
        }
    }

    #[test]
    fn refuses_heads_with_no_reading_or_with_two() {
        let lines: [&str; 29] = [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 5 5",
            "Content-Length: 0x5",
            "Content-Length: 5a",
            "Content-Length: 5.0",
            "Content-Length:",
            "Content-Length: \u{665}",
            "Content-Length: 18446744073709551616",
            "Content-Length: 99999999999999999999999999999999",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding:",
            "Content-Length : 5",
            "X: a\r\n folded",
            "X: a\rb",
            "X: a\0b",
            "X",
            ": nameless",
        ];
        for line in lines {
            for status in ["200 OK", "204 No Content"] {
                let head = format!("HTTP/1.1 {status}\r\n{line}\r\n\r\n");
                assert_eq!(read(&[head.as_bytes()]), Err(Malformed), "{line}");
                assert_eq!(read(&crumbs(head.as_bytes())), Err(Malformed), "{line}");
            }
        }
        let firsts = [
            "",
            "\r\nHTTP/1.1 200 OK",
            "http/1.1 200 OK",
            "HTTP/1.2 200 OK",
            "HTTP/2.0 200 OK",
            "HTTP/1.10 200 OK",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 099 OK",
            "HTTP/1.1 -20 OK",
            "HTTP/1.1 OK",
            "HTTP/1.1",
            "HTTP/1.1 200OK",
            " HTTP/1.1 200 OK",
            "HTTP/1.1 200 O\0K",
            "HTTP/1.1 200 O\rK",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
        ];
        for first in firsts {
            let head = format!("{first}\r\nX: y\r\n\r\n");
            assert_eq!(read(&[head.as_bytes()]), Err(Malformed), "{first}");
            assert_eq!(read(&crumbs(head.as_bytes())), Err(Malformed), "{first}");
        }
    }

    /// Nobody waits for more of what cannot become an answer.
    #[test]
    fn the_first_wrong_byte_is_enough() {
        let good = b"HTTP/1.";
        for length in 0..=good.len() {
            assert_eq!(read(&[&good[..length]]), Ok(None));
        }
        for length in 0..good.len() {
            let wrong = [&good[..length], b"\x15"].concat();
            assert_eq!(read(&[&wrong]), Err(Malformed));
            assert_eq!(read(&crumbs(&wrong)), Err(Malformed));
        }
    }

    #[test]
    fn reasons_stay_where_they_say_something_else() {
        let cases: [(&[u8], Option<&[u8]>); 5] = [
            (b"200 OK", None),
            (b"200 Fine by me", Some(b"Fine by me")),
            (b"200", Some(b"")),
            (b"200 ", Some(b"")),
            (b"599 \tx", Some(b"\tx")),
        ];
        for (line, expected) in cases {
            let head = [b"HTTP/1.1 ", line, b"\r\n\r\n"].concat();
            let mut incoming = BytesMut::from(&head[..]);
            let head = HeadReader::default().read(&mut incoming).unwrap();
            let response = head.unwrap().response;
            let reason = response.extensions().get::<ReasonPhrase>();
            assert_eq!(reason.map(ReasonPhrase::as_bytes), expected);
        }
        // httparse has no reason to show where it is not ASCII.
        let odd = b"HTTP/1.1 200 caf\xe9\r\nContent-Length: 1\r\n\r\n";
        let says = "200 Length(1) true".to_owned();
        assert_eq!(read(&[odd]), Ok(Some((says, Vec::new()))));
    }

    #[test]
    fn fields_keep_their_order_and_their_bytes() {
        let head = b"HTTP/1.1 200 OK\r\nX: a\r\nY: caf\xe9\r\nx:  b \r\n\r\n";
        let mut incoming = BytesMut::from(&head[..]);
        let head = HeadReader::default().read(&mut incoming).unwrap();
        let headers = head.unwrap().response.headers().clone();
        let values: Vec<_> = headers
            .get_all("x")
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        assert_eq!(values, [b"a", b"b"]);
        assert_eq!(headers["y"].as_bytes(), b"caf\xe9");
    }

    #[test]
    fn heads_have_bounds() {
        let start = "HTTP/1.1 200 OK\r\n";
        for (fields, fits) in [(MOST_HEADERS, true), (MOST_HEADERS + 1, false)] {
            let head = format!("{start}{}\r\n", "X: y\r\n".repeat(fields));
            assert_eq!(read(&[head.as_bytes()]).is_ok(), fits, "{fields}");
        }
        for (size, fits) in [
            (HEAD_CAP, true),
            (HEAD_CAP + 1, false),
            (2 * HEAD_CAP, false),
        ] {
            let value = "y".repeat(size - start.len() - "X: \r\n\r\n".len());
            let head = format!("{start}X: {value}\r\n\r\n");
            assert_eq!(head.len(), size);
            for piece in [usize::MAX, 1000] {
                let pieces: Vec<_> = head.as_bytes().chunks(piece).collect();
                assert_eq!(read(&pieces).is_ok(), fits, "{size} in pieces of {piece}");
            }
        }
        let endless = [start.as_bytes(), &b"y".repeat(HEAD_CAP)].concat();
        assert_eq!(read(&[&endless[..HEAD_CAP - 1]]), Ok(None));
        assert_eq!(read(&[&endless[..HEAD_CAP]]), Err(Malformed));
    }

    #[test]
    fn interim_answers_have_an_end() {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n";
        let last = "HTTP/1.1 200 OK\r\n\r\n";
        let most = INTERIM_CAP / interim.len();
        for (count, fits) in [(1, true), (most, true), (most + 1, false)] {
            let answers = interim.repeat(count) + last;
            for piece in [usize::MAX, 10_000, 7] {
                let pieces: Vec<_> = answers.as_bytes().chunks(piece).collect();
                assert_eq!(read(&pieces).is_ok(), fits, "{count} in pieces of {piece}");
            }
        }
    }

    /// A body, whether it is done, and what is left over.
    type Body = (Vec<u8>, bool, Vec<u8>);

    fn take_apart(state: State, pieces: &[&[u8]]) -> Result<Body, Malformed> {
        let mut reader = BodyReader { state, trailer: 0 };
        let mut incoming = BytesMut::new();
        let mut body = Vec::new();
        for piece in pieces {
            incoming.extend_from_slice(piece);
            while let Some(data) = reader.read(&mut incoming)? {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
        }
        Ok((body, reader.is_done(), incoming.to_vec()))
    }

    /// Whole, byte by byte, and in two and three pieces wherever they can be cut.
    fn however_it_is_cut(state: State, bytes: &[u8]) -> Result<Body, Malformed> {
        let whole = take_apart(state, &[bytes]);
        assert_eq!(
            take_apart(state, &crumbs(bytes)),
            whole,
            "{}",
            bytes.escape_ascii()
        );
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let cut = take_apart(state, &pieces);
                assert_eq!(
                    cut,
                    whole,
                    "{} at {first} and {second}",
                    bytes.escape_ascii()
                );
            }
        }
        whole
    }

    #[test]
    fn reads_bodies_however_they_are_cut() {
        let chunked = State::ChunkSize;
        let cases: [(State, &[u8], &[u8]); 12] = [
            (State::Length(5), b"hello", b"hello"),
            (State::Done, b"", b""),
            (chunked, b"0\r\n\r\n", b""),
            (chunked, b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (
                chunked,
                b"5\r\nhello\r\n1\r\n \r\n005\r\nworld\r\n000\r\n\r\n",
                b"hello world",
            ),
            (chunked, b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x"),
            (
                chunked,
                b"A\r\n0123456789\r\na\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
                b"0123456789\r\n\r\n\r\n\r\n\r\n",
            ),
            (chunked, b"1;a=b;c=\"d\r\nx\r\n0;e\r\n\r\n", b"x"),
            (chunked, b"1 \t;a\r\nx\r\n0 \r\n\r\n", b"x"),
            (
                chunked,
                b"1\r\nx\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n",
                b"x",
            ),
            (chunked, b"3\r\n0\r\n\r\n0\r\n\r\n", b"0\r\n"),
            (State::Length(3), b"0\r\n", b"0\r\n"),
        ];
        for (state, bytes, body) in cases {
            for behind in [&b""[..], b"HTTP/1.1 200 OK", b"\r\n", b"0"] {
                let all = [bytes, behind].concat();
                let expected = (body.to_vec(), true, behind.to_vec());
                assert_eq!(however_it_is_cut(state, &all), Ok(expected));
            }
            // Short of a byte, it is not done, and an end of the connection breaks it off.
            if let Some((_, short)) = bytes.split_last() {
                let mut reader = BodyReader { state, trailer: 0 };
                let mut incoming = BytesMut::from(short);
                while reader.read(&mut incoming).unwrap().is_some() {}
                assert!(!reader.is_done() && reader.end() == Err(Malformed));
            }
        }
        let until_end = however_it_is_cut(State::UntilEnd, b"0\r\n\r\nall of it");
        assert_eq!(
            until_end,
            Ok((b"0\r\n\r\nall of it".to_vec(), false, Vec::new()))
        );
    }

    /// A body in every way there is to cut it.
    #[test]
    fn every_cut_of_a_small_body_reads_the_same() {
        let bytes = b"2;x\r\nab\r\n0\r\n\r\n!";
        let expected = Ok((b"ab".to_vec(), true, b"!".to_vec()));
        for cuts in 0..1_u32 << (bytes.len() - 1) {
            let mut pieces = Vec::new();
            let mut start = 0;
            for at in 1..=bytes.len() {
                if at == bytes.len() || (cuts >> (at - 1)) & 1 == 1 {
                    pieces.push(&bytes[start..at]);
                    start = at;
                }
            }
            assert_eq!(
                take_apart(State::ChunkSize, &pieces),
                expected,
                "{pieces:?}"
            );
        }
    }

    #[test]
    fn refuses_chunks_that_are_none() {
        let cases: [&[u8]; 27] = [
            b"\r\n\r\n",
            b"\n",
            b"+1\r\nx\r\n",
            b"-1\r\nx\r\n",
            b" 1\r\nx\r\n",
            b"\t1\r\nx\r\n",
            b"0x1\r\nx\r\n",
            b"g\r\n",
            b";a\r\n\r\n",
            b"1 1\r\nx\r\n",
            b"1,\r\nx\r\n",
            b"1\nx\r\n0\r\n\r\n",
            b"1\rx\r\n",
            b"1;a\nb\r\nx\r\n0\r\n\r\n",
            b"1;a\rb\r\nx\r\n0\r\n\r\n",
            b"00000000000000001\r\nx\r\n",
            b"10000000000000000\r\nx\r\n",
            b"1\r\nxy\r\n",
            b"1\r\nx0\r\n\r\n",
            b"1\r\nx\n0\r\n\r\n",
            b"1\r\nx\r0\r\n\r\n",
            b"1\r\nx\r\n\r\n",
            b"0\r\n\n",
            b"0\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\n\n",
            b"5\nhello\n0\n\n",
        ];
        for bytes in cases {
            let result = however_it_is_cut(State::ChunkSize, bytes);
            assert_eq!(result, Err(Malformed), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_stands_between_the_pieces_has_bounds() {
        let chunked = State::ChunkSize;
        for (length, fits) in [(CHUNK_LINE_CAP, true), (CHUNK_LINE_CAP + 1, false)] {
            let line = format!("1;{}\r\nx\r\n", "a".repeat(length - "1;\r\n".len()));
            for piece in [usize::MAX, 1, 1000] {
                let pieces: Vec<_> = line.as_bytes().chunks(piece).collect();
                assert_eq!(
                    take_apart(chunked, &pieces).is_ok(),
                    fits,
                    "{length} by {piece}"
                );
            }
        }
        let endless = b"1;".iter().chain(&[b'a'; CHUNK_LINE_CAP]).copied();
        let endless: Vec<u8> = endless.collect();
        assert!(take_apart(chunked, &[&endless[..CHUNK_LINE_CAP - 1]]).is_ok());
        assert_eq!(
            take_apart(chunked, &[&endless[..CHUNK_LINE_CAP]]),
            Err(Malformed)
        );

        let many = ["0\r\n".to_owned(), "A: b\r\n".repeat(TRAILER_CAP / 6 + 1)].concat();
        let long = format!("0\r\n{}", "a".repeat(TRAILER_CAP + 1));
        for trailers in [many, long] {
            for piece in [usize::MAX, 1, 1000] {
                let pieces: Vec<_> = trailers.as_bytes().chunks(piece).collect();
                assert_eq!(take_apart(chunked, &pieces), Err(Malformed), "by {piece}");
            }
        }
    }

    #[test]
    fn the_largest_chunk_and_the_largest_length_do_not_overflow() {
        let chunk = take_apart(State::ChunkSize, &[b"FFFFFFFFFFFFFFFF\r\nabc", b"d"]);
        assert_eq!(chunk, Ok((b"abcd".to_vec(), false, Vec::new())));
        let mut reader = BodyReader {
            state: State::Length(u64::MAX),
            trailer: 0,
        };
        let mut incoming = BytesMut::from(&b"abc"[..]);
        assert_eq!(
            reader.read(&mut incoming),
            Ok(Some(Bytes::from_static(b"abc")))
        );
        assert_eq!(reader.left(), Some(u64::MAX - 3));
    }

    #[test]
    fn only_a_body_without_length_ends_with_the_connection() {
        let states = [
            (State::Length(1), Err(Malformed)),
            (State::ChunkSize, Err(Malformed)),
            (State::Chunk(1), Err(Malformed)),
            (State::ChunkEnd, Err(Malformed)),
            (State::Trailer, Err(Malformed)),
            (State::UntilEnd, Ok(())),
        ];
        for (state, expected) in states {
            let mut reader = BodyReader { state, trailer: 0 };
            assert!(!reader.is_done());
            assert_eq!(reader.end(), expected, "{state:?}");
            assert_eq!(reader.is_done(), expected.is_ok());
        }
    }

    fn pieces<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            pieces.push(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        pieces
    }

    /// One chunk as anybody might write it, and what it is a chunk of.
    fn chunk() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let extension = prop_oneof![Just(""), Just(";a"), Just(" ; a=\"b;\r\""), Just("\t")];
        (
            vec(any::<u8>(), 1..300),
            0..4_usize,
            any::<bool>(),
            extension,
        )
            .prop_map(|(data, zeros, upper, extension)| {
                let size = format!("{}{:x}", "0".repeat(zeros), data.len());
                let size = if upper {
                    size.to_ascii_uppercase()
                } else {
                    size
                };
                let extension = extension.replace('\r', "");
                let line = format!("{size}{extension}\r\n");
                let written = [line.as_bytes(), &data, b"\r\n"].concat();
                (written, data)
            })
    }

    proptest! {
        #[test]
        fn an_answer_is_the_same_however_it_is_cut(
            interim in 0..3_usize,
            chunks in vec(chunk(), 0..6),
            trailers in 0..3_usize,
            behind in vec(any::<u8>(), 0..20),
            cuts in vec(1..200_usize, 1..12),
        ) {
            let mut wire = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(interim);
            wire.extend(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for (written, _) in &chunks {
                wire.extend_from_slice(written);
            }
            wire.extend(b"0\r\n");
            wire.extend(b"Trailer: value\r\n".repeat(trailers));
            wire.extend(b"\r\n");
            wire.extend_from_slice(&behind);
            let expected: Vec<u8> = chunks.into_iter().flat_map(|(_, data)| data).collect();

            let mut reader = HeadReader::default();
            let mut incoming = BytesMut::new();
            let mut body: Option<BodyReader> = None;
            let mut read = Vec::new();
            for piece in pieces(&wire, &cuts) {
                incoming.extend_from_slice(piece);
                if body.is_none() {
                    body = reader.read(&mut incoming).unwrap().map(|head| head.body);
                }
                if let Some(body) = &mut body {
                    while let Some(data) = body.read(&mut incoming).unwrap() {
                        read.extend_from_slice(&data);
                    }
                }
            }
            prop_assert!(body.is_some_and(|body| body.is_done()));
            prop_assert_eq!(read, expected);
            prop_assert_eq!(&incoming[..], &behind[..]);
        }

        #[test]
        fn whatever_comes_has_one_reading(
            soup in vec(prop_oneof![
                Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
                Just(b"HTTP/1.0 103 \n".to_vec()),
                Just(b"HTTP/1.".to_vec()),
                Just(b"Content-Length: 3\r\n".to_vec()),
                Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
                Just(b"Connection: close\r\n".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(b"\n".to_vec()),
                Just(b"3\r\nabc\r\n".to_vec()),
                Just(b"0\r\n".to_vec()),
                Just(b"1;x".to_vec()),
                Just(b"FFFFFFFFFFFFFFFF\r\n".to_vec()),
                vec(any::<u8>(), 0..6),
            ], 0..12),
            cuts in vec(1..20_usize, 1..6),
        ) {
            let bytes = soup.concat();
            let pieces = pieces(&bytes, &cuts);
            prop_assert_eq!(read(&pieces), read(&[&bytes]));
            for state in [
                State::Length(7),
                State::ChunkSize,
                State::Chunk(7),
                State::ChunkEnd,
                State::Trailer,
                State::UntilEnd,
                State::Done,
            ] {
                prop_assert_eq!(take_apart(state, &pieces), take_apart(state, &[&bytes]));
            }
        }
    }
}
