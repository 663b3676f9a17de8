//! Where the requests of one worker are told of, each once.

use std::rc::Rc;

use super::reason::{Outcome, Refusal, audit_event};
use crate::telemetry::{AccessEntry, AccessLog, AuditLog};

/// The logs of one worker; any of them may be turned off.
#[derive(Clone, Default)]
pub struct Logs {
    /// The access log.
    pub access: Option<Rc<AccessLog>>,
    /// The audit trail.
    pub audit: Option<Rc<AuditLog>>,
}

/// What the audit trail wants to know beside the access entry.
pub(super) struct Kind {
    pub(super) outcome: Outcome,
    pub(super) challenge: bool,
    pub(super) tls: bool,
}

impl Logs {
    /// Whether nothing is told at all.
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
