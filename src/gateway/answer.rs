//! What the sender gets: the upstream's answer as it streams down, or a short one of our own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::reason::{Outcome, Stop, UpstreamError};
use super::record::Record;
use super::upload::{Broken, count};
use super::upstream::Lease;
use crate::clock::Alarm;

/// The upstream's answer on its way to the sender.
pub(super) struct Download {
    incoming: Incoming,
    lease: Option<Lease>,
    deadline: Alarm,
}

impl Download {
    pub(super) fn new(incoming: Incoming, lease: Lease, deadline: Alarm) -> Self {
        Self {
            incoming,
            lease: Some(lease),
            deadline,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        record: &mut Record,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.deadline.poll_rung(cx));
                    return self.break_off(UpstreamError::Timeout.into(), record);
                }
            };
            match frame {
                None => {
                    self.finish(record);
                    return Poll::Ready(None);
                }
                Some(Err(_)) => {
                    let stop = record
                        .tally
                        .body_fault
                        .get()
                        .unwrap_or(UpstreamError::Truncated.into());
                    return self.break_off(stop, record);
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    count(&record.tally.sent, &data);
                    if self.incoming.is_end_stream() {
                        self.finish(record);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
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
        if download.incoming.is_end_stream() {
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
            Content::Upstream(download) => download.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(text) => {
                let length = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Content::Upstream(download) => download.incoming.size_hint(),
        }
    }
}
