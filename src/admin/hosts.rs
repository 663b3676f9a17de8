//! Which `Host` a request for the status page may name.
//!
//! A page of somebody else can make a browser ask for ours under a name that it points here (DNS rebinding), and would
//! then read the answer. Such a request names a host that nobody has allowed, so it is refused. Programs that ask for
//! metrics and health have no browser's trust to lose, and are not asked.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};

/// Names under which the status page may be asked for, besides addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(Vec<Box<str>>);

impl Hosts {
    /// `names` are in lower case, without ports.
    pub(super) fn new(names: Vec<Box<str>>) -> Self {
        Self(names)
    }

    /// Whether a request that came to `own` may be answered. Its `Host` counts, and so does the authority of a target
    /// in absolute form, of which RFC 9112 §3.2.2 has the server believe the latter.
    pub(super) fn allow(&self, uri: &Uri, headers: &HeaderMap, own: IpAddr) -> bool {
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return false;
        };
        let host = host.to_str().ok().and_then(|text| text.parse().ok());
        let allowed = |authority: &Authority| self.allows(authority, own);
        host.as_ref().is_some_and(allowed) && uri.authority().is_none_or(allowed)
    }

    /// The port does not matter: whoever forwards one knows what he does, and a rebinding needs a name.
    fn allows(&self, authority: &Authority, own: IpAddr) -> bool {
        let host = authority.host().to_ascii_lowercase();
        if authority.as_str().contains('@') {
            return false;
        }
        if self.0.iter().any(|name| **name == *host) {
            return true;
        }
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                address.is_loopback() || address == own.to_canonical()
            }
            Err(_) => host == "localhost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn allowed(uri: &str, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        let own = IpAddr::from([10, 0, 0, 7]);
        Hosts::new(vec!["gate.example.org".into(), "[fd00::5]".into()]).allow(
            &uri.parse().unwrap(),
            &headers,
            own,
        )
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_good() {
        for host in [
            "127.0.0.1:9090",
            "127.0.0.9",
            "[::1]:9090",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LocalHost:1",
            "10.0.0.7:9090",
            "gate.example.org",
            "Gate.Example.org:80",
            "[FD00::5]:9090",
        ] {
            assert!(allowed("/status", &[host]), "{host}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "gate.example.org.evil.example",
            "10.0.0.8:9090",
            "gate.example.org@evil.example",
            "user@localhost",
            "localhost localhost",
            "",
        ] {
            assert!(!allowed("/status", &[host]), "{host}");
        }
        assert!(!allowed("/status", &[]));
        assert!(!allowed("/status", &["localhost", "localhost"]));
        assert!(!allowed("http://evil.example/status", &["localhost"]));
        assert!(allowed("http://localhost/status", &["localhost"]));
    }
}
