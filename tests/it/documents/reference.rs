//! `docs/configuration.md` has every setting as the code has it: the tables in it are made from the JSON Schema, and
//! the bounds by asking the check what it expects of a value that is out of them.
//!
//! What is between the tables is written by hand. `tests/config/since.txt` has the version that brought each setting.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use countersign::config::{self, Severity, Unusable};
use rustls_pki_types::CertificateDer;
use serde_json::Value as Json;
use serde_yaml::Value as Yaml;

use super::root;
use crate::support::{TOKEN, now};

const PAGE: &str = "docs/configuration.md";
const SINCE: &str = "tests/config/since.txt";
/// Set, this has the test write the page instead.
const WRITE: &str = "COUNTERSIGN_WRITE_DOCS";
const COMMAND: &str = "COUNTERSIGN_WRITE_DOCS=1 cargo test --locked --test it documents::reference";

/// A configuration with every section that has a number, a size or a time in it.
const FULL: &str = "
listeners: [{ address: 127.0.0.1:0, tls: { self_signed: [localhost] } }]
admin: { address: 127.0.0.1:9090 }
limits: {}
failed_verifications: {}
timeouts: {}
routes:
  - path: /redox
    verify: { scheme: redox, tokens: [{ id: one, env: REDOX_TOKEN }] }
    upstream: { url: http://127.0.0.1:6661, max_connections: 10, health_check: { path: /health } }
    limits: {}
    timeouts: {}
";

/// The kinds of value whose bounds are asked for, each with a value that is out of them.
const ASKED: [(&str, &str); 5] = [
    ("whole number", "18446744073709551615"),
    ("size", "999999GiB"),
    ("duration", "9999d"),
    ("duration or `off`", "9999d"),
    ("rate", "9999999999/s"),
];

struct Setting {
    path: String,
    kind: String,
    default: String,
    meaning: String,
}

struct Machine;

impl config::Environment for Machine {
    fn variable(&self, name: &str) -> Result<String, Unusable> {
        match name {
            "REDOX_TOKEN" => Ok(TOKEN.to_owned()),
            _ => Err(Unusable::Unset),
        }
    }

    fn resolve(&self, _: &str) -> Vec<IpAddr> {
        vec![IpAddr::from([127, 0, 0, 1])]
    }

    fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }

    fn processors(&self) -> usize {
        2
    }
}

/// Every setting, by the section it is in.
fn sections() -> BTreeMap<String, Vec<Setting>> {
    let schema: Json = serde_json::from_str(&config::schema()).unwrap();
    let mut sections = BTreeMap::new();
    collect(&schema, &schema, "", &mut sections);
    sections
}

/// Paths of all settings, without the marks of lists.
pub(super) fn paths() -> Vec<String> {
    let settings = sections().into_values().flatten();
    settings
        .map(|setting| setting.path.replace("[]", ""))
        .collect()
}

fn collect(root: &Json, object: &Json, path: &str, all: &mut BTreeMap<String, Vec<Setting>>) {
    let required: Vec<&str> = object["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    for (key, schema) in object["properties"].as_object().unwrap() {
        let own = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let forms = forms(root, schema);
        let setting = Setting {
            kind: kind(root, &forms),
            default: default(schema, &forms, required.contains(&key.as_str()), &own),
            meaning: meaning(schema, &forms),
            path: own.clone(),
        };
        all.entry(path.to_owned()).or_default().push(setting);
        for form in forms {
            if form.get("properties").is_some() {
                collect(root, form, &own, all);
            } else if let Some(items) = form.get("items") {
                let inner = self::forms(root, items);
                for form in inner
                    .into_iter()
                    .filter(|form| form.get("properties").is_some())
                {
                    collect(root, form, &format!("{own}[]"), all);
                }
            }
        }
    }
}

/// A schema with references followed and alternatives laid side by side.
fn forms<'s>(root: &'s Json, schema: &'s Json) -> Vec<&'s Json> {
    if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
        let target = root.pointer(name.strip_prefix('#').unwrap()).unwrap();
        return forms(root, target);
    }
    let alternatives = ["anyOf", "oneOf"]
        .iter()
        .find_map(|key| schema.get(key)?.as_array());
    match alternatives {
        Some(forms_of_it) => forms_of_it
            .iter()
            .flat_map(|form| forms(root, form))
            .collect(),
        None => vec![schema],
    }
}

fn words(forms: &[&Json]) -> Vec<String> {
    let words = forms.iter().flat_map(|form| {
        let listed = form
            .get("enum")
            .and_then(Json::as_array)
            .into_iter()
            .flatten();
        listed.chain(form.get("const"))
    });
    words.filter_map(Json::as_str).map(str::to_owned).collect()
}

