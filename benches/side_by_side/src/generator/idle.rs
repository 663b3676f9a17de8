//! Many connections that have sent one request each, and then send nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::lanes::Lanes;
use super::poll::Poll;
use crate::Result;
use crate::requests::Request;
use crate::scenario::Offer;

/// So many handshakes at once; more would need more connections to the backend at once.
const AT_ONCE: usize = 32;
/// Time for a proxy to notice that a connection is idle, and to give back what it holds for it.
const SETTLE: Duration = Duration::from_secs(3);
/// So many of the connections are asked again at the end.
const PROBES: usize = 50;

/// Connections that are open and idle.
pub(crate) struct Parked {
    lanes: Lanes,
    poll: Poll,
}

/// Opens them, and waits until they have settled.
pub(crate) fn park(proxy: SocketAddr, requests: Vec<Request>, count: usize) -> Result<Parked> {
    let poll = Poll::new()?;
    let lanes = Lanes::new(&poll, proxy, requests, Offer::Full, count)?;
    let mut parked = Parked { lanes, poll };
    parked.ask((0..count).collect())?;
    std::thread::sleep(SETTLE);
    Ok(parked)
}

impl Parked {
    /// Asks again on some of them, and returns the requests and bytes that must have come to the backend in all.
    pub(crate) fn probe(mut self) -> Result<(u64, u64)> {
        let count = self.lanes.count();
        let step = (count / PROBES).max(1);
        self.ask((0..count).step_by(step).collect())?;
        Ok((self.lanes.tally.forwarded, self.lanes.tally.forwarded_bytes))
    }

    /// Asks on each of these once, some at a time, and waits for all answers.
    fn ask(&mut self, lanes: Vec<usize>) -> Result<()> {
        let (mut left, mut open) = (lanes.into_iter(), 0);
        for lane in left.by_ref().take(AT_ONCE) {
            self.lanes.ask(lane, Instant::now())?;
            open += 1;
        }
        while open > 0 {
            let count = self.poll.wait(PATIENCE)?;
            if count == 0 {
                return Err(format!("no answer for {} s", PATIENCE.as_secs()).into());
            }
            for at in 0..count {
                let (id, writable) = self.poll.event(at);
                let lane = usize::try_from(id)?;
                let progress = self.lanes.ready(lane, writable)?;
                if progress.closed {
                    return Err("an idle connection was closed".into());
                }
                if !progress.answered {
                    continue;
                }
                if !self.lanes.reusable(lane) {
                    return Err("a connection cannot stay idle".into());
                }
                match left.next() {
                    Some(lane) => self.lanes.ask(lane, Instant::now())?,
                    None => open -= 1,
                }
            }
        }
        Ok(())
    }
}
