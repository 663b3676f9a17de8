//! The TLS client: takes any certificate where it is only to be looked at, and demands a trusted one where the token
//! is to be sent.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::authority::Authorities;

/// What a client does about the certificate that it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Remembers it.
    Nothing,
    /// Breaks off unless it is trusted and has the right name. Its dates are told, not demanded: an expired
    /// certificate still belongs to whom it names.
    Trust,
}

/// Sees the certificates of one handshake.
#[derive(Debug)]
pub(super) struct Witness {
    authorities: Arc<Authorities>,
    provider: Arc<CryptoProvider>,
    demand: Demand,
    seen: Mutex<Vec<CertificateDer<'static>>>,
}

impl Witness {
    /// The chain of the last handshake, as it was sent.
    pub(super) fn seen(&self) -> Vec<CertificateDer<'static>> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What all handshakes of a probe share.
#[derive(Debug)]
pub(super) struct Client {
    authorities: Arc<Authorities>,
    provider: Arc<CryptoProvider>,
}

impl Client {
    pub(super) fn new(roots: &[CertificateDer<'static>], now: u64) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let authorities = Authorities::new(roots, Arc::clone(&provider), now);
        Self {
            authorities: Arc::new(authorities),
            provider,
        }
    }

    pub(super) fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// A client that offers these versions and protocols; `None` where the library has no such thing.
    pub(super) fn config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
        demand: Demand,
    ) -> Option<(Arc<ClientConfig>, Arc<Witness>)> {
        let witness = Arc::new(Witness {
            authorities: Arc::clone(&self.authorities),
            provider: Arc::clone(&self.provider),
            demand,
            seen: Mutex::default(),
        });
        let verifier: Arc<dyn ServerCertVerifier> = Arc::<Witness>::clone(&witness);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // A resumed session shows no certificate, and each connection is to be judged by its own.
        config.resumption = rustls::client::Resumption::disabled();
        Some((Arc::new(config), witness))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown: Vec<CertificateDer<'static>> = std::iter::once(leaf)
            .chain(above)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let trusted = || {
            let judged = self.authorities.judge(&shown, name);
            judged.is_some_and(|shown| shown.is_trusted())
        };
        if self.demand == Demand::Trust && !trusted() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
