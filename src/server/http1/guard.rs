//! The socket as hyper sees it: an `AsyncRead` that passes on checked bytes only.
//!
//! In the common case a read lands in hyper's own buffer and is checked in place, without a copy. Bytes are
//! held here only while a head is incomplete or when the next message has come along already.
//!
//! When a fault is found, hyper is told that nothing more comes; the answer to the fault is written by
//! [`crate::server::connection`], which owns the socket again once hyper is done.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::chunked::Chunked;
use super::head::{Framing, HeadLimits, check, find_end};
use crate::server::activity::Activity;
use crate::server::{Fault, ServerLimits};

/// Where in the stream of messages the next byte belongs.
enum Place {
    /// In a head; this many of its bytes have been searched for its end.
    Head { scanned: usize },
    /// In a body of known length; this much is left.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunked),
}

/// Checks all that is read from `S`; see the module.
pub(in crate::server) struct Guard<S> {
    stream: Rc<RefCell<S>>,
    activity: Rc<Activity>,
    limits: HeadLimits,
    place: Place,
    /// Read but not passed on; the first `cleared` bytes have been checked.
    held: Vec<u8>,
    cleared: usize,
    /// An empty line has been passed over since the last message.
    empty_line: bool,
}

impl<S> Guard<S> {
    pub(in crate::server) fn new(
        stream: Rc<RefCell<S>>,
        activity: Rc<Activity>,
        limits: &ServerLimits,
    ) -> Self {
        let limits = HeadLimits {
            bytes: limits.header_bytes,
            headers: limits.header_count,
        };
        Self {
            stream,
            activity,
            limits,
            place: Place::Head { scanned: 0 },
            held: Vec::new(),
            cleared: 0,
            empty_line: false,
        }
    }

    /// How many bytes from the start of `bytes` may be passed on. Stops at a head that is not complete, and at
    /// a fault, which is then on record.
    fn inspect(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.step(rest) {
                Ok(Some(taken)) => at += taken,
                Ok(None) => break,
                Err(fault) => {
                    self.activity.fault(fault);
                    break;
                }
            }
        }
        at
    }

    /// Takes one head, or all there is of a body; `None` when a head is incomplete.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        match &mut self.place {
            Place::Head { scanned } => {
                // The one that is passed over may be among these bytes still, if it came in pieces.
                let behind = if self.empty_line {
                    Some(bytes)
                } else {
                    bytes.strip_prefix(b"\r\n")
                };
                if behind.is_some_and(|rest| rest.starts_with(b"\r")) {
                    return Err(Fault::Malformed);
                }
                let Some(end) = find_end(bytes, *scanned)? else {
                    *scanned = bytes.len();
                    let over = bytes.len() > self.limits.bytes;
                    return if over {
                        Err(Fault::HeaderTooLarge)
                    } else {
                        Ok(None)
                    };
                };
                let head = bytes.get(..end).unwrap_or_default();
                self.place = match check(head, self.limits)? {
                    Framing::Length(length) => Place::Length(length),
                    Framing::Chunked => Place::Chunked(Chunked::new()),
                };
                self.activity.head_passed(head);
                self.end_message();
                Ok(Some(end))
            }
            Place::Length(remaining) => {
                let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let taken = available.min(*remaining);
                *remaining -= taken;
                self.end_message();
                Ok(Some(usize::try_from(taken).map_err(|_| Fault::Malformed)?))
            }
            Place::Chunked(chunked) => {
                let taken = chunked.follow(bytes)?;
                self.end_message();
                Ok(Some(taken))
            }
        }
    }

    fn end_message(&mut self) {
        let done = match &self.place {
            Place::Head { .. } => false,
            Place::Length(remaining) => *remaining == 0,
            Place::Chunked(chunked) => chunked.is_done(),
        };
        self.activity.body_open(!done);
        if done {
            self.place = Place::Head { scanned: 0 };
            self.empty_line = false;
        }
    }

    /// RFC 9112 §2.2: a server should pass over an empty line before a request line. Some old clients send
    /// one after a body. Only one: more have no innocent reason.
    fn skip_empty_line(&mut self, bytes: &[u8]) -> usize {
        let between = matches!(self.place, Place::Head { scanned: 0 }) && !self.empty_line;
        if between && bytes.starts_with(b"\r\n") {
            self.empty_line = true;
            2
        } else {
            0
        }
    }

    /// What hyper is told once a fault is on record.
    fn ended(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_body_open() {
            // In the middle of a body the end of the stream would look like a sender who left.
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Fault::Malformed,
            )));
        }
        // The answers to the requests before go first, to their last byte.
        self.activity.poll_answered(cx).map(Ok)
    }

    /// Starts the time of a head that is half here.
    fn note_half_head(&self) {
        if self.held.len() > self.cleared && matches!(self.place, Place::Head { .. }) {
            self.activity.head_began();
        }
    }

    fn give_cleared(&mut self, out: &mut ReadBuf<'_>) {
        let length = self.cleared.min(out.remaining());
        out.put_slice(self.held.get(..length).unwrap_or_default());
        self.cleared -= length;
        if length == self.held.len() {
            // Freed, not kept for next time: an idle connection should weigh little.
            self.held = Vec::new();
        } else {
            self.held.drain(..length);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                this.give_cleared(out);
                return Poll::Ready(Ok(()));
            }
            if this.activity.has_fault() {
                return this.ended(cx);
            }
            if this.held.is_empty() && matches!(this.place, Place::Head { .. }) {
                this.activity.between_messages();
            }
            let before = out.filled().len();
            ready!(Pin::new(&mut *this.stream.borrow_mut()).poll_read(cx, out))?;
            let fresh = out.filled().get(before..).unwrap_or_default();
            if fresh.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let skipped = this.skip_empty_line(fresh);
                let checked = fresh.get(skipped..).unwrap_or_default();
                let passed = this.inspect(checked);
                if skipped == 0 {
                    this.held
                        .extend_from_slice(checked.get(passed..).unwrap_or_default());
                    out.set_filled(before + passed);
                    if passed > 0 {
                        this.note_half_head();
                        return Poll::Ready(Ok(()));
                    }
                } else {
                    this.held.extend_from_slice(checked);
                    this.cleared = passed;
                    out.set_filled(before);
                }
            } else {
                this.held.extend_from_slice(fresh);
                out.set_filled(before);
                let held = std::mem::take(&mut this.held);
                this.cleared = this.inspect(&held);
                this.held = held;
            }
            this.note_half_head();
        }
    }
}
