//! A door for fuzz targets and tests: the head that a request from either HTTP version would become towards an upstream.
//!
//! Nothing here runs in a gateway, and nothing but `fuzz/`, `tests/` and `benches/` should come to depend on it.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;

use super::headers::Passing;
use super::plan::HeaderCase;
use super::request;
use super::upstream::HeadWriter;

/// The head in HTTP/1.1, with the body's length as announced or `Transfer-Encoding: chunked`; `None` where the request is
/// refused before its token is looked at.
#[must_use]
pub fn cross(head: Parts, tls: bool) -> Option<Vec<u8>> {
    let reading = request::read(&head, tls).ok()?;
    let target = head.uri.path_and_query()?.as_str();
    let mut out = HeadWriter::new(&head.method, target, HeaderCase::Lower, None);
    let host = reading.authority.as_ref();
    out.field(&HOST, host.map_or("none", Authority::as_str).as_bytes());
    Passing::new(&head.headers, false, false).write(&head.headers, &mut out);
    Some(out.finish(reading.body).to_vec())
}
