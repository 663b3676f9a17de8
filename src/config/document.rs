//! The configuration file as types: one field for each key, nothing resolved.
//!
//! The doc comments are the descriptions in the JSON Schema, so they speak to the operator. Keys that have to be
//! there are `Option`, and named in `required` of the schema: the check of the shape reports them, and the rest of the file can
//! still be looked at. Defaults stand in the `Default` implementations and nowhere else.
//!
//! Not here: what a value means.

mod audit;

pub(super) use audit::{Audit, KeyEntry};

use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::value::{DurationText, KeepText, RateText, SizeText};
use super::words::{
    Challenge, Cipher, HeaderCase, LogFormat, LogLevel, Off, OnReject, ProxyProtocol, Reply,
    SchemeName, TlsVersion, WatchFiles,
};

/// Configuration of countersign, a gateway that verifies webhook senders in front of unmodified backends.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(
    title = "countersign configuration",
    example = example()
)]
#[schemars(extend("required" = ["listeners", "routes"]))]
pub(super) struct Document {
    /// Addresses to listen on; at least one.
    pub(super) listeners: Option<Vec<Listener>>,
    /// The address for metrics, health and status; `off` for none.
    pub(super) admin: AdminSetting,
    /// What is logged, and how.
    pub(super) log: Log,
    /// The audit trail; without this section there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<Audit>,
    /// Limits; `body`, `challenge_body` and `requests` may be set again inside a route.
    pub(super) limits: Limits,
    /// How often an address may fail to prove itself before it is told 429, an IPv6 network of 64 bits as one
    /// address; a valid token is never refused for it. `off` for any number of times.
    pub(super) failed_verifications: FailureSetting,
    /// Networks and addresses of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub(super) trusted_proxies: Vec<String>,
    /// Timeouts; `request_body_idle`, `connect` and `response` may be set again inside a route.
    pub(super) timeouts: Timeouts,
    /// Whether a change of this file, or of a certificate, key or token file it names, is taken up without a signal.
    pub(super) watch_files: WatchFiles,
    /// Threads that serve requests, 1 to 1024; the default is one for each processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<u64>,
    /// Which requests go where; the first that matches wins. At least one.
    pub(super) routes: Option<Vec<Route>>,
}

/// One address to listen on. It has either `tls` or `insecure_plaintext: true`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub(super) struct Listener {
    /// Its label in logs and metrics; the default is the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// IP address and port, such as `0.0.0.0:8443` or `[::]:8443`.
    #[schemars(title = "an IP address and a port, such as 0.0.0.0:8443")]
    pub(super) address: Option<String>,
    /// Certificates and TLS versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<Tls>,
    /// Plain HTTP instead of TLS: for development, or behind a load balancer that ends TLS.
    pub(super) insecure_plaintext: bool,
    /// Connections open at once, 1 to 1000000; further ones wait.
    pub(super) max_connections: u64,
    /// Connections open at once from one address (IPv6: one /64), 1 to 1000000; further ones are closed. Does not hold
    /// for `trusted_proxies` without the PROXY protocol.
    pub(super) max_connections_per_source: u64,
    /// Whether connections begin with a PROXY protocol header, version 1 or 2: `required`, and nothing else gets in,
    /// or `off`.
    pub(super) proxy_protocol: ProxyProtocol,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            name: None,
            address: None,
            tls: None,
            insecure_plaintext: false,
            max_connections: 10_000,
            // A tenth: no single address can take all the room, and no sender needs as much.
            max_connections_per_source: 1000,
            proxy_protocol: ProxyProtocol::Off,
        }
    }
}

