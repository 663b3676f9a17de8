//! What a connection is doing, as far as its timeouts and its end depend on it.
//!
//! Shared by the socket wrapper, the service and the loop of one connection, all on one thread. The loop
//! waits on one alarm; what the alarm means follows from the phase.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::linger::Lingering;
use super::request_body::Kept;
use super::spelling::Spelling;
use super::{Fault, ServerLimits};
use crate::clock::{Alarm, Timers};

/// What the alarm of a connection stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request on it.
    Idle,
    /// Part of a request head has come.
    Head,
    /// A request is being dealt with; its own timeouts hold.
    Message,
}

/// What became of the body of an answer while its stream was polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyPoll {
    /// It was not asked.
    Untouched,
    /// It had nothing yet.
    Pending,
    /// It gave something.
    Gave,
}

/// See the module.
pub(super) struct Activity {
    timers: Timers,
    keep_alive: Duration,
    request_head: Duration,
    send_stall: Duration,
    first_request: Duration,
    /// Whether hyper is let go while nothing is on the connection.
    parks: bool,
    /// Whether the alarm stands for that.
    parking: Cell<bool>,
    alarm: Alarm,
    stall: RefCell<Option<Alarm>>,
    phase: Cell<Phase>,
    began: Cell<Instant>,
    /// The first bytes of a next head are here, and not all of it.
    head_open: Cell<bool>,
    /// Whether a request has ever come.
    used: Cell<bool>,
    requests: Cell<usize>,
    unanswered_heads: Cell<usize>,
    fault: Cell<Option<Fault>>,
    body_open: Cell<bool>,
    lingering: RefCell<Vec<Lingering>>,
    waker: RefCell<Option<Waker>>,
    /// An answer may not have left hyper's buffer yet.
    flush_due: Cell<bool>,
    /// Who reads on once all answers are out.
    reader: RefCell<Option<Waker>>,
    body_poll: Cell<BodyPoll>,
    /// How the heads that were passed on are spelled, where somebody wants to know.
    spellings: Option<RefCell<VecDeque<Spelling>>>,
    http2: Http2,
}

/// What only HTTP/2 has to keep in mind.
#[derive(Default)]
struct Http2 {
    /// Rings when a frame or a header block has begun and not ended in time.
    frame: RefCell<Option<Alarm>>,
    flooded: Cell<bool>,
    last_stream: Cell<u32>,
    earned_frames: Cell<u32>,
    earned_resets: Cell<u32>,
    /// Bytes written for which no frame was earned yet.
    written: Cell<usize>,
    /// Something was written and may not be out whole.
    unflushed: Cell<bool>,
}

/// Bytes of answer that earn their reader one frame, such as a window update. Clients send up to two for 4 KiB.
const BYTES_PER_FRAME: usize = 1024;
/// Frames that a request earns: a priority, and a window update for stream and connection each way.
const FRAMES_PER_REQUEST: u32 = 4;
/// How long a connection is idle before it lets go of its buffers: longer than from one request of a busy sender to the
/// next, which would have to get them anew.
const PARK_AFTER: Duration = Duration::from_millis(300);
/// How long a peer that has connected has for its first request once the connection is to end.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

impl Activity {
    /// `parks`: whether the connection is one of those that are told, once they have been idle for a moment, that it is
    /// time to let go of buffers; see [`Activity::is_time_to_park`].
    pub(super) fn new(timers: &Timers, limits: &ServerLimits, parks: bool) -> Self {
        let activity = Self {
            timers: timers.clone(),
            keep_alive: limits.keep_alive,
            request_head: limits.request_head,
            send_stall: limits.send_stall,
            first_request: FIRST_REQUEST.min(limits.drain / 2),
            parks,
            parking: Cell::new(false),
            alarm: timers.alarm(limits.keep_alive),
            stall: RefCell::new(None),
            phase: Cell::new(Phase::Idle),
            began: Cell::new(Instant::now()),
            head_open: Cell::new(false),
            used: Cell::new(false),
            requests: Cell::new(0),
            unanswered_heads: Cell::new(0),
            fault: Cell::new(None),
            body_open: Cell::new(false),
            lingering: RefCell::default(),
            waker: RefCell::default(),
            flush_due: Cell::new(false),
            reader: RefCell::new(None),
            body_poll: Cell::new(BodyPoll::Untouched),
            spellings: limits.preserve_header_case.then(RefCell::default),
            http2: Http2::default(),
        };
        activity.rest();
        activity
    }

