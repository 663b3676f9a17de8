//! Header work between the two sides, split by whom it protects.
//!
//! Towards the upstream: fields about the connection go (RFC 9110 §7.6.1), the token goes unless the route says
//! otherwise, and everything that claims to come from a proxy goes, because the sender is not one; then our own
//! fields are set. Towards the sender: fields about the connection go.
//!
//! A field that would make another request of the one that was judged goes too: another method, another path.
//! Dropped rather than refused: what is left is exactly the request whose token was checked.
//!
//! Names are judged as a CGI-like backend reads them: `X_Forwarded_For` would become the same variable as
//! `X-Forwarded-For`, so it goes as well.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::verify::TOKEN_HEADER;

/// `X-Forwarded-For`
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Request-Id`
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether a field is about one connection only, so that it ends here.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Whether a field is ours to set towards the upstream, so that the sender's own ends here.
fn is_ours(name: &str) -> bool {
    name.starts_with("x-forwarded")
        || matches!(
            name,
            "forwarded"
                | "x-real-ip"
                | "x-request-id"
                | "client-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "fastly-client-ip"
                | "x-original-forwarded-for"
                | "front-end-https"
                | "expect"
                | "content-length"
                | "host"
        )
}

/// Whether a field makes some frameworks and servers read another request than the one that was judged.
fn is_override(name: &str) -> bool {
    matches!(
        name,
        // Rails, Symfony, Spring, Express and others take the method from these.
        "x-http-method-override"
            | "x-http-method"
            | "x-method-override"
            // Symfony and Zend (CVE-2018-14773), IIS behind ISAPI_Rewrite: the path.
            | "x-original-url"
            | "x-rewrite-url"
            | "x-original-uri"
            | "x-original-method"
            | "x-original-host"
            | "x-host"
            // CGI makes HTTP_PROXY of it, which HTTP clients obey (CVE-2016-5385).
            | "proxy"
    )
}

/// Fields that a `Connection` line cannot take away: without them the request would be another one.
fn is_protected(name: &str) -> bool {
    matches!(
        name,
        "host" | "content-length" | "content-type" | "content-encoding" | "authorization"
    ) || name == TOKEN_HEADER.as_str()
}

/// Removes from a request all that must not reach the upstream.
pub(super) fn clean_request(
    headers: &mut HeaderMap,
    forward_token: bool,
    hide_authorization: bool,
) {
    let nominated = nominated(headers);
    remove(headers, |name| {
        let token = name == TOKEN_HEADER.as_str();
        (token && !forward_token)
            || (hide_authorization && !forward_token && name == "authorization")
            || is_hop_by_hop(name)
            || is_ours(name)
            || is_override(name)
            || (nominated.iter().any(|other| other == name) && !is_protected(name))
            || is_folded_twin(name)
    });
    join_cookies(headers);
}

/// RFC 9113 §8.2.3: HTTP/2 may cut a cookie line into pieces, which no server of HTTP/1.1 puts together again.
fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = (headers.get_all(COOKIE).iter())
        .map(HeaderValue::as_bytes)
        .collect();
    if pieces.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

/// Removes from an upstream's answer all that is about its connection.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    let nominated = nominated(headers);
    remove(headers, |name| {
        is_hop_by_hop(name) || (nominated.iter().any(|other| other == name) && !is_protected(name))
    });
}

fn remove(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    let going: Vec<HeaderName> = headers
        .keys()
        .filter(|name| goes(name.as_str()))
        .cloned()
        .collect();
    for name in going {
        headers.remove(name);
    }
}

/// The names in every `Connection` line, in lower case. Bytes beyond ASCII are no part of a name, and no reason to
/// overlook its neighbours.
fn nominated(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(CONNECTION).iter();
    let names = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| std::str::from_utf8(name).ok())
        .map(|name| name.trim().to_ascii_lowercase());
    names
        .filter(|name| !name.is_empty() && name != "close" && name != "keep-alive")
        .collect()
}

/// Whether a name becomes one of those above once punctuation is folded to hyphens.
fn is_folded_twin(name: &str) -> bool {
    let odd = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'-';
    if !name.bytes().any(odd) {
        return false;
    }
    let folded: String = name
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() {
                char
            } else {
                '-'
            }
        })
        .collect();
    is_hop_by_hop(&folded) || is_ours(&folded) || is_override(&folded) || is_protected(&folded)
}

/// What we tell the upstream about the sender.
pub(super) struct Forwarded<'a> {
    pub(super) client: std::net::IpAddr,
    pub(super) tls: bool,
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) request_id: &'a str,
}

/// Sets the fields that tell the upstream about the sender, in both common forms (RFC 7239 and `X-Forwarded-*`).
pub(super) fn set_forwarded(headers: &mut HeaderMap, forwarded: &Forwarded<'_>) {
    let proto = if forwarded.tls { "https" } else { "http" };
    let client = forwarded.client.to_canonical();
    set_text(headers, X_FORWARDED_FOR, &client.to_string());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    set_text(headers, X_REQUEST_ID, forwarded.request_id);
    // RFC 7239 §6: an IPv6 address is bracketed, and for that quoted.
    let node = if client.is_ipv6() {
        format!("\"[{client}]\"")
    } else {
        client.to_string()
    };
    let mut line = format!("for={node};proto={proto}");
    if let Some(host) = forwarded.host {
        headers.insert(X_FORWARDED_HOST, host.clone());
        if let Ok(host) = host.to_str() {
            line.push_str(";host=\"");
            line.push_str(host);
            line.push('"');
        }
    }
    set_text(headers, http::header::FORWARDED, &line);
}

/// Sets `Host`.
pub(super) fn set_host(headers: &mut HeaderMap, host: HeaderValue) {
    headers.insert(HOST, host);
}

/// Sets `Content-Length`.
pub(super) fn set_length(headers: &mut HeaderMap, length: u64) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

fn set_text(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Addresses, identifiers and checked authorities are all visible ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_must_not_pass_does_not() {
        let mut headers = map(&[
            ("content-type", "application/json"),
            ("x-custom", "1"),
            ("x-custom", "2"),
            ("authorization", "Basic x"),
            ("verification-token", "t"),
            ("connection", "close, X-One"),
            (
                "connection",
                "keep-alive,x-two , content-type,verification-token, host",
            ),
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded.proto", "http"),
            ("transfer_encoding", "chunked"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-request-id", "theirs"),
            ("x-http-method-override", "DELETE"),
            ("x_method_override", "DELETE"),
            ("x-original-url", "/admin"),
            ("x.rewrite.url", "/admin"),
            ("proxy", "http://evil.example"),
            ("content-length", "3"),
            ("host", "a"),
            ("x_harmless", "1"),
        ]);
        clean_request(&mut headers, false, false);
        assert_eq!(
            names(&headers),
            ["authorization", "content-type", "x-custom", "x_harmless"]
        );
        assert_eq!(headers.get_all("x-custom").iter().count(), 2);
    }

    #[test]
    fn the_token_goes_along_only_when_wanted() {
        let sent = [("verification-token", "t"), ("authorization", "Bearer t")];
        for (forward_token, hide, expected) in [
            (true, true, &["authorization", "verification-token"][..]),
            (false, true, &[]),
            (false, false, &["authorization"]),
        ] {
            let mut headers = map(&sent);
            clean_request(&mut headers, forward_token, hide);
            assert_eq!(names(&headers), expected, "{forward_token} {hide}");
        }
    }

    #[test]
    fn cleaning_twice_changes_nothing_more() {
        let mut once = map(&[
            ("connection", "connection, a"),
            ("a", "1"),
            ("b", "2"),
            ("te", "x"),
        ]);
        clean_request(&mut once, false, false);
        let mut twice = once.clone();
        clean_request(&mut twice, false, false);
        assert_eq!(once, twice);
    }

    #[test]
    fn forwarding_fields_are_set_fresh() {
        let host = HeaderValue::from_static("ehr.example.org:8443");
        let mut headers = HeaderMap::new();
        let forwarded = Forwarded {
            client: "2001:db8::1".parse().unwrap(),
            tls: true,
            host: Some(&host),
            request_id: "id",
        };
        set_forwarded(&mut headers, &forwarded);
        assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "ehr.example.org:8443");
        assert_eq!(headers["x-request-id"], "id");
        assert_eq!(
            headers["forwarded"],
            "for=\"[2001:db8::1]\";proto=https;host=\"ehr.example.org:8443\""
        );
    }
}
