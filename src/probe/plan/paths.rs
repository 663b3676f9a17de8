//! Paths that are not the one of the route, or are it in another spelling; always with a wrong token.

use super::{FIELD, SYNTHETIC};
use crate::probe::check::{Check, Expect};
use crate::probe::report::Group;
use crate::probe::request::Request;
use crate::probe::values::Values;
use crate::probe::{Target, Token};

const UNKNOWN: &str =
    "paths that nobody configured lead to the backend unverified: answer 404 to all but the routes";
const SPELLING: &str = "this spelling of the path goes round the check: refuse paths that have two readings, or check \
                        after they are made plain";

/// See the module.
pub(super) fn paths(target: &Target, token: &Token, values: &mut Values) -> Vec<Check> {
    let path = target.path();
    let unknown = format!(
        "/countersign-probe-{}",
        values.hex().get(..12).unwrap_or_default()
    );
    let spelled = [
        (
            "path-slashes",
            "the path with two slashes",
            Some(format!("/{path}")),
        ),
        ("path-dot", "the path behind /./", Some(format!("/.{path}"))),
        (
            "path-dots",
            "the path behind /x/../",
            Some(format!("/x/..{path}")),
        ),
        (
            "path-escaped-dot",
            "the path behind /%2e/",
            Some(format!("/%2e{path}")),
        ),
        (
            "path-escaped",
            "the path, a letter escaped",
            escaped_letter(path),
        ),
        ("path-case", "the path in other letters", other_case(path)),
        (
            "path-end",
            "the path, its last slash put or taken",
            other_end(path),
        ),
    ];
    let check = |id, sent, path: String, wrong: &str, advice| {
        let request = Request::new(target, "POST").path(path).field(FIELD, wrong);
        let request = request.json(SYNTHETIC.to_owned()).bytes();
        Check::new(id, Group::Path, sent, Expect::Refused, request, advice)
    };
    let mut checks = vec![check(
        "path-unknown",
        "an unknown path",
        unknown,
        &token.other(values),
        UNKNOWN,
    )];
    for (id, sent, path) in spelled {
        let wrong = token.other(values);
        checks.extend(path.map(|path| check(id, sent, path, &wrong, SPELLING)));
    }
    checks
}

/// The first letter as `%xx`.
fn escaped_letter(path: &str) -> Option<String> {
    let (at, letter) = path
        .char_indices()
        .find(|(_, letter)| letter.is_ascii_alphabetic())?;
    let (before, after) = (path.get(..at)?, path.get(at + 1..)?);
    Some(format!("{before}%{:02x}{after}", u32::from(letter)))
}

fn other_case(path: &str) -> Option<String> {
    let capitals = path.to_ascii_uppercase();
    let other = if capitals == path {
        path.to_ascii_lowercase()
    } else {
        capitals
    };
    (other != path).then_some(other)
}

fn other_end(path: &str) -> Option<String> {
    match path.strip_suffix('/') {
        Some("") => None,
        Some(shorter) => Some(shorter.to_owned()),
        None => Some(format!("{path}/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_differ_from_the_path() {
        assert_eq!(escaped_letter("/redox").as_deref(), Some("/%72edox"));
        assert_eq!(escaped_letter("/7"), None);
        assert_eq!(other_case("/redox").as_deref(), Some("/REDOX"));
        assert_eq!(other_case("/REDOX").as_deref(), Some("/redox"));
        assert_eq!(other_case("/7"), None);
        assert_eq!(other_end("/redox").as_deref(), Some("/redox/"));
        assert_eq!(other_end("/redox/").as_deref(), Some("/redox"));
        assert_eq!(other_end("/"), None);
    }
}
