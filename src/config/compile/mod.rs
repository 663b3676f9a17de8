//! From the document to what runs.
//!
//! Every part is compiled even where another has failed, so that all findings appear at once; the result exists only
//! where all parts do.
//!
//! Here are the settings that belong to no listener and no route; those have files of their own.

mod address;
mod admin;
mod audit;
mod care;
mod limits;
mod listener;
mod route;
mod source;
mod upstream;
mod upstream_tls;
mod url;

pub use admin::AdminSpec;
pub(super) use admin::own_address as admin_address;
pub use audit::{AuditKey, AuditSpec};

use std::sync::Arc;
use std::time::Duration;

use super::certificate::Loaded;
use super::context::Context;
use super::document::Document;
use super::effective::Effective;
use super::words::{LogFormat, LogLevel, WatchFiles};
use crate::gateway::plan::Plan;
use crate::server::{ListenerSpec, ServerLimits};
use crate::verify::UnixTime;

/// Most threads.
const WORKER_LIMIT: u64 = 1024;

/// A configuration that can run.
#[derive(Debug)]
pub struct Compiled {
    /// In configured order.
    pub listeners: Vec<ListenerSpec>,
    /// Limits of all listeners.
    pub server: ServerLimits,
    /// Routes and upstreams.
    pub plan: Plan,
    /// The admin listener; `None` where it is turned off.
    pub admin: Option<AdminSpec>,
    /// What is logged.
    pub log: LogSpec,
    /// The audit trail, where there is one.
    pub audit: Option<AuditSpec>,
    /// Every certificate that is served.
    pub certificates: Vec<CertificateInfo>,
    /// Threads that serve requests.
    pub workers: usize,
    /// How long to go on after readiness has ended, when told to stop.
    pub drain_delay: Duration,
    /// Whether changed files are taken up without a signal.
    pub watch_files: bool,
    /// What is in force, without secrets, so that two configurations can be compared.
    pub effective: Effective,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Least severe level.
    pub level: LogLevel,
    /// Form of a line.
    pub format: LogFormat,
    /// Whether each request has a line.
    pub access: bool,
}

/// A certificate that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// What metrics call it: its first name, or its file's name where it has none.
    pub name: Arc<str>,
    /// The DNS names it is good for, in lower case.
    pub names: Vec<String>,
    /// Its serial number, as hexadecimal digits with colons between them.
    pub serial: String,
    /// The first second in which it is valid.
    pub not_before: UnixTime,
    /// The last second in which it is valid.
    pub not_after: UnixTime,
    /// The name of the listener that serves it.
    pub listener: Arc<str>,
}

impl CertificateInfo {
    fn new(name: &str, listener: &str, loaded: &Loaded) -> Self {
        Self {
            name: name.into(),
            names: loaded.identity.names.clone(),
            serial: loaded.serial.clone(),
            not_before: loaded.not_before,
            not_after: loaded.not_after,
            listener: listener.into(),
        }
    }
}

/// Compiles everything; `None` where some part cannot be.
pub(super) fn compile(context: &mut Context<'_>, document: &Document) -> Option<Compiled> {
    let limits = limits::general(context, document);
    let listeners = document.listeners.as_deref().unwrap_or_default();
    let listeners = listener::compile(context, listeners, &document.trusted_proxies);
    let admin = admin::compile(context, &document.admin, &listeners.addresses);
    let workers = workers(context, document.workers);
    let audit = audit::compile(context, document.audit.as_ref());
    let plan = route::compile(context, document, &limits, &listeners);
    let plan = plan?;
    let preserve_header_case = plan
        .upstreams
        .iter()
        .any(|upstream| upstream.header_case == crate::gateway::plan::HeaderCase::Preserve);
    Some(Compiled {
        listeners: listeners.specs?,
        server: ServerLimits {
            preserve_header_case,
            ..limits.server
        },
        plan,
        admin: admin?,
        log: LogSpec {
            level: document.log.level,
            format: document.log.format,
            access: document.log.access,
        },
        audit: audit?,
        certificates: listeners.certificates,
        workers: workers?,
        drain_delay: limits.drain_delay,
        watch_files: document.watch_files == WatchFiles::On,
        effective: Effective::default(),
    })
}

fn workers(context: &mut Context<'_>, setting: Option<u64>) -> Option<usize> {
    let Some(workers) = setting else {
        return Some(context.env.processors().max(1));
    };
    if !(1..=WORKER_LIMIT).contains(&workers) {
        let found = format!("the number {}", context.shown("workers"));
        let help = "leave it out for one worker for each processor";
        context.error_help("workers", found, format!("1 to {WORKER_LIMIT}"), help);
        return None;
    }
    usize::try_from(workers).ok()
}
