//! Whoever makes the gateway work for nothing over HTTP/2 is told to calm down and left, while others are served.

use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, SETTINGS, block, frame,
};
use crate::support::{Backend, Gateway, Reply, TOKEN, http2_post};

const PRIORITY: u8 = 2;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ENHANCE_YOUR_CALM: u8 = 0xb;
/// Over every budget, and little enough to be read to its end by a gateway that is about to close.
const MANY: u32 = 1500;

fn head() -> Vec<u8> {
    block(&[
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/redox"),
        (b"verification-token", TOKEN.as_bytes()),
    ])
}

/// Sends all of this, and tells the error of the GOAWAY that came before the end, if one came.
fn ends_with(gateway: &Gateway, bytes: &[u8]) -> Option<u8> {
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    frames.connection.send(bytes);
    let mut code = None;
    while let Some(frame) = frames.next() {
        if frame.kind == GOAWAY {
            code = frame.payload.get(7).copied();
        }
    }
    code
}

fn is_served(gateway: &Gateway) {
    let answer = gateway
        .connect()
        .post("verification-token: wrong\r\n", b"{}")
        .answer();
    assert_eq!(answer.status, 401);
}

#[test]
fn frames_that_carry_no_request_are_bounded() {
    let backend = Backend::with(|_| Reply::Hang);
    let gateway = Gateway::before(&backend);
    let open = frame(HEADERS, END_HEADERS, 1, &head());
    let unfinished = frame(HEADERS, 0, 1, &head());
    let floods = [
        ("ping", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        ("settings", Vec::new(), frame(SETTINGS, 0, 0, &[])),
        (
            "priority",
            Vec::new(),
            frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]),
        ),
        (
            "window",
            Vec::new(),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        ("unknown", Vec::new(), frame(0x42, 0, 0, b"CANARY")),
        ("data", open.clone(), frame(DATA, 0, 1, &[])),
        (
            "stream window",
            open,
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        ("continuation", unfinished, frame(CONTINUATION, 0, 1, &[])),
    ];
    for (name, first, again) in floods {
        let bytes = [first, again.repeat(MANY as usize)].concat();
        let code = ends_with(&gateway, &bytes);
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name}");
        is_served(&gateway);
    }
}

/// RFC 9113 §6.9.1: a window may not grow beyond 2^31-1, and nobody's count may wrap around. RFC 9113 §6.5.2 for the
/// setting.
#[test]
fn windows_that_overflow_end_what_they_belong_to() {
    const FLOW_CONTROL_ERROR: u8 = 3;
    let backend = Backend::with(|_| Reply::Hang);
    let gateway = Gateway::before(&backend);
    let grow = |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(ends_with(&gateway, &grow(0)), Some(FLOW_CONTROL_ERROR));
    // The RFC wants a FLOW_CONTROL_ERROR here as well; h2 calls it a PROTOCOL_ERROR.
    let setting = frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]);
    assert!(ends_with(&gateway, &setting).is_some());

    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    let open = frame(HEADERS, END_HEADERS, 1, &head());
    frames.connection.send([open, grow(1)].concat());
    let reset = loop {
        let frame = frames.next().unwrap();
        assert_ne!(frame.kind, GOAWAY, "one stream's window is its own affair");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!(reset.payload, [0, 0, 0, FLOW_CONTROL_ERROR]);
    is_served(&gateway);
}

/// One large field in the table of HPACK and thousands of references to it: some kilobytes that would become many
/// megabytes.
#[test]
fn a_small_block_that_unfolds_to_a_large_head_is_refused() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    // A literal that is kept (RFC 7541 §6.2.1), then indexed fields (§6.1), of which 62 is the first that is kept.
    let value = vec![b'x'; 4000];
    let mut kept = block(&[(b"x-bomb", &value)]);
    kept[0] = 0x40;
    let bomb = [head(), kept, vec![0x80 | 62; 8000]].concat();
    let open = frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    assert_eq!(ends_with(&gateway, &open), Some(ENHANCE_YOUR_CALM));
    is_served(&gateway);
    assert_eq!(backend.requests().len(), 0);
}

/// Gives a stream up.
type GiveUp = fn(u32) -> Vec<u8>;

/// CVE-2023-44487, and CVE-2025-8671, in which the peer makes us reset the stream.
#[test]
fn requests_given_up_at_once_are_bounded() {
    let backend = Backend::with(|_| Reply::Hang);
    let gateway = Gateway::before(&backend);
    let given_up: [(&str, GiveUp); 2] = [
        ("reset", |stream| {
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
        }),
        ("made you reset", |stream| {
            frame(WINDOW_UPDATE, 0, stream, &[0; 4])
        }),
    ];
    for (name, give_up) in given_up {
        for apart in [false, true] {
            let mut frames = Frames::connect(gateway.tls_address(), &[]);
            for number in 0..MANY {
                let stream = 2 * number + 1;
                let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head());
                frames.connection.send(open);
                if apart {
                    // The answer to a ping: the request before it has been seen.
                    let ping = frame(PING, 0, 0, &[0; 8]);
                    frames.connection.send(ping);
                    let mut ended = false;
                    loop {
                        match frames.next() {
                            None => ended = true,
                            Some(frame) if frame.kind == PING => {}
                            Some(_) => continue,
                        }
                        break;
                    }
                    if ended {
                        break;
                    }
                }
                frames.connection.send(give_up(stream));
            }
            while frames.next().is_some() {}
            is_served(&gateway);
            let reached = backend.requests().len();
            assert!(reached < 1000, "{name}: {reached} requests");
        }
    }
    // Each request that was one is told once, which the story checks.
    gateway.finish();
}

/// RFC 9113 §5.1.2: until our settings have come a client knows no limit on its streams. What is over it is refused,
/// to be sent again; what is in flight goes on.
#[test]
fn more_requests_at_once_than_there_may_be_cost_only_themselves() {
    const REFUSED_STREAM: u8 = 7;
    let backend = Backend::with(|_| Reply::Hang);
    let gateway = Gateway::before(&backend);
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    let open = |number: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head());
    let requests: Vec<u8> = (0..400).flat_map(open).collect();
    let ping = frame(PING, 0, 0, &[0; 8]);
    frames.connection.send([requests, ping].concat());
    let mut refused = 0;
    loop {
        let frame = frames.next().unwrap();
        match frame.kind {
            PING => break,
            RST_STREAM => {
                assert_eq!(frame.payload, [0, 0, 0, REFUSED_STREAM]);
                refused += 1;
            }
            other => assert_ne!(other, GOAWAY),
        }
    }
    assert!(refused <= 300, "{refused}");
    backend.wait_for(100);
    frames.connection.send(frame(PING, 0, 0, &[0; 8]));
    while refused < 300 {
        refused += u32::from(frames.next().unwrap().kind == RST_STREAM);
    }
}

/// The budgets are for floods: whoever asks for much in an ordinary way never notices them.
#[test]
fn an_ordinary_client_is_no_flood() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut client = gateway.connect_http2();
    for _ in 0..2000 {
        let request = http2_post(&[("verification-token", TOKEN)], b"{}");
        assert_eq!(client.request(request).unwrap().status, 200);
    }
    drop(client);
    let story = gateway.finish();
    let series = r#"countersign_connections_closed_total{listener="public",reason="flood"}"#;
    assert_eq!(story.value(series), 0.0);
}
