//! Wires the rooms together: from a compiled configuration to a running gateway. `run`, `demo` and the tests all
//! start it here.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::descriptors;
use super::overview::Known;
use super::trail::Trail;
use crate::admin::{self, Admin, AdminThread, Page, Status};
use crate::clock;
use crate::config::{self, AdminSpec, CertificateInfo, Compiled, Finding};
use crate::gateway::plan::Plan;
use crate::gateway::{Gateway, Guesses, LABELS, Logs};
use crate::server::tls::PROVIDER;
use crate::server::{self, BindError, ListenerSpec, Running, Settings, Stop, WorkerContext};
use crate::telemetry::{
    AccessLog, AccessSink, AccessWriter, AuditEvent, AuditLog, AuditSink, CertificateDates,
    ConfiguredListener, Decisions, Format, Metrics, ProcessMetrics, TlsFacts,
};

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be opened.
    Bind(BindError),
    /// The audit file could not be opened.
    Audit(PathBuf, std::io::Error),
    /// A thread, a runtime or random numbers could not be had.
    Resources(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Audit(path, error) => {
                write!(f, "cannot open the audit file {}: {error}", path.display())
            }
            Self::Resources(what) => write!(f, "cannot start: {what}"),
        }
    }
}

impl std::error::Error for StartError {}

fn resources(error: impl std::fmt::Display) -> StartError {
    StartError::Resources(error.to_string())
}

/// A running gateway.
pub struct Serving {
    running: Running,
    addresses: Vec<SocketAddr>,
    admin: Option<AdminThread>,
    writer: Option<AccessWriter>,
    trail: Trail,
    /// Held so that workers see the plan's source alive; a reload sends the next plan here.
    plans: watch::Sender<Arc<Plan>>,
    metrics: Metrics,
    process: ProcessMetrics,
    certificates: Vec<CertificateInfo>,
    known: Known,
    fixed: BTreeMap<String, String>,
    standing: Standing,
}

/// What holds beside the requests; a reload may change it.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// How long to go on after readiness has ended, when told to stop.
    pub drain_delay: Duration,
    /// Whether changed files are taken up without a signal.
    pub watch_files: bool,
}

impl From<&Compiled> for Standing {
    fn from(compiled: &Compiled) -> Self {
        Self {
            drain_delay: compiled.drain_delay,
            watch_files: compiled.watch_files,
        }
    }
}

/// What a gateway is started with besides its configuration.
#[derive(Default)]
pub struct Start {
    /// Where access lines go, and in which form; nowhere by default.
    pub access: Option<(Box<dyn Write + Send>, Format)>,
    /// Listening sockets that are open already. Each has to be one that the configuration asks for.
    pub sockets: Vec<TcpListener>,
    /// How often each worker shows that it still turns.
    pub heartbeat: Option<Duration>,
    /// How many files may be open; without a number connections are limited by the configuration alone.
    pub descriptors: Option<u64>,
}

