//! HTTP/2 with no reading, or with two: the stream or the connection ends, nothing arrives, and the next
//! connection is served as if nothing had been. The cases are in `tests/vectors/http2`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;

use crate::framing::latin1;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, block, frame,
};
use crate::support::{Backend, Gateway, TOKEN, http2_post};

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// An answer, told by the first byte of its header block: the statuses of interest are in HPACK's static
    /// table (RFC 7541 appendix A).
    Status(u16),
    StreamReset,
    ConnectionEnded,
}

fn ending(frames: &mut Frames) -> Ending {
    while let Some(frame) = frames.next() {
        match frame.kind {
            HEADERS => {
                return Ending::Status(match frame.payload[0] {
                    0x88 => 200,
                    0x8c => 400,
                    _ => 0,
                });
            }
            RST_STREAM => return Ending::StreamReset,
            GOAWAY => return Ending::ConnectionEnded,
            _ => {}
        }
    }
    Ending::ConnectionEnded
}

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "https");
const PATH: (&str, &str) = (":path", "/redox");
const AUTHORITY: (&str, &str) = (":authority", "localhost");
const TOKEN_FIELD: (&str, &str) = ("verification-token", TOKEN);

fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    block(&fields)
}

/// A good head and one more field.
fn good_and(name: &str, value: &str) -> Vec<u8> {
    fields(&[METHOD, SCHEME, AUTHORITY, PATH, TOKEN_FIELD, (name, value)])
}

/// One case of `tests/vectors/http2`; see its README.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    why: String,
    source: String,
    head: Option<Vec<(String, String)>>,
    #[serde(default)]
    set: Vec<(String, String)>,
    #[serde(default)]
    drop: Vec<String>,
    #[serde(default)]
    more: Vec<(String, String)>,
    frames: Option<Vec<FrameSpec>>,
    ends: Ends,
    line: Option<String>,
}

/// How a case ends for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ends {
    Accepted,
    Malformed,
    Refused,
    Reset,
    Closed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameSpec {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default)]
    flags: u8,
    #[serde(default)]
    stream: u32,
    #[serde(default)]
    text: String,
    #[serde(default)]
    block: Vec<(String, String)>,
    #[serde(default)]
    good_head: bool,
    #[serde(default)]
    zeros: usize,
    cut: Option<(usize, usize)>,
}

impl FrameSpec {
    fn bytes(&self) -> Vec<u8> {
        let mut payload = latin1(&self.text);
        if self.good_head {
            payload.extend(good_head());
        }
        payload.extend(literal(&self.block));
        payload.extend(vec![0; self.zeros]);
        if let Some((from, to)) = self.cut {
            payload = payload[from..to.min(payload.len())].to_vec();
        }
        frame(self.kind, self.flags, self.stream, &payload)
    }
}

fn good_head() -> Vec<u8> {
    fields(&[METHOD, SCHEME, AUTHORITY, PATH, TOKEN_FIELD])
}

/// Fields as written in a file: one character is one byte.
fn literal(fields: &[(String, String)]) -> Vec<u8> {
    let bytes = |text: &str| latin1(&text.replace("<token>", TOKEN));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    block(&fields)
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        if let Some(frames) = &self.frames {
            return frames.iter().flat_map(FrameSpec::bytes).collect();
        }
        let good = [
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("verification-token", "<token>"),
        ];
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut head = self.head.clone().unwrap_or_else(|| good.map(own).to_vec());
        head.retain(|(name, _)| !self.drop.contains(name));
        for (name, value) in &mut head {
            if let Some((_, other)) = self.set.iter().find(|(other, _)| other == name) {
                value.clone_from(other);
            }
        }
        head.extend(self.more.iter().cloned());
        let head = frame(HEADERS, END_HEADERS, 1, &literal(&head));
        [head, frame(DATA, END_STREAM, 1, b"{}")].concat()
    }

    /// The lines in the access log: each answer has one; what h2 ends by itself never was a request here.
    fn outcomes(&self) -> Vec<String> {
        let own = match (&self.line, self.ends) {
            (Some(line), _) => Some(line.clone()),
            (None, Ends::Accepted) => Some("forwarded ".to_owned()),
            (None, Ends::Malformed) => Some("rejected malformed".to_owned()),
            (None, Ends::Refused | Ends::Reset | Ends::Closed) => None,
        };
        own.into_iter().filter(|line| line != "none").collect()
    }
}

