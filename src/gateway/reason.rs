//! How a request can end, and why: closed sets whose labels are an interface.

use crate::server::ConnectionEvent;
use crate::telemetry::{AuditEvent, Labels};
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

    pub(super) fn position(self) -> usize {
        match self {
            Self::Forwarded => 0,
            Self::Challenge => 1,
            Self::Rejected => 2,
            Self::Error => 3,
        }
    }

    pub(super) fn label(self) -> &'static str {
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

            pub(super) fn position(self) -> usize {
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
        /// The route does not take requests from this address.
        SourceDenied => "source_denied",
        /// A token refused, from an address that has had too many refused.
        RateLimited => "rate_limited",
        /// The route is in maintenance.
        Maintenance => "maintenance",
        /// More than can be served at once.
        Overloaded => "overloaded",
        /// The audit trail cannot be written, and nothing may happen without it.
        AuditFailing => "audit_failing",
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
    pub(super) fn reason(self) -> &'static str {
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

impl Refusal {
    /// Whether it is nothing the sender could have done better.
    pub(super) fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Maintenance | Self::Overloaded | Self::AuditFailing
        )
    }

    /// Whether this is a failure to prove oneself, of which an address has only so many.
    ///
    /// No token, a wrong, expired or ambiguous one and an alias of its header are: each may be somebody trying
    /// what works, and each can be counted without harm, as a valid token is never refused for it. The rest tells a
    /// guesser nothing about tokens: no route, another method and broken HTTP are refused before a token is looked
    /// at, and a challenge is malformed only where its token was right or none could be read.
    pub(super) fn is_failed_verification(self) -> bool {
        matches!(
            self,
            Self::TokenMissing
                | Self::TokenMismatch
                | Self::TokenExpired
                | Self::TokenAmbiguous
                | Self::HeaderAlias
        )
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
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Refused(_) => Outcome::Rejected,
            Self::Failed(_) | Self::SenderLeft | Self::Cut => Outcome::Error,
        }
    }

    /// What the log calls it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.label(),
            Self::Failed(error) => error.reason(),
            Self::SenderLeft => "client_closed",
            Self::Cut => "drain_timeout",
        }
    }
}

/// What the audit trail calls the end of a request.
pub(super) fn audit_event(
    outcome: Outcome,
    reason: Option<&'static str>,
    challenge: bool,
) -> AuditEvent {
    match outcome {
        Outcome::Forwarded => AuditEvent::MessageAccepted,
        Outcome::Challenge => AuditEvent::ChallengeAnswered,
        Outcome::Rejected if challenge => AuditEvent::ChallengeRefused,
        Outcome::Rejected => AuditEvent::MessageRefused,
        Outcome::Error if reason == Some(Stop::SenderLeft.reason()) => AuditEvent::ClientLeft,
        Outcome::Error if reason == Some(Stop::Cut.reason()) => AuditEvent::RequestCut,
        Outcome::Error => AuditEvent::UpstreamFailed,
    }
}

/// Label sets of all metrics.
pub const LABELS: Labels = Labels {
    outcomes: &Outcome::LABELS,
    reasons: Refusal::LABELS,
    challenge_methods: &["get", "post"],
    challenge_results: &["answered", "token_mismatch", "malformed"],
    upstream_errors: UpstreamError::LABELS,
    codes: &[
        200, 400, 401, 403, 404, 405, 408, 413, 417, 429, 431, 502, 503, 504,
    ],
    tls_versions: &ConnectionEvent::TLS_VERSIONS,
    tls_failures: &ConnectionEvent::HANDSHAKE_FAILURES,
    connection_ends: &ConnectionEvent::ENDS,
    proxy_faults: &ConnectionEvent::PROXY_FAULTS,
};

/// Position of a challenge's method and result in [`LABELS`].
pub(super) fn challenge_position(
    method: ChallengeMethod,
    refusal: Option<Refusal>,
) -> (usize, usize) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_trail_tells_failures_apart() {
        let cases = [
            (Stop::SenderLeft, AuditEvent::ClientLeft),
            (Stop::Cut, AuditEvent::RequestCut),
            (UpstreamError::Reset.into(), AuditEvent::UpstreamFailed),
            (Refusal::TokenMissing.into(), AuditEvent::MessageRefused),
        ];
        for (stop, event) in cases {
            let told = audit_event(stop.outcome(), Some(stop.reason()), false);
            assert_eq!(told, event, "{stop:?}");
        }
    }

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
}
