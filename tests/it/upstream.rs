//! Whatever an upstream does, the sender learns the truth, once: nothing is delivered twice, nothing broken off
//! looks whole, and nothing odd is passed on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{
    Backend, Environment, Gateway, Nobody, PATIENCE, Reply, TOKEN, http2_post, text,
};

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
    Reply::Raw(bytes.into())
}

fn then_close(bytes: impl Into<Vec<u8>>) -> Reply {
    Reply::RawAndClose(bytes.into())
}

/// An upstream of the test's own: each connection goes to `serve`.
fn upstream(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    url
}

fn read_request(stream: &mut impl Read) -> Vec<u8> {
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    while !request.windows(6).any(|window| window == b"\r\n\r\n{}") {
        match stream.read(&mut bytes) {
            Ok(count) if count > 0 => request.extend_from_slice(&bytes[..count]),
            _ => break,
        }
    }
    request
}

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

#[test]
fn nobody_there_is_a_502() {
    let nobody = Nobody::new();
    let gateway = Gateway::towards(&nobody.url(), "", "");
    let mut connection = gateway.connect();
    // The connection is kept: a sender that tries again during an outage needs no new handshake.
    for body in [2, 10_000, 60_000] {
        let answer = connection.post(&token_line(), &vec![b'x'; body]).answer();
        assert_eq!(answer.is_own().status, 502);
        assert_eq!(answer.value("connection"), None);
    }
    let large = connection
        .post(&token_line(), &vec![b'x'; 1_000_000])
        .answer();
    assert_eq!(
        (large.status, large.value("connection")),
        (502, Some("close"))
    );
    assert_eq!(
        gateway.finish().outcomes(),
        [("error", "upstream_refused"); 4]
    );
}

/// At whichever byte the upstream resets: one delivery, on a new connection and on a reused one.
#[test]
fn nothing_is_delivered_twice() {
    for cut in 0..FINE.len() {
        let deliveries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&deliveries);
        let url = upstream(move |mut stream| {
            for last in [false, true] {
                if read_request(&mut stream).is_empty() {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let part = if last { &FINE[..cut] } else { FINE };
                stream.write_all(part).unwrap();
            }
            socket2::SockRef::from(&stream)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
        });
        let gateway = Gateway::towards(&url, "", "");
        let mut connection = gateway.connect_plain();
        assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
        // Every answer of the gateway's own and every broken one ends here; which one it is depends on the cut.
        let received = connection
            .post(&format!("{}Connection: close\r\n", token_line()), b"{}")
            .rest();
        assert!(!received.ends_with(b"fine"), "cut at {cut}");
        assert_eq!(deliveries.load(Ordering::SeqCst), 2, "cut at {cut}");
        let story = gateway.finish();
        assert_eq!(story.outcomes()[1].0, "error", "cut at {cut}");
    }
}

/// The upstream closes between two requests, and the gateway has noticed: nothing was sent, so nobody is told.
#[test]
fn a_closed_idle_connection_is_replaced_silently() {
    let (tell, told) = channel();
    let url = upstream(move |mut stream| {
        if read_request(&mut stream).is_empty() {
            return;
        }
        stream.write_all(FINE).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0; 1]);
        tell.send(()).unwrap();
    });
    let gateway = Gateway::towards(&url, "", "");
    let mut connection = gateway.connect();
    for _ in 0..3 {
        assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
        told.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn connections_are_reused_and_bytes_left_over_end_them() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    for _ in 0..3 {
        assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
    }
    assert_eq!(backend.connections(), 1);
    let poisoned = Backend::with(|_| raw([FINE, FINE].concat()));
    let gateway = Gateway::before(&poisoned);
    let mut connection = gateway.connect();
    for _ in 0..3 {
        assert_eq!(
            connection.post(&token_line(), b"{}").answer().text(),
            "fine"
        );
    }
    assert_eq!(
        poisoned.connections(),
        3,
        "an answer to nobody is not given to the next"
    );
}

