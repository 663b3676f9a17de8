//! Any text is either valid or has findings with a place, and no output shows a secret of the environment.

#![no_main]

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use countersign::config::{self, Environment, Unusable};
use countersign_fuzz::NOW;
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;

/// What must come out nowhere.
const SECRET: &str = "CANARY0c7d1b5e9f3a48628d64";

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("countersign-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder.join("gateway.yaml")
});

/// A machine on which every variable holds the secret.
struct Machine;

impl Environment for Machine {
    fn variable(&self, _: &str) -> Result<String, Unusable> {
        Ok(SECRET.to_owned())
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

fuzz_target!(|text: &str| {
    // Interpolation puts a variable where its author wants to see it; and devices are no files to try out.
    if ["${", "/dev", "/proc", "/sys", SECRET]
        .iter()
        .any(|part| text.contains(part))
    {
        return;
    }
    std::fs::write(&*FILE, text).expect("a temporary file");
    let report = config::load(&FILE, &Machine, NOW);
    assert_eq!(report.compiled.is_some(), report.errors() == 0);
    assert_eq!(report.effective().is_some(), report.errors() == 0);
    assert_eq!(report.findings.len(), report.errors() + report.warnings());
    // YAML ends a line at a carriage return as well, and what is missing at the end is missing on the line after.
    let lines = text.matches(['\n', '\r']).count() + 2;
    for finding in &report.findings {
        assert!(finding.line >= 1 && finding.column >= 1, "{finding:?}");
        assert!(finding.line <= lines, "{finding:?}");
    }
    for shown in [
        report.text(),
        report.json(),
        report.effective().unwrap_or_default().to_owned(),
        format!("{report:?}"),
    ] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
});
