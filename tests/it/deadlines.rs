//! Whoever is too slow is told so, or simply left, at each stage; and each request has one outcome.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::frames::{END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, block};
use crate::support::{Backend, Environment, Gateway, PATIENCE, Reply, TOKEN, text};

/// Longer than every timeout set here, shorter than every one that is not.
const SOON: Duration = Duration::from_secs(5);
/// How long a peer is waited for that does not read.
const BRIEFLY: Duration = Duration::from_millis(500);
/// Between two bytes of a peer that is slow, not silent.
const TRICKLE: Duration = Duration::from_millis(40);

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

fn timeouts(setting: &str) -> String {
    format!("timeouts: {{ {setting} }}")
}

/// Gives bytes one by one until the other side has had enough.
fn trickle(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(TRICKLE);
    }
}

/// Whether a socket ends without a byte.
fn ends_silently(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_handshake_has_one_deadline() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &timeouts("tls_handshake: 1s"), "");
    // A record head that announces 512 bytes of handshake, then some of them.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0; 100]].concat();
    for slow in [&[][..], &hello] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(gateway.tls_address()).unwrap();
        trickle(&mut stream, slow);
        assert!(ends_silently(&mut stream));
        assert!(began.elapsed() < SOON);
    }
    assert_eq!(
        gateway.connect().post(&token_line(), b"{}").answer().status,
        200
    );
    let story = gateway.finish();
    let series = r#"countersign_tls_handshake_failures_total{listener="public",reason="timeout"}"#;
    assert_eq!(story.value(series), 2.0);
    assert_eq!(story.outcomes(), [("forwarded", "")]);
}

#[test]
fn a_head_has_one_deadline() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &timeouts("request_head: 400ms"), "");
    let answer = gateway
        .connect()
        .send("POST /redox HTTP/1.1\r\nHost: a\r\n")
        .answer();
    assert_eq!(answer.is_own().status, 408);
    let mut stream = TcpStream::connect(gateway.plain_address()).unwrap();
    let began = Instant::now();
    trickle(
        &mut stream,
        &b"POST /redox HTTP/1.1\r\nHost: a\r\nX: "
            .iter()
            .copied()
            .chain([b'x'; 100])
            .collect::<Vec<_>>(),
    );
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    assert!(began.elapsed() < SOON + TRICKLE * 140);
    assert_eq!(
        gateway.finish().outcomes(),
        [("rejected", "read_timeout"); 2]
    );
}

/// One that came along with a whole request before it has no more time.
#[test]
fn half_a_head_behind_a_request_has_its_deadline() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &timeouts("request_head: 400ms"), "");
    let began = Instant::now();
    let whole = format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: 2\r\n\r\n{{}}",
        token_line()
    );
    let mut connection = gateway.connect();
    connection.send(whole + "POST /redox HTTP/1.1\r\nHo");
    assert_eq!(connection.answer().status, 200);
    assert_eq!(connection.answer().is_own().status, 408);
    assert!(connection.is_closed());
    assert!(began.elapsed() < SOON);
    assert_eq!(
        gateway.finish().outcomes(),
        [("forwarded", ""), ("rejected", "read_timeout")]
    );
}

/// Over HTTP/2 as well: a head in frames that never end, and a frame that never does.
#[test]
fn a_head_has_one_deadline_over_http2() {
    const CONTINUATION: u8 = 9;
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &timeouts("request_head: 400ms"), "");
    let began = Instant::now();
    let part = block(&[(b":method", b"POST"), (b":scheme", b"https")]);
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    frames.send(HEADERS, 0, 1, &part);
    for number in 0..25_u32 {
        let field = block(&[(b"x", number.to_string().as_bytes())]);
        frames.send(CONTINUATION, 0, 1, &field);
        // So slow that it is not their number that h2 minds.
        std::thread::sleep(TRICKLE * 4);
        let series = r#"countersign_connections_open{listener="public"} 0"#;
        if gateway.metrics().lines().any(|line| line == series) {
            break;
        }
    }
    while frames.next().is_some() {}
    assert!(began.elapsed() < SOON);
    for half in [
        &[0, 0][..],
        &[0, 0, 100, HEADERS, END_HEADERS, 0, 0, 0, 1, 0],
    ] {
        let began = Instant::now();
        let mut frames = Frames::connect(gateway.tls_address(), &[]);
        frames.connection.send(half);
        while frames.next().is_some() {}
        assert!(began.elapsed() < SOON);
    }
    let story = gateway.finish();
    let series = r#"countersign_connections_closed_total{listener="public",reason="slow"}"#;
    assert_eq!(story.value(series), 3.0);
}

