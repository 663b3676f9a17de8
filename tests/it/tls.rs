//! TLS as clients see it: versions, suites, protocols, certificates by name, tickets, and what is counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384,
    TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::support::{
    Backend, Connection, Environment, Gateway, PATIENCE, TOKEN, text, tls_config,
};

/// A pair of files for these names; gives the certificate.
fn pair(folder: &Path, stem: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join(format!("{stem}.pem")), made.cert.pem()).unwrap();
    std::fs::write(
        folder.join(format!("{stem}.key")),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    made.cert.der().clone()
}

/// A gateway whose first listener has this `tls:` line.
fn gateway(tls: &str) -> Gateway {
    let backend = Backend::ok();
    let file = text(&format!("http://{}", backend.address()), "", "");
    let file = file.replacen("{ self_signed: [localhost] }", tls, 1);
    Gateway::from_text(&file, &Environment::default())
}

fn client(
    versions: &[&'static SupportedProtocolVersion],
    suites: &[SupportedCipherSuite],
    root: Option<&CertificateDer<'static>>,
) -> ClientConfig {
    let mut provider = default_provider();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(root.cloned());
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    if root.is_none() {
        let any = tls_config(&[]);
        config = (*any).clone();
        config.alpn_protocols.clear();
    }
    config.resumption = Resumption::disabled();
    config
}

/// Connects and completes the handshake.
fn handshake(
    address: SocketAddr,
    config: ClientConfig,
    name: &str,
) -> Result<ClientConnection, std::io::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    session.complete_io(&mut socket)?;
    Ok(session)
}

fn suite(session: &ClientConnection) -> CipherSuite {
    session.negotiated_cipher_suite().unwrap().suite()
}

#[test]
fn the_server_prefers_aes_128_whatever_the_client_lists_first() {
    let folder = tempfile::tempdir().unwrap();
    let root = pair(folder.path(), "one", &["localhost"]);
    let offered = [
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
        TLS13_AES_128_GCM_SHA256,
    ];
    let files = format!(
        "certificate: {0}/one.pem, key: {0}/one.key",
        folder.path().display()
    );
    for (setting, expected) in [
        ("", CipherSuite::TLS13_AES_128_GCM_SHA256),
        (
            ", cipher_preference: aes256",
            CipherSuite::TLS13_AES_256_GCM_SHA384,
        ),
    ] {
        let gateway = gateway(&format!("{{ {files}{setting} }}"));
        let config = client(&[&TLS13], &offered, Some(&root));
        let session = handshake(gateway.tls_address(), config, "localhost").unwrap();
        assert_eq!(suite(&session), expected, "{setting}");
    }
}

#[test]
fn both_versions_are_spoken_and_counted_unless_one_is_excluded() {
    let folder = tempfile::tempdir().unwrap();
    let root = pair(folder.path(), "one", &["localhost"]);
    let files = format!(
        "certificate: {0}/one.pem, key: {0}/one.key",
        folder.path().display()
    );
    let gateway_12 = gateway(&format!("{{ {files} }}"));
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let session = handshake(
            gateway_12.tls_address(),
            client(&[version], &[], Some(&root)),
            "localhost",
        )
        .unwrap();
        assert_eq!(session.protocol_version(), Some(expected));
    }
    let series = |version: &str| {
        format!(
            r#"countersign_tls_handshakes_total{{listener="public",resumed="false",version="{version}"}}"#
        )
    };
    let story = gateway_12.finish();
    assert_eq!(
        (
            story.value(&series("TLSv1.2")),
            story.value(&series("TLSv1.3"))
        ),
        (1.0, 1.0)
    );

    let gateway_13 = gateway(&format!("{{ {files}, minimum_version: \"1.3\" }}"));
    assert!(
        handshake(
            gateway_13.tls_address(),
            client(&[&TLS12], &[], Some(&root)),
            "localhost"
        )
        .is_err()
    );
    handshake(
        gateway_13.tls_address(),
        client(&[&TLS13], &[], Some(&root)),
        "localhost",
    )
    .unwrap();
    let story = gateway_13.finish();
    let failures =
        r#"countersign_tls_handshake_failures_total{listener="public",reason="no_shared_version"}"#;
    assert_eq!(story.value(failures), 1.0);
}

