//! What must hold for every request, not only for the ones in the vectors.
//!
//! The generators lean towards the interesting: names and values that resemble the real ones, and bodies put
//! together as text, so that spelling (order, escapes, white space, repetition) varies on its own. What a body
//! is taken for is checked against an independent reading through `serde_json::Value`.

use countersign::verify::{BodyLength, Reason, Scheme, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use crate::scheme::{Case, observed};
use crate::vectors::{CURRENT, EXPIRED, NOW, PREVIOUS, Settings, Switch};

const HEADER: &str = "verification-token";
const VALID: [&str; 2] = [CURRENT, PREVIOUS];
const CHALLENGE: &str = "d1ce-but-never-in-a-refusal";
const MESSAGE: &str = r#"{"Meta":{"DataModel":"PatientAdmin"}}"#;

/// Everything a sender chooses.
#[derive(Clone, Debug)]
struct Sent {
    method: Method,
    query: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    chunked: bool,
}

impl Sent {
    fn post(headers: Vec<(&str, &str)>, body: impl Into<Vec<u8>>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.as_bytes().to_vec());
        Self {
            method: Method::POST,
            query: None,
            headers: headers.into_iter().map(owned).collect(),
            body: body.into(),
            chunked: false,
        }
    }

    fn get(query: String) -> Self {
        Self {
            method: Method::GET,
            query: Some(query),
            ..Self::post(Vec::new(), "")
        }
    }

    /// The headers a parser would have let through.
    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }

    fn judge(&self, scheme: &Scheme) -> (Verdict, String) {
        let length = match self.chunked {
            true => BodyLength::Unknown,
            false => BodyLength::Exact(self.body.len().try_into().unwrap()),
        };
        let case = Case {
            method: self.method.clone(),
            query: self.query.as_deref(),
            headers: self.header_map(),
            body: &self.body,
            length,
            now: NOW,
        };
        case.judge(scheme)
    }

    fn forwarded(&self, settings: &Settings) -> bool {
        matches!(self.judge(&settings.compile()).0, Verdict::Forward(_))
    }
}

fn with_bearer(authorization_bearer: bool) -> Settings {
    Settings {
        authorization_bearer,
        ..Settings::default()
    }
}

fn lines<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

/// What follows `Bearer` in each line that begins so.
fn bearer_tokens(headers: &HeaderMap) -> Vec<&[u8]> {
    lines(headers, "authorization")
        .filter_map(|line| line.strip_prefix(b"Bearer "))
        .map(<[u8]>::trim_ascii_start)
        .collect()
}

fn is_valid(token: &[u8]) -> bool {
    VALID.iter().any(|valid| valid.as_bytes() == token)
}

// --- generators ---------------------------------------------------------------------------------

/// Tokens right, expired, nearly right and absurd.
fn token() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => select(&VALID[..]).prop_map(Vec::from),
        1 => Just(EXPIRED.into()),
        1 => Just(Vec::new()),
        1 => Just(format!("{CURRENT}, {CURRENT}").into()),
        2 => mutated().prop_map(|(_, wrong)| wrong),
        1 => vec(any::<u8>(), 0..60),
    ]
}

/// A valid token, and the same with one byte flipped, added or removed.
fn mutated() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let edit = (select(&VALID[..]), 0..64_usize, 1..=255_u8, 0..3_u8);
    edit.prop_map(|(token, at, mask, kind)| {
        let mut wrong = token.as_bytes().to_vec();
        let at = at % wrong.len();
        match kind {
            0 => wrong[at] ^= mask,
            1 => wrong.insert(at + usize::from(mask % 2), mask),
            _ => drop(wrong.remove(at)),
        }
        (token, wrong)
    })
}

fn header() -> impl Strategy<Value = (String, Vec<u8>)> {
    const NAMES: [&str; 10] = [
        HEADER,
        HEADER,
        "Verification-Token",
        "authorization",
        "authorization",
        "verification_token",
        "verification.token",
        "x-verification-token",
        "cookie",
        "content-type",
    ];
    let name = prop_oneof![
        12 => select(&NAMES[..]).prop_map(str::to_owned),
        1 => "[a-z_-]{1,20}",
    ];
    let bearer = token().prop_map(|token| [b"Bearer ", &*token].concat());
    (name, prop_oneof![3 => token(), 1 => bearer])
}

