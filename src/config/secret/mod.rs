//! Secrets: where they come from and which are refused. No secret, no service.
//!
//! A value is in memory only until its digest is made. What a finding says of a secret is its route, its id, where
//! it came from and which rule it breaks: never the value, its length or a part of it.

mod content;
mod key;
mod rules;

pub use content::{read_at_most, read_secret};
pub(super) use key::audit_key;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::certificate::io_text;
use rules::{Problem, problem};

use super::context::Context;
use super::document::TokenEntry;
use super::interpolate::is_name;
use super::label::label_problem;
use super::mask::looks_secret;
use super::tree::{HIDDEN, item_path, may_be_secret};
use super::value::{self, point_in_time, time_text};
use super::{Unusable, diagnostic};
use crate::verify::{DIGEST_LENGTH, Token, TokenSet, UnixTime};

/// The variable in which systemd names the directory of credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// In place of a name that looks as if it were the secret.
const NOT_SHOWN: &str = "(not shown, it looks like a secret)";
const SOURCES: &str = "exactly one of `env`, `file`, `credential` or `sha256`";

/// Reads all tokens of a route; `None` where one of them cannot be used.
pub(super) fn tokens(
    context: &mut Context<'_>,
    route: &str,
    path: &str,
    entries: &[TokenEntry],
) -> Option<TokenSet> {
    if entries.is_empty() {
        if !context.lost(path) {
            let help = "without a token every request would be refused: { id: \"2026-11\", env: REDOX_TOKEN }";
            context.error_help(path, "no tokens", "at least one token", help);
        }
        return None;
    }
    let mut tokens: Vec<(String, Token)> = Vec::new();
    let mut ids: Vec<(&str, String)> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = item_path(path, index);
        let unique = unique_id(context, &path, entry, &ids);
        if let Some(id) = entry.id.as_deref() {
            ids.push((id, path.clone()));
        }
        let id = context.shown(&format!("{path}.id"));
        let token = Reader {
            title: format!("route {}, token {id}", diagnostic::quoted(route)),
            what: &TOKEN,
            context,
            path: &path,
            sources: [
                ("env", &entry.env),
                ("file", &entry.file),
                ("credential", &entry.credential),
                ("sha256", &entry.sha256),
            ],
        }
        .token(entry);
        let Some(token) = token.filter(|_| unique) else {
            continue;
        };
        if !check_id(context, &path, &token) {
            continue;
        }
        let twin = tokens.iter().find(|(_, other)| other.same_secret(&token));
        if let Some((_, twin)) = twin {
            let found = format!(
                "token `{}` has the same secret as token `{}`",
                token.id(),
                twin.id()
            );
            let help =
                "with one secret under two names nobody can tell which of them is still in use";
            context.error_help(&path, found, "a secret of its own for each token", help);
        }
        tokens.push((path, token));
    }
    let complete = tokens.len() == entries.len() && !context.lost(path);
    expired(context, path, &tokens, complete);
    if !complete {
        return None;
    }
    TokenSet::new(tokens.into_iter().map(|(_, token)| token).collect()).ok()
}

fn unique_id(
    context: &mut Context<'_>,
    path: &str,
    entry: &TokenEntry,
    seen: &[(&str, String)],
) -> bool {
    let Some(id) = entry.id.as_deref() else {
        return false;
    };
    let id_path = format!("{path}.id");
    if let Some(problem) = label_problem(id) {
        let found = if looks_secret(id) {
            context.hide(&id_path);
            "an id that looks like a secret".to_owned()
        } else {
            format!("the id {}", context.shown(&id_path))
        };
        context.error(&id_path, found, problem);
        return false;
    }
    if let Some((_, first)) = seen.iter().find(|(other, _)| *other == id) {
        let line = context.line(&format!("{first}.id"));
        let found = format!(
            "a second token with the id {}; the first is in line {line}",
            context.shown(&id_path)
        );
        context.error(
            &id_path,
            found,
            "an id of its own for each token of a route",
        );
        return false;
    }
    true
}

/// An id goes into logs and metrics, so it must not be the secret.
fn check_id(context: &mut Context<'_>, path: &str, token: &Token) -> bool {
    let path = format!("{path}.id");
    let expected = "a name such as 2026-11";
    let same = token.same_secret(&Token::from_value(token.id(), token.id().as_bytes(), None));
    if same {
        context.hide(&path);
        let help =
            "an id is shown in logs and metrics; give it a name such as the month it was made";
        context.error_help(&path, "a token that is its own id", expected, help);
    } else if looks_secret(token.id()) {
        context.hide(&path);
        let help = "an id is shown in logs and metrics; it must not be made from the token";
        context.warn_help(&path, "an id that looks like a secret", expected, help);
    }
    !same
}

