//! The plan: compiled configuration of the gateway, immutable and shared by all workers.
//!
//! Everything here is resolved: secrets are digests, addresses are parsed, patterns are a table. A new plan
//! replaces the old one whole; requests in flight finish on the plan they began with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use crate::route::Table;
use crate::verify::Scheme;

/// All routes and the upstreams behind them.
#[derive(Debug)]
pub struct Plan {
    /// Finds a route; its indices point into `routes`.
    pub table: Table,
    /// In configured order.
    pub routes: Vec<RoutePlan>,
    /// Each distinct upstream once; routes point here, so that they share connections.
    pub upstreams: Vec<UpstreamPlan>,
    /// Proxies whose word on the client is taken. No network of IPv4 addresses mapped into IPv6.
    pub trusted_proxies: Vec<IpNet>,
    /// How often a source may fail to prove itself; `None` for any number of times.
    pub failed_verifications: Option<FailureLimit>,
}

/// A limit on failures: `burst` at once, then one for each `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimit {
    /// Time in which one more failure is allowed; not zero.
    pub step: Duration,
    /// Failures in a row; at least 1.
    pub burst: u32,
}

/// One route.
#[derive(Debug)]
pub struct RoutePlan {
    /// What logs and metrics call it.
    pub name: Arc<str>,
    /// The only networks that may send, challenges too; `None` for all. No network of mapped addresses.
    pub allow: Option<Vec<IpNet>>,
    /// Who may pass.
    pub scheme: Scheme,
    /// Position in [`Plan::upstreams`].
    pub upstream: usize,
    /// What the upstream sees.
    pub forwarding: Forwarding,
    /// Largest body, in bytes.
    pub body_cap: u64,
    /// Its timeouts.
    pub timeouts: RouteTimeouts,
    /// What a refused sender sees.
    pub on_reject: OnReject,
    /// Everything but challenges is answered 503.
    pub maintenance: bool,
}

/// How a request is rewritten on its way.
#[derive(Debug)]
pub struct Forwarding {
    /// The path towards the upstream.
    pub path: PathRule,
    /// The `Host` header towards the upstream.
    pub host: HostRule,
    /// Whether the token header goes along.
    pub forward_token: bool,
}

/// The path rule; the query always stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// The request's own path.
    Keep,
    /// This path instead; for routes with an exact path.
    Replace(Box<str>),
    /// `with` in place of the first `prefix_length` bytes; for `/redox/*`, whose prefix is `/redox`.
    ReplacePrefix {
        /// Bytes of the request's path that are taken away.
        prefix_length: usize,
        /// What stands there instead; empty, or begins with a slash and does not end with one.
        with: Box<str>,
    },
}

/// The `Host` header rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// As the sender wrote it.
    Preserve,
    /// The upstream's own authority.
    Upstream,
    /// This one.
    Literal(HeaderValue),
}

/// Timeouts that a route may set for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// Longest pause between two pieces of a request body.
    pub request_body_idle: Duration,
    /// Longest time to reach the upstream, TLS included.
    pub connect: Duration,
    /// Whole exchange with the upstream, from the verdict to the last byte of its answer.
    pub response: Duration,
}

/// What a refused sender sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// A status.
    Respond,
    /// The end of the connection, without a byte.
    Close,
}

/// Where verified requests go.
#[derive(Debug)]
pub struct UpstreamPlan {
    /// What the log calls it: scheme, host and port of the first endpoint. No path, no user information.
    pub name: Arc<str>,
    /// Tried in order until one accepts a connection; at least one.
    pub endpoints: Vec<Endpoint>,
    /// How header names are written.
    pub header_case: HeaderCase,
}

/// One address of an upstream.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name or address to connect to.
    pub host: EndpointHost,
    /// Port to connect to.
    pub port: u16,
    /// Set for `https`.
    pub tls: Option<EndpointTls>,
    /// `host` or `host:port`, as it belongs into a `Host` header.
    pub authority: HeaderValue,
}

/// A name is resolved at each new connection, an address never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointHost {
    /// To be resolved.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

/// TLS towards an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointTls {
    /// Trust and versions.
    pub config: Arc<rustls::ClientConfig>,
    /// The name its certificate must have.
    pub server_name: rustls_pki_types::ServerName<'static>,
}

/// How header names are written towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderCase {
    /// `Content-Type`
    Title,
    /// As the sender wrote them; HTTP/2 has lower case only.
    Preserve,
    /// `content-type`
    Lower,
}
