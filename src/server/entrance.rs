//! The way in of a connection: what a load balancer says of it, its place among those of its source, TLS.
//!
//! One deadline holds for all of it. Handshakes in flight are bounded by the connections that may be open, those of
//! one source by its own limit; what a worker computes for them goes one by one, so that a rush of them takes turns
//! with the requests of those that are in already.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::proxy;
use super::socket::Readable;
use super::sources::{Place, Sources};
use super::tls_socket::{Scratch, TlsSocket};
use super::{ConnectionEvent, Handler, ListenerSpec, Peer};
use crate::clock::Timers;

/// Whose turn it is to have a handshake computed on a worker.
// Not a number of handshakes in flight: peers that say nothing would take those places for as long as they like.
pub(super) type Turn = Mutex<()>;

/// Room on one listener, over all workers. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Room {
    /// Connections that may still be opened.
    pub(super) places: Arc<Semaphore>,
    sources: Sources,
}

impl Room {
    pub(super) fn new(spec: &ListenerSpec) -> Self {
        let places = spec.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(places)),
            sources: Sources::default(),
        }
    }
}

/// What connections of one listener come in through.
#[derive(Clone, Copy)]
pub(super) struct Door<'s> {
    pub(super) spec: &'s ListenerSpec,
    pub(super) room: &'s Room,
}

impl Door<'_> {
    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut trusted = self.spec.trusted_proxies.iter();
        trusted.any(|network| network.contains(&address))
    }
}

/// What it takes to let somebody in.
pub(super) struct Entrance<'s, H> {
    pub(super) handler: &'s H,
    pub(super) timers: &'s Timers,
    pub(super) deadline: Duration,
    pub(super) turn: &'s Turn,
    pub(super) scratch: &'s Rc<Scratch>,
    pub(super) door: Door<'s>,
}

/// A connection that is in.
pub(super) struct Entered {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    /// Held as long as the connection is open.
    pub(super) place: Option<Place>,
}

/// What is spoken on a connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsSocket>),
}

impl<H: Handler> Entrance<'_, H> {
    /// Lets a connection in.
    ///
    /// # Errors
    /// Which of [`ConnectionEvent::ENDS`] it ends with instead. It has got no byte from us but those of TLS.
    pub(super) async fn enter(
        &self,
        mut stream: TcpStream,
        mut peer: Peer,
    ) -> Result<Entered, &'static str> {
        // One deadline for the whole way in: one per step would let a peer take several times as long.
        let mut deadline = pin!(self.timers.alarm(self.deadline));
        let spec = self.door.spec;
        if spec.proxy_protocol {
            let named = if spec.trusted_proxies.is_empty() || self.door.trusts(peer.socket.ip()) {
                tokio::select! {
                    biased;
                    header = proxy::read(&mut stream) => header.map_err(proxy::HeaderFault::label),
                    () = &mut deadline => Err("timeout"),
                }
            } else {
                Err("not_trusted")
            };
            match named {
                Ok(named) => peer.address = named.unwrap_or(peer.socket),
                Err(reason) => {
                    tracing::debug!(peer = %peer.socket, reason, "no PROXY header");
                    let event = ConnectionEvent::ProxyHeaderRefused(reason);
                    self.handler.note(peer.listener, event);
                    return Err("proxy_header");
                }
            }
        }
        // A load balancer that names nobody is one address for all.
        let counts = spec.proxy_protocol || !self.door.trusts(peer.socket.ip());
        let place = if counts {
            let sources = &self.door.room.sources;
            let place = sources.enter(peer.address.ip(), spec.max_connections_per_source);
            Some(place.ok_or("source_limit")?)
        } else {
            None
        };
        let Some(config) = &spec.tls else {
            let stream = Stream::Plain(stream);
            return Ok(Entered {
                stream,
                peer,
                place,
            });
        };
        let began = Instant::now();
        let outcome = tokio::select! {
            biased;
            outcome = self.handshake(stream, config) => outcome.map_err(|error| handshake_failure(&error)),
            () = &mut deadline => Err("timeout"),
        };
        match outcome {
            Ok(stream) => {
                let session = stream.agreed();
                let version = match session.protocol_version() {
                    Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                    _ => "TLSv1.2",
                };
                let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
                let event = ConnectionEvent::Handshake {
                    version,
                    resumed,
                    took: began.elapsed(),
                };
                self.handler.note(peer.listener, event);
                let stream = Stream::Tls(stream);
                Ok(Entered {
                    stream,
                    peer,
                    place,
                })
            }
            Err(reason) => {
                tracing::debug!(reason, "tls handshake failed");
                let event = ConnectionEvent::HandshakeFailed(reason);
                self.handler.note(peer.listener, event);
                Err("handshake")
            }
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        config: &Arc<rustls::ServerConfig>,
    ) -> io::Result<Box<TlsSocket>> {
        let scratch = Rc::clone(self.scratch);
        let stream = TlsSocket::new(stream, Arc::clone(config), scratch)?;
        let mut stream = Box::new(stream);
        let mut answered = false;
        while stream.agreed().is_handshaking() {
            // Whoever says nothing waits without a turn.
            poll_fn(|cx| stream.socket().poll_readable(cx)).await;
            let turn = match answered {
                false => Some(self.turn.lock().await),
                true => None,
            };
            if let Poll::Ready(said) = poll_fn(|cx| Poll::Ready(stream.poll_step(cx))).await {
                answered |= said?;
            }
            if turn.is_some() && answered {
                // Key exchange and signature were in it: everything else that is ready comes before the next.
                tokio::task::yield_now().await;
            }
            drop(turn);
            stream.flush().await?;
        }
        Ok(stream)
    }
}

/// Which of [`ConnectionEvent::HANDSHAKE_FAILURES`] an error is.
fn handshake_failure(error: &io::Error) -> &'static str {
    use rustls::{Error, InvalidMessage, PeerIncompatible};
    let cause = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Error>());
    if let Some(Error::AlertReceived(_)) = cause {
        return "client_alert";
    }
    if let Some(Error::InvalidMessage(
        InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
    )) = cause
    {
        return "not_tls";
    }
    if let Some(Error::PeerIncompatible(reason)) = cause {
        let version = matches!(
            reason,
            PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
        );
        return if version {
            "no_shared_version"
        } else {
            "no_shared_suite"
        };
    }
    "io"
}
