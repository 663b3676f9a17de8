//! What passes, passes untouched: bytes in are bytes out, both ways.

use crate::support::{Backend, Gateway, Reply, TOKEN, http2_post};

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
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