fn pair() -> impl Strategy<Value = String> {
    const KEYS: [&str; 5] = [
        "challenge",
        HEADER,
        "%63hallenge",
        "verification%2dtoken",
        "x",
    ];
    let value = prop_oneof![
        token().prop_map(|token| percent(&token)),
        Just(CHALLENGE.to_owned()),
        "[!-~]{0,8}",
    ];
    (select(&KEYS[..]), value).prop_map(|(key, value)| format!("{key}={value}"))
}

fn percent(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn query() -> impl Strategy<Value = String> {
    let asking =
        token().prop_map(|token| format!("{HEADER}={}&challenge={CHALLENGE}", percent(&token)));
    prop_oneof![
        2 => asking,
        4 => vec(pair(), 0..4).prop_map(|pairs| pairs.join("&")),
        1 => any::<String>(),
    ]
}

/// A JSON string in one of its many spellings.
fn spelt(text: &str, escapes: u32) -> String {
    let one = |(at, letter): (usize, char)| match (escapes >> (at % 32)) & 1 {
        1 => format!("\\u{:04x}", u32::from(letter)),
        _ => letter.to_string(),
    };
    let inner: String = text.chars().enumerate().map(one).collect();
    format!("\"{inner}\"")
}

fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(&[CURRENT, PREVIOUS, EXPIRED, CHALLENGE, "Meta", "<b>", ""][..])
            .prop_map(|text| spelt(text, 0)),
        select(&["null", "true", "-0.5e3", "\"\\ud83c\\udfe5\"", "[]"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let member = (select(&KEYS[..]), inner.clone());
        prop_oneof![
            vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            vec(member, 0..3).prop_map(|members| {
                let member = |(key, value)| format!("\"{key}\":{value}");
                let members: Vec<String> = members.into_iter().map(member).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

const KEYS: [&str; 8] = [
    HEADER,
    "challenge",
    "Meta",
    "resourceType",
    "meta",
    "Challenge",
    "verification_token",
    "x",
];

/// One member of an object, with white space around.
fn member() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        6 => select(&KEYS[..2]),
        2 => select(&KEYS[4..]),
        1 => select(&KEYS[2..4]),
    ];
    let escapes = prop_oneof![2 => Just(0), 1 => any::<u32>()];
    let blank = select(&["", "", " ", "\n", "\t\r\n "][..]);
    (key, escapes, json_value(), blank)
        .prop_map(|(key, bits, value, s)| format!("{s}{}{s}:{s}{value}{s}", spelt(key, bits)))
}

fn object() -> impl Strategy<Value = String> {
    let mark = select(&["", "", "", "\u{feff}"][..]);
    (mark, vec(member(), 0..5))
        .prop_map(|(mark, members)| format!("{mark}{{{}}}", members.join(",")))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let asking = token().prop_map(|token| {
        let head = br#"{"challenge":"d1ce-but-never-in-a-refusal","verification-token":""#;
        [head, &*token, br#""}"#].concat()
    });
    prop_oneof![
        2 => asking,
        4 => object().prop_map(String::into_bytes),
        1 => Just(MESSAGE.into()),
        1 => Just(Vec::new()),
        1 => vec(any::<u8>(), 0..200),
        1 => (object(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
            let mut body = text.into_bytes();
            let at = at.index(body.len());
            body[at] = byte;
            body
        }),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = prop_oneof![
        6 => Just(Method::POST),
        2 => Just(Method::GET),
        1 => select(vec![Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS]),
    ];
    let headers = vec(header(), 0..4);
    (method, option::of(query()), headers, body(), any::<bool>()).prop_map(
        |(method, query, headers, body, chunked)| Sent {
            method,
            query,
            headers,
            body,
            chunked,
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let switch = select(vec![Switch::Answer, Switch::Answer, Switch::Off]);
    let cap = select(vec![4096_usize, 60, 0]);
    (switch, any::<bool>(), cap).prop_map(|(challenge, bearer, challenge_body)| Settings {
        challenge,
        challenge_body,
        ..with_bearer(bearer)
    })
}

// --- an independent reading ---------------------------------------------------------------------

/// What a body is to a parser of our own choosing: `None` when that cannot read it.
fn is_challenge(body: &[u8]) -> Option<bool> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let value: Value = serde_json::from_slice(body).ok()?;
    let has = |key: &str| value.get(key).is_some();
    Some(has(HEADER) && has("challenge") && !has("Meta") && !has("resourceType"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn only_a_post_with_exactly_one_right_header_is_forwarded(sent in sent()) {
        if sent.forwarded(&with_bearer(false)) {
            let headers = sent.header_map();
            prop_assert_eq!(&sent.method, Method::POST);
            let tokens: Vec<&[u8]> = lines(&headers, HEADER).collect();
            prop_assert!(tokens.len() == 1 && is_valid(tokens[0]));
            prop_assert!(!headers.contains_key("verification_token"));
            prop_assert!(!headers.contains_key("verification.token"));
        }
    }

    #[test]
    fn a_bearer_token_is_no_more_than_a_second_place_for_the_same_one(sent in sent()) {
        if sent.forwarded(&with_bearer(true)) {
            let headers = sent.header_map();
            let bearers: Vec<&[u8]> = bearer_tokens(&headers);
            let header: Vec<&[u8]> = lines(&headers, HEADER).collect();
            prop_assert_eq!(&sent.method, Method::POST);
            prop_assert!(header.len() <= 1 && bearers.len() <= 1);
            prop_assert!(header.iter().chain(&bearers).all(|token| is_valid(token)));
            prop_assert!(header == bearers || header.is_empty() || bearers.is_empty());
            prop_assert!(header.len() + bearers.len() >= 1);
        }
    }

    #[test]
    fn a_message_with_the_right_header_is_always_forwarded(
        token in select(&VALID[..]),
        others in vec(("x-[a-z]{1,12}", token()), 0..4),
        query in option::of(query()),
        tail in json_value(),
        chunked in any::<bool>(),
    ) {
        let body = format!(r#"{{"x":{tail},"Meta":{{}},"verification-token":{tail},"challenge":{tail}}}"#);
        let mut sent = Sent { query, chunked, ..Sent::post(vec![(HEADER, token)], body) };
        sent.headers.extend(others);
        prop_assert!(sent.forwarded(&with_bearer(false)));
    }

    #[test]
    fn one_byte_off_never_passes_a_header((_, wrong) in mutated(), bearer in any::<bool>()) {
        let mut sent = Sent::post(Vec::new(), MESSAGE);
        sent.headers = match bearer {
            false => vec![(HEADER.to_owned(), wrong)],
            true => vec![("authorization".to_owned(), [b"Bearer ", &*wrong].concat())],
        };
        // White space in front of credentials separates them from the scheme; it is not part of them.
        let blank = bearer && sent.headers[0].1.get(7).is_some_and(u8::is_ascii_whitespace);
        prop_assert!(blank || !sent.forwarded(&with_bearer(bearer)));
    }

    #[test]
    fn one_byte_off_never_passes_a_query((token, wrong) in mutated(), first in any::<bool>()) {
        let pair = |token: &[u8]| {
            let token = format!("{HEADER}={}", percent(token));
            let value = format!("challenge={CHALLENGE}");
            if first { format!("{token}&{value}") } else { format!("{value}&{token}") }
        };
        let scheme = Settings::default().compile();
        let (bad, shown) = Sent::get(pair(&wrong)).judge(&scheme);
        prop_assert!(matches!(bad, Verdict::Refuse(_)) && !shown.contains(CHALLENGE));
        let (good, _) = Sent::get(pair(token.as_bytes())).judge(&scheme);
        prop_assert!(matches!(good, Verdict::Answer(_)), "no power: the right token was refused");
    }

    #[test]
    fn one_byte_off_never_passes_a_body((token, wrong) in mutated(), header in any::<bool>()) {
        let body = |token: &[u8]| {
            let quoted = serde_json::to_string(&String::from_utf8_lossy(token)).unwrap();
            format!(r#"{{"challenge":"{CHALLENGE}","verification-token":{quoted}}}"#)
        };
        let headers = if header { vec![(HEADER, token)] } else { Vec::new() };
        let scheme = Settings::default().compile();
        let (bad, shown) = Sent::post(headers.clone(), body(&wrong)).judge(&scheme);
        prop_assert!(matches!(bad, Verdict::Refuse(_)) && !shown.contains(CHALLENGE));
        let (good, _) = Sent::post(headers, body(token.as_bytes())).judge(&scheme);
        prop_assert!(matches!(good, Verdict::Answer(_)), "no power: the right token was refused");
    }

    #[test]
    fn a_challenge_is_never_forwarded_and_a_message_never_answered(body in body(), chunked in any::<bool>()) {
        let challenge = is_challenge(&body);
        let sent = Sent { chunked, ..Sent::post(vec![(HEADER, CURRENT)], body) };
        let (verdict, _) = sent.judge(&Settings::default().compile());
        match challenge {
            Some(true) => prop_assert!(!matches!(verdict, Verdict::Forward(_)), "{verdict:?}"),
            Some(false) => prop_assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}"),
            None => {}
        }
    }

    #[test]
    fn bytes_outside_utf8_do_not_hide_a_challenge(
        token in vec(any::<u8>().prop_filter("kept in the string", |b| !b"\"\\".contains(b) && *b >= 0x20), 0..40),
        value in vec(0x80_u8.., 1..10),
    ) {
        let parts: [&[u8]; 5] = [br#"{"verification-token":""#, &token, br#"","challenge":""#, &value, br#""}"#];
        let sent = Sent::post(vec![(HEADER, CURRENT)], parts.concat());
        prop_assert!(matches!(sent.judge(&Settings::default().compile()).0, Verdict::Refuse(_)));
    }

    #[test]
    fn without_a_right_token_nothing_is_answered(mut sent in sent(), settings in settings()) {
        let gone = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(CURRENT, "n0t-it").replace(PREVIOUS, "n0r-this");
        for (_, value) in &mut sent.headers {
            *value = gone(value).into_bytes();
        }
        sent.body = gone(&sent.body).into_bytes();
        let encoded = |query: String| VALID.iter().fold(query, |q, valid| q.replace(&percent(valid.as_bytes()), "n0"));
        sent.query = sent.query.map(encoded);
        let (verdict, shown) = sent.judge(&settings.compile());
        prop_assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
        prop_assert!(!shown.contains(CHALLENGE));
    }

    #[test]
    fn an_answer_is_one_of_the_values_that_were_sent(sent in sent(), settings in settings()) {
        if let (Verdict::Answer(reply), _) = sent.judge(&settings.compile()) {
            let answer = reply.into_body();
            let harmless = |b: u8| b.is_ascii_alphanumeric() || b"._~+/=-".contains(&b);
            prop_assert!(settings.challenge == Switch::Answer);
            prop_assert!(!answer.is_empty() && answer.len() <= 256 && answer.bytes().all(harmless));
        }
    }

    #[test]
    fn framing_changes_nothing(sent in sent(), settings in settings()) {
        let scheme = settings.compile();
        let (exact, _) = Sent { chunked: false, ..sent.clone() }.judge(&scheme);
        let (chunked, _) = Sent { chunked: true, ..sent }.judge(&scheme);
        prop_assert_eq!(observed(&scheme, exact), observed(&scheme, chunked));
    }

    #[test]
    fn nothing_panics(
        method in "[!-~]{1,8}",
        query in option::of(any::<String>()),
        headers in vec(("[a-zA-Z_.~-]{1,20}", vec(any::<u8>(), 0..80)), 0..8),
        body in vec(any::<u8>(), 0..600),
        chunked in any::<bool>(),
        settings in settings(),
    ) {
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::POST);
        let sent = Sent { method, query, headers, body, chunked };
        let (verdict, _) = sent.judge(&settings.compile());
        prop_assert!(matches!(verdict, Verdict::Refuse(_)), "noise passed");
    }
}

/// A generator that never reaches the interesting cases proves nothing.
#[test]
fn the_generators_reach_every_verdict() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut forwarded, mut answered, mut reasons) = (0, 0, std::collections::HashMap::new());
    let scheme = with_bearer(true).compile();
    for _ in 0..4000 {
        let sent = sent().new_tree(&mut runner).unwrap().current();
        match sent.judge(&scheme).0 {
            Verdict::Forward(_) => forwarded += 1,
            Verdict::Answer(_) => answered += 1,
            Verdict::Refuse(rejection) => *reasons.entry(rejection.reason).or_insert(0) += 1,
        }
    }
    assert!(forwarded >= 100, "{forwarded} forwarded");
    assert!(answered >= 20, "{answered} answered");
    let rarest = reasons.values().min().copied().unwrap_or(0);
    assert!(reasons.len() == 7 && rarest >= 10, "{reasons:?}");
    assert!(reasons.contains_key(&Reason::ChallengeMalformed));
}
