//! Every limit holds to the byte, and a refusal arrives however much the sender still has to say.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;

use crate::support::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, block};
use crate::support::{
    Backend, CHALLENGE, Environment, Gateway, PATIENCE, Place, Program, Reply, TOKEN, http2_post,
    text,
};

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

fn limits(setting: &str) -> String {
    format!("limits: {{ {setting} }}")
}

#[test]
fn a_head_may_have_so_many_bytes() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &limits("header_bytes: 2KiB"), "");
    for (over, status) in [(0, 200), (1, 431)] {
        for bytewise in [false, true] {
            let start = format!("POST /redox HTTP/1.1\r\nHost: a\r\n{}X: ", token_line());
            let fill = 2048 + over - start.len() - 4;
            let head = format!("{start}{}\r\n\r\n", "x".repeat(fill));
            let mut connection = gateway.connect_plain();
            let step = if bytewise { 1 } else { head.len() };
            for piece in head.as_bytes().chunks(step) {
                connection.send(piece);
            }
            let answer = connection.answer();
            assert_eq!(answer.status, status, "{over} over");
            if status == 431 {
                answer.is_own();
                assert!(connection.is_closed());
            }
        }
    }
    // Without an end in sight there is no need to wait for one.
    let answer = gateway
        .connect()
        .send(format!("POST /{}", "x".repeat(2048)))
        .answer();
    assert_eq!(answer.status, 431);
    assert_eq!(backend.requests().len(), 2);
    let story = gateway.finish();
    let refused = story
        .outcomes()
        .into_iter()
        .filter(|outcome| *outcome == ("rejected", "header_too_large"));
    assert_eq!(refused.count(), 3);
}

#[test]
fn a_head_may_have_so_many_fields() {
    let backend = Backend::ok();
    for (setting, most) in [("header_count: 10", 10), ("header_count: 100", 100)] {
        let gateway = Gateway::with(&backend, &limits(setting), "");
        for (fields, status) in [(most, 200), (most + 1, 431)] {
            // Host and token are fields as well.
            let lines = "X: y\r\n".repeat(fields - 2);
            let head = format!(
                "POST /redox HTTP/1.1\r\nHost: a\r\n{}{lines}\r\n",
                token_line()
            );
            let answer = gateway.connect().send(head).answer();
            assert_eq!(answer.status, status, "{fields} fields");
        }
    }
}

/// HTTP/2 has no line for the host, and its limit is one of fields as well.
#[test]
fn a_head_may_have_so_many_fields_over_http2() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &limits("header_count: 10"), "");
    for (fields, status) in [(10, 200), (11, 431)] {
        let mut headers = vec![("verification-token", TOKEN)];
        // The client adds the length.
        headers.extend(std::iter::repeat_n(("x", "y"), fields - 2));
        let answer = gateway
            .connect_http2()
            .request(http2_post(&headers, b"{}"))
            .unwrap();
        assert_eq!(answer.status, status, "{fields} fields");
    }
    assert_eq!(backend.requests().len(), 1);
}

/// A header list over its cap costs the stream, not the next one.
#[test]
fn a_head_may_have_so_many_bytes_over_http2() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &limits("header_bytes: 2KiB"), "");
    let long = "x".repeat(3000);
    let head = block(&[
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/redox"),
        (b"verification-token", TOKEN.as_bytes()),
        (b"x", long.as_bytes()),
    ]);
    let mut frames = Frames::connect(gateway.tls_address(), &[]);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &head);
    let mut refused = false;
    while let Some(frame) = frames.next() {
        refused |= frame.kind == RST_STREAM || (frame.kind == HEADERS && frame.payload[0] != 0x88);
        if refused {
            break;
        }
    }
    assert!(refused);
    drop(frames);
    assert!(backend.requests().is_empty());
    let clean = gateway
        .connect_http2()
        .request(http2_post(&[("verification-token", TOKEN)], b"{}"));
    assert_eq!(clean.unwrap().status, 200);
}

fn chunked(length: usize) -> Vec<u8> {
    let head = format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        token_line()
    );
    let mut request = head.into_bytes();
    for piece in vec![b'x'; length].chunks(1000) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// A body whose length is not told.
fn http2_stream(
    length: usize,
) -> http::Request<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>> {
    let pieces: Vec<_> = vec![b'x'; length]
        .chunks(1000)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    http2_post(&[("verification-token", TOKEN)], b"").map(|_| Pieces(pieces.into_iter()).boxed())
}

