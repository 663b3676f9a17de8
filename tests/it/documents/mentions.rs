//! What the text mentions exists: commands, settings and metrics, wherever they stand in backticks.

use std::collections::BTreeSet;
use std::fs;

use super::markdown::{pages, prose, split_code};
use super::{reference, root};

/// Words of the documents in place of arguments that are no text.
const PLACEHOLDERS: [(&str, &str); 2] = [("SHELL", "bash"), ("NUMBER", "1")];

/// Whether our own command line understands these arguments.
pub(super) fn ours(arguments: &[String]) -> Result<(), String> {
    understood(arguments, false)
}

/// The same; a command that is only named may lack what it has to be given.
fn understood(arguments: &[String], named: bool) -> Result<(), String> {
    use clap::error::ErrorKind;
    let arguments = arguments.iter().map(|word| {
        let word = word.trim_matches(['…', '[', ']']);
        let known = PLACEHOLDERS.iter().find(|(name, _)| *name == word);
        known.map_or(word, |(_, value)| value)
    });
    let all = std::iter::once("countersign").chain(arguments.filter(|word| !word.is_empty()));
    match countersign::cli::grammar().try_get_matches_from(all) {
        Ok(_) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            Ok(())
        }
        Err(error) if named && error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Names of all metrics, as the source has them, and of what the rules record beside them.
fn metrics() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root().join("deploy/prometheus"))
        .into_iter()
        .flatten()
    {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(path).unwrap_or_default();
        let recorded = text.lines().filter_map(|line| line.split_once("record: "));
        let parts = recorded.flat_map(|(_, name)| name.trim().split(':'));
        names.extend(parts.map(str::to_owned));
    }
    for entry in fs::read_dir(root().join("src/telemetry/metrics")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let strings = text.split('"').skip(1).step_by(2);
        let full = strings.filter(|text| {
            text.strip_prefix("countersign_")
                .is_some_and(|rest| rest.chars().all(is_word))
        });
        names.extend(full.map(str::to_owned));
    }
    names
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
}

/// Whether this is one of ours, or a series that Prometheus makes of one.
pub(super) fn is_metric(name: &str) -> bool {
    let known = metrics();
    let series = ["", "_bucket", "_sum", "_count"].iter();
    series
        .filter_map(|end| name.strip_suffix(end))
        .any(|name| known.contains(name))
}

/// Whether every word that looks like a metric of ours is one. With an underscore at its end: the beginning of several.
pub(super) fn metrics_exist(text: &str) -> Result<(), String> {
    let words = text.split(|letter| !is_word(letter));
    let mut ours = words.filter(|word| word.starts_with("countersign_") && !word.ends_with('_'));
    match ours.find(|word| !is_metric(word)) {
        Some(word) => Err(format!("no metric `{word}`")),
        None => Ok(()),
    }
}

#[test]
fn what_the_text_mentions_exists() {
    let settings = reference::paths();
    let mut problems = Vec::new();
    for page in pages(root()) {
        for code in split_code(&prose(&page.text)).0 {
            let mut say = |problem: String| problems.push(format!("{}: {problem}", page.path));
            if let Some(arguments) = code.strip_prefix("countersign ") {
                let words: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
                if let Err(problem) = understood(&words, true) {
                    say(format!("`{code}`: {problem}"));
                }
            }
            if let Err(problem) = metrics_exist(&code) {
                say(problem);
            }
            if let Some(setting) = looks_like_a_setting(&code)
                && !settings
                    .iter()
                    .any(|path| path == &setting || path.ends_with(&format!(".{setting}")))
            {
                say(format!("no setting `{setting}`"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// `section.key`, perhaps with a value behind it.
fn looks_like_a_setting(code: &str) -> Option<String> {
    const SECTIONS: [&str; 14] = [
        "admin",
        "audit",
        "failed_verifications",
        "health_check",
        "limits",
        "listeners",
        "log",
        "routes",
        "timeouts",
        "tls",
        "tokens",
        "upstream",
        "verify",
        "watch_files",
    ];
    let path = code
        .split([':', ' '])
        .next()?
        .replace("[]", "")
        .replace("[0]", "");
    let (first, rest) = path.split_once('.')?;
    let file = ["yaml", "jsonl", "crt", "key", "pem", "md", "rs"];
    let is_setting = SECTIONS.contains(&first)
        && rest
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(is_word))
        && !(rest.split('.').count() == 1 && first == "tls" && file.contains(&rest))
        && rest != "jsonl";
    is_setting.then_some(path)
}

#[test]
fn settings_are_told_from_file_names() {
    assert_eq!(
        looks_like_a_setting("timeouts.drain: 1s").as_deref(),
        Some("timeouts.drain")
    );
    assert_eq!(looks_like_a_setting("audit.jsonl"), None);
    assert_eq!(looks_like_a_setting("tls.crt"), None);
    assert_eq!(looks_like_a_setting("gateway.yaml"), None);
    assert!(is_metric("countersign_request_duration_seconds_bucket"));
    assert!(!is_metric("countersign_request_duration"));
}
