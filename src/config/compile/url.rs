//! Upstream URLs taken apart.

use std::net::IpAddr;

use http::HeaderValue;

use crate::gateway::plan::EndpointHost;
use crate::route::{PathError, check_path};

/// A URL taken apart.
pub(super) struct Url {
    pub(super) secure: bool,
    pub(super) host: EndpointHost,
    pub(super) port: u16,
    /// `None` without a path, not even a slash.
    pub(super) path: Option<String>,
    pub(super) authority: HeaderValue,
}

/// What is wrong with a URL.
pub(super) enum UrlProblem {
    Scheme,
    UserInformation,
    Query,
    Fragment,
    Host,
    Port,
    Path(PathError),
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, UrlProblem> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlProblem::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlProblem::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlProblem::UserInformation);
        }
        if rest.contains('#') {
            return Err(UrlProblem::Fragment);
        }
        if rest.contains('?') {
            return Err(UrlProblem::Query);
        }
        if !rest.is_empty() {
            check_path(rest).map_err(UrlProblem::Path)?;
        }
        let (host, port) = host_and_port(authority)?;
        let default = if secure { 443 } else { 80 };
        Ok(Self {
            secure,
            host,
            port: port.unwrap_or(default),
            path: (!rest.is_empty()).then(|| rest.to_owned()),
            authority: HeaderValue::from_str(authority).map_err(|_| UrlProblem::Host)?,
        })
    }
}

/// The host and, where there is one, the port.
pub(super) fn host_and_port(authority: &str) -> Result<(EndpointHost, Option<u16>), UrlProblem> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(UrlProblem::Host)?;
            let address = host.parse().map_err(|_| UrlProblem::Host)?;
            (EndpointHost::Address(IpAddr::V6(address)), port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            (name_or_address(host)?, port)
        }
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    let number = port.strip_prefix(':').and_then(|port| port.parse().ok());
    let number = number
        .filter(|number| *number > 0)
        .ok_or(UrlProblem::Port)?;
    Ok((host, Some(number)))
}

fn name_or_address(host: &str) -> Result<EndpointHost, UrlProblem> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(EndpointHost::Address(address));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if host.is_empty() || numeric || host.len() > 253 || !host.chars().all(allowed) {
        return Err(UrlProblem::Host);
    }
    Ok(EndpointHost::Name(host.to_ascii_lowercase().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart() {
        let cases = [
            ("http://ehr", Some((false, 80))),
            ("https://ehr", Some((true, 443))),
            ("HTTP://EHR:8080", Some((false, 8080))),
            ("http://[::1]:81/x", Some((false, 81))),
            ("http://10.0.0.1:6661", Some((false, 6661))),
            ("http://", None),
            ("http://:80", None),
            ("http://a:0", None),
            ("http://a:70000", None),
            ("http://a:", None),
            ("http://a b", None),
            ("http://10.0.0.256", None),
            ("http://[::1", None),
            ("http://u:p@a", None),
            ("http://a?b", None),
            ("http://a/#b", None),
            ("http://a/../b", None),
            ("ftp://a", None),
            ("a:80", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let parsed = Url::parse(text).ok();
            assert_eq!(parsed.map(|url| (url.secure, url.port)), expected, "{text}");
        }
    }
}
