//! Challenges, by POST and by GET, that must be answered and that must not.

use super::FIELD;
use crate::probe::check::{Check, Expect};
use crate::probe::report::Group;
use crate::probe::request::{Request, escaped, quoted};
use crate::probe::values::Values;
use crate::probe::{Target, Token};

const LEAK: &str = "whoever asks gets the challenge answered, so verification proves nothing: compare the token first";

/// What a sender does when somebody presses *Verify*.
pub(super) fn right(target: &Target, token: &Token, values: &mut Values) -> Vec<Check> {
    let (text, value) = (token.value(), values.challenge());
    let mut checks = vec![check(
        "challenge-post",
        "POST challenge, right token",
        Expect::Challenge,
        post(target, Some(text), &value),
        value,
        "answer 200 with the value of `challenge` where `verification-token` in the JSON body is right",
    )];
    let value = values.challenge();
    let spaced = format!(
        "{{ \"challenge\" : \"{value}\" ,\r\n  \"{FIELD}\" : {} }}\n",
        quoted(text)
    );
    checks.push(check(
        "challenge-post-spaced",
        "the same, keys turned round and spaced",
        Expect::Challenge,
        Request::new(target, "POST").json(spaced).bytes(),
        value,
        "the body is JSON: read it with a JSON parser, not with a pattern",
    ));
    let value = values.challenge();
    checks.push(check(
        "challenge-get",
        "GET challenge, token in the query",
        Expect::Challenge,
        get(target, Some(text), &value, None),
        value,
        "answer `?challenge=…&verification-token=…` as well: destinations can be set to GET",
    ));
    let value = values.challenge();
    checks.push(check(
        "challenge-get-header",
        "GET challenge, token in the header",
        Expect::Challenge,
        get(target, None, &value, Some(text)),
        value,
        "older destinations send the token in the header and only `challenge` in the query",
    ));
    checks.into_iter().map(Check::secret).collect()
}

/// What only an impostor does.
pub(super) fn wrong(target: &Target, token: &Token, values: &mut Values) -> Vec<Check> {
    let mut checks = Vec::new();
    for (id, sent, shown) in [
        (
            "challenge-post-wrong",
            "POST challenge, wrong token",
            Some(token.other(values)),
        ),
        (
            "challenge-post-empty",
            "POST challenge, empty token",
            Some(String::new()),
        ),
        ("challenge-post-none", "POST challenge, no token", None),
    ] {
        let value = values.challenge();
        let request = post(target, shown.as_deref(), &value);
        checks.push(refused(id, sent, request, value));
    }
    let value = values.challenge();
    let nested = format!(
        "{{\"{FIELD}\":\"{}\",\"challenge\":\"{value}\",\"more\":{{\"{FIELD}\":{}}}}}",
        token.other(values),
        quoted(token.value())
    );
    checks.push(
        refused(
            "challenge-post-nested",
            "POST challenge, right token nested",
            Request::new(target, "POST").json(nested).bytes(),
            value,
        )
        .secret(),
    );
    for (id, sent, shown) in [
        (
            "challenge-get-wrong",
            "GET challenge, wrong token",
            Some(token.other(values)),
        ),
        (
            "challenge-get-empty",
            "GET challenge, empty token",
            Some(String::new()),
        ),
        ("challenge-get-none", "GET challenge, no token", None),
    ] {
        let value = values.challenge();
        let request = get(target, shown.as_deref(), &value, None);
        checks.push(refused(id, sent, request, value));
    }
    let value = values.challenge();
    let request = get(target, None, &value, Some(&token.other(values)));
    checks.push(refused(
        "challenge-get-header-wrong",
        "GET challenge, wrong token in the header",
        request,
        value,
    ));
    let value = values.challenge();
    let query = format!(
        "challenge={value}&{FIELD}={}&{FIELD}={}",
        token.other(values),
        escaped(token.value())
    );
    checks.push(
        refused(
            "challenge-get-twice",
            "GET challenge, wrong and right token",
            Request::new(target, "GET").query(&query).bytes(),
            value,
        )
        .secret(),
    );
    checks
}

fn check(
    id: &'static str,
    sent: &'static str,
    expect: Expect,
    request: Vec<u8>,
    value: String,
    advice: &'static str,
) -> Check {
    Check::new(id, Group::Challenge, sent, expect, request, advice).challenging(value)
}

fn refused(id: &'static str, sent: &'static str, request: Vec<u8>, value: String) -> Check {
    check(id, sent, Expect::Refused, request, value, LEAK)
}

/// As Redox writes it: compact, the token first.
pub(super) fn body(token: Option<&str>, value: &str) -> String {
    let token = token.map_or_else(String::new, |token| {
        format!("\"{FIELD}\":{},", quoted(token))
    });
    format!("{{{token}\"challenge\":\"{value}\"}}")
}

fn post(target: &Target, token: Option<&str>, value: &str) -> Vec<u8> {
    Request::new(target, "POST")
        .json(body(token, value))
        .bytes()
}

fn get(target: &Target, token: Option<&str>, value: &str, header: Option<&str>) -> Vec<u8> {
    let token = token.map_or_else(String::new, |token| format!("&{FIELD}={}", escaped(token)));
    let request = Request::new(target, "GET").query(&format!("challenge={value}{token}"));
    match header {
        Some(header) => request.field(FIELD, header).bytes(),
        None => request.bytes(),
    }
}
