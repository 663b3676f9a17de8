//! The plan: compiled configuration of the gateway, immutable and shared by all workers.
//!
//! Everything here is resolved: secrets are digests, addresses are parsed, patterns are a table. A new plan
//! replaces the old one whole; requests in flight finish on the plan they began with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use ipnet::IpNet;
use tokio::time::Instant;

use super::last::{LastFailure, TokenUses};
use super::room::Room;
use super::upstream::{EndpointState, Health, Places};
use crate::route::{Pattern, Table};
use crate::telemetry::{Configured, ConfiguredRoute, ConfiguredToken, ConfiguredUpstream};
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

impl Plan {
    /// Takes over what is known and in use of upstreams that the old plan has as well: which endpoints are good, and
    /// how many connections there are; and how many requests are in flight on routes of the same name. Has to happen
    /// before the new plan is put into force.
    ///
    /// Upstreams are the same where their endpoints and the case of their header names are. A limit on connections
    /// that the old plan did not have counts from now on only.
    pub fn inherit(&mut self, old: &Self) {
        let mut left: Vec<&UpstreamPlan> = old.upstreams.iter().collect();
        for upstream in &mut self.upstreams {
            let Some(position) = left.iter().position(|old| upstream.is_like(old)) else {
                continue;
            };
            // Each at most once, or two upstreams would share one limit.
            let old = left.swap_remove(position);
            upstream.health = Arc::clone(&old.health);
            upstream.places = Arc::clone(&old.places);
            upstream.last_failure = Arc::clone(&old.last_failure);
            let (limit, queue) = upstream.care.places();
            upstream.places.resize(limit, queue);
        }
        for route in &mut self.routes {
            if let Some(old) = old.routes.iter().find(|old| old.name == route.name) {
                route.room.inherit(&old.room);
                route.inherit_uses(old);
            }
        }
    }
}

impl Plan {
    /// The names that metrics have series of.
    pub fn configured(&self) -> Configured {
        let upstream = |route: &RoutePlan| self.upstreams.get(route.upstream);
        let routes = self.routes.iter().map(|route| ConfiguredRoute {
            name: Arc::clone(&route.name),
            upstream: upstream(route)
                .map_or_else(|| "none".into(), |upstream| Arc::clone(&upstream.name)),
            tokens: (route.scheme.tokens().iter())
                .map(|token| ConfiguredToken {
                    id: Arc::clone(token.id()),
                    not_after: token.not_after().map(|end| end.0),
                })
                .collect(),
        });
        let upstreams = self.upstreams.iter().map(|upstream| ConfiguredUpstream {
            name: Arc::clone(&upstream.name),
            endpoints: upstream.endpoint_names(),
        });
        Configured::new(routes, upstreams)
    }
}

impl RoutePlan {
    fn inherit_uses(&mut self, old: &Self) {
        let ids = |scheme: &Scheme| -> Vec<Arc<str>> {
            let ids = scheme.tokens().iter().map(|token| Arc::clone(token.id()));
            ids.collect()
        };
        let (own, theirs) = (ids(&self.scheme), ids(&old.scheme));
        self.token_uses.inherit(&own, &old.token_uses, &theirs);
    }
}

impl UpstreamPlan {
    /// An upstream of which nothing is known yet.
    pub fn new(
        name: Arc<str>,
        endpoints: Vec<Endpoint>,
        header_case: HeaderCase,
        care: UpstreamCare,
    ) -> Self {
        let (limit, queue) = care.places();
        Self {
            name,
            health: Arc::new(Health::new(endpoints.len())),
            places: Arc::new(Places::new(limit, queue)),
            last_failure: Arc::default(),
            endpoints,
            header_case,
            care,
        }
    }

    /// What is known of each endpoint, in configured order.
    pub fn endpoint_states(&self, now: Instant) -> Vec<EndpointState> {
        self.health.states(now)
    }

    /// Whether there is a limit on its connections.
    pub(super) fn is_limited(&self) -> bool {
        self.care.max_connections.is_some()
    }

    pub(super) fn endpoint_names(&self) -> Vec<Arc<str>> {
        self.endpoints
            .iter()
            .map(|endpoint| Arc::clone(&endpoint.name))
            .collect()
    }

    fn is_like(&self, old: &Self) -> bool {
        let names = |plan: &Self| plan.endpoint_names();
        let peers = |plan: &Self| -> Vec<_> {
            let tls = plan.endpoints.iter().map(|endpoint| endpoint.tls.as_ref());
            tls.map(|tls| tls.map(|tls| tls.server_name.clone()))
                .collect()
        };
        self.header_case == old.header_case
            && names(self) == names(old)
            && peers(self) == peers(old)
    }
}

