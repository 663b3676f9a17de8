//! Challenges: recognising one in a body or a query, and the reply to it.
//!
//! Nothing is judged here. A body or query is read into a [`Candidate`], whose token the scheme judges first;
//! only then does [`Candidate::value`] look at the challenge value.
//!
//! A body is a challenge when it is one JSON object (RFC 8259) whose top level has both `verification-token`
//! and `challenge` and neither `Meta` nor `resourceType`, which mark messages. JSON escapes in key names are
//! resolved before comparing, and a byte order mark in front is passed over as RFC 8259 §8.1 allows: a backend
//! may do both, so a challenge written that way must not slip through as a message.
//!
//! A query is a challenge when it has a `challenge` key. Keys and values are percent-decoded; `+` stays a plus
//! (RFC 3986), because neither value may hold a space and a base64 token may hold a plus.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Longest challenge value that is answered, in bytes. Redox sends a UUID of 36.
pub const CHALLENGE_VALUE_CAP: usize = 256;

const TOKEN_KEY: &[u8] = b"verification-token";
const CHALLENGE_KEY: &[u8] = b"challenge";
const MESSAGE_KEYS: [&[u8]; 2] = [b"Meta", b"resourceType"];
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// How a challenge came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChallengeMethod {
    /// In the query of a GET.
    Get,
    /// In the body of a POST.
    Post,
}

/// How the challenge value is put into the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFormat {
    /// The value alone, as `text/plain`: satisfies every version of the sender's documentation.
    Text,
    /// `{"challenge":"…"}`
    Json,
}

/// The answer to a good challenge.
pub struct Reply {
    value: String,
    format: ReplyFormat,
    method: ChallengeMethod,
    token: usize,
}

impl Reply {
    pub(in crate::verify) fn new(
        value: String,
        format: ReplyFormat,
        method: ChallengeMethod,
        token: usize,
    ) -> Self {
        Self {
            value,
            format,
            method,
            token,
        }
    }

    /// The body to send. Its alphabet needs no escaping in either format.
    pub fn into_body(self) -> String {
        match self.format {
            ReplyFormat::Text => self.value,
            ReplyFormat::Json => format!("{{\"challenge\":\"{}\"}}", self.value),
        }
    }

    /// The media type that goes with the body.
    pub fn content_type(&self) -> &'static str {
        match self.format {
            ReplyFormat::Text => "text/plain; charset=utf-8",
            ReplyFormat::Json => "application/json",
        }
    }

    /// How the challenge came.
    pub fn method(&self) -> ChallengeMethod {
        self.method
    }

    /// Position of the token that proved the sender.
    pub fn token(&self) -> usize {
        self.token
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("format", &self.format)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// Breaks a rule of challenges: a key twice, a value that is not a string, a value out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verify) struct Malformed;

/// One of the two keys: how often it came, and what with.
#[derive(Default)]
enum Field<'a> {
    #[default]
    Absent,
    Text(Cow<'a, [u8]>),
    /// Repeated, or not a string.
    Broken,
}

impl<'a> Field<'a> {
    fn put(&mut self, value: Option<Cow<'a, [u8]>>) {
        *self = match (&*self, value) {
            (Self::Absent, Some(value)) => Self::Text(value),
            _ => Self::Broken,
        };
    }

    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn text(&self) -> Result<Option<&[u8]>, Malformed> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Broken => Err(Malformed),
        }
    }
}

/// A body as text, with the replacement character in place of what is not UTF-8; `None` where it cannot be an object, so
/// that large messages in other formats are not looked at any further.
pub(in crate::verify) fn text(body: &[u8]) -> Option<Cow<'_, str>> {
    let inside = body
        .strip_prefix(BYTE_ORDER_MARK.as_bytes())
        .unwrap_or(body);
    // The white space of RFC 8259 §2.
    let first = inside.iter().find(|byte| !b" \t\n\r".contains(byte));
    (first == Some(&b'{')).then(|| match std::str::from_utf8(body) {
        // Much faster than looking for faults one by one.
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(body),
    })
}

