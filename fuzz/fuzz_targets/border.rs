//! Whatever passes the border of HTTP/1.1 has one reading: httparse reads every head, the framing is one of two,
//! messages end where the next one begins, and how the bytes arrived makes no difference.

#![no_main]

use countersign::server::ServerLimits;
use countersign::server::fuzzing::{limits, pass};
use httparse::{EMPTY_HEADER, Request, Status};
use libfuzzer_sys::fuzz_target;

const LIMITS: ServerLimits = limits(1024, 16);

/// One message as the reference reads it.
#[derive(Debug, PartialEq, Eq)]
struct Message<'b> {
    /// From its request line on.
    raw: &'b [u8],
    /// Decoded; all of it, or as much as has passed.
    body: Vec<u8>,
    complete: bool,
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = pass(bytes, usize::MAX, &LIMITS);
    let messages = read(&whole.bytes).expect("what passed has a reading");
    are_in_order(&messages, bytes);
    let incomplete = messages.iter().filter(|message| !message.complete).count();
    assert!(incomplete <= 1, "a message begins inside of another");

    for message in messages.iter().filter(|message| message.complete) {
        let alone = pass(message.raw, usize::MAX, &LIMITS);
        assert!(
            !alone.fault && alone.bytes == message.raw,
            "not the same alone"
        );
        reframe(message);
    }

    // One empty line before a message is passed over, and whether a second one is depends on where a read ends.
    if !has_two_empty_lines(bytes) {
        let pieces = pass(bytes, usize::from(piece), &LIMITS);
        let others = read(&pieces.bytes).expect("what passed has a reading");
        let complete = |messages: &[Message<'_>]| -> Vec<Vec<u8>> {
            let complete = messages.iter().filter(|message| message.complete);
            complete.map(|message| message.raw.to_vec()).collect()
        };
        assert_eq!(complete(&messages), complete(&others));
        assert_eq!(whole.fault, pieces.fault);
    }
});

/// Every message stands in the input as it passed, with nothing between but empty lines.
fn are_in_order(messages: &[Message<'_>], mut input: &[u8]) {
    for message in messages {
        while let Some(rest) = input.strip_prefix(b"\r\n") {
            input = rest;
        }
        input = input.strip_prefix(message.raw).expect("bytes as they came");
    }
}

/// The same body with its length announced is the same message.
fn reframe(message: &Message<'_>) {
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        message.body.len()
    );
    let again = [head.as_bytes(), &message.body].concat();
    let passed = pass(&again, 7, &LIMITS);
    assert!(!passed.fault && passed.bytes == again);
    assert_eq!(read(&again).expect("a reading")[0].body, message.body);
}

fn has_two_empty_lines(mut input: &[u8]) -> bool {
    while !input.is_empty() {
        if input.starts_with(b"\r\n\r\n") {
            return true;
        }
        match read_one(input) {
            Some((_, rest)) => input = rest,
            None => return false,
        }
    }
    false
}

fn read(mut bytes: &[u8]) -> Option<Vec<Message<'_>>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (message, rest) = read_one(bytes)?;
        messages.push(message);
        bytes = rest;
    }
    Some(messages)
}

/// Reads one message by the strictest reading of RFC 9112, on top of httparse; `None` where there is none.
fn read_one(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let mut start = bytes;
    while let Some(rest) = start.strip_prefix(b"\r\n") {
        start = rest;
    }
    let mut headers = [EMPTY_HEADER; 100];
    let mut request = Request::new(&mut headers);
    let Ok(Status::Complete(length)) = request.parse(start) else {
        return None;
    };
    let (head, after) = start.split_at(length);
    let bare = (0..head.len()).any(|at| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r'));
    let values = |name: &str| -> Vec<&[u8]> {
        let named = request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    let hosts = values("host").len();
    if bare
        || hosts > 1
        || (hosts == 0 && request.version == Some(1))
        || head.len() > LIMITS.header_bytes + 2
    {
        return None;
    }
    let (body, rest, complete) = match (
        &values("content-length")[..],
        &values("transfer-encoding")[..],
    ) {
        ([], []) => (Vec::new(), after, true),
        ([length], []) => {
            let length = std::str::from_utf8(length).ok()?;
            let length: u64 = length
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| length.parse().ok())??;
            let there =
                usize::try_from(length).map_or(after.len(), |length| length.min(after.len()));
            let (body, rest) = after.split_at(there);
            (body.to_vec(), rest, there as u64 == length)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1) => {
            chunked(after)?
        }
        _ => return None,
    };
    let raw = &start[..start.len() - rest.len()];
    Some((
        Message {
            raw,
            body,
            complete,
        },
        rest,
    ))
}

/// A chunked body, what follows it, and whether it is all there.
fn chunked(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8], bool)> {
    let mut body = Vec::new();
    loop {
        let end: &[u8] = &[];
        let Some(line) = line(bytes)? else {
            return Some((body, end, false));
        };
        let (Ok(Status::Complete((used, size))), digits) = (
            httparse::parse_chunk_size(bytes),
            line.split(|byte| *byte == b';').next()?,
        ) else {
            return None;
        };
        let own = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if own != size || used != line.len() + 2 {
            return None;
        }
        bytes = &bytes[used..];
        if size == 0 {
            break;
        }
        let there = usize::try_from(size).map_or(bytes.len(), |size| size.min(bytes.len()));
        body.extend_from_slice(&bytes[..there]);
        bytes = &bytes[there..];
        if (there as u64) < size || bytes.len() < 2 {
            return (there as u64 <= size && b"\r\n".starts_with(bytes))
                .then_some((body, end, false));
        }
        bytes = bytes.strip_prefix(b"\r\n")?;
    }
    loop {
        match line(bytes)? {
            None => return Some((body, &[], false)),
            Some([]) => return Some((body, &bytes[2..], true)),
            Some(line) => bytes = &bytes[line.len() + 2..],
        }
    }
}

/// The first line; `Some(None)` when it is not complete, `None` when it ends in a bare line feed.
fn line(bytes: &[u8]) -> Option<Option<&[u8]>> {
    match bytes.iter().position(|byte| *byte == b'\n') {
        None => Some(None),
        Some(at) => bytes[..at].strip_suffix(b"\r").map(Some),
    }
}
