//! Listeners: addresses, names, TLS.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::{CertificateInfo, address};
use crate::config::certificate::{self, Loaded, Side};
use crate::config::context::Context;
use crate::config::document::{Listener, Tls};
use crate::config::label::label_problem;
use crate::config::words::ProxyProtocol;
use crate::server::ListenerSpec;
use crate::server::tls::{MinimumVersion, ServerTls};

const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=1_000_000;
const TLS_SOURCES: &str =
    "exactly one of `certificate` with `key`, `certificates` or `self_signed`";

/// TLS of a listener, and what stands for all it was made of.
struct BuiltTls {
    config: Arc<rustls::ServerConfig>,
    minimum: MinimumVersion,
    digest: [u8; 32],
}

/// What became of the listeners.
pub(super) struct Listeners {
    /// `None` where one of them cannot be.
    pub(super) specs: Option<Vec<ListenerSpec>>,
    pub(super) certificates: Vec<CertificateInfo>,
    /// Path and address of each listener whose address could be read.
    pub(super) addresses: Vec<(String, SocketAddr)>,
    /// The names of all certificates; `None` where a listener has none that could be read, or ends no TLS.
    pub(super) names: Option<Vec<String>>,
}

/// `trusted_proxies` is looked at elsewhere; what of it cannot be read is passed over here.
pub(super) fn compile(
    context: &mut Context<'_>,
    listeners: &[Listener],
    trusted_proxies: &[String],
) -> Listeners {
    let trusted: Arc<[IpNet]> = trusted_proxies
        .iter()
        .filter_map(|it| network(it))
        .collect();
    let mut all = Listeners {
        specs: None,
        certificates: Vec::new(),
        addresses: Vec::new(),
        names: Some(Vec::new()),
    };
    if listeners.is_empty() && context.has("listeners") && !context.lost("listeners") {
        let help = "- address: 0.0.0.0:8443";
        context.error_help("listeners", "no listeners", "at least one listener", help);
    }
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut specs = Vec::new();
    for (index, listener) in listeners.iter().enumerate() {
        let path = format!("listeners[{index}]");
        specs.extend(one(
            context, &path, listener, &trusted, &mut names, &mut all,
        ));
    }
    let complete = specs.len() == listeners.len() && !specs.is_empty();
    all.specs = complete.then_some(specs);
    all
}

/// A network, or an address alone.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

fn one(
    context: &mut Context<'_>,
    path: &str,
    listener: &Listener,
    trusted: &Arc<[IpNet]>,
    names: &mut Vec<(String, usize)>,
    all: &mut Listeners,
) -> Option<ListenerSpec> {
    let address = listener
        .address
        .as_deref()
        .and_then(|text| address(context, path, text, all));
    let name = listener.name.clone().or_else(|| listener.address.clone())?;
    unique_name(context, path, listener, &name, names);
    if !CONNECTIONS.contains(&listener.max_connections) {
        let path = format!("{path}.max_connections");
        let found = format!("the number {}", context.shown(&path));
        context.error(&path, found, "1 to 1000000");
    }
    if !CONNECTIONS.contains(&listener.max_connections_per_source) {
        let path = format!("{path}.max_connections_per_source");
        let found = format!("the number {}", context.shown(&path));
        context.error(&path, found, "1 to 1000000");
    }
    let proxy_protocol = listener.proxy_protocol == ProxyProtocol::Required;
    if proxy_protocol && trusted.is_empty() {
        let found = "PROXY headers from everybody";
        let help = "whoever reaches this listener can name any address as its own; list the load balancer's networks \
                    in `trusted_proxies`";
        let path = format!("{path}.proxy_protocol");
        context.warn_help(
            &path,
            found,
            "`trusted_proxies` that say whose are believed",
            help,
        );
    }
    let tls = security(context, path, listener, &name, all);
    if listener.insecure_plaintext
        && listener.tls.is_none()
        && let Some(address) = address
    {
        warn_public_plaintext(context, path, address);
    }
    let tls = tls?;
    Some(ListenerSpec {
        name: name.into(),
        address: address?,
        tls_minimum: tls.as_ref().map(|tls| tls.minimum),
        tls_digest: tls.as_ref().map(|tls| tls.digest),
        tls: tls.map(|tls| tls.config),
        max_connections: usize::try_from(listener.max_connections).ok()?,
        max_connections_per_source: usize::try_from(listener.max_connections_per_source).ok()?,
        proxy_protocol,
        trusted_proxies: Arc::clone(trusted),
    })
}

