//! What is in force, as numbers that can be compared: a digest of the whole, and each setting with its value.
//!
//! Both come from what `config show` prints, so no secret goes into them.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;
use sha2::{Digest as _, Sha256};

use super::tree::{item_path, key_path};

/// An effective configuration; empty where there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Effective {
    digest: String,
    settings: BTreeMap<String, String>,
}

impl std::fmt::Debug for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.digest)
    }
}

impl Effective {
    /// Of the effective configuration as YAML.
    pub(super) fn new(yaml: &str) -> Self {
        let digest = Sha256::digest(yaml);
        let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut settings = BTreeMap::new();
        let value: Value = serde_yaml::from_str(yaml).unwrap_or_default();
        flatten("", &value, &mut settings);
        Self {
            digest: digest.concat(),
            settings,
        }
    }

    /// SHA-256 of what `config show` prints, as hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The settings that differ from those of another one, such as `routes[0].upstream.url`, in order.
    pub fn changes(&self, other: &Self) -> Vec<String> {
        let paths: BTreeSet<&String> = self.settings.keys().chain(other.settings.keys()).collect();
        let differs = |path: &&&String| self.settings.get(**path) != other.settings.get(**path);
        paths
            .iter()
            .filter(differs)
            .map(|path| (*path).clone())
            .collect()
    }
}

fn flatten(path: &str, value: &Value, settings: &mut BTreeMap<String, String>) {
    match value {
        Value::Mapping(entries) => {
            for (key, value) in entries {
                let key = key.as_str().unwrap_or_default();
                flatten(&key_path(path, key), value, settings);
            }
        }
        Value::Sequence(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&item_path(path, index), value, settings);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {
            let text = serde_yaml::to_string(value).unwrap_or_default();
            settings.insert(path.to_owned(), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_named_by_their_path() {
        let old = Effective::new("a: { b: [1, 2] }\nc: x\n");
        let new = Effective::new("a: { b: [1, 3, 4] }\nd: x\n");
        assert_eq!(old.changes(&new), ["a.b[1]", "a.b[2]", "c", "d"]);
        assert_eq!(old.changes(&old), Vec::<String>::new());
        assert_ne!(old.digest(), new.digest());
        assert_eq!(old.digest().len(), 64);
    }
}
