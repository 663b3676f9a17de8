//! What a small gateway does with a request: right, but for its one flaw.
//!
//! It shares no code with the gateway of this project or with the probe, so that none of them can agree on an error.

use serde_json::Value;

use super::flaw::Flaw;
use crate::support::TOKEN;

/// A request, as far as it has been read.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    /// Names in lower case.
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The value of the challenge.
    Answer(String),
    Forward,
    /// Forward to a backend that is not there.
    ForwardIntoNothing,
    Refuse(u16),
    Hang,
}

impl Request {
    fn values(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(other, _)| other == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    fn of_query(&self, name: &str) -> Vec<String> {
        let pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(other, _)| *other == name)
            .map(|(_, value)| {
                percent_encoding::percent_decode_str(value)
                    .decode_utf8_lossy()
                    .into_owned()
            })
            .collect()
    }
}

/// Judges.
pub(super) fn judge(request: &Request, flaw: Flaw) -> Act {
    if request.path != "/redox" {
        return if goes_round(&request.path, flaw) {
            Act::Forward
        } else {
            Act::Refuse(404)
        };
    }
    let tokens = request.values("verification-token");
    let right = tokens == [TOKEN];
    match &*request.method {
        "POST" => {}
        "GET" if !request.of_query("challenge").is_empty() && flaw != Flaw::OnlyPostChallenge => {
            return get_challenge(request, &tokens, flaw);
        }
        "PUT" if flaw == Flaw::PutPasses && right => return Act::Forward,
        "DELETE" if flaw == Flaw::DeletePasses && right => return Act::Forward,
        _ if flaw == Flaw::AnyMethod && right => return Act::Forward,
        _ => return Act::Refuse(405),
    }
    let alias = request.values("verification_token");
    if !alias.is_empty() {
        let passes = match flaw {
            Flaw::AliasCounts => tokens.is_empty() && alias == [TOKEN],
            Flaw::AliasIgnored => right,
            _ => false,
        };
        return if passes {
            Act::Forward
        } else {
            Act::Refuse(400)
        };
    }
    if flaw != Flaw::OnlyGetChallenge
        && tokens.is_empty()
        && let Some(act) = post_challenge(&request.body, flaw)
    {
        return act;
    }
    message(request, &tokens, flaw)
}

/// Whether a flaw lets this path to the backend without a look at the token.
fn goes_round(path: &str, flaw: Flaw) -> bool {
    match flaw {
        Flaw::UnknownPaths => true,
        Flaw::Slashes => path == "//redox",
        Flaw::Dot => path == "/./redox",
        Flaw::Dots => path == "/x/../redox",
        Flaw::EscapedDot => path == "/%2e/redox",
        Flaw::EscapedLetter => path == "/%72edox",
        Flaw::AnyCaseOfPath => path.eq_ignore_ascii_case("/redox"),
        Flaw::AnyEndOfPath => path == "/redox/",
        _ => false,
    }
}

fn get_challenge(request: &Request, headers: &[&str], flaw: Flaw) -> Act {
    let challenge = request.of_query("challenge");
    let tokens = request.of_query("verification-token");
    let empty = tokens.iter().all(String::is_empty) && headers.is_empty();
    let right = match flaw {
        Flaw::GetChallengeUnchecked => true,
        Flaw::GetChallengeEmptyIsUnset if empty => true,
        Flaw::GetChallengeHeaderUnchecked if tokens.is_empty() => !headers.is_empty(),
        Flaw::GetChallengeLastCounts => {
            tokens.last().is_some_and(|last| last == TOKEN) || headers == [TOKEN]
        }
        Flaw::NoGetChallengeByHeader => tokens == [TOKEN],
        _ => tokens == [TOKEN] && headers.is_empty() || tokens.is_empty() && headers == [TOKEN],
    };
    if right {
        Act::Answer(challenge[0].clone())
    } else {
        Act::Refuse(401)
    }
}

/// `None` for what is no challenge.
fn post_challenge(body: &[u8], flaw: Flaw) -> Option<Act> {
    let text = String::from_utf8_lossy(body);
    let json: Value = serde_json::from_slice(body).ok()?;
    let challenge = json.get("challenge")?.as_str()?.to_owned();
    let token = json
        .get("verification-token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let right = match flaw {
        Flaw::PostChallengeUnchecked => true,
        Flaw::PostChallengeEmptyIsUnset if token.is_empty() => true,
        Flaw::PostChallengeBySearch => text.contains(TOKEN),
        Flaw::PostChallengeByPattern => text.starts_with(&format!(
            "{{\"verification-token\":\"{TOKEN}\",\"challenge\":\""
        )),
        _ => token == TOKEN,
    };
    Some(if right {
        Act::Answer(challenge)
    } else {
        Act::Refuse(401)
    })
}

fn message(request: &Request, tokens: &[&str], flaw: Flaw) -> Act {
    let pass = |passes: bool| {
        if passes {
            Act::Forward
        } else {
            Act::Refuse(401)
        }
    };
    match *tokens {
        [] => match flaw {
            Flaw::NoTokenPasses => Act::Forward,
            Flaw::HangsOnMissing
                if request.query.is_empty()
                    && request.values("authorization").is_empty()
                    && !String::from_utf8_lossy(&request.body).contains(TOKEN) =>
            {
                Act::Hang
            }
            Flaw::BearerUnchecked => pass(!request.values("authorization").is_empty()),
            Flaw::TokenFromQuery => pass(request.of_query("verification-token") == [TOKEN]),
            Flaw::TokenFromBody => {
                let json: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                pass(json["verification-token"] == TOKEN)
            }
            _ => Act::Refuse(401),
        },
        [token] => match (single(token, flaw), flaw) {
            (true, Flaw::WrongTokenToDeadBackend) if token != TOKEN => Act::ForwardIntoNothing,
            (passes, _) => pass(passes),
        },
        [first, .., last] => match flaw {
            Flaw::FirstOfTwoCounts => pass(first == TOKEN),
            Flaw::LastOfTwoCounts => pass(last == TOKEN),
            Flaw::SameTwicePasses => pass(tokens.iter().all(|token| *token == TOKEN)),
            Flaw::StumblesOnTwo => Act::Refuse(500),
            _ => Act::Refuse(401),
        },
    }
}

fn single(token: &str, flaw: Flaw) -> bool {
    let eight = |text: &str| text.chars().take(8).collect::<String>();
    let all_but_last = |text: &str| text.chars().take(TOKEN.len() - 1).collect::<String>();
    match flaw {
        Flaw::EmptyTokenPasses if token.is_empty() => true,
        Flaw::WrongTokenPasses | Flaw::WrongTokenToDeadBackend => !token.is_empty(),
        Flaw::PrefixPasses => !token.is_empty() && TOKEN.starts_with(token),
        Flaw::LongerPasses => token.starts_with(TOKEN),
        Flaw::EndingPasses => token.ends_with(TOKEN),
        Flaw::AnyCasePasses => token.eq_ignore_ascii_case(TOKEN),
        Flaw::FirstEightCount => eight(token) == eight(TOKEN),
        Flaw::LastIgnored => {
            token.len() == TOKEN.len() && all_but_last(token) == all_but_last(TOKEN)
        }
        Flaw::LengthCounts => token.len() == TOKEN.len(),
        Flaw::ListPasses => token.split(',').any(|token| token.trim() == TOKEN),
        _ => token == TOKEN,
    }
}
