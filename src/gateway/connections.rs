//! What happens to connections, as it is counted.

use crate::server::ConnectionEvent;
use crate::telemetry::ListenerMetrics;

/// Counts an event of a listener.
pub(super) fn note(metrics: &ListenerMetrics, event: ConnectionEvent) {
    match event {
        ConnectionEvent::Opened => metrics.opened(),
        ConnectionEvent::Closed(why) => {
            metrics.closed(position(&ConnectionEvent::ENDS, why));
        }
        ConnectionEvent::ProxyHeaderRefused(reason) => {
            metrics.proxy_fault(position(&ConnectionEvent::PROXY_FAULTS, reason));
        }
        ConnectionEvent::Handshake {
            version,
            resumed,
            took,
        } => {
            let version = position(&ConnectionEvent::TLS_VERSIONS, version);
            metrics.handshake(version, resumed, took);
        }
        ConnectionEvent::HandshakeFailed(reason) => {
            metrics.handshake_failure(position(&ConnectionEvent::HANDSHAKE_FAILURES, reason));
        }
    }
}

fn position(labels: &[&str], label: &str) -> usize {
    labels
        .iter()
        .position(|other| *other == label)
        .unwrap_or(usize::MAX)
}
