//! The vectors of `tests/vectors`: recorded requests, each with the verdict it must get.
//!
//! Here they are only read; `scheme` runs them through the verification core, and tests with sockets send the
//! same requests over a connection. The format and the tokens are described in `tests/vectors/README.md`. A
//! file that does not follow the format is a failure with its name, never a case that is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use countersign::verify::{
    BodyLength, ChallengeMethod, ChallengePolicy, Redox, ReplyFormat, Scheme, Token, TokenSet,
    UnixTime,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;

/// Without an expiry.
pub(crate) const CURRENT: &str = "c0rrect-h0rse-battery-staple-2026-11";
/// Valid until [`PREVIOUS_NOT_AFTER`].
pub(crate) const PREVIOUS: &str = "0ld-but-still-valid-t0ken-2026-05";
/// Valid until [`EXPIRED_NOT_AFTER`], which is in the past.
pub(crate) const EXPIRED: &str = "expired-t0ken-from-2025-11-aaaa";
/// 2026-12-31T00:00:00Z
pub(crate) const PREVIOUS_NOT_AFTER: UnixTime = UnixTime(1_798_675_200);
/// 2025-12-01T00:00:00Z
pub(crate) const EXPIRED_NOT_AFTER: UnixTime = UnixTime(1_764_547_200);
/// The clock of a vector that has none of its own: 2026-11-24T00:00:00Z
pub(crate) const NOW: UnixTime = UnixTime(1_795_478_400);

/// The tokens of every vector, in configured order.
pub(crate) fn tokens() -> TokenSet {
    TokenSet::new(vec![
        Token::from_value("2026-11", CURRENT.as_bytes(), None),
        Token::from_value("2026-05", PREVIOUS.as_bytes(), Some(PREVIOUS_NOT_AFTER)),
        Token::from_value("2025-11", EXPIRED.as_bytes(), Some(EXPIRED_NOT_AFTER)),
    ])
    .unwrap()
}

/// One case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    /// What it is and why it matters.
    pub(crate) about: String,
    /// Where the rule comes from.
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) scheme: Settings,
    /// Seconds since 1970; [`NOW`] unless given.
    now: Option<u64>,
    pub(crate) request: Request,
    pub(crate) expect: Expectation,
}

/// The route's settings, under the names and with the defaults of the configuration.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) challenge: Switch,
    pub(crate) reply: Format,
    pub(crate) authorization_bearer: bool,
    pub(crate) challenge_body: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            challenge: Switch::Answer,
            reply: Format::Text,
            authorization_bearer: false,
            challenge_body: 4096,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    Answer,
    Off,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Text,
    Json,
}

/// What is sent. There is no path and no host: those are chosen by whoever sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    method: String,
    pub(crate) query: Option<String>,
    #[serde(default)]
    headers: Vec<(String, Bytes)>,
    body: Option<String>,
    body_hex: Option<String>,
    body_repeat: Option<Repeat>,
    #[serde(default)]
    pub(crate) length: Length,
}

/// Text, or `{ hex: "…" }` for what is not UTF-8.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Hex(Hex),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hex {
    hex: String,
}

/// A long body: `unit` so many `times`, between `prefix` and `suffix`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    prefix: String,
    unit: String,
    times: usize,
    suffix: String,
}

/// How the body is announced.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Length {
    /// By `content-length`, or by its absence where there is no body.
    #[default]
    Exact,
    /// Chunked.
    Unknown,
}

/// What has to come of it. What is not given must not be there.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    pub(crate) verdict: Kind,
    /// The label of the contract.
    pub(crate) reason: Option<String>,
    /// How the challenge came, for an answer and for a refusal that counts as one.
    pub(crate) challenge: Option<Way>,
    /// The exact body of the answer.
    pub(crate) body: Option<String>,
    /// The id of the token that matched.
    pub(crate) token: Option<String>,
    /// Whether `Authorization` has to stay here.
    #[serde(default)]
    pub(crate) hide_authorization: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Forward,
    Answer,
    Refuse,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    Get,
    Post,
}

impl From<ChallengeMethod> for Way {
    fn from(method: ChallengeMethod) -> Self {
        match method {
            ChallengeMethod::Get => Self::Get,
            ChallengeMethod::Post => Self::Post,
        }
    }
}

impl Settings {
    /// The scheme of a route with these settings and [`tokens`].
    pub(crate) fn compile(&self) -> Scheme {
        let reply = match self.reply {
            Format::Text => ReplyFormat::Text,
            Format::Json => ReplyFormat::Json,
        };
        let challenge = match self.challenge {
            Switch::Off => ChallengePolicy::Off,
            Switch::Answer => ChallengePolicy::Answer {
                reply,
                body_cap: self.challenge_body,
            },
        };
        Scheme::Redox(Redox::new(tokens(), challenge, self.authorization_bearer))
    }
}

impl Vector {
    /// The time at which the request comes.
    pub(crate) fn now(&self) -> UnixTime {
        self.now.map_or(NOW, UnixTime)
    }

    /// The request's method.
    pub(crate) fn method(&self) -> Method {
        Method::from_bytes(self.request.method.as_bytes()).unwrap()
    }

    /// The header lines as written, in their order and case. Framing and `host` are never among them.
    pub(crate) fn header_lines(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        let lines = self.request.headers.iter();
        lines.map(|(name, value)| (name.as_str(), value.bytes()))
    }

    /// The header lines as a parser hands them on.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.header_lines() {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(&value).unwrap());
        }
        headers
    }

    /// The whole body; empty where there is none.
    pub(crate) fn body_bytes(&self) -> Vec<u8> {
        let request = &self.request;
        match (&request.body, &request.body_hex, &request.body_repeat) {
            (None, None, None) => Vec::new(),
            (Some(text), None, None) => text.clone().into_bytes(),
            (None, Some(hex), None) => from_hex(hex),
            (None, None, Some(repeat)) => repeat.bytes(),
            _ => panic!("a vector has at most one of body, body_hex and body_repeat"),
        }
    }

    /// How the body is announced.
    pub(crate) fn body_length(&self) -> BodyLength {
        match self.request.length {
            Length::Exact => BodyLength::Exact(self.body_bytes().len().try_into().unwrap()),
            Length::Unknown => BodyLength::Unknown,
        }
    }
}

impl Bytes {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Hex(Hex { hex }) => from_hex(hex),
        }
    }
}

impl Repeat {
    fn bytes(&self) -> Vec<u8> {
        let middle = self.unit.repeat(self.times);
        [self.prefix.as_str(), &middle, &self.suffix]
            .concat()
            .into_bytes()
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "half a byte: {hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Every vector with its name, in order of names.
pub(crate) fn all() -> Vec<(String, Vector)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/redox");
    let mut vectors = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert_eq!(path.extension().unwrap(), "yaml", "{name}: not a vector");
        let text = fs::read_to_string(&path).unwrap();
        let vector = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        vectors.insert(name, vector);
    }
    vectors.into_iter().collect()
}
