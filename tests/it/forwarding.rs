//! What passes, passes untouched: bytes in are bytes out, both ways.

use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::support::{
    Answer, Backend, Gateway, Message, PATIENCE, Protocol, Recorded, Reply, TOKEN, http2_post,
};

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

/// The request that `message` became, on a gateway with these lines in its route.
fn arrived(protocol: Protocol, route: &str, message: &Message) -> Recorded {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, "", route);
    let answer = message.over(protocol, &gateway).unwrap();
    assert_eq!((answer.status, answer.text()), (200, "received"));
    let request = backend.only_request();
    assert_eq!(request.complaint, None);
    request
}

/// The gateway's answer to a good message when the backend says this.
fn answered(protocol: Protocol, reply: Reply) -> Answer {
    let backend = Backend::with(move |_| reply.clone());
    let gateway = Gateway::before(&backend);
    Message::post("{}")
        .token()
        .over(protocol, &gateway)
        .unwrap()
}

/// Bytes of every value, in no order that a compressor or a parser likes.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| byte()).collect()
}

fn upstream(url: &str, more: &str) -> String {
    format!("upstream: {{ url: \"{url}\"{more} }}")
}

#[test]
fn a_good_message_reaches_the_backend_and_its_answer_the_sender() {
    let backend = Backend::with(|_| {
        Reply::Raw(
            b"HTTP/1.1 201 Created\r\nX-Legacy: Yes\r\nContent-Length: 4\r\n\r\nfine".to_vec(),
        )
    });
    let gateway = Gateway::before(&backend);
    let answer = gateway
        .connect()
        .post(&token_line(), br#"{"Meta":{}}"#)
        .answer();
    assert_eq!(
        (answer.status, answer.text(), answer.value("x-legacy")),
        (201, "fine", Some("Yes"))
    );
    let request = backend.only_request();
    assert_eq!(request.complaint, None);
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("POST", "/redox")
    );
    assert_eq!(request.body, br#"{"Meta":{}}"#);
    assert_eq!(request.value("Host"), Some("ehr.example.org"));
    assert_eq!(request.value("Content-Length"), Some("11"));
    assert_eq!(request.value("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(request.value("X-Forwarded-Proto"), Some("https"));
    assert_eq!(request.value("X-Forwarded-Host"), Some("ehr.example.org"));
    assert_eq!(request.value("verification-token"), None);
    let story = gateway.finish();
    assert_eq!(story.outcomes(), [("forwarded", "")]);
    let line = story.only_line();
    assert_eq!(line["token_id"], "current");
    assert_eq!(line["status"], 201);
    assert_eq!(line["request_id"].as_str(), request.value("X-Request-Id"));
    assert_eq!(
        story.value(
            r#"countersign_requests_total{listener="public",outcome="forwarded",route="redox"}"#
        ),
        1.0
    );
}

#[test]
fn the_same_over_http2() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let answer = gateway
        .connect_http2()
        .request(http2_post(&[("verification-token", TOKEN)], b"{}"))
        .unwrap();
    assert_eq!((answer.status, answer.text()), (200, "received"));
    let request = backend.only_request();
    assert_eq!(request.complaint, None);
    assert_eq!(request.value("Host"), Some("localhost"));
    assert_eq!(request.body, b"{}");
}

#[test]
fn bodies_go_up_and_down_unchanged() {
    const SIZES: [usize; 8] = [
        0,
        1,
        4095,
        4096,
        4097,
        64 * 1024,
        1024 * 1024,
        8 * 1024 * 1024,
    ];
    let all = std::sync::Arc::new(noise(SIZES[7]));
    let back = std::sync::Arc::clone(&all);
    // The backend sends back as many bytes of noise as it got.
    let backend = Backend::with(move |request| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            request.body_length
        );
        Reply::Raw([head.as_bytes(), &back[..request.body_length]].concat())
    });
    let gateway = Gateway::before(&backend);
    let mut http1 = gateway.connect();
    let mut http2 = gateway.connect_http2();
    let mut sent = 0;
    for size in SIZES {
        let body = &all[..size];
        let digest = Sha256::digest(body);
        for known_length in [true, false] {
            for protocol in Protocol::BOTH {
                let message = Message {
                    known_length,
                    ..Message::post(body).token()
                };
                let answer = match protocol {
                    Protocol::Http1 => message.over_http1(&mut http1),
                    Protocol::Http2 => message.over_http2(&mut http2),
                };
                let name = format!("{size} bytes over {protocol:?}, length known: {known_length}");
                let request = backend.requests().remove(sent);
                sent += 1;
                assert_eq!(request.complaint, None, "{name}");
                assert_eq!(request.body_length, size, "{name}");
                assert!(request.body_sha256[..] == digest[..], "{name}");
                assert!(answer.unwrap().body == body, "{name}: the way back");
                let length = request.value("content-length").map(str::to_owned);
                // A body that was looked at whole has a length whatever its sender said.
                if known_length || size <= 4096 {
                    assert_eq!(length, Some(size.to_string()), "{name}");
                } else {
                    assert_eq!(length, None, "{name}");
                }
            }
        }
    }
    drop((http1, http2));
    let story = gateway.finish();
    for line in &story.lines {
        assert_eq!(line["received_bytes"], line["sent_bytes"]);
    }
}

