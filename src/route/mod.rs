//! Routes: which requests belong together. Pure: no I/O, no clock, nothing of HTTP beyond host and path.
//!
//! The first configured route that matches wins. A table refuses, when it is built, any route that could never
//! win; so in a table that exists, order only decides where two routes overlap in part.
//!
//! Looking up costs one hash look-up for the exact path and one for each configured depth of `/*`, whatever the
//! number of routes.

mod path;
mod pattern;

pub use path::{PathError, check_path};
pub use pattern::{PathPattern, Pattern, PatternError};

use std::collections::HashMap;

/// Position of a route in configured order.
pub type RouteIndex = usize;

/// All routes, ready for look-up.
#[derive(Debug, Default)]
pub struct Table {
    any_host: Paths,
    hosts: HashMap<Box<str>, Paths>,
    longest_below: usize,
}

#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Box<str>, RouteIndex>,
    below: HashMap<Box<str>, RouteIndex>,
}

/// A route that can never win.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The route in question.
    pub route: RouteIndex,
    /// The earlier route that takes all its requests.
    pub earlier: RouteIndex,
    /// Whether both match exactly the same requests.
    pub same: bool,
}

impl Table {
    /// Builds the table.
    ///
    /// # Errors
    /// Every route that an earlier one hides.
    pub fn build(patterns: &[Pattern]) -> Result<Self, Vec<Conflict>> {
        let mut table = Self::default();
        let mut conflicts = Vec::new();
        for (route, pattern) in patterns.iter().enumerate() {
            if let Some(earlier) = table.covering(pattern) {
                let same = patterns.get(earlier) == Some(pattern);
                conflicts.push(Conflict {
                    route,
                    earlier,
                    same,
                });
                continue;
            }
            table.insert(pattern, route);
        }
        if conflicts.is_empty() {
            Ok(table)
        } else {
            Err(conflicts)
        }
    }

    /// The route for a request. `host` is in lower case and without a port; `path` has passed [`check_path`].
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<RouteIndex> {
        let by_host = if self.hosts.is_empty() {
            None
        } else {
            host.and_then(|host| self.hosts.get(host))
        };
        let candidates = [by_host, Some(&self.any_host)];
        candidates
            .into_iter()
            .flatten()
            .filter_map(|paths| self.find_path(paths, path))
            .min()
    }

    /// Whether any route depends on the host; where none does, callers need not prepare one.
    pub fn uses_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    fn find_path(&self, paths: &Paths, path: &str) -> Option<RouteIndex> {
        let exact = paths.exact.get(path).copied();
        if paths.below.is_empty() {
            return exact;
        }
        // No pattern is longer than `longest_below`, so a path full of slashes costs no more than that.
        let slashes = path
            .bytes()
            .take(self.longest_below)
            .enumerate()
            .filter(|(_, byte)| *byte == b'/');
        let below = slashes
            .filter_map(|(at, _)| paths.below.get(path.get(..=at)?))
            .copied()
            .min();
        exact.into_iter().chain(below).min()
    }

    /// An earlier route that matches whatever `pattern` matches.
    fn covering(&self, pattern: &Pattern) -> Option<RouteIndex> {
        let own_host = pattern.host().and_then(|host| self.hosts.get(host));
        let candidates = [own_host, Some(&self.any_host)];
        let found = candidates
            .into_iter()
            .flatten()
            .filter_map(|paths| match pattern.path() {
                PathPattern::Exact(path) => self.find_path(paths, path),
                PathPattern::Below(prefix) => {
                    let slashes = prefix.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
                    slashes
                        .filter_map(|(at, _)| paths.below.get(prefix.get(..=at)?))
                        .copied()
                        .min()
                }
            });
        found.min()
    }

    fn insert(&mut self, pattern: &Pattern, route: RouteIndex) {
        let paths = match pattern.host() {
            Some(host) => self.hosts.entry(host.into()).or_default(),
            None => &mut self.any_host,
        };
        match pattern.path() {
            PathPattern::Exact(path) => paths.exact.insert(path.clone(), route),
            PathPattern::Below(prefix) => {
                self.longest_below = self.longest_below.max(prefix.len());
                paths.below.insert(prefix.clone(), route)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        let (host, path) = text
            .split_once(' ')
            .map_or((None, text), |(host, path)| (Some(host), path));
        Pattern::parse(host, path).unwrap()
    }

    fn table(routes: &[&str]) -> Result<Table, Vec<Conflict>> {
        Table::build(
            &routes
                .iter()
                .map(|route| pattern(route))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn finds_the_first_route_that_matches() {
        let table = table(&["a.test /x", "/x", "/x/y", "/x/*", "b.test /*", "/z/deep/*"]).unwrap();
        let cases = [
            (Some("a.test"), "/x", Some(0)),
            (Some("b.test"), "/x", Some(1)),
            (None, "/x", Some(1)),
            (Some("a.test"), "/x/y", Some(2)),
            (Some("a.test"), "/x/", Some(3)),
            (Some("a.test"), "/x/y/z", Some(3)),
            (Some("b.test"), "/other", Some(4)),
            (Some("b.test"), "/x/other", Some(3)),
            (None, "/xy", None),
            (None, "/", None),
            (None, "/z/deep", None),
            (None, "/z/deep/er", Some(5)),
        ];
        for (host, path, expected) in cases {
            assert_eq!(table.find(host, path), expected, "{host:?} {path}");
        }
    }

    #[test]
    fn refuses_routes_that_never_win() {
        let cases: &[(&[&str], usize, usize, bool)] = &[
            (&["/x", "/x"], 1, 0, true),
            (&["/x", "a.test /x"], 1, 0, false),
            (&["/x/*", "/x/y"], 1, 0, false),
            (&["/*", "/x/*"], 1, 0, false),
            (&["/*", "a.test /x/*"], 1, 0, false),
            (&["a.test /*", "a.test /*"], 1, 0, true),
        ];
        for (routes, route, earlier, same) in cases {
            let expected = vec![Conflict {
                route: *route,
                earlier: *earlier,
                same: *same,
            }];
            assert_eq!(table(routes).err(), Some(expected), "{routes:?}");
        }
        assert!(table(&["/x/y", "/x/*", "a.test /z", "/z", "/*"]).is_ok());
    }
}
