//! What a backend can do wrong with an answer, and what has to come of it: a table.

use super::{Reply, Step};

/// What the sender gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The backend's answer, whole: this status and this text.
    Whole(u16, &'static str),
    /// An answer of the gateway's own with this status; the kind of failure.
    Failed(u16, &'static str),
    /// The beginning of the backend's answer, and no proper end; the kind of failure.
    Broken(&'static str),
}

/// One thing that goes wrong, or only seems to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What the backend writes first.
    bytes: &'static [u8],
    then: Then,
    pub(crate) end: End,
    /// Whether it answers before it has read the body.
    pub(crate) early: bool,
}

/// What the backend does after writing.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Serves the next request.
    GoOn,
    Close,
    HalfClose,
    Reset,
    Wait,
    Repeat(&'static [u8]),
}

impl Fault {
    /// Whether the backend ends the connection behind an answer that lets it go on. Whoever sends the next request at
    /// that moment can lose it, which no gateway can help: RFC 9112 §9.3.1.
    pub(crate) fn ends_behind_the_answer(&self) -> bool {
        matches!(self.end, End::Whole(..)) && !matches!(self.then, Then::GoOn)
    }

    pub(crate) fn reply(&self) -> Reply {
        let write = Step::Write(self.bytes.to_vec());
        Reply::Steps(match self.then {
            Then::GoOn => return Reply::Raw(self.bytes.to_vec()),
            Then::Close => vec![write],
            Then::HalfClose => vec![write, Step::HalfClose],
            Then::Reset => vec![write, Step::Reset],
            Then::Wait => vec![write, Step::Wait],
            Then::Repeat(bytes) => vec![write, Step::Endless(bytes)],
        })
    }
}

const fn fault(name: &'static str, bytes: &'static [u8], then: Then, end: End) -> Fault {
    Fault {
        name,
        bytes,
        then,
        end,
        early: false,
    }
}

const fn early(name: &'static str, bytes: &'static [u8], then: Then, end: End) -> Fault {
    Fault {
        early: true,
        ..fault(name, bytes, then, end)
    }
}

const FINE: End = End::Whole(200, "fine");
const RESET: End = End::Failed(502, "reset");
const PROTOCOL: End = End::Failed(502, "protocol");
const REDIRECT: End = End::Failed(502, "redirect");
const SLOW: End = End::Failed(504, "timeout");
const TRUNCATED: End = End::Broken("truncated");

/// Every fault. Those that wait run into the response timeout.
#[rustfmt::skip]
pub(crate) const FAULTS: &[Fault] = &[
    // Odd, and allowed.
    fault("whole", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", Then::GoOn, FINE),
    fault("whole, then half-closes", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", Then::HalfClose, FINE),
    fault("nothing to say, then closed", b"HTTP/1.1 204 No Content\r\n\r\n", Then::Close, End::Whole(204, "")),
    fault("more than announced", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfinemore", Then::GoOn, FINE),
    fault("a second answer behind it", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfineHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Then::GoOn, FINE),
    fault("bytes behind the last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\nmore", Then::GoOn, FINE),
    fault("100, then the answer", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", Then::GoOn, FINE),
    fault("102, then the answer", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", Then::GoOn, FINE),
    fault("103, then the answer", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", Then::GoOn, FINE),
    fault("HTTP/1.0 with a length", b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine", Then::Close, FINE),
    fault("HTTP/1.0 up to the end", b"HTTP/1.0 200 OK\r\n\r\nfine", Then::Close, FINE),
    fault("HTTP/1.1 up to the end", b"HTTP/1.1 200 OK\r\n\r\nfine", Then::HalfClose, FINE),
    fault("failure of its own", b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nfail", Then::GoOn, End::Whole(500, "fail")),
    // Before the head.
    fault("nothing, closed", b"", Then::Close, RESET),
    fault("nothing, half-closed", b"", Then::HalfClose, RESET),
    fault("nothing, reset", b"", Then::Reset, RESET),
    fault("nothing, ever", b"", Then::Wait, SLOW),
    fault("only a 100", b"HTTP/1.1 100 Continue\r\n\r\n", Then::Close, RESET),
    fault("only a 100, and waits", b"HTTP/1.1 100 Continue\r\n\r\n", Then::Wait, SLOW),
    // In the head.
    fault("closed in the status line", b"HTTP/1.1 20", Then::Close, RESET),
    fault("closed in the head", b"HTTP/1.1 200 OK\r\nContent-Le", Then::Close, RESET),
    fault("reset in the head", b"HTTP/1.1 200 OK\r\nContent-Le", Then::Reset, RESET),
    fault("slow in the head", b"HTTP/1.1 200 OK\r\nContent-Le", Then::Wait, SLOW),
    fault("endless 1xx", b"", Then::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), PROTOCOL),
    fault("endless 1xx with fields", b"", Then::Repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"), PROTOCOL),
    fault("endless fields", b"HTTP/1.1 200 OK\r\n", Then::Repeat(b"X: y\r\n"), PROTOCOL),
    fault("endless field", b"HTTP/1.1 200 OK\r\nX: ", Then::Repeat(b"yyyyyyyyyyyyyyyy"), PROTOCOL),
    fault("endless status line", b"HTTP/1.1 200 ", Then::Repeat(b"OKOKOKOKOKOKOKOK"), PROTOCOL),
    fault("endless empty lines", b"", Then::Repeat(b"\r\n\r\n\r\n\r\n"), PROTOCOL),
    // No HTTP, or not one reading of it.
    fault("HTTP/0.9", b"fine", Then::Close, PROTOCOL),
    fault("a page without a head", b"<html>fine</html>\r\n", Then::Close, PROTOCOL),
    fault("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n", Then::Wait, PROTOCOL),
    fault("TLS alert", b"\x15\x03\x01\x00\x02\x02\x46", Then::Close, PROTOCOL),
    fault("HTTP/2", b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("HTTP/2 frames", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", Then::Wait, PROTOCOL),
    fault("no status", b"HTTP/1.1 OK\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("status 099", b"HTTP/1.1 099 Odd\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("status 600", b"HTTP/1.1 600 Odd\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("NUL in a name", b"HTTP/1.1 200 OK\r\nX\x00: b\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("folded field", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("field without a colon", b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("length and coding", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", Then::Wait, PROTOCOL),
    fault("coding and length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4\r\nfine\r\n0\r\n\r\n", Then::Wait, PROTOCOL),
    fault("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 3\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("two equal lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("signed length", b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("length in words", b"HTTP/1.1 200 OK\r\nContent-Length: four\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("empty length", b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("length beyond all numbers", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nfine", Then::Wait, PROTOCOL),
    fault("coding under chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", Then::Wait, PROTOCOL),
    fault("chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", Then::Wait, PROTOCOL),
    fault("coding without chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nfine", Then::Close, PROTOCOL),
    fault("HTTP/1.0 with chunks", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", Then::Close, PROTOCOL),
    fault("101 nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", Then::Wait, PROTOCOL),
    fault("redirect", b"HTTP/1.1 307 Temporary\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n", Then::Wait, REDIRECT),
    fault("not modified", b"HTTP/1.1 304 Not Modified\r\n\r\n", Then::Wait, REDIRECT),
    // In the body.
    fault("closed in the body", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Then::Close, TRUNCATED),
    fault("half-closed in the body", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Then::HalfClose, TRUNCATED),
    fault("reset in the body", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Then::Reset, TRUNCATED),
    fault("slow in the body", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Then::Wait, End::Broken("timeout")),
    fault("closed between chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Then::Close, TRUNCATED),
    fault("closed in a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", Then::Close, TRUNCATED),
    fault("closed in the last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", Then::Close, TRUNCATED),
    fault("slow between chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Then::Wait, End::Broken("timeout")),
    fault("chunk size in words", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n", Then::Wait, TRUNCATED),
    fault("negative chunk size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n-1\r\n", Then::Wait, TRUNCATED),
    fault("chunk size beyond all numbers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nfffffffffffffffff\r\n", Then::Wait, TRUNCATED),
    fault("more than the chunk's size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", Then::Wait, TRUNCATED),
    fault("reset in a body up to the end", b"HTTP/1.0 200 OK\r\n\r\nabc", Then::Reset, TRUNCATED),
    // Before the sender's body has been read.
    early("early refusal, closed", b"HTTP/1.1 413 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch", Then::Close, End::Whole(413, "much")),
    early("early refusal, goes on", b"HTTP/1.1 413 No\r\nContent-Length: 4\r\n\r\nmuch", Then::GoOn, End::Whole(413, "much")),
    early("early garbage", b"no such thing\r\n", Then::Wait, PROTOCOL),
];
