//! TLS settings for both sides, built from what the caller has read.
//!
//! The provider is AWS-LC, given explicitly everywhere, so that nothing depends on a default of the process.
//!
//! Not here: files, expiry, findings.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Which AES-GCM comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherPreference {
    /// AES-128-GCM.
    Aes128,
    /// AES-256-GCM.
    Aes256,
}

/// Oldest TLS version that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinimumVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MinimumVersion {
    /// What metrics call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// The library that all cryptography comes from.
pub const PROVIDER: &str = "aws-lc-rs";

/// A certificate with its key and the names it is for.
#[derive(Clone, Debug)]
pub struct Identity {
    /// DNS names in lower case; `*.example.org` covers one label in place of the star.
    pub names: Vec<String>,
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
}

/// What a listener's TLS is made of.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// At least one. The first is for clients that ask for no name, or for one that no certificate has.
    pub identities: Vec<Identity>,
    /// Oldest version.
    pub minimum_version: MinimumVersion,
    /// Order of ciphers.
    pub cipher_preference: CipherPreference,
}

/// Why there is no TLS configuration.
#[derive(Debug)]
pub enum TlsError {
    /// No identity was given.
    NoIdentity,
    /// None of the trusted certificates can be parsed.
    NoRoots,
    /// What rustls says.
    Rustls(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentity => f.write_str("no certificate"),
            Self::NoRoots => f.write_str("no trusted certificate that can be used"),
            Self::Rustls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsError {}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Rustls(error)
    }
}

/// Makes the first draw of random bytes, which costs AWS-LC tens of milliseconds: before listening, so that no
/// handshake has to wait for it.
pub fn warm_up() {
    let mut byte = [0];
    // A source without randomness fails each handshake by itself; there is nothing to add here.
    let _ = default_provider().secure_random.fill(&mut byte);
}

/// A chain with its key, checked against each other.
///
/// # Errors
/// Where the key cannot be used or is none of the first certificate's.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key, &default_provider()).map(Arc::new)
}

impl ServerTls {
    /// Builds the configuration.
    ///
    /// # Errors
    /// Without an identity, or where rustls refuses.
    pub fn build(self) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver = BySni::new(self.identities).ok_or(TlsError::NoIdentity)?;
        let versions: &[&SupportedProtocolVersion] = match self.minimum_version {
            MinimumVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinimumVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider(self.cipher_preference))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 1;
        // Tickets keep the state at the client; the built-in cache is one lock for all threads and forgets early.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

/// TLS towards upstreams that are trusted through `roots`. Roots that cannot be parsed are passed over, as
/// machines carry some. `identity` is shown to upstreams that ask for one.
///
/// # Errors
/// Where none of the roots can be parsed although there are some, or where rustls refuses.
pub fn client_config(
    roots: Vec<CertificateDer<'static>>,
    identity: Option<Arc<CertifiedKey>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut store = RootCertStore::empty();
    let (good, bad) = store.add_parsable_certificates(roots);
    if good == 0 && bad > 0 {
        return Err(TlsError::NoRoots);
    }
    let builder = ClientConfig::builder_with_provider(provider(CipherPreference::Aes128))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(store);
    let mut config = match identity {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// AWS-LC with ECDHE and AEAD suites only, in our order.
fn provider(preference: CipherPreference) -> Arc<CryptoProvider> {
    use cipher_suite as suite;
    let aes128 = [
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    let aes256 = [
        suite::TLS13_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ];
    let chacha = [
        suite::TLS13_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    let ordered = match preference {
        CipherPreference::Aes128 => [aes128, aes256, chacha],
        CipherPreference::Aes256 => [aes256, aes128, chacha],
    };
    let cipher_suites: Vec<SupportedCipherSuite> = ordered.concat();
    Arc::new(CryptoProvider {
        cipher_suites,
        ..default_provider()
    })
}

/// Chooses a certificate by the name the client asks for.
#[derive(Debug)]
struct BySni {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows the star and its dot.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl BySni {
    fn new(identities: Vec<Identity>) -> Option<Self> {
        let default = Arc::clone(&identities.first()?.key);
        let mut resolver = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default,
        };
        for identity in identities {
            for name in identity.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut resolver.wildcard, parent),
                    None => (&mut resolver.exact, name.as_str()),
                };
                // The first certificate with a name wins, as the first route does.
                map.entry(name.into())
                    .or_insert_with(|| Arc::clone(&identity.key));
            }
        }
        Some(resolver)
    }

    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            return &self.default;
        };
        let parent = || name.split_once('.').map(|(_, parent)| parent);
        self.exact
            .get(name.as_str())
            .or_else(|| self.wildcard.get(parent()?))
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(names: &[&str]) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = rcgen::CertificateParams::new(names.clone()).unwrap();
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Identity {
            names,
            key: certified_key(chain, key).unwrap(),
        }
    }

