//! What the documents show is true: every configuration in them loads without a finding.
//!
//! In `README.md` and `docs/audit.md` a whole configuration is a block that begins with "```yaml gateway.yaml".
//! `gateway.yaml` itself and every file of that name below `deploy` are configurations as they are; other YAML there
//! is for other programs.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use countersign::config::{self, Unusable};
use rustls_pki_types::CertificateDer;

use crate::support::{OLD_TOKEN, TOKEN, now};

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
    for (name, file) in [("README", "README.md"), ("audit", "docs/audit.md")] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let blocks = blocks(&text).into_iter().enumerate();
        found.extend(blocks.map(|(number, text)| (format!("{name}-{}", number + 1), text)));
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

/// The marked blocks of a Markdown text.
fn blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if line == "```yaml gateway.yaml" {
            let block = lines.by_ref().take_while(|line| *line != "```");
            blocks.push(block.map(|line| format!("{line}\n")).collect());
        }
    }
    blocks
}

/// The machine that the documents are written for.
struct Machine {
    credentials: String,
}

impl config::Environment for Machine {
    fn variable(&self, name: &str) -> Result<String, Unusable> {
        match name {
            "REDOX_TOKEN" => Ok(TOKEN.to_owned()),
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
    for name in ["fullchain.pem", "tls-certificate", "tls.crt"] {
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

#[test]
fn a_block_is_found_by_its_mark() {
    let text = "x\n```yaml gateway.yaml\na: 1\nb: 2\n```\n```yaml\nc: 3\n```\n```yaml gateway.yaml\nd: 4\n```\n";
    assert_eq!(blocks(text), ["a: 1\nb: 2\n", "d: 4\n"]);
}