/// Something that has the shape of a challenge. Its content is unjudged.
#[derive(Default)]
pub(in crate::verify) struct Candidate<'a> {
    token: Field<'a>,
    challenge: Field<'a>,
}

impl<'a> Candidate<'a> {
    /// Reads a whole body; `None` when it is not a challenge.
    ///
    /// Text, not bytes: raw bytes that are not UTF-8 make serde_json give up on the object they stand in, so they have
    /// to be replaced first; see [`text`]. The replacement character is outside the alphabet of values.
    pub(in crate::verify) fn in_body(body: &'a str) -> Option<Self> {
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let mut json = serde_json::Deserializer::from_str(body);
        let candidate = json.deserialize_map(TopLevel).ok()??;
        json.end().ok()?;
        Some(candidate)
    }

    /// Reads a query; `None` when it has no `challenge` key.
    pub(in crate::verify) fn in_query(query: &'a str) -> Option<Self> {
        let mut candidate = Self::default();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key: Cow<'_, [u8]> = percent_decode_str(key).into();
            let field = match &*key {
                CHALLENGE_KEY => &mut candidate.challenge,
                TOKEN_KEY => &mut candidate.token,
                _ => continue,
            };
            field.put(Some(percent_decode_str(value).into()));
        }
        if candidate.challenge.is_absent() {
            None
        } else {
            Some(candidate)
        }
    }

    /// The token as presented; `None` when there is none.
    pub(in crate::verify) fn token(&self) -> Result<Option<&[u8]>, Malformed> {
        self.token.text()
    }

    /// The challenge value, once it is known to be harmless to echo.
    pub(in crate::verify) fn value(&self) -> Result<String, Malformed> {
        let value = self.challenge.text()?.ok_or(Malformed)?;
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(byte);
        if value.is_empty() || value.len() > CHALLENGE_VALUE_CAP || !value.iter().all(allowed) {
            return Err(Malformed);
        }
        String::from_utf8(value.to_vec()).map_err(|_| Malformed)
    }
}

/// Visits the top level of a JSON document. Keys and values are bytes: escapes of unpaired surrogates, which
/// Rust strings cannot hold, must not make a challenge look like something else.
struct TopLevel;

impl<'de> Visitor<'de> for TopLevel {
    type Value = Option<Candidate<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut candidate = Candidate::default();
        while let Some(Bytes(key)) = map.next_key()? {
            match &*key {
                TOKEN_KEY => candidate.token.put(string_value(map.next_value()?)),
                CHALLENGE_KEY => candidate.challenge.put(string_value(map.next_value()?)),
                // A message whatever follows, and most messages begin with it.
                other if MESSAGE_KEYS.contains(&other) => return Ok(None),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let complete = !candidate.token.is_absent() && !candidate.challenge.is_absent();
        Ok(complete.then_some(candidate))
    }
}

/// The content of a JSON string; `None` for any other type.
fn string_value(raw: &RawValue) -> Option<Cow<'_, [u8]>> {
    let text = raw.get();
    if !text.starts_with('"') {
        return None;
    }
    let Bytes(content) = serde_json::from_str(text).ok()?;
    Some(content)
}

