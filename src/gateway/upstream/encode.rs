//! The head of a request as it goes over the wire to an upstream (RFC 9112 §3).

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderName, Request};

use super::super::plan::HeaderCase;
use crate::server::Spelling;
use crate::verify::BodyLength;

/// Room for an ordinary head, so that it is not moved while it grows.
const ORDINARY: usize = 1024;

/// A request's head, ready to be sent. Where the length of the body is not known it says that chunks follow.
pub(super) fn head<B>(request: &Request<B>, length: BodyLength, case: HeaderCase) -> Vec<u8> {
    let mut out = Vec::with_capacity(ORDINARY);
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    let target = request.uri().path_and_query();
    out.extend_from_slice(target.map_or("/", |target| target.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    match (case, request.extensions().get::<Spelling>()) {
        (HeaderCase::Preserve, Some(spelling)) => {
            spelled(request.headers(), spelling, &mut out);
        }
        (HeaderCase::Title, _) => fields(request.headers(), &mut out, title_case),
        (HeaderCase::Lower | HeaderCase::Preserve, _) => {
            fields(request.headers(), &mut out, |name, out| {
                out.extend_from_slice(name.as_str().as_bytes());
            });
        }
    }
    if length == BodyLength::Unknown {
        if case == HeaderCase::Title {
            title_case(&TRANSFER_ENCODING, &mut out);
        } else {
            out.extend_from_slice(TRANSFER_ENCODING.as_str().as_bytes());
        }
        out.extend_from_slice(b": chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn fields(headers: &HeaderMap, out: &mut Vec<u8>, write: impl Fn(&HeaderName, &mut Vec<u8>)) {
    for (name, value) in headers {
        write(name, out);
        end(value.as_bytes(), out);
    }
}

/// Each name as its sender wrote it; ours, which no sender wrote, in lower case.
fn spelled(headers: &HeaderMap, spelling: &Spelling, out: &mut Vec<u8>) {
    for name in headers.keys() {
        let mut written = spelling.of(name);
        for value in headers.get_all(name) {
            let name = written.next().unwrap_or(name.as_str().as_bytes());
            out.extend_from_slice(name);
            end(value.as_bytes(), out);
        }
    }
}

fn title_case(name: &HeaderName, out: &mut Vec<u8>) {
    let mut first = true;
    out.extend(name.as_str().bytes().map(|byte| {
        let written = if first {
            byte.to_ascii_uppercase()
        } else {
            byte
        };
        first = byte == b'-';
        written
    }));
}

fn end(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What stands before a chunk of this many bytes.
pub(super) fn chunk(length: usize) -> Vec<u8> {
    format!("{length:x}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request<()> {
        let head = b"POST / HTTP/1.1\r\nhOST: a\r\nX-One: 1\r\nx-ONE: 2\r\n\r\n";
        Request::post("/a?b=%20")
            .header("host", "a")
            .header("x-one", "1")
            .header("x-one", "2")
            .header("x-ours", "3")
            .extension(Spelling::read(head))
            .body(())
            .unwrap()
    }

    #[test]
    fn a_head_is_written_as_the_upstream_wants_its_names() {
        let cases = [
            (
                HeaderCase::Lower,
                "host: a\r\nx-one: 1\r\nx-one: 2\r\nx-ours: 3\r\ntransfer-encoding",
            ),
            (
                HeaderCase::Title,
                "Host: a\r\nX-One: 1\r\nX-One: 2\r\nX-Ours: 3\r\nTransfer-Encoding",
            ),
            (
                HeaderCase::Preserve,
                "hOST: a\r\nX-One: 1\r\nx-ONE: 2\r\nx-ours: 3\r\ntransfer-encoding",
            ),
        ];
        for (case, expected) in cases {
            let written = head(&request(), BodyLength::Unknown, case);
            let expected = format!("POST /a?b=%20 HTTP/1.1\r\n{expected}: chunked\r\n\r\n");
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
        let written = head(&request(), BodyLength::Exact(1), HeaderCase::Lower);
        assert!(written.ends_with(b"x-ours: 3\r\n\r\n"));
    }
}
