//! Answers in HTTP/1.1, read up to a cap and never trusted.

use std::time::Duration;

use memchr::memmem;

use super::link::Link;

/// Longest answer, head and body, in bytes. What is beyond it is not read.
const CAP: usize = 64 * 1024;
/// Most fields of a head.
const FIELDS: usize = 100;

/// What came of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An answer, or the beginning of one.
    Answer(Answer),
    /// The connection ended without a byte.
    Closed,
    /// The connection ended as announced before the request in question could be sent.
    Ended,
    /// Nothing came in time.
    Silent,
    /// What came is not HTTP; the bytes.
    Garbled(Vec<u8>),
    /// There was no connection; why.
    Unreached(&'static str),
    /// It was not tried; why.
    Untried(&'static str),
}

/// What an answer says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing is said.
    Unsaid,
    /// `text/plain`.
    Plain,
    /// `application/json` and the like.
    Json,
    /// What a browser would run.
    Markup,
    /// Anything else.
    Other,
}

/// See [`Outcome::Answer`].
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
    /// Everything that came, interim answers as well.
    pub(super) raw: Vec<u8>,
    /// Whether a `100 Continue` came before it.
    pub(super) continued: bool,
    /// Whether the connection ends after it.
    pub(super) closes: bool,
    /// Whether less came than it announced.
    pub(super) cut: bool,
    /// `Cache-Control: no-store`.
    pub(super) no_store: bool,
    /// `X-Content-Type-Options: nosniff`.
    pub(super) nosniff: bool,
    pub(super) latency: Duration,
}

/// How an answer's body ends.
enum Framing {
    None,
    Length(usize),
    Chunked,
    Close,
}

/// How much of an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// Its head: the answer to `HEAD` has no body.
    Head,
    /// All of it, but a `100 Continue` is an answer too: after it the peer waits for a body that never comes.
    First,
}

/// Reads the answer to a request.
pub(super) fn read(link: &mut Link, wanted: Wanted) -> Outcome {
    let mut reader = Reader::default();
    loop {
        match reader.head() {
            Some(Err(())) => return Outcome::Garbled(reader.raw),
            Some(Ok((mut answer, framing))) => {
                if answer.status == 100 && wanted == Wanted::First {
                    return Outcome::Answer(reader.finish(answer));
                }
                if answer.status < 200 {
                    continue;
                }
                let framing = if wanted == Wanted::Head {
                    Framing::None
                } else {
                    framing
                };
                let end = reader.body(link, &mut answer, &framing);
                answer.closes |= end != End::Framed;
                answer.cut = end == End::Cut;
                return Outcome::Answer(reader.finish(answer));
            }
            None => {}
        }
        match reader.more(link) {
            More::Some => {}
            More::Late if reader.raw.is_empty() => return Outcome::Silent,
            More::End if reader.raw.is_empty() => return Outcome::Closed,
            More::Late | More::End => return Outcome::Garbled(reader.raw),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Some,
    End,
    Late,
}

/// Where a body ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Where its framing says; the connection can go on.
    Framed,
    /// With the connection, as its framing says; or at the cap, where nobody looks any further.
    Closed,
    /// Before that, or it never came.
    Cut,
}

#[derive(Default)]
struct Reader {
    raw: Vec<u8>,
    /// Where in `raw` the next thing to read begins.
    at: usize,
    continued: bool,
}

impl Reader {
    /// At the cap as at the end.
    fn more(&mut self, link: &mut Link) -> More {
        let mut bytes = [0; 8 * 1024];
        if self.raw.len() >= CAP {
            return More::End;
        }
        match link.receive(&mut bytes) {
            Ok(0) => More::End,
            Ok(count) => {
                self.raw.extend(bytes.iter().take(count));
                More::Some
            }
            Err(_) => More::Late,
        }
    }

    fn rest(&self) -> &[u8] {
        self.raw.get(self.at..).unwrap_or_default()
    }

    /// The next head, if it is whole.
    fn head(&mut self) -> Option<Result<(Answer, Framing), ()>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let (answer, framing, length) = match response.parse(rest) {
            Ok(httparse::Status::Partial) => return None,
            Err(_) => return Some(Err(())),
            Ok(httparse::Status::Complete(length)) => {
                let (answer, framing) = understood(&response);
                (answer, framing, length)
            }
        };
        self.at += length;
        self.continued |= answer.status == 100;
        Some(Ok((answer, framing)))
    }

    /// Reads a body, and tells where it ended.
    fn body(&mut self, link: &mut Link, answer: &mut Answer, framing: &Framing) -> End {
        loop {
            let (body, whole) = match framing {
                Framing::None => (Vec::new(), true),
                Framing::Length(length) => {
                    let body: Vec<u8> = self.rest().iter().copied().take(*length).collect();
                    let whole = body.len() == *length;
                    (body, whole)
                }
                Framing::Chunked => chunks(self.rest()),
                Framing::Close => (self.rest().to_vec(), false),
            };
            let more = if whole { More::End } else { self.more(link) };
            if more == More::Some {
                continue;
            }
            answer.body = body;
            let as_framed = more == More::End && matches!(framing, Framing::Close);
            return if whole {
                End::Framed
            } else if as_framed || self.raw.len() >= CAP {
                End::Closed
            } else {
                End::Cut
            };
        }
    }

    fn finish(self, answer: Answer) -> Answer {
        Answer {
            raw: self.raw,
            continued: self.continued,
            ..answer
        }
    }
}

