//! One request and its answer on a connection: HTTP/1.1 as a client speaks it to somebody it knows.
//!
//! Request and answer go at the same time, because an upstream may answer before it has read everything. Whoever waits
//! for the answer moves both: there is no task of the connection's own, nothing to hand over, and nobody to tell.
//!
//! An upstream that answers early may close at once, which makes writing fail. Its answer can still be read, so a failed
//! write only ends the sending; reading brings the answer, or the same failure.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::Response;
use http_body::Body;
use tokio::io::{AsyncReadExt as _, AsyncWrite};

use super::super::reason::UpstreamError;
use super::super::upload::Upload;
use super::encode;
use super::link::Link;
use super::response::{BodyReader, Head, HeadReader};
use crate::verify::BodyLength;

/// Room for what is read at once; doubled for an answer that fills it.
const READ: usize = 4 * 1024;
/// The most that is read at once.
const MOST_READ: usize = 64 * 1024;

/// A connection, and how far the exchange on it has come.
pub(super) struct Exchange {
    link: Link,
    incoming: BytesMut,
    room: usize,
    head: HeadReader,
    body: Option<BodyReader>,
    sending: Option<Sending>,
    /// Whether connection and request allow another exchange after this one.
    keep: bool,
}

/// A request as it goes to an upstream.
pub(in crate::gateway) struct Outbound {
    /// As it goes over the wire; see [`super::HeadWriter`].
    pub(in crate::gateway) head: Bytes,
    pub(in crate::gateway) body: Upload,
}

/// Why a request has no answer.
pub(in crate::gateway) enum SendError {
    /// Nothing was sent; here it is back.
    NotSent(Box<Outbound>),
    /// Something may have been sent.
    Failed(UpstreamError),
}

/// Why a request was not sent to its end.
enum Stopped {
    /// Not a byte of it has left.
    Unsent,
    /// Its body broke.
    Body,
    /// The upstream takes no more.
    Deaf,
}

/// A request on its way.
struct Sending {
    request: Outbound,
    /// Not a byte has been taken by the kernel, as far as anybody can tell.
    untouched: bool,
    /// What stands before `data`, and what behind it.
    text: Bytes,
    data: Bytes,
    tail: &'static [u8],
    /// What is still to come of a body of known length.
    left: Option<u64>,
    ended: bool,
}

impl Exchange {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            incoming: BytesMut::new(),
            room: READ,
            head: HeadReader::default(),
            body: None,
            sending: None,
            keep: true,
        }
    }

    pub(super) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Whether it is still worth keeping while nobody uses it.
    pub(super) fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`SendError`] tells whether another connection may be tried.
    pub(super) async fn send(&mut self, request: Outbound) -> Result<Response<()>, SendError> {
        if !self.link.is_quiet().await {
            return Err(SendError::NotSent(Box::new(request)));
        }
        self.sending = Some(Sending::new(request));
        let head = poll_fn(|cx| {
            match self.poll_send(cx) {
                Poll::Ready(Err(Stopped::Unsent)) => {
                    if let Some(sending) = self.sending.take() {
                        return Poll::Ready(Err(SendError::NotSent(Box::new(sending.take_back()))));
                    }
                }
                // Whose fault it was is on record.
                Poll::Ready(Err(Stopped::Body)) => {
                    return Poll::Ready(Err(SendError::Failed(UpstreamError::Reset)));
                }
                Poll::Ready(Ok(()) | Err(Stopped::Deaf)) | Poll::Pending => {}
            }
            self.poll_head(cx).map_err(SendError::Failed)
        })
        .await?;
        self.keep = head.keep;
        self.body = Some(head.body);
        Ok(head.response)
    }

    /// The next piece of the answer's body; `None` at its end. Sends on what is left of the request.
    ///
    /// # Errors
    /// The request's body broke, or the answer's did.
    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        if let Poll::Ready(Err(Stopped::Body)) = self.poll_send(cx) {
            return Poll::Ready(Some(Err(UpstreamError::Reset)));
        }
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            match body.read(&mut self.incoming) {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) if body.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(_) => return Poll::Ready(Some(Err(UpstreamError::Truncated))),
            }
            let more = ready!(self.poll_more(cx)).map_err(|_| UpstreamError::Truncated)?;
            if let (false, Some(body)) = (more, &mut self.body) {
                body.end().map_err(|_| UpstreamError::Truncated)?;
            }
        }
    }

    /// Whether all of the answer's body has been given.
    pub(super) fn is_done(&self) -> bool {
        self.body.as_ref().is_some_and(BodyReader::is_done)
    }

    /// What is left of the answer's body, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.body.as_ref().and_then(BodyReader::left)
    }

    /// Whether another exchange may follow: both messages are whole, and nothing else has come.
    pub(super) fn is_whole(&self) -> bool {
        let sent = self.sending.as_ref().is_none_or(Sending::is_sent);
        self.keep && sent && self.is_done() && self.incoming.is_empty()
    }

    /// Lets go of everything that belongs to the exchange, so that another may follow.
    pub(super) fn forget(&mut self) {
        self.head = HeadReader::default();
        self.body = None;
        self.room = READ;
        self.sending = None;
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, UpstreamError>> {
        loop {
            if !self.incoming.is_empty()
                && let Some(head) =
                    (self.head.read(&mut self.incoming)).map_err(|_| UpstreamError::Protocol)?
            {
                return Poll::Ready(Ok(head));
            }
            match ready!(self.poll_more(cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Poll::Ready(Err(UpstreamError::Reset)),
            }
        }
    }

    /// Reads once; `false` at the end of the connection.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.incoming.reserve(self.room);
        let mut read = pin!(self.link.read_buf(&mut self.incoming));
        let read = ready!(read.as_mut().poll(cx))?;
        if read >= self.room {
            self.room = (self.room * 2).min(MOST_READ);
        }
        Poll::Ready(Ok(read > 0))
    }

    /// Sends as much of the request as there is and the upstream takes; ready when that was all of it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        match ready!(sending.poll(cx, Pin::new(&mut self.link))) {
            Ok(()) => {}
            Err(Stopped::Unsent) => return Poll::Ready(Err(Stopped::Unsent)),
            Err(stopped) => {
                self.keep = false;
                self.sending = None;
                return Poll::Ready(Err(stopped));
            }
        }
        self.sending = None;
        Poll::Ready(Ok(()))
    }
}

