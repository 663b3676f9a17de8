//! HTTP/2: hyper's builder with bounds of our own, and the socket as it sees it.
//!
//! The protocol itself is checked by hyper and h2. Bounds here keep what a peer can make us hold small.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::request::Parts;
use hyper::server::conn::http2::Builder;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::ServerLimits;
use super::activity::{Activity, BodyPoll};
use super::linger::close;
use crate::clock::Alarm;

/// Requests at once on one connection.
const STREAMS: u32 = 100;
/// Bytes a peer may send ahead on one stream: enough to keep a 40 MB body moving, little enough that 200
/// of them stay small.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same for a whole connection.
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes of answer that may wait for one stream's peer.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that a peer may make us reset by breaking the protocol on them (CVE-2025-8671), in the life of a
/// connection: each is a request that may be on its way to an upstream already.
// h2 counts streams over `STREAMS` as well, which it refuses before they are requests. A proxy that has queued
// hundreds of requests sends them before our settings have come; ending the connection for it would cut what is in
// flight.
const PROVOKED_RESETS: usize = 500;

/// Runs the streams of a connection on the worker's own thread, and gives up those whose peer makes no room.
///
/// The socket of a stalled stream may well be writable, because a peer that opens no window still reads frames. So
/// stalling shows only here: the body of the answer is not asked although it gave something before.
#[derive(Clone)]
pub(super) struct Streams(Rc<Activity>);

impl<F: Future + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let activity = Rc::clone(&self.0);
        tokio::task::spawn_local(async move {
            let mut stream = pin!(stream);
            let mut stall: Option<Alarm> = None;
            poll_fn(|cx| {
                activity.take_body_poll();
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                match activity.take_body_poll() {
                    BodyPoll::Gave => stall = Some(activity.stall_alarm()),
                    BodyPoll::Pending => stall = None,
                    BodyPoll::Untouched => {}
                }
                match &stall {
                    Some(alarm) => alarm.poll_rung(cx),
                    None => Poll::Pending,
                }
            })
            .await;
        });
    }
}

pub(super) fn builder(limits: &ServerLimits, activity: &Rc<Activity>) -> Builder<Streams> {
    let mut builder = Builder::new(Streams(Rc::clone(activity)));
    builder
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_local_error_reset_streams(PROVOKED_RESETS)
        .max_header_list_size(header_list_size(limits));
    builder
}

/// Tells a peer that was a flood why it ends (RFC 9113 §7), where that does not land in the middle of a frame, and
/// lets it arrive.
pub(super) async fn calm_down<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    activity: &Activity,
) {
    if activity.is_flushed() {
        let [a, b, c, d] = activity.last_stream().to_be_bytes();
        // A GOAWAY of 8 bytes on stream 0, with ENHANCE_YOUR_CALM.
        let frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0xb];
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
    close(&mut stream, None, true).await;
}

/// The limit h2 keeps, which answers 431 without telling anybody: twice our own, for [`is_too_large`] to be asked
/// first. RFC 9113 §6.5.2 adds 32 bytes for each field.
fn header_list_size(limits: &ServerLimits) -> u32 {
    let bytes = limits.header_bytes.saturating_mul(2);
    let overhead = limits.header_count.saturating_mul(32);
    u32::try_from(bytes.saturating_add(overhead)).unwrap_or(u32::MAX)
}

/// Whether a head is over the limits, counted as HTTP/1.1 would write it.
pub(super) fn is_too_large(head: &Parts, limits: &ServerLimits) -> bool {
    const SEPARATORS: usize = ": \r\n".len();
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS);
    let target = head.uri.path_and_query().map_or(0, |it| it.as_str().len());
    let authority = head.uri.authority().map_or(0, |it| it.as_str().len());
    let bytes = fields.sum::<usize>() + head.method.as_str().len() + target + authority;
    head.headers.len() > limits.header_count || bytes > limits.header_bytes
}
