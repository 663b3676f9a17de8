//! Secrets: where they come from and which are refused. No secret, no service.
//!
//! A value is in memory only until its digest is made. What a finding says of a secret is its route, its id, where
//! it came from and which rule it breaks: never the value, its length or a part of it.

mod rules;

use std::fs::File;
use std::io::Read as _;
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

/// Largest secret file, in bytes; a header line that carries a token must fit into a request head.
const FILE_CAP: u64 = 4 * 1024;
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
        let token = Reader {
            context,
            route,
            path: &path,
            entry,
        }
        .read();
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

struct Reader<'c, 'a, 'd> {
    context: &'c mut Context<'a>,
    route: &'d str,
    path: &'d str,
    entry: &'d TokenEntry,
}

impl Reader<'_, '_, '_> {
    fn read(mut self) -> Option<Token> {
        let not_after = self.not_after();
        let entry = self.entry;
        let id = entry.id.as_deref()?;
        let sources = [&entry.env, &entry.file, &entry.credential, &entry.sha256];
        match sources.iter().filter(|source| source.is_some()).count() {
            1 => {}
            0 => {
                if !self.context.lost(self.path) {
                    let help = "name the environment variable: env: REDOX_TOKEN";
                    let found = format!("{} has no source", self.title());
                    self.context.error_help(self.path, found, SOURCES, help);
                }
                return None;
            }
            _ => {
                let found = format!("{} has several sources", self.title());
                self.context.error(self.path, found, SOURCES);
                return None;
            }
        }
        if let Some(digest) = &entry.sha256 {
            let digest = self.digest(digest)?;
            return Some(Token::from_digest(id, digest, not_after?));
        }
        let (key, source, secret) = if let Some(name) = &entry.env {
            ("env", self.env_source(name)?, self.env_value(name))
        } else if let Some(file) = &entry.file {
            let path = self.context.resolve(file);
            let shown = self.shown_name("file", file);
            (
                "file",
                format!("file {shown}"),
                self.file_value("file", &path),
            )
        } else {
            let name = entry.credential.as_deref()?;
            let path = self.credential_path(name)?;
            let shown = self.shown_name("credential", name);
            let source = format!("systemd credential {shown}");
            ("credential", source, self.file_value("credential", &path))
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
        Some(Token::from_value(id, &secret, not_after?))
    }

    /// The outer `None`: it could not be read.
    #[expect(clippy::option_option, reason = "unreadable and absent are two things")]
    fn not_after(&mut self) -> Option<Option<UnixTime>> {
        let Some(text) = &self.entry.not_after else {
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
            let found = format!("{}: no SHA-256 digest", self.title());
            let help = "printf %s \"$TOKEN\" | sha256sum (without a line break in what is hashed)";
            self.context
                .error_help(&path, found, "64 hexadecimal digits", help);
            return None;
        };
        digest.copy_from_slice(&bytes);
        if WEAK_DIGESTS.contains(&bytes.as_slice()) {
            let found = format!("{}: the digest of an empty secret", self.title());
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
            format!("{}: `env` holds a reference", self.title())
        } else {
            self.context.hide(&path);
            format!(
                "{}: `env` holds something that is no variable name",
                self.title()
            )
        };
        let help = "`env` takes the name itself, without `$` and braces: env: REDOX_TOKEN";
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
            let found = format!("{}: no credential name", self.title());
            let help = "the name given in LoadCredential=, without a directory";
            self.context.error_help(&path, found, "a plain name", help);
            return None;
        }
        match self.context.env.variable(CREDENTIALS) {
            Ok(directory) => Some(Path::new(&directory).join(name)),
            Err(Unusable::Unset | Unusable::NotText) => {
                let found = format!("{}: {CREDENTIALS} is not set", self.title());
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
                self.title()
            );
            let help = format!("chmod o= {}", shown.trim_matches('`'));
            self.context
                .warn_help(&place, found, "a file for its owner and group", help);
        }
        let mut secret = Vec::new();
        file.take(FILE_CAP + 1)
            .read_to_end(&mut secret)
            .map_err(|error| Problem::File(io_text(error.kind())))?;
        if u64::try_from(secret.len()).is_ok_and(|length| length > FILE_CAP) {
            return Err(Problem::TooLarge);
        }
        if secret.last() == Some(&b'\n') {
            secret.pop();
            if secret.last() == Some(&b'\r') {
                secret.pop();
            }
        }
        Ok(secret)
    }

    fn refuse(&mut self, key: &str, source: &str, problem: Problem) {
        let (what, expected, help) = problem.words();
        let path = format!("{}.{key}", self.path);
        let found = format!("{}: {source} {what}", self.title());
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

    fn title(&self) -> String {
        let id = self.context.shown(&format!("{}.id", self.path));
        format!("route {}, token {id}", diagnostic::quoted(self.route))
    }
}

/// The digest of nothing and of one line break.
const WEAK_DIGESTS: [&[u8]; 2] = [
    b"\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8\x99\x6f\xb9\x24\x27\xae\x41\xe4\x64\x9b\x93\x4c\xa4\x95\x99\x1b\x78\x52\xb8\x55",
    b"\x01\xba\x47\x19\xc8\x0b\x6f\xe9\x11\xb0\x91\xa7\xc0\x51\x24\xb6\x4e\xee\xce\x96\x4e\x09\xc0\x58\xef\x8f\x98\x05\xda\xca\x54\x6b",
];
