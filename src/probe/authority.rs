//! Certificates as a public client judges them: the chain, the names, the dates; each told by itself.
//!
//! rustls would stop at the first fault. Here the rest is still said: an expired certificate can have the right name.

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Names told at most, and characters of each.
const NAMES: usize = 4;
const NAME_LENGTH: usize = 60;

/// Whom a public client trusts, and when it does.
#[derive(Debug)]
pub(super) struct Authorities {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
    now: u64,
}

/// How far a chain of certificates leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// To an authority that is trusted.
    Trusted,
    /// Nowhere: it is signed by its own key.
    SelfSigned,
    /// Its issuer is neither known nor sent.
    IssuerMissing,
    /// To an authority that is not trusted.
    Untrusted,
    /// A certificate above the first is out of date.
    OutOfDate,
    /// The certificate is not made for a server, or its signature is wrong.
    Unusable,
}

/// What is to be known of the certificates that a peer has shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) chain: Chain,
    /// Whether the name that was asked for is among its names.
    pub(super) named: bool,
    /// Some of its names, without anything that is not a name.
    pub(super) names: Vec<String>,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// Certificates sent.
    pub(super) sent: usize,
}

impl Shown {
    /// Whether the peer is who it should be, were its certificate in date.
    pub(super) fn is_trusted(&self) -> bool {
        self.chain == Chain::Trusted && self.named
    }
}

impl Authorities {
    pub(super) fn new(
        roots: &[CertificateDer<'static>],
        provider: Arc<CryptoProvider>,
        now: u64,
    ) -> Self {
        let mut store = RootCertStore::empty();
        // Trust stores of machines have a broken certificate now and then; the good ones count.
        store.add_parsable_certificates(roots.iter().cloned());
        Self {
            roots: store,
            provider,
            now,
        }
    }

    /// Judges; `None` for what is no certificate at all.
    pub(super) fn judge(
        &self,
        shown: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Option<Shown> {
        let (leaf, above) = shown.split_first()?;
        let parsed = ParsedCertificate::try_from(leaf).ok()?;
        let (_, read) = X509Certificate::from_der(leaf).ok()?;
        let (not_before, not_after) = (
            read.validity().not_before.timestamp(),
            read.validity().not_after.timestamp(),
        );
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        // An expired certificate is told by its dates; the chain is judged as of its last day.
        let inside = now
            .max(not_before.saturating_add(1))
            .min(not_after.saturating_sub(1));
        let at =
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(inside).unwrap_or(0)));
        let verified = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            above,
            at,
            self.provider.signature_verification_algorithms.all,
        );
        Some(Shown {
            chain: chain(verified.err().as_ref(), &read, above),
            named: verify_server_name(&parsed, name).is_ok(),
            names: names(&read),
            not_before,
            not_after,
            sent: shown.len(),
        })
    }
}

fn chain(error: Option<&Error>, leaf: &X509Certificate<'_>, above: &[CertificateDer<'_>]) -> Chain {
    let Some(error) = error else {
        return Chain::Trusted;
    };
    let is_issuer = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).is_ok_and(|(_, other)| other.subject() == leaf.issuer())
    };
    if let Error::InvalidCertificate(
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. },
    ) = error
    {
        Chain::OutOfDate
    } else if !matches!(
        error,
        // A wrong signature: an authority of the right name, with another key.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
    ) {
        Chain::Unusable
    } else if leaf.subject() == leaf.issuer() {
        Chain::SelfSigned
    } else if above.iter().any(is_issuer) {
        Chain::Untrusted
    } else {
        Chain::IssuerMissing
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let of_hosts = names.value.general_names.iter().filter_map(|name| {
        if let GeneralName::DNSName(name) = name {
            Some(name.chars().filter(fits).take(NAME_LENGTH).collect())
        } else {
            None
        }
    });
    of_hosts.take(NAMES).collect()
}

/// What a host name can have in it; a certificate can hold anything.
fn fits(letter: &char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '*')
}
