//! Letting an answer arrive although its reader is still sending.
//!
//! Over HTTP/1.1, closing a socket with unread data resets it, and a reset overtakes the answer (RFC 9112 §9.6).
//! Over HTTP/2, letting go of an unfinished request resets its stream, and clients take that for a broken answer.
//! In both cases the rest is read and thrown away for a moment first, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::request_body::Kept;
use crate::clock::{Alarm, Timers};

/// How much of a refused body is read and thrown away, so that the refusal is not lost to a reset: RFC 9112
/// §9.6 describes the problem, the contract sets the bounds.
const LINGER_BYTES: u64 = 64 * 1024;
/// How long at most.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// The rest of a body that nobody wants, kept for the sake of the answer before it.
pub(super) struct Lingering {
    body: Kept,
    read: u64,
    until: Alarm,
}

impl Lingering {
    pub(super) fn new(body: Kept, timers: &Timers) -> Self {
        Self {
            body,
            read: 0,
            until: timers.alarm(LINGER),
        }
    }

    /// Reads and throws away; `true` once there is nothing left to wait for. After [`LINGER_BYTES`] it only waits,
    /// so that the peer's window closes.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        while self.read < LINGER_BYTES {
            match Pin::new(&mut *self.body.borrow_mut()).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None | Some(Err(_))) => return true,
                Poll::Ready(Some(Ok(frame))) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    self.read += u64::try_from(length).unwrap_or(LINGER_BYTES);
                }
            }
        }
        self.until.poll_rung(cx).is_ready()
    }
}

/// Writes a last answer if there is one, ends our side, and reads on for a while if the peer may still be
/// sending: closing a socket with unread data resets it, and a reset can overtake the answer.
pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    answer: Option<Response<Bytes>>,
    unread: bool,
) {
    if let Some(answer) = answer
        && stream.write_all(&head_bytes(&answer)).await.is_err()
    {
        return;
    }
    if stream.shutdown().await.is_ok() && unread {
        let read = tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await;
        if read.is_ok_and(|read| read == LINGER_BYTES) {
            // More is coming. It fills the socket's buffers and stops there, until the caller's deadline.
            std::future::pending::<()>().await;
        }
    }
}

/// An answer as it goes over the wire, for connections that hyper no longer serves.
fn head_bytes(answer: &Response<Bytes>) -> Vec<u8> {
    let status = answer.status();
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in answer.headers() {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\nconnection: close\r\ncontent-length: ");
    bytes.extend_from_slice(itoa::Buffer::new().format(answer.body().len()).as_bytes());
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(answer.body());
    bytes
}
