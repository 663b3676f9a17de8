//! Wires the rooms together: from a compiled configuration to a running gateway. `run`, `demo` and the tests all
//! start it here.

use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::admin::{self, Admin};
use crate::clock;
use crate::config::Compiled;
use crate::gateway::plan::Plan;
use crate::gateway::{Gateway, Guesses, LABELS};
use crate::server::{self, Running, Stop, WorkerContext};
use crate::telemetry::{AccessLog, AccessSink, AccessWriter, Format, Metrics, ProcessMetrics};

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be opened.
    Bind(SocketAddr, std::io::Error),
    /// A thread, a runtime or random numbers could not be had.
    Resources(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
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
    /// Held so that workers see the plan's source alive; a reload sends the next plan here.
    plans: watch::Sender<Arc<Plan>>,
    metrics: Metrics,
}

struct AdminThread {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Starts everything. Access lines go to `access` in this format, or nowhere.
///
/// # Errors
/// [`StartError`]; nothing stays open.
pub fn start(
    compiled: Compiled,
    access: Option<(Box<dyn Write + Send>, Format)>,
) -> Result<Serving, StartError> {
    // The first random draw of a process is slow; here it delays nobody's handshake.
    server::tls::warm_up();
    let admin = match compiled.admin {
        Some(address) => {
            let socket = admin::bind(address).map_err(|error| StartError::Bind(address, error))?;
            Some(socket)
        }
        None => None,
    };
    let names: Vec<Arc<str>> = compiled
        .listeners
        .iter()
        .map(|spec| Arc::clone(&spec.name))
        .collect();
    let bound = server::bind(compiled.listeners, compiled.server, compiled.workers)
        .map_err(|(address, error)| StartError::Bind(address, error))?;
    let addresses = bound.addresses();

    let metrics = Metrics::new(LABELS);
    let process = metrics.process().map_err(resources)?;
    process.configuration(true, clock::unix_now().0);
    for certificate in &compiled.certificates {
        process.certificate(&certificate.name, certificate.not_after.0);
    }
    let (sink, writer) = open_log(access, &process)?.unzip();
    let (plans, plan) = watch::channel(Arc::new(compiled.plan));
    let guesses = Guesses::new(Instant::now(), process.failed_sources.clone());
    let make = maker(plan, names, metrics.clone(), sink, Arc::new(guesses))?;
    let running = bound.spawn(make).map_err(resources)?;
    let admin = admin
        .map(|socket| serve_admin(socket, &running, metrics.clone()))
        .transpose()?;
    Ok(Serving {
        running,
        addresses,
        admin,
        writer,
        plans,
        metrics,
    })
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

/// What makes each worker's gateway, on the worker's own thread.
fn maker(
    plan: watch::Receiver<Arc<Plan>>,
    names: Vec<Arc<str>>,
    metrics: Metrics,
    sink: Option<AccessSink>,
    guesses: Arc<Guesses>,
) -> Result<impl Fn(WorkerContext) -> Option<Rc<Gateway>> + Send + Sync, StartError> {
    let seed = random()?;
    Ok(move |context: WorkerContext| {
        let counters = match metrics.worker(&names) {
            Ok(counters) => counters,
            Err(error) => {
                tracing::error!(%error, "cannot set up metrics");
                return None;
            }
        };
        let log = sink.clone().map(AccessLog::new);
        if let Some(log) = &log {
            tokio::task::spawn_local(AccessLog::run(Rc::clone(log)));
        }
        let id_prefix = seed.wrapping_add(u64::try_from(context.index).unwrap_or(0));
        Some(Gateway::new(
            plan.clone(),
            names.clone(),
            counters,
            log,
            context.timers,
            id_prefix,
            Arc::clone(&guesses),
        ))
    })
}

/// A random number, so that request ids of different starts differ.
fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| resources("no random numbers"))?;
    Ok(u64::from_le_bytes(bytes))
}

fn serve_admin(
    socket: std::net::TcpListener,
    running: &Running,
    metrics: Metrics,
) -> Result<AdminThread, StartError> {
    let address = socket.local_addr().map_err(resources)?;
    let admin = Admin {
        metrics,
        stop: running.signal(),
    };
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("admin".to_owned());
    let thread = thread.spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    Err(error) = admin.serve(socket) => tracing::error!(%error, "admin listener failed"),
                    _ = ended => {}
                }
            }),
            Err(error) => tracing::error!(%error, "no runtime for the admin listener"),
        }
    });
    Ok(AdminThread {
        address,
        end,
        thread: thread.map_err(resources)?,
    })
}

impl Serving {
    /// Where the listeners listen, in configured order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin listener listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// All counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Puts a new plan into force for requests that begin from now on.
    pub fn replace_plan(&self, plan: Plan) {
        self.plans.send_replace(Arc::new(plan));
    }

    /// Stops gently or at once.
    pub fn stop(&self, stop: Stop) {
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
            let _ = admin.end.send(());
            // A panic there has been reported by the panic itself.
            let _ = admin.thread.join();
        }
        if self.writer.is_some_and(|writer| !writer.join()) {
            tracing::warn!("the last access lines are lost: nobody reads standard output");
        }
        clean
    }
}
