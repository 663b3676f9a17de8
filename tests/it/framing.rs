//! HTTP/1.1 with no reading, or with two: refused before anybody can be deceived. What is merely odd arrives
//! in its one canonical form.
//!
//! The cases are in `tests/vectors/http1`. All of them carry a good token, so only the reading of the bytes
//! can stop them; the backend reads by the strictest rules and has nothing to complain about.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;

use crate::support::{Backend, Connection, Environment, Gateway, TOKEN, text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    why: String,
    source: String,
    request: Option<String>,
    line: Option<String>,
    #[serde(default)]
    lines: String,
    #[serde(default)]
    body: String,
    status: u16,
    interim: Option<u16>,
    then: Option<u16>,
    reason: Option<String>,
    #[serde(default)]
    open: bool,
    target: Option<String>,
    #[serde(default)]
    arrives: BTreeMap<String, String>,
    #[serde(default)]
    gone: Vec<String>,
    delivered: Option<String>,
}

impl Case {
    /// The bytes on the wire: one character of the file is one byte.
    fn bytes(&self, scheme: &str) -> Vec<u8> {
        let text = self.request.clone().unwrap_or_else(|| {
            let line = self.line.as_deref().unwrap_or("POST /redox HTTP/1.1");
            let (lines, body) = (&self.lines, &self.body);
            format!(
                "{line}\r\nHost: ehr.example.org\r\nverification-token: <token>\r\n{lines}\r\n{body}"
            )
        });
        latin1(&text.replace("<token>", TOKEN).replace("<scheme>", scheme))
    }

    fn delivered(&self) -> Vec<u8> {
        latin1(self.delivered.as_ref().unwrap_or(&self.body))
    }

    fn reason(&self) -> &str {
        if let Some(reason) = &self.reason {
            return reason;
        }
        match self.status {
            200 => "",
            400 => "malformed",
            404 => "no_route",
            405 => "method_not_allowed",
            413 => "body_too_large",
            417 => "expectation_failed",
            status => panic!("{}: no reason for {status}", self.name),
        }
    }

    /// Nothing of it may arrive.
    fn is_hostile(&self) -> bool {
        self.status != 200 || self.then.is_some()
    }

    fn outcomes(&self) -> Vec<(String, String)> {
        let pair = |status: u16, reason: &str| {
            let outcome = if status == 200 {
                "forwarded"
            } else {
                "rejected"
            };
            (outcome.to_owned(), reason.to_owned())
        };
        let second = self.then.map(|status| pair(status, "malformed"));
        let kept = self.open.then(|| pair(200, ""));
        let first = pair(self.status, self.reason());
        [Some(first), second, kept].into_iter().flatten().collect()
    }
}

pub(crate) fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| u8::try_from(u32::from(char)).expect("one character is one byte"))
        .collect()
}

fn cases(file: &str) -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/http1");
    let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
    let cases: Vec<Case> =
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    for case in &cases {
        assert!(
            !case.why.is_empty() && !case.source.is_empty(),
            "{}",
            case.name
        );
    }
    cases
}

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

/// How the bytes of a case travel.
#[derive(Clone, Copy, Debug)]
enum Travel {
    /// In one piece, over TLS.
    Whole,
    ByteByByte,
    /// In two pieces, the first of which has this many bytes.
    Split(usize),
    /// In one piece with a good request before it.
    BehindGood,
}

impl Travel {
    fn connect(self, gateway: &Gateway) -> Connection {
        match self {
            Self::Whole => gateway.connect(),
            Self::ByteByByte | Self::Split(_) | Self::BehindGood => gateway.connect_plain(),
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Whole => "https",
            Self::ByteByByte | Self::Split(_) | Self::BehindGood => "http",
        }
    }

    fn send(self, connection: &mut Connection, bytes: &[u8]) {
        match self {
            Self::Whole => {
                connection.send(bytes);
            }
            Self::ByteByByte => {
                for byte in bytes.chunks(1) {
                    connection.send(byte);
                }
            }
            Self::Split(at) => {
                let (first, second) = bytes.split_at(at);
                connection.send(first).send(second);
            }
            Self::BehindGood => {
                let token = token_line();
                let good = format!(
                    "POST /redox HTTP/1.1\r\nHost: a\r\n{token}Content-Length: 2\r\n\r\n{{}}"
                );
                connection.send([good.as_bytes(), bytes].concat());
                let answer = connection.any_answer().expect("an answer to the good one");
                assert_eq!(answer.status, 200, "the good one");
            }
        }
    }

