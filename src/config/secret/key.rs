//! The key of the audit trail: from the same sources as a token, and as good as one has to be.

use super::{Reader, What};
use crate::config::context::Context;
use crate::config::document::KeyEntry;

const AUDIT_KEY: What = What {
    sources: "exactly one of `env`, `file` or `credential`",
    variable: "COUNTERSIGN_AUDIT_KEY",
    key: true,
};

/// Reads the key of the audit trail; `None` where it cannot be used.
pub(in crate::config) fn audit_key(
    context: &mut Context<'_>,
    path: &str,
    entry: &KeyEntry,
) -> Option<Vec<u8>> {
    let mut reader = Reader {
        title: "the audit key".to_owned(),
        what: &AUDIT_KEY,
        context,
        path,
        sources: [
            ("env", &entry.env),
            ("file", &entry.file),
            ("credential", &entry.credential),
            ("sha256", &None),
        ],
    };
    let (key, value) = reader.source()?;
    reader.secret(key, value)
}
