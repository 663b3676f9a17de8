//! Variables in values: `${NAME}` and `${NAME:-default}`.
//!
//! A literal `${` is written `$${`. Keys are left alone, and so is `env` of a token or key, which takes a variable's name.
//! What comes out of a variable is not looked at again, and no finding shows it. The variable of such a secret gives its value to
//! nothing else: names, paths and the like end up in logs and metrics.

use std::collections::BTreeSet;

use serde_yaml::Value;

use super::diagnostic::{At, Finding, Findings, quoted};
use super::tree::{Kind, Node, Scalar, item_path, key_path};
use super::{Environment, Unusable};

/// Why a text cannot be completed.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Unset(String),
    NotText(String),
    Secret(String),
    Unfinished,
    Name,
}

/// Where values come from.
struct Variables<'e> {
    env: &'e dyn Environment,
    /// Those that hold a token or a key.
    secret: BTreeSet<String>,
}

/// Puts variables into all values below `node`; takes out values that cannot be completed.
pub(super) fn interpolate(node: &mut Node, env: &dyn Environment, findings: &mut Findings) {
    let mut secret = BTreeSet::new();
    find_secret(node, "", &mut secret);
    walk(node, "", &Variables { env, secret }, findings);
}

/// The variables that tokens and keys come from.
fn find_secret(node: &Node, path: &str, secret: &mut BTreeSet<String>) {
    match &node.kind {
        Kind::Scalar(scalar) => {
            if is_variable_name(path) {
                secret.insert(scalar.raw.clone());
            }
        }
        Kind::List(items) => {
            for item in items {
                find_secret(&item.node, &item_path(path, item.index), secret);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                find_secret(&entry.node, &key_path(path, &entry.key), secret);
            }
        }
    }
}

/// Whether the node can stay.
fn walk(node: &mut Node, path: &str, variables: &Variables<'_>, findings: &mut Findings) -> bool {
    let mark = node.mark;
    let mut lost = false;
    match &mut node.kind {
        Kind::Scalar(scalar) => {
            let path = path.to_owned();
            return complete(scalar, &At { mark, path }, variables, findings);
        }
        Kind::List(items) => items.retain_mut(|item| {
            let stays = walk(
                &mut item.node,
                &item_path(path, item.index),
                variables,
                findings,
            );
            lost |= !stays;
            stays
        }),
        Kind::Map(entries) => entries.retain_mut(|entry| {
            let path = key_path(path, &entry.key);
            let stays =
                is_variable_name(&path) || walk(&mut entry.node, &path, variables, findings);
            lost |= !stays;
            stays
        }),
    }
    node.lost |= lost;
    true
}

fn is_variable_name(path: &str) -> bool {
    path.ends_with("].env") && path.contains(".tokens[") || path == "audit.key.env"
}

fn complete(
    scalar: &mut Scalar,
    at: &At,
    variables: &Variables<'_>,
    findings: &mut Findings,
) -> bool {
    let Value::String(text) = &scalar.value else {
        return true;
    };
    if !text.contains("${") {
        return true;
    }
    match expand(text, variables) {
        Ok(text) => {
            scalar.replace(&text);
            true
        }
        Err(problem) => {
            findings.add(report(&problem, at));
            false
        }
    }
}

fn report(problem: &Problem, at: &At) -> Finding {
    match problem {
        Problem::Unset(name) => Finding::error(
            at,
            format!(
                "the environment variable {} is not set, or empty",
                quoted(name)
            ),
            "a variable with a value, or a default",
        )
        .help(format!("set it, or write `${{{name}:-default}}`")),
        Problem::NotText(name) => Finding::error(
            at,
            format!(
                "the environment variable {} is not UTF-8 text",
                quoted(name)
            ),
            "a variable that holds text",
        ),
        Problem::Secret(name) => Finding::error(
            at,
            format!("the variable {}, which holds a token", quoted(name)),
            "a variable of its own",
        )
        .help("a token belongs below `tokens` and nowhere else: names and paths are shown in logs and metrics"),
        Problem::Unfinished => Finding::error(at, "a `${` without its `}`", "`${NAME}`")
            .help("a `${` that stands for itself is written `$${`"),
        Problem::Name => Finding::error(
            at,
            "no variable name between `${` and `}`",
            "`${NAME}` or `${NAME:-default}`, the name of letters, digits and underscores",
        )
        .help("a `${` that stands for itself is written `$${`"),
    }
}

fn expand(text: &str, variables: &Variables<'_>) -> Result<String, Problem> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (inner, after) = after.split_once('}').ok_or(Problem::Unfinished)?;
        out.push_str(&variable(inner, variables)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inner: &str, variables: &Variables<'_>) -> Result<String, Problem> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err(Problem::Name);
    }
    if variables.secret.contains(name) {
        return Err(Problem::Secret(name.to_owned()));
    }
    // As in a shell, `:-` covers a variable that is set to nothing as well.
    match (variables.env.variable(name), default) {
        (Ok(value), _) if !value.is_empty() => Ok(value),
        (Ok(_) | Err(Unusable::Unset), Some(default)) => Ok(default.to_owned()),
        (Ok(_) | Err(Unusable::Unset), None) => Err(Problem::Unset(name.to_owned())),
        (Err(Unusable::NotText), _) => Err(Problem::NotText(name.to_owned())),
    }
}

/// Whether a shell could set a variable of this name.
pub(super) fn is_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Fake;

    #[test]
    fn puts_variables_in() {
        let env = Fake::with(&[("HOST", "10.0.0.1"), ("EMPTY", ""), ("DOLLAR", "${HOST}")]);
        let variables = Variables {
            env: &env,
            secret: BTreeSet::from(["TOKEN".to_owned()]),
        };
        let cases = [
            ("plain", Ok("plain")),
            ("http://${HOST}:1", Ok("http://10.0.0.1:1")),
            ("${HOST}${HOST}", Ok("10.0.0.110.0.0.1")),
            ("${NONE:-x}", Ok("x")),
            ("${NONE:-}", Ok("")),
            ("${EMPTY:-x}", Ok("x")),
            ("${EMPTY}", Err(Problem::Unset("EMPTY".into()))),
            ("${DOLLAR}", Ok("${HOST}")),
            ("$${HOST}", Ok("${HOST}")),
            ("$HOST", Ok("$HOST")),
            ("${NONE}", Err(Problem::Unset("NONE".into()))),
            ("${HOST", Err(Problem::Unfinished)),
            ("${}", Err(Problem::Name)),
            ("${1A}", Err(Problem::Name)),
            ("${A B}", Err(Problem::Name)),
            ("a-${TOKEN:-x}", Err(Problem::Secret("TOKEN".into()))),
        ];
        for (text, expected) in cases {
            assert_eq!(
                expand(text, &variables),
                expected.map(String::from),
                "{text}"
            );
        }
    }
}
