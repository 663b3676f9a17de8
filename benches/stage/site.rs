//! The folder of a gateway: its configuration, certificates and secrets, and what a client has to trust.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;

use super::Result;

/// The good token of every play.
pub(crate) const TOKEN: &str = "CANARY-token-0123456789abcdef";
/// The environment variable that holds it.
pub(super) const VARIABLE: &str = "PLAY_TOKEN";
/// Must never be in anything that the gateway writes. All secrets, bodies and queries of the plays hold it.
pub(super) const CANARIES: [&str; 1] = ["CANARY"];

/// A folder that goes when it is dropped.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    /// What clients trust.
    pub(crate) root: CertificateDer<'static>,
}

impl Site {
    /// With a certificate for `localhost` in `certificate.pem` and `key.pem`.
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&key)?.der().clone();
        let site = Self {
            folder: tempfile::tempdir()?,
            issuer: Issuer::new(parameters, key),
            root,
        };
        site.certificate("certificate.pem", "key.pem")?;
        Ok(site)
    }

    /// Writes a fresh certificate, and tells which it is.
    pub(crate) fn certificate(
        &self,
        certificate: &str,
        key: &str,
    ) -> Result<CertificateDer<'static>> {
        let pair = KeyPair::generate()?;
        let parameters = CertificateParams::new(vec!["localhost".to_owned()])?;
        let made = parameters.signed_by(&pair, &self.issuer)?;
        self.write(key, &pair.serialize_pem())?;
        self.write(certificate, &made.pem())?;
        Ok(made.der().clone())
    }

    /// Puts a file in place in one step, readable by its owner alone.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let (new, place) = (
            self.path().join(format!("{name}.new")),
            self.path().join(name),
        );
        std::fs::write(&new, text)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(new, place)?;
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.path().join(name))?)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path().join("gateway.yaml")
    }

    /// Writes a configuration with one listener; `top` is what stands beside it, `routes` a list.
    pub(crate) fn configure(&self, address: &str, top: &str, routes: &str) -> Result<()> {
        self.write(
            "gateway.yaml",
            &configuration(
                address,
                "certificate: certificate.pem, key: key.pem",
                top,
                routes,
            ),
        )
    }
}

/// The text of a configuration.
pub(crate) fn configuration(address: &str, tls: &str, top: &str, routes: &str) -> String {
    format!(
        "listeners:\n  - name: public\n    address: {address}\n    tls: {{ {tls} }}\n    max_connections: 50000\n\
         admin: {{ address: \"127.0.0.1:0\" }}\nlog: {{ format: json }}\n{top}\nroutes:\n{routes}"
    )
}

/// A route whose token is [`TOKEN`].
pub(crate) fn route(name: &str, upstream: std::net::SocketAddr, rest: &str) -> String {
    format!(
        "  - name: {name}\n    path: /{name}\n    \
         verify: {{ scheme: redox, tokens: [{{ id: play, env: {VARIABLE} }}] }}\n    \
         upstream: {{ url: \"http://{upstream}\" }}\n{rest}"
    )
}