    /// Every way but the splits of these bytes, then as many of those as short bytes deserve.
    fn splits(bytes: &[u8]) -> impl Iterator<Item = Self> {
        let step = if bytes.len() < 64 {
            1
        } else {
            bytes.len() / 24
        };
        (1..bytes.len()).step_by(step).map(Self::Split)
    }
}

/// What the sender sees.
fn converse(case: &Case, connection: &mut Connection, travel: Travel) {
    travel.send(connection, &case.bytes(travel.scheme()));
    if let Some(interim) = case.interim {
        assert_eq!(connection.any_answer().unwrap().status, interim);
    }
    let answer = connection.any_answer().expect("an answer");
    assert_eq!(answer.status, case.status);
    if case.status != 200 {
        answer.is_own();
    }
    if let Some(then) = case.then {
        assert_eq!(
            connection
                .any_answer()
                .expect("a second answer")
                .is_own()
                .status,
            then
        );
    }
    if case.open {
        let next = connection.post(&token_line(), b"{}").answer();
        assert_eq!(next.status, 200, "on the same connection");
    } else if case.status != 200 || case.then.is_some() {
        assert!(connection.is_closed(), "still open");
    }
}

/// What the backend sees of an accepted request.
fn check_arrival(case: &Case, backend: &Backend, seen: usize, scheme: &str) {
    let requests = backend.requests();
    let request = &requests[seen];
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, case.target.as_deref().unwrap_or("/redox"));
    assert_eq!(request.body, case.delivered(), "{request:?}");
    for (name, value) in &case.arrives {
        let expected = value.replace("<scheme>", scheme);
        assert_eq!(request.value(name), Some(&*expected), "{name}");
    }
    for name in &case.gone {
        // The backend's framing is ours: what the sender said about it is gone when there is one reading only.
        assert_eq!(
            request.values(name).len(),
            usize::from(name == "Content-Length"),
            "{name}"
        );
    }
}

fn check(case: &Case, gateway: &Gateway, backend: &Backend, travel: Travel) {
    let seen = backend.requests().len();
    let mut connection = travel.connect(gateway);
    converse(case, &mut connection, travel);
    let before = usize::from(matches!(travel, Travel::BehindGood));
    let accepted = usize::from(case.status == 200);
    let kept = usize::from(case.open);
    let clean = gateway.connect_plain().post(&token_line(), b"{}").answer();
    assert_eq!(clean.status, 200, "a clean request afterwards");
    let requests = backend.requests();
    assert_eq!(
        requests.len(),
        seen + before + accepted + kept + 1,
        "requests at the backend"
    );
    for request in &requests[seen..] {
        assert_eq!(request.complaint, None);
    }
    if accepted == 1 {
        check_arrival(case, backend, seen + before, travel.scheme());
    }
}

/// The route of the other tests, and one with a tail.
fn gateway(backend: &Backend) -> Gateway {
    let url = format!("http://{}", backend.address());
    let tail = format!(
        "\n  - path: /fhir/*\n    name: fhir\n    verify: {{ scheme: redox, tokens: [{{ id: current, env: REDOX_TOKEN }}] }}\n\
         \x20   upstream: {{ url: \"{url}\" }}\n"
    );
    Gateway::from_text(&(text(&url, "", "") + &tail), &Environment::default())
}

fn run(file: &str, travels: impl Fn(&Case) -> Vec<Travel>) {
    let backend = Backend::ok();
    let gateway = gateway(&backend);
    let mut failed = Vec::new();
    let mut expected = Vec::new();
    let forwarded = || ("forwarded".to_owned(), String::new());
    for case in cases(file) {
        for travel in travels(&case) {
            let checked = || check(&case, &gateway, &backend, travel);
            if catch_unwind(AssertUnwindSafe(checked)).is_err() {
                eprintln!("{file}: {} failed, {travel:?}", case.name);
                failed.push(case.name.clone());
            }
            expected.extend(matches!(travel, Travel::BehindGood).then(forwarded));
            expected.extend(case.outcomes());
            expected.push(forwarded());
        }
    }
    assert!(failed.is_empty(), "{file}: {failed:#?}");
    let story = gateway.finish();
    let mut outcomes: Vec<(String, String)> = story
        .outcomes()
        .into_iter()
        .map(|(outcome, reason)| (outcome.to_owned(), reason.to_owned()))
        .collect();
    outcomes.sort();
    expected.sort();
    assert_eq!(outcomes, expected, "{file}");
}