impl UpstreamCare {
    fn places(&self) -> (usize, usize) {
        (self.max_connections.unwrap_or(usize::MAX), self.queue)
    }
}

/// One route.
#[derive(Debug)]
pub struct RoutePlan {
    /// What logs and metrics call it.
    pub name: Arc<str>,
    /// Which requests are its; the table is what finds it.
    pub pattern: Pattern,
    /// The only networks that may send, challenges too; `None` for all. No network of mapped addresses.
    pub allow: Option<Vec<IpNet>>,
    /// Who may pass.
    pub scheme: Scheme,
    /// When each of its tokens was last used.
    pub token_uses: TokenUses,
    /// Position in [`Plan::upstreams`].
    pub upstream: usize,
    /// What the upstream sees.
    pub forwarding: Forwarding,
    /// Largest body, in bytes.
    pub body_cap: u64,
    /// Verified requests in flight.
    pub room: Room,
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
    /// How its connections are looked after.
    pub care: UpstreamCare,
    /// What all workers have seen of the endpoints.
    pub(super) health: Arc<Health>,
    /// The connections of all workers, where they are limited.
    pub(super) places: Arc<Places>,
    /// What last went wrong with it.
    pub last_failure: Arc<LastFailure>,
}

/// How the connections of an upstream are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCare {
    /// For how long a connection that nobody accepts is tried again; zero for one try.
    pub connect_retry: Duration,
    /// Connections at once, over all workers; `None` for no limit.
    pub max_connections: Option<usize>,
    /// Requests that may wait for a connection.
    pub queue: usize,
    /// How long they wait at most.
    pub queue_timeout: Duration,
    /// How long a connection is kept without a request; zero: each request has a connection of its own.
    pub keep_alive: Duration,
    /// Requests over one connection.
    pub keep_alive_requests: u64,
    /// Active checks; `None` for none.
    pub health_check: Option<HealthCheck>,
}

/// Active checks of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for with GET; 2xx and 3xx are good answers.
    pub path: PathAndQuery,
    /// Between two checks.
    pub interval: Duration,
    /// For one check, connecting included.
    pub timeout: Duration,
    /// Bad checks in a row that take an endpoint out.
    pub fall: u32,
    /// Good ones in a row that bring it back.
    pub rise: u32,
}

/// One address of an upstream.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What logs and metrics call it: scheme, host and port.
    pub name: Arc<str>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(ports: &[u16], limit: usize) -> UpstreamPlan {
        let endpoint = |port: &u16| Endpoint {
            name: format!("http://127.0.0.1:{port}").into(),
            host: EndpointHost::Address(IpAddr::from([127, 0, 0, 1])),
            port: *port,
            tls: None,
            authority: HeaderValue::from(*port),
        };
        let care = UpstreamCare {
            connect_retry: Duration::ZERO,
            max_connections: Some(limit),
            queue: 1,
            queue_timeout: Duration::ZERO,
            keep_alive: Duration::ZERO,
            keep_alive_requests: 1,
            health_check: None,
        };
        let endpoints = ports.iter().map(endpoint).collect();
        UpstreamPlan::new("u".into(), endpoints, HeaderCase::Title, care)
    }

    fn plan(upstreams: Vec<UpstreamPlan>) -> Plan {
        Plan {
            table: Table::build(&[]).unwrap(),
            routes: Vec::new(),
            upstreams,
            trusted_proxies: Vec::new(),
            failed_verifications: None,
        }
    }

    #[test]
    fn a_new_plan_takes_over_the_state_of_the_same_upstreams() {
        let old = plan(vec![upstream(&[1, 2], 1), upstream(&[3], 1)]);
        let mut new = plan(vec![
            upstream(&[3], 5),
            upstream(&[2, 1], 1),
            upstream(&[1, 2], 1),
            upstream(&[3], 1),
        ]);
        new.inherit(&old);
        let origin = |new: &UpstreamPlan| {
            old.upstreams.iter().position(|old| {
                Arc::ptr_eq(&old.health, &new.health) && Arc::ptr_eq(&old.places, &new.places)
            })
        };
        let origins: Vec<_> = new.upstreams.iter().map(origin).collect();
        assert_eq!(origins, [Some(1), None, Some(0), None]);
    }
}
