//! What the process itself puts into the audit trail: its life, its configuration, its tokens and certificates.
//!
//! Requests are told of by the gateway. Where there is no trail, all of this does nothing.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::clock;
use crate::config::{AuditSpec, CertificateInfo, Effective};
use crate::gateway::plan::{Plan, RoutePlan};
use crate::telemetry::{
    AuditEvent, AuditMetrics, AuditSink, AuditStart, AuditState, AuditWriter, Notice, Seal,
};
use crate::verify::{Token, UnixTime};

/// The trail of this process, or none.
pub(super) struct Trail {
    open: Option<(AuditSink, AuditWriter)>,
    /// The configuration in force.
    effective: Effective,
    draining: Cell<bool>,
}

impl Trail {
    /// Opens it, and writes what begins it. `boot` is a random number.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn start(
        spec: Option<AuditSpec>,
        boot: u64,
        workers: usize,
        metrics: &AuditMetrics,
    ) -> std::io::Result<Self> {
        let mut trail = Self {
            open: None,
            effective: Effective::default(),
            draining: Cell::new(false),
        };
        let Some(spec) = spec else {
            return Ok(trail);
        };
        let key = spec.key.as_ref();
        let start = AuditStart {
            path: spec.file,
            seal: key.map_or(Seal::Plain, |key| Seal::keyed(&key.0)),
            strict: spec.strict,
            boot,
            workers,
            metrics: metrics.clone(),
            now: clock::wall,
        };
        trail.open = Some(start.start()?);
        let revision = Some(crate::REVISION);
        trail.tell(AuditEvent::Started, |notice| {
            notice
                .text("version", Some(env!("CARGO_PKG_VERSION")))
                .text("revision", revision)
                .text("target", Some(crate::TARGET))
        });
        Ok(trail)
    }

    /// Where requests are told of.
    pub(super) fn sink(&self) -> Option<AuditSink> {
        self.open.as_ref().map(|(sink, _)| sink.clone())
    }

    /// Whether it can be written.
    pub(super) fn state(&self) -> Option<AuditState> {
        self.open.as_ref().map(|(sink, _)| sink.state())
    }

    /// The file may have been renamed.
    pub(super) fn look(&self) {
        if let Some((sink, _)) = &self.open {
            sink.look();
        }
    }

    /// This event, with nothing to say about it.
    pub(super) fn event(&self, event: AuditEvent) {
        self.tell(event, |notice| notice);
    }

    /// No new connections are taken any more; told once.
    pub(super) fn draining(&self) {
        if !self.draining.replace(true) {
            self.event(AuditEvent::Draining);
        }
    }

    /// The configuration that the process begins with.
    pub(super) fn loaded(&mut self, effective: Effective, certificates: &[CertificateInfo]) {
        self.effective = effective;
        self.tell(AuditEvent::ConfigurationLoaded, |notice| {
            notice.text("configuration", Some(&self.effective.digest()))
        });
        self.certificates(&[], certificates);
    }

    /// Another configuration is in force.
    pub(super) fn reloaded(&mut self, trigger: &str, effective: Effective) {
        let before = std::mem::replace(&mut self.effective, effective);
        self.tell(AuditEvent::ReloadAccepted, |notice| {
            let changes = self.effective.changes(&before);
            notice
                .text("trigger", Some(trigger))
                .text("configuration_before", Some(&before.digest()))
                .text("configuration", Some(&self.effective.digest()))
                .list("settings", changes.iter().map(String::as_str))
        });
    }

    /// Another configuration was not taken up: it is not valid, or changes what only a start takes up.
    pub(super) fn refused(&self, trigger: &str, offered: Option<(&Effective, &[String])>) {
        self.tell(AuditEvent::ReloadRefused, |notice| {
            let notice = notice
                .text("trigger", Some(trigger))
                .text("configuration", Some(&self.effective.digest()));
            match offered {
                None => notice.text("why", Some("not_valid")),
                Some((offered, fixed)) => notice
                    .text("why", Some("restart_needed"))
                    .text("configuration_offered", Some(&offered.digest()))
                    .list("settings", fixed.iter().map(String::as_str)),
            }
        });
    }

    /// Tells of each route whose tokens are others than before.
    pub(super) fn tokens(&self, before: &Plan, after: &Plan) {
        if self.open.is_none() {
            return;
        }
        let (before, after) = (by_name(before), by_name(after));
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        for name in after.keys().chain(gone) {
            let change = Change::between(before.get(name), after.get(name));
            if change.is_none() {
                continue;
            }
            self.tell(AuditEvent::TokensChanged, |notice| {
                notice
                    .text("route", Some(name))
                    .list("added", change.added.iter().copied())
                    .list("removed", change.removed.iter().copied())
                    .list("replaced", change.replaced.iter().copied())
            });
        }
    }

    /// Tells of each certificate that is served now and was not before.
    pub(super) fn certificates(&self, before: &[CertificateInfo], after: &[CertificateInfo]) {
        for info in after.iter().filter(|info| !before.contains(info)) {
            self.tell(AuditEvent::CertificateChanged, |notice| {
                notice
                    .text("listener", Some(&info.listener))
                    .text("certificate", Some(&info.name))
                    .list("names", info.names.iter().map(String::as_str))
                    .text("serial", Some(&info.serial))
                    .text("not_before", Some(&time(info.not_before)))
                    .text("not_after", Some(&time(info.not_after)))
            });
        }
    }

    /// The last record. Everything else that writes has to have ended.
    pub(super) fn end(mut self, clean: bool) {
        self.tell(AuditEvent::Stopped, |notice| notice.flag("clean", clean));
        if let Some((sink, writer)) = self.open.take() {
            drop(sink);
            if !writer.join() {
                tracing::error!("the last audit records are lost: their file cannot be written");
            }
        }
    }

    fn tell(&self, event: AuditEvent, fill: impl FnOnce(Notice) -> Notice) {
        if let Some((sink, _)) = &self.open {
            sink.tell(event, &fill(Notice::new(event, clock::wall())));
        }
    }
}

