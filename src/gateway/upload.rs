//! The sender's body on its way: looked at once, streamed up, or thrown away.
//!
//! Nothing here holds a body whole but [`peek`], whose cap is the route's `challenge_body`. Frames pass as they
//! came, and the next one is asked for when there is room for it, so both sides feel each other's pace.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::reason::{Refusal, Stop};
use crate::clock::{Alarm, Timers};
use crate::server::{BodyFault, RequestBody};
use crate::verify::BodyLength;

/// A body that broke; what and why is in the record.
#[derive(Clone, Copy, Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("body broken off")
    }
}

impl std::error::Error for Broken {}

/// Counts that several parts of one exchange add to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Body bytes from the sender.
    pub(super) received: Cell<u64>,
    /// Body bytes to the sender.
    pub(super) sent: Cell<u64>,
    /// What went wrong with the sender's body.
    pub(super) body_fault: Cell<Option<Stop>>,
    /// Whether the sender's body has been read to its end.
    pub(super) body_done: Cell<bool>,
    /// Position of the upstream's endpoint that it was last sent to.
    pub(super) endpoint: Cell<Option<usize>>,
    /// Time in which it was others that were waited for, before the answer began.
    pub(super) waited: Cell<Duration>,
}

impl Tally {
    /// So long somebody else was waited for.
    pub(super) fn waited_for(&self, time: Duration) {
        self.waited.set(self.waited.get().saturating_add(time));
    }
}

impl From<BodyFault> for Stop {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Malformed => Refusal::Malformed.into(),
            BodyFault::SenderLeft => Self::SenderLeft,
        }
    }
}

/// What a look at a body found.
pub(super) enum Peek {
    /// All of it.
    Whole(Bytes),
    /// More than the cap; these are its first frames.
    Longer(Vec<Bytes>),
}

/// Reads a body to its end or past `cap` bytes, whichever comes first.
///
/// # Errors
/// The body broke, or took longer than `patience` in all.
pub(super) async fn peek(
    body: &mut RequestBody,
    cap: usize,
    patience: Alarm,
    tally: &Tally,
) -> Result<Peek, Stop> {
    let mut frames = Vec::new();
    let mut length = 0_usize;
    loop {
        let frame = tokio::select! {
            biased;
            frame = next_data(body, tally) => frame?,
            () = poll_fn(|cx| patience.poll_rung(cx)) => return Err(Refusal::ReadTimeout.into()),
        };
        let Some(data) = frame else {
            return Ok(Peek::Whole(join(frames, length)));
        };
        length += data.len();
        frames.push(data);
        if length > cap {
            return Ok(Peek::Longer(frames));
        }
    }
}

fn join(frames: Vec<Bytes>, length: usize) -> Bytes {
    match <[Bytes; 1]>::try_from(frames) {
        Ok([only]) => only,
        Err(frames) => {
            let mut whole = BytesMut::with_capacity(length);
            frames
                .iter()
                .for_each(|frame| whole.extend_from_slice(frame));
            whole.freeze()
        }
    }
}

