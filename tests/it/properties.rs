//! What holds for every message, not only for those somebody thought of: sent through a whole gateway, it arrives
//! as a plain reading of the rules says, byte for byte.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{
    Backend, Connection, Gateway, Http2, Message, Protocol, Recorded, Reply, TOKEN,
};

/// Fields that end at the gateway whatever `Connection` says.
const STAY: [&str; 17] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "x-forwarded-for",
    "x_forwarded_for",
    "x-forwarded-host",
    "x-real-ip",
    "forwarded",
    "x-request-id",
    "x-http-method-override",
    "x_original_url",
    "proxy",
    "verification-token",
];
/// Fields that pass.
const PASS: [&str; 8] = [
    "content-type",
    "content-encoding",
    "application-name",
    "user-agent",
    "x-one",
    "x-two",
    "x_three",
    "x.four",
];
/// Those of them that `Connection` cannot take away.
const PROTECTED: [&str; 2] = ["content-type", "content-encoding"];
/// Fields the gateway sets.
const OURS: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "x-request-id",
];
/// HTTP/2 has no such fields (RFC 9113 §8.2.2).
const NOT_IN_HTTP2: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

type Fields = Vec<(String, String)>;

/// A field whose value is visible ASCII, with spaces inside.
fn field() -> impl Strategy<Value = (String, String)> {
    let known = select([&STAY[1..16], &PASS[..]].concat()).prop_map(str::to_owned);
    let name = prop_oneof![3 => known, 1 => "x-[a-z0-9]{1,12}"];
    (name, "([!-~]([ -~]{0,20}[!-~])?)?")
}

/// A `Connection` line that names some fields, in odd spelling.
fn connection() -> impl Strategy<Value = (String, String)> {
    let name = select(vec![
        "X-One",
        "x-two",
        "CONTENT-TYPE",
        "x_three",
        "keep-alive",
        "Host",
        "x.four",
    ]);
    let gap = select(vec![",", ", ", " ,", ",,", " , "]);
    vec((name, gap), 1..4).prop_map(|names| {
        let line = names.iter().map(|(name, gap)| format!("{name}{gap}"));
        (
            "connection".to_owned(),
            line.collect::<String>().trim().to_owned(),
        )
    })
}

fn fields() -> impl Strategy<Value = Fields> {
    vec(prop_oneof![6 => field(), 1 => connection()], 0..20).prop_map(|mut fields| {
        // A body has one type: a second line is refused, which is another test's matter.
        let mut typed = false;
        fields.retain(|(name, _)| name != "content-type" || !std::mem::replace(&mut typed, true));
        fields
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..100),
        vec(any::<u8>(), 4090..4102),
        vec(any::<u8>(), 0..20_000),
    ]
}

/// A message with a good token, ready for this protocol.
fn message(
    protocol: Protocol,
    fields: &Fields,
    body: &[u8],
    known_length: bool,
    query: &str,
) -> Message {
    let mut message = Message {
        known_length,
        ..Message::post(body)
    }
    .token()
    .target(&format!("/redox{query}"));
    for (name, value) in fields {
        if protocol == Protocol::Http1 || !NOT_IN_HTTP2.contains(&&**name) {
            message = message.header(name, value.as_bytes());
        }
    }
    message
}

