//! One connection to an upstream, as hyper sees it: a socket, with or without TLS, that knows how it has to end.
//!
//! It is reset, not closed, when it is given up within an exchange: an end of stream in the middle of a request looks
//! to some servers like the end of the request.
//!
//! An upstream that answers before it has read the whole body may close at once, which makes writing fail. Its answer
//! can still be read, so a failed write waits for what reading brings: the answer, or the same failure.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::places::Place;
use crate::telemetry::UpstreamMetrics;

/// Bytes that may come before the head of an answer is whole, interim answers included. The head itself is bounded
/// by hyper's buffer; this bounds what comes in front of it, and leaves room for a part of the body behind it.
const HEAD_CAP: usize = 256 * 1024;

/// What the pool and the connection's own task both have to know.
pub(super) struct Status {
    /// Bytes that may still come before an answer has begun; `None` within its body and between two requests.
    head_left: Cell<Option<usize>>,
    flooded: Cell<bool>,
    state: Cell<Use>,
    metrics: Rc<UpstreamMetrics>,
}

/// What a connection is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Idle,
    Lent,
    /// Its socket is closed. The request it was lent to may not have ended yet.
    Closed,
}

impl Status {
    pub(super) fn new(metrics: &Rc<UpstreamMetrics>) -> Rc<Self> {
        metrics.idle.inc();
        Rc::new(Self {
            head_left: Cell::new(None),
            flooded: Cell::new(false),
            state: Cell::new(Use::Idle),
            metrics: Rc::clone(metrics),
        })
    }

    /// From here on the connection ends in a reset, whoever ends it, until a whole exchange has gone over it: hyper
    /// itself closes it when a body breaks, before anybody here could say how.
    pub(super) fn lend(&self) {
        self.head_left.set(Some(HEAD_CAP));
        self.becomes(Use::Lent);
    }

    /// The answer has begun.
    pub(super) fn answered(&self) {
        self.head_left.set(None);
    }

    /// A whole exchange has gone over it.
    pub(super) fn rest(&self) {
        self.becomes(Use::Idle);
    }

    /// Once closed it is nothing else any more.
    fn becomes(&self, next: Use) {
        match self.state.get() {
            Use::Closed => return,
            Use::Idle => self.metrics.idle.dec(),
            Use::Lent => self.metrics.active.dec(),
        }
        match next {
            Use::Closed => {}
            Use::Idle => self.metrics.idle.inc(),
            Use::Lent => self.metrics.active.inc(),
        }
        self.state.set(next);
    }

    /// Whether it broke because the upstream went on and on without an answer.
    pub(super) fn flooded(&self) -> bool {
        self.flooded.get()
    }

    fn read(&self, count: usize) -> io::Result<()> {
        let Some(left) = self.head_left.get() else {
            return Ok(());
        };
        self.head_left.set(Some(left.saturating_sub(count)));
        if count > left {
            self.flooded.set(true);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }
}

/// A socket that the pool can look at while the connection's task owns it.
#[derive(Clone)]
pub(super) struct Socket(pub(super) Rc<TcpStream>);

impl Socket {
    /// Whether nothing has come, not even an end. Asks the kernel: the task hears of it only later.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&*self.0).peek(&mut byte);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The bytes under HTTP.
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// See the module.
pub(super) struct Link {
    stream: Stream,
    status: Rc<Status>,
    /// A write has failed.
    deaf: bool,
    /// Last, so that the socket is closed before the place is free.
    _place: Option<Place>,
}

impl Link {
    pub(super) fn new(stream: Stream, status: &Rc<Status>, place: Option<Place>) -> Self {
        Self {
            stream,
            status: Rc::clone(status),
            deaf: false,
            _place: place,
        }
    }

    fn hold_failure<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(written, Poll::Ready(Err(_))) {
            // No waker is needed: the failure makes the socket readable as well.
            self.deaf = true;
            return Poll::Pending;
        }
        written
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.status.state.get() == Use::Lent {
            // Where the kernel refuses, a plain close has to do.
            let _ = SockRef::from(&*self.stream.socket().0).set_linger(Some(Duration::ZERO));
        }
        self.status.becomes(Use::Closed);
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

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(either!(self.as_mut(), poll_read(cx, out)))?;
        let count = out.filled().len().saturating_sub(before);
        Poll::Ready(self.status.read(count))
    }
}

impl AsyncWrite for Link {
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

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            if let Some(read) = unless_blocked(self.0.try_read_buf(out)) {
                return Poll::Ready(read.map(|_| ()));
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            if let Some(written) = unless_blocked(self.0.try_write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            if let Some(written) = unless_blocked(self.0.try_write_vectored(slices)) {
                return Poll::Ready(written);
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.0).shutdown(Shutdown::Write))
    }
}

/// `None` where the kernel had nothing after all, so that the caller has to wait again.
fn unless_blocked<T>(result: io::Result<T>) -> Option<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        result => Some(result),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream as Peer};

    use super::*;

    /// What the kernel knows counts, not what the runtime has heard: it does not turn here.
    #[test]
    fn a_socket_is_quiet_until_bytes_or_an_end_have_come() {
        type Say = fn(&mut Peer);
        let says: [(Say, bool); 4] = [
            (|_| {}, true),
            (|peer| peer.write_all(b"x").unwrap(), false),
            (|peer| peer.shutdown(Shutdown::Write).unwrap(), false),
            (
                |peer| {
                    let peer = std::mem::replace(peer, peer.try_clone().unwrap());
                    SockRef::from(&peer)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                    peer.shutdown(Shutdown::Both).unwrap();
                },
                false,
            ),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        for (say, quiet) in says {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = Peer::connect(listener.local_addr().unwrap()).unwrap();
            socket.set_nonblocking(true).unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            say(&mut peer);
            let socket = Socket(Rc::new(TcpStream::from_std(socket).unwrap()));
            assert_eq!(socket.is_quiet(), quiet);
        }
    }
}
