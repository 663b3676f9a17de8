//! Metrics of the audit trail. They stand at zero where there is none.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result};

use super::register;
use crate::telemetry::AuditEvent;

/// Counters of the audit trail. Cloning gives another handle.
#[derive(Clone)]
pub struct AuditMetrics {
    records: IntCounterVec,
    /// Tries to write that failed, and queues that were full.
    pub write_failures: IntCounter,
    /// Records that will never be written.
    pub lost: IntCounter,
    /// Whether writing fails: 1 or 0.
    pub failing: IntGauge,
}

impl AuditMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let options = Opts::new(
            "countersign_audit_records_total",
            "Audit records written, by what they tell of",
        );
        let records = register(registry, IntCounterVec::new(options, &["event"])?)?;
        for event in AuditEvent::ALL {
            let _ = records.with_label_values(&[event.label()]);
        }
        Ok(Self {
            records,
            write_failures: register(
                registry,
                IntCounter::new(
                    "countersign_audit_write_failures_total",
                    "Tries to write the audit trail that failed",
                )?,
            )?,
            lost: register(
                registry,
                IntCounter::new(
                    "countersign_audit_records_lost_total",
                    "Audit records that could neither be written nor kept",
                )?,
            )?,
            failing: register(
                registry,
                IntGauge::new(
                    "countersign_audit_failing",
                    "Whether the audit trail cannot be written at the moment: 1 or 0",
                )?,
            )?,
        })
    }

    /// A record was written.
    pub fn record(&self, event: AuditEvent) {
        self.records.with_label_values(&[event.label()]).inc();
    }
}
