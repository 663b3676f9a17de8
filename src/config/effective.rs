//! What is in force, so that it can be compared: a digest of the whole, and the settings that differ.
//!
//! Both come from what `config show` prints, so no secret goes into them. They are made when somebody asks: most
//! configurations are never compared with another one.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;
use sha2::{Digest as _, Sha256};

use super::tree::{item_path, key_path};

/// An effective configuration as YAML; empty where there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Effective(pub(super) String);

impl std::fmt::Debug for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.digest())
    }
}

impl Effective {
    /// SHA-256 of what `config show` prints, as hexadecimal digits.
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(&self.0);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first 12 digits of [`Effective::digest`]: enough to see whether two gateways run with the same.
    pub fn short(&self) -> String {
        let mut digest = self.digest();
        digest.truncate(12);
        digest
    }

    /// The settings that differ from those of another one, such as `routes[0].upstream.url`, in order.
    pub fn changes(&self, other: &Self) -> Vec<String> {
        differences(&self.settings(), &other.settings())
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        let value: Value = serde_yaml::from_str(&self.0).unwrap_or_default();
        flatten("", &value, &mut settings);
        settings
    }
}

/// The names under which two sets of settings differ, in order.
pub fn differences(
    one: &BTreeMap<String, String>,
    other: &BTreeMap<String, String>,
) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let mut names = Vec::from_iter(names);
    names.retain(|name| one.get(*name) != other.get(*name));
    names.into_iter().cloned().collect()
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
        let old = Effective("a: { b: [1, 2] }\nc: x\n".to_owned());
        let new = Effective("a: { b: [1, 3, 4] }\nd: x\n".to_owned());
        assert_eq!(old.changes(&new), ["a.b[1]", "a.b[2]", "c", "d"]);
        assert_eq!(old.changes(&old), Vec::<String>::new());
        assert_ne!(old.digest(), new.digest());
        assert_eq!(old.digest().len(), 64);
    }
}
