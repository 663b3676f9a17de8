//! What the outside sees: counters, access lines, the audit trail and the last decisions. Knows nothing of requests;
//! the gateway tells it numbers and configured names, never anything that a sender wrote.

mod access;
mod address;
mod audit;
mod decisions;
mod line;
mod log;
mod metrics;

pub use access::{AccessEntry, AccessLog, AccessSink, AccessWriter, Format};
pub use address::write_address;
pub use audit::{
    AuditEvent, AuditLog, AuditSink, AuditStart, AuditState, AuditWriter, Break, BreakKind,
    Expected, FileSummary, Notice, Now, Seal, Verdict, Verifier,
};
pub use decisions::{DECISION_LIMIT, Decision, DecisionRing, Decisions};
pub use log::init as init_log;
pub use metrics::{
    AuditMetrics, CertificateDates, Configured, ConfiguredListener, ConfiguredRoute,
    ConfiguredToken, ConfiguredUpstream, Durations, Labels, ListenerMetrics, Metrics, PlanMetrics,
    ProcessMetrics, RELOAD_TRIGGERS, RouteMetrics, RouteTotals, Scrape, TlsFacts, UpstreamMetrics,
    UpstreamTotals, WorkerMetrics,
};
