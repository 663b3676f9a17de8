//! The gateway: the journey of a request from its head to its answer.
//!
//! The order of judgement is the contract's: framing, route, source, method, challenge or token, body cap, upstream.
//! `Gateway::judge` reads in that order. The outer [`Handler::call`] arms the record, runs the journey and
//! turns whatever stopped it into an answer; so every request has one outcome, however it ends.

mod answer;
mod connections;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod guesses;
mod headers;
mod last;
mod logs;
pub mod plan;
mod reason;
mod record;
mod request;
mod respond;
mod room;
mod snapshot;
mod source;
mod upload;
mod upstream;

pub use answer::AnswerBody;
pub use guesses::{Guesses, SOURCE_LIMIT};
pub use last::{LastFailure, TokenUses};
pub use logs::Logs;
pub use reason::{LABELS, Outcome, Refusal, Stop, UpstreamError};
pub use room::Room;
pub use upload::Broken;
pub use upstream::EndpointState;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::uri::Authority;
use http::{Request, Response};
use tokio::sync::watch;
use tokio::time::Instant;

use self::forward::{Verified, forward};
use self::plan::{OnReject, Plan, RoutePlan};
use self::record::Record;
use self::request::Reading;
use self::snapshot::{Snapshot, own};
use self::source::Client;
use self::upload::{Peek, discard, peek};
use crate::clock::{self, Timers};
use crate::server::{Close, ConnectionEvent, Fault, Handler, Latch, Peer, RequestBody};
use crate::telemetry::WorkerMetrics;
use crate::verify::{self, BodyLength, Permit, Rejection, Step, Verdict};

/// How much of a refused body is read so that its connection can be kept; the contract's bounds.
const DISCARD_BYTES: u64 = 64 * 1024;
/// How long at most.
const DISCARD: Duration = Duration::from_secs(1);

/// How long a refusal is held from a source that has failed too often, so that a connection of HTTP/1.1 guesses once
/// a second at most. Over HTTP/2 each of its streams does. Not behind a trusted proxy.
// Whoever holds on to it has a connection with nothing in flight but this, for a moment instead of the keep-alive
// timeout: an idle connection fills `max_connections` for longer and costs less. What is held is the record and the
// socket's buffers; head and body of the request have gone, or wait unread in the kernel.
const HOLD: Duration = Duration::from_secs(1);
/// By how much holds differ at most, in milliseconds: guesses that came together do not come back in one burst, which
/// requests beside them would notice.
const HOLD_SPREAD: u64 = 1000;
/// From one hold to the next; the spread over the golden ratio, which leaves no gap and no cluster.
const HOLD_STEP: u64 = 618;
/// Most refusals that a worker holds at once; further ones are answered without delay.
const HELD_LIMIT: usize = 1024;

/// The gateway of one worker.
pub struct Gateway {
    plans: RefCell<watch::Receiver<Arc<Plan>>>,
    snapshot: RefCell<Rc<Snapshot>>,
    listeners: Vec<Arc<str>>,
    metrics: Rc<WorkerMetrics>,
    logs: Logs,
    timers: Timers,
    id_prefix: u64,
    id_counter: Cell<u64>,
    cutting: Cell<bool>,
    guesses: Arc<Guesses>,
    held: Cell<usize>,
    hold_spread: Cell<u64>,
    drain_begun: Latch,
}

impl Gateway {
    /// A gateway that follows `plans`. `id_prefix` is random, so that request ids of different workers and
    /// starts differ. `guesses` is shared by all workers, and outlives every plan.
    pub fn new(
        mut plans: watch::Receiver<Arc<Plan>>,
        listeners: &[Arc<str>],
        metrics: WorkerMetrics,
        logs: Logs,
        timers: Timers,
        id_prefix: u64,
        guesses: Arc<Guesses>,
    ) -> Rc<Self> {
        let plan = Arc::clone(&plans.borrow_and_update());
        let snapshot = Rc::new(Snapshot::new(plan, &metrics, &timers));
        Rc::new(Self {
            plans: RefCell::new(plans),
            snapshot: RefCell::new(snapshot),
            listeners: listeners.iter().map(own).collect(),
            metrics: Rc::new(metrics),
            logs,
            timers,
            id_prefix,
            id_counter: Cell::new(0),
            cutting: Cell::new(false),
            guesses,
            held: Cell::new(0),
            hold_spread: Cell::new(0),
            drain_begun: Latch::default(),
        })
    }