/// What has to arrive of these fields, written as one would explain it.
fn expected(message: &Message) -> Fields {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let lines = message
        .headers
        .iter()
        .filter(|(name, _)| name == "connection");
    let named: Vec<String> = lines
        .flat_map(|(_, line)| {
            text(line)
                .split(',')
                .map(|name| name.trim().to_lowercase())
                .collect::<Vec<_>>()
        })
        .collect();
    let passes = |name: &str| {
        !STAY.contains(&name)
            && (PROTECTED.contains(&name) || !named.iter().any(|other| other == name))
    };
    let fields = message.headers.iter().filter(|(name, _)| passes(name));
    let mut fields: Fields = fields
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

/// The fields that are not the gateway's own; sorted by name, in order of arrival for each.
fn of_sender(request: &Recorded) -> Fields {
    let fields = request.headers.iter();
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut fields: Fields = fields
        .filter(|(name, _)| !OURS.contains(&&**name))
        .collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

/// A gateway and connections to it that serve all cases.
struct Bench {
    backend: Backend,
    gateway: Gateway,
    http1: RefCell<Connection>,
    http2: RefCell<Http2>,
}

impl Bench {
    fn new(backend: Backend) -> Self {
        let gateway = Gateway::before(&backend);
        let http1 = RefCell::new(gateway.connect());
        let http2 = RefCell::new(gateway.connect_http2());
        Self {
            backend,
            gateway,
            http1,
            http2,
        }
    }

    fn send(&self, protocol: Protocol, message: &Message) -> Option<crate::support::Answer> {
        match protocol {
            Protocol::Http1 => message.over_http1(&mut self.http1.borrow_mut()),
            Protocol::Http2 => message.over_http2(&mut self.http2.borrow_mut()),
        }
    }
}

fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&strategy, test)
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_good_message_arrives_as_the_rules_say() {
    let bench = Bench::new(Backend::ok());
    let query = "(\\?[a-zA-Z0-9=&%/?!$'()*+,;:@._~-]{0,30})?";
    let strategy = (
        fields(),
        body(),
        any::<bool>(),
        query,
        select(Protocol::BOTH.to_vec()),
    );
    run(200, strategy, |(fields, body, known, query, protocol)| {
        let before = bench.backend.requests().len();
        let message = message(protocol, &fields, &body, known, &query);
        let answer = bench.send(protocol, &message).unwrap();
        prop_assert_eq!(answer.status, 200);
        let mut requests = bench.backend.requests().split_off(before);
        prop_assert_eq!(requests.len(), 1);
        let request = requests.remove(0);
        prop_assert_eq!(&request.complaint, &None);
        prop_assert_eq!(&request.target, &format!("/redox{query}"));
        prop_assert!(request.body == body, "the body differs");
        prop_assert_eq!(of_sender(&request), expected(&message));
        prop_assert_eq!(request.value("x-forwarded-for"), Some("127.0.0.1"));
        prop_assert_eq!(request.value("host"), Some("localhost"));
        Ok(())
    });
}

#[test]
fn a_second_gateway_finds_nothing_more_to_clean() {
    // Two in a row, the first of which lets the token through: what one of them leaves, the other leaves as well.
    let backend = Backend::ok();
    let inner = Gateway::before(&backend);
    let url = format!("http://{}", inner.plain_address());
    let route = format!("upstream: {{ url: \"{url}\", forward_token: true }}");
    let outer = Gateway::with(&backend, "", &route);
    let connection = RefCell::new(outer.connect_plain());
    run(60, (fields(), body()), |(fields, body)| {
        let before = backend.requests().len();
        let message = message(Protocol::Http1, &fields, &body, true, "");
        let answer = message.over_http1(&mut connection.borrow_mut()).unwrap();
        prop_assert_eq!(answer.status, 200);
        let request = backend.requests().split_off(before).remove(0);
        prop_assert!(request.body == body, "the body differs");
        prop_assert_eq!(of_sender(&request), expected(&message));
        Ok(())
    });
    drop(connection);
    drop(outer);
}

#[test]
fn every_answer_comes_back_as_the_rules_say() {
    use std::sync::{Arc, Mutex};
    let next = Arc::new(Mutex::new((Fields::new(), Vec::new())));
    let told = Arc::clone(&next);
    let bench = Bench::new(Backend::with(move |_| {
        let (fields, body) = told.lock().unwrap().clone();
        let lines = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!(
            "HTTP/1.1 200 OK\r\n{}Content-Length: {}\r\n\r\n",
            lines.collect::<String>(),
            body.len()
        );
        Reply::Raw([head.into_bytes(), body].concat())
    }));
    let name = prop_oneof![
        select(vec![
            "set-cookie",
            "cache-control",
            "etag",
            "x-request-id",
            "vary",
            "location"
        ])
        .prop_map(str::to_owned),
        "x-[a-z0-9]{1,12}",
    ];
    let fields = vec((name, "([!-~]([ -~]{0,20}[!-~])?)?"), 0..20);
    let strategy = (fields, body(), select(Protocol::BOTH.to_vec()));
    run(150, strategy, |(fields, body, protocol)| {
        *next.lock().unwrap() = (fields.clone(), body.clone());
        let answer = bench.send(protocol, &Message::post("{}").token()).unwrap();
        prop_assert!(answer.body == body, "the body differs");
        let added = ["content-length", "date"];
        let mut came: Fields = answer
            .headers
            .into_iter()
            .filter(|(name, _)| !added.contains(&&**name))
            .collect();
        came.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut sent = fields;
        sent.sort_by(|(one, _), (other, _)| one.cmp(other));
        prop_assert_eq!(came, sent);
        Ok(())
    });
}

#[test]
fn no_message_without_the_token_passes() {
    let bench = Bench::new(Backend::ok());
    let almost = prop_oneof![
        (0..TOKEN.len(), 0_u8..7).prop_map(|(at, bit)| {
            let mut token = TOKEN.as_bytes().to_vec();
            token[at] ^= 1 << bit;
            token
        }),
        (0..TOKEN.len()).prop_map(|length| TOKEN.as_bytes()[..length].to_vec()),
        "[!-~]{0,60}".prop_map(String::into_bytes),
    ];
    // Controls would make the head unreadable, which is another matter.
    let almost = almost.prop_filter("a header value", |token| {
        token.iter().all(|byte| (b'!'..=b'~').contains(byte)) && token != TOKEN.as_bytes()
    });
    let strategy = (
        almost,
        vec(any::<u8>(), 0..3000),
        any::<bool>(),
        select(Protocol::BOTH.to_vec()),
    );
    run(200, strategy, |(token, body, known_length, protocol)| {
        let message = Message {
            known_length,
            ..Message::post(body)
        };
        let message = message.header("verification-token", token);
        let answer = bench.send(protocol, &message).unwrap();
        prop_assert_eq!(answer.is_own().status, 401);
        prop_assert_eq!(answer.text(), "not verified\n");
        Ok(())
    });
    assert_eq!(bench.backend.requests().len(), 0);
    let Bench {
        gateway,
        http1,
        http2,
        ..
    } = bench;
    drop((http1, http2));
    let story = gateway.finish();
    assert!(story.lines.iter().all(|line| line["outcome"] == "rejected"));
}
