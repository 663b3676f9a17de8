//! What an operator and Prometheus see: the admin listener, the series that exist, the certificates' dates.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::support::{Answer, Backend, Connection, Gateway, TOKEN};

fn get(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut connection = Connection::plain(address);
    connection.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    connection.answer()
}

#[test]
fn health_and_readiness_are_told() {
    let gateway = Gateway::before(&Backend::ok());
    let admin = gateway.admin_address();
    assert_eq!(
        (
            get(admin, "GET", "/healthz").status,
            get(admin, "GET", "/readyz").status
        ),
        (200, 200)
    );
    assert_eq!(get(admin, "GET", "/").status, 404);
    assert_eq!(get(admin, "GET", "/metrics?x").status, 200);
    for method in ["POST", "PUT", "DELETE", "TRACE"] {
        let answer = get(admin, method, "/metrics");
        assert_eq!(
            (answer.status, answer.value("allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
}

#[test]
fn routes_are_not_served_on_the_admin_listener_nor_the_other_way_round() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut admin = Connection::plain(gateway.admin_address());
    assert_eq!(
        admin
            .post(&format!("verification-token: {TOKEN}\r\n"), b"{}")
            .answer()
            .status,
        405
    );
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(
            get(gateway.plain_address(), "GET", path).status,
            404,
            "{path}"
        );
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn every_known_series_exists_at_zero() {
    let gateway = Gateway::before(&Backend::ok());
    let answer = get(gateway.admin_address(), "GET", "/metrics");
    assert_eq!(
        answer.value("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = answer.text();
    for line in [
        r#"countersign_requests_total{listener="public",outcome="forwarded",route="redox"} 0"#,
        r#"countersign_requests_total{listener="plain",outcome="error",route="none"} 0"#,
        r#"countersign_responses_total{code="401",route="redox"} 0"#,
        r#"countersign_rejected_requests_total{reason="token_mismatch",route="redox",sender="other"} 0"#,
        r#"countersign_rejected_requests_total{reason="no_route",route="none",sender="other"} 0"#,
        r#"countersign_challenges_total{method="get",result="answered",route="redox"} 0"#,
        r#"countersign_challenges_total{method="post",result="token_mismatch",route="redox"} 0"#,
        r#"countersign_token_uses_total{route="redox",state="active",token_id="previous"} 0"#,
        r#"countersign_last_accepted_timestamp_seconds{route="redox"} 0"#,
        r#"countersign_request_duration_seconds_count{outcome="forwarded",route="redox"} 0"#,
        r#"countersign_connections_open{listener="public"} 0"#,
        r#"countersign_tls_handshakes_total{listener="public",resumed="true",version="TLSv1.3"} 0"#,
        r#"countersign_tls_handshake_failures_total{listener="public",reason="timeout"} 0"#,
        r#"countersign_config_last_reload_successful 1"#,
        r#"countersign_log_dropped_total{stream="access"} 0"#,
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line}\nnot in\n{text}"
        );
    }
    for prefix in [
        "countersign_tls_certificate_not_after_timestamp_seconds{cert=",
        "countersign_config_last_reload_success_timestamp_seconds 1",
        "countersign_build_info{",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(prefix)),
            "{prefix}\nnot in\n{text}"
        );
    }
}

#[test]
fn nothing_a_sender_does_makes_a_new_series() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let names = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| line.starts_with("countersign_"));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let before = names(&gateway.metrics());
    for number in 0..50 {
        let mut connection = gateway.connect_plain();
        connection
            .send(format!(
                "M{number} /p{number} HTTP/1.1\r\nHost: h{number}\r\nX-{number}: a\r\n\r\n"
            ))
            .answer();
        connection
            .post(&format!("verification-token: wrong-{number}\r\n"), b"{}")
            .answer();
    }
    gateway.wait_for_metric(
        r#"countersign_rejected_requests_total{reason="no_route",route="none",sender="other"} 50"#,
    );
    assert_eq!(names(&gateway.metrics()), before);
}
