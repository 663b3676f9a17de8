//! What a configuration asks of the machine, as an argument.

use std::net::{IpAddr, ToSocketAddrs as _};

use rustls_pki_types::CertificateDer;

/// The machine as the configuration sees it.
pub trait Environment {
    /// An environment variable.
    ///
    /// # Errors
    /// [`Unusable`] without its value.
    fn variable(&self, name: &str) -> Result<String, Unusable>;

    /// The addresses of a host name; empty where it has none.
    fn resolve(&self, host: &str) -> Vec<IpAddr>;

    /// The certificates this machine trusts; empty where there are none.
    fn trust_roots(&self) -> Vec<CertificateDer<'static>>;

    /// Processors this process may use.
    fn processors(&self) -> usize;
}

/// Why a variable has no usable value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is not set.
    Unset,
    /// It is not UTF-8.
    NotText,
}

/// The machine this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

impl Environment for Process {
    fn variable(&self, name: &str) -> Result<String, Unusable> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => Unusable::Unset,
            std::env::VarError::NotUnicode(_) => Unusable::NotText,
        })
    }

    fn resolve(&self, host: &str) -> Vec<IpAddr> {
        let addresses = (host, 0).to_socket_addrs();
        addresses.map_or_else(
            |_| Vec::new(),
            |found| found.map(|address| address.ip()).collect(),
        )
    }

    fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
        // Some machines have a broken certificate among good ones; what counts is that there are good ones.
        rustls_native_certs::load_native_certs().certs
    }

    fn processors(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
