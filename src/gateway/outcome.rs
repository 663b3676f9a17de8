//! The one record of a request: how it ended, counted and logged exactly once.
//!
//! A [`Record`] is made when a request arrives and tells its story when it is dropped, wherever that happens:
//! after the last byte of the answer, or in the middle of anything because the sender went away. Until
//! something better is known, the story is that the sender went away.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::Gateway;
use super::plan::RoutePlan;
use super::snapshot::Snapshot;
use crate::clock;
use crate::server::{ConnectionEvent, Peer};
use crate::telemetry::{AccessEntry, Labels, RouteMetrics};
use crate::verify::{self, ChallengeMethod};

/// How a request can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream has it, and its answer went back whole.
    Forwarded,
    /// A challenge, answered by us.
    Challenge,
    /// Refused: the sender's doing.
    Rejected,
    /// Failed: ours, the upstream's, or the sender left.
    Error,
}

impl Outcome {
    const LABELS: [&'static str; 4] = ["forwarded", "challenge", "rejected", "error"];

    fn position(self) -> usize {
        match self {
            Self::Forwarded => 0,
            Self::Challenge => 1,
            Self::Rejected => 2,
            Self::Error => 3,
        }
    }

    fn label(self) -> &'static str {
        Self::LABELS
            .get(self.position())
            .copied()
            .unwrap_or_default()
    }
}

/// Declares a closed set of reasons with their labels, so that neither can be forgotten.
macro_rules! labelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// The labels, in the same order.
            pub const LABELS: &'static [&'static str] = &[$($label,)+];

            /// What logs and metrics call it.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            fn position(self) -> usize {
                Self::ALL.iter().position(|other| *other == self).unwrap_or(usize::MAX)
            }
        }
    };
}

labelled! {
    /// Why a request was refused. The labels are an interface.
    Refusal {
        /// No route for host and path.
        NoRoute => "no_route",
        /// Neither POST nor a GET challenge.
        MethodNotAllowed => "method_not_allowed",
        /// No token.
        TokenMissing => "token_missing",
        /// A wrong token.
        TokenMismatch => "token_mismatch",
        /// A token past its `not_after`.
        TokenExpired => "token_expired",
        /// Several tokens, or contradicting ones.
        TokenAmbiguous => "token_ambiguous",
        /// A header that reads like the token header to some backends.
        HeaderAlias => "header_alias",
        /// A challenge that breaks the rules of challenges.
        ChallengeMalformed => "challenge_malformed",
        /// HTTP with no reading, or with more than one.
        Malformed => "malformed",
        /// A head over its cap.
        HeaderTooLarge => "header_too_large",
        /// A body over its cap.
        BodyTooLarge => "body_too_large",
        /// A head or body that came too slowly.
        ReadTimeout => "read_timeout",
        /// An `Expect` other than `100-continue`.
        ExpectationFailed => "expectation_failed",
        /// The route is in maintenance.
        Maintenance => "maintenance",
    }
}

labelled! {
    /// What went wrong behind us. The labels are those of `upstream_errors_total`; the log puts `upstream_`
    /// in front.
    UpstreamError {
        /// Its name does not resolve.
        Dns => "dns",
        /// Nobody accepts connections.
        Refused => "refused",
        /// No connection in time.
        ConnectTimeout => "connect_timeout",
        /// No TLS with it.
        Tls => "tls",
        /// It broke off before its answer.
        Reset => "reset",
        /// It broke off within its answer.
        Truncated => "truncated",
        /// It answered something that is not HTTP, or not unambiguously.
        Protocol => "protocol",
        /// It answered with a redirect, which the sender would not understand.
        Redirect => "redirect",
        /// No whole answer in time.
        Timeout => "timeout",
    }
}