    /// Starts the time of a connection without a request.
    fn rest(&self) {
        self.phase.set(Phase::Idle);
        let parks = self.parks && self.keep_alive > PARK_AFTER;
        self.parking.set(parks);
        self.alarm
            .set(if parks { PARK_AFTER } else { self.keep_alive });
    }

    /// Whether the alarm that has rung means that the connection may let go of its buffers. From then on the alarm is
    /// set to what is left of its time.
    pub(super) fn is_time_to_park(&self) -> bool {
        self.let_go(self.keep_alive.saturating_sub(PARK_AFTER))
    }

    /// Whether the connection may let go of its buffers before the alarm tells it to: as idle as can be, with nothing on
    /// record that hyper has still to be told. From then on the alarm is set to its whole time.
    pub(super) fn parks_at_once(&self) -> bool {
        let silent = !self.has_fault() && !self.head_open.get() && !self.body_open.get();
        silent && self.let_go(self.keep_alive)
    }

    fn let_go(&self, left: Duration) -> bool {
        let parks = self.phase.get() == Phase::Idle && self.is_quiet() && self.parking.take();
        if parks {
            self.alarm.set(left);
        }
        parks
    }

    /// The phase that has lasted too long; `None` where the alarm has no meaning now and was set again.
    pub(super) fn overdue_phase(&self) -> Option<Phase> {
        match self.phase.get() {
            Phase::Message => {
                self.alarm.pause();
                None
            }
            // Part of a next head may wait as long as the answer before it takes, to its last byte.
            Phase::Head if !self.is_quiet() => {
                self.alarm.set(self.request_head);
                None
            }
            // However slow its reader is.
            Phase::Idle if !self.is_quiet() => {
                self.rest();
                None
            }
            phase @ (Phase::Idle | Phase::Head) => Some(phase),
        }
    }

    /// Ready when the current phase has lasted too long.
    pub(super) fn poll_overdue(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll_rung(cx)
    }

