//! HTTP/2 with no reading, or with two: the stream or the connection ends, nothing arrives, and the next
//! connection is served as if nothing had been.

use std::panic::{AssertUnwindSafe, catch_unwind};

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

fn good_and_bytes(name: &[u8], value: &[u8]) -> Vec<u8> {
    [
        fields(&[METHOD, SCHEME, AUTHORITY, PATH, TOKEN_FIELD]),
        block(&[(name, value)]),
    ]
    .concat()
}

const ACCEPTED: &[Ending] = &[Ending::Status(200)];
const REFUSED: &[Ending] = &[
    Ending::Status(400),
    Ending::StreamReset,
    Ending::ConnectionEnded,
];
const ANSWERED: &[Ending] = &[Ending::Status(400)];

#[expect(clippy::too_many_lines, reason = "a table")]
fn heads() -> Vec<(&'static str, Vec<u8>, &'static [Ending])> {
    vec![
        (
            "good",
            fields(&[METHOD, SCHEME, AUTHORITY, PATH, TOKEN_FIELD]),
            ACCEPTED,
        ),
        (
            "host in place of authority",
            fields(&[METHOD, SCHEME, PATH, TOKEN_FIELD, ("host", "localhost")]),
            ACCEPTED,
        ),
        ("host as authority", good_and("host", "localhost"), ACCEPTED),
        ("te: trailers", good_and("te", "trailers"), ACCEPTED),
        (
            "no authority",
            fields(&[METHOD, SCHEME, PATH, TOKEN_FIELD]),
            ANSWERED,
        ),
        (
            "host contradicts authority",
            good_and("host", "other"),
            ANSWERED,
        ),
        (
            "host adds a port",
            good_and("host", "localhost:1"),
            ANSWERED,
        ),
        (
            "two hosts",
            fields(&[
                METHOD,
                SCHEME,
                PATH,
                TOKEN_FIELD,
                ("host", "a"),
                ("host", "b"),
            ]),
            ANSWERED,
        ),
        (
            "two equal hosts",
            fields(&[
                METHOD,
                SCHEME,
                PATH,
                TOKEN_FIELD,
                ("host", "a"),
                ("host", "a"),
            ]),
            ANSWERED,
        ),
        (
            "scheme http",
            fields(&[METHOD, (":scheme", "http"), AUTHORITY, PATH, TOKEN_FIELD]),
            ANSWERED,
        ),
        (
            "user information",
            fields(&[
                METHOD,
                SCHEME,
                (":authority", "a@localhost"),
                PATH,
                TOKEN_FIELD,
            ]),
            ANSWERED,
        ),
        // The http crate drops it before anybody sees it; what is matched is what is forwarded.
        (
            "fragment",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":path", "/redox#a"),
                TOKEN_FIELD,
            ]),
            ACCEPTED,
        ),
        (
            "port out of range",
            fields(&[
                METHOD,
                SCHEME,
                (":authority", "localhost:99999"),
                PATH,
                TOKEN_FIELD,
            ]),
            ANSWERED,
        ),
        (
            "two dots",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":path", "/a/../redox"),
                TOKEN_FIELD,
            ]),
            ANSWERED,
        ),
        (
            "two slashes",
            fields(&[METHOD, SCHEME, AUTHORITY, (":path", "//redox"), TOKEN_FIELD]),
            ANSWERED,
        ),
        (
            "scheme ftp",
            fields(&[METHOD, (":scheme", "ftp"), AUTHORITY, PATH, TOKEN_FIELD]),
            REFUSED,
        ),
        (
            "no scheme",
            fields(&[METHOD, AUTHORITY, PATH, TOKEN_FIELD]),
            REFUSED,
        ),
        (
            "no method",
            fields(&[SCHEME, AUTHORITY, PATH, TOKEN_FIELD]),
            REFUSED,
        ),
        (
            "no path",
            fields(&[METHOD, SCHEME, AUTHORITY, TOKEN_FIELD]),
            REFUSED,
        ),
        (
            "empty path",
            fields(&[METHOD, SCHEME, AUTHORITY, (":path", ""), TOKEN_FIELD]),
            REFUSED,
        ),
        (
            "path without a slash",
            fields(&[METHOD, SCHEME, AUTHORITY, (":path", "redox"), TOKEN_FIELD]),
            REFUSED,
        ),
        (
            "absolute path",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":path", "https://localhost/redox"),
                TOKEN_FIELD,
            ]),
            REFUSED,
        ),
        (
            "space in the path",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":path", "/redox HTTP/1.1"),
                TOKEN_FIELD,
            ]),
            REFUSED,
        ),
        (
            "line break in the path",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":path", "/redox\r\nX: y"),
                TOKEN_FIELD,
            ]),
            REFUSED,
        ),
        (
            "line break in the method",
            fields(&[
                (":method", "POST / HTTP/1.1\r\nX:"),
                SCHEME,
                AUTHORITY,
                PATH,
                TOKEN_FIELD,
            ]),
            REFUSED,
        ),
        (
            "path in the authority",
            fields(&[
                METHOD,
                SCHEME,
                (":authority", "localhost/a"),
                PATH,
                TOKEN_FIELD,
            ]),
            REFUSED,
        ),
        (
            "method twice",
            fields(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH, TOKEN_FIELD]),
            REFUSED,
        ),
        (
            "path twice",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                (":path", "/other"),
                TOKEN_FIELD,
            ]),
            REFUSED,
        ),
        (
            "authority twice",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":authority", "b"),
                PATH,
                TOKEN_FIELD,
            ]),
            REFUSED,
        ),
        (
            "pseudo after a field",
            fields(&[METHOD, SCHEME, AUTHORITY, TOKEN_FIELD, PATH]),
            REFUSED,
        ),
        ("unknown pseudo", good_and(":token", "x"), REFUSED),
        ("pseudo of an answer", good_and(":status", "200"), REFUSED),
        ("name in capitals", good_and("X-Upper", "y"), REFUSED),
        (
            "token name in capitals",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                ("Verification-Token", TOKEN),
            ]),
            REFUSED,
        ),
        ("empty name", good_and("", "y"), REFUSED),
        ("space in a name", good_and("x y", "z"), REFUSED),
        ("colon in a name", good_and("x:y", "z"), REFUSED),
        ("line break in a name", good_and("x\r\ny", "z"), REFUSED),
        ("line break in a value", good_and("x", "y\r\nz: 1"), REFUSED),
        ("line feed in a value", good_and("x", "y\nz: 1"), REFUSED),
        ("NUL in a value", good_and_bytes(b"x", b"a\0b"), REFUSED),
        ("connection", good_and("connection", "close"), REFUSED),
        ("keep-alive", good_and("keep-alive", "timeout=5"), REFUSED),
        (
            "proxy-connection",
            good_and("proxy-connection", "close"),
            REFUSED,
        ),
        ("upgrade", good_and("upgrade", "websocket"), REFUSED),
        (
            "transfer-encoding",
            good_and("transfer-encoding", "chunked"),
            REFUSED,
        ),
        ("te: gzip", good_and("te", "gzip"), REFUSED),
        (
            "two equal lengths",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                TOKEN_FIELD,
                ("content-length", "2"),
                ("content-length", "2"),
            ]),
            REFUSED,
        ),
        (
            "two lengths",
            fields(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                TOKEN_FIELD,
                ("content-length", "2"),
                ("content-length", "3"),
            ]),
            REFUSED,
        ),
        (
            "list of lengths",
            good_and("content-length", "2, 2"),
            REFUSED,
        ),
        ("signed length", good_and("content-length", "+2"), REFUSED),
        (
            "too long a length",
            good_and("content-length", "3"),
            REFUSED,
        ),
        (
            "too short a length",
            good_and("content-length", "1"),
            REFUSED,
        ),
        (
            "length over 64 bits",
            good_and("content-length", "18446744073709551618"),
            REFUSED,
        ),
        (
            "alias of the token",
            good_and("verification_token", "x"),
            ANSWERED,
        ),
    ]
}

