//! The way out: a verified request goes to its upstream, the answer comes back.
//!
//! [`forward`] takes a [`Permit`] by value, and only the verification core can make one. Nothing is sent twice:
//! another connection is tried only where the first one gave the request back unsent.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Response, Uri};

use tokio::time::Instant;

use super::Gateway;
use super::answer::{AnswerBody, Download};
use super::headers::{self, Forwarded, Passing};
use super::plan::{Forwarding, HostRule, PathRule, RoutePlan, UpstreamPlan};
use super::reason::{Refusal, Stop, UpstreamError};
use super::record::Record;
use super::upload::{Tally, Upload};
use super::upstream::{HeadWriter, Lease, Outbound, SendError, Upstream};
use crate::clock::Alarm;
use crate::server::{RequestBody, Spelling};
use crate::verify::{BodyLength, Permit};

/// A verified request, ready to go.
pub(super) struct Verified {
    pub(super) head: Parts,
    pub(super) authority: Option<Authority>,
    /// What was read of the body to judge it.
    pub(super) ahead: Vec<Bytes>,
    /// What was not.
    pub(super) rest: Option<RequestBody>,
    pub(super) length: BodyLength,
}

/// The head of an upstream's answer, and what its body needs.
pub(super) struct Answered {
    response: Response<()>,
    lease: Lease,
    deadline: Alarm,
}

/// Sends a verified request to the route's upstream and waits for the head of the answer.
///
/// # Errors
/// Whose fault it is that there is none. Where there is no connection to send it on, what was not read of the body is
/// in `unread`.
///
/// # Cancel safety
/// When dropped, the upstream connection is reset and the request is not completed.
pub(super) async fn forward(
    permit: Permit,
    verified: Verified,
    gateway: &Gateway,
    route: &RoutePlan,
    record: &mut Record,
    unread: &mut Option<RequestBody>,
) -> Result<Answered, Stop> {
    let snapshot = Rc::clone(&record.snapshot);
    let upstream = snapshot
        .upstream(route.upstream)
        .ok_or(UpstreamError::Refused)?;
    record.asks_upstream();
    let deadline = gateway.timers().alarm(route.timeouts.response);
    let plan = upstream.plan().ok_or(UpstreamError::Refused)?;
    let request = outbound(&permit, verified, gateway, route, plan, record)?;
    let asked = Instant::now();
    let exchange = exchange(request, asked, upstream, route, unread, &record.tally);
    let outcome = tokio::select! {
        biased;
        outcome = exchange => outcome.map_err(|stop| record.tally.body_fault.get().unwrap_or(stop)),
        () = std::future::poll_fn(|cx| deadline.poll_rung(cx)) => Err(UpstreamError::Timeout.into()),
    };
    let now = Instant::now();
    record
        .tally
        .waited_for(now.saturating_duration_since(asked));
    let (response, lease) = outcome?;
    record.upstream_answered(response.status(), asked, now);
    check_response(&response)?;
    Ok(Answered {
        response,
        lease,
        deadline,
    })
}

async fn exchange(
    mut request: Outbound,
    began: Instant,
    upstream: &Upstream,
    route: &RoutePlan,
    unread: &mut Option<RequestBody>,
    tally: &Tally,
) -> Result<(Response<()>, Lease), Stop> {
    loop {
        let (mut lease, fresh) = match upstream.reuse() {
            Some(lease) => (lease, false),
            None => match upstream.connect(&route.timeouts).await {
                Ok(lease) => (lease, true),
                Err(stop) => {
                    *unread = request.body.into_rest();
                    return Err(stop);
                }
            },
        };
        tally.endpoint.set(Some(lease.endpoint()));
        match lease.send(request).await {
            Ok(response) => return Ok((response, lease)),
            Err(SendError::Failed(error)) => return Err(error.into()),
            Err(SendError::NotSent(unsent)) => request = *unsent,
        }
        drop(lease);
        // Accepted, and closed before it took a byte: a backend on its way down or up.
        if fresh {
            if !upstream.retries_after(began.elapsed()) {
                return Err(UpstreamError::Reset.into());
            }
            upstream.pause().await;
        }
    }
}

/// A redirect would have the sender do something undefined, or count the message as delivered.
fn check_response(response: &Response<()>) -> Result<(), UpstreamError> {
    if response.status().is_redirection() {
        return Err(UpstreamError::Redirect);
    }
    // 101 without an Upgrade from us, or a number that is no final status (RFC 9110 §15).
    if !(200..600).contains(&response.status().as_u16()) {
        return Err(UpstreamError::Protocol);
    }
    Ok(())
}