fn address(
    context: &mut Context<'_>,
    path: &str,
    text: &str,
    all: &mut Listeners,
) -> Option<SocketAddr> {
    let path = format!("{path}.address");
    let address = address::parse(context, &path, text)?;
    let taken = all
        .addresses
        .iter()
        .find(|(_, other)| address::collide(*other, address));
    if let Some((first, other)) = taken {
        let line = context.line(first);
        let found = format!("the address {address} is taken by {other} in line {line}");
        context.error(&path, found, "an address of its own for each listener");
        return None;
    }
    all.addresses.push((path, address));
    Some(address)
}

fn unique_name(
    context: &mut Context<'_>,
    path: &str,
    listener: &Listener,
    name: &str,
    names: &mut Vec<(String, usize)>,
) {
    let own = listener.name.is_some();
    let path = format!("{path}.{}", if own { "name" } else { "address" });
    if let Some(problem) = label_problem(name).filter(|_| own) {
        let found = format!("the name {}", context.shown(&path));
        context.error(&path, found, problem);
    }
    let line = context.line(&path);
    let Some((_, first)) = names.iter().find(|(other, _)| other == name) else {
        names.push((name.to_owned(), line));
        return;
    };
    let expected = "a name of its own for each listener";
    if own {
        let shown = context.shown(&path);
        let found =
            format!("a second listener with the name {shown}; the first is in line {first}");
        context.error(&path, found, expected);
    } else if name.ends_with(":0") {
        // Any other address that stands twice is reported as that.
        let found =
            format!("a listener without a name, for which its address is taken in line {first}");
        context.error_help(&path, found, expected, "give it a `name`");
    }
}

fn warn_public_plaintext(context: &mut Context<'_>, path: &str, address: SocketAddr) {
    if address::is_private(address.ip()) {
        return;
    }
    let found = format!("plain HTTP on {address}, which is open to more than private networks");
    let help = "tokens and patient data would be readable on the way; use `tls`, or an address that only the load \
                balancer reaches";
    context.warn_help(
        &format!("{path}.insecure_plaintext"),
        found,
        "TLS, or a private address",
        help,
    );
}

/// TLS or none. The outer `None`: neither can be.
#[expect(clippy::option_option, reason = "broken and plain are two things")]
fn security(
    context: &mut Context<'_>,
    path: &str,
    listener: &Listener,
    name: &str,
    all: &mut Listeners,
) -> Option<Option<BuiltTls>> {
    let expected = "exactly one of `tls` and `insecure_plaintext: true`";
    match (&listener.tls, listener.insecure_plaintext) {
        (Some(tls), false) => {
            let built = self::tls(context, &format!("{path}.tls"), tls, name, all);
            if built.is_none() {
                all.names = None;
            }
            built.map(Some)
        }
        (None, true) => {
            // Whatever ends TLS in front of it has the certificates.
            all.names = None;
            Some(None)
        }
        (Some(_), true) => {
            let path = format!("{path}.insecure_plaintext");
            context.error(&path, "both `tls` and `insecure_plaintext`", expected);
            None
        }
        (None, false) => {
            all.names = None;
            if !context.lost(path) {
                let help = "tls: { certificate: fullchain.pem, key: privkey.pem }";
                context.error_help(
                    path,
                    "neither `tls` nor `insecure_plaintext`",
                    expected,
                    help,
                );
            }
            None
        }
    }
}

fn tls(
    context: &mut Context<'_>,
    path: &str,
    tls: &Tls,
    listener: &str,
    all: &mut Listeners,
) -> Option<BuiltTls> {
    let loaded = identities(context, path, tls)?;
    let mut identities = Vec::new();
    let digest = tls_digest(tls, &loaded);
    for (label, loaded) in loaded {
        let name = loaded.identity.names.first().cloned().unwrap_or(label);
        if let Some(names) = &mut all.names {
            names.extend(loaded.identity.names.iter().cloned());
        }
        let info = CertificateInfo::new(&name, listener, &loaded);
        all.certificates.push(info);
        identities.push(loaded.identity);
    }
    let minimum = tls.minimum_version.into();
    let built = ServerTls {
        identities,
        minimum_version: minimum,
        cipher_preference: tls.cipher_preference.into(),
    }
    .build();
    match built {
        Ok(config) => Some(BuiltTls {
            config,
            minimum,
            digest,
        }),
        Err(error) => {
            context.error(path, format!("TLS cannot be set up: {error}"), TLS_SOURCES);
            None
        }
    }
}

