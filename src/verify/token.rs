//! Tokens: what is kept of them, and how a presented one is compared.
//!
//! Kept is the SHA-256 digest only. Digests all have the same length, so comparing them cannot tell how long
//! a token is; every token is compared every time, so neither position nor number of wrong bytes shows.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::UnixTime;

/// Bytes in a SHA-256 digest.
pub const DIGEST_LENGTH: usize = 32;

/// One accepted token.
#[derive(Clone)]
pub struct Token {
    id: Arc<str>,
    digest: [u8; DIGEST_LENGTH],
    not_after: Option<UnixTime>,
}

impl Token {
    /// A token from its value, which is not kept.
    pub fn from_value(id: &str, value: &[u8], not_after: Option<UnixTime>) -> Self {
        Self::from_digest(id, Sha256::digest(value).into(), not_after)
    }

    /// A token of which only the SHA-256 digest is known.
    pub fn from_digest(id: &str, digest: [u8; DIGEST_LENGTH], not_after: Option<UnixTime>) -> Self {
        Self {
            id: id.into(),
            digest,
            not_after,
        }
    }

    /// The operator's name for it; what logs and metrics show.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The last second in which it is accepted.
    pub fn not_after(&self) -> Option<UnixTime> {
        self.not_after
    }

    /// Whether both stand for the same secret value.
    pub fn same_secret(&self, other: &Self) -> bool {
        self.digest.ct_eq(&other.digest).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A set without a token would refuse everything in silence, or worse; it cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTokens;

impl fmt::Display for NoTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token set needs at least one token")
    }
}

impl std::error::Error for NoTokens {}

/// The tokens of a route: at least one, all valid at the same time.
#[derive(Debug)]
pub struct TokenSet(Vec<Token>);

impl TokenSet {
    /// # Errors
    /// [`NoTokens`] for an empty list.
    pub fn new(tokens: Vec<Token>) -> Result<Self, NoTokens> {
        if tokens.is_empty() {
            Err(NoTokens)
        } else {
            Ok(Self(tokens))
        }
    }

    /// The tokens in configured order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Token> {
        self.0.iter()
    }

    /// Finds the token that `presented` is, in time that depends only on the length of `presented` (which its
    /// sender knows) and the number of tokens.
    pub fn find(&self, presented: &[u8], now: UnixTime) -> Match {
        let digest: [u8; DIGEST_LENGTH] = Sha256::digest(presented).into();
        let mut found = Choice::from(0);
        let mut position = 0_u64;
        for (index, token) in (0_u64..).zip(&self.0) {
            let equal = token.digest.ct_eq(&digest);
            position.conditional_assign(&index, equal);
            found |= equal;
        }
        if !bool::from(found) {
            return Match::None;
        }
        // The position is public from here on: it is the token id of log and metrics.
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        match self.0.get(position).and_then(Token::not_after) {
            Some(not_after) if now > not_after => Match::Expired(position),
            Some(_) | None => Match::Valid(position),
        }
    }
}

/// What a presented token turned out to be; the number is its position in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// None of the set.
    None,
    /// Right, but past its `not_after`.
    Expired(usize),
    /// Right.
    Valid(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000);

    fn set() -> TokenSet {
        TokenSet::new(vec![
            Token::from_value("new", b"first-token-value", None),
            Token::from_value("old", b"second-token-value", Some(UnixTime(1_000))),
            Token::from_value("gone", b"third-token-value", Some(UnixTime(999))),
        ])
        .unwrap()
    }

    #[test]
    fn finds_each_token_and_nothing_else() {
        let cases: [(&str, &[u8], Match); 9] = [
            ("first", b"first-token-value", Match::Valid(0)),
            (
                "second, in its last second",
                b"second-token-value",
                Match::Valid(1),
            ),
            (
                "third, one second late",
                b"third-token-value",
                Match::Expired(2),
            ),
            ("empty", b"", Match::None),
            ("prefix", b"first-token-valu", Match::None),
            ("one byte more", b"first-token-value ", Match::None),
            ("other case", b"First-token-value", Match::None),
            ("nul at the end", b"first-token-value\0", Match::None),
            (
                "two joined",
                b"first-token-value, second-token-value",
                Match::None,
            ),
        ];
        for (name, presented, expected) in cases {
            assert_eq!(set().find(presented, NOW), expected, "{name}");
        }
    }

    #[test]
    fn a_digest_stands_for_its_value() {
        let digest = Sha256::digest(b"first-token-value").into();
        let set = TokenSet::new(vec![Token::from_digest("hashed", digest, None)]).unwrap();
        assert_eq!(set.find(b"first-token-value", NOW), Match::Valid(0));
        assert_eq!(
            set.find(&digest, NOW),
            Match::None,
            "the digest itself is no token"
        );
    }

    #[test]
    fn an_empty_set_cannot_be_made() {
        assert_eq!(TokenSet::new(Vec::new()).err(), Some(NoTokens));
    }

    #[test]
    fn debug_shows_no_digest() {
        let text = format!("{:?}", set());
        assert!(text.contains("new") && !text.contains("digest"), "{text}");
    }
}
