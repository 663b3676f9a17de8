//! Connections to upstreams: made, lent, kept, and ended.
//!
//! Each worker has its own pool, so lending takes no lock. A connection is lent to one request at a time
//! ([`Lease`]) and comes back only after a whole exchange; in every other case it is reset, so that an upstream
//! never takes a half request for a whole one.
//!
//! What may go wrong is told apart by one question: may a byte of the request have reached the upstream? Only if
//! not is another connection tried.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::plan::{Endpoint, EndpointHost, HeaderCase, Plan, UpstreamPlan};
use super::reason::UpstreamError;
use super::upload::Upload;
use crate::clock::{Alarm, Timers};

/// How long an idle connection is kept. Below the 5 s of Node and Apache, so that we are the first to close:
/// a request written while the upstream closes can be neither retried nor told from one that was processed.
const KEEP: Duration = Duration::from_secs(4);
/// Idle connections kept for one upstream by one worker.
const KEPT: usize = 64;
/// Read buffer, which bounds a response head as well.
const BUFFER: usize = 64 * 1024;
/// A connection without an answer to probes for this long is dead.
const KEEPALIVE_PROBES: Duration = Duration::from_secs(30);

/// One upstream as one worker sees it.
pub(super) struct Upstream {
    plan: Arc<Plan>,
    position: usize,
    timers: Timers,
    idle: RefCell<Vec<Kept>>,
}

/// A connection between two requests.
struct Kept {
    sender: SendRequest<Upload>,
    driver: Driver,
}

/// The task that moves a connection's bytes. Dropping it ends the connection.
struct Driver {
    task: JoinHandle<()>,
    reset: Rc<Cell<bool>>,
    /// Rings when the connection has been idle for too long; paused while it is lent.
    expiry: Rc<Alarm>,
    keep: Duration,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection lent to one request.
pub(super) struct Lease {
    kept: Kept,
    home: Weak<Upstream>,
}

/// Why a request has no answer.
pub(super) enum SendError {
    /// Nothing was sent; here it is back.
    NotSent(Box<Request<Upload>>),
    /// Something may have been sent.
    Failed(UpstreamError),
}

impl Upstream {
    pub(super) fn new(plan: Arc<Plan>, position: usize, timers: Timers) -> Self {
        Self {
            plan,
            position,
            timers,
            idle: RefCell::default(),
        }
    }

    pub(super) fn plan(&self) -> Option<&UpstreamPlan> {
        self.plan.upstreams.get(self.position)
    }

    /// A connection used before, the most recent first: it is the least likely to be closing.
    pub(super) fn reuse(self: &Rc<Self>) -> Option<Lease> {
        loop {
            let kept = self.idle.borrow_mut().pop()?;
            if kept.sender.is_ready() && !kept.driver.task.is_finished() {
                kept.driver.expiry.pause();
                return Some(self.lend(kept));
            }
        }
    }

    /// From here on the connection ends in a reset, whoever ends it, until a whole exchange has gone over it: hyper
    /// itself closes it when a body breaks, before anybody here could say how.
    fn lend(self: &Rc<Self>, kept: Kept) -> Lease {
        kept.driver.reset.set(true);
        Lease {
            kept,
            home: Rc::downgrade(self),
        }
    }

    /// A new connection to the first endpoint that accepts one.
    ///
    /// # Errors
    /// What the last endpoint failed with. Nothing of a request has been sent.
    pub(super) async fn connect(
        self: &Rc<Self>,
        patience: Duration,
    ) -> Result<Lease, UpstreamError> {
        let mut last = UpstreamError::Refused;
        let plan = self.plan().ok_or(last)?;
        for endpoint in &plan.endpoints {
            // Each has the full time: a dead first one must not eat up what its backup needs.
            let deadline = self.timers.alarm(patience);
            let connected = tokio::select! {
                biased;
                connected = self.open(endpoint, plan.header_case) => connected,
                () = deadline => Err(UpstreamError::ConnectTimeout),
            };
            match connected {
                Ok(kept) => return Ok(self.lend(kept)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        header_case: HeaderCase,
    ) -> Result<Kept, UpstreamError> {
        let socket = dial(endpoint).await?;
        let reset = Rc::new(Cell::new(false));
        let stream = match &endpoint.tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                let connected = connector.connect(tls.server_name.clone(), socket).await;
                Stream::Tls(Box::new(connected.map_err(|_| UpstreamError::Tls)?))
            }
        };
        let io = TokioIo::new(Resettable {
            stream,
            reset: Rc::clone(&reset),
            deaf: false,
        });
        let mut builder = Builder::new();
        builder
            .max_buf_size(BUFFER)
            .title_case_headers(header_case == HeaderCase::Title)
            .preserve_header_case(header_case == HeaderCase::Preserve);
        let (sender, connection) = builder
            .handshake(io)
            .await
            .map_err(|_| UpstreamError::Reset)?;
        let expiry = Rc::new(self.timers.alarm(KEEP));
        expiry.pause();
        let task = tokio::task::spawn_local(drive(connection, Rc::clone(&expiry)));
        Ok(Kept {
            sender,
            driver: Driver {
                task,
                reset,
                expiry,
                keep: KEEP,
            },
        })
    }
}

/// Moves a connection's bytes until it ends or has been idle for too long.
async fn drive(connection: Connection<TokioIo<Resettable>, Upload>, expiry: Rc<Alarm>) {
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        // How it ended is told to the request it was lent to, if any.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        expiry.poll_rung(cx)
    })
    .await;
}

