//! The shape of the file: keys, types and words, checked against the JSON Schema that is derived from the document
//! types. What `config schema` prints and what the check accepts can therefore not differ.
//!
//! What does not fit is reported and taken out; the rest always becomes a `Document`.
//!
//! Not here: what a text means (compile), or whether a combination makes sense.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use serde_yaml::Value;

use super::diagnostic::{At, Finding, Findings, choice, quoted};
use super::document::Document;
use super::mask::looks_secret;
use super::schema::{
    LIKENESS, alike, expectation, first_sentence, has_type, likeness, title, without_null, words,
};
use super::tree::{
    Entry, HIDDEN, Kind, Node, Scalar, hide, is_secret_section, item_path, key_path, may_be_secret,
};
use super::value::DURATION;

/// Keys under which people write a secret into the file.
const LITERAL_KEYS: [&str; 8] = [
    "token",
    "value",
    "secret",
    "password",
    "key",
    "literal",
    "verification_token",
    "verification-token",
];

/// The schema in the subset of JSON Schema that schemars makes of the document types.
pub(super) struct Shape {
    root: Json,
    /// Each key and the sections it may stand in, for keys at a wrong level.
    homes: BTreeMap<String, Vec<String>>,
}

impl Shape {
    pub(super) fn new() -> Self {
        let mut root = schemars::schema_for!(Document).to_value();
        without_null(&mut root);
        let mut shape = Self {
            root,
            homes: BTreeMap::new(),
        };
        let mut homes = BTreeMap::new();
        shape.collect_homes(&shape.root, "", &mut homes);
        shape.homes = homes;
        shape
    }

    /// The schema, for editors.
    pub(super) fn json(&self) -> &Json {
        &self.root
    }

    /// Takes everything out of the tree that does not fit. Whether the root itself can stay.
    pub(super) fn check(&self, root: &mut Node, findings: &mut Findings) -> bool {
        self.node(root, &self.root, "", findings)
    }

    fn node(&self, node: &mut Node, schema: &Json, path: &str, findings: &mut Findings) -> bool {
        let forms = self.forms(schema);
        let form = |kind: &str| forms.iter().copied().find(|form| has_type(form, kind));
        let at = At {
            mark: node.mark,
            path: path.to_owned(),
        };
        match &mut node.kind {
            Kind::Map(_) => match form("object") {
                Some(object) => self.map(node, object, path, findings),
                None => return wrong_type(node, &at, "a mapping", &forms, findings),
            },
            Kind::List(items) => {
                let Some(list) = form("array") else {
                    return wrong_type(node, &at, "a list", &forms, findings);
                };
                let schema = list.get("items").unwrap_or(&Json::Null);
                let before = items.len();
                items.retain_mut(|item| {
                    let path = item_path(path, item.index);
                    self.node(&mut item.node, schema, &path, findings)
                });
                node.lost |= items.len() < before;
            }
            Kind::Scalar(scalar) => return self.scalar(scalar, &forms, &at, findings),
        }
        true
    }

    fn map(&self, node: &mut Node, schema: &Json, path: &str, findings: &mut Findings) {
        let Kind::Map(entries) = &mut node.kind else {
            return;
        };
        let properties = schema.get("properties").and_then(Json::as_object);
        let required = schema.get("required").and_then(Json::as_array);
        let known = |key: &str| properties.is_some_and(|properties| properties.contains_key(key));
        let at = At {
            mark: node.mark,
            path: path.to_owned(),
        };
        for key in required.into_iter().flatten().filter_map(Json::as_str) {
            // A key that looks like it is reported as unknown, with this one as the likely meaning.
            let typo =
                |entry: &Entry| entry.key == key || !known(&entry.key) && alike(key, &entry.key);
            let schema = properties.and_then(|properties| properties.get(key));
            if !node.lost && !entries.iter().any(typo) {
                findings.add(Self::missing(&at, key, schema.unwrap_or(&Json::Null)));
            }
        }
        let before = entries.len();
        entries.retain_mut(|entry| {
            let own_path = key_path(path, &entry.key);
            match properties.and_then(|properties| properties.get(&entry.key)) {
                Some(schema) => self.node(&mut entry.node, schema, &own_path, findings),
                None => {
                    let finding = self.unknown_key(entry, &own_path, path, properties);
                    // A key with a known meaning has a harmless value; behind any other there may be a secret.
                    let secret_key = entry.key == "tokens" || is_literal_key(&entry.key);
                    if finding.hint.is_none() || secret_key || is_secret_section(&own_path) {
                        hide(&entry.node, findings);
                    }
                    findings.add(finding);
                    false
                }
            }
        });
        node.lost |= entries.len() < before;
    }