impl Answered {
    /// The answer as the sender gets it: the upstream's own, less what concerns only its connection.
    pub(super) fn into_answer(self, mut record: Record) -> Response<AnswerBody> {
        let (mut head, ()) = self.response.into_parts();
        headers::clean_response(&mut head.headers);
        record.answered(head.status);
        let download = Download::new(self.lease, self.deadline);
        Response::from_parts(head, AnswerBody::upstream(download, record))
    }
}

fn outbound(
    permit: &Permit,
    verified: Verified,
    gateway: &Gateway,
    route: &RoutePlan,
    upstream: &UpstreamPlan,
    record: &Record,
) -> Result<Outbound, Stop> {
    let Verified {
        head,
        authority,
        ahead,
        rest,
        length,
    } = verified;
    let rule = &route.forwarding;
    let target = upstream_target(&head.uri, &rule.path).ok_or(Refusal::Malformed)?;
    let spelling = head.extensions.get::<Spelling>();
    let mut out = HeadWriter::new(&Method::POST, &target, upstream.header_case, spelling);
    let host = sender_host(&head.headers, authority);
    let upstream_host = upstream_host(rule, host.as_ref(), upstream).ok_or(Refusal::Malformed)?;
    out.field(&HOST, upstream_host.as_bytes());
    Passing::new(
        &head.headers,
        rule.forward_token,
        permit.hide_authorization(),
    )
    .write(&head.headers, &mut out);
    let client = record.client();
    let forwarded = Forwarded {
        client: client.address,
        tls: client.tls,
        host: host.as_ref(),
        request_id: record.request_id(),
    };
    forwarded.write(&mut out);
    if upstream.care.keep_alive.is_zero() {
        out.field(&CONNECTION, b"close");
    }
    let body = Upload::new(
        ahead,
        rest,
        length,
        route.body_cap,
        route.timeouts.request_body_idle,
        gateway.timers(),
        &record.tally,
    );
    let head = out.finish(body.length());
    Ok(Outbound { head, body })
}

/// `Host` as the sender wrote it, or made from `:authority`.
fn sender_host(headers: &HeaderMap, authority: Option<Authority>) -> Option<HeaderValue> {
    (headers.get(HOST).cloned()).or_else(|| HeaderValue::from_str(authority?.as_str()).ok())
}

fn upstream_host<'h>(
    rule: &'h Forwarding,
    sender: Option<&'h HeaderValue>,
    upstream: &'h UpstreamPlan,
) -> Option<&'h HeaderValue> {
    let own = || {
        upstream
            .endpoints
            .first()
            .map(|endpoint| &endpoint.authority)
    };
    match &rule.host {
        HostRule::Preserve => sender.or_else(own),
        HostRule::Upstream => own(),
        HostRule::Literal(host) => Some(host),
    }
}

/// The path by the route's rule; the query as it came.
fn upstream_target<'u>(uri: &'u Uri, rule: &PathRule) -> Option<Cow<'u, str>> {
    let (path, rest) = match rule {
        PathRule::Keep => return Some(uri.path_and_query()?.as_str().into()),
        PathRule::Replace(path) => (path, ""),
        PathRule::ReplacePrefix {
            prefix_length,
            with,
        } => (with, uri.path().get(*prefix_length..).unwrap_or_default()),
    };
    let target = match uri.query() {
        Some(query) => format!("{path}{rest}?{query}"),
        None => format!("{path}{rest}"),
    };
    // Both parts have been checked; whether they make a path together has not.
    let target = PathAndQuery::try_from(target).ok()?;
    Some(target.as_str().to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_rule_and_queries_stay() {
        let replace = PathRule::Replace("/in".into());
        let prefix = PathRule::ReplacePrefix {
            prefix_length: "/redox".len(),
            with: "/api/v2".into(),
        };
        let root = PathRule::ReplacePrefix {
            prefix_length: "/redox".len(),
            with: "".into(),
        };
        let cases = [
            ("/redox", &PathRule::Keep, "/redox"),
            ("/redox?a=%20b&c", &PathRule::Keep, "/redox?a=%20b&c"),
            ("https://h/redox?x", &PathRule::Keep, "/redox?x"),
            ("/redox?x", &replace, "/in?x"),
            ("/redox/a/b?x", &prefix, "/api/v2/a/b?x"),
            ("/redox/", &prefix, "/api/v2/"),
            ("/redox/a", &root, "/a"),
        ];
        for (uri, rule, expected) in cases {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(upstream_target(&uri, rule).unwrap(), expected, "{uri}");
        }
    }
}
