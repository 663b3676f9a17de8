//! `countersign run`: serves until told to stop.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use super::check::say_findings;
use super::descriptors;
use super::fail;
use super::manager;
use super::reload::log_finding;
use super::serve::{Start, StartError, start};
use super::supervise::{Rules, inherited, supervise};
use crate::clock;
use crate::config::{self, LogFormat, LogLevel, LogSpec, Process};
use crate::server::BindError;
use crate::telemetry::{self, Format};

pub(super) fn run(file: &Path) -> ExitCode {
    let mut report = config::load(file, &Process, clock::unix_now());
    let Some(compiled) = report.compiled.take() else {
        say_findings(&report);
        return fail(
            &format!("{} is not valid, so nothing was started", file.display()),
            "mend what is listed above; `countersign check` prints it again",
        );
    };
    let log = compiled.log;
    let log_format = format(log, std::io::stderr().is_terminal());
    telemetry::init_log(level(log.level), log_format);
    match log_format {
        Format::Text => say_findings(&report),
        Format::Json => report.findings.iter().for_each(log_finding),
    }
    let access: Option<(Box<dyn Write + Send>, Format)> = log.access.then(|| {
        let output: Box<dyn Write + Send> = Box::new(std::io::stdout());
        (output, format(log, std::io::stdout().is_terminal()))
    });
    let sockets = match inherited() {
        Ok(sockets) => sockets,
        Err(error) => {
            return fail(
                &format!("was handed what is no listening socket: {error}"),
                "",
            );
        }
    };
    let watchdog = manager::watchdog();
    let rules = Rules {
        file: file.to_owned(),
        files: report.files.0,
        workers: compiled.workers,
        watchdog,
    };
    let with = Start {
        access,
        sockets,
        // Several beats for each look at them.
        heartbeat: watchdog.map(|every| every / 8),
        descriptors: descriptors::raise(),
    };
    let serving = match start(compiled, with) {
        Ok(serving) => serving,
        Err(error) => return fail(&error.to_string(), help(&error)),
    };
    match supervise(serving, rules) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => fail(
            "a worker failed",
            "the log above says why; please report it",
        ),
        Err(error) => fail(&format!("cannot listen for signals: {error}"), ""),
    }
}

fn level(level: LogLevel) -> tracing::Level {
    match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}

fn format(log: LogSpec, terminal: bool) -> Format {
    match log.format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
        LogFormat::Auto if terminal => Format::Text,
        LogFormat::Auto => Format::Json,
    }
}

fn help(error: &StartError) -> &'static str {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let error = match error {
        StartError::Bind(BindError::Address(_, error)) => error,
        StartError::Bind(BindError::Unclaimed(_)) => {
            return "the address in the socket unit (ListenStream=) and the listener's have to be the same, such as 0.0.0.0:8443";
        }
        StartError::Audit(..) => {
            return "`audit.file` has to be a file of its own, which this user may write to";
        }
        StartError::Resources(_) => return "",
    };
    let known = [
        (
            AddrInUse,
            "another process listens there; stop it or change the address",
        ),
        (
            PermissionDenied,
            "ports below 1024 need CAP_NET_BIND_SERVICE; use a higher one or grant it",
        ),
        (
            AddrNotAvailable,
            "no interface of this machine has that address",
        ),
    ];
    known
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or("", |(_, help)| help)
}
