//! A request's body as a handler gets it.
//!
//! Over HTTP/2 the server keeps a second hold on it: if the handler lets go of a body that is not at its end, h2
//! resets the stream right behind the answer, and clients such as curl then report a broken transfer instead of
//! the status. What was kept is read on for a while and dropped by [`super::activity::Activity`].

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// See the module.
pub struct RequestBody(Hold);

enum Hold {
    Alone(Incoming),
    Shared(Kept),
}

/// The server's hold on a body.
pub(super) type Kept = Rc<RefCell<Incoming>>;

impl RequestBody {
    /// A body that is gone when the handler drops it.
    pub(super) fn alone(incoming: Incoming) -> Self {
        Self(Hold::Alone(incoming))
    }

    /// A body that outlives the handler's interest in it.
    pub(super) fn shared(incoming: Incoming) -> (Self, Kept) {
        let kept = Rc::new(RefCell::new(incoming));
        (Self(Hold::Shared(Rc::clone(&kept))), kept)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().0 {
            Hold::Alone(incoming) => Pin::new(incoming).poll_frame(cx),
            Hold::Shared(kept) => Pin::new(&mut *kept.borrow_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Hold::Alone(incoming) => incoming.is_end_stream(),
            Hold::Shared(kept) => kept.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Hold::Alone(incoming) => incoming.size_hint(),
            Hold::Shared(kept) => kept.borrow().size_hint(),
        }
    }
}
