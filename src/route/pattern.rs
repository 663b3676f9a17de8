//! What a route matches: a host or any, and one path or all below one.

use std::fmt;

use super::{PathError, check_path};

/// A route's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    host: Option<Box<str>>,
    path: PathPattern,
}

/// The path part of a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This path and no other.
    Exact(Box<str>),
    /// `/redox/*`: the prefix including its last slash, and all below it.
    Below(Box<str>),
}

/// Why a host or path cannot be a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// Does not begin with a slash.
    NoLeadingSlash,
    /// A `*` elsewhere than alone in the last segment.
    Star,
    /// Has a query or a fragment.
    QueryOrFragment,
    /// No request with such a path would be let through.
    Path(PathError),
    /// Empty, with a port, or with characters that no host name has.
    Host,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeadingSlash => f.write_str("a path that begins with a slash"),
            Self::Star => f.write_str("a star only as the whole last segment, as in /redox/*"),
            Self::QueryOrFragment => f.write_str("a path without ? and #"),
            Self::Path(error) => write!(f, "a path without {error}"),
            Self::Host => f.write_str("a host name without scheme and port"),
        }
    }
}

impl Pattern {
    /// Reads a pattern as it stands in the configuration.
    ///
    /// # Errors
    /// [`PatternError`] says what was expected instead.
    pub fn parse(host: Option<&str>, path: &str) -> Result<Self, PatternError> {
        let host = host.map(parse_host).transpose()?;
        Ok(Self {
            host,
            path: PathPattern::parse(path)?,
        })
    }

    /// The host in lower case; `None` for every host.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The path part.
    pub fn path(&self) -> &PathPattern {
        &self.path
    }
}

/// As it stands in the configuration: host and path without a space between.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host.as_deref().unwrap_or_default())?;
        match &self.path {
            PathPattern::Exact(path) => f.write_str(path),
            PathPattern::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl PathPattern {
    fn parse(text: &str) -> Result<Self, PatternError> {
        if !text.starts_with('/') {
            return Err(PatternError::NoLeadingSlash);
        }
        if text.contains(['?', '#']) {
            return Err(PatternError::QueryOrFragment);
        }
        let (path, below) = match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => (prefix, true),
            Some(_) => return Err(PatternError::Star),
            None => (text, false),
        };
        if path.contains('*') {
            return Err(PatternError::Star);
        }
        check_path(path).map_err(PatternError::Path)?;
        Ok(if below {
            Self::Below(path.into())
        } else {
            Self::Exact(path.into())
        })
    }
}

fn parse_host(host: &str) -> Result<Box<str>, PatternError> {
    let name =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_';
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let valid = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(name),
    };
    if valid {
        Ok(host.to_ascii_lowercase().into())
    } else {
        Err(PatternError::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_it_was_written() {
        for (host, path) in [
            (None, "/redox"),
            (None, "/*"),
            (Some("a.test"), "/redox/*"),
            (Some("[::1]"), "/"),
        ] {
            let shown = Pattern::parse(host, path).unwrap().to_string();
            assert_eq!(shown, format!("{}{path}", host.unwrap_or("")));
        }
    }

    #[test]
    fn reads_what_the_configuration_may_hold() {
        let cases = [
            (None, "/redox", Ok(())),
            (None, "/redox/*", Ok(())),
            (None, "/*", Ok(())),
            (Some("EHR.example.org"), "/", Ok(())),
            (Some("[::1]"), "/", Ok(())),
            (None, "redox", Err(PatternError::NoLeadingSlash)),
            (None, "/redox*", Err(PatternError::Star)),
            (None, "/*/redox", Err(PatternError::Star)),
            (None, "/redox?x", Err(PatternError::QueryOrFragment)),
            (
                None,
                "/a/../b",
                Err(PatternError::Path(PathError::DotSegment)),
            ),
            (
                None,
                "//a",
                Err(PatternError::Path(PathError::EmptySegment)),
            ),
            (Some(""), "/", Err(PatternError::Host)),
            (Some("a:8443"), "/", Err(PatternError::Host)),
            (Some("https://a"), "/", Err(PatternError::Host)),
            (Some("[zz]"), "/", Err(PatternError::Host)),
        ];
        for (host, path, expected) in cases {
            assert_eq!(
                Pattern::parse(host, path).map(|_| ()),
                expected,
                "{host:?} {path}"
            );
        }
    }
}
