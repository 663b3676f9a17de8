//! What a server asks of the code behind it.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;

use super::RequestBody;

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Position of the listener in the order given to [`super::bind`].
    pub listener: usize,
    /// Where the connection came from, as far as anybody says who is to be believed.
    pub address: SocketAddr,
    /// The other end of the socket: a load balancer's where that has named another address.
    pub socket: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// What a sender did wrong before there was a request to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes with no reading, or with more than one.
    Malformed,
    /// A head over its cap, or with too many fields.
    HeaderTooLarge,
    /// A head that did not arrive in time.
    ReadTimeout,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed request",
            Self::HeaderTooLarge => "request head too large",
            Self::ReadTimeout => "request head too slow",
        })
    }
}

impl std::error::Error for Fault {}

/// Something that happened to a connection; for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// Accepted.
    Opened,
    /// Gone; the reason is one of [`ConnectionEvent::ENDS`].
    Closed(&'static str),
    /// No PROXY header where there has to be one; the reason is one of [`ConnectionEvent::PROXY_FAULTS`].
    ProxyHeaderRefused(&'static str),
    /// TLS is up.
    Handshake {
        /// `TLSv1.2` or `TLSv1.3`.
        version: &'static str,
        /// Whether an earlier session was taken up again.
        resumed: bool,
        /// How long it took.
        took: Duration,
    },
    /// TLS did not come up; the reason is one of [`ConnectionEvent::HANDSHAKE_FAILURES`].
    HandshakeFailed(&'static str),
}

impl ConnectionEvent {
    /// Every reason a connection can end for.
    pub const ENDS: [&'static str; 9] = [
        "peer",
        "idle",
        "slow",
        "stalled",
        "flood",
        "handshake",
        "proxy_header",
        "source_limit",
        "cut",
    ];
    /// Every reason a PROXY header can be refused for.
    pub const PROXY_FAULTS: [&'static str; 5] =
        ["not_trusted", "malformed", "too_long", "timeout", "closed"];
    /// Every version a handshake can report.
    pub const TLS_VERSIONS: [&'static str; 2] = ["TLSv1.2", "TLSv1.3"];
    /// Every reason a handshake can fail for.
    pub const HANDSHAKE_FAILURES: [&'static str; 6] = [
        "timeout",
        "no_shared_version",
        "no_shared_suite",
        "client_alert",
        "not_tls",
        "io",
    ];
}

/// Tells the server to end the connection without a byte of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Close;

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Close {}

/// The code behind a server; one value per worker, never shared between threads.
pub trait Handler: 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Unpin
        + 'static;

    /// Answers a request. `began` is when its first byte came; over HTTP/2, when its whole head had.
    ///
    /// # Cancel safety
    /// The future is dropped when the sender goes away.
    fn call(
        self: Rc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
        began: Instant,
    ) -> impl Future<Output = Result<Response<Self::Body>, Close>>;

    /// Answers a fault. `began` is when its first byte came.
    fn refuse(self: &Rc<Self>, fault: Fault, peer: Peer, began: Instant) -> Response<Bytes>;

    /// A drain begins: what is in flight should come to its end.
    fn draining(&self);

    /// What is in flight is about to be cut, because it outlasted its time to finish.
    fn cutting(&self);

    /// Takes note of something that happened on a listener.
    fn note(&self, listener: usize, event: ConnectionEvent);
}
