//! The one record of a request: how it ended, counted and logged exactly once.
//!
//! A [`Record`] is made when a request arrives and tells its story when it is dropped, wherever that happens:
//! after the last byte of the answer, or in the middle of anything because the sender went away. Until
//! something better is known, the story is that the sender went away.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::Gateway;
use super::logs::Kind;
use super::plan::{RoutePlan, UpstreamPlan};
use super::reason::{Outcome, Refusal, Stop, challenge_position};
use super::room::RoomPlace;
use super::snapshot::Snapshot;
use super::source::Client;
use super::upload::Tally;
use crate::clock;
use crate::server::Peer;
use crate::telemetry::{AccessEntry, Decision, RouteMetrics};
use crate::verify::ChallengeMethod;

/// The record of one request; see the module.
pub(super) struct Record {
    gateway: Rc<Gateway>,
    pub(super) snapshot: Rc<Snapshot>,
    began: Instant,
    /// When its head was whole and its turn had come.
    met: Instant,
    time: SystemTime,
    peer: Peer,
    client: Client,
    request_id: String,
    method: &'static str,
    route: Option<usize>,
    token: Option<usize>,
    challenge: bool,
    status: Option<StatusCode>,
    upstream: Option<Duration>,
    upstream_used: bool,
    pub(super) tally: Rc<Tally>,
    /// Its place among the requests in flight on its route.
    place: Option<RoomPlace>,
    /// Whether the sender says that it is Redox.
    redox: bool,
    /// What we took ourselves until the answer began.
    own: Option<Duration>,
    /// How it ended, and why; nothing while nobody has said so.
    end: Option<(Outcome, Option<&'static str>)>,
}

impl Record {
    pub(super) fn begin(
        gateway: &Rc<Gateway>,
        method: Option<&Method>,
        peer: Peer,
        began: Instant,
    ) -> Self {
        let met = Instant::now();
        // The wall clock is asked now, and told as of the first byte of the head, which may have come long before.
        let now = clock::wall();
        let time = now.checked_sub(met.saturating_duration_since(began));
        Self {
            gateway: Rc::clone(gateway),
            snapshot: gateway.snapshot(),
            began,
            met,
            time: time.unwrap_or(now),
            peer,
            client: Client::direct(peer),
            request_id: gateway.next_request_id(),
            method: method_label(method),
            route: None,
            token: None,
            challenge: false,
            status: None,
            upstream: None,
            upstream_used: false,
            tally: Rc::default(),
            place: None,
            redox: false,
            own: None,
            end: None,
        }
    }

    /// Who sends, as far as that is known.
    pub(super) fn client(&self) -> Client {
        self.client
    }

    /// A trusted proxy may speak for somebody else.
    pub(super) fn sent_by(&mut self, client: Client) {
        self.client = client;
    }

    /// Whether it came from whoever is at the other end of the connection, and no proxy speaks for somebody else.
    pub(super) fn is_direct(&self) -> bool {
        self.client.address == self.peer.address.ip().to_canonical()
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Whether the answer has to go without its body (RFC 9110 §9.3.2).
    pub(super) fn asked_for_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub(super) fn routed(&mut self, route: usize) {
        self.route = Some(route);
    }

    /// Whether the sender says that it is Redox, which proves nothing.
    pub(super) fn claims(&mut self, redox: bool) {
        self.redox = redox;
    }

    /// A token let the request through; counts its use.
    ///
    /// # Errors
    /// Where nothing may go on that the audit trail could not tell of.
    pub(super) fn accepted(&mut self, token: usize, at: u64) -> Result<(), Refusal> {
        self.token = Some(token);
        self.metrics().token_used(token, at);
        if let Some(route) = self.route_plan() {
            route.token_uses.note(token, at);
        }
        self.gateway.logs.can_tell()
    }

    /// A challenge with a right token, which is going to be answered.
    ///
    /// # Errors
    /// As for [`Record::accepted`]; then it is not answered.
    pub(super) fn answers(
        &mut self,
        method: ChallengeMethod,
        token: usize,
        at: u64,
    ) -> Result<(), Refusal> {
        self.challenge = true;
        self.accepted(token, at)?;
        self.challenged(method, None);
        Ok(())
    }

    /// A challenge was answered or refused.
    pub(super) fn challenged(&mut self, method: ChallengeMethod, refusal: Option<Refusal>) {
        self.challenge = true;
        let (method, result) = challenge_position(method, refusal);
        self.metrics().challenge(method, result);
    }

    /// It is in flight on its route until it ends.
    pub(super) fn takes_place(&mut self, place: RoomPlace) {
        self.metrics().began();
        self.place = Some(place);
    }

    /// The upstream is about to be asked.
    pub(super) fn asks_upstream(&mut self) {
        self.upstream_used = true;
    }

    /// The upstream, asked at that time, has begun its answer now.
    pub(super) fn upstream_answered(&mut self, status: StatusCode, asked: Instant, now: Instant) {
        self.upstream = Some(now.saturating_duration_since(self.began));
        let after = now.saturating_duration_since(asked);
        self.metrics().upstream_response(status.as_u16(), after);
    }

    /// The sender is being told this.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        let own = self.met.elapsed();
        self.own = Some(own.saturating_sub(self.tally.waited.get()));
    }

    /// The request is over, well.
    pub(super) fn finished(&mut self, outcome: Outcome) {
        self.end = Some((outcome, None));
    }

