//! From what came back to a verdict, in words.
//!
//! No word of the peer's gets into a step: statuses are numbers, all else is said in words from here.

use super::Token;
use super::answer::{Answer, Kind, Outcome};
use super::check::{Check, Expect};
use super::report::{Group, Step, Verdict};

/// Statuses of servers that refuse a head without looking into it.
const OF_HEADS: [u16; 6] = [400, 411, 413, 414, 431, 501];

const REPEATED: &str = "the refusal repeats the challenge, and a sender that looks for it anywhere takes that for an answer: \
                        name no values in answers";

const CUT: &str = "senders take it for a failure of the network; answer whole and in HTTP";

/// A shorter token could be in an answer by chance.
const TELLING: usize = 8;

/// What was seen, whether that is right, and what it means.
struct Found {
    seen: String,
    verdict: Verdict,
    advice: Option<&'static str>,
}

/// Judges one check.
pub(super) fn judge(check: &Check, outcome: &Outcome, token: &Token) -> Step {
    let found = leak(check, outcome, token).unwrap_or_else(|| whole(check, outcome));
    let latency = match outcome {
        Outcome::Answer(answer) => Some(answer.latency),
        Outcome::Closed
        | Outcome::Ended
        | Outcome::Silent
        | Outcome::Garbled(_)
        | Outcome::Unreached(_)
        | Outcome::Untried(_) => None,
    };
    Step {
        id: check.id,
        group: check.group,
        sent: check.sent,
        expected: check.expect.words(),
        seen: found.seen,
        verdict: found.verdict,
        latency,
        advice: found.advice.map(str::to_owned),
    }
}

/// What the answer to a challenge says beside its value.
pub(super) fn remarks(answer: &Answer) -> Step {
    let seen = match (answer.no_store, answer.nosniff) {
        (true, true) => "both",
        (true, false) => "no-store alone",
        (false, true) => "nosniff alone",
        (false, false) => "neither",
    };
    Step {
        id: "answer-fields",
        group: Group::Challenge,
        sent: "look for no-store and nosniff in it",
        expected: "both, at best",
        seen: seen.to_owned(),
        verdict: Verdict::Info,
        latency: None,
        advice: None,
    }
}

fn found(verdict: Verdict, seen: impl Into<String>, advice: &'static str) -> Found {
    Found {
        seen: seen.into(),
        verdict,
        advice: (!advice.is_empty()).then_some(advice),
    }
}

fn ok(seen: impl Into<String>) -> Found {
    found(Verdict::Ok, seen, "")
}

fn wrong(seen: impl Into<String>, advice: &'static str) -> Found {
    found(Verdict::Wrong, seen, advice)
}

/// What is wrong whatever was asked: the token in an answer, or the value of a challenge that was to be refused.
fn leak(check: &Check, outcome: &Outcome, token: &Token) -> Option<Found> {
    let raw = match outcome {
        Outcome::Answer(answer) => &answer.raw,
        Outcome::Garbled(raw) => raw,
        Outcome::Closed
        | Outcome::Ended
        | Outcome::Silent
        | Outcome::Unreached(_)
        | Outcome::Untried(_) => return None,
    };
    if token.value().len() >= TELLING && token.is_in(raw) {
        return Some(wrong(
            "the token itself",
            "the answer holds the token: whoever asks is told the secret; change the token, and name no values in answers",
        ));
    }
    let value = check.challenge.as_ref()?;
    if check.expect != Expect::Refused || memchr::memmem::find(raw, value.as_bytes()).is_none() {
        return None;
    }
    let Outcome::Answer(answer) = outcome else {
        return Some(wrong("the value", REPEATED));
    };
    let seen = format!("{}, the value", answer.status);
    match answer.status {
        // A redirect repeats the query; that it is a redirect is what is wrong.
        300..=399 => None,
        ..300 => Some(wrong(seen, check.advice)),
        400.. => Some(wrong(seen, REPEATED)),
    }
}

/// What is right so far is wrong where the answer broke off: the sender has no answer.
fn whole(check: &Check, outcome: &Outcome) -> Found {
    let found = plain(check, outcome);
    // Who refuses a head leaves bytes unread, and the end of such a connection can take the answer's end with it.
    let of_head = matches!(check.expect, Expect::HeadRefused | Expect::LengthRefused);
    if let Outcome::Answer(answer) = outcome
        && answer.cut
        && !of_head
        && found.verdict != Verdict::Wrong
    {
        return wrong(format!("{}, cut off", answer.status), CUT);
    }
    found
}