impl UpstreamError {
    /// What the log calls it.
    fn reason(self) -> &'static str {
        match self {
            Self::Dns => "upstream_dns",
            Self::Refused => "upstream_refused",
            Self::ConnectTimeout => "upstream_connect_timeout",
            Self::Tls => "upstream_tls",
            Self::Reset => "upstream_reset",
            Self::Truncated => "upstream_truncated",
            Self::Protocol => "upstream_protocol",
            Self::Redirect => "upstream_redirect",
            Self::Timeout => "upstream_timeout",
        }
    }
}

impl From<verify::Reason> for Refusal {
    fn from(reason: verify::Reason) -> Self {
        match reason {
            verify::Reason::MethodNotAllowed => Self::MethodNotAllowed,
            verify::Reason::HeaderAlias => Self::HeaderAlias,
            verify::Reason::TokenMissing => Self::TokenMissing,
            verify::Reason::TokenMismatch => Self::TokenMismatch,
            verify::Reason::TokenExpired => Self::TokenExpired,
            verify::Reason::TokenAmbiguous => Self::TokenAmbiguous,
            verify::Reason::ChallengeMalformed => Self::ChallengeMalformed,
        }
    }
}

/// Why a journey ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The sender's doing.
    Refused(Refusal),
    /// The upstream's.
    Failed(UpstreamError),
    /// There is nobody to answer any more.
    SenderLeft,
    /// We ended it, because it outlasted a drain.
    Cut,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<UpstreamError> for Stop {
    fn from(error: UpstreamError) -> Self {
        Self::Failed(error)
    }
}

impl Stop {
    fn outcome(self) -> Outcome {
        match self {
            Self::Refused(_) => Outcome::Rejected,
            Self::Failed(_) | Self::SenderLeft | Self::Cut => Outcome::Error,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.label(),
            Self::Failed(error) => error.reason(),
            Self::SenderLeft => "client_closed",
            Self::Cut => "drain_timeout",
        }
    }
}

/// Label sets of all metrics.
pub const LABELS: Labels = Labels {
    outcomes: &Outcome::LABELS,
    reasons: Refusal::LABELS,
    challenge_methods: &["get", "post"],
    challenge_results: &["answered", "token_mismatch", "malformed"],
    upstream_errors: UpstreamError::LABELS,
    codes: &[200, 400, 401, 404, 405, 408, 413, 417, 431, 502, 503, 504],
    tls_versions: &ConnectionEvent::TLS_VERSIONS,
    tls_failures: &ConnectionEvent::HANDSHAKE_FAILURES,
};

/// Position of a challenge's method and result in [`LABELS`].
fn challenge_position(method: ChallengeMethod, refusal: Option<Refusal>) -> (usize, usize) {
    let method = match method {
        ChallengeMethod::Get => 0,
        ChallengeMethod::Post => 1,
    };
    let result = match refusal {
        None => 0,
        Some(Refusal::ChallengeMalformed) => 2,
        Some(_) => 1,
    };
    (method, result)
}

/// Counts that several parts of one exchange add to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Body bytes from the sender.
    pub(super) received: Cell<u64>,
    /// Body bytes to the sender.
    pub(super) sent: Cell<u64>,
    /// What went wrong with the sender's body.
    pub(super) body_fault: Cell<Option<Stop>>,
    /// Whether the sender's body has been read to its end.
    pub(super) body_done: Cell<bool>,
}

/// The record of one request; see the module.
pub(super) struct Record {
    gateway: Rc<Gateway>,
    pub(super) snapshot: Rc<Snapshot>,
    began: Instant,
    time: SystemTime,
    peer: Peer,
    request_id: String,
    method: &'static str,
    route: Option<usize>,
    token: Option<usize>,
    status: Option<StatusCode>,
    upstream: Option<Duration>,
    upstream_used: bool,
    pub(super) tally: Rc<Tally>,
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
        Self {
            gateway: Rc::clone(gateway),
            snapshot: gateway.snapshot(),
            began,
            time: clock::wall(),
            peer,
            request_id: gateway.next_request_id(),
            method: method_label(method),
            route: None,
            token: None,
            status: None,
            upstream: None,
            upstream_used: false,
            tally: Rc::default(),
            end: None,
        }
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