    /// The request is over, not well. Saying the same again changes nothing: an answer may be held between the two.
    pub(super) fn stopped(&mut self, stop: Stop) {
        let end = Some((stop.outcome(), Some(stop.reason())));
        if std::mem::replace(&mut self.end, end) == end {
            return;
        }
        match stop {
            Stop::Refused(refusal) => self.metrics().rejected(refusal.position(), self.redox),
            Stop::Failed(error) => {
                self.metrics().upstream_error(error.position());
                if let Some(upstream) = self.upstream_plan() {
                    upstream.last_failure.note(error, clock::unix_now().0);
                }
            }
            Stop::SenderLeft | Stop::Cut => {}
        }
    }

    /// The route, once there is one.
    pub(super) fn route_plan(&self) -> Option<&RoutePlan> {
        self.route
            .and_then(|route| self.snapshot.plan.routes.get(route))
    }

    fn upstream_plan(&self) -> Option<&UpstreamPlan> {
        let route = self.route_plan()?;
        self.snapshot.plan.upstreams.get(route.upstream)
    }

    fn metrics(&self) -> &RouteMetrics {
        self.snapshot.metrics(self.route)
    }

    /// For the access log and the audit trail.
    fn tell(&self, end: &End) {
        let logs = &self.gateway.logs;
        if logs.is_off() {
            return;
        }
        let upstream = self.upstream_plan().filter(|_| self.upstream_used);
        let entry = AccessEntry {
            time: self.time,
            request_id: &self.request_id,
            listener: (self.gateway.listener_name(self.peer.listener)).map_or("none", |name| name),
            route: self.snapshot.route_name(self.route),
            outcome: end.outcome.label(),
            reason: end.reason,
            token_id: (self.snapshot.token_id(self.route, self.token)).map(|id| &**id),
            method: self.method,
            status: self.status.map(|status| status.as_u16()),
            received: self.tally.received.get(),
            sent: self.tally.sent.get(),
            duration: end.duration,
            upstream_duration: self.upstream,
            peer: self.peer.address,
            client: Some(self.client.address).filter(|_| !self.is_direct()),
            upstream: upstream.map(|upstream| {
                // The endpoint that got it, where one did.
                let endpoint = self.tally.endpoint.get();
                let endpoint = endpoint.and_then(|position| upstream.endpoints.get(position));
                endpoint.map_or(&*upstream.name, |endpoint| &*endpoint.name)
            }),
        };
        let kind = Kind {
            outcome: end.outcome,
            challenge: self.challenge,
            tls: self.peer.tls,
        };
        logs.tell(&entry, &kind);
    }

    /// For the status page. Takes the request id along, so it comes last.
    fn write_decision(&mut self, end: &End) {
        let Some(ring) = &self.gateway.logs.decisions else {
            return;
        };
        let Some(listener) = self.gateway.listener_name(self.peer.listener) else {
            return;
        };
        let decision = Decision {
            time: self.time,
            duration: end.duration,
            ended: (self.began + end.duration).into_std(),
            request_id: std::mem::take(&mut self.request_id),
            listener: Arc::clone(listener),
            route: Arc::clone(self.snapshot.route_name(self.route)),
            outcome: end.outcome.label(),
            reason: end.reason,
            token_id: self.snapshot.token_id(self.route, self.token).cloned(),
            status: self.status.map(|status| status.as_u16()),
        };
        ring.write(decision);
    }
}

/// How a request ended.
struct End {
    outcome: Outcome,
    reason: Option<&'static str>,
    duration: Duration,
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.began.elapsed();
        let abandoned = self.gateway.abandoned();
        let (outcome, reason) = self
            .end
            .unwrap_or((abandoned.outcome(), Some(abandoned.reason())));
        let metrics = self.metrics();
        let (received, sent) = (self.tally.received.get(), self.tally.sent.get());
        metrics.request(self.peer.listener, outcome.position(), duration);
        metrics.bytes(received, sent);
        if outcome == Outcome::Forwarded {
            metrics.body(received);
        }
        if let Some(own) = self.own {
            self.gateway.count_overhead(outcome, own);
        }
        if self.place.is_some() {
            metrics.ended();
        }
        if let Some(status) = self.status {
            metrics.response(status.as_u16());
        }
        let end = End {
            outcome,
            reason,
            duration,
        };
        self.tell(&end);
        self.write_decision(&end);
    }
}

/// From a fixed list: a method may be any text the sender likes.
fn method_label(method: Option<&Method>) -> &'static str {
    const KNOWN: [(&Method, &str); 9] = [
        (&Method::POST, "POST"),
        (&Method::GET, "GET"),
        (&Method::HEAD, "HEAD"),
        (&Method::PUT, "PUT"),
        (&Method::PATCH, "PATCH"),
        (&Method::DELETE, "DELETE"),
        (&Method::OPTIONS, "OPTIONS"),
        (&Method::TRACE, "TRACE"),
        (&Method::CONNECT, "CONNECT"),
    ];
    match method {
        None => "-",
        Some(method) => KNOWN
            .iter()
            .find(|(known, _)| *known == method)
            .map_or("OTHER", |(_, label)| label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_come_from_a_fixed_list() {
        let odd = Method::from_bytes(b"CANARY").unwrap();
        assert_eq!(method_label(Some(&odd)), "OTHER");
        assert_eq!(method_label(Some(&Method::POST)), "POST");
        assert_eq!(method_label(None), "-");
    }
}
