//! What the status page has to know of the running program and its configuration: told to it anew for each page, from
//! the plan in force and from what reloads have come to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin::{
    AuditFacts, CertificateFacts, EndpointFacts, Facts, ListenerFacts, Overview, ReloadFacts,
    RouteFacts, TokenFacts, UpstreamFacts,
};
use crate::clock;
use crate::config::{CertificateInfo, Finding, Severity};
use crate::gateway::plan::{Plan, RoutePlan, UpstreamPlan};
use crate::server::ListenerSpec;
use crate::server::tls::PROVIDER;
use crate::telemetry::AuditState;

/// Longest text of a finding, in characters.
const FINDING_LENGTH: usize = 500;

/// See the module. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Known(Arc<Shared>);

struct Shared {
    started: u64,
    listeners: Vec<ListenerFacts>,
    plans: watch::Receiver<Arc<Plan>>,
    audit: Option<AuditState>,
    standing: Mutex<Standing>,
}

/// What a reload changes, or tries to.
struct Standing {
    configuration: Arc<str>,
    loaded: u64,
    certificates: Vec<CertificateFacts>,
    reload: Option<ReloadFacts>,
}

impl Known {
    /// A program that has just begun with this plan. `addresses` are those that its listeners got.
    pub(super) fn new(
        plans: watch::Receiver<Arc<Plan>>,
        listeners: &[ListenerSpec],
        addresses: &[SocketAddr],
        certificates: &[CertificateInfo],
        configuration: &str,
        audit: Option<AuditState>,
    ) -> Self {
        let now = clock::unix_now().0;
        let listeners = listeners.iter().zip(addresses);
        let listeners = listeners.map(|(spec, address)| ListenerFacts {
            name: Arc::clone(&spec.name),
            address: *address,
            tls: spec.tls.is_some(),
            limit: spec.max_connections,
        });
        Self(Arc::new(Shared {
            started: now,
            listeners: listeners.collect(),
            plans,
            audit,
            standing: Mutex::new(Standing {
                configuration: configuration.into(),
                loaded: now,
                certificates: certificates.iter().map(certificate).collect(),
                reload: None,
            }),
        }))
    }

    /// Another configuration is in force.
    pub(super) fn took_up(
        &self,
        trigger: &str,
        certificates: &[CertificateInfo],
        configuration: &str,
    ) {
        let at = clock::unix_now().0;
        let mut standing = self.0.standing();
        standing.configuration = configuration.into();
        standing.loaded = at;
        standing.certificates = certificates.iter().map(certificate).collect();
        standing.reload = Some(ReloadFacts {
            at,
            trigger: trigger.to_owned(),
            taken_up: true,
            findings: Vec::new(),
            settings: Vec::new(),
        });
    }

    /// One was offered and refused: for these findings, or for settings that only a start takes up.
    pub(super) fn refused(&self, trigger: &str, findings: &[Finding], settings: &[String]) {
        self.0.standing().reload = Some(ReloadFacts {
            at: clock::unix_now().0,
            trigger: trigger.to_owned(),
            taken_up: false,
            findings: findings.iter().map(finding).collect(),
            settings: settings.to_vec(),
        });
    }

    /// What was found in a configuration that is in force nevertheless.
    pub(super) fn warned(&self, findings: &[Finding]) {
        if let Some(reload) = &mut self.0.standing().reload {
            reload.findings = findings.iter().map(finding).collect();
        }
    }
}

impl Shared {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Overview for Known {
    fn facts(&self) -> Facts {
        let plan = Arc::clone(&self.0.plans.borrow());
        let standing = self.0.standing();
        let now = Instant::now();
        Facts {
            now: clock::wall(),
            tls_provider: PROVIDER,
            started: self.0.started,
            configuration: Arc::clone(&standing.configuration),
            loaded: standing.loaded,
            reload: standing.reload.clone(),
            audit: audit(self.0.audit.as_ref()),
            listeners: self.0.listeners.clone(),
            routes: plan.routes.iter().map(|own| route(&plan, own)).collect(),
            certificates: standing.certificates.clone(),
            upstreams: (plan.upstreams.iter())
                .map(|own| upstream(own, now))
                .collect(),
        }
    }
}

fn audit(state: Option<&AuditState>) -> AuditFacts {
    match state {
        None => AuditFacts::Off,
        Some(state) if state.refuses() => AuditFacts::Refusing,
        Some(state) if state.fails() => AuditFacts::Failing,
        Some(_) => AuditFacts::Written,
    }
}

fn route(plan: &Plan, route: &RoutePlan) -> RouteFacts {
    let tokens = route.scheme.tokens().iter().enumerate();
    let tokens = tokens.map(|(position, token)| TokenFacts {
        id: Arc::clone(token.id()),
        last_used: route.token_uses.of(position).map(|at| at.0),
        not_after: token.not_after().map(|at| at.0),
    });
    let upstream = plan.upstreams.get(route.upstream);
    RouteFacts {
        name: Arc::clone(&route.name),
        pattern: route.pattern.to_string(),
        upstream: upstream.map_or_else(|| "none".into(), |upstream| Arc::clone(&upstream.name)),
        maintenance: route.maintenance,
        tokens: tokens.collect(),
    }
}

fn upstream(upstream: &UpstreamPlan, now: Instant) -> UpstreamFacts {
    let states = upstream.endpoint_states(now);
    let endpoints = upstream.endpoints.iter().zip(states);
    let endpoints = endpoints.map(|(endpoint, state)| EndpointFacts {
        name: Arc::clone(&endpoint.name),
        up: state.up,
        passed_over: state.passed_over,
    });
    let failure = upstream.last_failure.told();
    UpstreamFacts {
        name: Arc::clone(&upstream.name),
        endpoints: endpoints.collect(),
        last_error: failure.map(|(error, at)| (error.label(), at.0)),
        limit: upstream.care.max_connections,
    }
}

fn certificate(info: &CertificateInfo) -> CertificateFacts {
    CertificateFacts {
        name: Arc::clone(&info.name),
        listener: Arc::clone(&info.listener),
        names: info.names.iter().map(|name| name.as_str().into()).collect(),
        serial: info.serial.as_str().into(),
        not_before: info.not_before.0,
        not_after: info.not_after.0,
    }
}

/// In one line, without the line of the file.
fn finding(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let text = format!(
        "{severity}: {}:{}:{}: {}: found {}, expected {}",
        finding.file, finding.line, finding.column, finding.path, finding.found, finding.expected
    );
    let help = finding.hint.as_ref().map(|hint| format!("; help: {hint}"));
    let text = text + &help.unwrap_or_default();
    text.chars().take(FINDING_LENGTH).collect()
}
