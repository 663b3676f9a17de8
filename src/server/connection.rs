//! One connection from accept to close: handshake, protocol, requests, and an end that lets answers arrive.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, join};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, HandshakeKind, ProtocolVersion};
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, InFlight, Phase};
use super::drain::Drain;
use super::http1::Guard;
use super::http2;
use super::linger::{LINGER, close};
use super::request_body::{Kept, RequestBody};
use super::socket::{Reading, Writing};
use super::{Close, ConnectionEvent, Fault, Handler, Peer, ServerLimits};
use crate::clock::Timers;

/// Read buffer of an HTTP/1.1 connection; also the largest piece of body passed on at once.
const READ_BUFFER: usize = 64 * 1024;
/// What every connection of a worker is served with.
pub(super) struct Service<H> {
    pub(super) handler: Rc<H>,
    pub(super) timers: Timers,
    pub(super) limits: ServerLimits,
    pub(super) drain: Drain,
}

impl<H: Handler> Service<H> {
    /// The same with other limits.
    pub(super) fn with(&self, limits: ServerLimits) -> Self {
        Self {
            handler: Rc::clone(&self.handler),
            timers: self.timers.clone(),
            limits,
            drain: self.drain.clone(),
        }
    }

    /// Serves one accepted connection to its end.
    pub(super) async fn serve(
        &self,
        stream: TcpStream,
        tls: Option<&Arc<rustls::ServerConfig>>,
        peer: Peer,
    ) {
        match tls {
            None => self.http1(stream, peer).await,
            Some(config) => {
                if let Some(stream) = self.handshake(stream, config, peer).await {
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    if http2 {
                        self.http2(stream, peer).await
                    } else {
                        self.http1(stream, peer).await
                    }
                }
            }
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        config: &Arc<rustls::ServerConfig>,
        peer: Peer,
    ) -> Option<TlsStream<TcpStream>> {
        let accept = TlsAcceptor::from(Arc::clone(config)).accept(stream);
        // One deadline for the whole handshake: one per step would let a peer take twice the time.
        let deadline = self.timers.alarm(self.limits.tls_handshake);
        let outcome = tokio::select! {
            biased;
            outcome = accept => outcome,
            () = deadline => {
                self.handler.note(peer.listener, ConnectionEvent::HandshakeFailed("timeout"));
                return None;
            }
        };
        match outcome {
            Ok(stream) => {
                let session = stream.get_ref().1;
                let version = match session.protocol_version() {
                    Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                    _ => "TLSv1.2",
                };
                let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
                self.handler.note(
                    peer.listener,
                    ConnectionEvent::Handshake { version, resumed },
                );
                Some(stream)
            }
            Err(error) => {
                let reason = handshake_failure(&error);
                tracing::debug!(reason, "tls handshake failed");
                self.handler
                    .note(peer.listener, ConnectionEvent::HandshakeFailed(reason));
                None
            }
        }
    }

    async fn http1<S: Transport>(&self, stream: S, peer: Peer) {
        let stream = Rc::new(RefCell::new(stream));
        let activity = Rc::new(Activity::new(&self.timers, &self.limits));
        let guard = Guard::new(Rc::clone(&stream), Rc::clone(&activity), &self.limits);
        let socket = join(guard, Writing::new(&stream, &activity, false));
        let mut builder = http1::Builder::new();
        builder
            .max_buf_size(READ_BUFFER)
            .preserve_header_case(self.limits.preserve_header_case);
        let service = service_fn(|request| self.call(request, &activity, peer));
        let end = {
            let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
            self.drive(&activity, |cx, drain| {
                if drain {
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(cx).map(|result| result.err())
            })
            .await
        };
        // hyper and the guard are gone, so the socket is ours alone again.
        if let Some(stream) = Rc::into_inner(stream) {
            self.finish_http1(end, stream.into_inner(), &activity, peer)
                .await;
        }
    }

    async fn http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(&self, stream: S, peer: Peer) {
        let stream = Rc::new(RefCell::new(stream));
        let activity = Rc::new(Activity::new(&self.timers, &self.limits));
        let socket = join(
            Reading(Rc::clone(&stream)),
            Writing::new(&stream, &activity, true),
        );
        let handler = Rc::clone(&self.handler);
        let limits = self.limits;
        let service = {
            let activity = Rc::clone(&activity);
            // hyper spawns the streams of a connection, so this service borrows nothing.
            service_fn(move |request| {
                answer_stream(
                    Rc::clone(&handler),
                    request,
                    Rc::clone(&activity),
                    peer,
                    limits,
                )
            })
        };
        let builder = http2::builder(&self.limits, &activity);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
        let end = self
            .drive(&activity, |cx, drain| {
                if drain {
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(cx).map(|result| result.err())
            })
            .await;
        if let End::Overdue(_) = end {
            // Told to go; one more deadline for a peer that does not answer even to that.
            connection.as_mut().graceful_shutdown();
            let grace = self.timers.alarm(LINGER);
            tokio::select! {
                _ = connection => {}
                () = grace => {}
            }
        }
    }

    async fn call(
        &self,
        request: Request<Incoming>,
        activity: &Rc<Activity>,
        peer: Peer,
    ) -> Result<Response<Tracked<H::Body>>, Close> {
        let in_flight = InFlight::new(activity);
        let request = request.map(RequestBody::alone);
        let mut response = Rc::clone(&self.handler).call(request, peer).await?;
        if self.drain.is_leaving() {
            // Told so, a client takes its next request elsewhere, instead of sending it into our closing the connection.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Ok(response.map(|body| Tracked::new(body, in_flight, None)))
    }

    /// Polls a connection until it ends, is overdue, stalls, or (once told to drain) has finished.
    async fn drive(
        &self,
        activity: &Activity,
        mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<Option<hyper::Error>>,
    ) -> End {
        let mut begun = pin!(self.drain.begun());
        let mut draining = false;
        poll_fn(move |cx| {
            let told = !draining && begun.as_mut().poll(cx).is_ready();
            draining |= told;
            if let Poll::Ready(error) = poll(cx, told) {
                return Poll::Ready(End::Done(error));
            }
            activity.poll_lingering(cx);
            if activity.poll_stalled(cx).is_ready() {
                return Poll::Ready(End::Stalled);
            }
            if activity.poll_overdue(cx).is_ready() {
                if let Some(phase) = activity.overdue_phase() {
                    return Poll::Ready(End::Overdue(phase));
                }
                // Set again, so the waker has to be registered again.
                return activity.poll_overdue(cx).map(|()| End::Stalled);
            }
            Poll::Pending
        })
        .await
    }

    async fn finish_http1<S: Transport>(
        &self,
        end: End,
        mut stream: S,
        activity: &Activity,
        peer: Peer,
    ) {
        let fault = match end {
            End::Stalled => return stream.reset_on_close(),
            End::Overdue(Phase::Head) => Some(Fault::ReadTimeout),
            End::Overdue(Phase::Idle | Phase::Message) => None,
            End::Done(Some(error)) if error.is_parse() => {
                if activity.head_lost() {
                    // hyper found fault with a head that passed here, and has answered 400 itself.
                    drop(
                        self.handler
                            .refuse(Fault::Malformed, peer, activity.began()),
                    );
                }
                None
            }
            // An orderly end would pass for the end of an answer that is not whole.
            End::Done(Some(error)) if !is_close(&error) => return stream.reset_on_close(),
            End::Done(Some(_)) => None,
            End::Done(None) => activity.unanswered_fault(),
        };
        // An answer may only follow whole ones: anything else would end up in the middle of one.
        let fault = fault.filter(|_| activity.is_quiet());
        let answer = fault.map(|fault| self.handler.refuse(fault, peer, activity.began()));
        let unread = answer.is_some() || activity.is_body_open();
        let deadline = self.timers.alarm(LINGER);
        tokio::select! {
            () = close(&mut stream, answer, unread) => {}
            () = deadline => {}
        }
    }
}

/// Whether hyper ended because the handler wanted the connection closed.
fn is_close(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<Close>())
}

/// A socket, with or without TLS, that HTTP/1.1 is spoken on.
trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Makes the end of this connection a reset.
    fn reset_on_close(&self);
}

impl Transport for TcpStream {
    fn reset_on_close(&self) {
        // Where the kernel refuses, a plain close has to do.
        let _ = SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl Transport for TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// Why a connection is no longer served.
enum End {
    /// hyper is done with it.
    Done(Option<hyper::Error>),
    /// A timeout of the phase it was in.
    Overdue(Phase),
    /// The peer takes nothing.
    Stalled,
}

/// Answers a request of HTTP/2, whose head nobody has measured yet.
async fn answer_stream<H: Handler>(
    handler: Rc<H>,
    request: Request<Incoming>,
    activity: Rc<Activity>,
    peer: Peer,
    limits: ServerLimits,
) -> Result<Response<Tracked<Either<H::Body, Full<Bytes>>>>, Close> {
    let in_flight = InFlight::new(&activity);
    let (head, body) = request.into_parts();
    let (body, kept) = RequestBody::shared(body);
    let response = if http2::is_too_large(&head, &limits) {
        let refusal = handler.refuse(Fault::HeaderTooLarge, peer, Instant::now());
        refusal.map(|text| Either::Right(Full::new(text)))
    } else {
        let request = Request::from_parts(head, body);
        handler.call(request, peer).await?.map(Either::Left)
    };
    let kept = Some((kept, activity));
    Ok(response.map(|body| Tracked::new(body, in_flight, kept)))
}

/// An answer's body; the request is in flight until it is dropped.
struct Tracked<B> {
    body: B,
    in_flight: InFlight,
    /// What is left of the request's body once the answer is out lingers on the connection.
    kept: Option<(Kept, Rc<Activity>)>,
}

impl<B> Tracked<B> {
    fn new(body: B, in_flight: InFlight, kept: Option<(Kept, Rc<Activity>)>) -> Self {
        // From here on it is the peer who is waited for: one that opens no window may never have the body asked.
        in_flight.body_polled(true);
        Self {
            body,
            in_flight,
            kept,
        }
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        if let Some((kept, activity)) = self.kept.take()
            && !kept.borrow().is_end_stream()
        {
            activity.linger(kept);
        }
    }
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.in_flight.body_polled(frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Which of [`ConnectionEvent::HANDSHAKE_FAILURES`] an error is.
fn handshake_failure(error: &std::io::Error) -> &'static str {
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
