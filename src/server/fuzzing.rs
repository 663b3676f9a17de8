//! Doors for fuzz targets: what the border of HTTP/1.1 would pass on to hyper, and what a PROXY header says.
//!
//! Nothing here runs in a gateway, and nothing but `fuzz/` and `benches/` should come to depend on it.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::ServerLimits;
use super::activity::Activity;
use super::http1::Guard;
use super::proxy;
use crate::clock::Timers;

/// As large as hyper's read buffer.
const READ_BUFFER: usize = 64 * 1024;

/// What came out on hyper's side.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// All bytes, in order.
    pub bytes: Vec<u8>,
    /// Whether a fault ended it.
    pub fault: bool,
}

/// Limits of heads; the timeouts, which count for nothing here, are zero.
pub const fn limits(header_bytes: usize, header_count: usize) -> ServerLimits {
    ServerLimits {
        header_bytes,
        header_count,
        tls_handshake: Duration::ZERO,
        request_head: Duration::ZERO,
        keep_alive: Duration::ZERO,
        send_stall: Duration::ZERO,
        drain: Duration::ZERO,
        preserve_header_case: false,
    }
}

/// Sends `bytes` through the border, in reads of at most `piece` bytes.
pub fn pass(bytes: &[u8], piece: usize, limits: &ServerLimits) -> Passed {
    let activity = Rc::new(Activity::new(&Timers::new(), limits, false));
    let stream = Pieces {
        rest: bytes,
        piece: piece.max(1),
    };
    let mut guard = Guard::new(Rc::new(RefCell::new(stream)), Rc::clone(&activity), limits);
    let mut passed = Vec::new();
    let mut buffer = vec![0; READ_BUFFER];
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let mut read = ReadBuf::new(&mut buffer);
        match Pin::new(&mut guard).poll_read(&mut context, &mut read) {
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                passed.extend_from_slice(read.filled());
            }
            Poll::Ready(Ok(()) | Err(_)) | Poll::Pending => break,
        }
    }
    Passed {
        bytes: passed,
        fault: activity.has_fault(),
    }
}

/// What a connection that begins with these bytes is taken to say of its sender, and how many of them were read for
/// it; nothing where they are no PROXY header. They come in reads of at most `piece` bytes.
pub fn proxy_header(bytes: &[u8], piece: usize) -> Option<(Option<SocketAddr>, usize)> {
    let mut stream = Pieces {
        rest: bytes,
        piece: piece.max(1),
    };
    let mut context = Context::from_waker(Waker::noop());
    let named = {
        let mut reading = pin!(proxy::read(&mut stream));
        match reading.as_mut().poll(&mut context) {
            Poll::Ready(read) => read.ok()?,
            Poll::Pending => return None,
        }
    };
    Some((named, bytes.len() - stream.rest.len()))
}

/// A peer that sends this and closes.
struct Pieces<'b> {
    rest: &'b [u8],
    piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.piece.min(out.remaining()).min(self.rest.len());
        let (now, later) = self.rest.split_at(length);
        out.put_slice(now);
        self.rest = later;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_does_not_depend_on_how_it_arrives() {
        let limits = limits(1024, 16);
        let two = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
                    POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        for piece in 1..=two.len() {
            let passed = pass(two, piece, &limits);
            assert_eq!(passed.bytes, two, "{piece}");
            assert!(!passed.fault);
        }
        let bad: [&[u8]; 2] = [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
            b"\r\n\r",
        ];
        for bad in bad {
            for piece in 1..=bad.len() {
                let passed = pass(bad, piece, &limits);
                assert!(passed.fault && passed.bytes.is_empty(), "{piece}");
            }
        }
    }
}