    /// A token let the request through; counts its use.
    pub(super) fn accepted(&mut self, token: usize, at: u64) {
        self.token = Some(token);
        self.metrics().token_used(token, at);
    }

    /// A challenge was answered or refused.
    pub(super) fn challenged(&self, method: ChallengeMethod, refusal: Option<Refusal>) {
        let (method, result) = challenge_position(method, refusal);
        self.metrics().challenge(method, result);
    }

    /// The upstream is about to be asked.
    pub(super) fn asks_upstream(&mut self) {
        self.upstream_used = true;
    }

    /// The upstream's answer has begun.
    pub(super) fn upstream_answered(&mut self, status: StatusCode) {
        self.upstream = Some(self.began.elapsed());
        self.metrics().upstream_response(status.as_u16());
    }

    /// The sender is being told this.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The request is over, well.
    pub(super) fn finished(&mut self, outcome: Outcome) {
        self.end = Some((outcome, None));
    }

    /// The request is over, not well.
    pub(super) fn stopped(&mut self, stop: Stop) {
        self.end = Some((stop.outcome(), Some(stop.reason())));
        match stop {
            Stop::Refused(refusal) => self.metrics().rejected(refusal.position()),
            Stop::Failed(error) => self.metrics().upstream_error(error.position()),
            Stop::SenderLeft | Stop::Cut => {}
        }
    }

    /// The route, once there is one.
    pub(super) fn route_plan(&self) -> Option<&RoutePlan> {
        self.route
            .and_then(|route| self.snapshot.plan.routes.get(route))
    }

    fn metrics(&self) -> &RouteMetrics {
        self.snapshot.metrics(self.route)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.began.elapsed();
        let abandoned = self.gateway.abandoned();
        let (outcome, reason) = self
            .end
            .unwrap_or((abandoned.outcome(), Some(abandoned.reason())));
        let metrics = self.metrics();
        metrics.request(
            self.peer.listener,
            outcome.position(),
            duration.as_secs_f64(),
        );
        if let Some(status) = self.status {
            metrics.response(status.as_u16());
        }
        let Some(access) = self.gateway.access() else {
            return;
        };
        let plan = &self.snapshot.plan;
        let route = self.route_plan();
        let token = self
            .token
            .and_then(|token| route?.scheme.tokens().iter().nth(token));
        let upstream = route
            .filter(|_| self.upstream_used)
            .and_then(|route| plan.upstreams.get(route.upstream));
        access.write(&AccessEntry {
            time: self.time,
            request_id: &self.request_id,
            listener: self.gateway.listener_name(self.peer.listener),
            route: route.map_or("none", |route| &route.name),
            outcome: outcome.label(),
            reason,
            token_id: token.map(|token| &**token.id()),
            method: self.method,
            status: self.status.map(|status| status.as_u16()),
            received: self.tally.received.get(),
            sent: self.tally.sent.get(),
            duration,
            upstream_duration: self.upstream,
            client: self.peer.address,
            upstream: upstream.map(|upstream| &*upstream.name),
        });
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
    fn labels_and_values_stand_in_the_same_order() {
        for (position, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(refusal.position(), position);
            assert_eq!(Refusal::LABELS[position], refusal.label());
        }
        for (position, error) in UpstreamError::ALL.iter().enumerate() {
            assert_eq!(UpstreamError::LABELS[position], error.label());
            assert_eq!(error.reason(), format!("upstream_{}", error.label()));
        }
    }

    #[test]
    fn methods_come_from_a_fixed_list() {
        let odd = Method::from_bytes(b"CANARY").unwrap();
        assert_eq!(method_label(Some(&odd)), "OTHER");
        assert_eq!(method_label(Some(&Method::POST)), "POST");
        assert_eq!(method_label(None), "-");
    }
}