/// Some backends refuse a large body by its head and close without reading it.
#[test]
fn an_early_answer_reaches_a_sender_in_the_middle_of_its_body() {
    const TOO_LARGE: &[u8] =
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 6\r\nConnection: close\r\n\r\nlarge\n";
    for reply in [raw(TOO_LARGE), then_close(TOO_LARGE)] {
        let backend = Backend::early(move |_| reply.clone());
        let gateway = Gateway::before(&backend);
        let body = vec![b'x'; 8 * 1024 * 1024];
        for _ in 0..5 {
            let answer = gateway.connect().post(&token_line(), &body).answer();
            assert_eq!((answer.status, answer.text()), (413, "large\n"));
        }
        let request = http2_post(&[("verification-token", TOKEN)], &body);
        assert_eq!(
            gateway.connect_http2().request(request).unwrap().status,
            413
        );
        assert_eq!(gateway.finish().outcomes(), [("forwarded", ""); 6]);
    }
}

/// A backend that keeps its connection all the same does not make ours fit for another request: the sender is told so,
/// or it would send one into our closing it.
#[test]
fn an_early_answer_to_half_a_body_ends_the_connection() {
    let backend = Backend::early(|_| Reply::Ok("soon"));
    let gateway = Gateway::before(&backend);
    let mut whole = gateway.connect();
    for _ in 0..2 {
        let answer = whole.post(&token_line(), b"{}").answer();
        assert_eq!((answer.status, answer.value("connection")), (200, None));
    }
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut connection = gateway.connect();
        connection.send(format!(
            "POST /redox HTTP/1.1\r\nHost: a\r\n{}{framing}\r\n\r\nf0000\r\n",
            token_line()
        ));
        // More than is looked at before it is passed on.
        connection.send(vec![b'x'; 0x20000]);
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.value("connection")),
            (200, Some("close"))
        );
        assert!(connection.is_closed());
    }
    assert_eq!(gateway.finish().outcomes(), [("forwarded", ""); 4]);
}

#[test]
fn another_address_is_tried_only_while_connecting() {
    let (alive, resetting) = (Backend::ok(), Backend::with(|_| Reply::Reset));
    let urls = |first: &str| {
        format!(
            "upstream: {{ urls: [\"{first}\", \"http://{}\"] }}",
            alive.address()
        )
    };
    let nobody = Nobody::new();
    let gateway = Gateway::towards("", "", &urls(&nobody.url()));
    assert_eq!(
        gateway.connect().post(&token_line(), b"{}").answer().status,
        200
    );
    assert_eq!(alive.requests().len(), 1);
    let gateway = Gateway::towards("", "", &urls(&format!("http://{}", resetting.address())));
    assert_eq!(
        gateway.connect().post(&token_line(), b"{}").answer().status,
        502
    );
    assert_eq!((resetting.requests().len(), alive.requests().len()), (1, 1));
}

/// Answers one request.
fn fine(mut stream: StreamOwned<ServerConnection, TcpStream>) {
    if !read_request(&mut stream).is_empty() {
        stream.write_all(FINE).unwrap();
        let _ = stream.read(&mut [0; 1]);
    }
}

/// A TLS upstream with a certificate for this name, which may ask for a client certificate issued by `clients`; gives
/// its URL and its certificate.
fn tls_upstream(
    name: &str,
    clients: Option<&CertificateDer<'static>>,
    answer: impl Fn(StreamOwned<ServerConnection, TcpStream>) + Send + Sync + 'static,
) -> (String, rcgen::Certificate) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.clone()).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    let config = Arc::new(config);
    let url = upstream(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        answer(StreamOwned::new(session, stream));
    });
    (
        url.replace("http://127.0.0.1", "https://localhost"),
        made.cert,
    )
}