    /// Checks the upstreams that want to be checked, for as long as it is polled. One worker does this for all.
    pub async fn check_upstreams(self: Rc<Self>) {
        let plans = self.plans.borrow().clone();
        upstream::follow(plans, self.timers.clone(), Rc::clone(&self.metrics)).await;
    }

    /// The plan in force, as this worker uses it. Takes up a new plan when there is one.
    fn snapshot(&self) -> Rc<Snapshot> {
        let mut plans = self.plans.borrow_mut();
        // An error means that nobody will ever send another plan.
        if plans.has_changed().unwrap_or(false) {
            let plan = Arc::clone(&plans.borrow_and_update());
            *self.snapshot.borrow_mut() = Rc::new(Snapshot::new(plan, &self.metrics, &self.timers));
        }
        Rc::clone(&self.snapshot.borrow())
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    /// What a request ends with that nobody has ended: we cut it, or its sender did.
    fn abandoned(&self) -> Stop {
        if self.cutting.get() {
            Stop::Cut
        } else {
            Stop::SenderLeft
        }
    }

    fn count_overhead(&self, outcome: Outcome, time: Duration) {
        self.metrics.overhead(outcome.position(), time);
    }

    fn listener_name(&self, position: usize) -> Option<&Arc<str>> {
        self.listeners.get(position)
    }

    fn next_request_id(&self) -> String {
        let count = self.id_counter.get();
        self.id_counter.set(count.wrapping_add(1));
        let mut id = String::with_capacity(24);
        push_hex(&mut id, self.id_prefix, 16);
        push_hex(&mut id, count, 8);
        id
    }

    /// The inner journey: what `?` leaves it with is what the sender is told.
    async fn journey(
        &self,
        head: Parts,
        body: &mut Option<RequestBody>,
        peer: Peer,
        record: &mut Record,
    ) -> Result<Arrival, Stop> {
        let snapshot = Rc::clone(&record.snapshot);
        let trusted = &snapshot.plan.trusted_proxies;
        record.sent_by(Client::behind(trusted, peer, &head.headers));
        let reading = request::read(&head, peer.tls)?;
        let route = self.route(&snapshot.plan, &head, reading.authority.as_ref(), record)?;
        if let Some(allow) = &route.allow
            && !source::contains(allow, record.client().address)
        {
            return Err(Refusal::SourceDenied.into());
        }
        let judged = self.judge(&head, body, &reading, route, record).await?;
        let (permit, ahead, length) = match judged {
            Judged::Challenge(reply) => return Ok(Arrival::Challenge(reply)),
            Judged::Pass(permit, ahead, length) => (permit, ahead, length),
        };
        if route.maintenance {
            return Err(Refusal::Maintenance.into());
        }
        if matches!(length, BodyLength::Exact(length) if length > route.body_cap) {
            return Err(Refusal::BodyTooLarge.into());
        }
        // Only now: whoever cannot prove himself takes no place from those who can.
        record.takes_place(route.room.enter().ok_or(Refusal::Overloaded)?);
        let verified = Verified {
            head,
            authority: reading.authority,
            ahead,
            rest: body.take(),
            length,
        };
        forward(permit, verified, self, route, record, body)
            .await
            .map(|answered| Arrival::Forwarded(Box::new(answered)))
    }

    fn route<'p>(
        &self,
        plan: &'p Plan,
        head: &Parts,
        authority: Option<&Authority>,
        record: &mut Record,
    ) -> Result<&'p RoutePlan, Refusal> {
        let host = authority
            .filter(|_| plan.table.uses_hosts())
            .map(|named| named.host().to_ascii_lowercase());
        let index = plan
            .table
            .find(host.as_deref(), head.uri.path())
            .ok_or(Refusal::NoRoute)?;
        record.routed(index);
        plan.routes.get(index).ok_or(Refusal::NoRoute)
    }

    /// Asks the route's scheme, with the body where it wants to see it.
    async fn judge(
        &self,
        head: &Parts,
        body: &mut Option<RequestBody>,
        reading: &Reading,
        route: &RoutePlan,
        record: &mut Record,
    ) -> Result<Judged, Stop> {
        let now = clock::unix_now();
        let seen = verify::Head {
            method: &head.method,
            query: head.uri.query(),
            headers: &head.headers,
            body: reading.body,
        };
        let pending = match route.scheme.begin(&seen, now) {
            Step::Decided(verdict) => return conclude(verdict, Vec::new(), reading.body, record),
            Step::NeedBody(pending) => pending,
        };
        let Some(incoming) = body.as_mut() else {
            return Err(Stop::SenderLeft);
        };
        let patience = self.timers.alarm(route.timeouts.request_body_idle);
        match peek(incoming, pending.body_cap(), patience, &record.tally).await? {
            Peek::Longer(ahead) => conclude(pending.overflow(), ahead, reading.body, record),
            Peek::Whole(whole) => {
                *body = None;
                let verdict = pending.finish(&whole, clock::unix_now());
                let length = u64::try_from(whole.len()).unwrap_or(u64::MAX);
                conclude(verdict, vec![whole], BodyLength::Exact(length), record)
            }
        }
    }

    /// What a stopped request is told, once its source's failures have been looked at.
    fn limited(&self, stop: Stop, record: &Record) -> Stop {
        let failed = matches!(stop, Stop::Refused(refusal) if refusal.is_failed_verification());
        match record.snapshot.plan.failed_verifications {
            Some(limit)
                if failed
                    && !(self.guesses).allow(record.client().address, limit, Instant::now()) =>
            {
                Refusal::RateLimited.into()
            }
            Some(_) | None => stop,
        }
    }

    /// Holds an answer for a moment, or until a drain begins.
    ///
    /// # Cancel safety
    /// Safe; a sender that leaves meanwhile was refused all the same.
    async fn hold(&self) {
        if self.drain_begun.is_set() || self.held.get() >= HELD_LIMIT {
            return;
        }
        let _held = Held::new(&self.held);
        let spread = (self.hold_spread.get() + HOLD_STEP) % HOLD_SPREAD;
        self.hold_spread.set(spread);
        tokio::select! {
            // Not one of our own timers: on their ticks many would come back at once again.
            () = tokio::time::sleep(HOLD + Duration::from_millis(spread)) => {}
            () = self.drain_begun.wait() => {}
        }
    }

    /// Answers a stopped request. Reads a small rest of its body first, so that its connection can be kept.
    async fn stop(
        &self,
        stop: Stop,
        body: Option<RequestBody>,
        reads_rest: bool,
        mut record: Record,
    ) -> Result<Response<AnswerBody>, Close> {
        if stop == Refusal::RateLimited.into() {
            // Told first: the refusal stands whether or not its sender waits for it.
            record.stopped(stop);
            // The connection of a proxy is not the guesser's alone: his held requests would take its streams from
            // others, and giving them up unanswered would end it for all.
            if record.is_direct() {
                let held = Instant::now();
                self.hold().await;
                record.tally.waited_for(held.elapsed());
            }
        }
        if self.closes(stop, &record) {
            record.stopped(stop);
            return Err(Close);
        }
        if let Some(body) = body.filter(|_| reads_rest) {
            let worth_it = http_body::Body::size_hint(&body).lower() <= DISCARD_BYTES;
            if worth_it && stop != Stop::SenderLeft {
                discard(
                    body,
                    DISCARD_BYTES,
                    self.timers.alarm(DISCARD),
                    &record.tally,
                )
                .await;
            }
        }
        Ok(respond::stopped(stop, record))
    }

    /// Whether the route wants refused senders to see nothing at all.
    fn closes(&self, stop: Stop, record: &Record) -> bool {
        let refused = matches!(
            stop,
            Stop::Refused(refusal) if !refusal.is_ours()
        );
        refused
            && record
                .route_plan()
                .is_some_and(|route| route.on_reject == OnReject::Close)
    }
}

