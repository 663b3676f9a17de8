//! Prometheus metrics: every worker counts for itself, and what they counted is added up when somebody asks.
//!
//! What requests count in are plain numbers with one writer each (`cell`), a block of them for each route and worker
//! (`route`), found when a plan is taken up; so counting a request costs a few additions, and no two workers share a cache
//! line. Families with names and labels exist in a scrape only (`scrape`, `families`, `standing`). They follow from what
//! is configured, so every known series exists at zero from the start (`increase()` does not see a first event
//! otherwise), and nothing that is sent can add one. What the process has once is in a registry (`process`, `audit`).
//!
//! `docs/metrics.md` is the catalogue, which a test compares with a scrape.

mod admin;
mod audit;
mod cell;
mod codes;
mod configured;
mod families;
mod listener;
mod process;
mod reading;
mod route;
mod samples;
mod scrape;
mod shape;
mod source;
mod standing;
mod upstream;
mod view;
mod worker;

pub use audit::AuditMetrics;
pub use configured::{
    Configured, ConfiguredListener, ConfiguredRoute, ConfiguredToken, ConfiguredUpstream,
};
pub use listener::ListenerMetrics;
pub use process::{CertificateDates, ProcessMetrics, RELOAD_TRIGGERS, TlsFacts};
pub use reading::{Durations, RouteTotals, UpstreamTotals};
pub use route::RouteMetrics;
pub use scrape::Scrape;
pub use upstream::UpstreamMetrics;
pub use worker::{PlanMetrics, WorkerMetrics};

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{Registry, Result};

use self::admin::AdminBlock;
use self::shape::Shape;
use self::source::Source;
use self::worker::WorkerBlocks;

/// Closed sets of label values, each in the order in which the caller counts its positions.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// How a request can end.
    pub outcomes: &'static [&'static str],
    /// Why it can be rejected.
    pub reasons: &'static [&'static str],
    /// How a challenge can come.
    pub challenge_methods: &'static [&'static str],
    /// What can become of it.
    pub challenge_results: &'static [&'static str],
    /// What can go wrong with an upstream.
    pub upstream_errors: &'static [&'static str],
    /// What senders can be told: statuses such as `204`, classes such as `2xx` for those not listed, and `other`.
    pub codes: &'static [&'static str],
    /// The same for what upstreams can answer.
    pub upstream_codes: &'static [&'static str],
    /// TLS versions.
    pub tls_versions: &'static [&'static str],
    /// Why a handshake can fail.
    pub tls_failures: &'static [&'static str],
    /// Why a connection can end.
    pub connection_ends: &'static [&'static str],
    /// Why a PROXY header can be refused.
    pub proxy_faults: &'static [&'static str],
}

/// All metrics of the process. Cloning gives another handle.
#[derive(Clone)]
pub struct Metrics {
    shape: Arc<Shape>,
    configured: Arc<Mutex<Arc<Configured>>>,
    workers: Arc<Mutex<Vec<Arc<WorkerBlocks>>>>,
    admin: Arc<AdminBlock>,
    process: Registry,
}

impl Metrics {
    /// Metrics of a program with these listeners.
    pub fn new(labels: Labels, listeners: Vec<ConfiguredListener>) -> Self {
        Self {
            shape: Arc::new(Shape::new(labels, listeners.into())),
            configured: Arc::default(),
            workers: Arc::default(),
            admin: Arc::default(),
            process: Registry::new(),
        }
    }

    /// The metrics that the process has once.
    ///
    /// # Errors
    /// When called twice.
    pub fn process(&self) -> Result<ProcessMetrics> {
        ProcessMetrics::new(&self.process)
    }

    /// The metrics of one more worker.
    pub fn worker(&self) -> WorkerMetrics {
        let blocks = Arc::new(WorkerBlocks::new(&self.shape));
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(&blocks));
        WorkerMetrics::new(Arc::clone(&self.shape), blocks)
    }

    /// From now on there are series of these, and of no others.
    pub fn configured(&self, configured: Arc<Configured>) {
        *self
            .configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = configured;
    }

    /// A page of the admin listener was asked for by this path, and answered with this status. To be called on one
    /// thread only.
    pub fn admin_answered(&self, path: &str, status: u16) {
        self.admin.answered(path, status);
    }

    /// Whether the program wants traffic, and whether it was told to stop.
    pub fn state(&self, ready: bool, draining: bool) {
        self.admin.state(ready, draining);
    }

    /// All metrics in the text format of Prometheus, slice by slice.
    pub fn scrape(&self) -> Scrape {
        let configured = self.configured.lock();
        let configured = Arc::clone(&configured.unwrap_or_else(PoisonError::into_inner));
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        Scrape::new(Source {
            shape: Arc::clone(&self.shape),
            configured,
            workers: workers.clone(),
            admin: Arc::clone(&self.admin),
            process: self.process.clone(),
        })
    }

    /// The same at once.
    ///
    /// # Errors
    /// None in practice: writing into memory does not fail.
    pub fn render(&self) -> Result<Vec<u8>> {
        let slices: Vec<Vec<u8>> = self.scrape().collect::<Result<_>>()?;
        Ok(slices.concat())
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
pub(super) mod tests;
