//! Makes the load, in one thread, and judges every answer.
//!
//! A cell has three phases: warm-up, a window in which answers are counted, and a drain in which nothing new is sent
//! but what was sent still has to be answered. Whatever goes wrong is an error, and makes the cell void.

mod frames;
mod http1;
mod http2;
mod idle;
mod lanes;
mod link;
mod poll;
mod tally;
mod tls;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Result;
use crate::requests::{self, Request};
use crate::scenario::{Load, Scenario};

pub(crate) use idle::park;
pub(crate) use tally::Tally;

use http1::Http1;
use http2::Http2;
use lanes::Lanes;
use poll::Poll;

/// How long nothing may happen while answers are due.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to do to whom.
pub(crate) struct Order {
    pub(crate) scenario: &'static Scenario,
    pub(crate) proxy: SocketAddr,
    pub(crate) warm_up: Duration,
    pub(crate) seconds: Duration,
    /// Requests per second, for scenarios with a fixed rate.
    pub(crate) rate: f64,
}

/// A kind of load.
trait Course {
    /// Sends the first requests.
    fn begin(&mut self, now: Instant) -> Result<()>;
    /// Does what a connection is ready for.
    fn ready(&mut self, id: u64, writable: bool) -> Result<()>;
    /// Does what is due by the clock; tells when it wants to be asked again.
    fn tick(&mut self, now: Instant) -> Result<Option<Instant>>;
    /// Sends nothing new from now on.
    fn stop(&mut self, now: Instant);
    /// Everything that was sent has been answered.
    fn is_quiet(&self) -> bool;
    fn tally(&mut self) -> &mut Tally;
}

/// Plays a scenario; `mark` is called at the beginning and the end of the window.
pub(crate) fn play<M>(order: &Order, mark: &mut dyn FnMut() -> Result<M>) -> Result<(Tally, M, M)> {
    let mut poll = Poll::new()?;
    let requests = requests::of(order.scenario);
    let (offer, count) = match order.scenario.load {
        Load::Http2 {
            connections,
            streams,
        } => {
            let course = Http2::new(&poll, order, requests, connections, streams)?;
            return conduct(course, &mut poll, order, mark);
        }
        Load::Fresh { at_once, offer } => (offer, at_once),
        Load::Closed { connections }
        | Load::Idle { connections }
        | Load::Open { connections, .. } => (crate::scenario::Offer::Full, connections),
    };
    let lanes = Lanes::new(&poll, order.proxy, requests, offer, count)?;
    let course = Http1::new(lanes, order.scenario.load, order.rate);
    conduct(course, &mut poll, order, mark)
}

fn conduct<M>(
    mut course: impl Course,
    poll: &mut Poll,
    order: &Order,
    mark: &mut dyn FnMut() -> Result<M>,
) -> Result<(Tally, M, M)> {
    let start = Instant::now();
    course.begin(start)?;
    drive(&mut course, poll, start + order.warm_up)?;
    let before = mark()?;
    let opened = Instant::now();
    course.tally().open(opened);
    drive(&mut course, poll, opened + order.seconds)?;
    let after = mark()?;
    let closed = Instant::now();
    course.tally().close(closed);
    course.stop(closed);
    while !course.is_quiet() {
        turn(&mut course, poll, closed + PATIENCE)?;
    }
    Ok((std::mem::take(course.tally()), before, after))
}

fn drive(course: &mut impl Course, poll: &mut Poll, until: Instant) -> Result<()> {
    while Instant::now() < until {
        turn(course, poll, until)?;
    }
    Ok(())
}

/// Waits for events or for the clock, and does what they ask for.
fn turn(course: &mut impl Course, poll: &mut Poll, until: Instant) -> Result<()> {
    let now = Instant::now();
    let due = course.tick(now)?.unwrap_or(until).min(until);
    let count = poll.wait(due.saturating_duration_since(now))?;
    for at in 0..count {
        let (id, writable) = poll.event(at);
        course.ready(id, writable)?;
    }
    if now.saturating_duration_since(course.tally().last_answer(now)) > PATIENCE {
        return Err(format!("no answer for {} s", PATIENCE.as_secs()).into());
    }
    Ok(())
}

/// What a request has to be answered with.
fn judge(request: &Request, status: u16, body: &[u8]) -> Result<()> {
    if status != request.status {
        let text = String::from_utf8_lossy(&body[..body.len().min(80)]);
        return Err(format!("{status} instead of {}: {text}", request.status).into());
    }
    match request.answer {
        Some(answer) if answer != body => Err("a wrong body came back".into()),
        _ => Ok(()),
    }
}