struct Pieces(std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[test]
fn a_body_may_have_so_many_bytes() {
    const CAP: usize = 10 * 1024;
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &limits("body: 10KiB"), "");
    for (length, status) in [(CAP, 200), (CAP + 1, 413)] {
        let whole = || {
            backend
                .requests()
                .iter()
                .filter(|request| request.complaint.is_none())
                .count()
        };
        let before = whole();
        let announced = gateway
            .connect()
            .post(&token_line(), &vec![b'x'; length])
            .answer();
        let found = gateway.connect().send(chunked(length)).answer();
        let request = http2_post(&[("verification-token", TOKEN)], &vec![b'x'; length]);
        let over_http2 = gateway.connect_http2().request(request).unwrap();
        let streamed = gateway.connect_http2().send(http2_stream(length)).unwrap();
        for answer in [announced, found, over_http2, streamed] {
            assert_eq!(answer.status, status, "{length}");
        }
        let arrived = if status == 200 { 4 } else { 0 };
        assert_eq!(whole() - before, arrived, "{length}");
    }
    // Announced: refused before a byte of it was sent.
    let head = format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: {}\r\n\r\n",
        token_line(),
        100 * CAP
    );
    assert_eq!(gateway.connect().send(head).answer().is_own().status, 413);
}

#[test]
fn a_challenge_may_have_so_many_bytes() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &limits("challenge_body: 256B"), "");
    for (length, status) in [(256, 200), (257, 401)] {
        let start = format!("{{\"verification-token\":\"{TOKEN}\",\"challenge\":\"{CHALLENGE}\"");
        let body = format!("{start}{}}}", " ".repeat(length - start.len() - 1));
        let head = "POST /redox HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
        let announced = gateway
            .connect()
            .post("Content-Type: application/json\r\n", body.as_bytes())
            .answer();
        let found = gateway
            .connect()
            .send(format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            ))
            .answer();
        for answer in [announced, found] {
            assert_eq!(answer.is_own().status, status, "{length}");
            assert_eq!(status == 200, answer.text() == CHALLENGE);
        }
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn one_connection_too_many_waits_its_turn() {
    let backend = Backend::ok();
    let gateway = Gateway::with_room(&backend, "", 2);
    let (mut first, mut second) = (gateway.connect_plain(), gateway.connect_plain());
    for connection in [&mut first, &mut second] {
        assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
    }
    let mut third = gateway.connect_plain();
    third.post(&token_line(), b"{}");
    // The other listener has room of its own, and what it serves comes after what the third asked for.
    assert_eq!(
        gateway.connect().post(&token_line(), b"{}").answer().status,
        200
    );
    assert_eq!(backend.requests().len(), 3, "the third waits");
    drop(first);
    assert_eq!(third.answer().status, 200);
    assert_eq!(
        second.post(&token_line(), b"{}").answer().status,
        200,
        "and pushes nobody out"
    );
}

/// One address cannot take all the room, unless it is a load balancer's, who is one address for all.
#[test]
fn one_address_may_have_so_many_connections() {
    for (trusted, open) in [("10.0.0.0/8", false), ("127.0.0.1/32", true)] {
        let backend = Backend::ok();
        let text = text(&format!("http://{}", backend.address()), "workers: 2\n", "");
        let gateway = Gateway::adjusted(&text, &Environment::default(), |compiled| {
            for listener in &mut compiled.listeners {
                listener.max_connections_per_source = 2;
                listener.trusted_proxies = [trusted.parse().unwrap()].into();
            }
        });
        let (mut first, mut second) = (gateway.connect_plain(), gateway.connect_plain());
        for connection in [&mut first, &mut second] {
            assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
        }
        let mut third = gateway.connect_plain();
        third.post(&token_line(), b"{}");
        if open {
            assert_eq!(third.answer().status, 200);
        } else {
            assert!(third.is_closed());
        }
        // Each listener counts for itself, and who was in stays in.
        assert_eq!(
            gateway.connect().post(&token_line(), b"{}").answer().status,
            200
        );
        assert_eq!(second.post(&token_line(), b"{}").answer().status, 200);
        let series =
            r#"countersign_connections_closed_total{listener="plain",reason="source_limit"}"#;
        let refused = if open { 0.0 } else { 1.0 };
        drop((first, second, third));
        assert_eq!(gateway.finish().value(series), refused);
    }
}

const MEGABYTE: usize = 1024 * 1024;

