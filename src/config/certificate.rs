//! Certificates and keys: reading them, and saying early what a handshake would say late.
//!
//! Not here: building TLS configurations (`server::tls`).

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::context::Context;
use super::value::time_text;
use crate::server::tls::{Identity, certified_key};
use crate::verify::UnixTime;

/// Largest PEM file, in bytes.
const FILE_CAP: u64 = 1024 * 1024;
/// How long before its end a certificate is worth a warning; public authorities renew 30 days ahead.
const EXPIRY_WARNING: u64 = 14 * DAY;
/// Life of a throw-away certificate.
const SELF_SIGNED_LIFE: u64 = 30 * DAY;
const DAY: u64 = 24 * 3600;

/// A certificate that can be served.
pub(super) struct Loaded {
    pub(super) identity: Identity,
    pub(super) not_after: UnixTime,
    pub(super) not_before: UnixTime,
    pub(super) serial: String,
}

/// What we want to know of a certificate.
struct Facts {
    /// DNS names.
    names: Vec<String>,
    /// Whether it has any names, addresses included.
    named: bool,
    not_before: UnixTime,
    not_after: UnixTime,
    serial: String,
    rsa: bool,
}

/// Which side shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A listener of ours.
    Server,
    /// We, to an upstream.
    Client,
    /// Whoever issued an upstream's certificate.
    Authority,
}

impl Side {
    fn expiry_help(self) -> &'static str {
        match self {
            Self::Server => "senders refuse the connection, so nothing arrives; renew it",
            Self::Client => {
                "the upstream refuses the connection, so nothing gets through; renew it"
            }
            Self::Authority => {
                "what it has issued is not trusted any more; take it out, or put its successor in"
            }
        }
    }
}

/// Reads a certificate and its key. `certificate` and `key` are the paths of the settings that name the files.
pub(super) fn load(
    context: &mut Context<'_>,
    side: Side,
    (certificate, certificate_file): (&str, &str),
    (key, key_file): (&str, &str),
) -> Option<Loaded> {
    let expected = "a PEM file with the certificate chain, the server's own certificate first";
    let chain = chain(context, certificate, certificate_file, expected);
    let key_der = private_key(context, key, key_file);
    let chain = chain?;
    let facts = facts(context, certificate, &chain)?;
    check_life(context, side, certificate, &facts);
    // Names and speed are what clients look for in a server.
    let server = side == Side::Server;
    if server && facts.rsa {
        let found = "an RSA certificate";
        let help = "an ECDSA P-256 certificate costs a quarter of the CPU time in each handshake";
        context.warn_help(certificate, found, "an ECDSA P-256 certificate", help);
    }
    if server && !facts.named {
        let found = "a certificate without alternative names";
        let help = "clients have not looked at the common name for years; issue it again with subjectAltName";
        context.warn_help(
            certificate,
            found,
            "a certificate that names its hosts",
            help,
        );
    }
    let (not_before, not_after) = (facts.not_before, facts.not_after);
    match certified_key(chain, key_der?) {
        Ok(key) => Some(Loaded {
            identity: Identity {
                names: facts.names,
                key,
            },
            not_after,
            not_before,
            serial: facts.serial,
        }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let found = format!(
                "the key {} does not fit the first certificate of {}",
                context.shown(key),
                context.shown(certificate)
            );
            let help = "compare: openssl x509 -noout -pubkey -in CERTIFICATE; openssl pkey -pubout -in KEY\n\
                        the server's own certificate has to be the first of the chain";
            context.error_help(key, found, "the private key of that certificate", help);
            None
        }
        Err(rustls::Error::InvalidCertificate(_)) => {
            let found = format!(
                "a certificate in {} that TLS cannot use",
                context.shown(certificate)
            );
            let help = "look at it: openssl x509 -noout -text -in FILE";
            context.error_help(
                certificate,
                found,
                "an X.509 certificate of version 3",
                help,
            );
            None
        }
        Err(_) => {
            let found = format!(
                "a private key in {} that cannot be used",
                context.shown(key)
            );
            context.error(
                key,
                found,
                "an ECDSA (P-256, P-384), Ed25519 or RSA (2048 bits or more) key",
            );
            None
        }
    }
}