async fn dial(endpoint: &Endpoint) -> Result<TcpStream, UpstreamError> {
    let socket = match &endpoint.host {
        EndpointHost::Address(address) => {
            TcpStream::connect(SocketAddr::new(*address, endpoint.port)).await
        }
        EndpointHost::Name(name) => {
            let addresses = tokio::net::lookup_host((&**name, endpoint.port)).await;
            let addresses: Vec<SocketAddr> = addresses.map_err(|_| UpstreamError::Dns)?.collect();
            if addresses.is_empty() {
                return Err(UpstreamError::Dns);
            }
            TcpStream::connect(&*addresses).await
        }
    };
    let socket = socket.map_err(|_| UpstreamError::Refused)?;
    set_options(&socket);
    Ok(socket)
}

/// None of these is needed for correctness, so a kernel that refuses one is not worth a failed request.
fn set_options(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let options = SockRef::from(socket);
    let _ = options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_PROBES));
    let _ = options.set_tcp_user_timeout(Some(KEEPALIVE_PROBES));
}

impl Lease {
    /// Sends the request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`SendError`] tells whether another connection may be tried.
    ///
    /// # Cancel safety
    /// Dropping the future and the lease resets the connection.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, SendError> {
        let sent = self.kept.sender.try_send_request(request).await;
        let response = sent.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::NotSent(Box::new(request)),
            None => SendError::Failed(classify(error.error())),
        })?;
        self.learn_keep(response.headers());
        Ok(response)
    }

    /// `Keep-Alive: timeout=N` (RFC 2068 §19.7.1): stays a second below, for the reason given at [`KEEP`].
    fn learn_keep(&mut self, headers: &HeaderMap) {
        let line = headers
            .get("keep-alive")
            .and_then(|line| line.to_str().ok());
        let timeout = line.and_then(|line| {
            line.split(',')
                .find_map(|part| part.trim().strip_prefix("timeout="))
        });
        if let Some(seconds) = timeout.and_then(|timeout| timeout.parse::<u64>().ok()) {
            let keep = Duration::from_secs(seconds.saturating_sub(1));
            self.kept.driver.keep = keep.min(KEEP);
        }
    }

    /// The exchange is whole: others may use the connection.
    pub(super) fn give_back(self) {
        self.kept.driver.reset.set(false);
        let Some(home) = self.home.upgrade() else {
            return;
        };
        let mut idle = home.idle.borrow_mut();
        idle.retain(|kept| !kept.driver.task.is_finished());
        if idle.len() < KEPT && !self.kept.driver.keep.is_zero() {
            self.kept.driver.expiry.set(self.kept.driver.keep);
            idle.push(self.kept);
        }
    }
}

fn classify(error: &hyper::Error) -> UpstreamError {
    if error.is_parse() {
        UpstreamError::Protocol
    } else {
        UpstreamError::Reset
    }
}

/// The socket of an upstream connection, with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A socket that is reset, not closed, when its connection is given up: an end of stream in the middle of a
/// request looks to some servers like the end of the request.
///
/// An upstream that answers before it has read the whole body may close at once, which makes writing fail. Its answer
/// can still be read, so a failed write waits for what reading brings: the answer, or the same failure.
struct Resettable {
    stream: Stream,
    reset: Rc<Cell<bool>>,
    /// A write has failed.
    deaf: bool,
}

impl Resettable {
    fn hold_failure<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(written, Poll::Ready(Err(_))) {
            // No waker is needed: the failure makes the socket readable as well.
            self.deaf = true;
            return Poll::Pending;
        }
        written
    }
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.reset.get() {
            let socket = match &self.stream {
                Stream::Plain(socket) => socket,
                Stream::Tls(stream) => stream.get_ref().0,
            };
            // Where the kernel refuses, a plain close has to do.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($self:expr, $method:ident($($argument:expr),*)) => {
        match &mut $self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Resettable {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read(cx, out))
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let written = either!(self.as_mut(), poll_write(cx, bytes));
        self.hold_failure(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let written = either!(self.as_mut(), poll_write_vectored(cx, slices));
        self.hold_failure(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Pending;
        }
        let flushed = either!(self.as_mut(), poll_flush(cx));
        self.hold_failure(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }
}