/// TLS of a listener: exactly one of `certificate` with `key`, `certificates`, `self_signed`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    /// File with the certificate chain as PEM, the server's own certificate first. A relative path begins at the
    /// directory of the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<String>,
    /// File with the private key as PEM, without a passphrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// Several certificates, chosen by the name a client asks for; the first one is for all other names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificates: Option<Vec<CertificatePair>>,
    /// Names for a throw-away certificate that is made at start; for development.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) self_signed: Option<Vec<String>>,
    /// Oldest TLS version that is accepted.
    pub(super) minimum_version: TlsVersion,
    /// Which cipher is chosen where the client has both.
    pub(super) cipher_preference: Cipher,
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificate", "key"]))]
pub(super) struct CertificatePair {
    /// File with the certificate chain as PEM, the server's own certificate first.
    pub(super) certificate: Option<String>,
    /// File with the private key as PEM, without a passphrase.
    pub(super) key: Option<String>,
}

/// The admin listener: `/metrics`, `/healthz`, `/readyz`, `/status`, `/status.json`. Plain HTTP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    /// IP address and port; keep it away from the public.
    #[schemars(title = "an IP address and a port, such as 127.0.0.1:9090")]
    pub(super) address: String,
    /// Whether `/status` and `/status.json` are served; the default is `true` on a loopback address, else `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<bool>,
    /// Host names by which a browser may ask for the status page, besides `localhost` and the address itself. Others are
    /// refused, because a page of somebody else could make a browser ask.
    pub(super) hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:9090".into(),
            status: None,
            hosts: Vec::new(),
        }
    }
}

/// The admin listener, or none.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum AdminSetting {
    /// None.
    Off(Off),
    /// At this address.
    On(Admin),
}

impl Default for AdminSetting {
    fn default() -> Self {
        Self::On(Admin::default())
    }
}

/// The log.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    /// Least severe level that is written.
    pub(super) level: LogLevel,
    /// Form of a line.
    pub(super) format: LogFormat,
    /// Whether each request has a line.
    pub(super) access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Auto,
            access: true,
        }
    }
}

/// Limits on requests.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Largest request body. Redox sends up to 40 MB, and a refused message blocks its queue.
    pub(super) body: SizeText,
    /// Largest body that can be a challenge, 256 B to 64 KiB.
    pub(super) challenge_body: SizeText,
    /// Largest request head, 1 KiB to 64 KiB.
    pub(super) header_bytes: SizeText,
    /// Most header fields in a request, 1 to 100.
    pub(super) header_count: u64,
    /// Most verified requests in flight on a route, 1 to 1000000; those beyond are told to come back.
    pub(super) requests: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: "42MiB".into(),
            challenge_body: "4KiB".into(),
            header_bytes: "16KiB".into(),
            header_count: 100,
            requests: 10_000,
        }
    }
}

/// Limits that a route sets for itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RouteLimits {
    /// Largest request body on this route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<SizeText>,
    /// Largest body that can be a challenge on this route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) challenge_body: Option<SizeText>,
    /// Most verified requests in flight on this route, 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<u64>,
}

/// How often an address may fail to prove itself.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FailedVerifications {
    /// Failures in the long run, such as `30/min`.
    pub(super) rate: RateText,
    /// Failures in a row, 1 to 1000000.
    pub(super) burst: u64,
}

impl Default for FailedVerifications {
    fn default() -> Self {
        Self {
            rate: "30/min".into(),
            burst: 60,
        }
    }
}

/// A limit on failures, or none.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum FailureSetting {
    /// None.
    Off(Off),
    /// This one.
    On(FailedVerifications),
}

impl Default for FailureSetting {
    fn default() -> Self {
        Self::On(FailedVerifications::default())
    }
}

