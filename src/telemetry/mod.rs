//! What the outside sees: counters and access lines. Knows nothing of requests; the gateway tells it numbers
//! and configured names, never anything that a sender wrote.

mod access;
mod address;
mod line;
mod log;
mod metrics;

pub use access::{AccessEntry, AccessLog, AccessSink, AccessWriter, Format};
pub use address::write_address;
pub use log::init as init_log;
pub use metrics::{
    Labels, ListenerMetrics, Metrics, ProcessMetrics, RELOAD_TRIGGERS, RouteMetrics,
    UpstreamMetrics, WorkerMetrics,
};
