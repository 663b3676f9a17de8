//! What the status page is told by the wiring of the program: names, limits and states that no counter has.
//!
//! Everything here comes from the configuration or from the program itself, and nothing from a sender.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

/// Who knows.
pub trait Overview: Send + Sync {
    /// As things are now. Does not wait for anybody.
    fn facts(&self) -> Facts;
}

/// A moment in whole seconds since 1970.
pub type Seconds = u64;

/// See the module.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time of day.
    pub now: SystemTime,
    /// The library that all cryptography comes from.
    pub tls_provider: &'static str,
    /// When the program started.
    pub started: Seconds,
    /// Stands for the configuration in force.
    pub configuration: Arc<str>,
    /// When that was taken up.
    pub loaded: Seconds,
    /// The last try to take up another one.
    pub reload: Option<ReloadFacts>,
    /// How the audit trail does.
    pub audit: AuditFacts,
    /// In configured order.
    pub listeners: Vec<ListenerFacts>,
    /// In configured order.
    pub routes: Vec<RouteFacts>,
    /// Every one that is served.
    pub certificates: Vec<CertificateFacts>,
    /// In configured order.
    pub upstreams: Vec<UpstreamFacts>,
}

/// How the audit trail does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditFacts {
    /// There is none.
    Off,
    /// It is written.
    Written,
    /// It cannot be written, and messages go on without it.
    Failing,
    /// It cannot be written, and so nothing is forwarded or answered.
    Refusing,
}

/// A try to take up a configuration.
#[derive(Clone, Debug)]
pub struct ReloadFacts {
    /// When.
    pub at: Seconds,
    /// Why: one of [`crate::telemetry::RELOAD_TRIGGERS`].
    pub trigger: String,
    /// Whether it is in force.
    pub taken_up: bool,
    /// What was found in it, without secrets.
    pub findings: Vec<String>,
    /// Settings that only a start takes up, and for which it was refused.
    pub settings: Vec<String>,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct ListenerFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it ends TLS.
    pub tls: bool,
    /// Most connections.
    pub limit: usize,
}

/// A route.
#[derive(Clone, Debug)]
pub struct RouteFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Host and path as configured.
    pub pattern: String,
    /// Name of its upstream.
    pub upstream: Arc<str>,
    /// Everything but challenges is told to come back.
    pub maintenance: bool,
    /// In configured order.
    pub tokens: Vec<TokenFacts>,
}

/// A token.
#[derive(Clone, Debug)]
pub struct TokenFacts {
    /// The operator's name for it.
    pub id: Arc<str>,
    /// When it last let something through.
    pub last_used: Option<Seconds>,
    /// The last second in which it is accepted.
    pub not_after: Option<Seconds>,
}

/// A certificate.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    /// What metrics call it.
    pub name: Arc<str>,
    /// Name of the listener that serves it.
    pub listener: Arc<str>,
    /// The DNS names it is good for.
    pub names: Vec<Box<str>>,
    /// In hexadecimal.
    pub serial: Box<str>,
    /// The first second in which it is valid.
    pub not_before: Seconds,
    /// The last one.
    pub not_after: Seconds,
}

/// An upstream.
#[derive(Clone, Debug)]
pub struct UpstreamFacts {
    /// Its name.
    pub name: Arc<str>,
    /// In configured order.
    pub endpoints: Vec<EndpointFacts>,
    /// What last went wrong, and when.
    pub last_error: Option<(&'static str, Seconds)>,
    /// Most connections, where they are limited.
    pub limit: Option<usize>,
}

/// One address of an upstream.
#[derive(Clone, Debug)]
pub struct EndpointFacts {
    /// Its name.
    pub name: Arc<str>,
    /// What active checks have found; `None` before the first one, and where there are none.
    pub up: Option<bool>,
    /// For how much longer it is passed over; `None` where it is not.
    pub passed_over: Option<Duration>,
}