    fn tls(preference: CipherPreference, version: MinimumVersion) -> Arc<ServerConfig> {
        let tls = ServerTls {
            identities: vec![identity(&["a.test"])],
            minimum_version: version,
            cipher_preference: preference,
        };
        tls.build().unwrap()
    }

    #[test]
    fn chooses_certificates_by_name() {
        let identities = [
            &["a.test"][..],
            &["*.b.test", "b.test"],
            &["a.test", "c.b.test"],
        ]
        .map(identity);
        let keys = identities.clone().map(|identity| identity.key);
        let resolver = BySni::new(identities.into()).unwrap();
        let cases = [
            (None, 0),
            (Some("a.test"), 0),
            (Some("A.TEST"), 0),
            (Some("b.test"), 1),
            (Some("x.b.test"), 1),
            (Some("c.b.test"), 2),
            (Some("x.y.b.test"), 0),
            (Some("unknown.test"), 0),
        ];
        for (name, expected) in cases {
            assert!(
                Arc::ptr_eq(resolver.find(name), &keys[expected]),
                "{name:?}"
            );
        }
        assert!(BySni::new(Vec::new()).is_none());
    }

    #[test]
    fn prefers_what_was_asked_for() {
        let first = |config: &ServerConfig| config.crypto_provider().cipher_suites[0].suite();
        let fast = tls(CipherPreference::Aes128, MinimumVersion::Tls12);
        let strict = tls(CipherPreference::Aes256, MinimumVersion::Tls13);
        assert_eq!(first(&fast), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(
            first(&strict),
            rustls::CipherSuite::TLS13_AES_256_GCM_SHA384
        );
        assert!(fast.ignore_client_order && fast.ticketer.enabled());
        assert_eq!((fast.send_tls13_tickets, fast.max_early_data_size), (1, 0));
        assert_eq!(fast.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn a_key_must_fit_its_certificate() {
        let other = rcgen::KeyPair::generate().unwrap();
        let chain = identity(&["a.test"]).key.cert.clone();
        let key = PrivateKeyDer::try_from(other.serialize_der()).unwrap();
        assert!(certified_key(chain, key).is_err());
    }

    #[test]
    fn clients_take_any_number_of_roots() {
        warm_up();
        assert!(client_config(Vec::new(), None).is_ok());
    }

    /// Lets both sides talk until neither has anything to say.
    fn shake(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> rustls::ServerConnection {
        let name = "a.test".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(client, name).unwrap();
        let mut server = rustls::ServerConnection::new(server).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                server.read_tls(&mut sent).unwrap();
                server.process_new_packets().unwrap();
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                client.read_tls(&mut sent).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        server
    }

    #[test]
    fn both_sides_understand_each_other_and_resume() {
        let identity = identity(&["a.test"]);
        let roots = identity.key.cert.clone();
        let server = ServerTls {
            identities: vec![identity],
            minimum_version: MinimumVersion::Tls12,
            cipher_preference: CipherPreference::Aes128,
        };
        let (server, client) = (server.build().unwrap(), client_config(roots, None).unwrap());
        let kinds = [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed];
        for kind in kinds {
            let connection = shake(Arc::clone(&server), Arc::clone(&client));
            assert!(!connection.is_handshaking());
            assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(connection.handshake_kind(), Some(kind));
            let suite = connection.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        }
    }
}