    fn missing(at: &At, key: &str, schema: &Json) -> Finding {
        let description = schema.get("description").and_then(Json::as_str);
        let meaning = first_sentence(description.unwrap_or_default());
        Finding::error(
            at,
            format!("the key `{key}` is missing"),
            format!("`{key}`: {meaning}"),
        )
    }

    fn unknown_key(
        &self,
        entry: &Entry,
        path: &str,
        parent: &str,
        properties: Option<&serde_json::Map<String, Json>>,
    ) -> Finding {
        let at = At {
            mark: entry.mark,
            path: path.to_owned(),
        };
        let key = &entry.key;
        if is_literal_key(key) && is_secret_section(parent) {
            return literal_secret(&at);
        }
        if looks_secret(key) {
            return Finding::error(&at, "a key that looks like a secret", "a key and its value")
                .help("a secret has no place in this file; name the variable or the file that holds it");
        }
        let allowed: Vec<&str> = properties
            .into_iter()
            .flat_map(|properties| properties.keys().map(String::as_str))
            .collect();
        let finding = Finding::error(
            &at,
            format!("unknown key {}", quoted(key)),
            choice(allowed.iter().copied()),
        );
        let best = allowed
            .iter()
            .map(|allowed| (likeness(allowed, key), *allowed))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness >= LIKENESS);
        match (self.homes.get(key), best) {
            (Some(homes), _) => finding.help(format!(
                "`{key}` is right, but at the wrong level: it belongs {}",
                homes.join(" or ")
            )),
            (None, Some((_, best))) => finding.help(format!("did you mean `{best}`?")),
            (None, None) => finding,
        }
    }

    fn scalar(&self, scalar: &Scalar, forms: &[&Json], at: &At, findings: &mut Findings) -> bool {
        let fits = |form: &&&Json| match &scalar.value {
            Value::Null => false,
            Value::Bool(_) => has_type(form, "boolean"),
            Value::Number(number) => {
                has_type(form, "integer") && number.is_u64() || has_type(form, "number")
            }
            Value::String(_) => has_type(form, "string"),
            Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => false,
        };
        if !forms.iter().any(|form| fits(&form)) {
            return self.wrong_scalar(scalar, forms, at, findings);
        }
        let Value::String(text) = &scalar.value else {
            return true;
        };
        let words: Vec<&str> = forms.iter().copied().flat_map(words).collect();
        if words.is_empty() || words.contains(&text.as_str()) {
            return true;
        }
        let found = if may_be_secret(&at.path, text) {
            findings.hide(at.mark);
            HIDDEN.to_owned()
        } else {
            format!("the word {}", quoted(&scalar.raw))
        };
        let finding = Finding::error(at, found, choice(words.iter().copied()));
        let best = words.iter().find(|word| alike(word, text));
        findings.add(match best {
            Some(best) => finding.help(format!("did you mean `{best}`?")),
            None => finding,
        });
        false
    }

    fn wrong_scalar(
        &self,
        scalar: &Scalar,
        forms: &[&Json],
        at: &At,
        findings: &mut Findings,
    ) -> bool {
        if at.path.ends_with(".tokens") || (at.path.contains(".tokens[") && at.path.ends_with(']'))
        {
            findings.hide(at.mark);
            let nothing = scalar.value == Value::Null;
            findings.add(if nothing {
                Finding::error(at, "nothing", expectation(forms))
            } else {
                literal_secret(at)
            });
            return false;
        }
        if may_be_secret(&at.path, &scalar.raw) {
            findings.hide(at.mark);
            findings.add(Finding::error(at, HIDDEN, expectation(forms)));
            return false;
        }
        let found = match &scalar.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(_) => format!("the truth value {}", quoted(&scalar.raw)),
            Value::Number(_) => format!("the number {}", quoted(&scalar.raw)),
            Value::String(_) | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => {
                format!("the text {}", quoted(&scalar.raw))
            }
        };
        let finding = Finding::error(at, found, expectation(forms));
        let text_expected = forms.iter().any(|form| has_type(form, "string"));
        let words: Vec<&str> = forms.iter().copied().flat_map(words).collect();
        let list_expected = forms.iter().any(|form| has_type(form, "array"));
        let finding = match &scalar.value {
            Value::Bool(false) if words.contains(&"off") => finding.help("write `off`"),
            Value::Number(number) if forms.iter().any(|form| title(form) == Some(DURATION)) => {
                finding.help(format!("a unit is missing: `{}s`?", scalar.raw))
            }
            Value::Bool(_) | Value::Number(_)
                if text_expected && forms.iter().all(|form| title(form).is_none()) =>
            {
                finding.help(format!("put it in quotes: \"{}\"", scalar.raw))
            }
            Value::String(_) if list_expected => finding.help(format!(
                "a list of one is written in brackets: [{}]",
                scalar.raw
            )),
            Value::String(text) if forms.iter().any(|form| has_type(form, "boolean")) => {
                match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" => finding.help("write `true`, without quotes"),
                    "no" | "off" | "false" => finding.help("write `false`, without quotes"),
                    _ => finding,
                }
            }
            Value::String(_)
                if scalar.text_only && forms.iter().any(|form| has_type(form, "integer")) =>
            {
                finding.help("take the quotes away")
            }
            Value::Null => finding.help("write what belongs there, or take the key out"),
            Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => finding,
        };
        findings.add(finding);
        false
    }

    /// What a value may be: a schema with references followed and alternatives laid side by side.
    fn forms<'s>(&'s self, schema: &'s Json) -> Vec<&'s Json> {
        if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
            let target = name
                .strip_prefix('#')
                .and_then(|path| self.root.pointer(path));
            return target.map(|target| self.forms(target)).unwrap_or_default();
        }
        let alternatives = ["anyOf", "oneOf"]
            .into_iter()
            .find_map(|key| schema.get(key)?.as_array());
        match alternatives {
            Some(alternatives) => alternatives
                .iter()
                .flat_map(|form| self.forms(form))
                .collect(),
            None => vec![schema],
        }
    }

    fn collect_homes(&self, schema: &Json, path: &str, homes: &mut BTreeMap<String, Vec<String>>) {
        for form in self.forms(schema) {
            if let Some(items) = form.get("items") {
                self.collect_homes(items, &format!("{path}[]"), homes);
            }
            let properties = form.get("properties").and_then(Json::as_object);
            for (key, schema) in properties.into_iter().flatten() {
                let home = if path.is_empty() {
                    "at the top level".to_owned()
                } else {
                    format!("into `{path}`")
                };
                homes.entry(key.clone()).or_default().push(home);
                self.collect_homes(schema, &key_path(path, key).replace("\"", ""), homes);
            }
        }
    }
}

