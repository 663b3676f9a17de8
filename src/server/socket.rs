//! The socket of a connection as hyper sees it: two halves of one stream that others keep a hold on.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Activity;
use super::frames::FrameWatch;

/// A socket that can be waited for without a buffer to read into.
pub(super) trait Readable {
    /// Ready when reading may give something, an end or a failure included.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl<S: Readable> Readable for Box<S> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_readable(cx)
    }
}

impl Readable for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // What is wrong with it the reader will be told.
        self.poll_read_ready(cx).map(drop)
    }
}

/// Reads HTTP/2 as it comes, until its peer sends more of what is no request than it may. HTTP/1.1 is read through
/// [`super::http1::Guard`] instead.
pub(super) struct Reading<S> {
    stream: Rc<RefCell<S>>,
    activity: Rc<Activity>,
    frames: FrameWatch,
}

impl<S> Reading<S> {
    pub(super) fn new(stream: &Rc<RefCell<S>>, activity: &Rc<Activity>) -> Self {
        Self {
            stream: Rc::clone(stream),
            activity: Rc::clone(activity),
            frames: FrameWatch::new(activity),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Reading<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        ready!(Pin::new(&mut *this.stream.borrow_mut()).poll_read(cx, out))?;
        let fresh = out.filled().get(before..).unwrap_or_default();
        if this.frames.follow(fresh).is_err() {
            this.activity.flood();
            // What came with it is thrown away: the connection is over.
            out.set_filled(before);
            return Poll::Ready(Err(io::Error::other("flood")));
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes, and tells the connection's [`Activity`] whether the peer takes anything.
pub(super) struct Writing<S> {
    stream: Rc<RefCell<S>>,
    activity: Rc<Activity>,
    closes: bool,
}

impl<S> Writing<S> {
    /// `closes`: whether hyper may end the connection itself. Where an answer has to arrive although its reader is
    /// still sending, that is not its business.
    pub(super) fn new(stream: &Rc<RefCell<S>>, activity: &Rc<Activity>, closes: bool) -> Self {
        Self {
            stream: Rc::clone(stream),
            activity: Rc::clone(activity),
            closes,
        }
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        self.activity.wrote(written.is_ready());
        if let Poll::Ready(Ok(bytes)) = written {
            self.activity.written(*bytes);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Writing<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, slices);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx);
        self.activity.wrote(flushed.is_ready());
        if flushed.is_ready() {
            self.activity.flushed();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closes {
            Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
        } else {
            self.poll_flush(cx)
        }
    }
}