/// A token past its end is a leftover; only such tokens are an outage.
fn expired(context: &mut Context<'_>, path: &str, tokens: &[(String, Token)], complete: bool) {
    let now = context.now;
    let ended = |token: &Token| token.not_after().is_some_and(|end| end < now);
    let all = complete && tokens.iter().all(|(_, token)| ended(token));
    for (path, token) in tokens.iter().filter(|(_, token)| ended(token)) {
        let end = token.not_after().map(time_text).unwrap_or_default();
        let found = format!("token `{}` ended at {end}", token.id());
        let help = "take it out";
        context.warn_help(
            &format!("{path}.not_after"),
            found,
            "a point in time to come",
            help,
        );
    }
    if all {
        let found = "only tokens that have ended";
        context.error_help(
            path,
            found,
            "a token that is valid now",
            "every request would be refused",
        );
    }
}

/// What a secret is for, in the words of findings.
struct What {
    sources: &'static str,
    /// Name of a variable that it may be in.
    variable: &'static str,
    key: bool,
}

const TOKEN: What = What {
    sources: SOURCES,
    variable: "REDOX_TOKEN",
    key: false,
};

struct Reader<'c, 'a, 'd> {
    context: &'c mut Context<'a>,
    title: String,
    what: &'d What,
    path: &'d str,
    sources: [(&'static str, &'d Option<String>); 4],
}

impl<'d> Reader<'_, '_, 'd> {
    fn token(mut self, entry: &TokenEntry) -> Option<Token> {
        let not_after = self.not_after(entry);
        let id = entry.id.as_deref()?;
        let (key, value) = self.source()?;
        if key == "sha256" {
            let digest = self.digest(value)?;
            return Some(Token::from_digest(id, digest, not_after?));
        }
        let secret = self.secret(key, value)?;
        Some(Token::from_value(id, &secret, not_after?))
    }

    /// The only source that is given.
    fn source(&mut self) -> Option<(&'static str, &'d str)> {
        let given = self.sources.iter();
        let mut given = given.filter_map(|(key, value)| Some((*key, value.as_deref()?)));
        let first = given.next();
        let several = given.next().is_some();
        if first.is_none() && !self.context.lost(self.path) {
            let found = format!("{} has no source", self.title);
            let help = format!("name the environment variable: env: {}", self.what.variable);
            self.context
                .error_help(self.path, found, self.what.sources, help);
        }
        if several {
            let found = format!("{} has several sources", self.title);
            self.context.error(self.path, found, self.what.sources);
        }
        first.filter(|_| !several)
    }

    /// The value, from a source that is no digest.
    fn secret(&mut self, key: &'static str, value: &str) -> Option<Vec<u8>> {
        let (source, secret) = match key {
            "env" => (self.env_source(value)?, self.env_value(value)),
            "file" => {
                let path = self.context.resolve(value);
                let shown = self.shown_name("file", value);
                (format!("file {shown}"), self.file_value("file", &path))
            }
            _ => {
                let path = self.credential_path(value)?;
                let shown = self.shown_name("credential", value);
                let source = format!("systemd credential {shown}");
                (source, self.file_value("credential", &path))
            }
        };
        let secret = match secret {
            Ok(secret) => secret,
            Err(problem) => {
                self.refuse(key, &source, problem);
                return None;
            }
        };
        if let Some(problem) = problem(&secret) {
            self.refuse(key, &source, problem);
            return None;
        }
        Some(secret)
    }

    /// The outer `None`: it could not be read.
    #[expect(clippy::option_option, reason = "unreadable and absent are two things")]
    fn not_after(&mut self, entry: &TokenEntry) -> Option<Option<UnixTime>> {
        let Some(text) = &entry.not_after else {
            return Some(None);
        };
        let parsed = point_in_time(text);
        if parsed.is_none() {
            let path = format!("{}.not_after", self.path);
            let odd = text.contains(|c: char| c.is_alphabetic() && !matches!(c, 'T' | 'Z'));
            let found = if odd && may_be_secret(&path, text) {
                self.context.hide(&path);
                HIDDEN.to_owned()
            } else {
                format!("the date {}", self.context.shown(&path))
            };
            self.context.error(&path, found, value::TIME);
        }
        parsed.map(Some)
    }