#[test]
fn an_idle_connection_is_left_without_a_word() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &timeouts("keep_alive: 1s"), "");
    assert!(gateway.connect_plain().is_closed());
    assert!(gateway.connect().is_closed());
    let mut connection = gateway.connect();
    assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
    assert!(connection.is_closed());
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    let mut told = false;
    while let Some(frame) = frames.next() {
        told |= frame.kind == GOAWAY;
    }
    assert!(told);
    assert_eq!(gateway.finish().outcomes(), [("forwarded", "")]);
}

#[test]
fn a_body_must_not_pause() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &timeouts("request_body_idle: 400ms"), "");
    let head = |length: usize| {
        format!(
            "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: {length}\r\n\r\n",
            token_line()
        )
    };
    // Over the challenge cap: on its way to the backend already.
    let mut connection = gateway.connect();
    let answer = connection.send(head(9000) + &"x".repeat(5000)).answer();
    assert_eq!(answer.is_own().status, 408);
    assert!(connection.is_closed());
    // Still being looked at.
    let mut connection = gateway.connect();
    let answer = connection.send(head(100) + "{\"challenge\":").answer();
    assert_eq!(answer.is_own().status, 408);
    assert!(connection.is_closed());
    assert_eq!(
        gateway.finish().outcomes(),
        [("rejected", "read_timeout"); 2]
    );
    assert!(
        backend
            .requests()
            .iter()
            .all(|request| request.complaint.is_some()),
        "none was whole"
    );
}

/// A body that never pauses for long may take as long as it likes; one that is looked at may not. All of its pauses
/// together are longer than the timeout, each so much shorter that a busy machine does not make up for it.
#[test]
fn a_slow_body_is_no_pause() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &timeouts("request_body_idle: 3s"), "");
    let mut connection = gateway.connect();
    connection.send(format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: 5020\r\n\r\n",
        token_line()
    ));
    connection.send([b'x'; 5000]);
    for _ in 0..20 {
        std::thread::sleep(TRICKLE * 4);
        connection.send("x");
    }
    assert_eq!(connection.answer().status, 200);
    assert_eq!(backend.only_request().body_length, 5020);
}

/// A refused sender that holds its body back is answered all the same, within the second that we wait for it.
#[test]
fn a_refusal_does_not_wait_for_long() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let began = Instant::now();
    let mut connection = gateway.connect();
    connection.send("POST /redox HTTP/1.1\r\nHost: a\r\nverification-token: wrong\r\nContent-Length: 100\r\n\r\n");
    assert_eq!(connection.answer().is_own().status, 401);
    assert!(began.elapsed() < SOON);
    assert!(connection.is_closed());
    assert_eq!(
        gateway.finish().outcomes(),
        [("rejected", "token_mismatch")]
    );
}

/// A listener whose queue is full answers no SYN: the nearest thing to a host that is not there.
#[test]
fn a_connection_upstream_has_a_deadline() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(1).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue never fills");
    }
    let gateway = Gateway::towards(
        &format!("http://{address}"),
        &timeouts("connect: 400ms"),
        "",
    );
    let answer = gateway.connect().post(&token_line(), b"{}").answer();
    assert_eq!(answer.is_own().status, 504);
    assert_eq!(
        gateway.finish().outcomes(),
        [("error", "upstream_connect_timeout")]
    );
}

