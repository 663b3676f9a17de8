//! What the documents show is true: configurations load, commands are understood, links lead somewhere, and tables say
//! what the code says.
//!
//! Every fenced block of every Markdown file has a mark behind its fence that says what it is, and is held against
//! that; a block without one fails. CONTRIBUTING.md lists the marks. `gateway.yaml` itself and every file of that name
//! below `deploy` are configurations as they are; other YAML there is for other programs.

mod blocks;
mod links;
mod markdown;
mod mentions;
mod reference;
mod shell;
mod tables;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use countersign::config::{self, Unusable};
use rustls_pki_types::CertificateDer;

use crate::support::{OLD_TOKEN, TOKEN, now};

/// The mark of a whole configuration.
const WHOLE: &str = "yaml gateway.yaml";
/// The mark of a part of one.
const PART: &str = "yaml gateway.yaml part";
/// Where the documents have certificates; here they are where the test put them.
const CERTIFICATES: &str = "/etc/countersign/tls";
/// Where the documents have secrets in files.
const SECRETS: &str = "/run/secrets";
/// Where the documents have the audit trail.
const LOGS: &str = "/var/log/countersign";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every configuration of the documents, by a name that says where it stands.
pub(crate) fn configurations() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for page in markdown::pages(root()) {
        let name = page.path.trim_end_matches(".md").replace('/', "-");
        for block in markdown::blocks(&page.text) {
            let text = match block.mark.as_str() {
                WHOLE => block.text,
                PART => completed(&block.text),
                _ => continue,
            };
            found.push((format!("{name}-{}", block.line), text));
        }
    }
    let files = gateway_files(&root().join("deploy"));
    for path in [vec![root().join("gateway.yaml")], files].concat() {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        found.push((name.replace('/', "-"), text));
    }
    found
}

/// Every `gateway.yaml` in a folder and below.
fn gateway_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(gateway_files(&entry.path()));
        } else if entry.file_name() == "gateway.yaml" {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// What a part of a configuration is put into: its top-level keys stand in for these.
const AROUND: &str = "
listeners:
  - address: 0.0.0.0:8443
    tls: { certificate: /etc/countersign/tls/fullchain.pem, key: /etc/countersign/tls/privkey.pem }
routes:
  - path: /redox
    verify: { scheme: redox, tokens: [{ id: one, env: REDOX_TOKEN }] }
    upstream: { url: http://10.20.0.5:6661 }
";

/// A part of a configuration, with what it leaves out.
fn completed(part: &str) -> String {
    let mut whole: serde_yaml::Mapping = serde_yaml::from_str(AROUND).unwrap();
    let part: serde_yaml::Mapping = serde_yaml::from_str(part).unwrap();
    whole.extend(part);
    serde_yaml::to_string(&whole).unwrap()
}

/// The machine that the documents are written for.
struct Machine {
    credentials: String,
}

impl config::Environment for Machine {
    fn variable(&self, name: &str) -> Result<String, Unusable> {
        match name {
            "REDOX_TOKEN" => Ok(TOKEN.to_owned()),
            "COUNTERSIGN_AUDIT_KEY" => Ok(format!("{TOKEN}-of-the-trail")),
            "REDOX_TOKEN_NEXT" => Ok(OLD_TOKEN.to_owned()),
            "CREDENTIALS_DIRECTORY" => Ok(self.credentials.clone()),
            _ => Err(Unusable::Unset),
        }
    }

    fn resolve(&self, _: &str) -> Vec<IpAddr> {
        vec![IpAddr::from([10, 20, 0, 5])]
    }

    fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }

    fn processors(&self) -> usize {
        2
    }
}

fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn every_configuration_that_is_shown_loads() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["ehr.example.org".to_owned()]).unwrap();
    let here = folder.path();
    for name in [
        "fullchain.pem",
        "tls-certificate",
        "tls.crt",
        "backend-ca.pem",
    ] {
        write(&here.join(name), &made.cert.pem());
    }
    for name in ["privkey.pem", "tls-key", "tls.key"] {
        write(&here.join(name), &made.signing_key.serialize_pem());
    }
    for name in ["redox-token", "redox-token-next"] {
        write(&here.join(name), &format!("{TOKEN}-{name}\n"));
    }
    let here = here.to_str().unwrap();
    let machine = Machine {
        credentials: here.to_owned(),
    };
    let configurations = configurations();
    let shown = |name: &&(String, String)| name.0.starts_with("docs-");
    assert!(configurations.iter().filter(shown).count() >= 8);
    let in_readme = configurations
        .iter()
        .filter(|(name, _)| name.starts_with("README"));
    assert!(in_readme.count() >= 2, "README.md shows no configuration");
    for (name, text) in configurations {
        let file = folder.path().join("gateway.yaml");
        let text = text
            .replace(CERTIFICATES, here)
            .replace(SECRETS, here)
            .replace(LOGS, here);
        write(&file, &text);
        let report = config::load(&file, &machine, now());
        assert!(report.findings.is_empty(), "{name}:\n{}", report.text());
        assert!(report.compiled.is_some(), "{name}");
    }
}
