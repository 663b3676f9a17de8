//! The answer to a scrape, made while it is read.
//!
//! Between two slices everybody else gets a turn, so that however long a scrape takes, `/healthz` and `/readyz` answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::telemetry::Scrape;

/// See the module.
pub(super) struct ScrapeBody {
    scrape: Scrape,
    /// It was given a slice since others had a turn.
    sated: bool,
}

impl ScrapeBody {
    pub(super) fn new(scrape: Scrape) -> Self {
        Self {
            scrape,
            sated: false,
        }
    }
}

impl Body for ScrapeBody {
    type Data = Bytes;
    type Error = prometheus::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.sated) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let slice = this.scrape.next();
        this.sated = slice.is_some();
        Poll::Ready(slice.map(|text| text.map(|text| Frame::data(text.into()))))
    }
}
