//! Reading the configuration again while the gateway runs: all of it or nothing.
//!
//! The file, every secret and every certificate are read and checked as at the start, beside the requests. Only a
//! configuration without errors is put into force; anything else is told to the log, finding by finding, and changes
//! nothing.

use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::serve::Serving;
use super::watch::{Contents, contents};
use crate::clock;
use crate::config::{self, Environment, Finding, Process, Report, Severity, Unusable};

/// Why the configuration is read again; the words are those of [`crate::telemetry::RELOAD_TRIGGERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    Signal,
    Watch,
}

impl Trigger {
    fn label(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Watch => "watch",
        }
    }
}

/// What was read.
pub(super) struct Reading {
    report: Report,
    /// What was in the files when they were read, or a little before: a change in between shows at the next look.
    pub(super) contents: Contents,
    trigger: Trigger,
}

/// Reads the configuration again, one reading at a time.
pub(super) struct Reloader {
    file: PathBuf,
    files: Vec<PathBuf>,
    workers: usize,
    reading: Option<(Trigger, JoinHandle<Reading>)>,
    again: Option<Trigger>,
}

impl Reloader {
    /// `files` are those of the configuration in force, `workers` the threads it started.
    pub(super) fn new(file: &Path, files: Vec<PathBuf>, workers: usize) -> Self {
        Self {
            file: file.to_owned(),
            files,
            workers,
            reading: None,
            again: None,
        }
    }

    /// Reads again, now or once the reading under way is over.
    pub(super) fn ask(&mut self, trigger: Trigger) {
        if self.reading.is_some() {
            self.again = Some(trigger);
            return;
        }
        let machine = Machine(self.workers);
        let (file, files) = (self.file.clone(), self.files.clone());
        // Files may be slow, and names are resolved for the findings.
        let reading = tokio::task::spawn_blocking(move || read(&file, files, &machine, trigger));
        self.reading = Some((trigger, reading));
    }

    /// The files of the last reading.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    /// Whether a reading is under way.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Completes when a reading is over.
    ///
    /// # Errors
    /// Where it ended in a panic, which has been reported by itself.
    ///
    /// # Cancel safety
    /// Safe: a reading under way goes on.
    pub(super) async fn read(&mut self) -> Result<Reading, Trigger> {
        let Some((trigger, reading)) = &mut self.reading else {
            return std::future::pending().await;
        };
        let read = reading.await.map_err(|_| *trigger);
        self.reading = None;
        if let Ok(read) = &read {
            self.files.clone_from(&read.report.files.0);
        }
        if let Some(trigger) = self.again.take() {
            self.ask(trigger);
        }
        read
    }
}

/// Reads everything. What is in a file is noted before it is read, so that no change is missed; a file that was not
/// known before is therefore read twice.
fn read(file: &Path, files: Vec<PathBuf>, machine: &Machine, trigger: Trigger) -> Reading {
    let mut noted = contents(files);
    let mut report = config::load(file, machine, clock::unix_now());
    let unknown = |file: &&PathBuf| !noted.contains_key(*file);
    let new: Vec<PathBuf> = report.files.0.iter().filter(unknown).cloned().collect();
    if !new.is_empty() {
        noted.extend(contents(new));
        report = config::load(file, machine, clock::unix_now());
    }
    // Files that only the second reading named show at the next look.
    let named = |file: &PathBuf| (file.clone(), noted.get(file).copied().flatten());
    let contents = report.files.0.iter().map(named).collect();
    Reading {
        report,
        contents,
        trigger,
    }
}

/// A reading has come to nothing.
pub(super) fn give_up(serving: &Serving, trigger: Trigger) {
    let trigger = trigger.label();
    serving.reload_failed(trigger, &[]);
    tracing::error!(
        trigger,
        "reading the configuration panicked; the one in force stays, please report it"
    );
}

/// Puts what was read into force if it can be; `true` if it was.
pub(super) fn apply(serving: &mut Serving, reading: Reading) -> bool {
    let trigger = reading.trigger.label();
    let mut report = reading.report;
    report.findings.iter().for_each(log_finding);
    let Some(compiled) = report.compiled.take() else {
        serving.reload_failed(trigger, &report.findings);
        tracing::error!(
            trigger,
            errors = report.errors(),
            "the configuration is not valid; the one in force stays"
        );
        return false;
    };
    match serving.reload(compiled, trigger) {
        Ok(()) => {
            serving.reload_warned(&report.findings);
            tracing::info!(trigger, "configuration reloaded");
            true
        }
        Err(changed) => {
            tracing::error!(
                trigger,
                settings = changed.join(", "),
                "the configuration changes what only a start takes up; the one in force stays, restart to change it"
            );
            false
        }
    }
}

/// A finding in the configuration, for those who read the log with a program.
pub(super) fn log_finding(finding: &Finding) {
    // The severity of an event is a constant to the log.
    macro_rules! tell {
        ($level:ident) => {
            tracing::$level!(
                file = %finding.file,
                line = finding.line,
                column = finding.column,
                setting = %finding.path,
                found = %finding.found,
                expected = %finding.expected,
                help = finding.hint.as_deref(),
                "configuration"
            )
        };
    }
    match finding.severity {
        Severity::Error => tell!(error),
        Severity::Warning => tell!(warn),
    }
}

/// This machine, with as many processors as it had at the start: how many threads serve does not change.
struct Machine(usize);

impl Environment for Machine {
    fn variable(&self, name: &str) -> Result<String, Unusable> {
        Process.variable(name)
    }

    fn resolve(&self, host: &str) -> Vec<std::net::IpAddr> {
        Process.resolve(host)
    }

    fn trust_roots(&self) -> Vec<rustls_pki_types::CertificateDer<'static>> {
        Process.trust_roots()
    }

    fn processors(&self) -> usize {
        self.0
    }
}
