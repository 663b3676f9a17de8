//! Upstreams: URLs, the path rule, the `Host` header.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;

use super::upstream_tls::Clients;
use super::url::{Url, UrlProblem, host_and_port};
use super::{address, care};
use crate::config::context::Context;
use crate::config::document::{Upstream, UpstreamTls};
use crate::config::words::HeaderCase as Case;
use crate::gateway::plan::{
    Endpoint, EndpointHost, Forwarding, HeaderCase, HostRule, PathRule, UpstreamCare, UpstreamPlan,
};
use crate::route::{PathPattern, Pattern};

const EXPECTED: &str = "an upstream such as http://10.20.0.5:6661 or https://ehr.example.org/redox";

/// All upstreams so far, each distinct one once.
pub(super) struct Upstreams<'l> {
    plans: Vec<UpstreamPlan>,
    listeners: &'l [(String, SocketAddr)],
    clients: Clients,
}

impl<'l> Upstreams<'l> {
    pub(super) fn new(listeners: &'l [(String, SocketAddr)]) -> Self {
        Self {
            plans: Vec::new(),
            listeners,
            clients: Clients::default(),
        }
    }

    pub(super) fn into_plans(self) -> Vec<UpstreamPlan> {
        self.plans
    }

    /// Compiles an upstream: its position, and how requests are rewritten for it.
    pub(super) fn add(
        &mut self,
        context: &mut Context<'_>,
        path: &str,
        upstream: &Upstream,
        pattern: Option<&Pattern>,
    ) -> Option<(usize, Forwarding)> {
        let host = host_rule(
            context,
            &format!("{path}.host_header"),
            &upstream.host_header,
        );
        let care = care::compile(context, path, upstream);
        let settings = settings(context, path, upstream)?;
        let mut urls: Vec<Url> = Vec::new();
        let mut complete = true;
        for (path, text) in &settings {
            match self.url(context, path, text) {
                Some(url) => urls.push(url),
                None => complete = false,
            }
        }
        let first = urls.first()?;
        if let Some((at, _)) = settings
            .iter()
            .zip(&urls)
            .find(|(_, url)| url.path != first.path)
            && complete
        {
            let found = format!("{} with another path than the first", context.shown(&at.0));
            context.error(&at.0, found, "the same path in all URLs of an upstream");
            return None;
        }
        if upstream.tls.is_some()
            && let Some(plain) = urls.iter().position(|url| !url.secure)
            && complete
        {
            let at = settings.get(plain).map_or("", |(path, _)| path);
            let found = format!("plain HTTP to {}, beside `tls`", context.shown(at));
            let help = "begin all URLs with https://, or take `tls` out";
            context.error_help(at, found, "https where there is `tls`", help);
            return None;
        }
        let path_rule = path_rule(pattern?.path(), first.path.as_deref());
        let endpoints: Option<Vec<Endpoint>> = urls
            .iter()
            .map(|url| self.endpoint(context, path, upstream.tls.as_ref(), url))
            .collect();
        let index = self.share(endpoints.filter(|_| complete)?, upstream.header_case, care?)?;
        Some((
            index,
            Forwarding {
                path: path_rule,
                host: host?,
                forward_token: upstream.forward_token,
            },
        ))
    }

