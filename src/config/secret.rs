//! Secrets: where they come from and which are refused. No secret, no service.
//!
//! A value is in memory only until its digest is made. What a finding says of a secret is its route, its id, where
//! it came from and which rule it breaks: never the value, its length or a part of it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::compile::Context;
use super::document::TokenEntry;
use super::interpolate::is_name;
use super::mask::looks_secret;
use super::source::item_path;
use super::value::{self, point_in_time, time_text};
use super::{Unusable, diagnostic};
use crate::verify::{DIGEST_LENGTH, Token, TokenSet, UnixTime};

/// Shortest secret that is accepted, in bytes.
const MINIMUM_LENGTH: usize = 16;
/// Largest secret file, in bytes; a header line that carries a token must fit into a request head.
const FILE_CAP: u64 = 4 * 1024;
/// The variable in which systemd names the directory of credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Words of texts that stand where a secret is to come.
const PLACEHOLDER_WORDS: [&str; 38] = [
    "a",
    "api",
    "auth",
    "change",
    "default",
    "demo",
    "dummy",
    "ehr",
    "example",
    "fixme",
    "foo",
    "bar",
    "here",
    "insert",
    "it",
    "key",
    "me",
    "my",
    "of",
    "password",
    "placeholder",
    "please",
    "production",
    "put",
    "real",
    "redox",
    "replace",
    "sample",
    "secret",
    "shared",
    "some",
    "test",
    "the",
    "this",
    "to",
    "todo",
    "token",
    "verification",
];
const FILLER_WORDS: [&str; 8] = [
    "with", "your", "webhook", "value", "pass", "word", "new", "now",
];
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
    if let Some(problem) = super::compile::label_problem(id) {
        let shown = if looks_secret(id) {
            context.hide(&id_path);
            "an id that looks like a secret".to_owned()
        } else {
            format!("the id {}", context.shown(&id_path))
        };
        context.error(&id_path, shown, problem);
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
            let found = self.context.shown(&path);
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
                let help = format!("add LoadCredential={name}:/path/to/file to the systemd unit");
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
        let file = File::open(path).map_err(|error| Problem::File(error.kind().to_string()))?;
        let metadata = file
            .metadata()
            .map_err(|error| Problem::File(error.kind().to_string()))?;
        if metadata.is_dir() {
            return Err(Problem::File("is a directory".into()));
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
            .map_err(|error| Problem::File(error.kind().to_string()))?;
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
        self.context.error_help(&path, found, expected, help);
    }

    /// The name of a source, unless it looks as if somebody put the secret there.
    fn shown_name(&mut self, key: &str, name: &str) -> String {
        if looks_secret(name) {
            self.context.hide(&format!("{}.{key}", self.path));
            return "(not shown, it looks like a secret)".into();
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

/// Which rule a secret breaks.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Unset,
    File(String),
    TooLarge,
    Empty,
    Blank,
    Placeholder,
    WhiteSpace,
    Characters,
    TooShort,
}

impl Problem {
    /// What it is, what was expected, what to do.
    fn words(&self) -> (String, &'static str, &'static str) {
        let fresh = "`countersign token new` makes a good one; set the same at the sender";
        let what = match self {
            Self::File(problem) => {
                let what = format!("cannot be read: {problem}");
                return (
                    what,
                    "a file that holds the token",
                    "look at the path and at who may read it",
                );
            }
            Self::Unset => {
                let help = "set it in the environment of the service; in a shell: export NAME=…";
                return ("is not set".into(), "a variable that holds the token", help);
            }
            Self::TooLarge => {
                return (
                    "is larger than 4 KiB".into(),
                    "a file that holds one token and nothing else",
                    fresh,
                );
            }
            Self::WhiteSpace => {
                let help = "look for a stray line break, space or tab; one line break at the end of a file is fine";
                return (
                    "holds white space".into(),
                    "a token without white space",
                    help,
                );
            }
            Self::Empty => "is empty",
            Self::Blank => "is blank",
            Self::Placeholder => "holds a placeholder",
            Self::Characters => "holds characters that no header can carry",
            Self::TooShort => "holds a secret that is too short",
        };
        (
            what.into(),
            "a random token of at least 16 visible characters",
            fresh,
        )
    }
}

fn problem(secret: &[u8]) -> Option<Problem> {
    if secret.is_empty() {
        return Some(Problem::Empty);
    }
    if secret.iter().all(u8::is_ascii_whitespace) {
        return Some(Problem::Blank);
    }
    if placeholder(secret) {
        return Some(Problem::Placeholder);
    }
    if secret.iter().any(u8::is_ascii_whitespace) {
        return Some(Problem::WhiteSpace);
    }
    // RFC 9110 §5.5: what a field value can carry on every path; other bytes arrive changed or not at all.
    if !secret.iter().all(u8::is_ascii_graphic) {
        return Some(Problem::Characters);
    }
    (secret.len() < MINIMUM_LENGTH).then_some(Problem::TooShort)
}

/// Whether this stands where a secret was to come, or is as easy to guess.
fn placeholder(secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(secret).trim().to_ascii_lowercase();
    let wrapped = [
        ("<", ">"),
        ("${", "}"),
        ("{{", "}}"),
        ("[", "]"),
        ("%", "%"),
    ];
    let is_wrapped = wrapped
        .iter()
        .any(|(open, close)| text.starts_with(open) && text.ends_with(close));
    is_wrapped || is_pattern(text.as_bytes()) || only_placeholder_words(&text)
}

/// One piece of at most eight bytes over and over, or mostly a row such as `abcdef` or `123456`.
fn is_pattern(text: &[u8]) -> bool {
    let repeats = |period: usize| {
        text.len() >= 2 * period
            && text
                .iter()
                .zip(text.iter().skip(period))
                .all(|(a, b)| a == b)
    };
    let steps = text.iter().zip(text.iter().skip(1));
    let rising = steps.filter(|(a, b)| a.checked_add(1) == Some(**b)).count();
    (1..=8).any(repeats) || rising * 4 >= text.len() * 3
}

fn only_placeholder_words(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let mut words = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .peekable();
    let any = words.peek().is_some();
    any && digits <= 8 && words.all(|word| is_made_of_words(word, 8))
}

/// Whether a word is a row of at most `most` placeholder words, such as `yourtoken`.
fn is_made_of_words(text: &str, most: usize) -> bool {
    text.is_empty()
        || most > 0
            && PLACEHOLDER_WORDS
                .iter()
                .chain(&FILLER_WORDS)
                .filter_map(|word| text.strip_prefix(word))
                .any(|rest| is_made_of_words(rest, most - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_secret() {
        let cases: [(&[u8], Option<Problem>); 28] = [
            (b"", Some(Problem::Empty)),
            (b"  \t ", Some(Problem::Blank)),
            (b"changeme", Some(Problem::Placeholder)),
            (b"CHANGE-ME", Some(Problem::Placeholder)),
            (b"change-me-please-now", Some(Problem::Placeholder)),
            (b"<token>", Some(Problem::Placeholder)),
            (
                b"<your verification token here>",
                Some(Problem::Placeholder),
            ),
            (b"${REDOX_TOKEN}", Some(Problem::Placeholder)),
            (b"{{ .Values.token }}", Some(Problem::Placeholder)),
            (b"secret", Some(Problem::Placeholder)),
            (b"password", Some(Problem::Placeholder)),
            (b"password12345678", Some(Problem::Placeholder)),
            (b"your-token-here", Some(Problem::Placeholder)),
            (b"your-verification-token-here", Some(Problem::Placeholder)),
            (b"my-secret-token-12345", Some(Problem::Placeholder)),
            (b"replaceMeWithToken", Some(Problem::Placeholder)),
            (b"xxxxxxxxxxxxxxxxxxxxxxxx", Some(Problem::Placeholder)),
            (b"0000000000000000", Some(Problem::Placeholder)),
            (b"1234567812345678", Some(Problem::Placeholder)),
            (b"f47ac10b 58cc4372a567", Some(Problem::WhiteSpace)),
            (b"f47ac10b58cc4372a567\n", Some(Problem::WhiteSpace)),
            (b"f47ac10b58cc4372a567\x07", Some(Problem::Characters)),
            (b"f47ac10b58cc4372a567\xc3\xa9", Some(Problem::Characters)),
            (b"f47ac10b58cc437", Some(Problem::TooShort)),
            (b"f47ac10b58cc4372", None),
            (b"0123456789abcdef", Some(Problem::Placeholder)),
            (b"token-f47ac10b58cc4372", None),
            (b"correct-horse-battery-staple", None),
        ];
        for (secret, expected) in cases {
            assert_eq!(problem(secret), expected, "{}", secret.escape_ascii());
        }
    }
}
