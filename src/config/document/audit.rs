//! The section `audit`, as the rest of the document: one field for each key, nothing resolved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::config::words::OnFailure;

/// The audit trail: a chained record for each decision and each change.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub(in crate::config) struct Audit {
    /// The file, made for the gateway's user alone where there is none. Its directory has to be there.
    pub(in crate::config) file: Option<String>,
    /// While it cannot be written: `continue` goes on, `strict` answers 503 to all that would be forwarded or answered.
    pub(in crate::config) on_failure: OnFailure,
    /// A secret without which no record can be made that fits the chain; the default is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<KeyEntry>,
}

/// Where a key is: exactly one of `env`, `file`, `credential`. Never the key itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct KeyEntry {
    /// Name of the environment variable that holds it.
    pub(in crate::config) env: Option<String>,
    /// File that holds it; one line break at its end is dropped.
    pub(in crate::config) file: Option<String>,
    /// Name of the systemd credential that holds it.
    pub(in crate::config) credential: Option<String>,
}

impl Serialize for KeyEntry {
    /// The kind of its source only, as for a token.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sources = [
            ("env", &self.env),
            ("file", &self.file),
            ("credential", &self.credential),
        ];
        let given = sources.iter().filter(|(_, value)| value.is_some());
        serializer.collect_map(given.map(|(kind, _)| (*kind, "***")))
    }
}
