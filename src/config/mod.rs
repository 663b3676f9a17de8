//! From `gateway.yaml` to what runs: the plan of the gateway, the listeners, the log.
//!
//! The stages, each of which goes on with what the one before it left over, so that one run reports the mistakes of
//! all of them:
//!
//! ```text
//! source ──► interpolate ──► shape ──► document ──► compile (secret, certificate)
//! text to    variables       keys and  typed        meaning, files, combinations
//! tree       put in          types
//! ```
//!
//! Not here: binding ports, running anything. Nothing that runs imports this room. The environment and the time are
//! arguments.
//!
//! No finding, `show` or `Debug` output holds a secret or a part of one.

mod admin;
mod certificate;
mod compile;
mod context;
mod diagnostic;
mod document;
mod effective;
mod environment;
mod interpolate;
mod label;
mod mark;
mod mask;
mod places;
mod schema;
mod secret;
mod shape;
mod show;
mod source;
mod tree;
mod value;
mod words;

#[cfg(test)]
mod testing;

pub use admin::admin_address;
pub use compile::{AdminSpec, AuditKey, AuditSpec, CertificateInfo, Compiled, LogSpec};
pub use diagnostic::{Finding, Severity};
pub use effective::{Effective, differences};
pub use environment::{Environment, Process, Unusable};
pub use secret::{read_at_most, read_secret};
pub use words::{LogFormat, LogLevel};

use std::cell::RefCell;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use diagnostic::{At, Findings};
use document::Document;
use mark::Mark;
use places::Places;
use shape::Shape;

use crate::verify::UnixTime;

/// Paths of files. They cannot be printed: somebody may have written a secret in place of a file name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files(pub Vec<PathBuf>);

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} files", self.0.len())
    }
}

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Report {
    /// All that is wrong, in the order of the file.
    pub findings: Vec<Finding>,
    /// What runs; only where no finding is an error.
    pub compiled: Option<Compiled>,
    /// The configuration file and every file it names, readable or not: a change to one of them may change what runs.
    pub files: Files,
    effective: Option<String>,
}

impl Report {
    /// How many findings are errors.
    pub fn errors(&self) -> usize {
        diagnostic::count(&self.findings).0
    }

    /// How many findings are warnings.
    pub fn warnings(&self) -> usize {
        diagnostic::count(&self.findings).1
    }

    /// All findings for people; empty where there are none.
    pub fn text(&self) -> String {
        diagnostic::text(&self.findings)
    }

    /// All findings for programs, as one JSON object with the keys `valid`, `errors`, `warnings` and `findings`.
    pub fn json(&self) -> String {
        diagnostic::json(&self.findings)
    }

    /// The effective configuration as YAML: defaults filled in, every secret masked. Only without errors.
    pub fn effective(&self) -> Option<&str> {
        self.effective.as_deref()
    }
}

/// Reads a configuration file and everything it names: secrets, certificates, keys, trust store. Opens no port.
///
/// Relative paths in the file begin at its directory.
pub fn load(path: &Path, env: &dyn Environment, now: UnixTime) -> Report {
    let file = path.display().to_string();
    let mut findings = Findings::default();
    let Some(text) = text(path, &mut findings) else {
        return report(findings.finish(&file, ""), None, vec![path.to_owned()]);
    };
    let base = path.parent().unwrap_or(Path::new(""));
    let mut files = vec![path.to_owned()];
    let compiled = compile_text(&text, base, env, now, &mut findings, &mut files);
    report(findings.finish(&file, &text), compiled, files)
}

/// The effective configuration: defaults filled in, every secret masked.
///
/// # Errors
/// The report, where the configuration has errors.
pub fn show(path: &Path, env: &dyn Environment, now: UnixTime) -> Result<String, Box<Report>> {
    let report = load(path, env, now);
    match report.effective {
        Some(effective) => Ok(effective),
        None => Err(Box::new(report)),
    }
}

/// The JSON Schema of the configuration file, for editors.
pub fn schema() -> String {
    format!("{:#}\n", Shape::new().json())
}

fn report(
    findings: Vec<Finding>,
    compiled: Option<(Document, Compiled)>,
    files: Vec<PathBuf>,
) -> Report {
    let (errors, _) = diagnostic::count(&findings);
    let (document, mut compiled) = compiled.filter(|_| errors == 0).unzip();
    let workers = compiled
        .as_ref()
        .map_or(1, |compiled: &Compiled| compiled.workers);
    let effective = document.map(|document| show::effective(document, workers));
    if let (Some(compiled), Some(effective)) = (&mut compiled, &effective) {
        compiled.effective = Effective(effective.clone());
    }
    Report {
        findings,
        compiled,
        files: Files(files),
        effective,
    }
}

/// What is in the configuration file; where it cannot be read, a finding says why.
fn text(path: &Path, findings: &mut Findings) -> Option<String> {
    read(path)
        .map_err(|(found, expected)| {
            let at = At {
                mark: Mark::start(),
                path: String::new(),
            };
            findings.add(Finding::error(&at, found, expected));
        })
        .ok()
}

fn read(path: &Path) -> Result<String, (String, &'static str)> {
    let expected = "a readable configuration file";
    let failed = |error: std::io::Error| {
        (
            format!(
                "the file cannot be read: {}",
                certificate::io_text(error.kind())
            ),
            expected,
        )
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(source::FILE_CAP).unwrap_or(u64::MAX);
    let file = File::open(path).map_err(failed)?;
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > source::FILE_CAP {
        return Err(("a file of more than 1 MiB".into(), "a configuration file"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| ("a file that is not UTF-8".into(), "a text file in UTF-8"))?;
    // A byte order mark is no content, and would shift the first column.
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// All stages. `None` where some part is missing; the findings say why.
fn compile_text(
    text: &str,
    base: &Path,
    env: &dyn Environment,
    now: UnixTime,
    findings: &mut Findings,
    files: &mut Vec<PathBuf>,
) -> Option<(Document, Compiled)> {
    let mut root = source::parse(text, findings)?;
    interpolate::interpolate(&mut root, env, findings);
    if !Shape::new().check(&mut root, findings) {
        return None;
    }
    let places = Places::new(&root);
    let document: Document = match serde_yaml::from_value(shape::value(&root)) {
        Ok(document) => document,
        Err(_) => {
            // The schema and the types come from one source, so this is ours, not the operator's. The text of the
            // error could repeat a value.
            let at = places.at("");
            let found = "a value that the check let through and the document did not take";
            findings.add(Finding::error(&at, found, "a report of this as a bug"));
            return None;
        }
    };
    let mut context = context::Context {
        places: &places,
        findings,
        env,
        now,
        base,
        files: RefCell::default(),
    };
    let compiled = compile::compile(&mut context, &document);
    files.append(context.files.get_mut());
    Some((document, compiled?))
}