fn cases() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/http2");
    let mut all = Vec::new();
    for file in ["heads.yaml", "frames.yaml"] {
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let cases: Vec<Case> =
            serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        all.extend(cases);
    }
    for case in &all {
        assert!(
            !case.why.is_empty() && !case.source.is_empty(),
            "{}",
            case.name
        );
    }
    all
}

/// How many cases nothing may arrive of.
pub(crate) fn hostile_cases() -> usize {
    cases()
        .iter()
        .filter(|case| case.ends != Ends::Accepted)
        .count()
}

/// Target and further fields of every head, as the fuzz target `crossing` reads them.
pub(crate) fn every_head() -> Vec<Vec<u8>> {
    let seed = |case: &Case| {
        let path = case.set.iter().find(|(name, _)| name == ":path");
        let mut parts = vec![latin1(path.map_or("/redox", |(_, path)| path))];
        parts.extend(
            case.more
                .iter()
                .flat_map(|(name, value)| [latin1(name), latin1(value)]),
        );
        parts.join(&0xff)
    };
    cases().iter().map(seed).collect()
}

/// Runs one case in front of a gateway of its own, then a clean request on another connection.
fn check(case: &Case) {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    frames.connection.send(case.bytes());
    let ends = match ending(&mut frames) {
        Ending::Status(200) => Ends::Accepted,
        Ending::Status(400) => Ends::Malformed,
        Ending::Status(_) => Ends::Refused,
        Ending::StreamReset => Ends::Reset,
        Ending::ConnectionEnded => Ends::Closed,
    };
    drop(frames);
    let clean = gateway
        .connect_http2()
        .request(http2_post(&[("verification-token", TOKEN)], b"{}"));
    assert_eq!(clean.unwrap().status, 200, "a clean request afterwards");
    let requests = backend.requests();
    let lines: Vec<String> = gateway
        .finish()
        .outcomes()
        .iter()
        .map(|(outcome, reason)| format!("{outcome} {reason}"))
        .collect();
    let mut expected = case.outcomes();
    expected.push("forwarded ".to_owned());
    assert_eq!((ends, &lines), (case.ends, &expected), "{}", case.name);
    let accepted = usize::from(case.ends == Ends::Accepted);
    assert_eq!(requests.len(), accepted + 1, "requests at the backend");
    for request in &requests {
        assert_eq!((&request.complaint, &request.body[..]), (&None, &b"{}"[..]));
    }
}

#[test]
fn every_case_has_one_reading_or_none() {
    let mut failed = Vec::new();
    for case in cases() {
        if catch_unwind(AssertUnwindSafe(|| check(&case))).is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_token_in_the_trailers_opens_nothing() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    frames
        .send(
            HEADERS,
            END_HEADERS,
            1,
            &fields(&[METHOD, SCHEME, AUTHORITY, PATH]),
        )
        .send(DATA, 0, 1, b"{}")
        .send(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &fields(&[TOKEN_FIELD]),
        );
    assert!(matches!(ending(&mut frames), Ending::Status(0)));
    drop(frames);
    assert!(backend.requests().is_empty());
    assert_eq!(gateway.finish().outcomes(), [("rejected", "token_missing")]);
}

#[test]
fn a_fault_far_into_a_body_breaks_the_upload_off() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let speak = |frames: &mut Frames| {
        frames.send(
            HEADERS,
            END_HEADERS,
            1,
            &good_and("content-length", "30001"),
        );
        for _ in 0..2 {
            frames.send(DATA, 0, 1, &[b'x'; 15_000]);
        }
        frames.send(DATA, END_STREAM, 1, b"xy");
    };
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    speak(&mut frames);
    assert_ne!(ending(&mut frames), Ending::Status(200));
    drop(frames);
    let clean = gateway
        .connect_http2()
        .request(http2_post(&[("verification-token", TOKEN)], b"{}"));
    assert_eq!(clean.unwrap().status, 200);
    let requests = backend.requests();
    let whole: Vec<_> = requests
        .iter()
        .filter(|request| request.complaint.is_none())
        .collect();
    assert_eq!(whole.len(), 1, "{whole:?}");
}