/// Own authority, client certificate and name, each right and wrong.
#[test]
fn tls_upstreams_have_settings_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let client = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let stranger = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let asked = client.cert.der();
    let show = |own: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let certificate = file("client.pem", &own.cert.pem());
        let key = file("client.key", &own.signing_key.serialize_pem());
        format!(", certificate: \"{certificate}\", key: \"{key}\"")
    };
    let name = ", server_name: ehr.internal".to_owned();
    let cases = [
        ("own authority", "localhost", None, String::new(), true),
        ("another name", "ehr.internal", None, String::new(), false),
        ("name", "ehr.internal", None, name.clone(), true),
        ("wrong name", "localhost", None, name, false),
        ("client", "localhost", Some(asked), show(&client), true),
        ("no client", "localhost", Some(asked), String::new(), false),
    ];
    for (case, server, clients, more, good) in cases {
        let (url, certificate) = tls_upstream(server, clients, fine);
        let ca = file("ca.pem", &certificate.pem());
        let route =
            format!("path: /redox\nupstream: {{ url: \"{url}\", tls: {{ ca: \"{ca}\"{more} }} }}");
        let gateway = Gateway::from_text(&text("", "", &route), &Environment::default());
        let answer = gateway.connect().post(&token_line(), b"{}").answer();
        assert_eq!(answer.status, if good { 200 } else { 502 }, "{case}");
    }
    let (url, certificate) = tls_upstream("localhost", Some(asked), fine);
    let (ca, shown) = (file("ca.pem", &certificate.pem()), show(&stranger));
    let route =
        format!("path: /redox\nupstream: {{ url: \"{url}\", tls: {{ ca: \"{ca}\"{shown} }} }}");
    let gateway = Gateway::towards("", "", &route);
    let answer = gateway.connect().post(&token_line(), b"{}").answer();
    assert_eq!(answer.status, 502, "a client certificate of a stranger");
}

#[test]
fn tls_upstreams_are_trusted_by_name_and_root() {
    for (name, trusted, status) in [
        ("localhost", true, 200),
        ("other.example", true, 502),
        ("localhost", false, 502),
    ] {
        let (url, certificate) = tls_upstream(name, None, fine);
        let (_, stranger) = tls_upstream(name, None, fine);
        let trust = if trusted { certificate } else { stranger };
        let trust = vec![trust.der().clone()];
        let gateway = Gateway::from_text(&text(&url, "", ""), &Environment { trust });
        let answer = gateway.connect().post(&token_line(), b"{}").answer();
        assert_eq!(answer.status, status, "{name} {trusted}");
        let expected = if status == 200 {
            ("forwarded", "")
        } else {
            ("error", "upstream_tls")
        };
        let story = gateway.finish();
        assert_eq!(story.outcomes(), [expected]);
        // It will not be more trustworthy in a moment.
        assert_eq!(story.sum("countersign_upstream_retries_total{"), 0.0);
    }
}

/// An upstream that reads one request, does as told, and tells how its connection ended.
fn watched(
    answer: &'static [u8],
) -> (
    String,
    Receiver<&'static str>,
    Receiver<std::io::Result<usize>>,
) {
    let (begun, begins) = channel();
    let (ended, ends) = channel();
    let url = upstream(move |mut stream| {
        stream.read_exact(&mut [0; 64]).unwrap();
        begun.send("begun").unwrap();
        let _ = stream.write_all(answer);
        let mut bytes = [0; 4096];
        let end = loop {
            match stream.read(&mut bytes) {
                Ok(count) if count > 0 => {}
                end => break end,
            }
        };
        let _ = ended.send(end);
    });
    (url, begins, ends)
}

