//! A load balancer names the address that a connection came from: exactly, in time, and only where it is believed.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Backend, Connection, Environment, Gateway, PATIENCE, TOKEN, text};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn v2() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb];
    let extension = [4, 0, 3, 0, 0, 0];
    [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12"[..],
        &addresses,
        &extension,
    ]
    .concat()
}

/// Both listeners want a header; `networks` may send one, everybody where there are none.
fn gateway(backend: &Backend, top: &str, networks: &[&str], per_source: usize) -> Gateway {
    let text = text(&format!("http://{}", backend.address()), top, "");
    Gateway::adjusted(&text, &Environment::default(), |compiled| {
        for listener in &mut compiled.listeners {
            listener.proxy_protocol = true;
            listener.max_connections_per_source = per_source;
            let networks = networks.iter().map(|network| network.parse().unwrap());
            listener.trusted_proxies = networks.collect();
        }
    })
}

fn post(connection: &mut Connection) -> u16 {
    let token = format!("verification-token: {TOKEN}\r\n");
    connection.post(&token, b"{}").answer().status
}

fn address(gateway: &Gateway, tls: bool) -> std::net::SocketAddr {
    if tls {
        gateway.tls_address()
    } else {
        gateway.plain_address()
    }
}

#[test]
fn the_named_address_is_the_senders() {
    for networks in [&[][..], &["127.0.0.0/8"]] {
        for header in [V1, &v2()] {
            for tls in [false, true] {
                let backend = Backend::ok();
                let gateway = gateway(&backend, "", networks, 10);
                let address = address(&gateway, tls);
                let mut connection = Connection::behind(address, header, tls).unwrap();
                assert_eq!(post(&mut connection), 200);
                let request = backend.only_request();
                assert_eq!(request.value("x-forwarded-for"), Some("192.0.2.7"));
                let story = gateway.finish();
                let client = story.only_line().get("client").unwrap().as_str().unwrap();
                assert!(client.starts_with("192.0.2.7"), "{client}");
            }
        }
    }
}

#[test]
fn a_load_balancer_may_speak_for_itself() {
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let backend = Backend::ok();
        let gateway = gateway(&backend, "", &[], 10);
        let address = gateway.tls_address();
        let mut connection = Connection::behind(address, header, true).unwrap();
        assert_eq!(post(&mut connection), 200);
        let request = backend.only_request();
        assert_eq!(request.value("x-forwarded-for"), Some("127.0.0.1"));
    }
}

/// Whether this ends without a byte.
fn is_left(gateway: &Gateway, tls: bool, pieces: &[&[u8]]) -> bool {
    let mut stream = TcpStream::connect(address(gateway, tls)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for piece in pieces {
        let _ = stream.write_all(piece);
    }
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received);
    let timed_out = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    !timed_out && received.is_empty()
}

#[test]
fn without_a_header_nobody_gets_in() {
    let backend = Backend::ok();
    let gateway = gateway(&backend, "timeouts: { tls_handshake: 1s }", &[], 10);
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    let cases: [(&str, &[u8]); 6] = [
        ("malformed", b"POST /redox HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("malformed", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        (
            "malformed",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 \r\n",
        ),
        ("too_long", long.as_bytes()),
        ("timeout", b"PROXY TCP4 192.0."),
        ("timeout", b""),
    ];
    for (_, bytes) in cases {
        for tls in [false, true] {
            assert!(is_left(&gateway, tls, &[bytes]), "{}", bytes.escape_ascii());
        }
    }
    assert!(backend.requests().is_empty());
    let story = gateway.finish();
    assert!(story.lines.is_empty());
    for (reason, count) in [("malformed", 3.0), ("too_long", 1.0), ("timeout", 2.0)] {
        for listener in ["public", "plain"] {
            let series = format!(
                r#"countersign_proxy_protocol_errors_total{{listener="{listener}",reason="{reason}"}}"#
            );
            assert_eq!(story.value(&series), count, "{series}");
        }
    }
    let series = r#"countersign_connections_closed_total{listener="public",reason="proxy_header"}"#;
    assert_eq!(story.value(series), 6.0);
}

#[test]
fn a_header_of_somebody_else_is_not_believed() {
    let backend = Backend::ok();
    let gateway = gateway(&backend, "", &["10.0.0.0/8", "192.0.2.7/32"], 10);
    for tls in [false, true] {
        assert!(is_left(&gateway, tls, &[V1]));
    }
    let story = gateway.finish();
    let series =
        r#"countersign_proxy_protocol_errors_total{listener="plain",reason="not_trusted"}"#;
    assert_eq!(story.value(series), 1.0);
}

/// A second header is the first bytes of something else, which is no request.
#[test]
fn only_the_first_header_counts() {
    let backend = Backend::ok();
    let gateway = gateway(&backend, "", &[], 10);
    let twice = [V1, V1].concat();
    let mut connection = Connection::behind(gateway.plain_address(), &twice, false).unwrap();
    let token = format!("verification-token: {TOKEN}\r\n");
    assert_eq!(connection.post(&token, b"{}").answer().status, 400);
    assert!(backend.requests().is_empty());
}

#[test]
fn each_named_address_has_a_limit_of_its_own() {
    let backend = Backend::ok();
    let gateway = gateway(&backend, "", &[], 2);
    let open = |header: &[u8]| Connection::behind(gateway.plain_address(), header, false).unwrap();
    let (mut first, mut second) = (open(V1), open(&v2()));
    assert_eq!((post(&mut first), post(&mut second)), (200, 200));
    assert!(open(V1).is_closed());
    assert_eq!(post(&mut open(LOCAL)), 200);
    drop(first);
    gateway.wait_for_metric(
        r#"countersign_connections_closed_total{listener="plain",reason="peer"} 2"#,
    );
    assert_eq!(post(&mut open(V1)), 200);
    drop(second);
    let story = gateway.finish();
    let series = r#"countersign_connections_closed_total{listener="plain",reason="source_limit"}"#;
    assert_eq!(story.value(series), 1.0);
}