/// Starts everything.
///
/// # Errors
/// [`StartError`]; nothing stays open.
pub fn start(mut compiled: Compiled, with: Start) -> Result<Serving, StartError> {
    let fixed = fixed(&compiled);
    let standing = Standing::from(&compiled);
    fit(&mut compiled.listeners, with.descriptors);
    let mut sockets = with.sockets;
    // The first random draw of a process is slow; here it delays nobody's handshake.
    server::tls::warm_up();
    let admin = compiled.admin.take();
    let admin = admin.map(|spec| Ok((admin_socket(&spec, &mut sockets)?, spec)));
    let admin = admin.transpose()?;
    let names = (compiled.listeners.iter()).map(|spec| Arc::clone(&spec.name));
    let names: Vec<Arc<str>> = names.collect();
    let settings = Settings {
        listeners: compiled.listeners,
        limits: compiled.server,
    };
    let specs = settings.listeners.clone();
    let bound = server::bind(settings, sockets, compiled.workers).map_err(StartError::Bind)?;
    let addresses = bound.addresses();

    let metrics = metrics(&specs, &compiled.plan);
    let process = metrics.process().map_err(resources)?;
    process.started(clock::unix_now().0);
    let configuration = compiled.effective.short();
    show(&process, &configuration, &specs, &compiled.certificates);
    let (access, writer) = open_log(with.access, &process)?.unzip();
    let audit = compiled.audit.take();
    let file = audit.as_ref().map(|audit| audit.file.clone());
    let trail = Trail::start(audit, random()?, compiled.workers, &process.audit);
    let mut trail = trail.map_err(|error| StartError::Audit(file.unwrap_or_default(), error))?;
    trail.loaded(compiled.effective, &compiled.certificates);
    let (plans, plan) = watch::channel(Arc::new(compiled.plan));
    let guesses = Guesses::new(Instant::now(), process.failed_sources.clone());
    let known = Known::new(
        plan.clone(),
        &specs,
        &addresses,
        &compiled.certificates,
        &configuration,
        trail.state(),
    );
    let has_page = admin.as_ref().is_some_and(|(_, spec)| spec.status);
    let decisions = has_page.then(Decisions::default);
    let told = Told {
        metrics: metrics.clone(),
        access,
        audit: trail.sink(),
        decisions: decisions.clone(),
    };
    let make = maker(plan, names, told, Arc::new(guesses))?;
    let running = bound.spawn(with.heartbeat, make).map_err(resources)?;
    let admin = admin.map(|(socket, spec)| {
        let overview = Arc::new(known.clone());
        let status = |decisions| Status::new(overview, metrics.clone(), decisions);
        let admin = Admin {
            metrics: metrics.clone(),
            stop: running.signal(),
            audit: trail.state(),
            page: decisions.map(|kept| Arc::new(Page::new(status(kept), spec.hosts))),
        };
        AdminThread::start(socket, admin).map_err(resources)
    });
    let admin = admin.transpose()?;
    Ok(Serving {
        running,
        addresses,
        admin,
        writer,
        trail,
        plans,
        metrics,
        process,
        certificates: compiled.certificates,
        known,
        fixed,
        standing,
    })
}

/// Takes fewer connections than configured where files run short.
fn fit(listeners: &mut [ListenerSpec], descriptors: Option<u64>) {
    if let Some(limit) = descriptors
        && descriptors::fit(listeners, limit)
    {
        let connections: usize = listeners.iter().map(|spec| spec.max_connections).sum();
        tracing::warn!(
            limit,
            connections,
            "the limit on open files is too low for max_connections, so fewer connections are taken; raise LimitNOFILE= or ulimit -n"
        );
    }
}

/// Among the open ones, or a fresh one.
fn admin_socket(
    spec: &AdminSpec,
    sockets: &mut Vec<TcpListener>,
) -> Result<TcpListener, StartError> {
    let address = spec.address;
    let own = |socket: &mut TcpListener| socket.local_addr().is_ok_and(|own| own == address);
    let socket = match sockets.extract_if(.., own).next() {
        Some(socket) => admin::adopt(socket),
        None => admin::bind(address),
    };
    socket.map_err(|error| StartError::Bind(BindError::Address(address, error)))
}

/// Numbers of these listeners and of what this plan has names for.
fn metrics(specs: &[ListenerSpec], plan: &Plan) -> Metrics {
    let listeners = specs.iter().map(|spec| ConfiguredListener {
        name: Arc::clone(&spec.name),
        limit: spec.max_connections,
    });
    let metrics = Metrics::new(LABELS, listeners.collect());
    metrics.configured(Arc::new(plan.configured()));
    metrics
}

/// What is in force from now on.
fn show(
    process: &ProcessMetrics,
    configuration: &str,
    listeners: &[ListenerSpec],
    certificates: &[CertificateInfo],
) {
    process.in_force(configuration);
    process.tls(tls_facts(listeners));
    let certificates = certificates.iter();
    process.certificates(certificates.map(|info| CertificateDates {
        name: &info.name,
        not_before: info.not_before.0,
        not_after: info.not_after.0,
    }));
}