impl Sending {
    fn new(request: Outbound) -> Self {
        let length = request.body.length();
        Self {
            untouched: true,
            text: request.head.clone(),
            data: Bytes::new(),
            tail: b"",
            left: match length {
                BodyLength::Exact(length) => Some(length),
                BodyLength::Unknown => None,
            },
            ended: false,
            request,
        }
    }

    /// The request as it was, where nothing of it has been sent.
    fn take_back(self) -> Outbound {
        let mut request = self.request;
        request.body.put_back(self.data);
        request
    }

    /// Whether the upstream has got all of it.
    fn is_sent(&self) -> bool {
        self.is_written() && (self.ended || self.left == Some(0))
    }

    /// Whether all that is here of it has been written.
    fn is_written(&self) -> bool {
        self.text.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut link: Pin<&mut Link>,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            // The first piece of the body, if it is here, goes along with the head.
            let wants_data = self.data.is_empty() && self.tail.is_empty() && !self.ended;
            let waits = wants_data && self.next(cx)?.is_pending();
            while !self.is_written() {
                ready!(self.poll_write(cx, link.as_mut()))?;
            }
            if !link.is_plain() {
                ready!(link.as_mut().poll_flush(cx)).map_err(|_| Stopped::Deaf)?;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Takes the next piece of the body.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let frame = ready!(Pin::new(&mut self.request.body).poll_frame(cx));
        match frame {
            None if self.left.is_some_and(|left| left > 0) => {
                return Poll::Ready(Err(Stopped::Body));
            }
            None => {
                self.ended = true;
                if self.left.is_none() {
                    self.tail = b"0\r\n\r\n";
                }
            }
            Some(Err(_)) => return Poll::Ready(Err(Stopped::Body)),
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                self.put(data)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, data: Bytes) -> Result<(), Stopped> {
        if data.is_empty() {
            // A chunk of no length would be the last.
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            let length = u64::try_from(data.len()).map_err(|_| Stopped::Body)?;
            *left = left.checked_sub(length).ok_or(Stopped::Body)?;
            self.ended = *left == 0 && self.request.body.is_end_stream();
        } else {
            let size = encode::chunk(data.len());
            self.text = if self.text.is_empty() {
                Bytes::from(size)
            } else {
                Bytes::from([&self.text, &*size].concat())
            };
            self.tail = b"\r\n";
        }
        self.data = data;
        Ok(())
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        link: Pin<&mut Link>,
    ) -> Poll<Result<(), Stopped>> {
        let plain = link.is_plain();
        let slices = [
            IoSlice::new(&self.text),
            IoSlice::new(&self.data),
            IoSlice::new(self.tail),
        ];
        match ready!(link.poll_write_vectored(cx, &slices)) {
            Ok(written) if written > 0 => {
                self.untouched = false;
                self.advance(written);
            }
            Ok(_) | Err(_) if self.untouched && plain => return Poll::Ready(Err(Stopped::Unsent)),
            Ok(_) | Err(_) => return Poll::Ready(Err(Stopped::Deaf)),
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        for part in [&mut self.text, &mut self.data] {
            let taken = written.min(part.len());
            part.advance(taken);
            written -= taken;
        }
        self.tail = self.tail.get(written..).unwrap_or_default();
    }
}
