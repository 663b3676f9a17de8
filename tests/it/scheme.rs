//! Every vector through the verification core, as a gateway would do it.
//!
//! No sockets here: what is tested is the verdict. All failures are collected and shown together.

use std::collections::{BTreeMap, BTreeSet};

use countersign::verify::{
    BodyLength, Head, Permit, Reason, Rejection, Reply, Scheme, Step, UnixTime, Verdict,
};
use http::{HeaderMap, Method};

use crate::vectors::{self, Expectation, Format, Kind, Length, Settings, Switch, Vector};

const FEWEST_VECTORS: usize = 170;

/// The first word or words of every vector's name.
const GROUPS: [&str; 11] = [
    "alias-",
    "bearer-",
    "cap-",
    "data-",
    "get-challenge-",
    "header-",
    "hide-",
    "method-",
    "off-",
    "post-challenge-",
    "rotation-",
];

/// A request in the terms of the core.
pub(crate) struct Case<'a> {
    pub(crate) method: Method,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) length: BodyLength,
    pub(crate) now: UnixTime,
}

impl Case<'_> {
    /// Begins with the head and goes on to the body only when asked to, reading no further than the cap.
    ///
    /// Returns the `Debug` text of every step beside the verdict, for tests of what it must not show.
    pub(crate) fn judge(&self, scheme: &Scheme) -> (Verdict, String) {
        let head = Head {
            method: &self.method,
            query: self.query,
            headers: &self.headers,
            body: self.length,
        };
        let step = scheme.begin(&head, self.now);
        let mut shown = format!("{step:?}");
        let verdict = match step {
            Step::Decided(verdict) => verdict,
            Step::NeedBody(pending) if self.body.len() > pending.body_cap() => pending.overflow(),
            Step::NeedBody(pending) => pending.finish(self.body, self.now),
        };
        shown.push_str(&format!("{verdict:?}"));
        (verdict, shown)
    }
}

/// The label that the contract gives a reason.
fn label(reason: Reason) -> &'static str {
    match reason {
        Reason::MethodNotAllowed => "method_not_allowed",
        Reason::HeaderAlias => "header_alias",
        Reason::TokenMissing => "token_missing",
        Reason::TokenMismatch => "token_mismatch",
        Reason::TokenExpired => "token_expired",
        Reason::TokenAmbiguous => "token_ambiguous",
        Reason::ChallengeMalformed => "challenge_malformed",
    }
}

fn nothing_but(verdict: Kind) -> Expectation {
    Expectation {
        verdict,
        reason: None,
        challenge: None,
        body: None,
        token: None,
        hide_authorization: false,
    }
}

fn of_permit(permit: &Permit, token_id: impl Fn(usize) -> String) -> Expectation {
    Expectation {
        token: Some(token_id(permit.token())),
        hide_authorization: permit.hide_authorization(),
        ..nothing_but(Kind::Forward)
    }
}

fn of_reply(reply: Reply, token_id: impl Fn(usize) -> String) -> Expectation {
    Expectation {
        challenge: Some(reply.method().into()),
        token: Some(token_id(reply.token())),
        body: Some(reply.into_body()),
        ..nothing_but(Kind::Answer)
    }
}

fn of_rejection(rejection: Rejection) -> Expectation {
    Expectation {
        reason: Some(label(rejection.reason).to_owned()),
        challenge: rejection.challenge.map(Into::into),
        ..nothing_but(Kind::Refuse)
    }
}

/// A verdict in the terms of the vectors.
pub(crate) fn observed(scheme: &Scheme, verdict: Verdict) -> Expectation {
    let token_id = |position| {
        let token = scheme.tokens().iter().nth(position).unwrap();
        token.id().to_string()
    };
    match verdict {
        Verdict::Forward(permit) => of_permit(&permit, token_id),
        Verdict::Answer(reply) => of_reply(reply, token_id),
        Verdict::Refuse(rejection) => of_rejection(rejection),
    }
}

fn run(vector: &Vector, length: BodyLength) -> (Verdict, String) {
    let body = vector.body_bytes();
    let case = Case {
        method: vector.method(),
        query: vector.request.query.as_deref(),
        headers: vector.headers(),
        body: &body,
        length,
        now: vector.now(),
    };
    case.judge(&vector.scheme.compile())
}

/// Runs every vector, announced as `length` says, and lists the ones that come out differently.
fn differences(length: impl Fn(&Vector) -> BodyLength) -> Vec<String> {
    let differs = |(name, vector): (String, Vector)| {
        let (verdict, _) = run(&vector, length(&vector));
        let found = observed(&vector.scheme.compile(), verdict);
        (found != vector.expect).then(|| {
            let (about, expected) = (&vector.about, &vector.expect);
            format!("{name}: {about}\n  expected {expected:?}\n  found    {found:?}")
        })
    };
    vectors::all().into_iter().filter_map(differs).collect()
}

fn none(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} failed\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

#[test]
fn every_vector_gets_its_verdict() {
    assert!(vectors::all().len() >= FEWEST_VECTORS);
    none(&differences(Vector::body_length));
}

