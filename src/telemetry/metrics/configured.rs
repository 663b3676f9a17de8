//! What is configured: the names of which every series is made, whoever counts in them.

use std::collections::HashMap;
use std::sync::Arc;

/// A listener.
#[derive(Clone, Debug)]
pub struct ConfiguredListener {
    /// Its name.
    pub name: Arc<str>,
    /// Most connections.
    pub limit: usize,
}

/// A route.
#[derive(Clone, Debug)]
pub struct ConfiguredRoute {
    /// Its name.
    pub name: Arc<str>,
    /// The name of its upstream.
    pub upstream: Arc<str>,
    /// In configured order.
    pub tokens: Vec<ConfiguredToken>,
}

/// A token.
#[derive(Clone, Debug)]
pub struct ConfiguredToken {
    /// The operator's name for it.
    pub id: Arc<str>,
    /// The last second in which it is accepted, in seconds since 1970.
    pub not_after: Option<u64>,
}

impl ConfiguredToken {
    /// Whether somebody has set its end.
    pub(super) fn state(&self) -> TokenState {
        match self.not_after {
            None => TokenState::Active,
            Some(_) => TokenState::Retiring,
        }
    }
}

/// What the configuration says of a token's future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenState {
    /// It has no end.
    Active,
    /// It has one.
    Retiring,
}

impl TokenState {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }
}

/// An upstream.
#[derive(Clone, Debug)]
pub struct ConfiguredUpstream {
    /// Its name.
    pub name: Arc<str>,
    /// The names of its endpoints.
    pub endpoints: Vec<Arc<str>>,
}

/// Everything that a plan has names for.
#[derive(Debug, Default)]
pub struct Configured {
    pub(super) routes: Vec<ConfiguredRoute>,
    pub(super) upstreams: Vec<ConfiguredUpstream>,
}

impl Configured {
    /// Of these. Routes have names of their own; upstreams of one name are one, and so are endpoints of one name in
    /// an upstream.
    pub fn new(
        routes: impl Iterator<Item = ConfiguredRoute>,
        upstreams: impl Iterator<Item = ConfiguredUpstream>,
    ) -> Self {
        let mut positions: HashMap<Arc<str>, usize> = HashMap::new();
        let mut merged: Vec<ConfiguredUpstream> = Vec::new();
        for upstream in upstreams {
            let position = *positions
                .entry(Arc::clone(&upstream.name))
                .or_insert(merged.len());
            if position == merged.len() {
                merged.push(ConfiguredUpstream {
                    name: upstream.name,
                    endpoints: Vec::new(),
                });
            }
            let Some(known) = merged.get_mut(position) else {
                continue;
            };
            for endpoint in upstream.endpoints {
                if !known.endpoints.contains(&endpoint) {
                    known.endpoints.push(endpoint);
                }
            }
        }
        Self {
            routes: routes.collect(),
            upstreams: merged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_of_one_name_are_one() {
        let upstream = |endpoints: &[&str]| ConfiguredUpstream {
            name: "u".into(),
            endpoints: endpoints.iter().map(|name| (*name).into()).collect(),
        };
        let both = [upstream(&["a", "b"]), upstream(&["b", "c"])];
        let configured = Configured::new(std::iter::empty(), both.into_iter());
        assert_eq!(configured.upstreams.len(), 1);
        let endpoints: Vec<&str> = configured.upstreams[0]
            .endpoints
            .iter()
            .map(AsRef::as_ref)
            .collect();
        assert_eq!(endpoints, ["a", "b", "c"]);
    }

    /// A URL may be configured twice; its series may not be told twice.
    #[test]
    fn endpoints_of_one_name_are_one() {
        let upstream = ConfiguredUpstream {
            name: "u".into(),
            endpoints: vec!["a".into(), "b".into(), "a".into()],
        };
        let configured = Configured::new(std::iter::empty(), std::iter::once(upstream));
        let endpoints: Vec<&str> = configured.upstreams[0]
            .endpoints
            .iter()
            .map(AsRef::as_ref)
            .collect();
        assert_eq!(endpoints, ["a", "b"]);
    }
}
