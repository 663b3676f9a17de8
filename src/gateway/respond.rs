//! What senders are told: one table from reasons to statuses, and nothing else about them.
//!
//! A refusal is never 2xx or 3xx: the sender would count the message as delivered, or do something undefined.
//! Bodies are one short line that names neither secret, path, header nor backend, because the sender may show
//! them to a third party.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::answer::AnswerBody;
use super::headers::X_REQUEST_ID;
use super::reason::{Outcome, Refusal, Stop, UpstreamError};
use super::record::Record;
use crate::verify::Reply;

/// Seconds after which a sender may try again. Redox settles on "a minute or two" by itself.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("30");

/// Status and text for a refusal or failure.
fn table(stop: Stop) -> (StatusCode, &'static str) {
    match stop {
        Stop::Refused(refusal) => match refusal {
            Refusal::NoRoute => (StatusCode::NOT_FOUND, "not found\n"),
            Refusal::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
            Refusal::TokenMissing
            | Refusal::TokenMismatch
            | Refusal::TokenExpired
            | Refusal::TokenAmbiguous => (StatusCode::UNAUTHORIZED, "not verified\n"),
            Refusal::HeaderAlias | Refusal::ChallengeMalformed | Refusal::Malformed => {
                (StatusCode::BAD_REQUEST, "bad request\n")
            }
            Refusal::HeaderTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "request head too large\n",
            ),
            Refusal::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request body too large\n"),
            Refusal::ReadTimeout => (StatusCode::REQUEST_TIMEOUT, "request too slow\n"),
            Refusal::ExpectationFailed => (StatusCode::EXPECTATION_FAILED, "expectation failed\n"),
            Refusal::SourceDenied => (StatusCode::FORBIDDEN, "not allowed\n"),
            Refusal::RateLimited => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests, try again later\n",
            ),
            Refusal::Maintenance => (
                StatusCode::SERVICE_UNAVAILABLE,
                "in maintenance, try again later\n",
            ),
            Refusal::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too busy, try again later\n",
            ),
            Refusal::AuditFailing => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not available, try again later\n",
            ),
        },
        Stop::Failed(UpstreamError::Timeout | UpstreamError::ConnectTimeout) => {
            (StatusCode::GATEWAY_TIMEOUT, "no answer in time\n")
        }
        Stop::Failed(
            UpstreamError::Dns
            | UpstreamError::Refused
            | UpstreamError::Tls
            | UpstreamError::Reset
            | UpstreamError::Truncated
            | UpstreamError::Protocol
            | UpstreamError::Redirect,
        ) => (StatusCode::BAD_GATEWAY, "no usable answer\n"),
        // Nobody reads it; the connection wants some answer all the same.
        Stop::SenderLeft | Stop::Cut => (StatusCode::BAD_REQUEST, ""),
    }
}

impl Stop {
    /// The status that the sender gets; none where there is nobody to tell.
    pub fn status(self) -> Option<StatusCode> {
        match self {
            Self::Refused(_) | Self::Failed(_) => Some(table(self).0),
            Self::SenderLeft | Self::Cut => None,
        }
    }
}

/// The answer to a request that ends early, and the end of its record.
pub(super) fn stopped(stop: Stop, mut record: Record) -> Response<AnswerBody> {
    record.stopped(stop);
    let (status, text) = table(stop);
    if stop != Stop::SenderLeft {
        record.answered(status);
    }
    let mut response = own(status, "text/plain; charset=utf-8", &record);
    add_specifics(response.headers_mut(), status);
    // hyper leaves the body of an answer to HEAD out by itself in HTTP/1.1 only.
    let text = if record.asked_for_head() { "" } else { text };
    if stop == Stop::Refused(Refusal::Malformed) {
        // Who wrote one ambiguous message may have hidden a second behind it. hyper drops the field on HTTP/2.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|()| AnswerBody::own(Bytes::from_static(text.as_bytes()), record))
}

/// The same for a connection that hyper no longer serves.
pub(super) fn stopped_early(refusal: Refusal, mut record: Record) -> Response<Bytes> {
    let stop = Stop::Refused(refusal);
    record.stopped(stop);
    let (status, text) = table(stop);
    record.answered(status);
    own(status, "text/plain; charset=utf-8", &record).map(|()| Bytes::from_static(text.as_bytes()))
}

/// The answer to a good challenge, and the end of its record.
pub(super) fn challenge(reply: Reply, mut record: Record) -> Response<AnswerBody> {
    record.finished(Outcome::Challenge);
    record.answered(StatusCode::OK);
    let response = own(StatusCode::OK, reply.content_type(), &record);
    response.map(|()| AnswerBody::own(Bytes::from(reply.into_body()), record))
}

fn own(status: StatusCode, content_type: &'static str, record: &Record) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Hexadecimal digits are a valid header value.
    if let Ok(id) = HeaderValue::from_str(record.request_id()) {
        headers.insert(X_REQUEST_ID, id);
    }
    response
}

/// Fields that RFC 9110 asks for beside some statuses.
fn add_specifics(headers: &mut HeaderMap, status: StatusCode) {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        // §15.5.2 wants a challenge; the name of the scheme says no more than the status does.
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_success_looks_like_one() {
        let refusals = Refusal::ALL.iter().map(|refusal| Stop::Refused(*refusal));
        let failures = UpstreamError::ALL.iter().map(|error| Stop::Failed(*error));
        for stop in refusals.chain(failures) {
            let (status, text) = table(stop);
            assert!(status.as_u16() >= 400, "{stop:?}");
            assert!(
                text.ends_with('\n') && text.lines().count() == 1,
                "{stop:?}"
            );
        }
    }
}