/// A JSON string as bytes, borrowed where it has no escapes.
struct Bytes<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;
        impl<'de> Visitor<'de> for Content {
            type Value = Cow<'de, [u8]>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(bytes))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Cow::Owned(bytes.to_vec()))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text.as_bytes()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Content).map(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, body, and whether it is a challenge.
    const SHAPES: &[(&str, &[u8], bool)] = &[
        (
            "compact",
            br#"{"verification-token":"t","challenge":"c"}"#,
            true,
        ),
        (
            "keys swapped",
            br#"{"challenge":"c","verification-token":"t"}"#,
            true,
        ),
        (
            "white space",
            b" {\r\n\t\"verification-token\" : \"t\" , \"challenge\" : \"c\" }\n",
            true,
        ),
        (
            "byte order mark",
            b"\xef\xbb\xbf{\"verification-token\":\"t\",\"challenge\":\"c\"}",
            true,
        ),
        (
            "escaped key",
            br#"{"verification\u002dtoken":"t","\u0063hallenge":"c"}"#,
            true,
        ),
        (
            "extra keys",
            br#"{"verification-token":"t","challenge":"c","more":{"a":[1]}}"#,
            true,
        ),
        (
            "number",
            br#"{"verification-token":"t","challenge":7}"#,
            true,
        ),
        (
            "repeated",
            br#"{"verification-token":"t","challenge":"c","challenge":"d"}"#,
            true,
        ),
        (
            "unpaired surrogate",
            br#"{"verification-token":"t","challenge":"\ud800"}"#,
            true,
        ),
        (
            "not UTF-8 beside it",
            b"{\"verification-token\":\"t\",\"challenge\":\"c\",\"x\":\"\xff\"}",
            true,
        ),
        (
            "not UTF-8 in a value",
            b"{\"verification-token\":\"\xff\",\"challenge\":[\"\x80\"]}",
            true,
        ),
        (
            "message",
            br#"{"Meta":{},"verification-token":"t","challenge":"c"}"#,
            false,
        ),
        (
            "resource",
            br#"{"verification-token":"t","challenge":"c","resourceType":"Bundle"}"#,
            false,
        ),
        (
            "nested decoy",
            br#"{"Meta":{"challenge":"c","verification-token":"t"}}"#,
            false,
        ),
        ("challenge alone", br#"{"challenge":"c"}"#, false),
        ("token alone", br#"{"verification-token":"t"}"#, false),
        (
            "other case",
            br#"{"Verification-Token":"t","Challenge":"c"}"#,
            false,
        ),
        (
            "array",
            br#"[{"verification-token":"t","challenge":"c"}]"#,
            false,
        ),
        (
            "two documents",
            br#"{"verification-token":"t","challenge":"c"}{}"#,
            false,
        ),
        (
            "cut off",
            br#"{"verification-token":"t","challenge":"c""#,
            false,
        ),
        ("empty", b"", false),
    ];

    #[test]
    fn tells_challenges_from_everything_else() {
        for (name, body, expected) in SHAPES {
            let body = text(body);
            let candidate = body.as_deref().and_then(Candidate::in_body);
            assert_eq!(candidate.is_some(), *expected, "{name}");
        }
    }

    #[test]
    fn deep_nesting_is_passed_over_not_followed() {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let body = format!(r#"{{"verification-token":"t","challenge":"c","x":{open}{close}}}"#);
        assert!(Candidate::in_body(&body).is_some());
    }

    #[test]
    fn values_are_bounded_in_length_and_alphabet() {
        let long = "a".repeat(CHALLENGE_VALUE_CAP);
        let cases = [
            ("uuid", "ff55cb0f-0b2c-4e5e-9a14-0f4c8b1e1a6f", true),
            ("whole alphabet", "AZaz09._~+/=-", true),
            ("longest", &long, true),
            ("one too long", &format!("{long}a"), false),
            ("empty", "", false),
            ("markup", "<script>", false),
            ("quote", "a%22b", false),
            ("line break", "a%0d%0ab", false),
            ("space", "a%20b", false),
            ("beyond ASCII", "%C3%A9", false),
            ("bad escape", "a%zz", false),
        ];
        for (name, value, expected) in cases {
            let query = format!("challenge={value}");
            let candidate = Candidate::in_query(&query).unwrap();
            assert_eq!(candidate.value().is_ok(), expected, "{name}");
        }
    }

    #[test]
    fn a_query_is_read_by_key_not_by_position() {
        let candidate =
            Candidate::in_query("x=1&verification-token=a%2Bb+c&%63hallenge=v&=&&y").unwrap();
        assert_eq!(candidate.token(), Ok(Some(&b"a+b+c"[..])));
        assert_eq!(candidate.value(), Ok("v".to_owned()));
        assert!(Candidate::in_query("verification-token=a&challenges=b").is_none());
        let repeated = Candidate::in_query("challenge=a&%63hallenge=a").unwrap();
        assert_eq!(repeated.value(), Err(Malformed));
    }
}