/// Timeouts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Timeouts {
    /// Whole TLS handshake.
    pub(super) tls_handshake: DurationText,
    /// From the first byte of a request head to its last.
    pub(super) request_head: DurationText,
    /// Between two pieces of a request body.
    pub(super) request_body_idle: DurationText,
    /// A connection without a request on it.
    pub(super) keep_alive: DurationText,
    /// To reach the upstream, TLS included.
    pub(super) connect: DurationText,
    /// Whole exchange with the upstream. Redox gives up at 120 s.
    pub(super) response: DurationText,
    /// For requests in flight when the gateway is told to stop.
    pub(super) drain: DurationText,
    /// When told to stop: how long to go on as before, but no longer ready, so that load balancers and clients with
    /// open connections leave by themselves.
    pub(super) drain_delay: DurationText,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: "10s".into(),
            request_head: "10s".into(),
            request_body_idle: "30s".into(),
            keep_alive: "75s".into(),
            connect: "5s".into(),
            response: "110s".into(),
            drain: "130s".into(),
            drain_delay: "1s".into(),
        }
    }
}

/// Timeouts that a route sets for itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RouteTimeouts {
    /// Between two pieces of a request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_body_idle: Option<DurationText>,
    /// To reach the upstream, TLS included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connect: Option<DurationText>,
    /// Whole exchange with the upstream. Redox gives up at 120 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<DurationText>,
}

/// One route: which requests, who may send them, and where they go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "verify", "upstream"]))]
pub(super) struct Route {
    /// Its label in logs and metrics; the default is made from the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Host name of the requests; without it every host matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    /// Exact path of the requests; `/redox/*` is `/redox/` and all below it.
    pub(super) path: Option<String>,
    /// The only networks and addresses that may send them, challenges too; without it every address may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) allow: Option<Vec<String>>,
    /// Who may send them.
    pub(super) verify: Option<Verify>,
    /// Where they go.
    pub(super) upstream: Option<Upstream>,
    /// What a refused sender sees.
    pub(super) on_reject: OnReject,
    /// Answers 503 to everything but challenges.
    pub(super) maintenance: bool,
    /// Limits of this route, instead of the general ones.
    pub(super) limits: RouteLimits,
    /// Timeouts of this route, instead of the general ones.
    pub(super) timeouts: RouteTimeouts,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: None,
            host: None,
            path: None,
            allow: None,
            verify: None,
            upstream: None,
            on_reject: OnReject::Respond,
            maintenance: false,
            limits: RouteLimits::default(),
            timeouts: RouteTimeouts::default(),
        }
    }
}

/// How senders prove themselves.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["scheme", "tokens"]))]
pub(super) struct Verify {
    /// The sender's way of proving itself.
    pub(super) scheme: Option<SchemeName>,
    /// Tokens, all valid at the same time; at least one.
    pub(super) tokens: Option<Vec<TokenEntry>>,
    /// Whether challenges are answered; `off` for live data streams, which have none.
    pub(super) challenge: Challenge,
    /// The answer to a challenge.
    pub(super) reply: Reply,
    /// Whether `Authorization: Bearer TOKEN` is as good as the token header; if both come they must agree.
    pub(super) authorization_bearer: bool,
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            scheme: None,
            tokens: None,
            challenge: Challenge::Answer,
            reply: Reply::Text,
            authorization_bearer: false,
        }
    }
}

/// A token: its name, and exactly one of `env`, `file`, `credential`, `sha256`. Never the token itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub(super) struct TokenEntry {
    /// What logs and metrics call it, such as the month it was made; never a part of its value.
    pub(super) id: Option<String>,
    /// Name of the environment variable that holds it.
    pub(super) env: Option<String>,
    /// File that holds it; one line break at its end is dropped.
    pub(super) file: Option<String>,
    /// Name of the systemd credential that holds it.
    pub(super) credential: Option<String>,
    /// Its SHA-256 digest as 64 hexadecimal digits.
    pub(super) sha256: Option<String>,
    /// Last moment in which it is accepted, such as `2026-12-31T00:00:00Z`; the default is no end.
    pub(super) not_after: Option<String>,
}