/// The sender writes on and on, and reads only when it is done or cannot write any more.
#[test]
fn a_refusal_arrives_in_the_middle_of_a_body() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &limits("body: 512KiB"), "");
    let wrong = "verification-token: wrong\r\n".to_owned();
    for length in [MEGABYTE, 50 * MEGABYTE] {
        let body = vec![b'x'; length];
        for (path, token, status) in [
            ("/redox", &wrong, 401),
            ("/redox", &token_line(), 413),
            ("/none", &token_line(), 404),
        ] {
            for tls in [false, true] {
                let mut connection = if tls {
                    gateway.connect()
                } else {
                    gateway.connect_plain()
                };
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\n{token}Content-Length: {length}\r\n\r\n"
                );
                connection.send(head);
                for piece in body.chunks(64 * 1024) {
                    connection.send(piece);
                }
                assert_eq!(
                    connection.answer().is_own().status,
                    status,
                    "{length} tls {tls}"
                );
            }
            let value = token.trim_end().rsplit(' ').next().unwrap();
            let mut request = http2_post(&[("verification-token", value)], &body);
            *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
            let answer = gateway.connect_http2().request(request).unwrap();
            assert_eq!(answer.is_own().status, status, "{length} over HTTP/2");
        }
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn a_refusal_of_a_small_request_keeps_its_connection() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    for length in [0, 10, 5000, 60_000] {
        let body = vec![b'x'; length];
        assert_eq!(
            connection
                .post("verification-token: wrong\r\n", &body)
                .answer()
                .status,
            401,
            "{length}"
        );
        assert_eq!(
            connection.post(&token_line(), &body).answer().status,
            200,
            "{length}"
        );
    }
}

/// 50 uploads of 8 MiB towards a backend that does not read: were they held, they would be 400 MB. In a process of its
/// own, whose memory is the gateway's alone.
#[test]
fn uploads_to_a_slow_backend_are_not_held() {
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let backend = Backend::early(move |_| {
        let _ = released.lock().unwrap().recv_timeout(PATIENCE);
        Reply::Raw(Vec::new())
    });
    let place = Place::new(&text(
        &format!("http://{}", backend.address()),
        "log: { format: json }",
        "",
    ));
    let gateway = Program::start(&mut place.command());
    let before = gateway.memory();
    let mut sockets = Vec::new();
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..50 {
        let mut socket = std::net::TcpStream::connect(gateway.plain).unwrap();
        let head = format!(
            "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: {}\r\n\r\n",
            token_line(),
            8 * MEGABYTE
        );
        std::io::Write::write_all(&mut socket, head.as_bytes()).unwrap();
        // Until nobody takes any more: what is then on its way lies in the kernel's buffers, not in ours.
        socket
            .set_write_timeout(Some(std::time::Duration::from_millis(20)))
            .unwrap();
        for _ in 0..8 * MEGABYTE / piece.len() {
            if std::io::Write::write_all(&mut socket, &piece).is_err() {
                break;
            }
        }
        sockets.push(socket);
    }
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 100 * MEGABYTE, "{} MiB", grown / MEGABYTE);
    drop(release);
}

/// Over all connections and both protocols; who cannot prove himself takes no place.
#[test]
fn so_many_requests_may_be_in_flight_on_a_route() {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let backend = Backend::with(move |_| {
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Reply::Ok("late")
    });
    let mut gateway = Gateway::with(&backend, "", "limits: { requests: 2 }");
    let mut held = [gateway.connect(), gateway.connect_plain()];
    for (number, connection) in held.iter_mut().enumerate() {
        connection.post(&token_line(), b"{}");
        backend.wait_for(number + 1);
    }
    // They count on under another configuration.
    let url = format!("http://{}", backend.address());
    let again = text(&url, "", "limits: { requests: 2 }");
    gateway.reload(&again).unwrap();
    let in_flight = |count: u8| {
        gateway.wait_for_metric(&format!(
            "countersign_requests_in_flight{{route=\"redox\"}} {count}"
        ));
    };
    in_flight(2);
    for protocol in crate::support::Protocol::BOTH {
        let message = crate::support::Message::post("{}");
        let answer = message.clone().token().over(protocol, &gateway).unwrap();
        assert_eq!(answer.is_own().status, 503, "{protocol:?}");
        assert!(answer.value("retry-after").is_some());
        assert_eq!(message.over(protocol, &gateway).unwrap().status, 401);
    }
    release.send(()).unwrap();
    in_flight(1);
    let mut next = gateway.connect();
    next.post(&token_line(), b"{}");
    backend.wait_for(3);
    release.send(()).unwrap();
    release.send(()).unwrap();
    for connection in held.iter_mut().chain([&mut next]) {
        assert_eq!(connection.answer().text(), "late");
    }
    in_flight(0);
    let story = gateway.finish();
    let overloaded = story
        .outcomes()
        .iter()
        .filter(|ended| **ended == ("rejected", "overloaded"))
        .count();
    assert_eq!(overloaded, 2);
}
