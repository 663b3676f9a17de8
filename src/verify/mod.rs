//! The verification core: may this request pass?
//!
//! Pure by design: bytes, configured tokens and *the time* come in, a [`Verdict`] goes out. No I/O, no
//! clock, no async, no logging, so that everything here is tested and fuzzed with data alone.
//!
//! Rules every scheme keeps:
//! 1. Only this room can make a [`Permit`], and only a permit opens the way to an upstream.
//! 2. Authenticate before interpreting: a challenge value is looked at once the token is known to be right.
//! 3. What the sender wrote never appears in a `Debug` output of this room.
//! 4. Comparing a token takes the same time whatever its value, its length and which token it matches.

mod challenge;
mod permit;
mod redox;
mod token;

pub use challenge::{CHALLENGE_VALUE_CAP, ChallengeMethod, Reply, ReplyFormat};
pub use permit::Permit;
pub use redox::{ChallengePolicy, HEADER as TOKEN_HEADER, Pending, Redox};
pub use token::{DIGEST_LENGTH, Match, NoTokens, Token, TokenSet};

use http::{HeaderMap, Method};

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

/// How much body a request announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Exactly this many bytes; 0 where there is no body.
    Exact(u64),
    /// Chunked, or an HTTP/2 stream without `content-length`.
    Unknown,
}

/// What a scheme sees of a request before its body.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The query as sent, without the question mark.
    pub query: Option<&'a str>,
    /// All header fields.
    pub headers: &'a HeaderMap,
    /// What the head says of the body.
    pub body: BodyLength,
}

/// How a sender proves itself on a route.
#[derive(Debug)]
pub enum Scheme {
    /// Redox: a static token in a header, and a challenge before the first message.
    Redox(Redox),
}

impl Scheme {
    /// Judges the head; asks for the body only where the verdict depends on it.
    pub fn begin(&self, head: &Head<'_>, now: UnixTime) -> Step<'_> {
        match self {
            Self::Redox(scheme) => scheme.begin(head, now),
        }
    }

    /// The tokens this scheme accepts, in configured order.
    pub fn tokens(&self) -> &TokenSet {
        match self {
            Self::Redox(scheme) => scheme.tokens(),
        }
    }
}

/// The first answer of a scheme.
#[derive(Debug)]
pub enum Step<'s> {
    /// Nothing more is needed.
    Decided(Verdict),
    /// The body is small enough to be a challenge and has to be looked at.
    NeedBody(Pending<'s>),
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass to the upstream.
    Forward(Permit),
    /// It is a good challenge; the gateway answers it.
    Answer(Reply),
    /// It goes no further.
    Refuse(Rejection),
}

/// Why a request was refused, and whether it was a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason.
    pub reason: Reason,
    /// How the challenge came, where the refused request was one.
    pub challenge: Option<ChallengeMethod>,
}

/// What a scheme can find wrong with a request. Closed on purpose: each is an interface of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Neither a POST nor a GET challenge.
    MethodNotAllowed,
    /// A header that reads like the token header once a backend folds its punctuation.
    HeaderAlias,
    /// No token where one has to be.
    TokenMissing,
    /// The token is none of the configured ones.
    TokenMismatch,
    /// The token was right until its `not_after`.
    TokenExpired,
    /// More than one token, or two that contradict each other.
    TokenAmbiguous,
    /// Has the shape of a challenge but breaks its rules.
    ChallengeMalformed,
}
