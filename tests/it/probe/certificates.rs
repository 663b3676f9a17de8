//! Certificates for gateways that are looked at: an authority, one below it, and a server's.

use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use super::flaw::Flaw;
use crate::support::now;

/// What a gateway shows, and whom its clients trust.
pub(super) struct Shown {
    pub(super) config: Arc<ServerConfig>,
    pub(super) authority: CertificateDer<'static>,
    pub(super) authority_pem: String,
    /// As a server's files have it.
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// So many days and a half from now, so that a second more or less does not change a number of days.
fn in_days(days: i64) -> OffsetDateTime {
    let now = i64::try_from(now().0).unwrap();
    OffsetDateTime::from_unix_timestamp(now + days * 24 * 3600 + 12 * 3600).unwrap()
}

fn leaf(flaw: Flaw) -> CertificateParams {
    let name = if flaw == Flaw::WrongName {
        "other.example.org"
    } else {
        "localhost"
    };
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "a gateway");
    (params.not_before, params.not_after) = match flaw {
        Flaw::Expired => (in_days(-90), in_days(-3)),
        Flaw::NotYetValid => (in_days(2), in_days(90)),
        Flaw::EndsSoon => (in_days(-80), in_days(10)),
        _ => (in_days(-1), in_days(89)),
    };
    params
}

/// Makes the chain; what is wrong with it is up to the flaw.
pub(super) fn shown(flaw: Flaw) -> Shown {
    let key = || KeyPair::generate().unwrap();
    let (root_key, middle_key, leaf_key) = (key(), key(), key());
    let root_params = authority("an authority");
    let root = root_params.self_signed(&root_key).unwrap();
    let root_issuer = Issuer::new(root_params, root_key);
    let mut middle_params = authority("an authority below it");
    if flaw == Flaw::ExpiredAbove {
        (middle_params.not_before, middle_params.not_after) = (in_days(-90), in_days(-2));
    }
    let middle = middle_params.signed_by(&middle_key, &root_issuer).unwrap();
    let middle_issuer = Issuer::new(middle_params, middle_key);
    let server = if flaw == Flaw::SelfSigned {
        leaf(flaw).self_signed(&leaf_key).unwrap()
    } else {
        leaf(flaw).signed_by(&leaf_key, &middle_issuer).unwrap()
    };
    let der = |certificate: &Certificate| certificate.der().clone();
    let chain = match flaw {
        Flaw::MissingIntermediate | Flaw::SelfSigned => vec![der(&server)],
        _ => vec![der(&server), der(&middle)],
    };
    // An authority that looks the same and is another one.
    let trusted = if flaw == Flaw::UnknownAuthority {
        authority("an authority").self_signed(&key()).unwrap()
    } else {
        root
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain,
            PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Shown {
        config: Arc::new(config),
        authority: der(&trusted),
        authority_pem: trusted.pem(),
        chain_pem: server.pem() + &middle.pem(),
        key_pem: leaf_key.serialize_pem(),
    }
}