/// Runs one exchange on a connection of its own, then a clean request on another.
fn check(
    gateway: &Gateway,
    backend: &Backend,
    speak: impl FnOnce(&mut Frames),
    expected: &[Ending],
) {
    let seen = backend.requests().len();
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    speak(&mut frames);
    let ending = ending(&mut frames);
    assert!(expected.contains(&ending), "{ending:?}, not {expected:?}");
    let accepted = usize::from(ending == Ending::Status(200));
    let clean = gateway
        .connect_http2()
        .request(http2_post(&[("verification-token", TOKEN)], b"{}"));
    assert_eq!(clean.unwrap().status, 200, "a clean request afterwards");
    let requests = backend.requests();
    assert_eq!(
        requests.len(),
        seen + accepted + 1,
        "requests at the backend"
    );
    for request in &requests[seen..] {
        assert_eq!((&request.complaint, &request.body[..]), (&None, &b"{}"[..]));
    }
}

#[test]
fn heads_have_one_reading() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut failed = Vec::new();
    for (name, head, expected) in heads() {
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let speak = |frames: &mut Frames| {
                frames
                    .send(HEADERS, END_HEADERS, 1, &head)
                    .send(DATA, END_STREAM, 1, b"{}");
            };
            check(&gateway, &backend, speak, expected);
        }));
        if checked.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn frames_out_of_order_end_the_connection() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let head = fields(&[METHOD, SCHEME, AUTHORITY, PATH, TOKEN_FIELD]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("body without a head", frame(DATA, END_STREAM, 1, b"{}")),
        (
            "stream with an even number",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &head),
        ),
        (
            "stream zero",
            frame(HEADERS, END_HEADERS | END_STREAM, 0, &head),
        ),
        (
            "frame over its size",
            frame(DATA, 0, 1, &[0; 16 * 1024 + 1]),
        ),
        (
            "another frame within a head",
            [
                frame(HEADERS, 0, 1, &head),
                frame(DATA, END_STREAM, 1, b"{}"),
            ]
            .concat(),
        ),
        ("continuation of nothing", frame(9, END_HEADERS, 1, &head)),
        (
            "header block that is none",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
        ),
        (
            "HTTP/1.1",
            b"POST /redox HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
    ];
    for (name, bytes) in cases {
        let speak = |frames: &mut Frames| {
            frames.connection.send(&bytes);
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            check(&gateway, &backend, speak, &[Ending::ConnectionEnded]);
        }));
        assert!(result.is_ok(), "{name}");
    }
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
    assert!(REFUSED.contains(&ending(&mut frames)));
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
