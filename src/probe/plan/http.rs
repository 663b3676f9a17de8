//! HTTP that is too large, broken, or says something in two ways; other methods; and what is left of a connection
//! after a refusal.
//!
//! Heads are tried with challenges: who overlooks what is wrong with them answers by itself, and the backend is spared.

use super::challenges::body;
use super::{FIELD, SYNTHETIC};
use crate::probe::answer::Wanted;
use crate::probe::check::{Check, Expect};
use crate::probe::report::Group;
use crate::probe::request::Request;
use crate::probe::values::Values;
use crate::probe::{Target, Token};

/// Above what any server takes by default; the largest default known is 1 MiB.
const LONG_FIELD: usize = 1024 * 1024 + 256 * 1024;
/// Above what any sender has: 1 TiB.
const HUGE: &str = "1099511627776";

const READINGS: &str = "whoever stands before or behind reads it another way, and a request can be smuggled past the check: \
                        answer 400 and close";
const METHOD: &str =
    "only POST and the GET challenge belong here: answer 405 before anything is forwarded";

/// Heads that must be refused as a whole, a body that must not be asked for, and the connection after a refusal.
pub(super) fn borders(target: &Target, token: &Token, values: &mut Values) -> Vec<Check> {
    let mut checks = heads(target, token, values);
    let huge = Request::new(target, "POST")
        .field(FIELD, token.value())
        .field("content-type", "application/json")
        .field("expect", "100-continue")
        .field("content-length", HUGE);
    checks.push(
        Check::new(
            "length-announced",
            Group::Http,
            "1 TiB announced, 100-continue wanted",
            Expect::LengthRefused,
            huge.bytes(),
            "a body of any size is let in: set a limit (the sender's is 40 MB) and answer 413 before the body",
        )
        .secret(),
    );
    let value = values.challenge();
    let refused = Request::new(target, "POST")
        .keeps()
        .field(FIELD, &token.other(values))
        .json(SYNTHETIC.to_owned());
    let after = Request::new(target, "POST").json(body(Some(token.value()), &value));
    let mut again = Check::new(
        "connection-after",
        Group::Http,
        "refusal, then a challenge on it",
        Expect::ChallengeAfter,
        after.bytes(),
        "after a refusal the connection has to work on or be closed with `Connection: close`; else the next message \
         of an honest sender fails",
    );
    again.before = Some(refused.bytes());
    checks.push(again.secret().challenging(value));
    checks
}

fn heads(target: &Target, token: &Token, values: &mut Values) -> Vec<Check> {
    let right = token.value();
    let head = |id, sent, request: Request<'_>, value, advice| {
        Check::new(
            id,
            Group::Http,
            sent,
            Expect::HeadRefused,
            request.bytes(),
            advice,
        )
        .secret()
        .challenging(value)
    };
    let value = values.challenge();
    let long = Request::new(target, "POST")
        .field("x-probe", &"a".repeat(LONG_FIELD))
        .json(body(Some(right), &value));
    let mut checks = vec![head(
        "header-long",
        "a header of 1.25 MiB",
        long,
        value,
        "heads of any size are read: a few senders can fill the memory; set a limit and answer 431",
    )];
    let value = values.challenge();
    let text = body(Some(right), &value);
    let chunked = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let both = Request::new(target, "POST")
        .field("content-length", &chunked.len().to_string())
        .field("transfer-encoding", "chunked")
        .body(chunked);
    checks.push(head(
        "length-and-chunked",
        "a length and chunked as well",
        both,
        value,
        READINGS,
    ));
    let value = values.challenge();
    let text = body(Some(right), &value);
    let two = Request::new(target, "POST")
        .field("content-length", &text.len().to_string())
        .field("content-length", &(text.len() + 1).to_string())
        .body(text);
    checks.push(head(
        "length-twice",
        "two lengths that differ",
        two,
        value,
        READINGS,
    ));
    let value = values.challenge();
    let space = Request::new(target, "POST")
        .field("x-probe ", "a space before the colon")
        .json(body(Some(right), &value));
    checks.push(head(
        "header-space",
        "a space before the colon of a header",
        space,
        value,
        READINGS,
    ));
    let value = values.challenge();
    let broken = Request::new(target, "POST")
        .field("\u{1}x-probe", "a control character")
        .json(body(Some(right), &value));
    checks.push(head(
        "header-broken",
        "a control character in a header name",
        broken,
        value,
        READINGS,
    ));
    checks
}

/// Methods that do not belong here, with the right token.
pub(super) fn methods(target: &Target, token: &Token, methods: &[&'static str]) -> Vec<Check> {
    methods
        .iter()
        .filter_map(|method| {
            let (id, sent) = match *method {
                "GET" => ("method-get", "GET without a challenge, right token"),
                "HEAD" => ("method-head", "HEAD, right token"),
                "OPTIONS" => ("method-options", "OPTIONS, right token"),
                "PUT" => ("method-put", "PUT, right token"),
                "PATCH" => ("method-patch", "PATCH, right token"),
                "DELETE" => ("method-delete", "DELETE, right token"),
                _ => return None,
            };
            let request = Request::new(target, method).field(FIELD, token.value());
            let request = match *method {
                "PUT" | "PATCH" => request.json(SYNTHETIC.to_owned()),
                _ => request,
            };
            let mut check = Check::new(
                id,
                Group::Method,
                sent,
                Expect::Refused,
                request.bytes(),
                METHOD,
            );
            if *method == "HEAD" {
                check.wanted = Wanted::Head;
            }
            Some(check.secret())
        })
        .collect()
}
