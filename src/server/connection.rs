//! One connection from accept to close: handshake, protocol, requests, and an end that lets answers arrive.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
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

use super::activity::{Activity, InFlight, Phase};
use super::drain::Drain;
use super::entrance::{Door, Entrance, Stream, Turn};
use super::http1::Guard;
use super::http2;
use super::linger::{LINGER, close};
use super::request_body::{Kept, RequestBody};
use super::socket::{Readable, Reading, Writing};
use super::tls_socket::{Scratch, TlsSocket};
use super::{Close, Fault, Handler, Peer, ServerLimits};
use crate::clock::Timers;

/// Read buffer of an HTTP/1.1 connection; also the largest piece of body passed on at once.
const READ_BUFFER: usize = 64 * 1024;
/// HTTP/1.1 connections of a worker that may keep hyper while they are idle for a moment. In a rush of many, each lets go
/// at once, so that buffers are had for so many and not for all; of so few, each has what it needs for its next request.
const AWAKE: usize = 64;

/// What every connection of a worker is served with.
pub(super) struct Service<H> {
    pub(super) handler: Rc<H>,
    pub(super) timers: Timers,
    pub(super) limits: ServerLimits,
    pub(super) drain: Drain,
    pub(super) turn: Rc<Turn>,
    pub(super) scratch: Rc<Scratch>,
    /// A clone for each HTTP/1.1 connection that has hyper at the moment, and one for each generation of settings that is
    /// still in use; they are counted, and nothing else.
    pub(super) awake: Rc<()>,
}

impl<H: Handler> Service<H> {
    /// The same with other limits.
    pub(super) fn with(&self, limits: ServerLimits) -> Self {
        Self {
            handler: Rc::clone(&self.handler),
            timers: self.timers.clone(),
            limits,
            drain: self.drain.clone(),
            turn: Rc::clone(&self.turn),
            scratch: Rc::clone(&self.scratch),
            awake: Rc::clone(&self.awake),
        }
    }