#[test]
fn what_an_ordinary_client_can_say() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut client = gateway.connect_http2();
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("expect", "100-continue")], 200),
        (&[("expect", "200-ok")], 417),
        (&[("host", "other")], 400),
        (&[("x-forwarded-for", "10.0.0.1")], 200),
        (&[("verification-token", "wrong")], 401),
        (&[("verification_token", "wrong")], 400),
    ];
    for (more, status) in cases {
        let headers = [&[("verification-token", TOKEN)][..], more].concat();
        let answer = client.request(http2_post(&headers, b"{}")).unwrap();
        assert_eq!(answer.status, *status, "{more:?}");
        if *status != 200 {
            answer.is_own();
        }
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.complaint, None);
        assert_eq!(request.values("expect").len(), 0);
        assert_eq!(request.value("x-forwarded-for"), Some("127.0.0.1"));
    }
}

/// curl takes a reset right behind the answer for a broken transfer, and tells its user no status at all.
#[test]
fn a_refusal_is_not_followed_by_a_reset_of_a_stream_that_is_still_sending() {
    const PING: u8 = 6;
    let backend = Backend::ok();
    let mut gateway = Gateway::before(&backend);
    let refused = fields(&[
        METHOD,
        SCHEME,
        AUTHORITY,
        PATH,
        ("content-length", "300000"),
    ]);
    let dead = crate::support::text("http://127.0.0.1:1", "", "");
    let failed = good_and("content-length", "300000");
    let mut many = fields(&[METHOD, SCHEME, AUTHORITY, PATH]);
    for number in 0..150 {
        many.extend(block(&[(format!("x-{number}").as_bytes(), b"a")]));
    }
    for (head, status) in [(&refused, b"401"), (&many, b"431"), (&failed, b"502")] {
        if status == b"502" {
            gateway.reload(&dead).unwrap();
        }
        let mut frames = Frames::connect(gateway.tls_address(), &[]);
        frames
            .send(HEADERS, END_HEADERS, 1, head)
            .send(DATA, 0, 1, &[b'x'; 16384])
            .send(DATA, 0, 1, &[b'x'; 16384]);
        while frames.next().expect("an answer").kind != DATA {}
        // Whatever was sent together with the answer comes before the answer to this.
        frames.send(PING, 0, 0, &[0; 8]);
        loop {
            let frame = frames.next().expect("the connection lives");
            assert!(frame.kind != RST_STREAM, "{}", status.escape_ascii());
            if frame.kind == PING {
                break;
            }
        }
    }
    assert!(backend.requests().is_empty());
}

/// Only END_STREAM ends a body. A stream reset with NO_ERROR, which servers use to say that they need no more, must
/// not make a whole message of half an upload.
#[test]
fn half_an_upload_never_reaches_the_backend_as_a_whole() {
    const NO_ERROR: [u8; 4] = [0; 4];
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    for _ in 0..20 {
        let before = backend.connections();
        let mut frames = Frames::connect(gateway.tls_address(), &[]);
        let head = fields(&[METHOD, SCHEME, AUTHORITY, PATH, TOKEN_FIELD]);
        frames
            .send(HEADERS, END_HEADERS, 1, &head)
            .send(DATA, 0, 1, &[b'x'; 6000]);
        crate::drain::wait_until("the upload to begin", || backend.connections() > before);
        let last = [frame(DATA, 0, 1, b"y"), frame(RST_STREAM, 0, 1, &NO_ERROR)];
        frames.connection.send(last.concat());
    }
    let story = gateway.finish();
    assert!(
        backend
            .requests()
            .iter()
            .all(|request| request.complaint.is_some()),
        "{:?}",
        backend.requests()
    );
    assert_eq!(story.outcomes(), [("error", "client_closed"); 20]);
}
