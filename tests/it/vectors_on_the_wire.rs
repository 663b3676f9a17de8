//! Every vector through a whole gateway, over both protocols: what the verification core decides about a request is
//! what its sender is told and what the backend gets.
//!
//! The clock is real here. Two of the three tokens therefore end in the distant future and past, or the other way
//! round for the vectors in which they stand so. Left out are only vectors whose settings no configuration allows.

use std::collections::BTreeMap;

use countersign::verify::BodyLength;

use crate::support::{Answer, Backend, Environment, Gateway, Message, Protocol, Recorded, text};
use crate::vectors::{
    self, CURRENT, EXPIRED, Expectation, Format, Kind, PREVIOUS, Settings, Switch, Vector, Way,
};

/// Vectors with a clock of their own at which the previous token has ended, or the expired one has not.
const OF_ANOTHER_TIME: [&str; 4] = [
    "get-challenge-token-expired-one-second-ago",
    "post-challenge-token-expired-one-second-ago",
    "rotation-expired-token-before-its-end",
    "rotation-one-second-late",
];

/// What the configuration lets through as `challenge_body`, and how many vectors have another.
const CHALLENGE_BODY: std::ops::RangeInclusive<usize> = 256..=64 * 1024;
const NOT_CONFIGURABLE: usize = 4;

/// Fields of a recorded request that are the gateway's, not the sender's.
const OURS: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
];

fn hex_digest(value: &str) -> String {
    use std::fmt::Write;
    let mut hex = String::new();
    for byte in <sha2::Sha256 as sha2::Digest>::digest(value) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

/// The route of a vector.
fn route(settings: &Settings, other_time: bool) -> String {
    const PAST: &str = "2020-01-01T00:00:00Z";
    const FUTURE: &str = "2999-12-31T00:00:00Z";
    let (previous, expired) = if other_time {
        (PAST, FUTURE)
    } else {
        (FUTURE, PAST)
    };
    let challenge = match settings.challenge {
        Switch::Answer => "answer",
        Switch::Off => "off",
    };
    let reply = match settings.reply {
        Format::Text => "text",
        Format::Json => "json",
    };
    format!(
        "verify:\n  scheme: redox\n  challenge: {challenge}\n  reply: {reply}\n  authorization_bearer: {}\n  tokens:\n  \
         - {{ id: \"2026-11\", sha256: {} }}\n  \
         - {{ id: \"2026-05\", sha256: {}, not_after: {previous} }}\n  \
         - {{ id: \"2025-11\", sha256: {}, not_after: {expired} }}\n\
         limits: {{ challenge_body: {} }}",
        settings.authorization_bearer,
        hex_digest(CURRENT),
        hex_digest(PREVIOUS),
        hex_digest(EXPIRED),
        settings.challenge_body,
    )
}

fn message(vector: &Vector) -> Message {
    let target = match &vector.request.query {
        Some(query) => format!("/redox?{query}"),
        None => "/redox".to_owned(),
    };
    let mut message = Message::new(vector.method().as_str(), &target);
    for (name, value) in vector.header_lines() {
        message = message.header(name, value);
    }
    message.body = vector.body_bytes();
    message.known_length = vector.body_length() != BodyLength::Unknown;
    message
}

fn status(expect: &Expectation) -> u16 {
    match expect.reason.as_deref() {
        None => 200,
        Some("method_not_allowed") => 405,
        Some("header_alias" | "challenge_malformed") => 400,
        Some("token_missing" | "token_mismatch" | "token_expired" | "token_ambiguous") => 401,
        Some(other) => panic!("no status for {other}"),
    }
}

/// Vectors that one gateway can serve.
struct Group {
    settings: Settings,
    other_time: bool,
    vectors: Vec<(String, Vector)>,
}

fn groups() -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut left_out = 0;
    for (name, vector) in vectors::all() {
        let settings = vector.scheme;
        if !CHALLENGE_BODY.contains(&settings.challenge_body) {
            left_out += 1;
            continue;
        }
        let other_time = OF_ANOTHER_TIME.contains(&&*name);
        let group = groups.entry(format!("{settings:?} {other_time}"));
        let group = group.or_insert_with(|| Group {
            settings,
            other_time,
            vectors: Vec::new(),
        });
        group.vectors.push((name, vector));
    }
    assert_eq!(left_out, NOT_CONFIGURABLE);
    let of_another_time = groups.values().filter(|group| group.other_time);
    let found: usize = of_another_time.map(|group| group.vectors.len()).sum();
    assert_eq!(found, OF_ANOTHER_TIME.len(), "a name is gone");
    groups.into_values().collect()
}

/// What a whole gateway made of one vector.
struct Seen {
    answer: Answer,
    arrived: Vec<Recorded>,
}