#[test]
fn compressed_bodies_stay_compressed() {
    let zipped =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let back = [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\nContent-Length: 22\r\n\r\n",
        &zipped[..],
    ]
    .concat();
    let backend = Backend::with(move |_| Reply::Raw(back.clone()));
    let gateway = Gateway::before(&backend);
    for protocol in Protocol::BOTH {
        let message = Message::post(*zipped)
            .token()
            .header("Content-Encoding", "gzip")
            .header("Accept-Encoding", "gzip, br");
        let answer = message.over(protocol, &gateway).unwrap();
        assert_eq!(answer.value("content-encoding"), Some("gzip"));
        assert_eq!(answer.value("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.body, zipped);
    }
    for request in backend.requests() {
        assert_eq!(request.body, zipped);
        assert_eq!(request.value("content-encoding"), Some("gzip"));
        assert_eq!(request.value("accept-encoding"), Some("gzip, br"));
    }
}

#[test]
fn what_concerns_one_connection_ends_there() {
    let message = Message::post("{}")
        .token()
        .header("Connection", "X-One , x-two")
        .header("Connection", "keep-alive,X-THREE,,content-type")
        .header("Connection", b"x-four, \xff".to_vec())
        .header("Content-Type", "application/json")
        .header("X-One", "CANARY")
        .header("x-two", "CANARY")
        .header("X-Three", "CANARY")
        .header("X-Four", "CANARY")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic CANARY")
        .header("TE", "trailers")
        .header("Trailer", "X-Late")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAMAAABk")
        .header("X-Kept", "1")
        .header("X-Kept", "2");
    let request = arrived(Protocol::Http1, "", &message);
    let mut names: Vec<_> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "Content-Length",
            "Content-Type",
            "Forwarded",
            "Host",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Kept",
            "X-Kept",
            "X-Request-Id",
        ]
    );
    assert_eq!(request.values("x-kept"), ["1", "2"]);
}

#[test]
fn only_we_say_where_a_request_came_from() {
    const CLAIMS: [&str; 12] = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X_Forwarded_For",
        "X.Forwarded.For",
        "X-Real-IP",
        "True-Client-IP",
        "Forwarded",
        "X-Request-Id",
        "X_Request_Id",
    ];
    for protocol in Protocol::BOTH {
        let mut message = Message::post("{}").token();
        for name in CLAIMS {
            message = message.header(name, "CANARY").header(name, "10.9.8.7");
        }
        let request = arrived(protocol, "", &message);
        for (name, value) in &request.headers {
            assert!(
                !value.contains("CANARY") && !value.contains("10.9.8.7"),
                "{name}: {value}"
            );
        }
        assert_eq!(request.value("X-Forwarded-For"), Some("127.0.0.1"));
        assert_eq!(request.value("X-Forwarded-Proto"), Some("https"));
        assert_eq!(request.value("X-Forwarded-Host"), Some("localhost"));
        assert_eq!(
            request.value("Forwarded"),
            Some("for=127.0.0.1;proto=https;host=\"localhost\"")
        );
        assert_eq!(request.value("X-Request-Id").map(str::len), Some(24));
    }
}

