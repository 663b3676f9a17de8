//! Reading the JSON Schema: what a form allows, and how to say that.
//!
//! Not here: comparing a file with it (`shape`).

use serde_json::Value as Json;

use super::diagnostic::choice;

/// Likeness from which on a key is taken for a typing mistake.
pub(super) const LIKENESS: f64 = 0.8;

pub(super) fn expectation(forms: &[&Json]) -> String {
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
pub(super) fn words(form: &Json) -> impl Iterator<Item = &str> {
    let listed = form.get("enum").and_then(Json::as_array);
    let single = form.get("const").into_iter();
    listed
        .into_iter()
        .flatten()
        .chain(single)
        .filter_map(Json::as_str)
}

pub(super) fn title(form: &Json) -> Option<&str> {
    // The document has a title as well, but that is a name and no expectation.
    if has_type(form, "object") {
        return None;
    }
    form.get("title").and_then(Json::as_str)
}

pub(super) fn has_type(form: &Json, kind: &str) -> bool {
    match form.get("type") {
        Some(Json::String(own)) => own == kind,
        Some(Json::Array(kinds)) => kinds.iter().any(|own| own == kind),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) | None => false,
    }
}

pub(super) fn alike(known: &str, given: &str) -> bool {
    likeness(known, given) >= LIKENESS
}

pub(super) fn likeness(known: &str, given: &str) -> f64 {
    strsim::jaro_winkler(known, &given.to_ascii_lowercase().replace('-', "_"))
}

/// The first sentence of a description, as the end of a message.
pub(super) fn first_sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = text.split(". ").next().unwrap_or_default();
    let sentence = sentence.trim_end_matches('.');
    let mut chars = sentence.chars();
    match (chars.next(), chars.clone().next()) {
        // Not for "IP address" and the like.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            format!("{}{}", first.to_lowercase(), chars.as_str())
        }
        (Some(_) | None, Some(_) | None) => sentence.to_owned(),
    }
}

/// schemars lets every optional key be null. Here an empty value is a mistake: `tls:` with nothing below it.
pub(super) fn without_null(schema: &mut Json) {
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