fn by_name(plan: &Plan) -> BTreeMap<&str, &RoutePlan> {
    let routes = plan.routes.iter();
    routes.map(|route| (&*route.name, route)).collect()
}

/// What became of the tokens of a route, by their ids.
#[derive(Default)]
struct Change<'p> {
    added: Vec<&'p str>,
    removed: Vec<&'p str>,
    /// The same id, and another secret.
    replaced: Vec<&'p str>,
}

impl<'p> Change<'p> {
    fn between(before: Option<&&'p RoutePlan>, after: Option<&&'p RoutePlan>) -> Self {
        let (before, after) = (tokens(before), tokens(after));
        let find = |tokens: &[&'p Token], id: &str| {
            let mut tokens = tokens.iter();
            tokens.find(|token| &**token.id() == id).copied()
        };
        let mut change = Self::default();
        for token in &after {
            match find(&before, token.id()) {
                None => change.added.push(token.id()),
                Some(old) if !old.same_secret(token) => change.replaced.push(token.id()),
                Some(_) => {}
            }
        }
        let gone = before
            .iter()
            .filter(|token| find(&after, token.id()).is_none());
        change.removed.extend(gone.map(|token| &**token.id()));
        change
    }

    fn is_none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.replaced.is_empty()
    }
}

fn tokens<'p>(route: Option<&&'p RoutePlan>) -> Vec<&'p Token> {
    route.map_or_else(Vec::new, |route| route.scheme.tokens().iter().collect())
}

/// A point in time as RFC 3339 has it.
fn time(time: UnixTime) -> String {
    let seconds = i64::try_from(time.0).unwrap_or(i64::MAX);
    let date = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    let format = time::format_description::well_known::Rfc3339;
    date.and_then(|date| date.format(&format).ok())
        .unwrap_or_default()
}
