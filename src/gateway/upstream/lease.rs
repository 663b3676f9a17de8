//! A connection lent to one request, and what it is between two requests.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::plan::UpstreamPlan;
use super::super::reason::UpstreamError;
use super::exchange::{Exchange, Outbound, SendError};
use super::health::Health;
use super::link::Link;
use super::places::Places;
use crate::clock::{TICK, Timers};

/// A connection older than this takes no further request, so that a change of addresses in DNS, or a balancer's wish
/// to move, is followed within a minute even by a feed that never pauses.
const LONGEST_LIFE: Duration = Duration::from_secs(60);

/// Idle connections kept for one upstream by one worker.
const KEPT: usize = 64;

/// The connections of one worker to one upstream that nobody uses.
pub(super) struct Idle {
    kept: RefCell<Vec<Kept>>,
    /// Tells the sweeper that there is one again.
    filled: Rc<Notify>,
    /// Set where the upstream's connections are limited.
    places: Option<Arc<Places>>,
}

/// A connection between two requests.
pub(super) struct Kept {
    /// In a place of its own: it is handed on often, and large.
    exchange: Box<Exchange>,
    /// Position of the endpoint it goes to.
    endpoint: usize,
    born: Instant,
    /// When the latest exchange was over.
    rests: Instant,
    /// How long it may be idle.
    keep: Duration,
    /// Requests it may still take.
    left: u64,
}

/// A connection lent to one request.
pub(in crate::gateway) struct Lease {
    kept: Kept,
    home: Weak<Idle>,
}

impl Idle {
    pub(super) fn new(places: Option<Arc<Places>>) -> Rc<Self> {
        Rc::new(Self {
            kept: RefCell::default(),
            filled: Rc::default(),
            places,
        })
    }

    /// The most recent one: it is the least likely to be closing. Those to endpoints that a new connection would not go to
    /// first are closed.
    pub(super) fn take(self: &Rc<Self>, health: &Health) -> Option<Lease> {
        // Whoever waits for a place came first.
        if self.waiting() > 0 {
            return None;
        }
        loop {
            let kept = self.kept.borrow_mut().pop()?;
            if kept.born.elapsed() < LONGEST_LIFE && health.is_preferred(kept.endpoint) {
                return Some(Lease::new(kept, self));
            }
        }
    }

    /// Gives up as many connections as there are requests that wait for their places, the oldest first.
    pub(super) fn reclaim(&self) {
        let mut kept = self.kept.borrow_mut();
        let count = self.waiting().min(kept.len());
        kept.drain(..count);
    }

    fn keep(&self, connection: Kept) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT && self.waiting() == 0 {
            if kept.is_empty() {
                self.filled.notify_one();
            }
            kept.push(connection);
        }
    }

    /// Closes what has ended or been idle for too long, and tells whether anything is left.
    fn sweep(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|kept| kept.rests.elapsed() < kept.keep && kept.exchange.is_open());
        !kept.is_empty()
    }

    fn waiting(&self) -> usize {
        self.places.as_ref().map_or(0, |places| places.waiting())
    }
}

/// Closes idle connections in time, for as long as there is anybody who could use them.
pub(super) async fn sweep(idle: Weak<Idle>, timers: Timers) {
    while let Some(filled) = idle.upgrade().map(|idle| Rc::clone(&idle.filled)) {
        filled.notified().await;
        while idle.upgrade().is_some_and(|idle| idle.sweep()) {
            timers.alarm(TICK).await;
        }
    }
}

impl Kept {
    pub(super) fn new(link: Link, endpoint: usize, plan: &UpstreamPlan) -> Self {
        let now = Instant::now();
        Self {
            exchange: Box::new(Exchange::new(link)),
            endpoint,
            born: now,
            rests: now,
            keep: plan.care.keep_alive,
            left: plan.care.keep_alive_requests,
        }
    }
}

impl Lease {
    pub(super) fn new(mut kept: Kept, home: &Rc<Idle>) -> Self {
        kept.exchange.link().lend();
        kept.left = kept.left.saturating_sub(1);
        Self {
            kept,
            home: Rc::downgrade(home),
        }
    }

    /// Position of the endpoint it goes to.
    pub(in crate::gateway) fn endpoint(&self) -> usize {
        self.kept.endpoint
    }

    /// Sends the request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`SendError`] tells whether another connection may be tried.
    ///
    /// # Cancel safety
    /// Dropping the future and the lease resets the connection.
    pub(in crate::gateway) async fn send(
        &mut self,
        request: Outbound,
    ) -> Result<Response<()>, SendError> {
        let response = self.kept.exchange.send(request).await?;
        self.learn_keep(response.headers());
        Ok(response)
    }

    /// The next piece of the answer's body; `None` at its end.
    ///
    /// # Errors
    /// The answer's body broke, or the request's did.
    pub(in crate::gateway) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        self.kept.exchange.poll_data(cx)
    }

    /// Whether all of the answer's body has been given.
    pub(in crate::gateway) fn is_done(&self) -> bool {
        self.kept.exchange.is_done()
    }

    /// What is left of the answer's body, where that is known.
    pub(in crate::gateway) fn left(&self) -> Option<u64> {
        self.kept.exchange.left()
    }

    /// `Keep-Alive: timeout=N, max=N` (RFC 2068 §19.7.1). A second less than told, and never more than configured: a
    /// request written while the upstream closes can be neither retried nor told from one that was processed.
    fn learn_keep(&mut self, headers: &HeaderMap) {
        let line = headers
            .get("keep-alive")
            .and_then(|line| line.to_str().ok())
            .unwrap_or_default();
        for part in line.split(',') {
            let Some((name, Ok(number))) = part
                .trim()
                .split_once('=')
                .map(|(name, number)| (name, number.parse::<u64>()))
            else {
                continue;
            };
            if name == "timeout" {
                let keep = Duration::from_secs(number.saturating_sub(1));
                self.kept.keep = self.kept.keep.min(keep);
            } else if name == "max" {
                self.kept.left = self.kept.left.min(number);
            }
        }
    }

    /// The answer is whole: others may use the connection, if the request is whole too.
    pub(in crate::gateway) fn give_back(self) {
        let mut kept = self.kept;
        let whole = kept.exchange.is_whole();
        kept.exchange.forget();
        if !whole {
            return;
        }
        kept.exchange.link().rest();
        let Some(home) = self.home.upgrade() else {
            return;
        };
        kept.rests = Instant::now();
        if kept.left > 0 && !kept.keep.is_zero() && kept.born.elapsed() < LONGEST_LIFE {
            home.keep(kept);
        }
    }
}
