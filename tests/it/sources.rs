//! Who a request comes from: nobody but a trusted proxy speaks for somebody else, and a route may choose its sources.

use serde_json::json;

use crate::support::{Backend, Connection, Gateway, Message, Protocol, TOKEN};

/// The loopback address is the proxy, and so is a network behind it.
const TRUSTED: &str = "trusted_proxies: [127.0.0.1, 10.0.0.0/8, \"::ffff:172.16.0.0/108\"]";

fn message(lines: &[(&str, &str)]) -> Message {
    let mut message = Message::post("{}").token();
    for (name, value) in lines {
        message = message.header(name, *value);
    }
    message
}

/// What log and upstream say of a request with these lines: client, protocol, and the peer where it is not the client.
fn told(top: &str, protocol: Protocol, lines: &[(&str, &str)]) -> (String, String, bool) {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, top, "");
    let answer = message(lines).over(protocol, &gateway).unwrap();
    assert_eq!(answer.status, 200);
    let request = backend.only_request();
    let own = |name: &str| request.value(name).unwrap().to_owned();
    let (client, proto) = (own("x-forwarded-for"), own("x-forwarded-proto"));
    let node = if client.contains(':') {
        format!("\"[{client}]\"")
    } else {
        client.clone()
    };
    let forwarded = own("forwarded");
    assert!(
        forwarded.starts_with(&format!("for={node};proto={proto};")),
        "{forwarded}"
    );
    assert!(request.values("x_forwarded_for").is_empty());
    let story = gateway.finish();
    let line = story.only_line();
    let logged = line["client"].as_str().unwrap();
    let peer = line.get("peer").is_some();
    if peer {
        assert_eq!(logged, client);
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    } else {
        assert!(logged.starts_with("127.0.0.1:"), "{logged}");
    }
    (client, proto, peer)
}

const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";

#[test]
fn a_direct_client_speaks_for_itself_whatever_it_says() {
    for top in ["", "trusted_proxies: [10.0.0.0/8]"] {
        for protocol in Protocol::BOTH {
            let forged = [
                (FOR, "192.0.2.9, 10.0.0.1"),
                ("x_forwarded_for", "192.0.2.9"),
                ("x-real-ip", "192.0.2.9"),
                ("forwarded", "for=192.0.2.9;proto=http"),
                (PROTO, "http"),
            ];
            let found = told(top, protocol, &forged);
            assert_eq!(
                found,
                ("127.0.0.1".into(), "https".into(), false),
                "{top} {protocol:?}"
            );
        }
    }
}

#[test]
fn a_trusted_proxy_names_the_client_and_a_client_does_not() {
    let hundred = ["192.0.2.66"; 100].join(", ");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "127.0.0.1"),
        (&[(FOR, "192.0.2.9")], "192.0.2.9"),
        (&[(FOR, "127.0.0.1, 10.9.9.9, 192.0.2.9")], "192.0.2.9"),
        (&[(FOR, "203.0.113.1"), (FOR, "192.0.2.9")], "192.0.2.9"),
        (
            &[(FOR, "192.0.2.9, 172.16.3.3"), (FOR, "10.1.2.3:4711")],
            "192.0.2.9",
        ),
        (&[(FOR, "[2001:db8::1]:8")], "2001:db8::1"),
        (&[(FOR, "::ffff:192.0.2.9")], "192.0.2.9"),
        (&[(FOR, "192.0.2.9, nonsense")], "127.0.0.1"),
        (&[(FOR, "192.0.2.9, nonsense, 10.0.0.7")], "10.0.0.7"),
        (&[(FOR, "")], "127.0.0.1"),
        (&[(FOR, &hundred)], "192.0.2.66"),
        (&[("x_forwarded_for", "192.0.2.9")], "127.0.0.1"),
        (&[("x-real-ip", "192.0.2.9")], "127.0.0.1"),
        (&[("forwarded", "for=192.0.2.9")], "127.0.0.1"),
    ];
    for (lines, expected) in cases {
        for protocol in Protocol::BOTH {
            let (client, proto, peer) = told(TRUSTED, protocol, lines);
            assert_eq!(client, *expected, "{lines:?} {protocol:?}");
            assert_eq!(proto, "https");
            assert_eq!(peer, *expected != "127.0.0.1", "{lines:?} {protocol:?}");
        }
    }
    let named = told(TRUSTED, Protocol::Http1, &[(PROTO, "http")]);
    assert_eq!(named.1, "http");
    let twice = told(
        TRUSTED,
        Protocol::Http1,
        &[(PROTO, "http"), (PROTO, "http")],
    );
    assert_eq!(twice.1, "https");
}

