//! The Redox scheme.
//!
//! A destination is first verified by a challenge, then every message carries the token in the
//! `verification-token` header (<https://docs.redoxengine.com>, "Create and verify an endpoint"; older pages
//! show the GET challenge with the token in that header).
//!
//! The rules, in the order in which they are applied:
//! 1. Only POST, and GET where it is a challenge; else `MethodNotAllowed`.
//! 2. A header that a CGI-like backend would fold into `verification-token` is refused: `HeaderAlias`.
//! 3. At most one token header line, and with `authorization_bearer` a bearer token that agrees with it.
//! 4. A GET challenge needs a right token in the query or the header; where both are, both must be right.
//! 5. A POST with a wrong header token is refused without a look at its body.
//! 6. A POST whose body cannot be a challenge (empty, above the cap, or challenges are off) is decided by its
//!    header token alone, so its body streams.
//! 7. Any other body is looked at once. If it is a challenge, its token must be right as well; it is answered
//!    and never forwarded. If not, the header token decides.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Method};
use subtle::ConstantTimeEq;

use super::challenge::{self, Candidate, ChallengeMethod, Reply, ReplyFormat};
use super::{
    BodyLength, Head, Match, Permit, Reason, Rejection, Step, TokenSet, UnixTime, Verdict,
};

/// The header that carries the token.
pub const HEADER: HeaderName = HeaderName::from_static(HEADER_TEXT);
const HEADER_TEXT: &str = "verification-token";

/// Whether and how challenges are answered on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengePolicy {
    /// Answered at any time.
    Answer {
        /// How the value is put into the answer.
        reply: ReplyFormat,
        /// Largest body that can be a challenge, in bytes.
        body_cap: usize,
    },
    /// There are none: live data streams. Every POST is judged by its header.
    Off,
}

/// A route's settings for this scheme.
#[derive(Debug)]
pub struct Redox {
    tokens: TokenSet,
    challenge: ChallengePolicy,
    authorization_bearer: bool,
}

/// What the headers prove.
#[derive(Clone, Copy)]
enum Standing {
    /// No token at all.
    None,
    /// A right one, at this position.
    Proven(usize),
}

impl Redox {
    /// `authorization_bearer`: whether `Authorization: Bearer TOKEN` is as good as the header.
    pub fn new(tokens: TokenSet, challenge: ChallengePolicy, authorization_bearer: bool) -> Self {
        Self {
            tokens,
            challenge,
            authorization_bearer,
        }
    }

    pub(super) fn tokens(&self) -> &TokenSet {
        &self.tokens
    }

