//! The head of a request as it goes over the wire to an upstream (RFC 9112 §3), written field by field.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, Method};

use super::super::plan::HeaderCase;
use crate::server::Spelling;
use crate::verify::BodyLength;

/// Room for an ordinary head, so that it is not moved while it grows.
const ORDINARY: usize = 1024;

/// A head that is being written. Whoever writes answers for names and values that are fit for HTTP.
pub(in crate::gateway) struct HeadWriter<'s> {
    out: Vec<u8>,
    case: HeaderCase,
    spelling: Option<&'s Spelling>,
    /// The latest name, and how often it has come in a row.
    latest: Option<(HeaderName, usize)>,
}

impl<'s> HeadWriter<'s> {
    /// The request line; `target` is a path with its query.
    pub(in crate::gateway) fn new(
        method: &Method,
        target: &str,
        case: HeaderCase,
        spelling: Option<&'s Spelling>,
    ) -> Self {
        let mut out = Vec::with_capacity(ORDINARY);
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        Self {
            out,
            case,
            spelling: spelling.filter(|_| case == HeaderCase::Preserve),
            latest: None,
        }
    }

    /// One field. Fields of one name have to come one after the other.
    pub(in crate::gateway) fn field(&mut self, name: &HeaderName, value: &[u8]) {
        self.field_with(name, |out| out.extend_from_slice(value));
    }

    /// One field, whose value is written in place.
    pub(in crate::gateway) fn field_with(
        &mut self,
        name: &HeaderName,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        self.name(name);
        self.out.extend_from_slice(b": ");
        value(&mut self.out);
        self.out.extend_from_slice(b"\r\n");
    }

    fn name(&mut self, name: &HeaderName) {
        let text = name.as_str().as_bytes();
        if let Some(spelling) = self.spelling {
            let before = match self.latest.take() {
                Some((latest, count)) if latest == name => count + 1,
                Some(_) | None => 0,
            };
            // Ours, which no sender wrote, are in lower case.
            let written = spelling.of(name).nth(before).unwrap_or(text);
            self.out.extend_from_slice(written);
            self.latest = Some((name.clone(), before));
        } else if self.case == HeaderCase::Title {
            let start = self.out.len();
            self.out.extend_from_slice(text);
            title(self.out.get_mut(start..).unwrap_or_default());
        } else {
            self.out.extend_from_slice(text);
        }
    }

    /// Says how long the body is, or that chunks follow, and ends the head.
    pub(in crate::gateway) fn finish(mut self, length: BodyLength) -> Bytes {
        match length {
            BodyLength::Exact(length) => {
                let mut digits = itoa::Buffer::new();
                self.field(&CONTENT_LENGTH, digits.format(length).as_bytes());
            }
            BodyLength::Unknown => self.field(&TRANSFER_ENCODING, b"chunked"),
        }
        self.out.extend_from_slice(b"\r\n");
        Bytes::from(self.out)
    }
}

/// `content-type` becomes `Content-Type`.
fn title(name: &mut [u8]) {
    let mut first = true;
    for byte in name {
        if first {
            byte.make_ascii_uppercase();
        }
        first = *byte == b'-';
    }
}

/// What stands before a chunk of this many bytes.
pub(super) fn chunk(length: usize) -> Vec<u8> {
    format!("{length:x}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(case: HeaderCase, length: BodyLength) -> String {
        let sent = b"POST / HTTP/1.1\r\nhOST: a\r\nX-One: 1\r\nx-ONE: 2\r\n\r\n";
        let spelling = Spelling::read(sent);
        let mut writer = HeadWriter::new(&Method::POST, "/a?b=%20", case, Some(&spelling));
        let fields = [
            ("host", "a"),
            ("x-one", "1"),
            ("x-one", "2"),
            ("x-ours", "3"),
        ];
        for (name, value) in fields {
            writer.field(&HeaderName::from_static(name), value.as_bytes());
        }
        String::from_utf8(writer.finish(length).to_vec()).unwrap()
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
            let expected = format!("POST /a?b=%20 HTTP/1.1\r\n{expected}: chunked\r\n\r\n");
            assert_eq!(head(case, BodyLength::Unknown), expected);
        }
        let known = head(HeaderCase::Lower, BodyLength::Exact(12));
        assert!(known.ends_with("x-ours: 3\r\ncontent-length: 12\r\n\r\n"));
    }
}