/// Reads the certificates that an upstream's certificate may be issued by. One that is over is a warning.
pub(super) fn authorities(
    context: &mut Context<'_>,
    setting: &str,
    file: &str,
) -> Option<Vec<CertificateDer<'static>>> {
    let expected = "a PEM file with the certificates of the authorities to trust";
    let chain = chain(context, setting, file, expected)?;
    for index in 0..chain.len() {
        let facts = facts(context, setting, chain.get(index..)?)?;
        check_life(context, Side::Authority, setting, &facts);
    }
    Some(chain)
}

/// Makes a throw-away certificate. The first name is what it is called.
pub(super) fn self_signed(names: &[String], now: UnixTime) -> Result<Loaded, rcgen::Error> {
    let not_after = UnixTime(now.0.saturating_add(SELF_SIGNED_LIFE));
    let mut params = CertificateParams::new(names.to_vec())?;
    // An hour back, for clients whose clock is slow.
    let not_before = UnixTime(now.0.saturating_sub(3600));
    params.not_before = date(not_before);
    params.not_after = date(not_after);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let chain = vec![params.self_signed(&pair)?.der().clone()];
    let serial = chain
        .first()
        .and_then(|leaf| X509Certificate::from_der(leaf).ok())
        .map(|(_, leaf)| leaf.raw_serial_as_string())
        .unwrap_or_default();
    let key = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
    let key = certified_key(chain, key).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    Ok(Loaded {
        identity: Identity { names, key },
        not_after,
        not_before,
        serial,
    })
}

/// Whether a certificate with these names is good for a host.
pub(super) fn covers(names: &[String], host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    names.iter().any(|name| match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => *name == host,
    })
}

/// Whether every user of the machine may read a file.
#[cfg(unix)]
pub(super) fn readable_by_all(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o004 != 0
}

/// Whether every user of the machine may read a file; other systems do not tell.
#[cfg(not(unix))]
pub(super) fn readable_by_all(_: &Metadata) -> bool {
    false
}

/// What a failed access means.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of the standard library speak for themselves"
)]
pub(super) fn io_text(kind: std::io::ErrorKind) -> String {
    match kind {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "this user is not allowed to".into(),
        other => other.to_string(),
    }
}

fn date(time: UnixTime) -> OffsetDateTime {
    let seconds = i64::try_from(time.0).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A file of a setting, not larger than a PEM file can be.
fn read(
    context: &mut Context<'_>,
    setting: &str,
    file: &str,
    expected: &str,
) -> Option<(Vec<u8>, Metadata)> {
    let path = context.resolve(file);
    let result = read_capped(&path);
    match result {
        Ok(read) => Some(read),
        Err(error) => {
            let found = format!(
                "the file {} cannot be read: {}",
                context.shown(setting),
                io_text(error.kind())
            );
            let help = if Path::new(file).is_absolute() {
                "look at the path and at who may read it"
            } else {
                "a relative path begins at the directory of the configuration file"
            };
            context.error_help(setting, found, expected, help);
            None
        }
    }
}

fn read_capped(path: &Path) -> std::io::Result<(Vec<u8>, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(FILE_CAP).read_to_end(&mut bytes)?;
    Ok((bytes, metadata))
}

fn chain(
    context: &mut Context<'_>,
    setting: &str,
    file: &str,
    expected: &str,
) -> Option<Vec<CertificateDer<'static>>> {
    let (bytes, _) = read(context, setting, file, expected)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.unwrap_or_default();
    if chain.is_empty() {
        let found = format!("no certificate in {}", context.shown(setting));
        let help = if PrivateKeyDer::from_pem_slice(&bytes).is_ok() {
            "it holds a private key; are `certificate` and `key` the wrong way round?"
        } else {
            "PEM begins with the line -----BEGIN CERTIFICATE-----; for DER: openssl x509 -inform der -in FILE"
        };
        context.error_help(setting, found, expected, help);
        return None;
    }
    Some(chain)
}