fn kind(root: &Json, forms: &[&Json]) -> String {
    let words = words(forms);
    let mut kinds: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    for form in forms {
        let title = form.get("title").and_then(Json::as_str).unwrap_or_default();
        let of = form["type"].as_str().unwrap_or("several");
        let kind = match (of, title) {
            (_, title) if title.starts_with("a size") => "size",
            (_, title) if title.ends_with("or `off`") => "duration or `off`",
            (_, title) if title.starts_with("a duration") => "duration",
            (_, title) if title.starts_with("a rate") => "rate",
            (_, title) if title.starts_with("an IP address") => "address and port",
            ("string", _) if words.is_empty() => "text",
            ("string", _) => continue,
            ("integer", _) => "whole number",
            ("boolean", _) => "`true` or `false`",
            ("object", _) => "section",
            ("array", _) => {
                let inner = self::forms(root, &form["items"]);
                let sections = inner.iter().any(|form| form.get("properties").is_some());
                if sections {
                    "list of sections"
                } else {
                    "list of texts"
                }
            }
            (other, _) => panic!("a kind of setting that has no name yet: {other}"),
        };
        kinds.push(kind.to_owned());
    }
    match kinds.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => kinds.concat(),
    }
}

fn default(schema: &Json, forms: &[&Json], required: bool, path: &str) -> String {
    let is_section = forms.iter().any(|form| form.get("properties").is_some());
    let meaning = schema["description"].as_str().unwrap_or_default();
    // What is worked out at the start has no value in the schema, but words.
    let said = meaning.split_once("the default is ").map(|(_, said)| {
        let said = said.split(['.', ';']).next().unwrap_or_default();
        said.split_whitespace().collect::<Vec<_>>()
    });
    match schema.get("default") {
        _ if required => "required".to_owned(),
        Some(Json::Object(_)) => "its own defaults".to_owned(),
        Some(Json::Array(list)) if list.is_empty() => "empty".to_owned(),
        Some(Json::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
        None if is_section => "none".to_owned(),
        None if said.is_some() => said.unwrap_or_default().join(" "),
        None => match path.strip_prefix("routes[].") {
            Some(general) if general.starts_with("limits.") || general.starts_with("timeouts.") => {
                format!("that of `{general}`")
            }
            Some(_) | None => "none".to_owned(),
        },
    }
}

fn meaning(schema: &Json, forms: &[&Json]) -> String {
    let text = schema["description"]
        .as_str()
        .expect("a setting without a description");
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let explained = forms.iter().filter(|form| form.get("const").is_some());
    let explained: Vec<String> = explained
        .filter_map(|form| Some((form["const"].as_str()?, form["description"].as_str()?)))
        // Of a section that can be turned off, the text above says so.
        .filter(|(_, description)| *description != "Turned off.")
        .map(|(word, description)| {
            let description = description.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("`{word}`: {}", description.trim_end_matches('.'))
        })
        .collect();
    if !explained.is_empty() {
        let _ = write!(text, " {}.", explained.join("; "));
    }
    // A bar would end the cell.
    text.replace('|', "\\|")
}

/// What the check says of a value: `expected` of an error about this very setting.
fn objection(path: &str, value: &str) -> Option<String> {
    let mut file: Yaml = serde_yaml::from_str(FULL).unwrap();
    let value: Yaml = serde_yaml::from_str(value).unwrap();
    let mut place = &mut file;
    for part in path.split('.') {
        let (key, in_list) = part
            .strip_suffix("[]")
            .map_or((part, false), |key| (key, true));
        let map = place.as_mapping_mut().unwrap();
        place = map.entry(key.into()).or_insert(Yaml::Null);
        if in_list {
            place = &mut place.as_sequence_mut().unwrap()[0];
        }
    }
    *place = value;
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("gateway.yaml");
    fs::write(&name, serde_yaml::to_string(&file).unwrap()).unwrap();
    let report = config::load(&name, &Machine, now());
    let path = path.replace("[]", "[0]");
    let error =
        |finding: &&config::Finding| finding.path == path && finding.severity == Severity::Error;
    let finding = report.findings.iter().find(error);
    finding.map(|finding| finding.expected.clone())
}

/// The bounds of a setting, and nothing where its kind has none.
fn bounds(setting: &Setting) -> String {
    let Some((_, beyond)) = ASKED.iter().find(|(kind, _)| *kind == setting.kind) else {
        return String::new();
    };
    let told = objection(&setting.path, beyond);
    let told = told.unwrap_or_else(|| panic!("{} has no bound", setting.path));
    // What a text looks like is its kind, and no bound of it.
    if let Some((low, high)) = told.split_once(" to ") {
        hold(setting, low, high);
    }
    told
}

/// A bound is one: what is on it is taken, what is beyond is not.
fn hold(setting: &Setting, low: &str, high: &str) {
    for (value, step) in [(low, -1_i64), (high, 1)] {
        let at = objection(&setting.path, value);
        assert_eq!(at, None, "{}: {value} is refused", setting.path);
        if let Some(beyond) = moved(value, step) {
            let refused = objection(&setting.path, &beyond).is_some();
            assert!(refused, "{}: {beyond} is taken", setting.path);
        }
    }
}

/// The value one step on, in its smallest unit; `None` below nothing.
fn moved(value: &str, step: i64) -> Option<String> {
    let end = value
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let (factor, smallest): (i64, &str) = match unit {
        "" => (1, ""),
        "B" => (1, "B"),
        "KiB" => (1 << 10, "B"),
        "MiB" => (1 << 20, "B"),
        "GiB" => (1 << 30, "B"),
        "ms" => (1, "ms"),
        "s" => (1_000, "ms"),
        "m" => (60_000, "ms"),
        "h" => (3_600_000, "ms"),
        _ => panic!("an unknown unit: {value}"),
    };
    let moved = number.parse::<i64>().unwrap() * factor + step;
    (moved >= 0).then(|| format!("{moved}{smallest}"))
}

/// The version that brought each setting.
fn since() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(SINCE)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once(' ').expect("a version and a setting"));
    pairs
        .map(|(version, path)| (path.to_owned(), version.to_owned()))
        .collect()
}

