//! The configuration: every mistake we know of is reported with its place and a way out, and never with a secret.
//!
//! `tests/config/broken` has a file for each mistake, whose findings are compared with a snapshot; files in
//! `tests/config/good` load without an error. Both are loaded on a machine that is always the same.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use countersign::config::{self, Environment, Report, Severity, Unusable};
use countersign::gateway::plan::{HostRule, PathRule};
use countersign::verify::UnixTime;
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;

/// 2026-11-23T00:00:00Z
const NOW: UnixTime = UnixTime(1_795_392_000);
/// Part of every planted secret.
const CANARY: &str = "canary";

/// A machine that is the same everywhere.
struct Machine {
    directory: PathBuf,
}

impl Environment for Machine {
    fn variable(&self, name: &str) -> Result<String, Unusable> {
        let value = match name {
            "REDOX_TOKEN" | "REDOX_TOKEN_AGAIN" => "canary-f47ac10b58cc4372a567",
            "REDOX_OLD" => "canary-0e02b2c3d4794d8a9b10",
            "CANARY" => "canary7f3a9b2c4d5e6f70",
            "EMPTY" => "",
            "BLANK" => " \t  ",
            "SHORT" => "canary7f3a",
            "PLACEHOLDER" => "changeme",
            "ANGLE" => "<token>",
            "REFERENCE" => "${REDOX_TOKEN}",
            "REPEATED" => "xxxxxxxxxxxxxxxxxxxxxxxx",
            "YOUR_TOKEN" => "your-verification-token-here",
            "SPACES" => "canary7f3a 9b2c4d5e6f70",
            "CONTROL" => "canary7f3a9b2c\u{7}4d5e6f70",
            "ACCENT" => "canary7f3a9b2c4d5e6f70é",
            "CREDENTIALS_DIRECTORY" => {
                return Ok(self.directory.join("secrets").display().to_string());
            }
            _ => return Err(Unusable::Unset),
        };
        Ok(value.into())
    }

    fn resolve(&self, host: &str) -> Vec<IpAddr> {
        match host {
            "ehr.invalid" => Vec::new(),
            "public.example.net" => vec![IpAddr::from([203, 0, 113, 9])],
            _ => vec![IpAddr::from([10, 0, 0, 1])],
        }
    }

    fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["root.test".into()]).unwrap();
        vec![params.self_signed(&key).unwrap().der().clone()]
    }

    fn processors(&self) -> usize {
        2
    }
}