#[test]
fn an_answer_has_one_deadline() {
    let silent = Backend::with(|_| Reply::Hang);
    let gateway = Gateway::with(&silent, &timeouts("response: 600ms"), "");
    let answer = gateway.connect().post(&token_line(), b"{}").answer();
    assert_eq!(answer.is_own().status, 504);
    assert_eq!(gateway.finish().outcomes(), [("error", "upstream_timeout")]);
    // Long enough for the beginning of an answer to come in time.
    let setting = timeouts("response: 2s");
    for head in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let pausing =
            Backend::with(move |_| Reply::Raw(format!("HTTP/1.1 200 OK\r\n{head}").into_bytes()));
        let gateway = Gateway::with(&pausing, &setting, "");
        let received = gateway.connect_plain().post(&token_line(), b"{}").rest();
        let received = String::from_utf8(received).unwrap();
        assert!(
            received.contains("abc") && !received.ends_with("0\r\n\r\n"),
            "{received}"
        );
        assert_eq!(gateway.finish().outcomes(), [("error", "upstream_timeout")]);
    }
}

const MUCH: usize = 32 * 1024 * 1024;

/// A gateway that waits for so long for a peer to read, and a backend that has much to say.
fn wordy(stall: Duration) -> (Backend, Gateway) {
    let backend = Backend::with(|_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
        Reply::Raw([head.into_bytes(), vec![b'x'; MUCH]].concat())
    });
    let text = text(&format!("http://{}", backend.address()), "", "");
    let gateway = Gateway::adjusted(&text, &Environment::default(), |compiled| {
        compiled.server.send_stall = stall;
    });
    (backend, gateway)
}

fn ends(gateway: &Gateway) {
    gateway.wait_for_metric(r#"countersign_connections_open{listener="public"} 0"#);
    gateway.wait_for_metric(r#"countersign_connections_open{listener="plain"} 0"#);
}

#[test]
fn a_sender_that_reads_nothing_is_left() {
    let (_backend, gateway) = wordy(BRIEFLY);
    let mut plain = gateway.connect_plain();
    plain.post(&token_line(), b"{}");
    let mut tls = gateway.connect();
    tls.post(&token_line(), b"{}");
    assert!(plain.take(15).is_some() && tls.take(15).is_some());
    ends(&gateway);
    assert_eq!(gateway.finish().outcomes(), [("error", "client_closed"); 2]);
}

/// Over HTTP/2 the socket may stay writable while the stream has no room.
#[test]
fn a_sender_that_opens_no_window_is_left() {
    let (_backend, gateway) = wordy(BRIEFLY);
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    let head = block(&[
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/redox"),
        (b"verification-token", TOKEN.as_bytes()),
    ]);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &head);
    while frames.next().is_some_and(|frame| frame.kind != RST_STREAM) {}
    drop(frames);
    ends(&gateway);
    assert_eq!(gateway.finish().outcomes(), [("error", "client_closed")]);
}

/// A sender that reads slowly, but reads, gets everything: its pauses together are longer than a peer is waited for.
#[test]
fn a_slow_reader_gets_all() {
    let (_backend, gateway) = wordy(Duration::from_secs(3));
    let mut connection = gateway.connect_plain();
    connection.post(&format!("{}Connection: close\r\n", token_line()), b"{}");
    for _ in 0..8 {
        std::thread::sleep(TRICKLE * 10);
        assert!(connection.take(2 * 1024 * 1024).is_some());
    }
    assert!(connection.rest().len() > MUCH / 4);
    assert_eq!(gateway.finish().outcomes(), [("forwarded", "")]);
}

/// Nor does it help to be refused: an answer of our own waits for room as well.
#[test]
fn a_refused_sender_that_opens_no_window_is_left() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let (_backend, gateway) = wordy(BRIEFLY);
    let mut frames = Frames::connect(gateway.tls_address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    let head = block(&[
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/nowhere"),
    ]);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &head);
    while frames.next().is_some_and(|frame| frame.kind != RST_STREAM) {}
    drop(frames);
    ends(&gateway);
    assert_eq!(gateway.finish().outcomes(), [("rejected", "no_route")]);
}