fn table(settings: &[Setting], since: &mut BTreeMap<String, String>) -> String {
    let mut table = "| setting | type | default | bounds | meaning | since |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for setting in settings {
        let version = since.remove(&setting.path);
        let version = version.unwrap_or_else(|| {
            panic!(
                "{SINCE} lacks a line: {} {}",
                env!("CARGO_PKG_VERSION"),
                setting.path
            )
        });
        let key = setting.path.rsplit('.').next().unwrap();
        let _ = writeln!(
            table,
            "| `{key}` | {} | {} | {} | {} | {version} |",
            setting.kind,
            setting.default,
            bounds(setting),
            setting.meaning
        );
    }
    table
}

/// The page with its tables made anew.
fn renewed(page: &str) -> String {
    let mut sections = sections();
    let mut since = since();
    let mut pieces = page.split("<!-- settings: ");
    let mut text = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (path, rest) = piece.split_once(" -->\n").expect("the end of a mark");
        let (_, behind) = rest.split_once("<!-- end -->").expect("the end of a table");
        let name = if path == "(top level)" { "" } else { path };
        let settings = sections.remove(name);
        let settings = settings.unwrap_or_else(|| panic!("{PAGE}: no section `{path}`, or twice"));
        let _ = write!(
            text,
            "<!-- settings: {path} -->\n{}<!-- end -->{behind}",
            table(&settings, &mut since)
        );
    }
    let missing: Vec<&String> = sections.keys().collect();
    assert!(
        missing.is_empty(),
        "{PAGE} lacks `<!-- settings: … -->` for {missing:?}"
    );
    let gone: Vec<&String> = since.keys().collect();
    assert!(
        gone.is_empty(),
        "{SINCE} has settings that do not exist: {gone:?}"
    );
    text
}

#[test]
fn the_configuration_reference_is_what_the_code_says() {
    let file = root().join(PAGE);
    let page = fs::read_to_string(&file).unwrap();
    let renewed = renewed(&page);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, renewed).unwrap();
        return;
    }
    let differs = page
        .lines()
        .zip(renewed.lines())
        .find(|(old, new)| old != new);
    if let Some((old, new)) = differs {
        panic!(
            "{PAGE} is not what the code says. It has\n  {old}\nand should have\n  {new}\nWrite it anew: {COMMAND}"
        );
    }
    assert_eq!(page.len(), renewed.len(), "write {PAGE} anew: {COMMAND}");
}

#[test]
fn the_file_with_every_setting_has_every_setting() {
    let text = fs::read_to_string(Path::new(root()).join("gateway.yaml")).unwrap();
    for path in paths() {
        let key = path.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("{key}:")),
            "gateway.yaml lacks {path}"
        );
    }
}
