//! A connection lent to one request, and what it is between two requests.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::plan::{HeaderCase, UpstreamPlan};
use super::super::reason::UpstreamError;
use super::super::upload::Upload;
use super::health::Health;
use super::link::{Link, Socket, Status, Stream};
use super::places::{Place, Places};
use crate::clock::{Alarm, Timers};
use crate::telemetry::UpstreamMetrics;

/// Read buffer, which bounds a response head as well.
const BUFFER: usize = 64 * 1024;
/// A connection older than this takes no further request, so that a change of addresses in DNS, or a balancer's wish
/// to move, is followed within a minute even by a feed that never pauses.
const LONGEST_LIFE: Duration = Duration::from_secs(60);

/// Idle connections kept for one upstream by one worker.
const KEPT: usize = 64;

/// The connections of one worker to one upstream that nobody uses.
pub(super) struct Idle {
    kept: RefCell<Vec<Kept>>,
    /// Set where the upstream's connections are limited.
    places: Option<Arc<Places>>,
}

/// A connection between two requests.
pub(super) struct Kept {
    /// Position of the endpoint it goes to.
    endpoint: usize,
    sender: SendRequest<Upload>,
    driver: Driver,
    socket: Socket,
    status: Rc<Status>,
    born: Instant,
    /// How long it may be idle.
    keep: Duration,
    /// Requests it may still take.
    left: u64,
}

/// The task that moves a connection's bytes. Dropping it ends the connection.
struct Driver {
    task: JoinHandle<()>,
    /// Rings when the connection has been idle for too long; paused while it is lent.
    expiry: Rc<Alarm>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection lent to one request.
pub(in crate::gateway) struct Lease {
    kept: Kept,
    home: Weak<Idle>,
}

/// Why a request has no answer.
pub(in crate::gateway) enum SendError {
    /// Nothing was sent; here it is back.
    NotSent(Box<Request<Upload>>),
    /// Something may have been sent.
    Failed(UpstreamError),
}

impl Idle {
    pub(super) fn new(places: Option<Arc<Places>>) -> Rc<Self> {
        Rc::new(Self {
            kept: RefCell::default(),
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
            if kept.is_usable() && health.is_preferred(kept.endpoint) {
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
        kept.retain(Kept::is_alive);
        if kept.len() < KEPT && self.waiting() == 0 {
            kept.push(connection);
        }
    }

    fn waiting(&self) -> usize {
        self.places.as_ref().map_or(0, |places| places.waiting())
    }
}

impl Kept {
    pub(super) async fn start(
        (stream, endpoint): (Stream, usize),
        place: Option<Place>,
        plan: &UpstreamPlan,
        timers: &Timers,
        metrics: &Rc<UpstreamMetrics>,
    ) -> Result<Self, UpstreamError> {
        let socket = stream.socket().clone();
        let status = Status::new(metrics);
        let mut builder = Builder::new();
        builder
            .max_buf_size(BUFFER)
            .title_case_headers(plan.header_case == HeaderCase::Title)
            .preserve_header_case(plan.header_case == HeaderCase::Preserve);
        let link = TokioIo::new(Link::new(stream, &status, place));
        let (sender, connection) = builder
            .handshake(link)
            .await
            .map_err(|_| UpstreamError::Reset)?;
        let expiry = Rc::new(timers.alarm(plan.care.keep_alive));
        expiry.pause();
        let task = tokio::task::spawn_local(drive(connection, Rc::clone(&expiry)));
        Ok(Self {
            endpoint,
            sender,
            driver: Driver { task, expiry },
            socket,
            status,
            born: Instant::now(),
            keep: plan.care.keep_alive,
            left: plan.care.keep_alive_requests,
        })
    }

    /// Whether it has not ended.
    fn is_alive(&self) -> bool {
        !self.driver.task.is_finished()
    }

    /// Whether another request may go over it, as far as anybody can tell before trying.
    fn is_usable(&self) -> bool {
        self.is_alive()
            && self.sender.is_ready()
            && self.born.elapsed() < LONGEST_LIFE
            && self.socket.is_quiet()
    }
}

/// Moves a connection's bytes until it ends or has been idle for too long.
async fn drive(connection: Connection<TokioIo<Link>, Upload>, expiry: Rc<Alarm>) {
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        // How it ended is told to the request it was lent to, if any.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        expiry.poll_rung(cx)
    })
    .await;
}

impl Lease {
    pub(super) fn new(mut kept: Kept, home: &Rc<Idle>) -> Self {
        kept.driver.expiry.pause();
        kept.status.lend();
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
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, SendError> {
        let sent = self.kept.sender.try_send_request(request).await;
        let response = sent.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::NotSent(Box::new(request)),
            None => SendError::Failed(self.classify(error.error())),
        })?;
        self.kept.status.answered();
        self.learn_keep(response.headers());
        Ok(response)
    }

    fn classify(&self, error: &hyper::Error) -> UpstreamError {
        if error.is_parse() || self.kept.status.flooded() {
            UpstreamError::Protocol
        } else {
            UpstreamError::Reset
        }
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

    /// The exchange is whole: others may use the connection.
    pub(in crate::gateway) fn give_back(self) {
        let kept = self.kept;
        kept.status.rest();
        let Some(home) = self.home.upgrade() else {
            return;
        };
        if kept.left > 0 && !kept.keep.is_zero() && kept.born.elapsed() < LONGEST_LIFE {
            kept.driver.expiry.set(kept.keep);
            home.keep(kept);
        }
    }
}
