//! What a server is built from. Compiled from the configuration; knows nothing of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::tls::MinimumVersion;

/// All that may change while a server runs. A connection keeps what it began with.
///
/// The number of listeners, their addresses, and whether they end TLS stay as they are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In configured order.
    pub listeners: Vec<ListenerSpec>,
    /// What holds on all of them.
    pub limits: ServerLimits,
}
/// One listening address.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// What logs and metrics call it.
    pub name: Arc<str>,
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// `None` for plain HTTP/1.1.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The oldest version that `tls` accepts.
    pub tls_minimum: Option<MinimumVersion>,
    /// Stands for all that `tls` was made of, so that equal ones can be told.
    pub tls_digest: Option<[u8; 32]>,
    /// Connections open at once, over all workers; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Connections open at once from one source address (IPv6: one /64), over all workers; further ones are closed
    /// before their handshake. It does not hold for `trusted_proxies` that speak no PROXY protocol.
    pub max_connections_per_source: usize,
    /// Whether a connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whose PROXY headers are believed; where this is empty, everybody's.
    pub trusted_proxies: Arc<[IpNet]>,
}

/// Limits and timeouts that hold before a route is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Largest request head, in bytes.
    pub header_bytes: usize,
    /// Most header fields in a request; at most 100, which is as far as hyper goes.
    pub header_count: usize,
    /// Whole TLS handshake, the PROXY header before it included.
    pub tls_handshake: Duration,
    /// From the first byte of a request head to its last.
    pub request_head: Duration,
    /// A connection without a request on it.
    pub keep_alive: Duration,
    /// Longest pause in which a peer takes no byte of an answer.
    pub send_stall: Duration,
    /// Longest time for requests in flight once told to stop.
    pub drain: Duration,
    /// Whether the sender's spelling of header names is to be kept for some upstream.
    pub preserve_header_case: bool,
}