    /// Serves one accepted connection to its end, and tells why that came.
    pub(super) async fn serve(
        &self,
        stream: TcpStream,
        door: Door<'_>,
        peer: Peer,
    ) -> &'static str {
        let entrance = Entrance {
            handler: &*self.handler,
            timers: &self.timers,
            deadline: self.limits.tls_handshake,
            turn: &self.turn,
            scratch: &self.scratch,
            door,
        };
        // What only the beginning and the end of a connection need has a place of its own for as long as it is needed:
        // the task of an idle one stays small.
        let entered = match Box::pin(entrance.enter(stream, peer)).await {
            Ok(entered) => entered,
            Err(why) => return why,
        };
        let peer = entered.peer;
        let end = match entered.stream {
            Stream::Plain(stream) => self.http1(stream, peer).await,
            Stream::Tls(stream) if stream.agreed().alpn_protocol() == Some(b"h2") => {
                Box::pin(self.http2(stream, peer)).await
            }
            Stream::Tls(stream) => self.http1(stream, peer).await,
        };
        drop(entered.place);
        end
    }

    /// HTTP/1.1, one hyper connection after the other: while nothing is on the line there is none, and its buffers are
    /// free for others.
    async fn http1<S: Transport>(&self, stream: S, peer: Peer) -> &'static str {
        let stream = Rc::new(RefCell::new(stream));
        let activity = Rc::new(Activity::new(&self.timers, &self.limits, true));
        let guard = Guard::new(Rc::clone(&stream), Rc::clone(&activity), &self.limits);
        let mut socket = join(guard, Writing::new(&stream, &activity, false));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_BUFFER);
        let end = loop {
            if let Some(end) = self.parked(&stream, &activity).await {
                drop(socket);
                break end;
            }
            let _awake = Rc::clone(&self.awake);
            let service = service_fn(|request| self.call(request, &activity, peer));
            // In a place of its own, so that an idle connection does not hold room for it.
            let mut connection = Box::new(builder.serve_connection(TokioIo::new(socket), service));
            let end = self
                .drive(&activity, |cx, drain| {
                    let mut connection = Pin::new(&mut *connection);
                    if drain {
                        connection.as_mut().graceful_shutdown();
                    }
                    connection.poll(cx).map(|result| result.err())
                })
                .await;
            let End::Parked = end else {
                break end;
            };
            socket = connection.into_parts().io.into_inner();
        };
        let label = end.label();
        // hyper and the guard are gone, so the socket is ours alone again.
        if let Some(stream) = Rc::into_inner(stream) {
            Box::pin(self.finish_http1(end, stream.into_inner(), &activity, peer)).await;
        }
        label
    }

    async fn http2<S: Transport>(&self, stream: S, peer: Peer) -> &'static str {
        let stream = Rc::new(RefCell::new(stream));
        let activity = Rc::new(Activity::new(&self.timers, &self.limits, false));
        let socket = join(
            Reading::new(&stream, &activity),
            Writing::new(&stream, &activity, true),
        );
        let handler = Rc::clone(&self.handler);
        let limits = self.limits;
        let service = {
            let activity = Rc::clone(&activity);
            // hyper spawns the streams of a connection, so this service borrows nothing.
            // It also moves a stream's future several times before that runs: in a place of its own, only the pointer.
            service_fn(move |request| {
                Box::pin(answer_stream(
                    Rc::clone(&handler),
                    request,
                    Rc::clone(&activity),
                    peer,
                    limits,
                ))
            })
        };
        let builder = http2::builder(&self.limits, &activity);
        let end = {
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
            end
        };
        if !activity.is_flooded() {
            return end.label();
        }
        if let Some(stream) = Rc::into_inner(stream) {
            let grace = self.timers.alarm(LINGER);
            tokio::select! {
                () = http2::calm_down(stream.into_inner(), &activity) => {}
                () = grace => {}
            }
        }
        "flood"
    }

    async fn call(
        &self,
        request: Request<Incoming>,
        activity: &Rc<Activity>,
        peer: Peer,
    ) -> Result<Response<Tracked<H::Body>>, Close> {
        let in_flight = InFlight::new(activity);
        let (head, body) = request.into_parts();
        let (body, ended) = RequestBody::alone(body);
        let mut request = Request::from_parts(head, body);
        if let Some(spelling) = activity.take_spelling() {
            request.extensions_mut().insert(spelling);
        }
        let handler = Rc::clone(&self.handler);
        let mut response = handler.call(request, peer, activity.began()).await?;
        // Told so, a client takes its next request elsewhere, instead of sending it into our closing the connection,
        // and takes the answer to half a body for what it is (RFC 9112 §9.6).
        if self.drain.is_leaving() || !ended.get() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Ok(response.map(|body| Tracked::new(body, in_flight, None)))
    }

    /// Waits, without hyper, until there is something to read; or else tells why there will not be.
    async fn parked<S: Transport>(&self, stream: &RefCell<S>, activity: &Activity) -> Option<End> {
        let mut leave = pin!(self.leave(activity));
        poll_fn(|cx| {
            if stream.borrow().poll_readable(cx).is_ready() {
                return Poll::Ready(None);
            }
            if leave.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(End::Done(None)));
            }
            while activity.poll_overdue(cx).is_ready() {
                if !activity.is_time_to_park() {
                    return Poll::Ready(Some(End::Overdue(Phase::Idle)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Completes when a drain has begun and going breaks nothing off.
    async fn leave(&self, activity: &Activity) {
        self.drain.begun().await;
        activity.nothing_on_its_way().await;
    }

    /// Polls a connection until it ends, is overdue, stalls, or (once told to drain) has finished.
    async fn drive(
        &self,
        activity: &Activity,
        mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<Option<hyper::Error>>,
    ) -> End {
        let mut leave = pin!(self.leave(activity));
        let mut told = false;
        poll_fn(move |cx| {
            if let Poll::Ready(error) = poll(cx, false) {
                return Poll::Ready(End::Done(error));
            }
            if !told && leave.as_mut().poll(cx).is_ready() {
                told = true;
                if let Poll::Ready(error) = poll(cx, true) {
                    return Poll::Ready(End::Done(error));
                }
            }
            activity.poll_lingering(cx);
            if activity.poll_stalled(cx).is_ready() {
                return Poll::Ready(End::Stalled);
            }
            if activity.poll_frame_overdue(cx).is_ready() {
                return Poll::Ready(End::Overdue(Phase::Head));
            }
            if Rc::strong_count(&self.awake) > AWAKE && activity.parks_at_once() {
                return Poll::Ready(End::Parked);
            }
            if activity.poll_overdue(cx).is_ready() {
                if activity.is_time_to_park() {
                    return Poll::Ready(End::Parked);
                }
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
            End::Overdue(Phase::Idle | Phase::Message) | End::Parked => None,
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
trait Transport: AsyncRead + AsyncWrite + Readable + Unpin + 'static {
    /// Makes the end of this connection a reset.
    fn reset_on_close(&self);
}

impl Transport for TcpStream {
    fn reset_on_close(&self) {
        // Where the kernel refuses, a plain close has to do.
        let _ = SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl Transport for Box<TlsSocket> {
    fn reset_on_close(&self) {
        self.socket().reset_on_close();
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
    /// Nothing: it has been idle for a moment.
    Parked,
}

impl End {
    /// Which of [`super::ConnectionEvent::ENDS`] it is.
    fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "peer",
            Self::Overdue(Phase::Idle | Phase::Message) | Self::Parked => "idle",
            Self::Overdue(Phase::Head) => "slow",
            Self::Stalled => "stalled",
        }
    }
}

/// Answers a request of HTTP/2, whose head nobody has measured yet.
async fn answer_stream<H: Handler>(
    handler: Rc<H>,
    request: Request<Incoming>,
    activity: Rc<Activity>,
    peer: Peer,
    limits: ServerLimits,
) -> Result<Response<Tracked<Either<H::Body, Full<Bytes>>>>, Close> {
    let began = Instant::now();
    let in_flight = InFlight::new(&activity);
    let (head, body) = request.into_parts();
    let (body, kept) = RequestBody::shared(body);
    let response = if http2::is_too_large(&head, &limits) {
        let refusal = handler.refuse(Fault::HeaderTooLarge, peer, began);
        refusal.map(|text| Either::Right(Full::new(text)))
    } else {
        let request = Request::from_parts(head, body);
        handler.call(request, peer, began).await?.map(Either::Left)
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
        in_flight.answered();
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