#[test]
fn header_names_are_written_as_the_backend_likes_them() {
    let cases = [
        ("title", Protocol::Http1, ["Content-Type", "X-Odd-Case"]),
        ("title", Protocol::Http2, ["Content-Type", "X-Odd-Case"]),
        ("preserve", Protocol::Http1, ["conTENT-type", "X-oDD-case"]),
        ("preserve", Protocol::Http2, ["content-type", "x-odd-case"]),
        ("lower", Protocol::Http1, ["content-type", "x-odd-case"]),
        ("lower", Protocol::Http2, ["content-type", "x-odd-case"]),
    ];
    for (case, protocol, expected) in cases {
        let backend = Backend::ok();
        let url = format!("http://{}", backend.address());
        let route = upstream(&url, &format!(", header_case: {case}"));
        let gateway = Gateway::with(&backend, "", &route);
        let (one, two) = match protocol {
            Protocol::Http1 => ("conTENT-type", "X-oDD-case"),
            Protocol::Http2 => ("content-type", "x-odd-case"),
        };
        let message = Message::post("{}")
            .token()
            .header(one, "application/json")
            .header(two, "x");
        assert_eq!(message.over(protocol, &gateway).unwrap().status, 200);
        let request = backend.only_request();
        assert_eq!(request.complaint, None);
        for name in expected {
            assert!(
                request.headers.iter().any(|(other, _)| other == name),
                "{case} {protocol:?}: {name} in {:?}",
                request.headers
            );
        }
        let spelt = |name: &str| {
            let title = name.starts_with(|c: char| c.is_ascii_uppercase());
            let lower = name.bytes().all(|byte| !byte.is_ascii_uppercase());
            (case != "title" || title) && (case != "lower" || lower)
        };
        let odd = request.headers.iter().find(|(name, _)| !spelt(name));
        assert_eq!(odd, None, "{case} {protocol:?}");
    }
}

#[test]
fn the_host_follows_its_rule() {
    let backend = Backend::ok();
    let url = format!("http://{}", backend.address());
    let own = backend.address().to_string();
    let cases = [
        ("preserve", "localhost"),
        ("upstream", own.as_str()),
        ("legacy.internal:8080", "legacy.internal:8080"),
    ];
    for (count, (rule, expected)) in cases.into_iter().enumerate() {
        let route = upstream(&url, &format!(", host_header: \"{rule}\""));
        let gateway = Gateway::with(&backend, "", &route);
        for protocol in Protocol::BOTH {
            let message = Message::post("{}").token();
            assert_eq!(message.over(protocol, &gateway).unwrap().status, 200);
        }
        for request in &backend.requests()[count * 2..] {
            assert_eq!(request.complaint, None);
            assert_eq!(request.value("host"), Some(expected), "{rule}");
            assert_eq!(request.value("x-forwarded-host"), Some("localhost"));
        }
    }
}

#[test]
fn the_path_follows_its_rule_and_the_query_stays() {
    const QUERY: &str = "?a=%20b&&c=%C3%A9;d&verification-token=x&/../?*'()!$";
    let cases = [
        ("/redox", "", "/redox", "/redox"),
        ("/redox", "/", "/redox", "/"),
        ("/redox", "/legacy/in", "/redox", "/legacy/in"),
        ("/redox/*", "", "/redox/a/b", "/redox/a/b"),
        ("/redox/*", "/legacy", "/redox/", "/legacy/"),
        ("/redox/*", "/legacy", "/redox/a%20b/c", "/legacy/a%20b/c"),
        ("/redox/*", "/", "/redox/a", "/a"),
        ("/*", "/legacy", "/a", "/legacy/a"),
    ];
    for (path, with, sent, expected) in cases {
        let backend = Backend::ok();
        let url = format!("http://{}{with}", backend.address());
        let route = format!("path: {path}\n{}", upstream(&url, ""));
        let gateway = Gateway::with(&backend, "", &route);
        for (protocol, query) in Protocol::BOTH.into_iter().zip([QUERY, ""]) {
            let message = Message::post("{}")
                .token()
                .target(&format!("{sent}{query}"));
            assert_eq!(message.over(protocol, &gateway).unwrap().status, 200);
            let request = backend.requests().pop().unwrap();
            assert_eq!(
                request.target,
                format!("{expected}{query}"),
                "{path} {with}"
            );
        }
    }
}