#[test]
fn a_sender_that_vanishes_leaves_one_outcome_and_a_reset() {
    let whole = format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: 2\r\n\r\n{{}}",
        token_line()
    );
    let large = format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: 9000\r\n\r\n{}",
        token_line(),
        "x".repeat(5000)
    );
    let chunked = format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\n\r\n2000\r\n{}\r\n",
        token_line(),
        "x".repeat(0x2000)
    );
    let cases: [(&str, &str, &'static [u8]); 4] = [
        ("in a body of known length", &large, b""),
        ("in a chunked body", &chunked, b""),
        ("waiting for the answer", &whole, b""),
        (
            "within the answer",
            &whole,
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        ),
    ];
    for (name, request, answer) in cases {
        for gently in [false, true] {
            let (url, begins, ends) = watched(answer);
            let gateway = Gateway::towards(&url, "", "");
            let mut connection = gateway.connect_plain();
            connection.send(request);
            begins.recv_timeout(PATIENCE).unwrap();
            if !answer.is_empty() {
                assert!(connection.take(15).is_some());
            }
            if gently {
                drop(connection)
            } else {
                connection.reset()
            }
            let end = ends.recv_timeout(PATIENCE).expect(name);
            let reset = end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
            assert!(reset, "{name}: ended, not reset");
            assert_eq!(
                gateway.finish().outcomes(),
                [("error", "client_closed")],
                "{name}"
            );
        }
    }
}

#[test]
fn a_sender_that_vanishes_within_a_head_was_never_there() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    gateway
        .connect_plain()
        .send("POST /redox HTTP/1.1\r\nHost: a\r\n")
        .finish_sending();
    assert_eq!(
        gateway
            .connect_plain()
            .post(&token_line(), b"{}")
            .answer()
            .status,
        200
    );
    assert_eq!(gateway.finish().outcomes(), [("forwarded", "")]);
}

/// A fault behind a request is answered behind its answer. Where that breaks off, there is no such place.
#[test]
fn a_fault_is_never_answered_inside_an_answer() {
    let (release, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    let backend = Backend::with(move |_| {
        held.lock().unwrap().recv().unwrap();
        let half = "x".repeat(500);
        then_close(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{half}"
        ))
    });
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect_plain();
    connection.post(&token_line(), b"{}");
    backend.wait_for(1);
    connection.send("garbage\n\n");
    release.send(()).unwrap();
    let received = String::from_utf8(connection.rest()).unwrap();
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{received}");
    assert!(body.bytes().all(|byte| byte == b'x'), "{received}");
}

/// HTTP/1.0 has no other sign of the end of a chunked upstream's answer than the end of the connection.
#[test]
fn an_answer_that_breaks_off_ends_in_a_reset_over_http_1_0() {
    let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for (answer, reset) in [
        (broken.to_owned(), true),
        (format!("{broken}0\r\n\r\n"), false),
    ] {
        let backend = Backend::with(move |_| then_close(answer.as_str()));
        let gateway = Gateway::before(&backend);
        let mut connection = gateway.connect_plain();
        connection.send(format!(
            "POST /redox HTTP/1.0\r\nHost: a\r\n{}Content-Length: 2\r\n\r\n{{}}",
            token_line()
        ));
        connection.rest();
        assert_eq!(connection.was_reset(), reset);
    }
}

/// What an upstream says beyond its answer answers nobody: it may be in the same record, where the kernel has nothing
/// any more.
#[test]
fn nothing_behind_an_answer_over_tls_is_taken_for_the_next() {
    // As much as is read at once, for one of them at least.
    for size in (9..15).map(|power| 1_usize << power) {
        let (url, certificate) = tls_upstream("localhost", None, move |mut stream| {
            while !read_request(&mut stream).is_empty() {
                let mut answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {:05}\r\n\r\n",
                    size - "HTTP/1.1 200 OK\r\nContent-Length: 00000\r\n\r\n".len()
                );
                answer.push_str(&"x".repeat(size - answer.len()));
                answer.push_str("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, certificate.pem()).unwrap();
        let ca = ca.to_str().unwrap();
        let route =
            format!("path: /redox\nupstream: {{ url: \"{url}\", tls: {{ ca: \"{ca}\" }} }}");
        let gateway = Gateway::towards("", "", &route);
        let mut connection = gateway.connect();
        for _ in 0..3 {
            let answer = connection.post(&token_line(), b"{}").answer();
            assert!(!answer.text().contains("forged"), "{size}");
        }
    }
}
