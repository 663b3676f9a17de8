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

use std::net::IpAddr;

use http::header::{CONNECTION, COOKIE, FORWARDED};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::upstream::HeadWriter;
use crate::telemetry::write_address;
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

/// Which fields of a request reach the upstream.
pub(super) struct Passing {
    nominated: Vec<String>,
    forward_token: bool,
    hide_authorization: bool,
}

impl Passing {
    pub(super) fn new(headers: &HeaderMap, forward_token: bool, hide_authorization: bool) -> Self {
        Self {
            nominated: nominated(headers),
            forward_token,
            hide_authorization,
        }
    }

    /// Writes the fields that pass, in one go over all of them.
    pub(super) fn write(&self, headers: &HeaderMap, head: &mut HeadWriter<'_>) {
        let cookie = whole_cookie(headers);
        for (name, value) in headers {
            if self.passes(name.as_str()) && (cookie.is_none() || name != COOKIE) {
                head.field(name, value.as_bytes());
            }
        }
        if let Some(cookie) = cookie.filter(|_| self.passes(COOKIE.as_str())) {
            head.field(&COOKIE, &cookie);
        }
    }

    fn passes(&self, name: &str) -> bool {
        let token = name == TOKEN_HEADER.as_str();
        let goes = (token && !self.forward_token)
            || (self.hide_authorization && !self.forward_token && name == "authorization")
            || is_hop_by_hop(name)
            || is_ours(name)
            || is_override(name)
            || (self.nominated.iter().any(|other| other == name) && !is_protected(name))
            || is_folded_twin(name);
        !goes
    }
}

/// RFC 9113 §8.2.3: HTTP/2 may cut a cookie line into pieces, which no server of HTTP/1.1 puts together again. `None`
/// where there is nothing to put together.
fn whole_cookie(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(COOKIE).iter();
    let (first, second) = (lines.next()?, lines.next()?);
    let pieces = [first, second].into_iter().chain(lines);
    let pieces: Vec<&[u8]> = pieces.map(HeaderValue::as_bytes).collect();
    Some(pieces.join(&b"; "[..]))
}

/// Removes from an upstream's answer all that is about its connection.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    let nominated = nominated(headers);
    let goes = |name: &str| {
        is_hop_by_hop(name) || (nominated.iter().any(|other| other == name) && !is_protected(name))
    };
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
    pub(super) client: IpAddr,
    pub(super) tls: bool,
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) request_id: &'a str,
}

impl Forwarded<'_> {
    /// Writes the fields that tell the upstream about the sender, in both common forms (RFC 7239 and `X-Forwarded-*`).
    pub(super) fn write(&self, head: &mut HeadWriter<'_>) {
        let proto: &[u8] = if self.tls { b"https" } else { b"http" };
        let client = self.client.to_canonical();
        head.field_with(&X_FORWARDED_FOR, |out| write_address(out, client));
        head.field(&X_FORWARDED_PROTO, proto);
        head.field(&X_REQUEST_ID, self.request_id.as_bytes());
        if let Some(host) = self.host {
            head.field(&X_FORWARDED_HOST, host.as_bytes());
        }
        head.field_with(&FORWARDED, |out| {
            // RFC 7239 §6: an IPv6 address is bracketed, and for that quoted.
            let (open, close): (&[u8], &[u8]) = match client {
                IpAddr::V4(_) => (b"for=", b""),
                IpAddr::V6(_) => (b"for=\"[", b"]\""),
            };
            out.extend_from_slice(open);
            write_address(out, client);
            out.extend_from_slice(close);
            out.extend_from_slice(b";proto=");
            out.extend_from_slice(proto);
            if let Some(host) = self.host.and_then(|host| host.to_str().ok()) {
                out.extend_from_slice(b";host=\"");
                out.extend_from_slice(host.as_bytes());
                out.push(b'"');
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::gateway::plan::HeaderCase;
    use crate::verify::BodyLength;

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

    fn written(write: impl FnOnce(&mut HeadWriter<'_>)) -> Vec<String> {
        let mut head = HeadWriter::new(&Method::POST, "/", HeaderCase::Lower, None);
        write(&mut head);
        let head = String::from_utf8(head.finish(BodyLength::Exact(0)).to_vec()).unwrap();
        let fields = head.trim_end().lines().skip(1);
        let fields = fields.filter(|line| !line.starts_with("content-length"));
        fields.map(str::to_owned).collect()
    }

    fn passing(headers: &HeaderMap, forward_token: bool, hide: bool) -> Vec<String> {
        let passing = Passing::new(headers, forward_token, hide);
        let mut fields = written(|head| passing.write(headers, head));
        fields.sort_unstable();
        fields
    }

    #[test]
    fn what_must_not_pass_does_not() {
        let headers = map(&[
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
        let expected = [
            "authorization: Basic x",
            "content-type: application/json",
            "x-custom: 1",
            "x-custom: 2",
            "x_harmless: 1",
        ];
        assert_eq!(passing(&headers, false, false), expected);
    }

    #[test]
    fn the_token_goes_along_only_when_wanted() {
        let sent = [("verification-token", "t"), ("authorization", "Bearer t")];
        for (forward_token, hide, expected) in [
            (
                true,
                true,
                &["authorization: Bearer t", "verification-token: t"][..],
            ),
            (false, true, &[]),
            (false, false, &["authorization: Bearer t"]),
        ] {
            let passed = passing(&map(&sent), forward_token, hide);
            assert_eq!(passed, expected, "{forward_token} {hide}");
        }
    }

    #[test]
    fn pieces_of_a_cookie_become_one_line() {
        let whole = map(&[("cookie", "a=1; b=2")]);
        assert_eq!(passing(&whole, false, false), ["cookie: a=1; b=2"]);
        let pieces = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        assert_eq!(passing(&pieces, false, false), ["cookie: a=1; b=2; c=3"]);
        let hidden = map(&[
            ("connection", "cookie"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ]);
        assert!(passing(&hidden, false, false).is_empty());
    }

    #[test]
    fn forwarding_fields_are_set_fresh() {
        let host = HeaderValue::from_static("ehr.example.org:8443");
        let forwarded = Forwarded {
            client: "2001:db8::1".parse().unwrap(),
            tls: true,
            host: Some(&host),
            request_id: "id",
        };
        let expected = [
            "x-forwarded-for: 2001:db8::1",
            "x-forwarded-proto: https",
            "x-request-id: id",
            "x-forwarded-host: ehr.example.org:8443",
            "forwarded: for=\"[2001:db8::1]\";proto=https;host=\"ehr.example.org:8443\"",
        ];
        assert_eq!(written(|head| forwarded.write(head)), expected);
    }
}
