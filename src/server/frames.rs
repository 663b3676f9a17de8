//! HTTP/2 seen from the socket: frame heads only, for what h2 does not bound by itself.
//!
//! RFC 9113 §10.5 lists what a peer can do that costs it little and us much. h2 bounds what it holds; here is bounded
//! how often it can be made to work for nothing: frames that carry no request, streams that are reset before their
//! answer, and frames that begin and never end. Ordinary clients stay far below: what they send that is not a
//! request answers something they got, and that earns it.

use std::rc::Rc;
use tokio::time::Instant;

use super::activity::Activity;

/// The client's opening (RFC 9113 §3.4); h2 checks it.
const PREFACE: usize = 24;
/// RFC 9113 §4.1.
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames beside requests and their bodies: so many at once, so many a second. Browsers open with a dozen.
const CONTROL: (u32, u32) = (1000, 50);
/// Streams reset before they are answered. Above what giving up on 100 requests at once takes.
const RESETS: (u32, u32) = (200, 20);

/// What a peer has used up its budget for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flood;

/// Follows what the peer of one connection sends.
pub(super) struct FrameWatch {
    activity: Rc<Activity>,
    preface: usize,
    head: [u8; FRAME_HEAD],
    head_length: usize,
    /// Bytes of the current frame that have not come.
    payload: usize,
    /// Whether the current frame is a piece of a body, whose route has a timeout for it.
    body: bool,
    /// A header block has begun and not ended.
    block_open: bool,
    control: Budget,
    resets: Budget,
}

impl FrameWatch {
    pub(super) fn new(activity: &Rc<Activity>) -> Self {
        Self {
            activity: Rc::clone(activity),
            preface: PREFACE,
            head: [0; FRAME_HEAD],
            head_length: 0,
            payload: 0,
            body: false,
            block_open: false,
            control: Budget::new(CONTROL),
            resets: Budget::new(RESETS),
        }
    }

    /// Follows these bytes.
    ///
    /// # Errors
    /// [`Flood`] once a budget is used up.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        self.control.earn(self.activity.take_earned_frames());
        self.resets.earn(self.activity.take_earned_resets());
        let mut ended = false;
        while !bytes.is_empty() {
            let skipped = self.payload.max(self.preface).min(bytes.len());
            if skipped > 0 {
                bytes = bytes.get(skipped..).unwrap_or_default();
                self.payload = self.payload.saturating_sub(skipped);
                self.preface = self.preface.saturating_sub(skipped);
                ended |= self.is_between();
                continue;
            }
            let (now, later) = bytes.split_at((FRAME_HEAD - self.head_length).min(bytes.len()));
            if let Some(room) = self.head.get_mut(self.head_length..)
                && let Some(room) = room.get_mut(..now.len())
            {
                room.copy_from_slice(now);
            }
            self.head_length += now.len();
            bytes = later;
            if self.head_length == FRAME_HEAD {
                self.head_length = 0;
                self.begin_frame()?;
                ended |= self.is_between();
            }
        }
        self.activity.frame_open(!self.is_between(), ended);
        Ok(())
    }

    /// Whether nothing is half here that the connection has to wait for.
    fn is_between(&self) -> bool {
        let frame = self.head_length > 0 || (self.payload > 0 && !self.body);
        self.preface == 0 && !frame && !self.block_open
    }

    fn begin_frame(&mut self) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        // 24 bits fit everywhere.
        self.payload = usize::try_from(length).unwrap_or(0);
        self.body = kind == DATA;
        match kind {
            HEADERS => {
                self.block_open = flags & END_HEADERS == 0;
                self.activity.stream_opened(u32::from_be_bytes(stream));
                Ok(())
            }
            DATA if length > 0 || flags & END_STREAM != 0 => Ok(()),
            RST_STREAM => self.resets.spend(),
            CONTINUATION => {
                self.block_open &= flags & END_HEADERS == 0;
                self.control.spend()
            }
            _ => self.control.spend(),
        }
    }
}

/// So many at once, so many a second in the long run. Looks at the clock only when it is used up.
#[derive(Clone, Copy)]
struct Budget {
    burst: u32,
    rate: u32,
    left: u32,
    filled: Instant,
}

impl Budget {
    fn new((burst, rate): (u32, u32)) -> Self {
        Self {
            burst,
            rate,
            left: burst,
            filled: Instant::now(),
        }
    }

    fn earn(&mut self, more: u32) {
        // Twice the burst at most: who has taken a large answer must not save up for a flood.
        self.left = self.left.saturating_add(more).min(self.burst * 2);
    }

    fn spend(&mut self) -> Result<(), Flood> {
        if self.left == 0 {
            self.refill(Instant::now());
        }
        self.left = self.left.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_millis();
        let earned = since * u128::from(self.rate) / 1000;
        if earned > 0 {
            self.left = u32::try_from(earned).unwrap_or(self.burst).min(self.burst);
            self.filled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_budget_is_a_burst_and_a_rate() {
        let mut budget = Budget::new((3, 10));
        for _ in 0..3 {
            assert_eq!(budget.spend(), Ok(()));
        }
        assert_eq!(budget.spend(), Err(Flood));
        budget.refill(budget.filled + Duration::from_millis(250));
        assert_eq!(budget.left, 2);
        budget.refill(budget.filled + Duration::from_secs(3600));
        assert_eq!(budget.left, 3);
        budget.earn(100);
        assert_eq!(budget.left, 6);
    }
}