/// How a body is framed is the sender's choice (RFC 9112 §6) and says nothing about who sent it.
#[test]
fn framing_never_changes_a_verdict() {
    none(&differences(|vector| match vector.request.length {
        Length::Exact => BodyLength::Unknown,
        Length::Unknown => BodyLength::Exact(vector.body_bytes().len().try_into().unwrap()),
    }));
}

/// Whatever the head decides must not wait for a body, which an attacker may send slowly; and a body that
/// cannot be a challenge must stream.
#[test]
fn nothing_waits_for_a_body_without_need() {
    let mut failures = Vec::new();
    for (name, vector) in vectors::all() {
        let (method, headers) = (vector.method(), vector.headers());
        let head = Head {
            method: &method,
            query: vector.request.query.as_deref(),
            headers: &headers,
            body: vector.body_length(),
        };
        let scheme = vector.scheme.compile();
        let waits = matches!(scheme.begin(&head, vector.now()), Step::NeedBody(_));
        if waits && !may_wait(&vector) {
            failures.push(name);
        }
    }
    none(&failures);
}

fn may_wait(vector: &Vector) -> bool {
    // A refusal that is not one of a challenge comes from the head, unless it is for a token found nowhere.
    let expect = &vector.expect;
    let reason = expect.reason.as_deref();
    let by_head = expect.challenge.is_none() && reason.is_some_and(|it| it != "token_missing");
    let possible = match vector.request.length {
        Length::Exact => (1..=vector.scheme.challenge_body).contains(&vector.body_bytes().len()),
        Length::Unknown => true,
    };
    let answered = vector.scheme.challenge == Switch::Answer;
    !by_head && possible && answered && vector.method() == Method::POST
}

#[test]
fn debug_shows_nothing_that_a_sender_wrote() {
    let mut failures = Vec::new();
    for (name, vector) in vectors::all() {
        let (_, shown) = run(&vector, vector.body_length());
        let answer = vector.expect.body.unwrap_or_default();
        let secrets = [
            vectors::CURRENT,
            vectors::PREVIOUS,
            vectors::EXPIRED,
            &answer,
        ];
        let leaks = |secret: &&str| secret.len() > 1 && shown.contains(*secret);
        if secrets.iter().any(leaks) {
            failures.push(format!("{name}: {shown}"));
        }
    }
    none(&failures);
}

#[test]
fn the_media_type_follows_the_reply_setting() {
    for (name, vector) in vectors::all() {
        if let (Verdict::Answer(reply), _) = run(&vector, vector.body_length()) {
            let expected = match vector.scheme.reply {
                Format::Text => "text/plain; charset=utf-8",
                Format::Json => "application/json",
            };
            assert_eq!(reply.content_type(), expected, "{name}");
        }
    }
}

/// A parser strips white space around a field value (RFC 9112 §5.1) before the core sees it. Should one ever
/// not, the core must not do it in its place. No vector can say this: it does not survive a connection.
#[test]
fn white_space_around_a_token_is_never_trimmed() {
    for value in [
        format!(" {}", vectors::CURRENT),
        format!("{} ", vectors::CURRENT),
        format!("{}\t", vectors::CURRENT),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("verification-token", value.parse().unwrap());
        let case = Case {
            method: Method::POST,
            query: None,
            headers,
            body: b"{}",
            length: BodyLength::Exact(2),
            now: vectors::NOW,
        };
        let (verdict, _) = case.judge(&Settings::default().compile());
        let refused = matches!(&verdict, Verdict::Refuse(r) if r.reason == Reason::TokenMismatch);
        assert!(refused, "{value:?}: {verdict:?}");
    }
}

#[test]
fn the_vectors_are_well_kept() {
    let mut requests = BTreeMap::new();
    let mut labels = BTreeSet::new();
    for (name, vector) in vectors::all() {
        let group = GROUPS.iter().any(|group| name.starts_with(group));
        let kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(group && name.bytes().all(kebab), "{name}: odd name");
        let told = vector.about.ends_with('.') && !vector.source.is_empty();
        assert!(told, "{name}: says too little");
        assert!(complete(&vector.expect), "{name}: incomplete expectation");
        labels.extend(vector.expect.reason.clone());
        let twin = requests.insert(fingerprint(&vector), name.clone());
        assert_eq!(twin, None, "{name}: the same request twice");
    }
    assert_eq!(labels.len(), 7, "a reason has no vector: {labels:?}");
}

/// Whether the expectation has what its verdict calls for, and nothing else.
fn complete(expect: &Expectation) -> bool {
    let given = (
        expect.reason.is_some(),
        expect.body.is_some(),
        expect.token.is_some(),
    );
    match expect.verdict {
        Kind::Forward => given == (false, false, true) && expect.challenge.is_none(),
        Kind::Answer => given == (false, true, true) && expect.challenge.is_some(),
        Kind::Refuse => given == (true, false, false),
    }
}

fn fingerprint(vector: &Vector) -> String {
    let Settings {
        challenge,
        reply,
        authorization_bearer,
        challenge_body,
    } = vector.scheme;
    format!(
        "{challenge:?} {reply:?} {authorization_bearer} {challenge_body} {:?} {} {:?} {:?} {:?} {:?}",
        vector.now(),
        vector.method(),
        vector.request.query,
        vector.header_lines().collect::<Vec<_>>(),
        vector.body_bytes(),
        vector.body_length(),
    )
}