    fn url(&self, context: &mut Context<'_>, path: &str, text: &str) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) => {
                self.check_loop(context, path, &url)?;
                warn_reach(context, path, &url);
                Some(url)
            }
            Err(problem) => {
                report(context, path, text, &problem);
                None
            }
        }
    }

    /// `None` where the upstream is one of our own listeners.
    fn check_loop(&self, context: &mut Context<'_>, path: &str, url: &Url) -> Option<()> {
        let target = match &url.host {
            EndpointHost::Address(address) => *address,
            EndpointHost::Name(name) if &**name == "localhost" => IpAddr::from([127, 0, 0, 1]),
            EndpointHost::Name(_) => return Some(()),
        };
        let target = SocketAddr::new(target, url.port);
        let own = self
            .listeners
            .iter()
            .find(|(_, listener)| address::reaches(target, *listener));
        let Some((listener, _)) = own else {
            return Some(());
        };
        let line = context.line(listener);
        let found = format!(
            "the upstream {} is the listener in line {line}",
            context.shown(path)
        );
        let help = "requests would go round in a circle; name the backend's own address";
        context.error_help(path, found, "an upstream that is not this gateway", help);
        None
    }

    fn endpoint(
        &mut self,
        context: &mut Context<'_>,
        path: &str,
        tls: Option<&UpstreamTls>,
        url: &Url,
    ) -> Option<Endpoint> {
        let tls = match url.secure {
            true => Some(self.clients.endpoint(context, path, tls, url)?),
            false => None,
        };
        Some(Endpoint {
            name: name_of(url),
            host: url.host.clone(),
            port: url.port,
            tls,
            authority: url.authority.clone(),
        })
    }

    /// The position of an upstream like this one; a new one where there is none, so that equal ones share their
    /// connections.
    fn share(&mut self, endpoints: Vec<Endpoint>, case: Case, care: UpstreamCare) -> Option<usize> {
        let header_case = match case {
            Case::Title => HeaderCase::Title,
            Case::Preserve => HeaderCase::Preserve,
            Case::Lower => HeaderCase::Lower,
        };
        let same = |plan: &UpstreamPlan| {
            plan.header_case == header_case
                && plan.care == care
                && plan.endpoints.len() == endpoints.len()
                && plan
                    .endpoints
                    .iter()
                    .zip(&endpoints)
                    .all(|(a, b)| same_endpoint(a, b))
        };
        if let Some(index) = self.plans.iter().position(same) {
            return Some(index);
        }
        let name = Arc::clone(&endpoints.first()?.name);
        let plan = UpstreamPlan::new(name, endpoints, header_case, care);
        self.plans.push(plan);
        self.plans.len().checked_sub(1)
    }
}

fn report(context: &mut Context<'_>, path: &str, text: &str, problem: &UrlProblem) {
    let help = match problem {
        UrlProblem::UserInformation => {
            // It may hold a password.
            context.hide(path);
            let found = "an upstream with user information in front of `@`";
            let help = "the gateway adds no credentials; take them out, and change them: they have been in a file";
            context.error_help(path, found, EXPECTED, help);
            return;
        }
        UrlProblem::Scheme if !text.contains("://") => "begin with http:// or https://".to_owned(),
        UrlProblem::Scheme => "only http and https are spoken here".to_owned(),
        UrlProblem::Query => {
            "a query comes from the sender; take out `?` and what follows".to_owned()
        }
        UrlProblem::Fragment => "take out `#` and what follows".to_owned(),
        UrlProblem::Host => {
            "the host is a name or an IP address; IPv6 stands in brackets".to_owned()
        }
        UrlProblem::Port => "the port is a number from 1 to 65535".to_owned(),
        UrlProblem::Path(error) => format!("a path without {error}"),
    };
    // A query can carry a key as well as user information can.
    let found = if matches!(problem, UrlProblem::Query | UrlProblem::Fragment) {
        context.hide(path);
        "an upstream with a query or a fragment".to_owned()
    } else {
        format!("the upstream {}", context.shown(path))
    };
    context.error_help(path, found, EXPECTED, help);
}

/// The settings that hold the URLs.
fn settings<'u>(
    context: &mut Context<'_>,
    path: &str,
    upstream: &'u Upstream,
) -> Option<Vec<(String, &'u str)>> {
    let expected = "exactly one of `url` and `urls`";
    match (&upstream.url, &upstream.urls) {
        (Some(url), None) => Some(vec![(format!("{path}.url"), url)]),
        (None, Some(urls)) => {
            let path = format!("{path}.urls");
            if urls.is_empty() && !context.lost(&path) {
                context.error(&path, "no URLs", "at least one URL");
            }
            let urls = urls.iter().enumerate();
            Some(
                urls.map(|(index, url)| (format!("{path}[{index}]"), url.as_str()))
                    .collect(),
            )
        }
        (Some(_), Some(_)) => {
            context.error(&format!("{path}.urls"), "both `url` and `urls`", expected);
            None
        }
        (None, None) => {
            if !context.lost(path) {
                context.error_help(
                    path,
                    "neither `url` nor `urls`",
                    expected,
                    "url: http://10.20.0.5:6661",
                );
            }
            None
        }
    }
}