#[test]
fn the_token_goes_along_only_where_the_route_says_so() {
    for (forward, expected) in [(true, Some(TOKEN)), (false, None)] {
        for protocol in Protocol::BOTH {
            let backend = Backend::ok();
            let url = format!("http://{}", backend.address());
            let route = upstream(&url, &format!(", forward_token: {forward}"));
            let gateway = Gateway::with(&backend, "", &route);
            let message = Message::post("{}")
                .token()
                .header("Authorization", format!("Bearer {TOKEN}"));
            assert_eq!(message.over(protocol, &gateway).unwrap().status, 200);
            let request = backend.only_request();
            assert_eq!(request.value("verification-token"), expected);
            let bearer = expected.map(|token| format!("Bearer {token}"));
            assert_eq!(request.value("authorization"), bearer.as_deref());
        }
    }
}

#[test]
fn answers_come_back_as_they_are() {
    let cases: [(u16, &str, &str); 10] = [
        (200, "Content-Length: 4\r\n\r\nfine", "fine"),
        (200, "Content-Length: 0\r\n\r\n", ""),
        (
            200,
            "Transfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2;x=y\r\nne\r\n0\r\nX-Late: CANARY\r\n\r\n",
            "fine",
        ),
        (
            201,
            "Location: /made/5\r\nContent-Length: 4\r\n\r\nmade",
            "made",
        ),
        (204, "\r\n", ""),
        (400, "Content-Length: 3\r\n\r\nbad", "bad"),
        (
            401,
            "WWW-Authenticate: Basic\r\nContent-Length: 3\r\n\r\nwho",
            "who",
        ),
        (404, "Content-Length: 4\r\n\r\ngone", "gone"),
        (500, "Content-Length: 4\r\n\r\noops", "oops"),
        (599, "Content-Length: 3\r\n\r\nodd", "odd"),
    ];
    for (status, rest, body) in cases {
        let raw = format!(
            "HTTP/1.1 {status} Whatever\r\nX-Two: b\r\nX-Two: a\r\nServer: CANARY/1\r\n{rest}"
        );
        for protocol in Protocol::BOTH {
            let answer = answered(protocol, Reply::Raw(raw.clone().into_bytes()));
            assert_eq!(
                (answer.status, answer.text()),
                (status, body),
                "{protocol:?}"
            );
            let two = answer.headers.iter().filter(|(name, _)| name == "x-two");
            let two: Vec<_> = two.map(|(_, value)| value.as_str()).collect();
            assert_eq!(two, ["b", "a"]);
            assert_eq!(answer.value("server"), Some("CANARY/1"));
            assert_eq!(answer.value("x-late"), None);
            for ours in ["cache-control", "x-content-type-options", "x-request-id"] {
                assert_eq!(answer.value(ours), None, "{status}");
            }
            let named = raw.contains("Location").then_some("/made/5");
            assert_eq!(answer.value("location"), named);
        }
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    for protocol in Protocol::BOTH {
        let raw = b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: CANARY\r\nContent-Type: text/x\r\n\r\nto the end";
        let answer = answered(protocol, Reply::RawAndClose(raw.to_vec()));
        assert_eq!((answer.status, answer.text()), (200, "to the end"));
        assert_eq!(answer.value("content-type"), Some("text/x"));
        assert_eq!(answer.value("x-hop"), None);
        let raw = b"HTTP/1.0 200 OK\r\n\r\nold";
        let answer = answered(protocol, Reply::RawAndClose(raw.to_vec()));
        assert_eq!((answer.status, answer.text()), (200, "old"));
    }
}

#[test]
fn interim_answers_of_the_backend_stay_here() {
    for protocol in Protocol::BOTH {
        let raw = b"HTTP/1.1 103 Early Hints\r\nLink: </CANARY>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
        let answer = answered(protocol, Reply::Raw(raw.to_vec()));
        assert_eq!((answer.status, answer.text()), (200, "fine"));
        assert_eq!(answer.value("link"), None);
    }
}

#[test]
fn bytes_beyond_ascii_pass_in_values() {
    let backend = Backend::with(|_| {
        Reply::Raw(
            b"HTTP/1.1 200 Fine So Far\r\nX-Name: M\xfcller\r\nContent-Length: 0\r\n\r\n".to_vec(),
        )
    });
    let gateway = Gateway::before(&backend);
    let message = Message::post("{}")
        .token()
        .header("X-Name", "J\u{f8}rgen")
        .header("Connection", "close");
    let bytes = gateway.connect().send(message.bytes()).rest();
    let text = bytes.escape_ascii().to_string();
    assert!(text.starts_with("HTTP/1.1 200 Fine So Far\\r\\n"), "{text}");
    assert!(text.contains("x-name: M\\xfcller\\r\\n"), "{text}");
    assert_eq!(backend.only_request().value("x-name"), Some("J\u{f8}rgen"));
}

#[test]
fn a_backend_connection_serves_again() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    for body in ["{}", "", "[1]"] {
        let message = Message::post(body).token();
        assert_eq!(message.over_http1(&mut connection).unwrap().status, 200);
    }
    let other = Message::post("{}").token().over(Protocol::Http2, &gateway);
    assert_eq!(other.unwrap().status, 200);
    assert_eq!(backend.requests().len(), 4);
    assert_eq!(backend.connections(), 1, "one for all senders");
}

