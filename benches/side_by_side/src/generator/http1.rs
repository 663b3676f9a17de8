//! Load over HTTP/1.1: in a closed loop, on a new connection each, or at a fixed rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Course;
use super::lanes::Lanes;
use super::tally::Tally;
use crate::Result;
use crate::scenario::Load;
use crate::statistics::Random;

/// Time for all connections to be opened before a fixed rate begins.
const HEAD_START: Duration = Duration::from_millis(150);

/// The load and how it goes on.
pub(super) struct Http1 {
    lanes: Lanes,
    fresh: bool,
    arrivals: Option<Arrivals>,
    /// Places that have their answer and wait for the end of the connection before they are used again.
    ending: Vec<bool>,
    stopped: bool,
}

/// Requests that come by the clock: independent senders, so the times between them are exponential (a Poisson process).
struct Arrivals {
    random: Random,
    /// Mean time between two.
    mean: Duration,
    next: Instant,
    /// Due, and without a free connection.
    waiting: VecDeque<Instant>,
    free: Vec<usize>,
}

impl Http1 {
    pub(super) fn new(mut lanes: Lanes, load: Load, rate: f64) -> Self {
        let arrivals = matches!(load, Load::Open { .. }).then(|| Arrivals::new(rate));
        if arrivals.is_some() {
            lanes.tally = Tally::by_schedule();
        }
        Self {
            ending: vec![false; lanes.count()],
            lanes,
            fresh: matches!(load, Load::Fresh { .. }),
            arrivals,
            stopped: false,
        }
    }

    /// The place has its answer, and could take another request.
    fn next(&mut self, lane: usize) -> Result<()> {
        if self.stopped {
            return Ok(());
        }
        match &mut self.arrivals {
            None => self.lanes.ask(lane, Instant::now()),
            Some(arrivals) => match arrivals.waiting.pop_front() {
                Some(at) => self.lanes.ask(lane, at),
                None => {
                    arrivals.free.push(lane);
                    Ok(())
                }
            },
        }
    }
}

impl Course for Http1 {
    fn begin(&mut self, now: Instant) -> Result<()> {
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.next = now + HEAD_START;
        }
        (0..self.lanes.count()).try_for_each(|lane| self.lanes.ask(lane, now))
    }

    fn ready(&mut self, id: u64, writable: bool) -> Result<()> {
        let lane = usize::try_from(id)?;
        let progress = self.lanes.ready(lane, writable)?;
        if progress.answered {
            let reusable = self.lanes.reusable(lane) && !self.fresh;
            self.ending[lane] = !reusable;
            if reusable {
                self.next(lane)?;
            }
        }
        // An idle connection that the proxy closed is none of these: it is opened again when it is needed.
        if progress.closed && std::mem::take(&mut self.ending[lane]) {
            self.next(lane)?;
        }
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<Option<Instant>> {
        let Some(arrivals) = &mut self.arrivals else {
            return Ok(None);
        };
        if self.stopped {
            return Ok(None);
        }
        while arrivals.next <= now {
            let at = arrivals.take();
            match arrivals.free.pop() {
                Some(lane) => self.lanes.ask(lane, at)?,
                None => arrivals.waiting.push_back(at),
            }
        }
        Ok(Some(arrivals.next))
    }

    fn stop(&mut self, now: Instant) {
        self.stopped = true;
        for at in self
            .arrivals
            .iter_mut()
            .flat_map(|arrivals| arrivals.waiting.drain(..))
        {
            self.lanes.tally.never_sent(at, now);
        }
    }

    fn is_quiet(&self) -> bool {
        self.lanes.is_quiet() && (!self.fresh || self.lanes.is_empty())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.lanes.tally
    }
}

impl Arrivals {
    fn new(rate: f64) -> Self {
        Self {
            // The same moments for every proxy.
            random: Random::seeded(20_261_125),
            mean: Duration::from_secs_f64(1.0 / rate.max(1.0)),
            next: Instant::now(),
            waiting: VecDeque::new(),
            free: Vec::new(),
        }
    }

    /// The arrival that is due, and on to the next one.
    fn take(&mut self) -> Instant {
        let at = self.next;
        self.next = at + self.mean.mul_f64(self.random.exponential());
        at
    }
}
