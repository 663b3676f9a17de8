//! One connection to an upstream: a socket, with or without TLS, that knows how it has to end.
//!
//! It is reset, not closed, when it is given up within an exchange: an end of stream in the middle of a request looks
//! to some servers like the end of the request.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::places::Place;
use crate::telemetry::UpstreamMetrics;

/// What a connection is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Idle,
    Lent,
}

/// The bytes under HTTP.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// What the kernel holds of a socket that nobody has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    Nothing,
    Bytes,
    /// An end or a failure.
    End,
}

/// Asks the kernel: the runtime hears of it only later.
fn unread(socket: &TcpStream) -> Unread {
    let mut byte = [MaybeUninit::uninit()];
    match SockRef::from(socket).peek(&mut byte) {
        Ok(1..) => Unread::Bytes,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Unread::Nothing,
        Ok(0) | Err(_) => Unread::End,
    }
}

/// See the module.
pub(super) struct Link {
    stream: Stream,
    state: Use,
    metrics: Rc<UpstreamMetrics>,
    /// Last, so that the socket is closed before the place is free.
    _place: Option<Place>,
}

impl Link {
    pub(super) fn new(stream: Stream, metrics: &Rc<UpstreamMetrics>, place: Option<Place>) -> Self {
        metrics.idle().inc();
        Self {
            stream,
            state: Use::Idle,
            metrics: Rc::clone(metrics),
            _place: place,
        }
    }

    /// From here on the connection ends in a reset, until a whole exchange has gone over it.
    pub(super) fn lend(&mut self) {
        if std::mem::replace(&mut self.state, Use::Lent) == Use::Idle {
            self.metrics.idle().dec();
            self.metrics.active().inc();
        }
    }

    /// A whole exchange has gone over it.
    pub(super) fn rest(&mut self) {
        if std::mem::replace(&mut self.state, Use::Idle) == Use::Lent {
            self.metrics.active().dec();
            self.metrics.idle().inc();
        }
    }

    /// Whether it is worth keeping: it has not ended, and nothing came that nobody asked for.
    pub(super) fn is_open(&self) -> bool {
        match (unread(self.stream.socket()), &self.stream) {
            (Unread::Nothing, _) | (Unread::Bytes, Stream::Tls(_)) => true,
            (Unread::Bytes | Unread::End, _) => false,
        }
    }

    /// Whether a request may go over it, as far as anybody can tell before trying. Under TLS there may be something to
    /// read that is no answer, a session ticket above all.
    pub(super) async fn is_quiet(&mut self) -> bool {
        let unread = unread(self.stream.socket());
        match &mut self.stream {
            Stream::Plain(_) => unread == Unread::Nothing,
            Stream::Tls(stream) => {
                // What stood behind an answer in the same record has left the kernel with it.
                let ready = match unread {
                    Unread::Nothing => Ok(()),
                    // Comes at once: the kernel has it.
                    Unread::Bytes | Unread::End => stream.get_ref().0.readable().await,
                };
                let mut byte = [0];
                let read = poll_fn(|cx| {
                    let mut byte = ReadBuf::new(&mut byte);
                    Poll::Ready(Pin::new(&mut **stream).poll_read(cx, &mut byte))
                });
                ready.is_ok() && read.await.is_pending()
            }
        }
    }

    /// Whether bytes that were taken have reached the kernel, with nothing in between.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        match self.state {
            Use::Idle => self.metrics.idle().dec(),
            Use::Lent => {
                self.metrics.active().dec();
                // Where the kernel refuses, a plain close has to do.
                let _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
            }
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

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read(cx, out))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener, TcpStream as Peer};

    use super::*;

    /// What the kernel knows counts, not what the runtime has heard: it does not turn here.
    #[test]
    fn what_has_come_is_known_before_anybody_reads() {
        type Say = fn(&mut Peer);
        let says: [(Say, Unread); 4] = [
            (|_| {}, Unread::Nothing),
            (|peer| peer.write_all(b"x").unwrap(), Unread::Bytes),
            (|peer| peer.shutdown(Shutdown::Write).unwrap(), Unread::End),
            (
                |peer| {
                    let peer = std::mem::replace(peer, peer.try_clone().unwrap());
                    SockRef::from(&peer)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                    peer.shutdown(Shutdown::Both).unwrap();
                },
                Unread::End,
            ),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        for (say, expected) in says {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = Peer::connect(listener.local_addr().unwrap()).unwrap();
            socket.set_nonblocking(true).unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            say(&mut peer);
            let socket = TcpStream::from_std(socket).unwrap();
            assert_eq!(unread(&socket), expected);
        }
    }
}