fn plain(check: &Check, outcome: &Outcome) -> Found {
    let refusal = matches!(
        check.expect,
        Expect::Refused | Expect::HeadRefused | Expect::LengthRefused
    );
    match outcome {
        Outcome::Answer(answer) => of_answer(check, answer),
        Outcome::Closed if refusal => ok("closed"),
        Outcome::Ended => found(Verdict::Info, "closes on refusal", ""),
        Outcome::Closed if check.expect == Expect::ChallengeAfter => {
            wrong("closed unsaid", check.advice)
        }
        Outcome::Closed => wrong("closed", check.advice),
        Outcome::Silent => wrong(
            "no answer in time",
            "senders give up and take it for a failure; answer at once",
        ),
        Outcome::Garbled(_) => wrong("not HTTP, or cut off", CUT),
        Outcome::Unreached(why) => wrong(
            *why,
            "there was no connection for this check; limits on connections, or a gateway that restarts?",
        ),
        Outcome::Untried(why) => found(Verdict::Skipped, *why, ""),
    }
}

fn of_answer(check: &Check, answer: &Answer) -> Found {
    let status = answer.status;
    if let 300..=399 = status {
        return wrong(
            format!("{status}, redirect"),
            "senders do not follow redirects, or count them as delivered: answer at the URL itself, refuse with 4xx",
        );
    }
    match check.expect {
        Expect::Challenge | Expect::ChallengeAfter => of_challenge(check, answer),
        Expect::Accepted if (200..300).contains(&status) => ok(status.to_string()),
        Expect::Accepted => wrong(status.to_string(), check.advice),
        Expect::Refused => of_refusal(check, answer),
        Expect::HeadRefused if OF_HEADS.contains(&status) => ok(status.to_string()),
        Expect::HeadRefused if (200..300).contains(&status) => {
            wrong(status.to_string(), check.advice)
        }
        Expect::HeadRefused if (400..500).contains(&status) && status != 429 => {
            wrong(format!("{status}, was read"), check.advice)
        }
        Expect::HeadRefused => of_refusal(check, answer),
        Expect::LengthRefused if answer.continued => wrong("100, go on", check.advice),
        Expect::LengthRefused => of_refusal(check, answer),
    }
}

fn of_refusal(check: &Check, answer: &Answer) -> Found {
    let status = answer.status;
    match status {
        429 => found(
            Verdict::Unclear,
            "429",
            "refused because there were too many refusals before; to see more, wait a minute and probe again",
        ),
        503 => found(
            Verdict::Unclear,
            "503",
            "refused, but because the gateway takes nothing now; probe again when it does",
        ),
        400..=499 | 501 => ok(status.to_string()),
        502 | 504 => wrong(
            format!("{status}, forwarded"),
            "it was on its way to a backend that did not answer: check first, then forward",
        ),
        500..=599 => wrong(
            status.to_string(),
            "the gateway stumbled over it; refuse it with 4xx, which tells whose fault it is",
        ),
        200..=299 if check.group == Group::Challenge => wrong(
            status.to_string(),
            "2xx to what is not verified: a sender counts it as accepted; answer 401",
        ),
        _ => wrong(status.to_string(), check.advice),
    }
}

fn of_challenge(check: &Check, answer: &Answer) -> Found {
    let status = answer.status;
    match status {
        200 => {}
        429 => {
            return wrong(
                "429",
                "a challenge with the right token is refused for failures before it; wait a minute and probe again",
            );
        }
        _ => return wrong(status.to_string(), check.advice),
    }
    let Some(value) = &check.challenge else {
        return wrong("200", check.advice);
    };
    let alone = answer.body == value.as_bytes();
    match answer.kind {
        Kind::Markup if memchr::memmem::find(&answer.body, value.as_bytes()).is_some() => wrong(
            "200, as markup",
            "a challenge in a page runs in a browser whatever an attacker puts in it: answer as text/plain",
        ),
        Kind::Plain if alone => ok("200, the value"),
        Kind::Json if is_reply(&answer.body, value) => ok("200, JSON"),
        Kind::Json | Kind::Plain | Kind::Unsaid | Kind::Other | Kind::Markup if alone => found(
            Verdict::Warning,
            "200, wrong type",
            "the value is right, its content type is not; text/plain suits every sender",
        ),
        Kind::Json | Kind::Plain | Kind::Unsaid | Kind::Other | Kind::Markup => {
            if memchr::memmem::find(&answer.body, value.as_bytes()).is_some() {
                wrong(
                    "200, more than that",
                    "the body is to be the value alone, without quotes, line end or page around it, or JSON with the \
                     one key `challenge`: not every sender looks for it inside",
                )
            } else {
                wrong(
                    "200, not the value",
                    "answer with the value of this very request; a fixed or remembered one does not verify",
                )
            }
        }
    }
}

/// `{"challenge": value}` and nothing else.
fn is_reply(body: &[u8], value: &str) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reply<'b> {
        #[serde(borrow)]
        challenge: &'b str,
    }
    serde_json::from_slice::<Reply<'_>>(body).is_ok_and(|reply| reply.challenge == value)
}
