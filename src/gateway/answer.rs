//! What the sender gets: the upstream's answer as it streams down, or a short one of our own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::reason::{Outcome, Stop, UpstreamError};
use super::record::Record;
use super::upload::{Broken, count};
use super::upstream::Lease;
use crate::clock::Alarm;

/// The upstream's answer on its way to the sender.
pub(super) struct Download {
    /// Until the answer is whole or broken.
    lease: Option<Lease>,
    deadline: Alarm,
    /// What is wrong with it. Told one turn later: hyper drops what it has not sent yet when a body fails, and the
    /// sender would not see what has come of the answer.
    broken: Option<UpstreamError>,
}

impl Download {
    pub(super) fn new(lease: Lease, deadline: Alarm) -> Self {
        Self {
            lease: Some(lease),
            deadline,
            broken: None,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        record: &mut Record,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(error) = self.broken.take() {
            let stop = record.tally.body_fault.get().unwrap_or(error.into());
            return self.break_off(stop, record);
        }
        let Some(lease) = &mut self.lease else {
            return Poll::Ready(None);
        };
        let Poll::Ready(data) = lease.poll_data(cx) else {
            ready!(self.deadline.poll_rung(cx));
            return self.break_off(UpstreamError::Timeout.into(), record);
        };
        match data {
            None => {
                self.finish(record);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(data)) => {
                count(&record.tally.sent, &data);
                if lease.is_done() {
                    self.finish(record);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    /// Whether all of it has been given.
    fn is_done(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::is_done)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.lease.as_ref().map_or(Some(0), Lease::left);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// All of it has gone by: the connection may serve again, if the request went up whole too.
    fn finish(&mut self, record: &mut Record) {
        if let Some(lease) = self.lease.take() {
            record.finished(Outcome::Forwarded);
            if record.tally.body_done.get() {
                lease.give_back();
            }
        }
    }

    fn break_off(
        &mut self,
        stop: Stop,
        record: &mut Record,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.lease = None;
        record.stopped(stop);
        Poll::Ready(Some(Err(Broken)))
    }
}

/// What the sender gets. Holds the request's record, which tells its story when this is dropped.
pub struct AnswerBody {
    content: Content,
    record: Record,
}

enum Content {
    Own(Option<Bytes>),
    Upstream(Download),
}

impl AnswerBody {
    /// A short answer of our own.
    pub(super) fn own(text: Bytes, record: Record) -> Self {
        Self {
            content: Content::Own(Some(text).filter(|text| !text.is_empty())),
            record,
        }
    }

    /// The upstream's answer.
    pub(super) fn upstream(mut download: Download, mut record: Record) -> Self {
        if download.is_done() {
            // Nobody will poll an empty body, so its end is now.
            download.finish(&mut record);
        }
        Self {
            content: Content::Upstream(download),
            record,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        match &mut this.content {
            Content::Own(text) => {
                if let Some(text) = &*text {
                    count(&this.record.tally.sent, text);
                }
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text))))
            }
            Content::Upstream(download) => download.poll(cx, &mut this.record),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(text) => text.is_none(),
            Content::Upstream(download) => download.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(text) => {
                let length = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Content::Upstream(download) => download.size_hint(),
        }
    }
}
