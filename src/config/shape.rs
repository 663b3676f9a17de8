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
use super::source::{Entry, Kind, Node, Scalar, item_path, key_path};

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
/// Likeness from which on a key is taken for a typing mistake.
const LIKENESS: f64 = 0.8;

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
                None => return self.wrong_type(&at, "a mapping", &forms, findings),
            },
            Kind::List(items) => {
                let Some(list) = form("array") else {
                    return self.wrong_type(&at, "a list", &forms, findings);
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
        for key in required.into_iter().flatten().filter_map(Json::as_str) {
            if !node.lost && entries.iter().all(|entry| entry.key != key) {
                findings.add(self.missing(node.mark, path, key, properties, entries));
            }
        }
        let before = entries.len();
        entries.retain_mut(|entry| {
            let own_path = key_path(path, &entry.key);
            match properties.and_then(|properties| properties.get(&entry.key)) {
                Some(schema) => self.node(&mut entry.node, schema, &own_path, findings),
                None => {
                    let allowed: Vec<&str> = properties
                        .into_iter()
                        .flat_map(|properties| properties.keys().map(String::as_str))
                        .collect();
                    findings.hide(entry.node.mark);
                    findings.add(self.unknown_key(entry, &own_path, path, &allowed));
                    false
                }
            }
        });
        node.lost |= entries.len() < before;
    }

    fn missing(
        &self,
        mark: super::diagnostic::Mark,
        path: &str,
        key: &str,
        properties: Option<&serde_json::Map<String, Json>>,
        entries: &[Entry],
    ) -> Finding {
        let at = At {
            mark,
            path: path.to_owned(),
        };
        let schema = properties.and_then(|properties| properties.get(key));
        let description = schema
            .and_then(|schema| schema.get("description"))
            .and_then(Json::as_str)
            .unwrap_or_default();
        let meaning = one_line(description);
        let finding = Finding::error(
            &at,
            format!("the key `{key}` is missing"),
            format!("`{key}`: {}", meaning.trim_end_matches('.')),
        );
        let typo = entries.iter().find(|entry| {
            properties.is_some_and(|known| !known.contains_key(&entry.key))
                && alike(key, &entry.key)
        });
        match typo {
            Some(typo) => finding.help(format!("is {} meant to be `{key}`?", quoted(&typo.key))),
            None => finding,
        }
    }

    fn unknown_key(&self, entry: &Entry, path: &str, parent: &str, allowed: &[&str]) -> Finding {
        let at = At {
            mark: entry.mark,
            path: path.to_owned(),
        };
        let key = &entry.key;
        if parent.contains(".tokens[") && LITERAL_KEYS.contains(&key.to_ascii_lowercase().as_str())
        {
            return literal_secret(&at);
        }
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
        let finding = Finding::error(
            at,
            format!("the word {}", quoted(&scalar.raw)),
            choice(words.iter().copied()),
        );
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
            Value::Number(number)
                if text_expected && forms.iter().any(|form| title(form).is_some()) =>
            {
                finding.help(format!("a unit is missing: `{number}s`?"))
            }
            Value::Bool(_) | Value::Number(_) if text_expected => {
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
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => finding,
        };
        findings.add(finding);
        false
    }

    fn wrong_type(&self, at: &At, found: &str, forms: &[&Json], findings: &mut Findings) -> bool {
        findings.hide(at.mark);
        findings.add(Finding::error(at, found, expectation(forms)));
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

fn expectation(forms: &[&Json]) -> String {
    if let Some(title) = forms.iter().find_map(|form| title(form)) {
        return title.to_owned();
    }
    let words: Vec<&str> = forms.iter().copied().flat_map(words).collect();
    let mut kinds: Vec<String> = Vec::new();
    if !words.is_empty() {
        kinds.push(choice(words.iter().copied()));
    }
    let names = [
        ("object", "a mapping of keys to values"),
        ("array", "a list"),
        ("string", "text"),
        ("integer", "a whole number of at least 0"),
        ("boolean", "`true` or `false`"),
    ];
    for (kind, name) in names {
        let plain = |form: &&&Json| has_type(form, kind) && words_of(form).is_empty();
        if forms.iter().any(|form| plain(&form)) {
            kinds.push(name.to_owned());
        }
    }
    kinds.join(" or ")
}

fn words_of(form: &Json) -> Vec<&str> {
    words(form).collect()
}

/// The words a form is limited to; none where any text will do.
fn words(form: &Json) -> impl Iterator<Item = &str> {
    let listed = form.get("enum").and_then(Json::as_array);
    let single = form.get("const").into_iter();
    listed
        .into_iter()
        .flatten()
        .chain(single)
        .filter_map(Json::as_str)
}

fn title(form: &Json) -> Option<&str> {
    // The document has a title as well, but that is a name and no expectation.
    if has_type(form, "object") {
        return None;
    }
    form.get("title").and_then(Json::as_str)
}

fn has_type(form: &Json, kind: &str) -> bool {
    match form.get("type") {
        Some(Json::String(own)) => own == kind,
        Some(Json::Array(kinds)) => kinds.iter().any(|own| own == kind),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) | None => false,
    }
}

fn alike(known: &str, given: &str) -> bool {
    likeness(known, given) >= LIKENESS
}

fn likeness(known: &str, given: &str) -> f64 {
    strsim::jaro_winkler(known, &given.to_ascii_lowercase().replace('-', "_"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// schemars lets every optional key be null. Here an empty value is a mistake: `tls:` with nothing below it.
fn without_null(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            let null = |value: &Json| {
                value == "null" || value.get("type").is_some_and(|kind| kind == "null")
            };
            for key in ["type", "anyOf", "enum"] {
                if let Some(Json::Array(list)) = map.get_mut(key) {
                    list.retain(|value| !null(value) && !value.is_null());
                    if let [only] = list.as_slice()
                        && key == "type"
                    {
                        let only = only.clone();
                        map.insert(key.into(), only);
                    }
                }
            }
            if map.get("default").is_some_and(Json::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(without_null);
        }
        Json::Array(list) => list.iter_mut().for_each(without_null),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
