//! Metrics that the process has once, whatever the number of workers.

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result};

use super::audit::AuditMetrics;
use super::register;

/// What can make the process read its configuration again.
pub const RELOAD_TRIGGERS: [&str; 2] = ["signal", "watch"];

/// Metrics that exist once.
pub struct ProcessMetrics {
    reload_successful: IntGauge,
    reload_timestamp: IntGauge,
    reloads: IntCounterVec,
    certificates: IntGaugeVec,
    /// Sources whose failed verifications are remembered.
    pub failed_sources: IntGauge,
    /// Access lines thrown away because whoever reads them was too slow.
    pub log_dropped: IntCounter,
    /// The audit trail.
    pub audit: AuditMetrics,
}

impl ProcessMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = IntGaugeVec::new(
            Opts::new(
                "countersign_build_info",
                "Version of the running program; always 1",
            ),
            &["version", "revision", "target"],
        )?;
        let version = env!("CARGO_PKG_VERSION");
        build
            .with_label_values(&[version, crate::REVISION, crate::TARGET])
            .set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            reload_successful: register(
                registry,
                IntGauge::new(
                    "countersign_config_last_reload_successful",
                    "Whether the last configuration offered was taken up: 1 or 0",
                )?,
            )?,
            reload_timestamp: register(
                registry,
                IntGauge::new(
                    "countersign_config_last_reload_success_timestamp_seconds",
                    "When a configuration was last taken up",
                )?,
            )?,
            reloads: reloads(registry)?,
            certificates: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "countersign_tls_certificate_not_after_timestamp_seconds",
                        "When a certificate expires",
                    ),
                    &["certificate"],
                )?,
            )?,
            failed_sources: register(
                registry,
                IntGauge::new(
                    "countersign_failed_verification_sources",
                    "Source addresses whose failed verifications are remembered; the table has room for 65536",
                )?,
            )?,
            log_dropped: register(
                registry,
                IntCounter::new(
                    "countersign_log_dropped_total",
                    "Access lines thrown away because their reader was too slow",
                )?,
            )?,
            audit: AuditMetrics::new(registry)?,
        })
    }

    /// The configuration that the process began with; `at` is in seconds since 1970.
    pub fn started(&self, at: u64) {
        self.configuration(true, at);
    }

    /// A configuration was offered because of one of [`RELOAD_TRIGGERS`]; `at` is in seconds since 1970.
    pub fn reloaded(&self, trigger: &str, taken_up: bool, at: u64) {
        let result = if taken_up { "success" } else { "failure" };
        self.reloads.with_label_values(&[result, trigger]).inc();
        self.configuration(taken_up, at);
    }

    fn configuration(&self, taken_up: bool, at: u64) {
        self.reload_successful.set(i64::from(taken_up));
        if taken_up {
            self.reload_timestamp
                .set(i64::try_from(at).unwrap_or(i64::MAX));
        }
    }

    /// These certificates are in use, and no others; each with its end, in seconds since 1970.
    pub fn certificates<'c>(&self, certificates: impl Iterator<Item = (&'c str, u64)>) {
        self.certificates.reset();
        for (name, not_after) in certificates {
            self.certificates
                .with_label_values(&[name])
                .set(i64::try_from(not_after).unwrap_or(i64::MAX));
        }
    }
}

fn reloads(registry: &Registry) -> Result<IntCounterVec> {
    let family = IntCounterVec::new(
        Opts::new(
            "countersign_config_reloads_total",
            "Configurations offered to the running process, by what became of them",
        ),
        &["result", "trigger"],
    )?;
    for trigger in RELOAD_TRIGGERS {
        for result in ["success", "failure"] {
            let _ = family.with_label_values(&[result, trigger]);
        }
    }
    register(registry, family)
}