fn tls_facts(listeners: &[ListenerSpec]) -> Vec<TlsFacts> {
    let each = listeners.iter().filter_map(|spec| {
        Some(TlsFacts {
            provider: PROVIDER,
            fips: spec.tls.as_ref()?.fips(),
            profile: spec.tls_minimum?.label(),
        })
    });
    each.collect()
}

/// The settings that only a start takes up, each with its value.
fn fixed(compiled: &Compiled) -> BTreeMap<String, String> {
    let mut fixed = BTreeMap::from([
        ("admin".to_owned(), format!("{:?}", compiled.admin)),
        ("log".to_owned(), format!("{:?}", compiled.log)),
        ("audit".to_owned(), audit_setting(compiled)),
        ("workers".to_owned(), compiled.workers.to_string()),
        ("listeners".to_owned(), compiled.listeners.len().to_string()),
    ]);
    for (index, spec) in compiled.listeners.iter().enumerate() {
        let tls = spec.tls.is_some();
        let settings = [
            ("name", spec.name.to_string()),
            ("address", spec.address.to_string()),
            ("tls", tls.to_string()),
            ("max_connections", spec.max_connections.to_string()),
        ];
        fixed.extend(settings.map(|(name, value)| (format!("listeners[{index}].{name}"), value)));
    }
    fixed
}

/// With a digest of the key, which would not be told otherwise. None of this is shown to anybody.
fn audit_setting(compiled: &Compiled) -> String {
    let key = compiled.audit.as_ref().and_then(|audit| audit.key.as_ref());
    let key = key.map(|key| Sha256::digest(&key.0));
    format!("{:?} {key:?}", compiled.audit)
}

fn open_log(
    access: Option<(Box<dyn Write + Send>, Format)>,
    process: &ProcessMetrics,
) -> Result<Option<(AccessSink, AccessWriter)>, StartError> {
    let Some((output, format)) = access else {
        return Ok(None);
    };
    AccessSink::start(output, format, process.log_dropped.clone())
        .map(Some)
        .map_err(resources)
}

/// Who is told what becomes of requests.
struct Told {
    metrics: Metrics,
    access: Option<AccessSink>,
    audit: Option<AuditSink>,
    /// Only where a status page shows them.
    decisions: Option<Decisions>,
}

/// What makes each worker's gateway, on the worker's own thread.
fn maker(
    plan: watch::Receiver<Arc<Plan>>,
    names: Vec<Arc<str>>,
    told: Told,
    guesses: Arc<Guesses>,
) -> Result<impl Fn(WorkerContext) -> Option<Rc<Gateway>> + Send + Sync, StartError> {
    let seed = random()?;
    Ok(move |context: WorkerContext| {
        let counters = told.metrics.worker();
        let logs = Logs {
            access: told.access.clone().map(AccessLog::new),
            audit: told.audit.clone().map(AuditLog::new),
            decisions: told.decisions.as_ref().map(Decisions::ring),
        };
        if let Some(log) = &logs.access {
            tokio::task::spawn_local(AccessLog::run(Rc::clone(log)));
        }
        if let Some(log) = &logs.audit {
            tokio::task::spawn_local(AuditLog::run(Rc::clone(log)));
        }
        let id_prefix = seed.wrapping_add(u64::try_from(context.index).unwrap_or(0));
        let gateway = Gateway::new(
            plan.clone(),
            &names,
            counters,
            logs,
            context.timers,
            id_prefix,
            Arc::clone(&guesses),
        );
        if context.index == 0 {
            tokio::task::spawn_local(Rc::clone(&gateway).check_upstreams());
        }
        Some(gateway)
    })
}

/// A random number, so that request ids of different starts differ.
fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| resources("no random numbers"))?;
    Ok(u64::from_le_bytes(bytes))
}

