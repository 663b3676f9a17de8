//! Whom to probe: a URL as a sender has it, and where its host is.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::Uri;
use rustls_pki_types::ServerName;

/// The gateway to probe.
#[derive(Clone, Debug)]
pub struct Target {
    url: String,
    host: String,
    port: u16,
    path: String,
    tls: bool,
    address: Option<SocketAddr>,
}

/// `HOST:PORT:ADDR`: where a host is, whatever its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    address: IpAddr,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (host, rest) = match text.strip_prefix('[') {
                Some(rest) => rest.split_once("]:")?,
                None => text.split_once(':')?,
            };
            let (port, address) = rest.split_once(':')?;
            let address = address.trim_start_matches('[').trim_end_matches(']');
            Some(Self {
                host: host.to_ascii_lowercase(),
                port: port.parse().ok()?,
                address: address.parse().ok()?,
            })
        };
        parsed().ok_or_else(|| {
            "expected HOST:PORT:ADDR, such as ehr.example.org:443:192.0.2.7".to_owned()
        })
    }
}

impl Target {
    /// Reads a URL; `resolve` says where its host is, where the machine's resolver should not be asked.
    ///
    /// # Errors
    /// What is wrong with the URL, in words.
    pub fn new(url: &str, resolve: Option<&Resolve>) -> Result<Self, &'static str> {
        if url.contains('#') {
            return Err("has a fragment, which no sender sends");
        }
        if !url.contains("://") {
            return Err("does not begin with https://");
        }
        let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("does not begin with https://"),
        };
        let authority = uri.authority().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("has a user or a password in it");
        }
        if uri.query().is_some() {
            return Err("has a query; senders append theirs, and nobody says how");
        }
        let host = authority.host().to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(bare)
            .map_err(|_| "has a host that is neither a name nor an address")?;
        let usual = if tls { 443 } else { 80 };
        // Not `Authority::port`: it has none for a port that is no number or too large, as if there were none.
        let after = authority.as_str().strip_prefix(authority.host());
        let port = match after {
            Some("") => usual,
            Some(after) => match after.strip_prefix(':').map(str::parse) {
                Some(Ok(port)) if port > 0 => port,
                Some(_) | None => return Err("has a port that is none"),
            },
            None => return Err("is not a URL"),
        };
        let address = match resolve {
            Some(other) if other.host != bare || other.port != port => {
                return Err("has another host or port than --resolve");
            }
            Some(other) => Some(SocketAddr::new(other.address, port)),
            None => bare.parse().ok().map(|ip| SocketAddr::new(ip, port)),
        };
        let here = |address: SocketAddr| address.ip().is_loopback();
        if !tls && !address.map_or(bare == "localhost", here) {
            return Err(
                "is http:// to another machine, which would show the token to everyone between",
            );
        }
        Ok(Self {
            url: url.to_owned(),
            host: bare.to_owned(),
            port,
            path: uri.path().to_owned(),
            tls,
            address,
        })
    }

    /// As it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Where it is, unless its name has to be looked up.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// As the `Host` field has it.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_senders_read_them() {
        for (url, authority, path) in [
            ("https://EHR.example.org", "ehr.example.org", "/"),
            (
                "https://ehr.example.org:443/redox",
                "ehr.example.org",
                "/redox",
            ),
            (
                "https://ehr.example.org:8443/a/b",
                "ehr.example.org:8443",
                "/a/b",
            ),
            ("https://[2001:db8::7]/redox", "[2001:db8::7]", "/redox"),
            ("https://[2001:db8::7]:444/", "[2001:db8::7]:444", "/"),
            ("http://127.0.0.1:8080/redox", "127.0.0.1:8080", "/redox"),
            ("http://localhost/redox", "localhost", "/redox"),
        ] {
            let target = Target::new(url, None).unwrap();
            assert_eq!((&*target.authority(), target.path()), (authority, path));
            assert_eq!(target.url(), url);
        }
    }

    #[test]
    fn what_is_no_target_is_told() {
        for (url, part) in [
            ("", "https://"),
            ("https://", "not a URL"),
            ("ehr.example.org/redox", "https://"),
            ("/redox", "https://"),
            ("ftp://ehr.example.org/", "https://"),
            ("https://user:word@ehr.example.org/", "user"),
            ("https://ehr.example.org/redox?a=b", "query"),
            ("https://ehr.example.org/redox#a", "fragment"),
            ("https://ehr.example.org:x/", "a port"),
            ("https://ehr.example.org:/", "a port"),
            ("https://ehr.example.org:0/", "a port"),
            ("https://ehr.example.org:65536/", "a port"),
            ("https://[2001:db8::7]:99999/", "a port"),
            ("https://[2001:db8::7]x/", "a port"),
            ("https://ehr!.example.org/", "neither a name nor an address"),
            ("http://ehr.example.org/", "another machine"),
            ("http://192.0.2.7/", "another machine"),
        ] {
            let said = Target::new(url, None).unwrap_err();
            assert!(said.contains(part), "{url}: {said}");
        }
    }

    #[test]
    fn resolve_says_where_a_host_is() {
        let resolve: Resolve = "ehr.example.org:8443:127.0.0.1".parse().unwrap();
        let target = Target::new("https://ehr.example.org:8443/redox", Some(&resolve)).unwrap();
        assert_eq!(
            target.address(),
            Some(SocketAddr::from(([127, 0, 0, 1], 8443)))
        );
        assert!(Target::new("https://ehr.example.org/redox", Some(&resolve)).is_err());
        assert!(Target::new("https://other.example.org:8443/", Some(&resolve)).is_err());
        let plain: Resolve = "ehr.example.org:80:192.0.2.7".parse().unwrap();
        assert!(Target::new("http://ehr.example.org/", Some(&plain)).is_err());
        for good in ["a:1:[::1]", "[::1]:1:::1", "A:443:192.0.2.7"] {
            assert!(good.parse::<Resolve>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a:1",
            "a:b:127.0.0.1",
            "a:1:b",
            "a:70000:127.0.0.1",
        ] {
            assert!(bad.parse::<Resolve>().is_err(), "{bad}");
        }
    }
}