/// A refusal that is held, counted until this is dropped.
struct Held<'g>(&'g Cell<usize>);

impl<'g> Held<'g> {
    fn new(held: &'g Cell<usize>) -> Self {
        held.set(held.get() + 1);
        Self(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Where a journey ends well.
enum Arrival {
    Challenge(verify::Reply),
    Forwarded(Box<forward::Answered>),
}

/// What the scheme decided, with what it read to decide.
enum Judged {
    Challenge(verify::Reply),
    Pass(Permit, Vec<Bytes>, BodyLength),
}

fn conclude(
    verdict: Verdict,
    ahead: Vec<Bytes>,
    length: BodyLength,
    record: &mut Record,
) -> Result<Judged, Stop> {
    match verdict {
        Verdict::Forward(permit) => {
            record.accepted(permit.token(), clock::unix_now().0)?;
            Ok(Judged::Pass(permit, ahead, length))
        }
        Verdict::Answer(reply) => {
            record.answers(reply.method(), reply.token(), clock::unix_now().0)?;
            Ok(Judged::Challenge(reply))
        }
        Verdict::Refuse(Rejection { reason, challenge }) => {
            let refusal = Refusal::from(reason);
            if let Some(method) = challenge {
                record.challenged(method, Some(refusal));
            }
            Err(refusal.into())
        }
    }
}

impl Handler for Gateway {
    type Body = AnswerBody;

    async fn call(
        self: Rc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
        began: Instant,
    ) -> Result<Response<AnswerBody>, Close> {
        let mut record = Record::begin(&self, Some(request.method()), peer, began);
        let (head, body) = request.into_parts();
        record.claims(request::claims_redox(&head.headers));
        // To read is to ask for the body, and a refused request never gets its 100. Over HTTP/2 the connection is
        // kept anyhow, and the server looks after the rest of the body.
        let reads_rest = head.version != http::Version::HTTP_2
            && !head.headers.contains_key(http::header::EXPECT);
        let mut body = Some(body);
        match self.journey(head, &mut body, peer, &mut record).await {
            Ok(Arrival::Challenge(reply)) => Ok(respond::challenge(reply, record)),
            Ok(Arrival::Forwarded(answered)) => Ok(answered.into_answer(record)),
            Err(stop) => {
                let stop = self.limited(stop, &record);
                self.stop(stop, body, reads_rest, record).await
            }
        }
    }

    fn refuse(self: &Rc<Self>, fault: Fault, peer: Peer, began: Instant) -> Response<Bytes> {
        let record = Record::begin(self, None, peer, began);
        let refusal = match fault {
            Fault::Malformed => Refusal::Malformed,
            Fault::HeaderTooLarge => Refusal::HeaderTooLarge,
            Fault::ReadTimeout => Refusal::ReadTimeout,
        };
        // No route is known yet, so no route's wish to close in silence can be either.
        respond::stopped_early(refusal, record)
    }

    fn draining(&self) {
        self.drain_begun.set();
    }

    fn cutting(&self) {
        self.cutting.set(true);
    }

    fn note(&self, listener: usize, event: ConnectionEvent) {
        if let Some(metrics) = self.metrics.listener(listener) {
            connections::note(metrics, event);
        }
    }
}

/// Writes `value` with this many digits, or more where it has more.
fn push_hex(text: &mut String, value: u64, digits: u32) {
    let needed = (u64::BITS - value.leading_zeros()).div_ceil(4).max(digits);
    for place in (0..needed).rev() {
        let digit = u32::try_from((value >> (4 * place)) & 0xf).unwrap_or_default();
        text.extend(char::from_digit(digit, 16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_hexadecimal() {
        for value in [0, 1, 0xabc, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let mut text = String::new();
            push_hex(&mut text, value, 8);
            assert_eq!(text, format!("{value:08x}"));
        }
    }
}