/// Two with the same digest are alike. A throw-away certificate counts by its names: it is another one each time, and
/// it is good for as long as the program runs.
fn tls_digest(tls: &Tls, loaded: &[(String, Loaded)]) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(bytes);
    };
    add(format!("{:?} {:?}", tls.minimum_version, tls.cipher_preference).as_bytes());
    match &tls.self_signed {
        Some(names) => names.iter().for_each(|name| add(name.as_bytes())),
        // The key fits its certificate, so it need not count.
        None => {
            let chains = loaded
                .iter()
                .flat_map(|(_, loaded)| &loaded.identity.key.cert);
            chains.for_each(|certificate| add(certificate));
        }
    }
    digest.finalize().into()
}

/// The certificates of a listener, each with the name of its file.
fn identities(context: &mut Context<'_>, path: &str, tls: &Tls) -> Option<Vec<(String, Loaded)>> {
    let files = tls.certificate.is_some() || tls.key.is_some();
    let sources = [files, tls.certificates.is_some(), tls.self_signed.is_some()];
    let lost = context.lost(path);
    match sources.iter().filter(|source| **source).count() {
        1 => {}
        0 => {
            if !lost {
                context.error(path, "no certificate", TLS_SOURCES);
            }
            return None;
        }
        _ => {
            context.error(path, "certificates from several sources", TLS_SOURCES);
            return None;
        }
    }
    if let Some(names) = &tls.self_signed {
        return self_signed(context, &format!("{path}.self_signed"), names);
    }
    if let Some(pairs) = &tls.certificates {
        let path = format!("{path}.certificates");
        if pairs.is_empty() && !context.lost(&path) {
            context.error(
                &path,
                "no certificates",
                "at least one certificate with its key",
            );
        }
        let pairs = pairs.iter().enumerate().map(|(index, pair)| {
            let path = format!("{path}[{index}]");
            self::pair(
                context,
                &path,
                pair.certificate.as_deref(),
                pair.key.as_deref(),
            )
        });
        // Collected first, so that each is looked at even if the first is bad.
        let pairs: Vec<Option<_>> = pairs.collect();
        return pairs
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .filter(|pairs| !pairs.is_empty());
    }
    if !lost && (tls.certificate.is_none() || tls.key.is_none()) {
        let (missing, other) = if tls.key.is_none() {
            ("key", "certificate")
        } else {
            ("certificate", "key")
        };
        let found = format!("`{other}` without `{missing}`");
        context.error(path, found, "`certificate` and `key`");
        return None;
    }
    pair(
        context,
        path,
        tls.certificate.as_deref(),
        tls.key.as_deref(),
    )
    .map(|pair| vec![pair])
}

fn pair(
    context: &mut Context<'_>,
    path: &str,
    certificate: Option<&str>,
    key: Option<&str>,
) -> Option<(String, Loaded)> {
    let (certificate, key) = (certificate?, key?);
    let label = Path::new(certificate).file_name();
    let label = label.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let certificate_path = format!("{path}.certificate");
    let key_path = format!("{path}.key");
    let loaded = certificate::load(
        context,
        Side::Server,
        (&certificate_path, certificate),
        (&key_path, key),
    )?;
    Some((label, loaded))
}

fn self_signed(
    context: &mut Context<'_>,
    path: &str,
    names: &[String],
) -> Option<Vec<(String, Loaded)>> {
    let Some(first) = names.first() else {
        if !context.lost(path) {
            context.error(path, "no names", "at least one name, such as [localhost]");
        }
        return None;
    };
    let valid = |name: &str| {
        let name = name.strip_prefix("*.").unwrap_or(name);
        let is_label = |c: char| c.is_ascii_alphanumeric() || "-.:_".contains(c);
        !name.is_empty() && name.chars().all(is_label)
    };
    for (index, name) in names.iter().enumerate() {
        if !valid(name) {
            let path = format!("{path}[{index}]");
            let found = format!("the name {}", context.shown(&path));
            context.error(&path, found, "a host name or an IP address");
            return None;
        }
    }
    match certificate::self_signed(names, context.now) {
        Ok(loaded) => Some(vec![(first.clone(), loaded)]),
        Err(_) => {
            context.error(
                path,
                "names that no certificate can have",
                "host names and IP addresses",
            );
            None
        }
    }
}