    fn digest(&mut self, text: &str) -> Option<[u8; DIGEST_LENGTH]> {
        let path = format!("{}.sha256", self.path);
        self.context.hide(&path);
        let mut digest = [0; DIGEST_LENGTH];
        let pairs = text.as_bytes().chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|_| pair.is_ascii())?;
            let valid = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
            u8::from_str_radix(text, 16).ok().filter(|_| valid)
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        let Some(bytes) = bytes.filter(|bytes| bytes.len() == DIGEST_LENGTH) else {
            let found = format!("{}: no SHA-256 digest", self.title);
            let help = "printf %s \"$TOKEN\" | sha256sum (without a line break in what is hashed)";
            self.context
                .error_help(&path, found, "64 hexadecimal digits", help);
            return None;
        };
        digest.copy_from_slice(&bytes);
        if WEAK_DIGESTS.contains(&bytes.as_slice()) {
            let found = format!("{}: the digest of an empty secret", self.title);
            let help = "the secret was not there when it was hashed";
            self.context
                .error_help(&path, found, "the digest of a token", help);
            return None;
        }
        Some(digest)
    }

    fn env_source(&mut self, name: &str) -> Option<String> {
        if is_name(name) {
            return Some(format!(
                "environment variable {}",
                self.shown_name("env", name)
            ));
        }
        let path = format!("{}.env", self.path);
        let found = if name.contains('$') {
            format!("{}: `env` holds a reference", self.title)
        } else {
            self.context.hide(&path);
            format!(
                "{}: `env` holds something that is no variable name",
                self.title
            )
        };
        let help = format!(
            "`env` takes the name itself, without `$` and braces: env: {}",
            self.what.variable
        );
        self.context
            .error_help(&path, found, "the name of an environment variable", help);
        None
    }

    fn env_value(&self, name: &str) -> Result<Vec<u8>, Problem> {
        match self.context.env.variable(name) {
            Ok(value) => Ok(value.into_bytes()),
            Err(Unusable::Unset) => Err(Problem::Unset),
            Err(Unusable::NotText) => Err(Problem::Characters),
        }
    }

    fn credential_path(&mut self, name: &str) -> Option<PathBuf> {
        let path = format!("{}.credential", self.path);
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            let found = format!("{}: no credential name", self.title);
            let help = "the name given in LoadCredential=, without a directory";
            self.context.error_help(&path, found, "a plain name", help);
            return None;
        }
        match self.context.env.variable(CREDENTIALS) {
            Ok(directory) => Some(Path::new(&directory).join(name)),
            Err(Unusable::Unset | Unusable::NotText) => {
                let found = format!("{}: {CREDENTIALS} is not set", self.title);
                let help = "add LoadCredential=NAME:/path/to/file to the systemd unit";
                self.context.error_help(
                    &path,
                    found,
                    "a service started by systemd with credentials",
                    help,
                );
                None
            }
        }
    }

    fn file_value(&mut self, key: &str, path: &Path) -> Result<Vec<u8>, Problem> {
        let file = File::open(path).map_err(|error| Problem::File(io_text(error.kind())))?;
        let metadata = file
            .metadata()
            .map_err(|error| Problem::File(io_text(error.kind())))?;
        if metadata.is_dir() {
            return Err(Problem::File("it is a directory".into()));
        }
        // systemd hands out credentials under a directory that only the service can enter.
        if key == "file" && super::certificate::readable_by_all(&metadata) {
            let place = format!("{}.{key}", self.path);
            let shown = self.shown_name("file", &path.to_string_lossy());
            let found = format!(
                "{}: every user of this machine can read its file",
                self.title
            );
            let help = format!("chmod o= {}", shown.trim_matches('`'));
            self.context
                .warn_help(&place, found, "a file for its owner and group", help);
        }
        read_secret(file).map_err(|error| {
            if error.kind() == io::ErrorKind::FileTooLarge {
                Problem::TooLarge
            } else {
                Problem::File(io_text(error.kind()))
            }
        })
    }

    fn refuse(&mut self, key: &str, source: &str, problem: Problem) {
        let (what, mut expected, mut help) = problem.words();
        if self.what.key {
            expected = "a random key of at least 16 visible characters";
            help = "`countersign token new` makes a good one; keep a copy for `countersign audit verify`";
        }
        let path = format!("{}.{key}", self.path);
        let found = format!("{}: {source} {what}", self.title);
        let help = if source.ends_with(NOT_SHOWN) {
            format!(
                "`{key}` takes a name; if the secret itself stands here, it has been seen: use a fresh one"
            )
        } else {
            help.to_owned()
        };
        self.context.error_help(&path, found, expected, help);
    }

    /// The name of a source, unless it looks as if somebody put the secret there.
    fn shown_name(&mut self, key: &str, name: &str) -> String {
        if looks_secret(name) {
            self.context.hide(&format!("{}.{key}", self.path));
            return NOT_SHOWN.into();
        }
        self.context.shown(&format!("{}.{key}", self.path))
    }
}

/// The digest of nothing and of one line break.
const WEAK_DIGESTS: [&[u8]; 2] = [
    b"\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8\x99\x6f\xb9\x24\x27\xae\x41\xe4\x64\x9b\x93\x4c\xa4\x95\x99\x1b\x78\x52\xb8\x55",
    b"\x01\xba\x47\x19\xc8\x0b\x6f\xe9\x11\xb0\x91\xa7\xc0\x51\x24\xb6\x4e\xee\xce\x96\x4e\x09\xc0\x58\xef\x8f\x98\x05\xda\xca\x54\x6b",
];
