//! Every block is what its mark says.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use countersign::config::{self, Unusable};
use rustls_pki_types::CertificateDer;

use super::markdown::{Block, blocks, pages};
use super::{PART, WHOLE, mentions, root, shell, tables};
use crate::support::now;

/// Programs of others that the documents may use.
const PROGRAMS: [&str; 55] = [
    "amtool",
    "apt-get",
    "awk",
    "aws",
    "caddy",
    "cargo",
    "cat",
    "cd",
    "chmod",
    "chown",
    "curl",
    "date",
    "df",
    "docker",
    "dpkg",
    "dpkg-deb",
    "du",
    "echo",
    "export",
    "git",
    "grep",
    "haproxy",
    "head",
    "id",
    "install",
    "journalctl",
    "jq",
    "kill",
    "kubectl",
    "less",
    "logger",
    "ls",
    "mkdir",
    "mv",
    "nginx",
    "openssl",
    "pgrep",
    "printf",
    "promtool",
    "ps",
    "python3",
    "rust-audit-info",
    "sed",
    "sha256sum",
    "sleep",
    "sort",
    "ssh-keygen",
    "stat",
    "systemctl",
    "systemd-run",
    "tr",
    "uniq",
    "tail",
    "w3m",
    "wc",
];
/// Folders of the checkout whose names in a command mean the real thing.
const FOLDERS: [&str; 5] = ["benches/", "deploy/", "docs/", "tests/", ".ci/"];

#[test]
fn every_block_is_what_its_mark_says() {
    let mut problems = Vec::new();
    for page in pages(root()) {
        for block in blocks(&page.text) {
            if let Err(problem) = judge(&page.path, &block) {
                problems.push(format!(
                    "{}:{}: `{}`: {problem}",
                    page.path, block.line, block.mark
                ));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn judge(path: &str, block: &Block) -> Result<(), String> {
    let text = block.text.as_str();
    match block.mark.as_str() {
        // Loaded by `every_configuration_that_is_shown_loads`.
        WHOLE | PART => Ok(()),
        // For other programs.
        "yaml" | "yaml prometheus.yaml" => serde_yaml::from_str::<serde_yaml::Value>(text)
            .map(drop)
            .map_err(|error| error.to_string()),
        "sh" => script(text),
        "json" => text.lines().try_for_each(json),
        "text metrics" => text.lines().try_for_each(metric),
        "promql" => mentions::metrics_exist(text),
        "text findings" => findings(text),
        "text demo" => text.lines().try_for_each(scene),
        "text access" => text.lines().try_for_each(access_line),
        "systemd" => text.lines().try_for_each(unit_line),
        // Each is run or read by its own program: `tests/documents/rivals`, and the first by `audit_damage`.
        "nginx nginx.conf" | "haproxy haproxy.cfg" | "caddyfile Caddyfile"
            if path.starts_with("docs/from-") =>
        {
            Ok(())
        }
        "python" if path == "docs/audit.md" => Ok(()),
        // Nothing in them is ours: a drawing, the form of another program's settings, and what a sender prints.
        "text picture" | "text logrotate" | "text probe" | "text sender" => Ok(()),
        _ => Err("no mark that CONTRIBUTING.md lists".to_owned()),
    }
}

fn json(line: &str) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let keys = value.as_object().ok_or("no object")?.keys();
    if value.get("outcome").is_some() {
        let known = tables::access_fields();
        let unknown: Vec<&String> = keys.filter(|key| !known.contains(key)).collect();
        if !unknown.is_empty() {
            return Err(format!("no fields of an access line: {unknown:?}"));
        }
    }
    Ok(())
}

/// A line of the log for people: everything in `name=value` is a name that such a line has.
fn access_line(line: &str) -> Result<(), String> {
    let known = [
        "route", "reason", "token", "in", "out", "time", "client", "peer", "upstream", "listener",
        "id",
    ];
    let mut names = line.split(' ').filter_map(|word| word.split_once('='));
    match names.find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(format!("no `{name}=` in an access line")),
        None => Ok(()),
    }
}

fn metric(line: &str) -> Result<(), String> {
    let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
    value.parse::<f64>().map_err(|_| "no number".to_owned())?;
    let name = series.split('{').next().unwrap_or_default();
    match mentions::is_metric(name) {
        true => Ok(()),
        false => Err(format!("no metric: {name}")),
    }
}

/// A line of the demonstration: its scene is one of the play's.
fn scene(line: &str) -> Result<(), String> {
    let play = include_str!("../../../src/cli/demo/play.rs");
    let (name, _) = line.split_once("->").ok_or("no verdict")?;
    let name = name.trim_start_matches("ok").trim();
    match play.contains(&format!("\"{name}\"")) {
        true => Ok(()),
        false => Err(format!("no scene: {name}")),
    }
}

fn unit_line(line: &str) -> Result<(), String> {
    let section = line.starts_with('[') && line.ends_with(']');
    let setting = line.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric())
    });
    match section || setting || line.is_empty() || line.starts_with('#') {
        true => Ok(()),
        false => Err(format!("no line of a unit: {line}")),
    }
}