/// A copy of `tests/config` whose files have the permissions that the cases are about.
struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
        for part in ["broken", "good", "secrets", "tls"] {
            fs::create_dir(directory.path().join(part)).unwrap();
            for entry in fs::read_dir(source.join(part)).unwrap() {
                let from = entry.unwrap().path();
                if from.is_file() {
                    let to = directory.path().join(part).join(from.file_name().unwrap());
                    fs::write(&to, fs::read(&from).unwrap()).unwrap();
                    set_mode(
                        &to,
                        if to.ends_with("secrets/open-to-all") {
                            0o644
                        } else {
                            0o640
                        },
                    );
                }
            }
        }
        let open = directory.path().join("tls/open-to-all.key");
        fs::copy(directory.path().join("tls/good.key"), &open).unwrap();
        set_mode(&open, 0o644);
        Self { directory }
    }

    fn files(&self, part: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path().join(part)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn machine(&self) -> Machine {
        Machine {
            directory: self.directory.path().to_owned(),
        }
    }

    fn load(&self, file: &Path) -> Report {
        config::load(file, &self.machine(), NOW)
    }

    fn write(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.directory.path().join("gateway.yaml");
        fs::write(&file, text).unwrap();
        file
    }

    /// Findings as they would be printed inside the directory.
    fn text(&self, report: &Report) -> String {
        report
            .text()
            .replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn set_mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_mistake_is_reported_with_place_and_way_out() {
    let fixture = Fixture::new();
    let mut failures = Vec::new();
    for file in fixture.files("broken") {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let report = fixture.load(&file);
        let text = fixture.text(&report);
        if report.findings.is_empty() {
            failures.push(format!("{name}: no finding"));
        }
        let unplaced = report.findings.iter().any(|finding| {
            finding.line == 0
                || finding.column == 0
                || finding.found.is_empty()
                || finding.expected.is_empty()
        });
        if unplaced {
            failures.push(format!("{name}: a finding without place or expectation"));
        }
        if report.compiled.is_some() != (report.errors() == 0) {
            failures.push(format!(
                "{name}: {} errors, compiled {}",
                report.errors(),
                report.compiled.is_some()
            ));
        }
        let everything = format!("{text}{}{report:?}", report.json());
        if everything
            .replace(CANARY_VARIABLE, "")
            .to_lowercase()
            .contains(CANARY)
        {
            failures.push(format!("{name}: shows a secret\n{text}"));
        }
        insta::with_settings!({
            snapshot_path => "../config/findings",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name.as_str(), text);
        });
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Files name this variable; its name is no secret.
const CANARY_VARIABLE: &str = "${CANARY}";

#[test]
fn good_files_load() {
    let fixture = Fixture::new();
    for file in fixture.files("good") {
        let report = fixture.load(&file);
        assert_eq!(fixture.text(&report), "", "{}", file.display());
        let debug = format!("{report:?}{}", report.effective().unwrap());
        assert!(!debug.contains(CANARY), "{}", file.display());
    }
}

#[test]
fn what_is_shown_loads_again_apart_from_secrets() {
    let fixture = Fixture::new();
    let file = fixture.files("good").remove(0);
    for file in fixture.files("good").into_iter().chain([file]) {
        let shown = config::show(&file, &fixture.machine(), NOW).unwrap();
        let again = fixture.directory.path().join("good/again.yaml");
        fs::write(&again, &shown).unwrap();
        let report = fixture.load(&again);
        let others: Vec<_> = report
            .findings
            .iter()
            .filter(|finding| !finding.path.contains(".tokens"))
            .collect();
        assert!(others.is_empty(), "{shown}\n{others:?}");
    }
}

#[test]
fn good_files_compile_into_what_they_say() {
    let fixture = Fixture::new();
    let file = fixture.directory.path().join("good/several-senders.yaml");
    let compiled = fixture.load(&file).compiled.unwrap();
    let names: Vec<&str> = compiled
        .listeners
        .iter()
        .map(|listener| &*listener.name)
        .collect();
    assert_eq!(names, ["public", "inside"]);
    assert!(compiled.listeners[0].tls.is_some() && compiled.listeners[1].tls.is_none());
    let admin = compiled.admin.unwrap();
    assert_eq!(admin.address, "127.0.0.1:9090".parse().unwrap());
    assert!(admin.status && admin.hosts.is_empty());
    assert_eq!(compiled.workers, 2);
    let certificates: Vec<&str> = compiled
        .certificates
        .iter()
        .map(|info| &*info.name)
        .collect();
    assert_eq!(certificates, ["ehr.example.org", "other.example.org"]);
    assert!(compiled.server.preserve_header_case);

    let routes = &compiled.plan.routes;
    let names: Vec<&str> = routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["production", "live", "json"]);
    assert_eq!(routes[0].scheme.tokens().iter().len(), 4);
    assert_eq!(
        routes[0].forwarding.path,
        PathRule::Replace("/in/box".into())
    );
    assert_eq!(
        routes[1].forwarding.path,
        PathRule::ReplacePrefix {
            prefix_length: 6,
            with: "/live".into()
        }
    );
    assert_eq!(routes[2].forwarding.host, HostRule::Upstream);
    assert_eq!(routes[1].body_cap, 100 << 20);
    assert_eq!(routes[1].timeouts.response.as_secs(), 30);
    assert_eq!(
        (routes[0].upstream, routes[1].upstream, routes[2].upstream),
        (0, 0, 1)
    );
    assert_eq!(compiled.plan.upstreams[1].endpoints.len(), 2);
    assert_eq!(&*compiled.plan.upstreams[0].name, "http://10.20.0.5:6661");
    assert_eq!(
        compiled
            .plan
            .table
            .find(Some("other.example.org"), "/redox/x"),
        Some(1)
    );
}

#[test]
fn the_file_at_the_top_starts_as_it_stands() {
    let fixture = Fixture::new();
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.yaml")).unwrap();
    let report = fixture.load(&fixture.write(text));
    assert_eq!(fixture.text(&report), "");
    let compiled = report.compiled.unwrap();
    assert_eq!(
        compiled.listeners[0].address,
        "0.0.0.0:8443".parse().unwrap()
    );
    assert_eq!(
        compiled.certificates[0].not_after,
        UnixTime(NOW.0 + 30 * 24 * 3600)
    );
}

#[test]
fn the_file_at_the_top_has_every_key() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.yaml")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&config::schema()).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys {
        let written = text.lines().any(|line| {
            let line = line.trim_start_matches([' ', '#', '-', '{']);
            line.starts_with(&format!("{key}:")) || line.contains(&format!(" {key}: "))
        });
        assert!(written, "{key}");
    }
}