#[test]
fn a_backend_that_soon_closes_is_asked_on_a_fresh_connection() {
    // One second, less the second we stay below it, is nothing: the connection is not kept.
    let backend = Backend::with(|_| {
        Reply::Raw(
            b"HTTP/1.1 200 OK\r\nKeep-Alive: max=5, timeout=1\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
        )
    });
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    for expected in 1..=3 {
        let answer = Message::post("{}").token().over_http1(&mut connection);
        assert_eq!(answer.unwrap().value("keep-alive"), None);
        assert_eq!(backend.connections(), expected);
    }
}

#[test]
fn a_kept_connection_that_the_backend_closed_is_replaced_in_silence() {
    // Each connection ends right after its first answer, without having said so.
    let backend = Backend::with(|request| {
        let text = format!("{}", request.connection);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
        Reply::RawAndClose((head + &text).into_bytes())
    });
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    let mut sent = 0;
    let mut answers = 0;
    while answers < 10 {
        let message = Message::post("{}").token();
        sent += 1;
        let answer = message.over_http1(&mut connection).unwrap();
        // The close may cross our request on its way: then nobody knows whether it was taken, and it must not be
        // sent again.
        match answer.status {
            200 => answers += 1,
            502 => assert_eq!(answer.is_own().text(), "no usable answer\n"),
            other => panic!("{other}"),
        }
        assert!(backend.requests().len() <= sent, "delivered twice");
        assert!(sent < 1000);
    }
    assert!(backend.requests().len() >= answers);
    assert_eq!(gateway.finish().lines.len(), sent);
}

#[test]
fn a_message_that_may_have_arrived_is_never_sent_again() {
    // Takes the second request on a kept connection whole, then resets.
    let seen = Mutex::new(0);
    let backend = Backend::with(move |_| {
        let mut seen = seen.lock().unwrap();
        *seen += 1;
        if *seen == 2 {
            Reply::Reset
        } else {
            Reply::Ok("received")
        }
    });
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    let mut statuses = Vec::new();
    for body in ["first", "second", "third"] {
        let message = Message::post(body).token();
        statuses.push(message.over_http1(&mut connection).unwrap().status);
    }
    assert_eq!(statuses, [200, 502, 200]);
    let bodies: Vec<_> = backend
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    assert_eq!(bodies, [&b"first"[..], b"second", b"third"]);
}

#[test]
fn requests_in_one_packet_are_answered_in_order() {
    let backend = Backend::with(|request| match &request.body[..] {
        b"1" => Reply::Ok("one"),
        b"2" => Reply::Ok("two"),
        _ => Reply::Ok("three"),
    });
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    let message = |body: &str| Message::post(body).token();
    let refused = Message::post("{}").bytes();
    let all = [
        message("1").bytes(),
        message("2").unknown_length().bytes(),
        refused,
        message("3").bytes(),
    ];
    connection.send(all.concat());
    let answers: Vec<_> = (0..4).map(|_| connection.answer()).collect();
    let texts: Vec<_> = answers.iter().map(Answer::text).collect();
    assert_eq!(texts, ["one", "two", "not verified\n", "three"]);
    assert_eq!(backend.requests().len(), 3);
    for request in backend.requests() {
        assert_eq!(request.complaint, None);
    }
}