fn check(name: &str, vector: &Vector, seen: &Seen) {
    let expect = &vector.expect;
    let Seen { answer, arrived } = seen;
    assert_eq!(answer.status, status(expect), "{name}");
    assert_eq!(
        arrived.len(),
        usize::from(expect.verdict == Kind::Forward),
        "{name}"
    );
    match expect.verdict {
        Kind::Forward => {
            assert_eq!(answer.text(), "received", "{name}");
            check_arrived(name, vector, &arrived[0]);
        }
        Kind::Answer => {
            assert_eq!(Some(answer.text()), expect.body.as_deref(), "{name}");
            answer.is_own();
        }
        Kind::Refuse => {
            let text = match answer.status {
                400 => "bad request\n",
                401 => "not verified\n",
                _ => "method not allowed\n",
            };
            let body = if vector.method() == "HEAD" { "" } else { text };
            assert_eq!(answer.is_own().text(), body, "{name}");
        }
    }
}

fn check_arrived(name: &str, vector: &Vector, arrived: &Recorded) {
    assert_eq!(arrived.complaint, None, "{name}");
    assert_eq!(arrived.method, "POST", "{name}");
    let body = vector.body_bytes();
    let kept = body.len().min(arrived.body.len());
    assert_eq!(arrived.body_length, body.len(), "{name}");
    assert_eq!(
        arrived.body_sha256[..],
        <sha2::Sha256 as sha2::Digest>::digest(&body)[..],
        "{name}"
    );
    assert!(arrived.body[..] == body[..kept], "{name}");
    let query = arrived.target.split_once('?').map(|(_, query)| query);
    assert_eq!(query, vector.request.query.as_deref(), "{name}");
    assert_eq!(fields_of(arrived), fields_sent(vector), "{name}");
}

/// The sender's own fields as they arrived, in lower case and sorted by name.
fn fields_of(arrived: &Recorded) -> Vec<(String, String)> {
    let fields = arrived.headers.iter();
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut fields: Vec<_> = fields
        .filter(|(name, _)| !OURS.contains(&&**name) && name != "x-request-id")
        .collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

/// What of the vector's fields has to arrive.
fn fields_sent(vector: &Vector) -> Vec<(String, String)> {
    let hidden = |name: &str| {
        name == "verification-token"
            || (name == "authorization" && vector.expect.hide_authorization)
            || [
                "connection",
                "expect",
                "proxy-authorization",
                "x-forwarded-for",
                "x-http-method-override",
            ]
            .contains(&name)
    };
    let fields = vector.header_lines();
    let fields = fields.map(|(name, value)| {
        let value = String::from_utf8_lossy(&value).into_owned();
        (name.to_ascii_lowercase(), value)
    });
    let mut fields: Vec<_> = fields.filter(|(name, _)| !hidden(name)).collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

/// The counters of a group's challenges, as the vectors have them.
fn challenge_counts(vectors: &[(String, Vector)]) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for (_, vector) in vectors {
        let method = match vector.expect.challenge {
            None => continue,
            Some(Way::Get) => "get",
            Some(Way::Post) => "post",
        };
        let result = match vector.expect.reason.as_deref() {
            None => "answered",
            Some("challenge_malformed") => "malformed",
            Some(_) => "token_mismatch",
        };
        let series = format!(
            r#"countersign_challenges_total{{method="{method}",result="{result}",route="redox"}}"#
        );
        *counts.entry(series).or_insert(0.0) += 1.0;
    }
    counts
}

fn play(protocol: Protocol) {
    for group in groups() {
        let Group {
            settings, vectors, ..
        } = &group;
        let backend = Backend::ok();
        let url = format!("http://{}", backend.address());
        let file = text(&url, "", &route(settings, group.other_time));
        let gateway = Gateway::from_text(&file, &Environment::default());
        let mut http2 = gateway.connect_http2();
        let mut before = 0;
        for (name, vector) in vectors {
            let name = format!("{name} over {protocol:?}");
            let answer = match protocol {
                Protocol::Http1 => message(vector).over_http1(&mut gateway.connect_plain()),
                Protocol::Http2 => message(vector).over_http2(&mut http2),
            };
            let answer = answer.unwrap_or_else(|| panic!("{name}: no answer"));
            let requests = backend.requests();
            let arrived = requests[before..].to_vec();
            before = requests.len();
            check(&name, vector, &Seen { answer, arrived });
        }
        drop(http2);
        let story = gateway.finish();
        assert_eq!(story.lines.len(), vectors.len(), "{settings:?}");
        for ((name, vector), line) in vectors.iter().zip(&story.lines) {
            let expect = &vector.expect;
            assert_eq!(line["reason"].as_str(), expect.reason.as_deref(), "{name}");
            assert_eq!(line["token_id"].as_str(), expect.token.as_deref(), "{name}");
        }
        for (series, count) in challenge_counts(vectors) {
            assert_eq!(story.value(&series), count, "{series} of {settings:?}");
        }
    }
}

#[test]
fn http1_gets_the_verdicts_of_the_vectors() {
    play(Protocol::Http1);
}

#[test]
fn http2_gets_the_verdicts_of_the_vectors() {
    play(Protocol::Http2);
}