#[test]
fn tls_1_2_uses_ephemeral_keys_and_authenticated_encryption() {
    let folder = tempfile::tempdir().unwrap();
    let root = pair(folder.path(), "one", &["localhost"]);
    let gateway = gateway(&format!(
        "{{ certificate: {0}/one.pem, key: {0}/one.key }}",
        folder.path().display()
    ));
    let session = handshake(
        gateway.tls_address(),
        client(&[&TLS12], &[], Some(&root)),
        "localhost",
    )
    .unwrap();
    assert_eq!(
        suite(&session),
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256.suite()
    );
}

#[test]
fn the_protocol_is_chosen_by_alpn() {
    let gateway = gateway("{ self_signed: [localhost] }");
    type Case<'c> = (&'c [&'c [u8]], Option<&'c [u8]>);
    let cases: [Case<'_>; 4] = [
        (&[b"h2", b"http/1.1"], Some(b"h2")),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ];
    for (offered, expected) in cases {
        let config = (*tls_config(offered)).clone();
        let session = handshake(gateway.tls_address(), config, "localhost").unwrap();
        assert_eq!(session.alpn_protocol(), expected, "{offered:?}");
    }
    // Without ALPN it is HTTP/1.1.
    let mut connection = Connection::tls_with(gateway.tls_address(), &tls_config(&[]), "localhost");
    let answer = connection
        .post(&format!("verification-token: {TOKEN}\r\n"), b"{}")
        .answer();
    assert_eq!(answer.status, 200);
}

#[test]
fn certificates_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let roots = [
        pair(folder.path(), "one", &["one.test"]),
        pair(folder.path(), "two", &["two.test"]),
        pair(folder.path(), "wild", &["*.wild.test"]),
    ];
    let pairs = ["one", "two", "wild"].map(|stem| {
        format!(
            "{{ certificate: {0}/{stem}.pem, key: {0}/{stem}.key }}",
            folder.path().display()
        )
    });
    let gateway = gateway(&format!("{{ certificates: [{}] }}", pairs.join(", ")));
    let presented = |name: &str| {
        let session = handshake(gateway.tls_address(), (*tls_config(&[])).clone(), name).unwrap();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    };
    assert_eq!(presented("one.test"), roots[0]);
    assert_eq!(presented("TWO.test"), roots[1]);
    assert_eq!(presented("a.wild.test"), roots[2]);
    // The first one for names that none has, and for clients that give none: an address is no name.
    assert_eq!(presented("other.test"), roots[0]);
    assert_eq!(presented("a.b.wild.test"), roots[0]);
    assert_eq!(presented("127.0.0.1"), roots[0]);
}

#[test]
fn one_ticket_is_given_and_taken() {
    let gateway = gateway("{ self_signed: [localhost] }");
    let mut config = (*tls_config(&[b"http/1.1"])).clone();
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let name = ServerName::try_from("localhost").unwrap();
        let mut socket = TcpStream::connect(gateway.tls_address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 404"),
            "{}",
            answer.escape_ascii()
        );
        kinds.push(session.handshake_kind());
        assert_eq!(session.tls13_tickets_received(), 1);
    }
    assert_eq!(
        kinds,
        [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]
    );
    let story = gateway.finish();
    let resumed =
        r#"countersign_tls_handshakes_total{listener="public",resumed="true",version="TLSv1.3"}"#;
    assert_eq!(story.value(resumed), 1.0);
}

#[test]
fn a_failed_handshake_is_counted_and_is_no_request() {
    let gateway = gateway("{ self_signed: [localhost] }");
    let mut plain = Connection::plain(gateway.tls_address());
    plain.send("POST /redox HTTP/1.1\r\nHost: a\r\n\r\n").rest();
    let untrusting = client(
        &[&TLS13],
        &[],
        Some(&pair(tempfile::tempdir().unwrap().path(), "x", &["x.test"])),
    );
    assert!(handshake(gateway.tls_address(), untrusting, "localhost").is_err());
    let series = |reason: &str| {
        format!(
            r#"countersign_tls_handshake_failures_total{{listener="public",reason="{reason}"}}"#
        )
    };
    gateway.wait_for_metric(&format!("{} 1", series("not_tls")));
    let story = gateway.finish();
    assert_eq!(story.sum("countersign_tls_handshake_failures_total{"), 2.0);
    assert_eq!(story.sum("countersign_requests_total{"), 0.0);
    assert_eq!(story.sum("countersign_connections_open{"), 0.0);
}
