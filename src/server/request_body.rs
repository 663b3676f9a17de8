//! A request's body as a handler gets it.
//!
//! Over HTTP/2 the server keeps a second hold on it: if the handler lets go of a body that is not at its end, h2
//! resets the stream right behind the answer, and clients such as curl then report a broken transfer instead of
//! the status. What was kept is read on for a while and dropped by [`super::activity::Activity`].
//!
//! Over HTTP/1.1 the server only keeps in mind whether the body has been read to its end: an answer given before
//! that has to close the connection, and say so.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// See the module.
pub struct RequestBody(Hold);

enum Hold {
    Alone(Incoming, Ended),
    Shared(Kept),
}

/// Whether a body has been read to its end.
pub(super) type Ended = Rc<Cell<bool>>;

/// The server's hold on a body.
pub(super) type Kept = Rc<RefCell<Incoming>>;

impl RequestBody {
    /// A body that is gone when the handler drops it.
    pub(super) fn alone(incoming: Incoming) -> (Self, Ended) {
        let ended = Rc::new(Cell::new(incoming.is_end_stream()));
        (Self(Hold::Alone(incoming, Rc::clone(&ended))), ended)
    }

    /// A body that outlives the handler's interest in it.
    pub(super) fn shared(incoming: Incoming) -> (Self, Kept) {
        let kept = Rc::new(RefCell::new(incoming));
        (Self(Hold::Shared(Rc::clone(&kept))), kept)
    }
}

/// Why a body has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Bytes with no reading, or with more than one.
    Malformed,
    /// The sender went away.
    SenderLeft,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed body",
            Self::SenderLeft => "the sender left",
        })
    }
}

impl std::error::Error for BodyFault {}

impl From<hyper::Error> for BodyFault {
    fn from(error: hyper::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput};
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let io = cause.downcast_ref::<io::Error>();
            if io.is_some_and(|io| matches!(io.kind(), InvalidData | InvalidInput)) {
                return Self::Malformed;
            }
            source = cause.source();
        }
        Self::SenderLeft
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match &mut self.get_mut().0 {
            Hold::Alone(incoming, ended) => {
                let frame = Pin::new(&mut *incoming).poll_frame(cx);
                ended.set(matches!(frame, Poll::Ready(None)) || incoming.is_end_stream());
                frame.map_err(BodyFault::from)
            }
            Hold::Shared(kept) => {
                let mut incoming = kept.borrow_mut();
                let frame = Pin::new(&mut *incoming).poll_frame(cx);
                // hyper takes a stream reset with NO_ERROR for the end of its body. Only END_STREAM is one
                // (RFC 9113 §8.1); anything else would make a whole message of half an upload.
                if matches!(frame, Poll::Ready(None)) && !incoming.is_end_stream() {
                    return Poll::Ready(Some(Err(BodyFault::SenderLeft)));
                }
                frame.map_err(BodyFault::from)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Hold::Alone(incoming, _) => incoming.is_end_stream(),
            Hold::Shared(kept) => kept.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Hold::Alone(incoming, _) => incoming.size_hint(),
            Hold::Shared(kept) => kept.borrow().size_hint(),
        }
    }
}
