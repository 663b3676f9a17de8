//! The sender's side of TLS, made as cheap as it can be.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::Result;
use crate::scenario::Offer;

/// The settings of a sender that offers one protocol and resumes only if told to.
///
/// Only X25519: it is what senders on OpenSSL 3.0 have, and all proxies know it. A post-quantum group would be
/// taken by some of the proxies and not by others.
pub(crate) fn settings(offer: Offer, protocol: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    if offer == Offer::Aes128 {
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    }
    let mut settings = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    settings.alpn_protocols = vec![protocol.to_vec()];
    settings.resumption = match offer {
        Offer::Resumed => Resumption::in_memory_sessions(8),
        Offer::Full | Offer::Aes128 => Resumption::disabled(),
    };
    Ok(settings.into())
}

/// The name that senders ask for.
pub(crate) fn name() -> ServerName<'static> {
    const NAME: &str = "localhost";
    ServerName::try_from(NAME).unwrap_or_else(|_| unreachable!("{NAME} is a name"))
}

/// Believes every certificate, and does not even look at the signature of the handshake.
///
/// The certificate is our own and thrown away after the run. To check its signature costs more than the proxy's making
/// it: the generator would be the limit in every scenario with handshakes.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