#[test]
fn failures_count_for_the_client_behind_a_proxy() {
    let backend = Backend::ok();
    let limit = "failed_verifications: { rate: 1/h, burst: 1 }";
    let gateway = Gateway::with(&backend, &format!("{TRUSTED}\n{limit}"), "");
    let mut connection = gateway.connect();
    let mut status = |token: &str, client: &str| {
        let lines = format!("verification-token: {token}\r\nX-Forwarded-For: {client}\r\n");
        connection.post(&lines, b"{}").answer().status
    };
    let wrong = "wrong-wrong-wrong-wrong";
    assert_eq!(status(wrong, "192.0.2.1"), 401);
    assert_eq!(status(wrong, "192.0.2.99, 192.0.2.1"), 429);
    assert_eq!(status(wrong, "192.0.2.2"), 401);
    assert_eq!(status(wrong, "2001:db8::1"), 401);
    assert_eq!(status(wrong, "2001:db8::2"), 429);
    assert_eq!(status(wrong, "2001:db8:0:1::2"), 401);
    assert_eq!(status(TOKEN, "192.0.2.1"), 200);
}

#[test]
fn a_route_may_choose_its_sources() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, "", "allow: [127.0.0.2, \"::ffff:127.0.1.0/120\"]");
    let plain = gateway.plain_address();
    let post = |headers: &str| {
        format!("POST /redox HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{headers}\r\n")
    };
    let token = format!("verification-token: {TOKEN}\r\n");
    let challenge =
        format!("GET /redox?challenge=abc&verification-token={TOKEN} HTTP/1.1\r\nHost: a\r\n\r\n");
    let put = "PUT /redox HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned();
    let elsewhere = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned();
    let spoof = post(&format!("{token}X-Forwarded-For: 127.0.0.2\r\n"));
    // What a denied source sends, and an allowed one.
    let cases = [
        (post(&token), 403, 200),
        (spoof, 403, 200),
        (post(""), 403, 401),
        (challenge, 403, 200),
        (put, 403, 405),
        (elsewhere, 404, 404),
    ];
    for (request, denied, allowed) in &cases {
        for (source, expected) in [
            ("127.0.0.1", denied),
            ("127.0.0.3", denied),
            ("127.0.0.2", allowed),
            ("127.0.1.77", allowed),
        ] {
            let mut connection = Connection::plain_from(source, plain);
            let answer = connection.send(request).answer();
            assert_eq!(answer.status, *expected, "{source} {request}");
            if answer.status == 403 {
                answer.is_own();
            }
        }
    }
    assert_eq!(backend.requests().len(), 4);
    let story = gateway.finish();
    let refused = r#"countersign_rejected_requests_total{reason="source_denied",route="redox",sender="other"}"#;
    assert_eq!(story.value(refused), 10.0);
    assert_eq!(story.lines[0]["reason"], json!("source_denied"));
}

#[test]
fn a_proxy_speaks_for_the_sources_of_a_route() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, TRUSTED, "allow: [192.0.2.0/24]");
    for (client, expected) in [
        ("192.0.2.9", 200),
        ("192.0.3.9", 403),
        ("192.0.2.9, 203.0.113.5", 403),
        ("nonsense", 403),
    ] {
        for protocol in Protocol::BOTH {
            let answer = message(&[(FOR, client)]).over(protocol, &gateway).unwrap();
            assert_eq!(answer.status, expected, "{client} {protocol:?}");
        }
    }
}
