//! Sockets, TLS, drain.
mod spec;
pub use spec::{ListenerSpec, ServerLimits};
