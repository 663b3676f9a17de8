//! Names that become labels: what they may be, and what routes without one are called.

use std::collections::HashSet;

use super::document::Route;

/// Longest name, in characters: names are labels of metrics.
const LABEL_LENGTH: usize = 64;
/// Labels that stand for requests without a route.
const RESERVED: [&str; 3] = ["none", "other", "unknown"];

/// What is wrong with a text as a label, as an expectation.
pub(super) fn label_problem(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-[]".contains(c);
    if text.is_empty() || text.len() > LABEL_LENGTH || !text.chars().all(allowed) {
        Some(format!(
            "1 to {LABEL_LENGTH} of the characters A-Z a-z 0-9 . _ : -"
        ))
    } else if RESERVED.contains(&text) {
        Some("another name; this one stands for requests without one".into())
    } else {
        None
    }
}

/// The name of each route: its own, else made from its path, and from its host where that is needed.
pub(super) fn default_names(routes: &[Route]) -> Vec<String> {
    let mut taken: HashSet<String> = routes
        .iter()
        .filter_map(|route| route.name.clone())
        .collect();
    let names = routes.iter().map(|route| {
        if let Some(name) = &route.name {
            return name.clone();
        }
        let from_path = slug(route.path.as_deref().unwrap_or_default());
        let with_host = route
            .host
            .as_deref()
            .map(|host| slug(&format!("{host}/{from_path}")));
        let below = route
            .path
            .as_deref()
            .is_some_and(|path| path.ends_with("/*"));
        let with_below = below.then(|| format!("{from_path}-below"));
        let free = [Some(from_path.clone()), with_host, with_below]
            .into_iter()
            .flatten()
            .find(|name| !taken.contains(name));
        let name = free.unwrap_or(from_path);
        taken.insert(name.clone());
        name
    });
    names.collect()
}

fn slug(path: &str) -> String {
    let words: Vec<&str> = path
        .split(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() {
        return "root".into();
    }
    words.join("-").chars().take(LABEL_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_routes_after_their_paths() {
        let routes: Vec<Route> = [
            (None, "/redox"),
            (None, "/redox/*"),
            (Some("a.test"), "/redox"),
            (None, "/"),
            (None, "/a/b c/d"),
        ]
        .into_iter()
        .map(|(host, path)| Route {
            host: host.map(String::from),
            path: Some(path.into()),
            ..Route::default()
        })
        .collect();
        let names = default_names(&routes);
        assert_eq!(
            names,
            ["redox", "redox-below", "a.test-redox", "root", "a-b-c-d"]
        );
    }

    #[test]
    fn labels_are_short_and_plain() {
        let long = "x".repeat(65);
        for (text, good) in [
            ("redox-production_2026.11", true),
            ("0.0.0.0:8443", true),
            ("", false),
            ("with space", false),
            ("none", false),
            ("grün", false),
            (long.as_str(), false),
        ] {
            assert_eq!(label_problem(text).is_none(), good, "{text}");
        }
    }
}
