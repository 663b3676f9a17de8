//! Where the requests of one worker are told of, each once.

use std::rc::Rc;

use super::reason::{Outcome, Refusal, audit_event};
use crate::telemetry::{AccessEntry, AccessLog, AuditLog, DecisionRing};

/// The logs of one worker; each may be turned off.
pub struct Logs {
    /// The access log.
    pub access: Option<Rc<AccessLog>>,
    /// The audit trail.
    pub audit: Option<Rc<AuditLog>>,
    /// The last decisions, for the status page.
    pub decisions: Option<DecisionRing>,
}

/// What the audit trail wants to know beside the access entry.
pub(super) struct Kind {
    pub(super) outcome: Outcome,
    pub(super) challenge: bool,
    pub(super) tls: bool,
}

impl Logs {
    /// Whether neither log is there to be told.
    pub(super) fn is_off(&self) -> bool {
        self.access.is_none() && self.audit.is_none()
    }

    /// Nothing is forwarded or answered that could not be told of, where the configuration says so.
    pub(super) fn can_tell(&self) -> Result<(), Refusal> {
        match &self.audit {
            Some(audit) if audit.refuses() => Err(Refusal::AuditFailing),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn tell(&self, entry: &AccessEntry<'_>, kind: &Kind) {
        if let Some(access) = &self.access {
            access.write(entry);
        }
        if let Some(audit) = &self.audit {
            let event = audit_event(kind.outcome, entry.reason, kind.challenge);
            audit.request(event, entry, kind.tls);
        }
    }
}