fn understood(response: &httparse::Response<'_, '_>) -> (Answer, Framing) {
    let values = |name: &'static str| {
        let same = response.headers.iter();
        same.filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    let says = |name: &'static str, word: &str| {
        let mut found =
            values(name).map(|value| memmem::find(&value.to_ascii_lowercase(), word.as_bytes()));
        found.any(|found| found.is_some())
    };
    let status = response.code.unwrap_or_default();
    let length = values("content-length").next().map(|value| {
        let text = str::from_utf8(value).unwrap_or_default();
        text.trim().parse().unwrap_or(CAP)
    });
    let framing = match length {
        _ if status < 200 || matches!(status, 204 | 304) => Framing::None,
        _ if says("transfer-encoding", "chunked") => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    };
    let keeps = response.version == Some(1) || says("connection", "keep-alive");
    let answer = Answer {
        status,
        kind: values("content-type").next().map_or(Kind::Unsaid, kind),
        body: Vec::new(),
        raw: Vec::new(),
        continued: false,
        closes: !keeps || says("connection", "close"),
        cut: false,
        no_store: says("cache-control", "no-store"),
        nosniff: says("x-content-type-options", "nosniff"),
        latency: Duration::ZERO,
    };
    (answer, framing)
}

fn kind(value: &[u8]) -> Kind {
    let value = value.to_ascii_lowercase();
    let name: &[u8] = value.split(|byte| *byte == b';').next().unwrap_or_default();
    match name.trim_ascii() {
        b"text/plain" => Kind::Plain,
        name if name.ends_with(b"/json") || name.ends_with(b"+json") => Kind::Json,
        b"text/html"
        | b"application/xhtml+xml"
        | b"image/svg+xml"
        | b"text/xml"
        | b"application/xml" => Kind::Markup,
        _ => Kind::Other,
    }
}

/// What is there of a chunked body, and whether that is all.
fn chunks(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, length))) = httparse::parse_chunk_size(rest) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let after = rest.get(start..).unwrap_or_default();
        if length == 0 {
            return (body, after.ends_with(b"\r\n"));
        }
        body.extend(after.iter().take(length));
        match after.get(length.saturating_add(2)..) {
            Some(next) => rest = next,
            None => break,
        }
    }
    (body, false)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;

    /// What is read where a peer says this and ends the connection.
    fn reading(said: &[u8], wanted: Wanted) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut link = Link::connect(address, deadline).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // The reader stops at its cap.
                let _ = peer.write_all(said);
            });
            let outcome = read(&mut link, wanted);
            drop(link);
            outcome
        })
    }

    fn of(outcome: Outcome) -> Answer {
        if let Outcome::Answer(answer) = outcome {
            return answer;
        }
        panic!("{outcome:?}");
    }

    fn answer(said: &str) -> Answer {
        of(reading(said.as_bytes(), Wanted::Whole))
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        let (open, closed, cut) = ((false, false), (true, false), (true, true));
        for (said, body, ends) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
                "ab",
                open,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                "abc",
                cut,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
                "abc",
                cut,
            ),
            ("HTTP/1.1 200 OK\r\n\r\nabc", "abc", closed),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
                "ab",
                closed,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", "", open),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
                "abc",
                open,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nfffffffffffffff\r\nc",
                "abc",
                cut,
            ),
            (
                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
                "a",
                closed,
            ),
        ] {
            let answer = answer(said);
            assert_eq!(
                (
                    str::from_utf8(&answer.body).unwrap(),
                    (answer.closes, answer.cut)
                ),
                (body, ends),
                "{said}"
            );
        }
    }

    #[test]
    fn a_100_is_told_and_counts_where_it_is_asked_for() {
        let said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
        for (wanted, status) in [(Wanted::First, 100), (Wanted::Whole, 200)] {
            let answer = of(reading(said, wanted));
            assert_eq!((answer.status, answer.continued), (status, true));
        }
    }

    #[test]
    fn what_is_no_http_is_told() {
        for said in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\nhalf",
            "HTTP/1.1 2x0 OK\r\n\r\n",
        ] {
            assert!(
                matches!(reading(said.as_bytes(), Wanted::Whole), Outcome::Garbled(_)),
                "{said}"
            );
        }
        assert!(matches!(reading(b"", Wanted::Whole), Outcome::Closed));
    }

    #[test]
    fn nothing_is_read_beyond_the_cap() {
        let mut said = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        said.resize(8 * 1024 * 1024, b'a');
        let answer = of(reading(&said, Wanted::Whole));
        assert!(answer.raw.len() < CAP + 8 * 1024 && !answer.cut);
        let endless = [b"HTTP/1.1 200 OK\r\nA: ", &*vec![b'a'; 1024 * 1024]].concat();
        assert!(matches!(
            reading(&endless, Wanted::Whole),
            Outcome::Garbled(_)
        ));
    }

    #[test]
    fn head_has_no_body() {
        let said = b"HTTP/1.1 405 No\r\nContent-Length: 20\r\n\r\n";
        assert!(
            matches!(reading(said, Wanted::Head), Outcome::Answer(answer) if answer.body.is_empty() && !answer.closes)
        );
    }

    #[test]
    fn media_types_are_told_apart() {
        for (value, expected) in [
            ("text/plain; charset=utf-8", Kind::Plain),
            ("TEXT/Plain", Kind::Plain),
            ("application/json", Kind::Json),
            ("application/fhir+json;a=b", Kind::Json),
            ("text/html", Kind::Markup),
            ("image/svg+xml", Kind::Markup),
            ("application/octet-stream", Kind::Other),
        ] {
            assert_eq!(kind(value.as_bytes()), expected, "{value}");
        }
    }
}