    pub(super) fn begin(&self, head: &Head<'_>, now: UnixTime) -> Step<'_> {
        let decision = match (head.method, self.challenge) {
            (&Method::POST, _) => return self.begin_post(head, now),
            (&Method::GET, ChallengePolicy::Answer { reply, .. }) => {
                self.get_challenge(head, reply, now)
            }
            _ => Err(refuse(Reason::MethodNotAllowed)),
        };
        Step::Decided(decision.unwrap_or_else(Verdict::Refuse))
    }

    fn get_challenge(
        &self,
        head: &Head<'_>,
        reply: ReplyFormat,
        now: UnixTime,
    ) -> Result<Verdict, Rejection> {
        let candidate = head
            .query
            .and_then(Candidate::in_query)
            .ok_or(refuse(Reason::MethodNotAllowed))?;
        let method = ChallengeMethod::Get;
        let standing = self
            .standing(head.headers, now)
            .map_err(|reason| refuse_challenge(reason, method))?;
        self.judge_challenge(&candidate, standing, method, reply, now)
    }

    fn begin_post(&self, head: &Head<'_>, now: UnixTime) -> Step<'_> {
        let standing = match self.standing(head.headers, now) {
            Ok(standing) => standing,
            Err(reason) => return Step::Decided(Verdict::Refuse(refuse(reason))),
        };
        let hide_authorization = self.token_in_authorization(head.headers, now);
        let ChallengePolicy::Answer { reply, body_cap } = self.challenge else {
            return Step::Decided(by_header(standing, hide_authorization));
        };
        let fits = |length: u64| usize::try_from(length).is_ok_and(|length| length <= body_cap);
        match head.body {
            BodyLength::Exact(0) => Step::Decided(by_header(standing, hide_authorization)),
            BodyLength::Exact(length) if !fits(length) => {
                Step::Decided(by_header(standing, hide_authorization))
            }
            BodyLength::Exact(_) | BodyLength::Unknown => Step::NeedBody(Pending {
                scheme: self,
                standing,
                hide_authorization,
                reply,
                body_cap,
            }),
        }
    }

    /// What the headers prove; the reason to refuse where they prove the opposite.
    fn standing(&self, headers: &HeaderMap, now: UnixTime) -> Result<Standing, Reason> {
        if headers.keys().any(is_alias) {
            return Err(Reason::HeaderAlias);
        }
        let header = single(headers.get_all(HEADER).iter().map(|value| value.as_bytes()))?;
        let bearer = if self.authorization_bearer {
            single(bearer_tokens(headers))?
        } else {
            None
        };
        let presented = match (header, bearer) {
            // Compared with each other, not with the tokens: two different valid tokens contradict as well.
            (Some(header), Some(bearer)) if !bool::from(header.ct_eq(bearer)) => {
                return Err(Reason::TokenAmbiguous);
            }
            (Some(presented), _) | (None, Some(presented)) => presented,
            (None, None) => return Ok(Standing::None),
        };
        self.judge_token(presented, now).map(Standing::Proven)
    }

    fn judge_token(&self, presented: &[u8], now: UnixTime) -> Result<usize, Reason> {
        if presented.is_empty() {
            return Err(Reason::TokenMissing);
        }
        match self.tokens.find(presented, now) {
            Match::Valid(position) => Ok(position),
            Match::Expired(_) => Err(Reason::TokenExpired),
            Match::None => Err(Reason::TokenMismatch),
        }
    }

    /// Whether any `Authorization` line carries a token of this route. Redox has been documented to send it
    /// there too, and a token that stays here must not leave by the other door: neither under another scheme
    /// nor under none.
    fn token_in_authorization(&self, headers: &HeaderMap, now: UnixTime) -> bool {
        let is_token = |text: &[u8]| self.tokens.find(text, now) != Match::None;
        headers.get_all(AUTHORIZATION).iter().any(|value| {
            let value = value.as_bytes();
            let mut parts = value.splitn(2, u8::is_ascii_whitespace);
            let credentials = parts.nth(1).unwrap_or_default().trim_ascii_start();
            is_token(value) || is_token(credentials)
        })
    }

    fn judge_challenge(
        &self,
        candidate: &Candidate<'_>,
        standing: Standing,
        method: ChallengeMethod,
        reply: ReplyFormat,
        now: UnixTime,
    ) -> Result<Verdict, Rejection> {
        let refuse = |reason| refuse_challenge(reason, method);
        let own = candidate
            .token()
            .map_err(|_| refuse(Reason::ChallengeMalformed))?;
        let token = match (own, standing) {
            (Some(own), _) => self.judge_token(own, now).map_err(refuse)?,
            (None, Standing::Proven(position)) => position,
            (None, Standing::None) => return Err(refuse(Reason::TokenMissing)),
        };
        let value = candidate
            .value()
            .map_err(|_| refuse(Reason::ChallengeMalformed))?;
        Ok(Verdict::Answer(Reply::new(value, reply, method, token)))
    }
}

/// A POST whose verdict waits for its body.
#[derive(Debug)]
#[must_use]
pub struct Pending<'s> {
    scheme: &'s Redox,
    standing: Standing,
    hide_authorization: bool,
    reply: ReplyFormat,
    body_cap: usize,
}

impl Pending<'_> {
    /// Largest body to collect, in bytes; one that is longer goes to [`Pending::overflow`].
    pub fn body_cap(&self) -> usize {
        self.body_cap
    }

    /// Decides with the whole body, which is at most [`Pending::body_cap`] bytes.
    pub fn finish(self, body: &[u8], now: UnixTime) -> Verdict {
        let text = challenge::text(body);
        let Some(candidate) = text.as_deref().and_then(Candidate::in_body) else {
            return self.overflow();
        };
        self.scheme
            .judge_challenge(
                &candidate,
                self.standing,
                ChallengeMethod::Post,
                self.reply,
                now,
            )
            .unwrap_or_else(Verdict::Refuse)
    }

    /// Decides without the body, because it is too long to be a challenge.
    pub fn overflow(self) -> Verdict {
        by_header(self.standing, self.hide_authorization)
    }
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Proven(_) => "Proven",
        })
    }
}

fn by_header(standing: Standing, hide_authorization: bool) -> Verdict {
    match standing {
        Standing::Proven(token) => Verdict::Forward(Permit::new(token, hide_authorization)),
        Standing::None => Verdict::Refuse(refuse(Reason::TokenMissing)),
    }
}

fn refuse(reason: Reason) -> Rejection {
    Rejection {
        reason,
        challenge: None,
    }
}

fn refuse_challenge(reason: Reason, method: ChallengeMethod) -> Rejection {
    Rejection {
        reason,
        challenge: Some(method),
    }
}

/// The only value, or none. Two lines are refused even when equal: a backend may read either.
fn single<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, Reason> {
    let first = values.next();
    if values.next().is_some() {
        Err(Reason::TokenAmbiguous)
    } else {
        Ok(first)
    }
}

/// The credentials of each `Authorization: Bearer` line (RFC 6750 §2.1; the scheme's case does not matter,
/// RFC 9110 §11.1).
fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked(SCHEME.len())?;
        scheme
            .eq_ignore_ascii_case(SCHEME)
            .then(|| rest.trim_ascii_start())
    })
}

/// Whether a CGI-like backend would take this name for the token header: CGI (RFC 3875 §4.1.18), WSGI and PHP
/// turn every hyphen, and some of them all punctuation, into an underscore.
fn is_alias(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.len() == HEADER_TEXT.len()
        && name != HEADER_TEXT
        && name
            .bytes()
            .zip(HEADER_TEXT.bytes())
            .all(|(byte, own)| byte == own || (own == b'-' && !byte.is_ascii_alphanumeric()))
}