impl Serving {
    /// Where the listeners listen, in configured order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin listener listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(AdminThread::address)
    }

    /// All counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Puts a configuration into force: for connections and requests that begin from now on, all of it at once.
    /// `trigger` is one of [`crate::telemetry::RELOAD_TRIGGERS`].
    ///
    /// # Errors
    /// The settings that only a start takes up, where they have changed; then everything stays as it was.
    pub fn reload(&mut self, compiled: Compiled, trigger: &str) -> Result<(), Vec<String>> {
        let changed = config::differences(&self.fixed, &fixed(&compiled));
        self.process
            .reloaded(trigger, changed.is_empty(), clock::unix_now().0);
        if !changed.is_empty() {
            (self.trail).refused(trigger, Some((&compiled.effective, &changed)));
            self.known.refused(trigger, &[], &changed);
            return Err(changed);
        }
        self.standing = Standing::from(&compiled);
        let configuration = compiled.effective.short();
        self.trail.reloaded(trigger, compiled.effective);
        let mut listeners = compiled.listeners;
        let mut certificates = compiled.certificates;
        for (new, old) in listeners.iter_mut().zip(&self.running.settings().listeners) {
            if new.tls_digest == old.tls_digest {
                // Sessions that were begun under it can be taken up again.
                new.tls.clone_from(&old.tls);
                let kept = self.certificates.iter();
                let kept: Vec<_> = kept
                    .filter(|info| info.listener == old.name)
                    .cloned()
                    .collect();
                certificates.retain(|info| info.listener != new.name);
                certificates.extend(kept);
            }
        }
        show(&self.process, &configuration, &listeners, &certificates);
        self.trail.certificates(&self.certificates, &certificates);
        self.known.took_up(trigger, &certificates, &configuration);
        self.certificates = certificates;
        self.running.replace_settings(Settings {
            listeners,
            limits: compiled.server,
        });
        let mut plan = compiled.plan;
        plan.inherit(&self.plans.borrow());
        self.trail.tokens(&self.plans.borrow(), &plan);
        self.metrics.configured(Arc::new(plan.configured()));
        self.plans.send_replace(Arc::new(plan));
        Ok(())
    }

    /// What holds beside the requests.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// A configuration was offered that is not valid, for these reasons; everything stays as it was.
    pub fn reload_failed(&self, trigger: &str, findings: &[Finding]) {
        self.process.reloaded(trigger, false, clock::unix_now().0);
        self.trail.refused(trigger, None);
        self.known.refused(trigger, findings, &[]);
    }

    /// What was found in the configuration that has just been put into force.
    pub fn reload_warned(&self, findings: &[Finding]) {
        self.known.warned(findings);
    }

    /// Signals are heard from now on, and so are requests.
    pub fn ready(&self) {
        self.trail.event(AuditEvent::Ready);
    }

    /// The audit file may have been renamed: looks at once, and not only at the next record.
    pub fn reopen_files(&self) {
        self.trail.look();
    }

    /// All listening sockets, for a successor to go on with.
    ///
    /// # Errors
    /// When descriptors run short.
    pub fn sockets(&self) -> std::io::Result<Vec<TcpListener>> {
        let mut sockets = self.running.sockets()?;
        if let Some(admin) = &self.admin {
            sockets.push(admin.socket()?);
        }
        Ok(sockets)
    }

    /// Ends the admin listener: a successor answers in its place.
    pub fn end_admin(&mut self) {
        if let Some(admin) = self.admin.take() {
            admin.end();
        }
    }

    /// How often each worker has shown that it still turns; see [`Start::heartbeat`].
    pub fn beats(&self) -> Vec<u64> {
        self.running.beats()
    }

    /// Stops gently or at once.
    pub fn stop(&self, stop: Stop) {
        if stop == Stop::Drain {
            self.trail.draining();
        }
        self.running.stop(stop);
    }

    /// Completes when a worker has ended, and tells whether others are left.
    ///
    /// # Cancel safety
    /// Safe: no end is lost.
    pub async fn worker_ended(&mut self) -> bool {
        self.running.worker_ended().await
    }

    /// Waits for everything to end; `false` if a worker failed.
    pub fn join(self) -> bool {
        let clean = self.running.join();
        // Ends after the workers, so that a drain can be watched to its end.
        if let Some(admin) = self.admin {
            admin.end();
        }
        if self.writer.is_some_and(|writer| !writer.join()) {
            tracing::warn!("the last access lines are lost: nobody reads standard output");
        }
        self.trail.end(clean);
        clean
    }
}