fn collect_keys(schema: &serde_json::Value, keys: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(|value| value.as_object()) {
        for (key, value) in properties {
            assert!(
                value.get("description").is_some(),
                "{key} has no description"
            );
            keys.push(key.clone());
        }
    }
    match schema {
        serde_json::Value::Object(map) => map.values().for_each(|value| collect_keys(value, keys)),
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

#[test]
fn the_defaults_in_the_file_at_the_top_are_the_defaults() {
    let fixture = Fixture::new();
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.yaml")).unwrap();
    let short = "listeners:\n  - { name: public, address: '0.0.0.0:8443', tls: { self_signed: [localhost] } }\n\
                 routes:\n  - path: /redox\n    verify: { scheme: redox, tokens: [{ id: '2026-11', env: REDOX_TOKEN }] }\n    \
                 upstream: { url: 'http://127.0.0.1:6661' }\n";
    let shown = [text.as_str(), short]
        .map(|text| config::show(&fixture.write(text), &fixture.machine(), NOW).unwrap());
    assert_eq!(shown[0], shown[1]);
}

#[test]
fn shows_the_effective_configuration() {
    let fixture = Fixture::new();
    let file = fixture.directory.path().join("good/several-senders.yaml");
    let shown = config::show(&file, &fixture.machine(), NOW).unwrap();
    insta::with_settings!({ snapshot_path => "../config/findings", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("effective", shown);
    });
}

#[test]
fn json_has_stable_keys() {
    let fixture = Fixture::new();
    let report = fixture.load(&fixture.write("listener: []\n"));
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["errors"], report.errors());
    assert_eq!(json["warnings"], 0);
    let finding = &json["findings"][0];
    for key in [
        "severity", "file", "line", "column", "path", "found", "expected", "hint",
    ] {
        assert!(finding.get(key).is_some(), "{key}");
    }
}

#[test]
fn files_that_cannot_be_read_are_findings() {
    let fixture = Fixture::new();
    let cases: [(&[u8], &str); 3] = [
        (&[b'#'; 1024 * 1024 + 1], "a file of more than 1 MiB"),
        (b"a: \xff", "a file that is not UTF-8"),
        (b"\xef\xbb\xbf", "an empty file"),
    ];
    for (bytes, expected) in cases {
        let report = fixture.load(&fixture.write(bytes));
        assert_eq!(report.findings[0].found, expected);
    }
    let report = fixture.load(Path::new("/nowhere/gateway.yaml"));
    assert_eq!(report.findings[0].severity, Severity::Error);
}

#[test]
fn credentials_need_their_directory() {
    struct NoCredentials(Machine);
    impl Environment for NoCredentials {
        fn variable(&self, _: &str) -> Result<String, Unusable> {
            Err(Unusable::Unset)
        }
        fn resolve(&self, host: &str) -> Vec<IpAddr> {
            self.0.resolve(host)
        }
        fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
            Vec::new()
        }
        fn processors(&self) -> usize {
            1
        }
    }
    let fixture = Fixture::new();
    let file = fixture.write(
        "listeners: [{ address: '127.0.0.1:1', tls: { self_signed: [localhost] } }]\n\
         routes:\n- path: /redox\n  verify: { scheme: redox, tokens: [{ id: a, credential: redox }] }\n  \
         upstream: { url: 'https://10.0.0.1' }\n",
    );
    let report = config::load(&file, &NoCredentials(fixture.machine()), NOW);
    let found: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.found.as_str())
        .collect();
    assert_eq!(
        found,
        [
            "route `redox`, token `a`: CREDENTIALS_DIRECTORY is not set",
            "an https upstream, and no trusted certificates on this machine",
        ]
    );
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let fixture = tempfile::tempdir().unwrap();
        let file = fixture.path().join("gateway.yaml");
        fs::write(&file, &text).unwrap();
        let report = config::load(&file, &Machine { directory: fixture.path().into() }, NOW);
        prop_assert!(!report.findings.is_empty());
        let _ = (report.text(), report.json());
    }

    #[test]
    fn arbitrary_yaml_never_panics(lines in prop::collection::vec("[ ]{0,6}(- )?(listeners|routes|tls|verify|tokens|id|path|log|a)?[:]?[ ]?([&*]x|\\[|\\{|\\}|\\]|\"|'|[|]|>|[0-9]{1,3}|\\$\\{A\\}|é|\t|#|!t|<<)?", 0..20)) {
        let fixture = tempfile::tempdir().unwrap();
        let file = fixture.path().join("gateway.yaml");
        fs::write(&file, lines.join("\n")).unwrap();
        let report = config::load(&file, &Machine { directory: fixture.path().into() }, NOW);
        prop_assert!(!report.findings.is_empty());
        let _ = (report.text(), report.json());
    }

    #[test]
    fn damaged_files_never_panic(at in 0_usize..400, with in "\\PC{0,3}") {
        let good = include_str!("../config/good/ten-lines.yaml");
        let text: String = good.chars().take(at).chain(with.chars()).chain(good.chars().skip(at + 1)).collect();
        let fixture = tempfile::tempdir().unwrap();
        let file = fixture.path().join("gateway.yaml");
        fs::write(&file, text).unwrap();
        let report = config::load(&file, &Machine { directory: fixture.path().into() }, NOW);
        prop_assert_eq!(report.compiled.is_some(), report.errors() == 0);
    }
}
