//! One request head: where it ends, and whether it has exactly one reading.
//!
//! What is refused here would let two servers disagree on where a message ends or which host it is for
//! (RFC 9112 §3.2, §6.1, §6.3, §11.2). Meaning (route, method, token) is not looked at.

use httparse::{EMPTY_HEADER, Header, Request, Status};
use memchr::memchr_iter;

use crate::server::Fault;

/// hyper parses at most this many header fields.
pub(in crate::server) const MOST_HEADERS: usize = 100;

/// How the body of a message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes; 0 where the head announces no body.
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
}

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) headers: usize,
}

/// Looks for the end of a head, continuing at `scanned`, and gives its length.
///
/// # Errors
/// A line feed without a carriage return: RFC 9112 §2.2 lets a server take it for a line end, and not all do.
pub(super) fn find_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Fault> {
    let fresh = bytes.get(scanned..).unwrap_or_default();
    for at in memchr_iter(b'\n', fresh).map(|at| at + scanned) {
        let line = bytes.get(..at).unwrap_or_default();
        if !line.ends_with(b"\r") {
            return Err(Fault::Malformed);
        }
        if line.ends_with(b"\r\n\r") {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

/// Checks a whole head and tells how its body is framed.
///
/// # Errors
/// The fault to answer with.
pub(super) fn check(head: &[u8], limits: HeadLimits) -> Result<Framing, Fault> {
    if head.len() > limits.bytes {
        return Err(Fault::HeaderTooLarge);
    }
    // The one empty line that may stand before a request; httparse would take any number.
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    if head.starts_with(b"\r") {
        return Err(Fault::Malformed);
    }
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::HeaderTooLarge),
        Ok(_) | Err(_) => return Err(Fault::Malformed),
    }
    if request.headers.len() > limits.headers {
        return Err(Fault::HeaderTooLarge);
    }
    check_target(request.path.unwrap_or_default())?;
    framing(request.headers, request.version == Some(1))
}

/// A fragment never belongs into a request target (RFC 9112 §3.2), and hyper drops it without a word. What
/// hyper cannot read it answers by itself, in words that are not ours: so it is read here first.
fn check_target(target: &str) -> Result<(), Fault> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if target.bytes().all(allowed) && target.parse::<http::Uri>().is_ok() {
        Ok(())
    } else {
        Err(Fault::Malformed)
    }
}

fn framing(headers: &[Header<'_>], http_1_1: bool) -> Result<Framing, Fault> {
    let mut length = None;
    let mut chunked = false;
    let mut hosts = 0_usize;
    for header in headers {
        let name = header.name;
        if name.eq_ignore_ascii_case("content-length") {
            if length.replace(content_length(header.value)?).is_some() {
                return Err(Fault::Malformed);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // Any other coding would have to be undone by somebody, and nobody downstream would know.
            if chunked || !http_1_1 || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Malformed);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("host") {
            hosts += 1;
        }
    }
    // RFC 9112 §3.2: a 1.1 request without exactly one Host gets a 400.
    if hosts > 1 || (http_1_1 && hosts == 0) {
        return Err(Fault::Malformed);
    }
    match (length, chunked) {
        (Some(_), true) => Err(Fault::Malformed),
        (None, true) => Ok(Framing::Chunked),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// Digits only, without leading zeros: `+5`, `0x5`, `5, 5`, `05` and 20 digits all read differently elsewhere, as
/// does what needs the sign bit of 64.
fn content_length(value: &[u8]) -> Result<u64, Fault> {
    let canonical = match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let text = std::str::from_utf8(value).map_err(|_| Fault::Malformed)?;
    if canonical {
        let length: i64 = text.parse().map_err(|_| Fault::Malformed)?;
        u64::try_from(length).map_err(|_| Fault::Malformed)
    } else {
        Err(Fault::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 16 * 1024,
        headers: 100,
    };
    const MALFORMED: Result<Framing, Fault> = Err(Fault::Malformed);

    fn read(head: &[u8]) -> Result<Framing, Fault> {
        match find_end(head, 0)? {
            Some(end) => check(&head[..end], LIMITS),
            None => panic!("no end in {head:?}"),
        }
    }

    #[test]
    fn passes_heads_with_one_reading() {
        let cases: &[(&[u8], Framing)] = &[
            (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                Framing::Length(0),
            ),
            (
                b"POST / HTTP/1.1\r\nhost:a\r\nCONTENT-LENGTH:  17 \r\n\r\n",
                Framing::Length(17),
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Framing::Chunked,
            ),
            (
                b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nX: caf\xe9\r\n\r\n",
                Framing::Length(0),
            ),
            (b"POST / HTTP/1.1\r\nHost:\r\n\r\n", Framing::Length(0)),
        ];
        for (head, expected) in cases {
            assert_eq!(read(head), Ok(*expected), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn refuses_heads_with_two_readings() {
        let lines: &[&[u8]] = &[
            b"Content-Length: 5\r\nContent-Length: 5",
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: 5, 5",
            b"Content-Length: +5",
            b"Content-Length: -5",
            b"Content-Length: 05",
            b"Content-Length: 0x5",
            b"Content-Length: 5 5",
            b"Content-Length:",
            b"Content-Length: 99999999999999999999",
            b"Content-Length: 9223372036854775808",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding:",
            b"Host: b",
            b"X : y",
            b" X: y",
            b"X: a\r\n b",
            b"X: a\rb",
            b"X: a\0b",
            b"X: a\x7fb",
            b": y",
            b"X",
        ];
        for line in lines {
            let head = [b"POST / HTTP/1.1\r\nHost: a\r\n", *line, b"\r\n\r\n"].concat();
            assert_eq!(read(&head), MALFORMED, "{}", line.escape_ascii());
        }
        let heads: &[&[u8]] = &[
            b"POST / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\n\n",
            b"POST /#f HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST https:///f HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /?a=<b> HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST a/b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            b"POST / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"POST  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1 \r\nHost: a\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
            b"POST /\r\n\r\n",
        ];
        for head in heads {
            assert_eq!(read(head), MALFORMED, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn limits_hold_to_the_byte_and_the_field() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        let exact = HeadLimits {
            bytes: head.len(),
            headers: 2,
        };
        assert_eq!(check(head, exact), Ok(Framing::Length(0)));
        let limits = [
            HeadLimits {
                bytes: head.len() - 1,
                ..exact
            },
            HeadLimits {
                headers: 1,
                ..exact
            },
        ];
        for limits in limits {
            assert_eq!(
                check(head, limits),
                Err(Fault::HeaderTooLarge),
                "{limits:?}"
            );
        }
        let many = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(100)
        );
        assert_eq!(check(many.as_bytes(), LIMITS), Err(Fault::HeaderTooLarge));
    }

    #[test]
    fn the_end_is_found_however_the_bytes_arrive() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\n\r\nbody\n";
        let end = head.len() - 5;
        for scanned in 0..end - 1 {
            assert_eq!(find_end(&head[..end - 1], scanned), Ok(None));
            assert_eq!(find_end(head, scanned), Ok(Some(end)), "{scanned}");
        }
    }
}
