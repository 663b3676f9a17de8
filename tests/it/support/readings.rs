//! Two readings of the same HTTP/1.1 bytes: ours, and that of Node's parser of many years (`http_parser`, in C), which
//! shares no code with httparse.
//!
//! Only what may reach a backend is compared. [`compare`] stops at the first message that would not: one whose method is
//! not POST (the bindings do not tell the method of each message reliably), one that asks for an upgrade or the end of the
//! connection, after which Node reads no further, and one with trailers: they go nowhere, and Node is stricter about them.

use http_muncher::{Parser, ParserHandler};
use httparse::{EMPTY_HEADER, Request, Status};

/// One message, as somebody reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    target: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// Asserts that both read the same messages in bytes that the border has passed.
pub(crate) fn compare(passed: &[u8]) -> usize {
    let ours = ours(passed);
    let theirs = theirs(passed);
    for (at, message) in ours.iter().enumerate() {
        assert_eq!(
            theirs.get(at),
            Some(message),
            "message {at} of {}",
            passed.escape_ascii()
        );
    }
    ours.len()
}

fn trimmed(value: &[u8]) -> Vec<u8> {
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = value
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |at| at + 1);
    value[start..end].to_vec()
}

/// The complete messages, up to the first that is not to be compared.
fn ours(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let mut headers = [EMPTY_HEADER; 100];
        let mut request = Request::new(&mut headers);
        let Ok(Status::Complete(head)) = request.parse(bytes) else {
            return messages;
        };
        // Node is stricter about a tab after a length, which we write anew in any case.
        if bytes[..head].contains(&b'\t') {
            return messages;
        }
        let fields: Vec<_> = (request.headers.iter())
            .map(|header| {
                (
                    header.name.to_ascii_lowercase().into_bytes(),
                    trimmed(header.value),
                )
            })
            .collect();
        let value = |name: &[u8]| {
            fields
                .iter()
                .find(|(other, _)| other == name)
                .map(|it| &it.1)
        };
        let ends = |name: &[u8]| value(name).is_some();
        // Node is stricter about a target without a slash, which never comes as far as a backend.
        if !request.path.is_some_and(|path| path.starts_with('/'))
            || request.method != Some("POST")
            || request.version != Some(1)
            || ends(b"upgrade")
            || ends(b"connection")
            || ends(b"proxy-connection")
        {
            return messages;
        }
        let rest = &bytes[head..];
        let (body, used) = if ends(b"transfer-encoding") {
            match chunks(rest) {
                Some(whole) => whole,
                None => return messages,
            }
        } else {
            let length =
                value(b"content-length").map(|text| String::from_utf8(text.clone()).unwrap());
            let length = length.map_or(0, |text| text.parse().unwrap_or(usize::MAX));
            match rest.get(..length) {
                Some(body) => (body.to_vec(), length),
                None => return messages,
            }
        };
        messages.push(Message {
            target: request.path.unwrap_or_default().as_bytes().to_vec(),
            fields,
            body,
        });
        bytes = &rest[used..];
    }
}

/// A chunked body and how many bytes it takes; `None` where it is not complete or has trailers.
fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |from: usize| {
        let rest = bytes.get(from..)?;
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        Some((&rest[..end], from + end + 2))
    };
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size, next) = line(at)?;
        let digits = size.split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        at = next;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at = at.checked_add(size)?.checked_add(2)?;
        bytes.get(..at)?;
    }
    let (trailer, end) = line(at)?;
    trailer.is_empty().then_some((body, end))
}

#[derive(Default)]
struct Recorder {
    done: Vec<Message>,
    now: Message,
    head_done: bool,
    in_value: bool,
}

impl ParserHandler for Recorder {
    fn on_message_begin(&mut self, _: &mut Parser) -> bool {
        (self.now, self.head_done, self.in_value) = (Message::default(), false, false);
        true
    }

    fn on_url(&mut self, _: &mut Parser, bytes: &[u8]) -> bool {
        self.now.target.extend_from_slice(bytes);
        true
    }

    fn on_header_field(&mut self, _: &mut Parser, bytes: &[u8]) -> bool {
        if self.head_done {
            return true;
        }
        if self.in_value || self.now.fields.is_empty() {
            self.now.fields.push(Default::default());
        }
        self.in_value = false;
        if let Some((name, _)) = self.now.fields.last_mut() {
            name.extend(bytes.to_ascii_lowercase());
        }
        true
    }

    fn on_header_value(&mut self, _: &mut Parser, bytes: &[u8]) -> bool {
        self.in_value = true;
        if let Some((_, value)) = self.now.fields.last_mut().filter(|_| !self.head_done) {
            value.extend_from_slice(bytes);
        }
        true
    }

    fn on_headers_complete(&mut self, _: &mut Parser) -> bool {
        self.head_done = true;
        for (_, value) in &mut self.now.fields {
            *value = trimmed(value);
        }
        true
    }

    fn on_body(&mut self, _: &mut Parser, bytes: &[u8]) -> bool {
        self.now.body.extend_from_slice(bytes);
        true
    }

    fn on_message_complete(&mut self, _: &mut Parser) -> bool {
        self.done.push(std::mem::take(&mut self.now));
        true
    }
}

fn theirs(bytes: &[u8]) -> Vec<Message> {
    let mut recorder = Recorder::default();
    Parser::request().parse(&mut recorder, bytes);
    recorder.done
}
