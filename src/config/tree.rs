//! The tree of a configuration file: values, keys, and where each of them stands.
//!
//! Not here: reading it from text (`source`).

use serde_yaml::Value;

use super::diagnostic::Findings;
use super::mark::Mark;
use super::mask::{SECRET_LENGTH, looks_secret};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) kind: Kind,
    /// Something in it was wrong and has been taken out; what seems to be missing may have been there.
    pub(super) lost: bool,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Item>),
    Map(Vec<Entry>),
}

/// A single value.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    /// As the file has it, before variables are put in; the only form that findings show.
    pub(super) raw: String,
    /// Quoted, in a block, or tagged as text: never a number.
    pub(super) text_only: bool,
    pub(super) value: Value,
}

/// A member of a list.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Its position in the file, which stays when others are taken out.
    pub(super) index: usize,
    pub(super) node: Node,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) mark: Mark,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn new(mark: Mark, kind: Kind) -> Self {
        Self {
            mark,
            kind,
            lost: false,
        }
    }

    /// This node and all below it, counted up to `limit`.
    pub(super) fn size(&self, limit: usize) -> usize {
        let mut size = 1;
        let mut add = |node: &Self| {
            if size < limit {
                size += node.size(limit - size);
            }
        };
        match &self.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => items.iter().for_each(|item| add(&item.node)),
            Kind::Map(entries) => entries.iter().for_each(|entry| add(&entry.node)),
        }
        size
    }
}

impl Scalar {
    pub(super) fn new(raw: String, text_only: bool) -> Self {
        let value = resolve(&raw, text_only);
        Self {
            raw,
            text_only,
            value,
        }
    }

    /// Puts another text in, and types it again.
    pub(super) fn replace(&mut self, text: &str) {
        self.value = resolve(text, self.text_only);
    }
}

/// The type of a scalar by YAML's core schema.
fn resolve(text: &str, text_only: bool) -> Value {
    let starts = |c: char| c.is_ascii_digit() || "+-.~tTfFnN".contains(c);
    let maybe = text.is_empty() || (text.len() <= 64 && text.starts_with(starts));
    if text_only || !maybe || text.contains(['\n', '\r', '#']) {
        return Value::String(text.to_owned());
    }
    match serde_yaml::from_str(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        Ok(Value::String(_) | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_))
        | Err(_) => Value::String(text.to_owned()),
    }
}

/// The path of a key below `path`. A key that looks like a secret is one that somebody put there by mistake.
pub(super) fn key_path(path: &str, key: &str) -> String {
    let key = if looks_secret(key) {
        "***".to_owned()
    } else if key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_debug().take(40).collect::<String>())
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// The path of a list member below `path`.
pub(super) fn item_path(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// What a finding shows instead of [`may_be_secret`].
pub(super) const HIDDEN: &str = "a text that may be a secret and is not shown";

/// Whether values in a section can be secrets by mistake.
pub(super) fn is_secret_section(path: &str) -> bool {
    path.starts_with("routes[") && path.contains("].verify") || path.starts_with("audit.key")
}

/// Whether a text that was to be something else may be a secret that was put into the wrong place.
pub(super) fn may_be_secret(path: &str, text: &str) -> bool {
    is_secret_section(path) && text.len() >= SECRET_LENGTH && !text.contains(char::is_whitespace)
}

/// Keeps all values below a node out of snippets; keys stay.
pub(super) fn hide(node: &Node, findings: &mut Findings) {
    match &node.kind {
        Kind::Scalar(_) => findings.hide(node.mark),
        Kind::List(items) => items.iter().for_each(|item| hide(&item.node, findings)),
        Kind::Map(entries) => entries.iter().for_each(|entry| hide(&entry.node, findings)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_scalars_by_the_core_schema() {
        let cases = [
            ("off", Value::String("off".into())),
            ("true", Value::Bool(true)),
            ("12", Value::Number(12.into())),
            ("0x10", Value::Number(16.into())),
            ("~", Value::Null),
            ("", Value::Null),
            ("1: 2", Value::String("1: 2".into())),
            ("- a", Value::String("- a".into())),
            ("10.0.0.1", Value::String("10.0.0.1".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text, false), expected, "{text}");
            assert_eq!(resolve(text, true), Value::String(text.into()), "{text}");
        }
    }
}