/// Warns of names that lead nowhere, and of plain HTTP that leaves private networks.
fn warn_reach(context: &mut Context<'_>, path: &str, url: &Url) {
    let addresses = match &url.host {
        EndpointHost::Address(address) => vec![*address],
        EndpointHost::Name(name) => context.env.resolve(name),
    };
    if addresses.is_empty() {
        let found = format!("the host of {} cannot be resolved", context.shown(path));
        let help = "until it can, every message is answered 502; is the name right, and this machine's DNS?";
        context.warn_help(path, found, "a host that this machine can resolve", help);
        return;
    }
    if !url.secure && !addresses.iter().copied().all(address::is_private) {
        let found = format!(
            "plain HTTP to {}, which is outside of private networks",
            context.shown(path)
        );
        let help = "patient data would be readable on the way; use https";
        context.warn_help(path, found, "https, or a private address", help);
    }
}

/// The path towards the upstream, as the documentation of `url` says.
fn path_rule(pattern: &PathPattern, url_path: Option<&str>) -> PathRule {
    match (pattern, url_path) {
        (_, None) => PathRule::Keep,
        (PathPattern::Exact(_), Some(path)) => PathRule::Replace(path.into()),
        (PathPattern::Below(prefix), Some(path)) => PathRule::ReplacePrefix {
            // The slash stays.
            prefix_length: prefix.len().saturating_sub(1),
            with: path.trim_end_matches('/').into(),
        },
    }
}

fn host_rule(context: &mut Context<'_>, path: &str, text: &str) -> Option<HostRule> {
    match text {
        "preserve" => return Some(HostRule::Preserve),
        "upstream" => return Some(HostRule::Upstream),
        _ => {}
    }
    match (host_and_port(text), HeaderValue::from_str(text)) {
        (Ok(_), Ok(value)) => Some(HostRule::Literal(value)),
        (Err(_), _) | (_, Err(_)) => {
            let found = format!("the host {}", context.shown(path));
            context.error(
                path,
                found,
                "`preserve`, `upstream`, or a host name without scheme and path",
            );
            None
        }
    }
}

fn same_endpoint(a: &Endpoint, b: &Endpoint) -> bool {
    let same_tls = match (&a.tls, &b.tls) {
        (None, None) => true,
        // Equal settings have been made into one configuration.
        (Some(a), Some(b)) => Arc::ptr_eq(&a.config, &b.config) && a.server_name == b.server_name,
        (Some(_), None) | (None, Some(_)) => false,
    };
    // The authority counts: it is what `host_header: upstream` sends.
    same_tls && (&a.host, a.port, &a.authority) == (&b.host, b.port, &b.authority)
}

fn name_of(endpoint: &Url) -> Arc<str> {
    let scheme = if endpoint.secure { "https" } else { "http" };
    let port = endpoint.port;
    match &endpoint.host {
        EndpointHost::Name(name) => format!("{scheme}://{name}:{port}").into(),
        EndpointHost::Address(IpAddr::V4(address)) => format!("{scheme}://{address}:{port}").into(),
        EndpointHost::Address(IpAddr::V6(address)) => {
            format!("{scheme}://[{address}]:{port}").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_rule() {
        let prefix = |prefix_length, with: &str| PathRule::ReplacePrefix {
            prefix_length,
            with: with.into(),
        };
        let cases = [
            ("/redox", "http://a", PathRule::Keep),
            ("/redox", "http://a/", PathRule::Replace("/".into())),
            (
                "/redox",
                "http://a/in/box",
                PathRule::Replace("/in/box".into()),
            ),
            ("/redox/*", "http://a", PathRule::Keep),
            ("/redox/*", "http://a/", prefix(6, "")),
            ("/redox/*", "http://a/in", prefix(6, "/in")),
            ("/redox/*", "http://a/in/", prefix(6, "/in")),
            ("/*", "http://a/in", prefix(0, "/in")),
        ];
        for (path, url, expected) in cases {
            let pattern = Pattern::parse(None, path).unwrap();
            let url = Url::parse(url).ok().unwrap();
            let rule = path_rule(pattern.path(), url.path.as_deref());
            assert_eq!(rule, expected, "{path} {:?}", url.path);
        }
    }
}