fn private_key(
    context: &mut Context<'_>,
    setting: &str,
    file: &str,
) -> Option<PrivateKeyDer<'static>> {
    let expected = "a PEM file with a private key";
    let (bytes, metadata) = read(context, setting, file, expected)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&bytes) {
        if readable_by_all(&metadata) {
            let shown = context.shown(setting);
            let found = format!("every user of this machine can read the private key {shown}");
            let help = format!("chmod o= {}", shown.trim_matches('`'));
            context.warn_help(setting, found, "a file for its owner and group", help);
        }
        return Some(key);
    }
    let found = format!("no private key in {}", context.shown(setting));
    let text = String::from_utf8_lossy(&bytes);
    let help = if text.contains("ENCRYPTED") {
        "its key has a passphrase; take that off: openssl pkey -in FILE -out NEW"
    } else if text.contains("BEGIN CERTIFICATE") {
        "it holds a certificate; are `certificate` and `key` the wrong way round?"
    } else {
        "PEM begins with the line -----BEGIN PRIVATE KEY-----"
    };
    context.error_help(setting, found, expected, help);
    None
}

fn facts(context: &mut Context<'_>, setting: &str, chain: &[CertificateDer<'_>]) -> Option<Facts> {
    let parsed = chain
        .first()
        .and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let Some((_, leaf)) = parsed else {
        let found = format!(
            "a certificate in {} that cannot be read",
            context.shown(setting)
        );
        context.error(setting, found, "an X.509 certificate");
        return None;
    };
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Some(Facts {
        named: names.clone().next().is_some(),
        names: names.filter_map(dns_name).collect(),
        not_before: unix(leaf.validity().not_before.timestamp()),
        not_after: unix(leaf.validity().not_after.timestamp()),
        serial: leaf.raw_serial_as_string(),
        rsa: leaf.public_key().algorithm.algorithm == OID_PKCS1_RSAENCRYPTION,
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "X.509 has many kinds of names, of which we use one"
)]
fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

fn unix(seconds: i64) -> UnixTime {
    UnixTime(u64::try_from(seconds).unwrap_or(0))
}

fn check_life(context: &mut Context<'_>, side: Side, setting: &str, facts: &Facts) {
    let now = context.now;
    let expected = "a certificate that is valid now and for some weeks";
    let help = side.expiry_help();
    if facts.not_after < now {
        let found = format!(
            "the certificate {} ended at {}",
            context.shown(setting),
            time_text(facts.not_after)
        );
        if side == Side::Authority {
            // The others in the file may do.
            context.warn_help(setting, found, expected, help);
        } else {
            context.error_help(setting, found, expected, help);
        }
    } else if facts.not_before > now {
        let found = format!(
            "the certificate {} begins only at {}",
            context.shown(setting),
            time_text(facts.not_before)
        );
        context.error_help(
            setting,
            found,
            expected,
            "is the clock of this machine right?",
        );
    } else if facts.not_after.0 - now.0 < EXPIRY_WARNING {
        let days = (facts.not_after.0 - now.0) / DAY;
        let found = format!(
            "the certificate {} ends in {days} days, at {}",
            context.shown(setting),
            time_text(facts.not_after)
        );
        context.warn_help(
            setting,
            found,
            expected,
            "renew it, and see why that has not happened by itself",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throw_away_certificates_have_names_and_an_end() {
        let now = UnixTime(1_790_000_000);
        let loaded = self_signed(&["localhost".into(), "a.test".into()], now).unwrap();
        assert_eq!(loaded.not_after, UnixTime(now.0 + SELF_SIGNED_LIFE));
        let (_, parsed) = X509Certificate::from_der(&loaded.identity.key.cert[0]).unwrap();
        assert_eq!(
            unix(parsed.validity().not_after.timestamp()),
            loaded.not_after
        );
        assert!(covers(&loaded.identity.names, "A.test"));
        assert!(!covers(&loaded.identity.names, "b.test"));
    }

    #[test]
    fn stars_cover_one_label() {
        let names = ["*.example.org".to_owned()];
        for (host, expected) in [
            ("a.example.org", true),
            ("example.org", false),
            ("a.b.example.org", false),
        ] {
            assert_eq!(covers(&names, host), expected, "{host}");
        }
    }
}
