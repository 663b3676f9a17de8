//! Metrics that the process has once, whatever the number of workers.

use std::collections::{BTreeMap, BTreeSet};

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
    configuration: IntGaugeVec,
    not_before: IntGaugeVec,
    not_after: IntGaugeVec,
    tls: IntGaugeVec,
    /// Sources whose failed verifications are remembered.
    pub failed_sources: IntGauge,
    /// Access lines thrown away because whoever reads them was too slow.
    pub log_dropped: IntCounter,
    /// The audit trail.
    pub audit: AuditMetrics,
}

/// A certificate and when it is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct CertificateDates<'c> {
    /// What metrics call it.
    pub name: &'c str,
    /// The first second in which it is valid.
    pub not_before: u64,
    /// The last one.
    pub not_after: u64,
}

/// What the TLS of a listener is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsFacts {
    /// The cryptographic library.
    pub provider: &'static str,
    /// What it says of itself.
    pub fips: bool,
    /// The oldest version that is accepted.
    pub profile: &'static str,
}

impl ProcessMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = gauges(
            registry,
            "countersign_build_info",
            "Version of the running program; always 1",
            &["version", "revision", "rustc", "target"],
        )?;
        let version = env!("CARGO_PKG_VERSION");
        build
            .with_label_values(&[version, crate::REVISION, crate::RUSTC, crate::TARGET])
            .set(1);
        let gauge = |name, help| register(registry, IntGauge::new(name, help)?);
        Ok(Self {
            reload_successful: gauge(
                "countersign_config_last_reload_successful",
                "Whether the last configuration offered was taken up: 1 or 0",
            )?,
            reload_timestamp: gauge(
                "countersign_config_last_reload_success_timestamp_seconds",
                "When a configuration was last taken up",
            )?,
            reloads: reloads(registry)?,
            configuration: gauges(
                registry,
                "countersign_config_info",
                "Hash of the configuration in force, without its secrets; always 1",
                &["hash"],
            )?,
            not_before: gauges(
                registry,
                "countersign_tls_certificate_not_before_timestamp_seconds",
                "When a certificate begins to be valid",
                &["cert"],
            )?,
            not_after: gauges(
                registry,
                "countersign_tls_certificate_not_after_timestamp_seconds",
                "When a certificate expires",
                &["cert"],
            )?,
            tls: gauges(
                registry,
                "countersign_tls_info",
                "What listeners with TLS are made of; always 1",
                &["provider", "fips", "profile"],
            )?,
            failed_sources: gauge(
                "countersign_failed_verification_sources",
                "Source addresses whose failed verifications are remembered; the table has room for 65536",
            )?,
            log_dropped: dropped(registry)?,
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
            self.reload_timestamp.set(whole(at));
        }
    }

    /// The configuration in force has this hash.
    pub fn in_force(&self, hash: &str) {
        self.configuration.reset();
        self.configuration.with_label_values(&[hash]).set(1);
    }

    /// These certificates are in use, and no others. Of several with one name, the first to expire counts.
    pub fn certificates<'c>(&self, certificates: impl Iterator<Item = CertificateDates<'c>>) {
        let mut first = BTreeMap::<&str, CertificateDates<'_>>::new();
        for one in certificates {
            let known = first.entry(one.name).or_insert(one);
            if one.not_after < known.not_after {
                *known = one;
            }
        }
        self.not_before.reset();
        self.not_after.reset();
        for (name, one) in first {
            let name = &[name];
            self.not_before
                .with_label_values(name)
                .set(whole(one.not_before));
            self.not_after
                .with_label_values(name)
                .set(whole(one.not_after));
        }
    }

    /// This is what the TLS of listeners is made of now.
    pub fn tls(&self, listeners: Vec<TlsFacts>) {
        self.tls.reset();
        for facts in BTreeSet::from_iter(listeners) {
            let fips = if facts.fips { "true" } else { "false" };
            let labels = &[facts.provider, fips, facts.profile];
            self.tls.with_label_values(labels).set(1);
        }
    }
}

fn whole(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn dropped(registry: &Registry) -> Result<IntCounter> {
    let options = Opts::new(
        "countersign_log_dropped_total",
        "Lines thrown away because their reader was too slow",
    );
    let family = register(registry, IntCounterVec::new(options, &["stream"])?)?;
    Ok(family.with_label_values(&["access"]))
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
