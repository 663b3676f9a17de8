//! TLS towards upstreams: whom they are trusted through, what they are shown, and what they must be called.
//!
//! Equal settings become one configuration, so that upstreams with equal settings share their connections.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName};

use super::url::Url;
use crate::config::certificate::{self, Side};
use crate::config::context::Context;
use crate::config::document::UpstreamTls;
use crate::gateway::plan::{EndpointHost, EndpointTls};
use crate::server::tls::client_config;

/// The configurations so far, each distinct one once.
#[derive(Default)]
pub(super) struct Clients {
    /// The inner `None` after a failure that has been reported.
    made: Vec<(UpstreamTls, Option<Arc<ClientConfig>>)>,
}

impl Clients {
    /// TLS of one upstream, for each of its URLs. `url_path` is where findings about the machine point to.
    pub(super) fn endpoint(
        &mut self,
        context: &mut Context<'_>,
        path: &str,
        settings: Option<&UpstreamTls>,
        url: &Url,
    ) -> Option<EndpointTls> {
        let own = UpstreamTls::default();
        let settings = settings.unwrap_or(&own);
        let config = self.config(context, path, settings)?;
        let server_name = match (&settings.server_name, &url.host) {
            (Some(name), _) => server_name(context, path, name)?,
            (None, EndpointHost::Name(name)) => ServerName::try_from(name.to_string()).ok()?,
            (None, EndpointHost::Address(address)) => ServerName::IpAddress((*address).into()),
        };
        Some(EndpointTls {
            config,
            server_name,
        })
    }

    fn config(
        &mut self,
        context: &mut Context<'_>,
        path: &str,
        settings: &UpstreamTls,
    ) -> Option<Arc<ClientConfig>> {
        let key = UpstreamTls {
            server_name: None,
            ..settings.clone()
        };
        if let Some((_, made)) = self.made.iter().find(|(other, _)| *other == key) {
            return made.clone();
        }
        let made = make(context, path, &key);
        self.made.push((key, made.clone()));
        made
    }
}

fn make(
    context: &mut Context<'_>,
    path: &str,
    settings: &UpstreamTls,
) -> Option<Arc<ClientConfig>> {
    // Both are looked at even if the first is bad.
    let roots = roots(context, path, settings);
    let identity = identity(context, path, settings);
    match client_config(roots?, identity?) {
        Ok(config) => Some(config),
        Err(error) => {
            let path = format!("{path}.tls");
            let found = format!("TLS cannot be set up: {error}");
            context.error(&path, found, "certificates that TLS can use");
            None
        }
    }
}

fn roots(
    context: &mut Context<'_>,
    path: &str,
    settings: &UpstreamTls,
) -> Option<Vec<CertificateDer<'static>>> {
    if let Some(file) = &settings.ca {
        return certificate::authorities(context, &format!("{path}.tls.ca"), file);
    }
    let roots = context.env.trust_roots();
    if roots.is_empty() {
        let found = "an https upstream, and no trusted certificates on this machine";
        let help =
            "install the package ca-certificates, point SSL_CERT_FILE at a bundle, or set `tls.ca`";
        context.error_help(path, found, "a trust store that can be read", help);
        return None;
    }
    Some(roots)
}

/// The client certificate. The outer `None`: there should be one, and cannot be.
#[expect(clippy::option_option, reason = "broken and none are two things")]
fn identity(
    context: &mut Context<'_>,
    path: &str,
    settings: &UpstreamTls,
) -> Option<Option<Arc<CertifiedKey>>> {
    let path = format!("{path}.tls");
    let (certificate, key) = match (&settings.certificate, &settings.key) {
        (None, None) => return Some(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (certificate, _) => {
            let (other, missing) = if certificate.is_some() {
                ("certificate", "key")
            } else {
                ("key", "certificate")
            };
            if !context.lost(&path) {
                let found = format!("`{other}` without `{missing}`");
                context.error(&path, found, "`certificate` and `key`, or neither");
            }
            return None;
        }
    };
    let loaded = certificate::load(
        context,
        Side::Client,
        (&format!("{path}.certificate"), certificate),
        (&format!("{path}.key"), key),
    )?;
    Some(Some(loaded.identity.key))
}

fn server_name(context: &mut Context<'_>, path: &str, name: &str) -> Option<ServerName<'static>> {
    let Ok(name) = ServerName::try_from(name.to_owned()) else {
        let path = format!("{path}.tls.server_name");
        let found = format!("the name {}", context.shown(&path));
        context.error(&path, found, "a host name or an IP address, without port");
        return None;
    };
    Some(name)
}