/// The tree as the value the document is read from.
pub(super) fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar(scalar) => scalar.value.clone(),
        Kind::List(items) => items.iter().map(|item| value(&item.node)).collect(),
        Kind::Map(entries) => Value::Mapping(
            entries
                .iter()
                .map(|entry| (Value::String(entry.key.clone()), value(&entry.node)))
                .collect(),
        ),
    }
}

fn is_literal_key(key: &str) -> bool {
    LITERAL_KEYS.contains(&key.to_ascii_lowercase().as_str())
}

/// A secret that stands in the file itself.
fn literal_secret(at: &At) -> Finding {
    Finding::error(
        at,
        "a secret in the file itself",
        "`id` and exactly one of `env`, `file`, `credential` or `sha256`",
    )
    .help(
        "put the token into an environment variable or a file and name that here: { id: \"2026-11\", env: REDOX_TOKEN }\n\
         use a fresh token: one that was written into a configuration file has been seen",
    )
}

fn wrong_type(node: &Node, at: &At, found: &str, forms: &[&Json], findings: &mut Findings) -> bool {
    if is_secret_section(&at.path) {
        hide(node, findings);
    }
    let finding = Finding::error(at, found, expectation(forms));
    let expects = |kind: &str| forms.iter().any(|form| has_type(form, kind));
    findings.add(match &node.kind {
        Kind::Map(_) if expects("array") => finding
            .help("put `- ` in front of the first key of each member, and indent the others alike"),
        Kind::List(_) if expects("object") => {
            finding.help("take the `-` or the brackets away: there is only one")
        }
        Kind::Map(_) | Kind::List(_) | Kind::Scalar(_) => finding,
    });
    false
}
