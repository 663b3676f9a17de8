//! On what it was measured.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::options::Options;
use crate::proxy::Kind;

/// What a reader has to know to compare.
pub(crate) struct Machine {
    /// A name and what it is.
    pub(crate) facts: Vec<(String, String)>,
}

impl Machine {
    pub(crate) fn look(
        programs: &HashMap<&'static str, PathBuf>,
        options: &Options,
    ) -> Result<Self> {
        let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
        let count = cpu
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count();
        let model = field(&cpu, "model name").unwrap_or("unknown");
        let mut facts = vec![
            (
                "date".to_owned(),
                said(Command::new("date").arg("-u").arg("+%F %H:%M UTC")),
            ),
            ("processor".to_owned(), format!("{model}, {count} cores")),
            ("kernel".to_owned(), said(Command::new("uname").arg("-sr"))),
            ("load before the run".to_owned(), load()?),
            ("parameters".to_owned(), options.given.clone()),
        ];
        for kind in &options.proxies {
            let version = match programs.get(kind.name()) {
                Some(program) => version(*kind, program),
                None => "not available".to_owned(),
            };
            facts.push((kind.name().to_owned(), version));
        }
        Ok(Self { facts })
    }
}

fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" "))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn version(kind: Kind, program: &Path) -> String {
    let mut command = Command::new(program);
    match kind {
        Kind::Countersign => said(command.arg("--version")),
        Kind::Envoy => {
            // The place of the program comes first.
            let text = said(command.arg("--version"));
            text.rsplit("version: ").next().unwrap_or(&text).to_owned()
        }
        Kind::Nginx => {
            // The version, and below it the library that it was built with.
            let text = all(command.arg("-V"));
            let lines = text.lines().filter(|line| !line.contains("configure"));
            lines.collect::<Vec<_>>().join(", ")
        }
        Kind::Haproxy => {
            let text = all(command.arg("-vv"));
            let first = text.lines().next().unwrap_or_default();
            let library = field(&text, "Running on OpenSSL version").unwrap_or("unknown library");
            format!("{first}, {library}")
        }
        Kind::Caddy => said(command.arg("version")),
        // It cannot tell; its lock file can.
        Kind::Pingora => pingora().unwrap_or_else(|| "unknown".to_owned()),
    }
}

fn pingora() -> Option<String> {
    let lock = include_str!("../pingora/Cargo.lock");
    let (_, after) = lock.split_once("name = \"pingora\"\nversion = \"")?;
    let version = after.split('"').next()?;
    Some(format!("pingora {version} with rustls on AWS-LC"))
}

/// The first line that a command prints.
fn said(command: &mut Command) -> String {
    all(command)
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("unknown")
        .trim()
        .to_owned()
}

fn all(command: &mut Command) -> String {
    command.output().map_or_else(
        |error| error.to_string(),
        |output| {
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).into_owned()
        },
    )
}
