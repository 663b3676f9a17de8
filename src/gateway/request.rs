//! One reading of a request head, whichever HTTP version brought it.
//!
//! HTTP/1.1 heads have passed the byte-wise checks of the server room already; h2 has its own. What is left is
//! what both let through: an authority that contradicts `Host`, user information, odd paths, several lengths or
//! types, expectations nobody can meet.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::reason::Refusal;
use crate::route::check_path;
use crate::verify::BodyLength;

/// What a head says, unambiguously.
pub(super) struct Reading {
    /// Host and port as the sender wrote them; `None` only for HTTP/1.0 without `Host`.
    pub(super) authority: Option<Authority>,
    /// What the body's length was announced as.
    pub(super) body: BodyLength,
}

/// Reads a head.
///
/// # Errors
/// The first thing that has no reading, or more than one.
pub(super) fn read(head: &Parts, tls: bool) -> Result<Reading, Refusal> {
    if head.method == Method::CONNECT {
        // It has no path that a route could match, and tunnels nowhere here.
        return Err(Refusal::MethodNotAllowed);
    }
    // HTTP/2 lets `?a` through, whose path the http crate shows as `/` although it would be forwarded without one.
    let target = head
        .uri
        .path_and_query()
        .map(http::uri::PathAndQuery::as_str);
    if !target.is_some_and(|target| target.starts_with('/')) {
        return Err(Refusal::Malformed);
    }
    check_path(head.uri.path()).map_err(|_| Refusal::Malformed)?;
    check_query(head.uri.query())?;
    check_scheme(head, tls)?;
    let reading = Reading {
        authority: authority(head)?,
        body: body_length(head)?,
    };
    check_type(&head.headers)?;
    check_expectation(&head.headers)?;
    Ok(reading)
}

/// Whether a head says that Redox sends it. Anybody can say so: this is for numbers that people read, not for judging.
pub(super) fn claims_redox(headers: &HeaderMap) -> bool {
    const APPLICATION_NAME: HeaderName = HeaderName::from_static("application-name");
    headers
        .get(APPLICATION_NAME)
        .is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"RedoxEngine"))
}

/// RFC 9110 §8.3: a body has one type. Of two, one server takes the first and another the last, and whoever checks the
/// body by it is deceived.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.get_all(CONTENT_TYPE).iter().count() > 1 {
        Err(Refusal::Malformed)
    } else {
        Ok(())
    }
}

/// RFC 3986 §3.4 knows visible ASCII only, and HTTP/2 lets other bytes through.
fn check_query(query: Option<&str>) -> Result<(), Refusal> {
    let visible = query.is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic()));
    if visible {
        Ok(())
    } else {
        Err(Refusal::Malformed)
    }
}

/// The scheme a sender names must be the one it speaks (RFC 9110 §7.4); absolute-form and HTTP/2 name one.
fn check_scheme(head: &Parts, tls: bool) -> Result<(), Refusal> {
    let expected = if tls { "https" } else { "http" };
    match head.uri.scheme_str() {
        Some(scheme) if scheme != expected => Err(Refusal::Malformed),
        Some(_) | None => Ok(()),
    }
}

/// `:authority` or absolute-form on one side, `Host` on the other: at most one of each, and alike.
fn authority(head: &Parts) -> Result<Option<Authority>, Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().map(parse_host).transpose()?;
    if hosts.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let named = head.uri.authority().cloned();
    named.as_ref().map(check_authority).transpose()?;
    match (named, host) {
        (Some(named), Some(host)) if named != host => Err(Refusal::Malformed),
        (None, None) if head.version != Version::HTTP_10 => Err(Refusal::Malformed),
        (named, host) => Ok(named.or(host)),
    }
}

fn parse_host(host: &HeaderValue) -> Result<Authority, Refusal> {
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| Refusal::Malformed)?;
    check_authority(&authority)?;
    Ok(authority)
}

fn check_authority(authority: &Authority) -> Result<(), Refusal> {
    let (text, host) = (authority.as_str(), authority.host());
    // User information stands before the host, so with it this prefix does not fit.
    let rest = text
        .strip_prefix(host)
        .filter(|_| !host.is_empty())
        .ok_or(Refusal::Malformed)?;
    let port = rest.strip_prefix(':').unwrap_or("0");
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_host(host) && digits && port.parse::<u16>().is_ok() {
        Ok(())
    } else {
        Err(Refusal::Malformed)
    }
}

/// A name as DNS has them, or an address; RFC 3986 §3.2.2 would allow more, which nobody needs and others misread.
fn is_host(host: &str) -> bool {
    match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    }
}

