//! One thing to try: the bytes, what is right, and what it means if it is not.

use super::answer::Wanted;
use super::report::Group;

/// See the module.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) group: Group,
    /// In words.
    pub(super) sent: &'static str,
    pub(super) expect: Expect,
    /// Sent and answered before, on the same connection.
    pub(super) before: Option<Vec<u8>>,
    pub(super) request: Vec<u8>,
    /// Whether the request has the token in it, or something near it.
    pub(super) secret: bool,
    pub(super) wanted: Wanted,
    /// The challenge value in the request, which a refusal must not repeat.
    pub(super) challenge: Option<String>,
    /// What to do where it was let through.
    pub(super) advice: &'static str,
}

/// What a right gateway does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Answers with the challenge's value.
    Challenge,
    /// The same, after a refusal on the same connection; or has said that it closes.
    ChallengeAfter,
    /// Refuses.
    Refused,
    /// Refuses for the head as a whole, not for what is in it.
    HeadRefused,
    /// Refuses because of what is announced, before any of it is sent.
    LengthRefused,
    /// Accepts.
    Accepted,
}

impl Expect {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Challenge => "200, the value",
            Self::ChallengeAfter => "200 or closed",
            Self::Refused => "refused",
            Self::HeadRefused => "4xx or closed",
            Self::LengthRefused => "413, no 100",
            Self::Accepted => "2xx",
        }
    }
}

impl Check {
    pub(super) fn new(
        id: &'static str,
        group: Group,
        sent: &'static str,
        expect: Expect,
        request: Vec<u8>,
        advice: &'static str,
    ) -> Self {
        Self {
            id,
            group,
            sent,
            expect,
            before: None,
            request,
            secret: false,
            wanted: match expect {
                Expect::LengthRefused => Wanted::First,
                Expect::Challenge
                | Expect::ChallengeAfter
                | Expect::Refused
                | Expect::HeadRefused
                | Expect::Accepted => Wanted::Whole,
            },
            challenge: None,
            advice,
        }
    }

    /// It holds the token, or what is near it.
    pub(super) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// It holds this challenge.
    pub(super) fn challenging(mut self, value: String) -> Self {
        self.challenge = Some(value);
        self
    }
}