/// The next piece of a body; `None` at its end. Trailers are dropped: nothing in them may be trusted.
async fn next_data(body: &mut RequestBody, tally: &Tally) -> Result<Option<Bytes>, Stop> {
    loop {
        match next_frame(body, tally).await {
            None => {
                tally.body_done.set(true);
                return Ok(None);
            }
            Some(Err(fault)) => return Err(fault.into()),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    count(&tally.received, &data);
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// What is there costs no look at the clock.
async fn next_frame(
    body: &mut RequestBody,
    tally: &Tally,
) -> Option<Result<Frame<Bytes>, BodyFault>> {
    let mut since = None;
    let frame = poll_fn(|cx| {
        let frame = Pin::new(&mut *body).poll_frame(cx);
        if frame.is_pending() {
            since.get_or_insert_with(Instant::now);
        }
        frame
    });
    let frame = frame.await;
    if let Some(since) = since {
        tally.waited_for(since.elapsed());
    }
    frame
}

pub(super) fn count(counter: &Cell<u64>, data: &Bytes) {
    counter.set(
        counter
            .get()
            .saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX)),
    );
}

/// Reads a refused body to its end if that is near: then the connection can be kept, and a kept connection
/// costs us less than a new handshake.
pub(super) async fn discard(mut body: RequestBody, cap: u64, patience: Alarm, tally: &Tally) {
    let start = tally.received.get();
    let read = async {
        while let Ok(Some(_)) = next_data(&mut body, tally).await {
            if tally.received.get().saturating_sub(start) > cap {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = read => {}
        () = patience => {}
    }
}

/// A verified request's body on its way to the upstream: the part already looked at, then the rest.
pub(super) struct Upload {
    ahead: VecDeque<Bytes>,
    rest: Option<RequestBody>,
    length: BodyLength,
    cap: u64,
    passed: u64,
    idle: Option<Alarm>,
    /// Whether the alarm is running. It must not while the upstream is what we wait for.
    waiting: bool,
    idle_timeout: Duration,
    timers: Timers,
    tally: Rc<Tally>,
}

impl Upload {
    /// What has not been read of it.
    pub(super) fn into_rest(self) -> Option<RequestBody> {
        self.rest
    }

    pub(super) fn new(
        ahead: Vec<Bytes>,
        rest: Option<RequestBody>,
        length: BodyLength,
        cap: u64,
        idle_timeout: Duration,
        timers: &Timers,
        tally: &Rc<Tally>,
    ) -> Self {
        if rest.as_ref().is_none_or(Body::is_end_stream) {
            tally.body_done.set(true);
        }
        Self {
            ahead: ahead.into(),
            rest,
            length,
            cap,
            passed: 0,
            idle: None,
            waiting: false,
            idle_timeout,
            timers: timers.clone(),
            tally: Rc::clone(tally),
        }
    }

    /// Takes back the piece it gave last, because nobody was there to take it.
    pub(super) fn put_back(&mut self, data: Bytes) {
        if !data.is_empty() {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.passed = self.passed.saturating_sub(length);
            self.ahead.push_front(data);
        }
    }

    /// Its length, where it is known.
    pub(super) fn length(&self) -> BodyLength {
        self.length
    }

    fn fault(&mut self, stop: Stop) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.tally.body_fault.set(Some(stop));
        self.rest = None;
        Poll::Ready(Some(Err(Broken)))
    }

    fn pass(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.passed = self
            .passed
            .saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if self.passed > self.cap {
            return self.fault(Refusal::BodyTooLarge.into());
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if matches!(self.length, BodyLength::Exact(length) if length != self.passed) {
            return self.fault(Stop::SenderLeft);
        }
        self.tally.body_done.set(true);
        self.rest = None;
        Poll::Ready(None)
    }

    /// The sender has nothing for us now; not for longer than the idle timeout.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let idle = self
            .idle
            .get_or_insert_with(|| self.timers.alarm(self.idle_timeout));
        if !self.waiting {
            self.waiting = true;
            idle.set(self.idle_timeout);
        }
        if idle.poll_rung(cx).is_ready() {
            self.fault(Refusal::ReadTimeout.into())
        } else {
            Poll::Pending
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Some(data) = this.ahead.pop_front() {
            return this.pass(data);
        }
        loop {
            let Some(rest) = &mut this.rest else {
                return Poll::Ready(None);
            };
            match Pin::new(rest).poll_frame(cx) {
                Poll::Pending => return this.wait(cx),
                Poll::Ready(None) => return this.end(),
                Poll::Ready(Some(Err(fault))) => return this.fault(fault.into()),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    count(&this.tally.received, &data);
                    if rest_ended(this.rest.as_ref()) {
                        this.tally.body_done.set(true);
                    }
                    this.waiting = false;
                    return this.pass(data);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && rest_ended(self.rest.as_ref())
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            BodyLength::Exact(length) => SizeHint::with_exact(length.saturating_sub(self.passed)),
            BodyLength::Unknown => SizeHint::default(),
        }
    }
}

fn rest_ended(rest: Option<&RequestBody>) -> bool {
    rest.is_none_or(Body::is_end_stream)
}
