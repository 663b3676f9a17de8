//! A door for fuzz targets and tests: the head that a request from either HTTP version would become towards an upstream.
//!
//! Nothing here runs in a gateway, and nothing but `fuzz/` and `tests/` should come to depend on it.

use http::request::Parts;

use super::headers;
use super::request;
use crate::verify::BodyLength;

/// The head in HTTP/1.1, with the body's length as announced or `Transfer-Encoding: chunked`; `None` where the request is
/// refused before its token is looked at.
#[must_use]
pub fn cross(mut head: Parts, tls: bool) -> Option<Vec<u8>> {
    let reading = request::read(&head, tls).ok()?;
    headers::clean_request(&mut head.headers, false, false);
    let target = head.uri.path_and_query()?.as_str();
    let host = reading
        .authority
        .as_ref()
        .map_or("none", |host| host.as_str());
    let mut bytes = format!("{} {target} HTTP/1.1\r\nhost: {host}\r\n", head.method).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(
            &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat(),
        );
    }
    let framing = match reading.body {
        BodyLength::Exact(length) => format!("content-length: {length}\r\n\r\n"),
        BodyLength::Unknown => "transfer-encoding: chunked\r\n\r\n".to_owned(),
    };
    bytes.extend_from_slice(framing.as_bytes());
    Some(bytes)
}
