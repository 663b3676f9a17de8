//! The audit trail: where it goes, and what becomes of requests while it cannot be written.

use std::path::PathBuf;

use crate::config::certificate::io_text;
use crate::config::context::Context;
use crate::config::document::Audit;
use crate::config::secret;
use crate::config::words::OnFailure;

/// What `audit.file` has to be.
const FILE: &str = "a file in a directory that the gateway may write to";

/// The audit trail of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSpec {
    /// The file.
    pub file: PathBuf,
    /// Whether requests are refused while it cannot be written.
    pub strict: bool,
    /// The key of the chain, where there is one.
    pub key: Option<AuditKey>,
}

/// The key of the chain. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AuditKey(pub Vec<u8>);

impl std::fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The outer `None`: it could not be read.
#[expect(
    clippy::option_option,
    reason = "unreadable and turned off are two things"
)]
pub(super) fn compile(
    context: &mut Context<'_>,
    audit: Option<&Audit>,
) -> Option<Option<AuditSpec>> {
    let Some(audit) = audit else {
        return Some(None);
    };
    let file = audit.file.as_deref().and_then(|file| path(context, file));
    let key = match &audit.key {
        Some(entry) => secret::audit_key(context, "audit.key", entry).map(Some),
        None => Some(None),
    };
    Some(Some(AuditSpec {
        file: file?,
        strict: audit.on_failure == OnFailure::Strict,
        key: key?.map(AuditKey),
    }))
}

/// The file need not be there yet, but its directory.
fn path(context: &mut Context<'_>, file: &str) -> Option<PathBuf> {
    const SETTING: &str = "audit.file";
    // Not one whose content means anything to the configuration, so it is not watched.
    let path = context.base.join(file);
    let shown = context.shown(SETTING);
    if let Ok(metadata) = std::fs::symlink_metadata(&path)
        && (metadata.is_dir() || metadata.is_symlink())
    {
        let what = if metadata.is_dir() {
            "a directory"
        } else {
            "a symbolic link"
        };
        let help = "name the file itself, such as /var/log/countersign/audit.jsonl";
        context.error_help(SETTING, format!("{shown} is {what}"), FILE, help);
        return None;
    }
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    let problem = match directory.map(std::fs::metadata) {
        None => None,
        Some(Ok(metadata)) if metadata.is_dir() => None,
        Some(Ok(_)) => Some("it is no directory".to_owned()),
        Some(Err(error)) => Some(io_text(error.kind())),
    };
    if let Some(problem) = problem {
        let found = format!("the directory of {shown} cannot be used: {problem}");
        let help = "make it for the gateway's user alone; with systemd: LogsDirectory=countersign";
        context.error_help(SETTING, found, FILE, help);
        return None;
    }
    Some(path)
}