macro_rules! files {
    ($($name:ident: $file:literal,)+) => {
        $(mod $name {
            #[test]
            fn whole() {
                super::run($file, |_| vec![super::Travel::Whole]);
            }

            #[test]
            fn byte_by_byte() {
                super::run($file, |_| vec![super::Travel::ByteByByte]);
            }

            #[test]
            fn split_in_two() {
                super::run($file, |case| super::Travel::splits(&case.bytes("http")).collect());
            }

            #[test]
            fn behind_a_good_one() {
                super::run($file, |_| vec![super::Travel::BehindGood]);
            }
        })+

        /// How many cases nothing may arrive of.
        fn hostile_cases() -> usize {
            let all = [$(cases($file)),+];
            all.iter().flatten().filter(|case| case.is_hostile()).count()
        }

        /// The bytes of every case.
        pub(crate) fn every_request() -> Vec<Vec<u8>> {
            let all = [$(cases($file)),+];
            all.iter().flatten().map(|case| case.bytes("http")).collect()
        }

        #[test]
        fn every_file_is_run() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/http1");
            let entries = std::fs::read_dir(folder).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut found: Vec<String> = names.filter(|name| name.ends_with(".yaml")).collect();
            found.sort();
            assert_eq!(found, [$($file),+]);
        }
    };
}

files! {
    chunks: "chunks.yaml",
    content_length: "content-length.yaml",
    fields: "fields.yaml",
    host: "host.yaml",
    lines: "lines.yaml",
    more: "more.yaml",
    overrides: "overrides.yaml",
    paths: "paths.yaml",
    target: "target.yaml",
    transfer_encoding: "transfer-encoding.yaml",
}

#[test]
fn there_are_three_hundred_hostile_cases() {
    let (http1, http2) = (hostile_cases(), crate::framing_http2::hostile_cases());
    println!("hostile cases: {http1} over HTTP/1.1, {http2} over HTTP/2");
    assert!(http1 + http2 >= 300, "{http1} and {http2}");
}

#[test]
fn bounds_within_chunked_bodies() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let cases = [
        (
            "extension at its cap",
            format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(1024)),
            200,
        ),
        (
            "extension over it",
            format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(1025)),
            400,
        ),
        (
            "extensions over it in sum",
            format!(
                "{}0\r\n\r\n",
                format!("1;{}\r\n \r\n", "x".repeat(103)).repeat(10)
            ),
            400,
        ),
        (
            "trailers over their cap",
            format!("0\r\n{}\r\n", "X: yyyyyyyyyyyyy\r\n".repeat(300)),
            400,
        ),
    ];
    for (name, body, status) in cases {
        let token = token_line();
        let head =
            format!("POST /redox HTTP/1.1\r\nHost: a\r\n{token}Transfer-Encoding: chunked\r\n\r\n");
        let answer = gateway.connect_plain().send(head + &body).answer();
        assert_eq!(answer.status, status, "{name}");
    }
    assert_eq!(backend.only_request().complaint, None);
}

/// The body is over the challenge cap, so it streams: the upload has begun when the fault comes.
#[test]
fn a_fault_far_into_a_body_breaks_the_upload_off() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let token = token_line();
    let head =
        format!("POST /redox HTTP/1.1\r\nHost: a\r\n{token}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let mut connection = gateway.connect();
    let answer = connection
        .send(head + &chunk + &chunk + "2\n{}\r\n0\r\n\r\n")
        .answer();
    assert_eq!(answer.is_own().status, 400);
    assert!(connection.is_closed());
    assert_eq!(gateway.connect().post(&token, b"{}").answer().status, 200);
    let whole: Vec<_> = backend
        .requests()
        .into_iter()
        .filter(|request| request.complaint.is_none())
        .collect();
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].body, b"{}");
    assert_eq!(
        gateway.finish().outcomes(),
        [("rejected", "malformed"), ("forwarded", "")]
    );
}

#[test]
fn pipelined_requests_are_answered_in_order_and_each_is_judged() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let good = format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: 2\r\n\r\n{{}}",
        token_line()
    );
    let bad = "POST /redox HTTP/1.1\r\nHost: a\r\nverification-token: wrong\r\nContent-Length: 2\r\n\r\n{}";
    let broken = "POST /redox HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
    let mut connection = gateway.connect();
    connection.send([&good, bad, &good, broken, &good].concat());
    for status in [200, 401, 200, 400] {
        assert_eq!(connection.answer().status, status);
    }
    assert!(connection.is_closed());
    assert_eq!(backend.requests().len(), 2);
}
