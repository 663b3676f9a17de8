//! `countersign run`: serves until told to stop.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::check::say_findings;
use super::fail;
use super::serve::{Serving, StartError, start};
use crate::clock;
use crate::config::{self, Finding, LogFormat, LogLevel, LogSpec, Process};
use crate::server::Stop;
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
    let serving = match start(compiled, access) {
        Ok(serving) => serving,
        Err(error) => return fail(&error.to_string(), help(&error)),
    };
    match supervise(serving) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => fail(
            "a worker failed",
            "the log above says why; please report it",
        ),
        Err(error) => fail(&format!("cannot listen for signals: {error}"), ""),
    }
}

/// A warning about the configuration, for those who read the log with a program.
fn log_finding(finding: &Finding) {
    tracing::warn!(
        file = %finding.file,
        line = finding.line,
        column = finding.column,
        setting = %finding.path,
        found = %finding.found,
        expected = %finding.expected,
        help = finding.hint.as_deref(),
        "configuration"
    );
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
    let StartError::Bind(_, error) = error else {
        return "";
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

fn announce(serving: &Serving) {
    for address in serving.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = serving.admin_address() {
        tracing::info!(%address, "admin listening");
    }
}

/// The signals that mean something to us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal to stop.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // Without this it would end the process, and a feed with it.
                _ = self.hang_up.recv() => {
                    tracing::warn!("this version cannot reload its configuration; restart it to take up changes");
                }
            }
        }
    }
}

/// Waits for the end: the first signal drains, the second cuts. `false` if a worker failed.
fn supervise(mut serving: Serving) -> std::io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let unasked = runtime.block_on(async {
        let mut signals = Signals::new()?;
        // Not before: whoever waits for this line may send a signal at once.
        announce(&serving);
        tokio::select! {
            () = signals.stop() => {}
            // A worker ends by itself only when something is badly wrong. The others finish what they have.
            _ = serving.worker_ended() => {
                tracing::error!("a worker ended unasked");
                serving.stop(Stop::Drain);
                return Ok::<_, std::io::Error>(true);
            }
        }
        tracing::info!("draining: no new connections, requests in flight finish");
        serving.stop(Stop::Drain);
        loop {
            tokio::select! {
                () = signals.stop() => {
                    tracing::warn!("told to stop again: cutting what is in flight");
                    serving.stop(Stop::Now);
                }
                left = serving.worker_ended() => if !left { return Ok(false) },
            }
        }
    })?;
    let clean = serving.join();
    tracing::info!("stopped");
    Ok(clean && !unasked)
}