    /// Completes when telling the peer to go breaks nothing off: its first request and one whose head has begun are
    /// waited for, within their time and half of the drain's. To be polled whenever the connection is.
    pub(super) async fn nothing_on_its_way(&self) {
        let moment = self.timers.alarm(self.first_request);
        poll_fn(|cx| {
            // hyper answers what it has begun with, and no head behind that.
            if self.head_open.get() || self.head_lost() {
                Poll::Pending
            } else if self.phase.get() == Phase::Idle && !self.used.get() {
                moment.poll_rung(cx)
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Ready when a frame of HTTP/2 has been half here for too long.
    pub(super) fn poll_frame_overdue(&self, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.http2.frame.borrow();
        alarm
            .as_ref()
            .map_or(Poll::Pending, |alarm| alarm.poll_rung(cx))
    }

    /// A frame or header block is half here, or none is. `ended`: one has ended since this was last told.
    pub(super) fn frame_open(&self, open: bool, ended: bool) {
        let mut alarm = self.http2.frame.borrow_mut();
        if alarm.is_some() && (ended || !open) {
            *alarm = None;
        }
        if open && alarm.is_none() {
            *alarm = Some(self.timers.alarm(self.request_head));
        }
    }

    /// The peer has opened a stream, or sent trailers on one.
    pub(super) fn stream_opened(&self, stream: u32) {
        let last = self.http2.last_stream.get();
        self.http2
            .last_stream
            .set(last.max(stream & (u32::MAX >> 1)));
    }

    /// The latest stream the peer has opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.http2.last_stream.get()
    }

    /// The peer has made us work for nothing too often.
    pub(super) fn flood(&self) {
        self.http2.flooded.set(true);
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.http2.flooded.get()
    }

    /// Frames beside requests that the peer has earned since this was last asked.
    pub(super) fn take_earned_frames(&self) -> u32 {
        let written = self.http2.written.get();
        self.http2.written.set(written % BYTES_PER_FRAME);
        let frames = u32::try_from(written / BYTES_PER_FRAME).unwrap_or(u32::MAX);
        frames.saturating_add(self.http2.earned_frames.take())
    }

    /// Resets that the peer has earned since this was last asked: one for each answer.
    pub(super) fn take_earned_resets(&self) -> u32 {
        self.http2.earned_resets.take()
    }

    /// The head of an answer is ready.
    pub(super) fn answered(&self) {
        let earned = &self.http2.earned_resets;
        earned.set(earned.get().saturating_add(1));
    }

    /// These bytes were handed to the socket.
    pub(super) fn written(&self, bytes: usize) {
        let written = &self.http2.written;
        written.set(written.get().saturating_add(bytes));
        self.http2.unflushed.set(true);
    }

    /// Whether all frames written so far are out whole.
    pub(super) fn is_flushed(&self) -> bool {
        !self.http2.unflushed.get()
    }

    /// Ready when the peer has taken no byte for too long.
    pub(super) fn poll_stalled(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stall
            .borrow()
            .as_ref()
            .map_or(Poll::Pending, |alarm| alarm.poll_rung(cx))
    }

    /// Nothing of a next request has come.
    pub(super) fn between_messages(&self) {
        self.head_open.set(false);
        if self.requests.get() == 0 && self.phase.get() != Phase::Idle {
            self.rest();
        }
    }

    /// The first bytes of a head have come, not all of it.
    pub(super) fn head_began(&self) {
        self.head_open.set(true);
        if self.phase.get() != Phase::Head {
            self.phase.set(Phase::Head);
            self.began.set(Instant::now());
            self.alarm.set(self.request_head);
        }
    }

    /// This whole head was passed on.
    pub(super) fn head_passed(&self, head: &[u8]) {
        if let Some(spellings) = &self.spellings {
            spellings.borrow_mut().push_back(Spelling::read(head));
        }
        self.head_open.set(false);
        if self.phase.get() != Phase::Head {
            self.began.set(Instant::now());
        }
        self.phase.set(Phase::Message);
        self.alarm.pause();
        self.unanswered_heads.set(self.unanswered_heads.get() + 1);
    }

    /// How the head is spelled that hyper has made a request of; they come in the order in which they were passed on.
    pub(super) fn take_spelling(&self) -> Option<Spelling> {
        self.spellings.as_ref()?.borrow_mut().pop_front()
    }

    /// When the first byte of the latest head came.
    pub(super) fn began(&self) -> Instant {
        self.began.get()
    }

    /// Whether a head was passed on that never became a request.
    pub(super) fn head_lost(&self) -> bool {
        self.unanswered_heads.get() > 0
    }

    pub(super) fn body_open(&self, open: bool) {
        self.body_open.set(open);
    }

    /// Whether part of a body is still to come.
    pub(super) fn is_body_open(&self) -> bool {
        self.body_open.get()
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.fault.set(Some(fault));
    }

    pub(super) fn has_fault(&self) -> bool {
        self.fault.get().is_some()
    }

    /// A fault in a head: nobody has answered it yet. One in a body is answered where the body is read.
    pub(super) fn unanswered_fault(&self) -> Option<Fault> {
        self.fault.get().filter(|_| !self.body_open.get())
    }

    pub(super) fn in_flight(&self) -> bool {
        self.requests.get() > 0
    }

    /// Keeps the rest of a body until it ends or a moment has passed.
    pub(super) fn linger(&self, body: Kept) {
        let rest = Lingering::new(body, &self.timers);
        self.lingering.borrow_mut().push(rest);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Moves on with what is kept; to be called whenever the connection is polled.
    pub(super) fn poll_lingering(&self, cx: &mut Context<'_>) {
        self.lingering
            .borrow_mut()
            .retain_mut(|rest| !rest.is_over(cx));
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
    }

    /// Whether every head passed on has been answered and the answers are out.
    pub(super) fn is_quiet(&self) -> bool {
        !self.in_flight() && !self.head_lost() && !self.flush_due.get()
    }

    /// Ready when [`Activity::is_quiet`].
    pub(super) fn poll_answered(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_quiet() {
            Poll::Ready(())
        } else {
            *self.reader.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    /// Everything written so far is out.
    pub(super) fn flushed(&self) {
        self.http2.unflushed.set(false);
        if !self.in_flight() && !self.head_lost() {
            self.flush_due.set(false);
            if let Some(reader) = self.reader.borrow_mut().take() {
                reader.wake();
            }
        }
    }

    /// Tells, and forgets, what became of an answer's body.
    pub(super) fn take_body_poll(&self) -> BodyPoll {
        self.body_poll.replace(BodyPoll::Untouched)
    }

    /// Rings when a peer has made no room for too long.
    pub(super) fn stall_alarm(&self) -> Alarm {
        self.timers.alarm(self.send_stall)
    }

    /// A write came through, or found no room.
    pub(super) fn wrote(&self, progress: bool) {
        let mut stall = self.stall.borrow_mut();
        if progress {
            if stall.is_some() {
                *stall = None;
            }
        } else if stall.is_none() {
            *stall = Some(self.stall_alarm());
        }
    }
}

/// Counts a request as in flight until its answer has been handed over or given up.
pub(super) struct InFlight(Rc<Activity>);

impl InFlight {
    pub(super) fn new(activity: &Rc<Activity>) -> Self {
        activity.requests.set(activity.requests.get() + 1);
        activity
            .unanswered_heads
            .set(activity.unanswered_heads.get().saturating_sub(1));
        activity.phase.set(Phase::Message);
        activity.used.set(true);
        activity.alarm.pause();
        activity.flush_due.set(true);
        let earned = &activity.http2.earned_frames;
        earned.set(earned.get().saturating_add(FRAMES_PER_REQUEST));
        Self(Rc::clone(activity))
    }

    /// The head of the answer is ready.
    pub(super) fn answered(&self) {
        self.0.answered();
    }

    /// The body of the answer was polled.
    pub(super) fn body_polled(&self, gave: bool) {
        self.0.body_poll.set(if gave {
            BodyPoll::Gave
        } else {
            BodyPoll::Pending
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let requests = self.0.requests.get().saturating_sub(1);
        self.0.requests.set(requests);
        if requests == 0
            && self.0.unanswered_heads.get() == 0
            && self.0.phase.get() == Phase::Message
        {
            // A head that began while this one was dealt with has its time from here on.
            if self.0.head_open.get() {
                self.0.phase.set(Phase::Head);
                self.0.alarm.set(self.0.request_head);
            } else {
                self.0.rest();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However long its reader takes for the last of an answer, a connection is idle only then.
    #[test]
    fn the_time_of_an_idle_connection_begins_when_the_answer_is_out() {
        let limits = ServerLimits {
            header_bytes: 16 * 1024,
            header_count: 100,
            tls_handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            send_stall: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            preserve_header_case: false,
        };
        let activity = Rc::new(Activity::new(&Timers::new(), &limits, true));
        activity.head_passed(b"GET / HTTP/1.1\r\n\r\n");
        drop(InFlight::new(&activity));
        // The alarm rings, and rings again.
        for _ in 0..3 {
            assert!(!activity.is_time_to_park());
            assert!(activity.overdue_phase().is_none());
        }
        activity.flushed();
        assert!(activity.is_time_to_park());
        assert!(matches!(activity.overdue_phase(), Some(Phase::Idle)));
    }
}
