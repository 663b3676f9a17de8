//! Messages that must not get through: their token is missing, wrong, twice there, or in the wrong place.

use super::{FIELD, SYNTHETIC};
use crate::probe::check::{Check, Expect};
use crate::probe::report::Group;
use crate::probe::request::{Request, escaped, quoted};
use crate::probe::values::Values;
use crate::probe::{Target, Token};

const OPEN: &str =
    "a message without the token gets through: whoever knows the URL can write to the backend";
const COMPARE: &str = "compare the whole token, every byte and its length, and in constant time";
const TWICE: &str =
    "refuse more than one token header: which one counts would depend on whom you ask";
const ALIAS: &str =
    "refuse `verification_token`: many backends (CGI, WSGI, PHP) cannot tell it from the real one";
const PLACE: &str = "outside of a challenge the token counts in the header alone: queries end in logs, bodies in files";

/// One token header that is not right.
pub(super) fn tokens(target: &Target, token: &Token, values: &mut Values) -> Vec<Check> {
    let right = token.value();
    let message =
        |id, sent, fields: &[(&str, &str)], advice| check(id, sent, with(target, fields), advice);
    let near = |id, sent, value: Option<String>| {
        value.map(|value| message(id, sent, &[(FIELD, &value)], COMPARE).secret())
    };
    let mut checks = vec![
        message("token-none", "message, no token", &[], OPEN),
        message("token-empty", "message, empty token", &[(FIELD, "")], OPEN),
        message(
            "token-wrong",
            "message, wrong token",
            &[(FIELD, &token.other(values))],
            OPEN,
        ),
    ];
    checks.extend(
        [
            near(
                "token-last",
                "message, last character changed",
                Some(token.with_another_end()),
            ),
            near(
                "token-longer",
                "message, a character added",
                Some(format!("{right}0")),
            ),
            near(
                "token-before",
                "message, a character before it",
                Some(format!("0{right}")),
            ),
            near(
                "token-shorter",
                "message, last character missing",
                token.shortened().map(str::to_owned),
            ),
            near(
                "token-start",
                "message, first eight characters alone",
                token.beginning().map(str::to_owned),
            ),
            near(
                "token-case",
                "message, upper and lower case swapped",
                token.in_other_case(),
            ),
        ]
        .into_iter()
        .flatten(),
    );
    let bearer = format!("Bearer {}", token.other(values));
    checks.push(message(
        "bearer-wrong",
        "message, wrong token as a bearer",
        &[("authorization", &bearer)],
        OPEN,
    ));
    checks
}

/// The right token, but not where it counts, or not alone.
pub(super) fn places(target: &Target, token: &Token, values: &mut Values) -> Vec<Check> {
    let (right, wrong) = (token.value(), token.other(values));
    let message = |id, sent, fields: &[(&str, &str)], advice| {
        check(id, sent, with(target, fields), advice).secret()
    };
    let list = format!("{wrong}, {right}");
    let mut checks = vec![
        message(
            "token-right-wrong",
            "message, two headers: right, wrong",
            &[(FIELD, right), (FIELD, &wrong)],
            TWICE,
        ),
        message(
            "token-wrong-right",
            "message, two headers: wrong, right",
            &[(FIELD, &wrong), (FIELD, right)],
            TWICE,
        ),
        message(
            "token-right-right",
            "message, two headers: both right",
            &[(FIELD, right), (FIELD, right)],
            TWICE,
        ),
        message(
            "token-list",
            "message, wrong and right in one header",
            &[(FIELD, &list)],
            COMPARE,
        ),
        message(
            "alias-alone",
            "message, `verification_token` alone",
            &[("verification_token", right)],
            ALIAS,
        ),
        message(
            "alias-beside",
            "message, `verification_token` beside it",
            &[(FIELD, right), ("verification_token", &wrong)],
            ALIAS,
        ),
    ];
    let in_query = Request::new(target, "POST")
        .query(&format!("{FIELD}={}", escaped(right)))
        .json(SYNTHETIC.to_owned());
    checks.push(
        check(
            "token-in-query",
            "message, token in the query",
            in_query.bytes(),
            PLACE,
        )
        .secret(),
    );
    let body = SYNTHETIC.replacen('{', &format!("{{\"{FIELD}\":{},", quoted(right)), 1);
    let in_body = Request::new(target, "POST").json(body);
    checks.push(
        check(
            "token-in-body",
            "message, token in the body",
            in_body.bytes(),
            PLACE,
        )
        .secret(),
    );
    checks
}

fn check(id: &'static str, sent: &'static str, request: Vec<u8>, advice: &'static str) -> Check {
    Check::new(id, Group::Token, sent, Expect::Refused, request, advice)
}

fn with(target: &Target, fields: &[(&str, &str)]) -> Vec<u8> {
    let request = Request::new(target, "POST");
    let request = fields
        .iter()
        .fold(request, |request, (name, value)| request.field(name, value));
    request.json(SYNTHETIC.to_owned()).bytes()
}