impl Serialize for TokenEntry {
    /// Id, kind of source and end only: a file name or a digest helps nobody who reads a configuration that was
    /// passed around, and may help somebody who should not.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sources = [
            ("env", &self.env),
            ("file", &self.file),
            ("credential", &self.credential),
            ("sha256", &self.sha256),
        ];
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        for (kind, _) in sources.iter().filter(|(_, value)| value.is_some()) {
            map.serialize_entry(kind, "***")?;
        }
        if let Some(not_after) = &self.not_after {
            map.serialize_entry("not_after", not_after)?;
        }
        map.end()
    }
}

/// Where verified requests go: exactly one of `url`, `urls`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    /// `http` or `https` with host, and port and path if need be. Without a path the request's own path is kept.
    /// With one it replaces an exact path, and for `/redox/*` takes the place of `/redox`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// Primary and backups, tried in order: the first that accepts a connection. One that does not for several times
    /// in a row is passed over for a while. All have the same path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) urls: Option<Vec<String>>,
    /// The `Host` header: `preserve` (as the sender wrote it), `upstream` (as in the URL) or a name of its own.
    pub(super) host_header: String,
    /// Whether the token header goes along.
    pub(super) forward_token: bool,
    /// How header names are written; old backends care.
    pub(super) header_case: HeaderCase,
    /// While no address accepts connections, how long to try again before the request fails, up to 60 s; `0s` for
    /// one try. Hides the restart of a backend.
    pub(super) connect_retry: DurationText,
    /// Connections at once, over all workers, 1 to 100000; the default is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_connections: Option<u64>,
    /// Requests that may wait for a connection where `max_connections` are in use, 0 to 100000; further ones are
    /// answered 503.
    pub(super) queue: u64,
    /// How long they wait; then they are answered 503.
    pub(super) queue_timeout: DurationText,
    /// How long a connection is kept without a request on it. Has to be shorter than the backend's own time. `off`: a
    /// connection for each request.
    pub(super) keep_alive: KeepText,
    /// Requests over one connection, 1 to 1000000.
    pub(super) keep_alive_requests: u64,
    /// TLS towards `https` addresses, where it differs from the machine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<UpstreamTls>,
    /// Active checks of every address; without them only failed connections count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health_check: Option<HealthCheck>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: None,
            urls: None,
            host_header: "preserve".into(),
            forward_token: false,
            header_case: HeaderCase::Title,
            connect_retry: "500ms".into(),
            max_connections: None,
            queue: 100,
            queue_timeout: "5s".into(),
            keep_alive: "4s".into(),
            keep_alive_requests: 1000,
            tls: None,
            health_check: None,
        }
    }
}

/// TLS towards an upstream; each setting stands alone, but `certificate` and `key` go together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UpstreamTls {
    /// File with the authorities to trust as PEM, instead of those that the machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<String>,
    /// File with the client certificate as PEM that the upstream asks for, with its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<String>,
    /// File with the client certificate's private key as PEM, without a passphrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// The name that the upstream's certificate must have; the default is the host of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_name: Option<String>,
}

/// Active checks: GET, without anything that a sender sent. 2xx and 3xx are good answers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub(super) struct HealthCheck {
    /// What is asked for, such as `/health`.
    pub(super) path: Option<String>,
    /// Between two checks.
    pub(super) interval: DurationText,
    /// For one check, connecting included.
    pub(super) timeout: DurationText,
    /// Bad checks in a row that take an address out, 1 to 100.
    pub(super) fall: u64,
    /// Good checks in a row that bring it back, 1 to 100.
    pub(super) rise: u64,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            interval: "5s".into(),
            timeout: "2s".into(),
            fall: 3,
            rise: 2,
        }
    }
}

fn example() -> serde_json::Value {
    serde_json::json!({
        "listeners": [{
            "address": "0.0.0.0:8443",
            "tls": { "certificate": "fullchain.pem", "key": "privkey.pem" }
        }],
        "routes": [{
            "path": "/redox",
            "verify": { "scheme": "redox", "tokens": [{ "id": "2026-11", "env": "REDOX_TOKEN" }] },
            "upstream": { "url": "http://10.20.0.5:6661" }
        }]
    })
}