fn body_length(head: &Parts) -> Result<BodyLength, Refusal> {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    // h2 lets two equal ones through.
    if lengths.next().is_some() {
        return Err(Refusal::Malformed);
    }
    match length {
        Some(length) => {
            // As strict as the border of HTTP/1.1: h2 takes leading zeros, and numbers that need the sign bit.
            let text = length.to_str().map_err(|_| Refusal::Malformed)?;
            let number: u64 = text.parse().map_err(|_| Refusal::Malformed)?;
            if number.to_string() == text && i64::try_from(number).is_ok() {
                Ok(BodyLength::Exact(number))
            } else {
                Err(Refusal::Malformed)
            }
        }
        None if head.version == Version::HTTP_2 => Ok(BodyLength::Unknown),
        None if head.headers.contains_key(TRANSFER_ENCODING) => Ok(BodyLength::Unknown),
        None => Ok(BodyLength::Exact(0)),
    }
}

/// RFC 9110 §10.1.1 knows one expectation.
fn check_expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut expectations = headers.get_all(EXPECT).iter();
    match (expectations.next(), expectations.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        (Some(_), _) => Err(Refusal::ExpectationFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(uri: &str, version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().method("POST").uri(uri).version(version);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn refusal(uri: &str, version: Version, headers: &[(&str, &str)]) -> Option<Refusal> {
        read(&parts(uri, version, headers), true).err()
    }

    #[test]
    fn both_versions_have_one_reading() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let malformed = Some(Refusal::Malformed);
        type Case<'c> = (&'c str, Version, &'c [(&'c str, &'c str)], Option<Refusal>);
        let cases: &[Case<'_>] = &[
            ("/x", one, &[("host", "a")], None),
            ("/x", one, &[("host", "a:8443")], None),
            ("/x", one, &[("host", "[::1]:8443")], None),
            ("/x", Version::HTTP_10, &[], None),
            ("https://a/x", one, &[("host", "a")], None),
            ("https://a/x", two, &[], None),
            ("https://A/x", two, &[("host", "a")], None),
            ("/x", two, &[("host", "a")], None),
            ("/x", one, &[], malformed),
            ("/x", one, &[("host", "")], malformed),
            ("/x", one, &[("host", "a"), ("host", "a")], malformed),
            ("/x", one, &[("host", "u@a")], malformed),
            ("/x", one, &[("host", "[]")], malformed),
            ("/x", one, &[("host", "a$b'(,;=)!*&")], malformed),
            ("/x", one, &[("host", "a/b")], malformed),
            ("/x", one, &[("host", "a b")], malformed),
            ("/x", one, &[("host", "a, b")], malformed),
            ("/x", one, &[("host", "a:")], malformed),
            ("/x", one, &[("host", "a:99999")], malformed),
            ("/x", one, &[("host", "a:b")], malformed),
            ("/x", one, &[("host", "a:+1")], malformed),
            ("https://a:99999/x", two, &[], malformed),
            ("https://a/x", one, &[("host", "b")], malformed),
            ("https://a/x", one, &[("host", "a:1")], malformed),
            ("https://u@a/x", two, &[], malformed),
            ("https://a:99999/x", two, &[], malformed),
            ("https://a:/x", two, &[], malformed),
            ("https://[::1]:8443/x", two, &[], None),
            ("http://a/x", two, &[], malformed),
            ("/x", two, &[], malformed),
            ("/a/../x", one, &[("host", "a")], malformed),
            ("//x", one, &[("host", "a")], malformed),
            (
                "/x",
                one,
                &[("host", "a"), ("expect", "100-Continue")],
                None,
            ),
            (
                "/x",
                one,
                &[("host", "a"), ("expect", "200-ok")],
                Some(Refusal::ExpectationFailed),
            ),
            (
                "/x",
                one,
                &[("host", "a"), ("expect", "")],
                Some(Refusal::ExpectationFailed),
            ),
        ];
        for (uri, version, headers, expected) in cases {
            assert_eq!(
                refusal(uri, *version, headers),
                *expected,
                "{uri} {version:?} {headers:?}"
            );
        }
    }

    #[test]
    fn what_a_message_has_once_does_not_come_twice() {
        for name in ["content-length", "content-type", "host"] {
            let twice = [("host", "a"), (name, "1"), (name, "1")];
            let refused = refusal("/x", Version::HTTP_2, &twice);
            assert_eq!(refused, Some(Refusal::Malformed), "{name}");
        }
    }

    #[test]
    fn lengths_are_told_apart() {
        let length = |version, headers: &[(&str, &str)]| {
            read(&parts("/x", version, headers), true).unwrap().body
        };
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        assert_eq!(length(one, &[("host", "a")]), BodyLength::Exact(0));
        assert_eq!(
            length(one, &[("host", "a"), ("content-length", "7")]),
            BodyLength::Exact(7)
        );
        assert_eq!(
            length(one, &[("host", "a"), ("transfer-encoding", "chunked")]),
            BodyLength::Unknown
        );
        assert_eq!(length(two, &[("host", "a")]), BodyLength::Unknown);
    }
}
