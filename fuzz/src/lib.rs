//! What the fuzz targets share: a route's scheme with the tokens and the clock of `tests/vectors`.

pub mod trail;

use countersign::verify::{
    BodyLength, ChallengePolicy, Head, Redox, ReplyFormat, Scheme, Step, Token, TokenSet, UnixTime,
    Verdict,
};
use http::{HeaderMap, HeaderValue, Method};

/// Valid without end.
pub const CURRENT: &str = "c0rrect-h0rse-battery-staple-2026-11";
/// Valid at [`NOW`].
pub const PREVIOUS: &str = "0ld-but-still-valid-t0ken-2026-05";
/// No longer valid at [`NOW`].
pub const EXPIRED: &str = "expired-t0ken-from-2025-11-aaaa";
/// 2026-11-24T00:00:00Z
pub const NOW: UnixTime = UnixTime(1_795_478_400);
/// Largest body that can be a challenge.
pub const BODY_CAP: usize = 4096;

/// What the token header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It is not there.
    None,
    /// A valid token.
    Right,
    /// No token of the route.
    Wrong,
    /// A token past its end.
    Expired,
}

impl Header {
    /// Chosen by the input.
    pub fn from_byte(byte: u8) -> Self {
        match byte % 4 {
            0 => Self::None,
            1 => Self::Right,
            2 => Self::Wrong,
            _ => Self::Expired,
        }
    }

    fn value(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Right => Some(CURRENT),
            Self::Wrong => Some("wr0ng-h0rse-battery-staple-2026-11"),
            Self::Expired => Some(EXPIRED),
        }
    }
}

/// Runs one request through the verification core.
pub fn judge(
    method: &Method,
    header: Header,
    query: Option<&str>,
    body: &[u8],
    announced: bool,
) -> Verdict {
    let tokens = TokenSet::new(vec![
        Token::from_value("2026-11", CURRENT.as_bytes(), None),
        Token::from_value(
            "2026-05",
            PREVIOUS.as_bytes(),
            Some(UnixTime(1_798_675_200)),
        ),
        Token::from_value("2025-11", EXPIRED.as_bytes(), Some(UnixTime(1_764_547_200))),
    ]);
    let policy = ChallengePolicy::Answer {
        reply: ReplyFormat::Text,
        body_cap: BODY_CAP,
    };
    let scheme = Scheme::Redox(Redox::new(tokens.expect("three tokens"), policy, false));
    let mut headers = HeaderMap::new();
    if let Some(value) = header.value() {
        headers.insert("verification-token", HeaderValue::from_static(value));
    }
    let length = if announced {
        BodyLength::Exact(body.len() as u64)
    } else {
        BodyLength::Unknown
    };
    let head = Head {
        method,
        query,
        headers: &headers,
        body: length,
    };
    match scheme.begin(&head, NOW) {
        Step::Decided(verdict) => verdict,
        Step::NeedBody(pending) if body.len() > pending.body_cap() => pending.overflow(),
        Step::NeedBody(pending) => pending.finish(body, NOW),
    }
}

/// Whether a value may be echoed to a stranger.
pub fn is_harmless(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte))
}

/// Whether this is a token that is valid at [`NOW`].
pub fn is_valid(token: &[u8]) -> bool {
    token == CURRENT.as_bytes() || token == PREVIOUS.as_bytes()
}
