//! A machine for tests.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;

use super::{Environment, Unusable};

/// Has the variables it was given and nothing else.
pub(crate) struct Fake(Vec<(String, String)>);

impl Fake {
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self(variables.iter().map(own).collect())
    }
}

impl Environment for Fake {
    fn variable(&self, name: &str) -> Result<String, Unusable> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.clone()).ok_or(Unusable::Unset)
    }

    fn resolve(&self, _: &str) -> Vec<IpAddr> {
        vec![IpAddr::from([10, 0, 0, 1])]
    }

    fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }

    fn processors(&self) -> usize {
        2
    }
}