/// A machine on which nothing is set.
struct Bare;

impl config::Environment for Bare {
    fn variable(&self, _: &str) -> Result<String, Unusable> {
        Err(Unusable::Unset)
    }

    fn resolve(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }

    fn processors(&self) -> usize {
        2
    }
}

/// What `check` prints for `gateway.yaml` without its token, word for word.
fn findings(text: &str) -> Result<(), String> {
    let report = config::load(&root().join("gateway.yaml"), &Bare, now());
    let printed = report.text().replace(&format!("{}/", root().display()), "");
    match text.starts_with(&printed) {
        true => Ok(()),
        false => Err(format!("it is:\n{printed}")),
    }
}

fn script(text: &str) -> Result<(), String> {
    syntax(text)?;
    shell::commands(text)?
        .iter()
        .try_for_each(|words| command(words))
}

/// A real shell has to understand it too.
fn syntax(text: &str) -> Result<(), String> {
    let mut shell = Command::new("sh")
        .arg("-n")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut input = shell.stdin.take().ok_or("no input")?;
    input
        .write_all(text.as_bytes())
        .map_err(|error| error.to_string())?;
    drop(input);
    let output = shell
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn command(words: &[String]) -> Result<(), String> {
    // `NAME=value` in front, `sudo`, and `sudo env NAME=value`, since sudo alone need not hand variables on.
    let is_setting = |word: &&String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    let first = words.iter().take_while(is_setting).count();
    let words = match &words[first..] {
        [] => return Ok(()),
        [sudo, env, rest @ ..] if sudo == "sudo" && env == "env" => return command(rest),
        [sudo, rest @ ..] if sudo == "sudo" => rest,
        words => words,
    };
    let program = words.first().map(String::as_str).unwrap_or_default();
    for word in words {
        // Of a pattern, the folder has to be there.
        let path = match word.split_once('*') {
            Some((before, _)) => before.rsplit_once('/').map_or(before, |(folder, _)| folder),
            None => word.as_str(),
        };
        let named = FOLDERS.iter().any(|folder| word.starts_with(folder));
        if named && !root().join(path).exists() && !word.starts_with("deploy/compose/secrets") {
            return Err(format!("there is no {word}"));
        }
    }
    match program.rsplit('/').next().unwrap_or_default() {
        "countersign" => return mentions::ours(&words[1..]),
        "systemd-run" => {
            let at = words.iter().position(|word| word.ends_with("/countersign"));
            return at.map_or(Ok(()), |at| mentions::ours(&words[at + 1..]));
        }
        "cargo" => {
            let runs = words.get(1).is_some_and(|word| word == "run");
            let at = words.iter().position(|word| word == "--");
            return match at.filter(|_| runs) {
                Some(at) => mentions::ours(&words[at + 1..]),
                None => Ok(()),
            };
        }
        name if PROGRAMS.contains(&name) => return Ok(()),
        _ => {}
    }
    let ours = std::fs::metadata(root().join(program));
    match ours.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0) {
        true => Ok(()),
        false => Err(format!("an unknown program: {program}")),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphabetic() || letter == '_')
}

#[test]
fn what_is_wrong_is_found() {
    let wrong = [
        ("", "x"),
        ("text", "x"),
        ("yaml", "a: [1"),
        ("sh", "countersign chekc -c gateway.yaml"),
        ("sh", "sudo countersign check --formt json"),
        ("sh", "sudo env A=b countersign chekc"),
        ("sh", "sudo env A=b rm -rf /"),
        ("sh", "echo \"$(countersign token old)\""),
        ("sh", "rm -rf /"),
        ("sh", "kubectl apply -k deploy/kubernetes/overlays/none"),
        ("sh", "cargo run --release -- demo --twice"),
        ("sh", "systemd-run --pty /usr/bin/countersign check --what"),
        ("sh", "if"),
        ("json", r#"{"outcome":"forwarded","body":"x"}"#),
        ("json", "{"),
        ("text metrics", "countersign_nothing_total 1"),
        ("text metrics", "countersign_requests_total one"),
        ("promql", "rate(countersign_nothing_total[5m])"),
        ("text findings", "gateway.yaml is not valid"),
        ("text demo", "ok    a scene of nobody -> 200"),
        ("text access", "2026 200 forwarded POST path=/redox"),
        ("systemd", "Listen Stream=1"),
        ("nginx nginx.conf", "events {}"),
    ];
    for (mark, text) in wrong {
        let block = Block {
            mark: mark.to_owned(),
            line: 1,
            text: format!("{text}\n"),
        };
        assert!(judge("README.md", &block).is_err(), "{mark}: {text}");
    }
}