#[test]
fn a_sender_that_wants_to_close_is_closed() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    let message = Message::post("{}").token().header("Connection", "close");
    let answer = message.over_http1(&mut connection).unwrap();
    assert_eq!((answer.status, answer.text()), (200, "received"));
    assert!(connection.is_closed());
    // The backend's connection is another matter.
    let again = Message::post("{}").token().over(Protocol::Http1, &gateway);
    assert_eq!(again.unwrap().status, 200);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn an_old_sender_is_understood() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n";
    let backend = Backend::with(move |_| Reply::Raw(chunked.to_vec()));
    let gateway = Gateway::before(&backend);
    let head = format!(
        "POST /redox HTTP/1.0\r\nContent-Length: 2\r\n{}\r\n",
        token_line()
    );
    let mut connection = gateway.connect();
    let answer = connection.send(head + "{}").answer();
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    assert_eq!(
        answer.value("transfer-encoding"),
        None,
        "1.0 knows no chunks"
    );
    assert!(connection.is_closed());
    let request = backend.only_request();
    assert_eq!(request.complaint, None);
    assert_eq!(request.body, b"{}");
    let own = backend.address().to_string();
    assert_eq!(request.value("host"), Some(own.as_str()), "it named none");
    assert_eq!(request.value("x-forwarded-host"), None);
}

#[test]
fn a_body_is_asked_for_only_once_its_sender_is_known() {
    let head = "POST /redox HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n";
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    connection.send(format!("{head}{}\r\n", token_line()));
    assert_eq!(connection.any_answer().unwrap().status, 100);
    connection.send(vec![b'x'; 5000]);
    assert_eq!(connection.any_answer().unwrap().status, 200);
    let request = backend.only_request();
    assert_eq!(request.body_length, 5000);
    assert_eq!(request.value("expect"), None);

    for token in ["", "verification-token: wrong\r\n"] {
        let mut connection = gateway.connect();
        connection.send(format!("{head}{token}\r\n"));
        let answer = connection.any_answer().unwrap();
        assert_eq!(answer.is_own().status, 401, "{token}");
        // What follows may be the body or the next request, so the connection cannot go on.
        assert!(connection.is_closed());
    }
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn an_answer_comes_while_the_next_one_is_being_made() {
    // The first request hangs at the backend; the second, on the same HTTP/2 connection's gateway, does not wait.
    let backend = Backend::with(|request| match &request.body[..] {
        b"hang" => Reply::Hang,
        _ => Reply::Ok("received"),
    });
    let gateway = Gateway::before(&backend);
    let mut slow = gateway.connect();
    slow.send(Message::post("hang").token().bytes());
    backend.wait_for(1);
    let began = std::time::Instant::now();
    let answer = Message::post("{}").token().over(Protocol::Http1, &gateway);
    assert_eq!(answer.unwrap().status, 200);
    assert!(began.elapsed() < PATIENCE);
    slow.reset();
}

#[test]
fn a_cookie_that_http2_cut_up_arrives_in_one_piece() {
    // RFC 9113 §8.2.3
    let message = Message::post("{}")
        .token()
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .header("cookie", "d=4");
    let request = arrived(Protocol::Http2, "", &message);
    assert_eq!(request.value("cookie"), Some("a=1; b=2; c=3; d=4"));
}

#[test]
fn chunk_extensions_and_trailers_end_here() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    for size in [5, 5000] {
        let body = "x".repeat(size);
        let head = "POST /redox HTTP/1.1\r\nHost: localhost\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n";
        let request = format!(
            "{head}{}\r\n{size:x};CANARY=1\r\n{body}\r\n0;CANARY\r\nX-Late: CANARY\r\nverification-token: CANARY\r\n\r\n",
            token_line()
        );
        assert_eq!(gateway.connect().send(request).answer().status, 200);
        let request = backend.requests().pop().unwrap();
        assert_eq!(request.complaint, None);
        assert_eq!(request.body, body.as_bytes());
        assert_eq!(request.value("x-late"), None);
    }
}

#[test]
fn a_target_with_its_host_in_front_arrives_without() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let request = Message::post("{}")
        .token()
        .target("https://localhost/redox?a=b");
    let answer = gateway.connect().send(request.bytes()).answer();
    assert_eq!(answer.status, 200);
    let request = backend.only_request();
    assert_eq!(request.target, "/redox?a=b");
    assert_eq!(request.value("host"), Some("localhost"));
}
