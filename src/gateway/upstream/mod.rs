//! Connections to upstreams: made, lent, kept, and ended.
//!
//! Each worker has its own pool, so lending takes no lock where the upstream has no limit. A connection is lent to
//! one request at a time ([`Lease`]) and comes back only after a whole exchange; in every other case it is reset, so
//! that an upstream never takes a half request for a whole one. What all workers share is which endpoints are good
//! ([`Health`]) and how many connections there may be ([`Places`]).
//!
//! What may go wrong is told apart by one question: may a byte of the request have reached the upstream? Only if
//! not is another connection tried.

mod check;
mod dial;
mod encode;
mod exchange;
mod health;
mod lease;
mod link;
mod places;
mod response;

pub(super) use check::follow;
pub(super) use encode::HeadWriter;
pub(super) use exchange::{Outbound, SendError};
pub use health::EndpointState;
pub(super) use health::Health;
pub(super) use lease::Lease;
pub(super) use places::Places;

use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::dial::Dialler;
use self::lease::{Idle, Kept, sweep};
use self::link::{Link, Stream};
use self::places::{Entry, Place};
use super::plan::{Plan, RouteTimeouts, UpstreamPlan};
use super::reason::{Refusal, Stop, UpstreamError};
use crate::clock::Timers;
use crate::telemetry::UpstreamMetrics;

/// How long to wait before a refused connection is tried again. A backend that restarts is away for tenths of a
/// second; twenty tries in one are no burden for the machine it runs on.
const PAUSE: Duration = Duration::from_millis(50);

/// One upstream as one worker sees it.
pub(super) struct Upstream {
    plan: Arc<Plan>,
    position: usize,
    timers: Timers,
    dialler: Dialler,
    metrics: Rc<UpstreamMetrics>,
    idle: Rc<Idle>,
    /// What looks after idle connections.
    caring: Vec<JoinHandle<()>>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.caring.iter().for_each(JoinHandle::abort);
    }
}

impl Upstream {
    /// Has to be called within the worker's runtime.
    pub(super) fn new(
        plan: Arc<Plan>,
        position: usize,
        timers: Timers,
        metrics: UpstreamMetrics,
    ) -> Self {
        let places = plan
            .upstreams
            .get(position)
            .filter(|upstream| upstream.is_limited())
            .map(|upstream| Arc::clone(&upstream.places));
        let idle = Idle::new(places.clone());
        let sweeping = sweep(Rc::downgrade(&idle), timers.clone());
        let mut caring = vec![tokio::task::spawn_local(sweeping)];
        if let Some(places) = places {
            let reclaiming = reclaim(places, Rc::downgrade(&idle));
            caring.push(tokio::task::spawn_local(reclaiming));
        }
        Self {
            plan,
            position,
            dialler: Dialler::new(timers.clone()),
            timers,
            metrics: Rc::new(metrics),
            idle,
            caring,
        }
    }

    pub(super) fn plan(&self) -> Option<&UpstreamPlan> {
        self.plan.upstreams.get(self.position)
    }

    /// A connection used before, if there is a good one.
    pub(super) fn reuse(&self) -> Option<Lease> {
        self.idle.take(&self.plan()?.health)
    }

    /// A new connection to the first endpoint that accepts one. Where nobody does, tries again for as long as the
    /// upstream's `connect_retry` says.
    ///
    /// # Errors
    /// No place in time, or what the last endpoint failed with. Nothing of a request has been sent.
    pub(super) async fn connect(&self, timeouts: &RouteTimeouts) -> Result<Lease, Stop> {
        let plan = self.plan().ok_or(UpstreamError::Refused)?;
        let place = self.place(plan, timeouts.response).await?;
        let stream = self.first_accepting(plan, timeouts.connect).await?;
        let (stream, endpoint) = stream;
        let link = Link::new(stream, &self.metrics, place);
        Ok(Lease::new(Kept::new(link, endpoint, plan), &self.idle))
    }

    /// Whether a connection may be tried once more after this much time.
    pub(super) fn retries_after(&self, waited: Duration) -> bool {
        self.plan()
            .is_some_and(|plan| waited + PAUSE <= plan.care.connect_retry)
    }

    /// Waits a moment before the next try.
    pub(super) async fn pause(&self) {
        self.metrics.retries().inc();
        tokio::time::sleep(PAUSE).await;
    }

    async fn place(&self, plan: &UpstreamPlan, response: Duration) -> Result<Option<Place>, Stop> {
        if !plan.is_limited() {
            return Ok(None);
        }
        let told = match plan.places.enter() {
            Entry::Place(place) => return Ok(Some(place)),
            Entry::Full => return Err(Refusal::Overloaded.into()),
            Entry::Queued(told) => told,
        };
        let _waiting = Waiting::new(&self.metrics);
        let too_late = self.timers.alarm(plan.care.queue_timeout.min(response));
        tokio::select! {
            biased;
            place = told => Ok(Some(place.map_err(|_| Refusal::Overloaded)?)),
            () = too_late => Err(Refusal::Overloaded.into()),
        }
    }

    async fn first_accepting(
        &self,
        plan: &UpstreamPlan,
        patience: Duration,
    ) -> Result<(Stream, usize), UpstreamError> {
        let began = Instant::now();
        loop {
            let patience = patience.saturating_sub(began.elapsed());
            let (error, nobody) = match self.round(plan, patience).await {
                Ok(stream) => return Ok(stream),
                Err(failed) => failed,
            };
            if !nobody || PAUSE >= patience || !self.retries_after(began.elapsed()) {
                return Err(error);
            }
            self.pause().await;
        }
    }

    /// Tries each endpoint once; which one it was goes along. An error says as well whether all of them simply did not accept.
    async fn round(
        &self,
        plan: &UpstreamPlan,
        patience: Duration,
    ) -> Result<(Stream, usize), (UpstreamError, bool)> {
        let mut failed = (UpstreamError::Refused, true);
        for position in plan.health.order(Instant::now()) {
            let Some(endpoint) = plan.endpoints.get(position) else {
                continue;
            };
            // Each has the full time: a dead first one must not eat up what its backup needs.
            let began = Instant::now();
            match self.dialler.dial(endpoint, patience).await {
                Ok(stream) => {
                    self.metrics.connected(began.elapsed());
                    if plan.health.succeeded(position) {
                        tracing::info!(upstream = %plan.name, endpoint = %endpoint.name, "endpoint accepts connections again");
                    }
                    return Ok((stream, position));
                }
                Err(error) => {
                    failed = (error, failed.1 && error == UpstreamError::Refused);
                    if let Some(time) = plan.health.failed(position, Instant::now()) {
                        self.metrics.passed_over(position);
                        tracing::warn!(
                            upstream = %plan.name, endpoint = %endpoint.name, reason = error.label(),
                            seconds = time.as_secs(), "endpoint is passed over"
                        );
                    }
                }
            }
        }
        Err(failed)
    }
}

/// Gives up idle connections while somebody waits for their places, in whichever worker that is.
async fn reclaim(places: Arc<Places>, idle: Weak<Idle>) {
    loop {
        let mut wanted = pin!(places.wanted());
        // Before looking, so that nobody is missed who comes in between.
        wanted.as_mut().enable();
        let Some(idle) = idle.upgrade() else {
            return;
        };
        idle.reclaim();
        drop(idle);
        wanted.await;
    }
}

/// Counts a request for as long as it waits.
struct Waiting<'m>(&'m UpstreamMetrics);

impl<'m> Waiting<'m> {
    fn new(metrics: &'m UpstreamMetrics) -> Self {
        metrics.waiting().inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting().dec();
    }
}
