//! The picture: everything the status page shows, as data. `/status.json` is this, and the page is drawn from it.
//!
//! The names of the fields are an interface; `docs/status.md` says what they mean. All lists are bounded: what has no
//! room is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use super::facts::AuditFacts;
use super::minutes::Hour;
use super::moment::Moment;
use super::state::{RouteState, Verdict};

/// Counts by reason or kind.
pub(super) type Counts = BTreeMap<&'static str, u64>;

/// See the module.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    pub(super) time: Moment,
    pub(super) verdict: Verdict,
    pub(super) program: Program,
    pub(super) configuration: Configuration,
    pub(super) listeners: Bounded<Listener>,
    pub(super) routes: Bounded<Route>,
    pub(super) unrouted: Unrouted,
    pub(super) upstreams: Bounded<Upstream>,
    pub(super) certificates: Bounded<Certificate>,
    pub(super) decisions: Vec<Decision>,
}

/// A list that is cut off.
#[derive(Debug, Serialize)]
pub(super) struct Bounded<T> {
    pub(super) shown: Vec<T>,
    pub(super) left_out: usize,
}

impl<T> Bounded<T> {
    /// The first ones of all.
    pub(super) fn new(mut all: Vec<T>, limit: usize) -> Self {
        let left_out = all.len().saturating_sub(limit);
        all.truncate(limit);
        Self {
            shown: all,
            left_out,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Program {
    pub(super) version: &'static str,
    pub(super) revision: &'static str,
    pub(super) target: &'static str,
    pub(super) tls_provider: &'static str,
    pub(super) started: Moment,
    pub(super) uptime_s: u64,
    pub(super) state: &'static str,
    pub(super) audit: AuditFacts,
}

#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    pub(super) hash: Arc<str>,
    pub(super) loaded: Moment,
    pub(super) last_reload: Option<Reload>,
}

#[derive(Debug, Serialize)]
pub(super) struct Reload {
    pub(super) time: Moment,
    pub(super) trigger: String,
    pub(super) taken_up: bool,
    pub(super) findings: Bounded<String>,
    pub(super) settings: Bounded<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Listener {
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
    pub(super) connections_open: u64,
    pub(super) connections_limit: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) pattern: String,
    pub(super) upstream: Arc<str>,
    pub(super) state: RouteState,
    pub(super) maintenance: bool,
    pub(super) forwarded: u64,
    pub(super) challenges: u64,
    pub(super) refused: u64,
    pub(super) refused_by_reason: Counts,
    pub(super) errors: u64,
    pub(super) upstream_errors_by_kind: Counts,
    pub(super) upstream_errors_by_code: Counts,
    pub(super) last_accepted: Option<Moment>,
    pub(super) last_accepted_age_s: Option<u64>,
    pub(super) in_flight: u64,
    pub(super) duration_median_s: Option<f64>,
    pub(super) duration_p95_s: Option<f64>,
    pub(super) tokens: Bounded<Token>,
    pub(super) last_hour: LastHour,
}

#[derive(Debug, Serialize)]
pub(super) struct Token {
    pub(super) id: Arc<str>,
    pub(super) state: TokenState,
    pub(super) uses: u64,
    pub(super) last_used: Option<Moment>,
    pub(super) not_after: Option<Moment>,
    pub(super) days_left: Option<u64>,
}

/// Whether a token opens the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenState {
    /// It does, without an end.
    Active,
    /// It does until its end.
    Retiring,
    /// No longer.
    Expired,
}

impl TokenState {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Expired => "expired",
        }
    }
}

/// Sixty counts each, oldest minute first.
#[derive(Debug, Serialize)]
pub(super) struct LastHour {
    pub(super) accepted: Vec<u64>,
    pub(super) refused: Vec<u64>,
    pub(super) failed: Vec<u64>,
}

impl From<&Hour> for LastHour {
    fn from(hour: &Hour) -> Self {
        Self {
            accepted: hour.iter().map(|tally| tally.accepted).collect(),
            refused: hour.iter().map(|tally| tally.refused).collect(),
            failed: hour.iter().map(|tally| tally.failed).collect(),
        }
    }
}

/// Requests that belong to no route.
#[derive(Debug, Serialize)]
pub(super) struct Unrouted {
    pub(super) refused: u64,
    pub(super) refused_by_reason: Counts,
    pub(super) errors: u64,
    pub(super) last_hour: LastHour,
}

#[derive(Debug, Serialize)]
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) connections_active: u64,
    pub(super) connections_idle: u64,
    pub(super) connections_limit: Option<usize>,
    pub(super) waiting: u64,
    pub(super) last_error: Option<LastError>,
}

#[derive(Debug, Serialize)]
pub(super) struct Endpoint {
    pub(super) name: Arc<str>,
    pub(super) state: EndpointState,
    pub(super) passed_over_for_s: Option<u64>,
    pub(super) passed_over: u64,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EndpointState {
    /// Active checks say so.
    Up,
    /// Active checks have taken it out.
    Out,
    /// It is passed over because it accepted no connections.
    PassedOver,
    /// Nothing is known against it, and no check says it is well.
    Unknown,
}

impl EndpointState {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Out => "out",
            Self::PassedOver => "passed over",
            Self::Unknown => "not checked",
        }
    }

    pub(super) fn is_bad(self) -> bool {
        matches!(self, Self::Out | Self::PassedOver)
    }
}

#[derive(Debug, Serialize)]
pub(super) struct LastError {
    pub(super) kind: &'static str,
    pub(super) time: Moment,
}

#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    pub(super) name: Arc<str>,
    pub(super) listener: Arc<str>,
    pub(super) names: Bounded<Box<str>>,
    pub(super) serial: Box<str>,
    pub(super) not_before: Moment,
    pub(super) not_after: Moment,
    pub(super) days_left: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Decision {
    pub(super) time: Moment,
    pub(super) listener: Arc<str>,
    pub(super) route: Arc<str>,
    pub(super) outcome: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) token_id: Option<Arc<str>>,
    pub(super) status: Option<u16>,
    pub(super) duration_s: f64,
    pub(super) request_id: String,
}
