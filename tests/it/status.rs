//! The status page and its JSON: what they tell, whom they tell it, and that a browser can do nothing else with them.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use base64::Engine as _;
use countersign::admin::CONNECTION_LIMIT;
use countersign::server::Stop;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{
    Answer, Backend, CHALLENGE, Connection, Environment, Gateway, Nobody, OLD_TOKEN, PATIENCE,
    Reply, TOKEN, now, text,
};

fn request(address: SocketAddr, method: &str, path: &str, host: &str) -> Connection {
    let mut connection = Connection::plain(address);
    connection.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    ));
    connection
}

fn get(gateway: &Gateway, path: &str, host: &str) -> Answer {
    request(gateway.admin_address(), "GET", path, host).answer()
}

fn page(gateway: &Gateway) -> String {
    let answer = get(gateway, "/status", "localhost");
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

fn json(gateway: &Gateway) -> Value {
    let answer = get(gateway, "/status.json", "localhost");
    assert_eq!(
        (answer.status, answer.value("content-type")),
        (200, Some("application/json"))
    );
    serde_json::from_slice(&answer.body).unwrap()
}

/// Waits until the page shows what is wanted: an answer arrives a moment before its decision is written.
fn wait_for<T>(gateway: &Gateway, wanted: impl Fn(&Value) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = json(gateway);
        if let Some(found) = wanted(&status) {
            return found;
        }
        assert!(Instant::now() < deadline, "not what was wanted: {status:#}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn wait_for_decisions(gateway: &Gateway, count: usize) -> Value {
    wait_for(gateway, |status| {
        let decisions = status["decisions"].as_array().unwrap();
        (decisions.len() >= count).then(|| status.clone())
    })
}

/// The body of the page is well-formed XML. In the head there are elements without an end, which HTML has and XML not.
fn well_formed(page: &str) -> String {
    let head_end = page.find("<style>").unwrap();
    let (head, rest) = page.split_at(head_end);
    let head = head
        .replace("<!DOCTYPE html>", "")
        .replace("\">", "\"/>")
        .replace("lang=\"en\"/>", "lang=\"en\">");
    let whole = head + rest;
    let document =
        roxmltree::Document::parse(&whole).unwrap_or_else(|error| panic!("{error}\n{whole}"));
    let elements: BTreeSet<&str> = document
        .descendants()
        .filter(roxmltree::Node::is_element)
        .map(|node| node.tag_name().name())
        .collect();
    for forbidden in [
        "script",
        "form",
        "button",
        "input",
        "a",
        "img",
        "link",
        "iframe",
        "b-hostile",
    ] {
        assert!(!elements.contains(forbidden), "{forbidden}");
    }
    let attributes = document.descendants().flat_map(|node| node.attributes());
    for attribute in attributes {
        let name = attribute.name();
        assert!(
            !name.starts_with("on") && !["style", "src", "href"].contains(&name),
            "{name}"
        );
    }
    for table in document
        .descendants()
        .filter(|node| node.has_tag_name("table"))
    {
        let has = |name: &str| table.descendants().any(|node| node.has_tag_name(name));
        assert!(has("caption") && has("thead"));
    }
    for header in document
        .descendants()
        .filter(|node| node.has_tag_name("th"))
    {
        assert!(header.attribute("scope").is_some());
    }
    for image in document
        .descendants()
        .filter(|node| node.has_tag_name("svg"))
    {
        let label = image.attribute("aria-label").unwrap();
        assert!(label.starts_with("last hour: "), "{label}");
    }
    let texts = document.descendants().filter(roxmltree::Node::is_text);
    let texts = texts.filter(|node| !node.parent().unwrap().has_tag_name("style"));
    texts.filter_map(|node| node.text()).collect()
}

/// A gateway to which everything has happened, with what its page says of that.
fn eventful() -> (Backend, Gateway, Value) {
    let backend = Backend::with(|request| match request.body.as_slice() {
        b"reset" => Reply::Reset,
        _ => Reply::Ok("{}"),
    });
    let gateway = Gateway::with(&backend, "", "");
    assert_eq!(json(&gateway)["verdict"]["level"], "ok");
    let token = format!("verification-token: {TOKEN}\r\n");
    let old = format!("verification-token: {OLD_TOKEN}\r\n");
    let challenge = format!(r#"{{"verification-token":"{TOKEN}","challenge":"{CHALLENGE}"}}"#);
    let cases: [(&str, &[u8], u16); 5] = [
        (&token, b"{}", 200),
        (&old, b"{}", 200),
        ("", challenge.as_bytes(), 200),
        ("verification-token: wrong\r\n", b"{}", 401),
        (&token, b"reset", 502),
    ];
    for (headers, body, status) in cases {
        let mut connection = gateway.connect();
        assert_eq!(connection.post(headers, body).answer().status, status);
    }
    let mut nowhere = gateway.connect_plain();
    nowhere.send("GET /CANARY HTTP/1.1\r\nHost: CANARY\r\n\r\n");
    assert_eq!(nowhere.answer().status, 404);

    let status = wait_for_decisions(&gateway, 6);
    (backend, gateway, status)
}

fn pick(value: &Value, keys: &[&str]) -> Vec<Value> {
    keys.iter().map(|key| value[*key].clone()).collect()
}

#[test]
fn every_outcome_is_counted() {
    let (_backend, _gateway, status) = eventful();
    let route = &status["routes"]["shown"][0];
    assert_eq!(
        pick(route, &["name", "pattern", "state", "maintenance"]),
        [
            "redox".into(),
            "/redox".into(),
            "unsteady".into(),
            Value::from(false)
        ]
    );
    assert_eq!(
        pick(
            route,
            &["forwarded", "challenges", "refused", "errors", "in_flight"]
        ),
        [2, 1, 1, 1, 0].map(Value::from)
    );
    assert_eq!(
        route["refused_by_reason"],
        serde_json::json!({"token_mismatch": 1})
    );
    assert_eq!(
        route["upstream_errors_by_kind"],
        serde_json::json!({"reset": 1})
    );
    assert!(route["last_accepted_age_s"].as_u64().unwrap() < 60);
    assert!(
        route["duration_median_s"].as_f64().unwrap() <= route["duration_p95_s"].as_f64().unwrap()
    );
    let tokens = route["tokens"]["shown"].as_array().unwrap();
    let uses = tokens.iter().map(|token| {
        (
            token["id"].as_str().unwrap(),
            token["uses"].as_u64().unwrap(),
        )
    });
    assert_eq!(uses.collect::<Vec<_>>(), [("current", 3), ("previous", 1)]);
    for token in tokens {
        assert_eq!(token["state"], "active");
        let used = token["last_used"].as_str().unwrap();
        assert!(used.starts_with("20") && used.ends_with('Z'), "{used}");
    }
    let sum = |key: &str| -> u64 {
        let minutes = route["last_hour"][key].as_array().unwrap();
        assert_eq!(minutes.len(), 60);
        minutes.iter().map(|count| count.as_u64().unwrap()).sum()
    };
    assert_eq!(["accepted", "refused", "failed"].map(sum), [3, 1, 1]);
    assert_eq!(
        status["unrouted"]["refused_by_reason"],
        serde_json::json!({"no_route": 1})
    );
    let upstream = &status["upstreams"]["shown"][0];
    assert_eq!(upstream["last_error"]["kind"], "reset");
    assert_eq!(upstream["endpoints"][0]["state"], "unknown");
}

#[test]
fn every_outcome_is_a_decision_with_the_request_id_of_the_log() {
    let (_backend, gateway, status) = eventful();
    let decisions = status["decisions"].as_array().unwrap();
    let told: Vec<_> = decisions
        .iter()
        .rev()
        .map(|decision| {
            pick(
                decision,
                &[
                    "outcome", "reason", "status", "route", "listener", "token_id",
                ],
            )
        })
        .collect();
    let expected = serde_json::json!([
        ["forwarded", null, 200, "redox", "public", "current"],
        ["forwarded", null, 200, "redox", "public", "previous"],
        ["challenge", null, 200, "redox", "public", "current"],
        ["rejected", "token_mismatch", 401, "redox", "public", null],
        ["error", "upstream_reset", 502, "redox", "public", "current"],
        ["rejected", "no_route", 404, "none", "plain", null],
    ]);
    assert_eq!(serde_json::json!(told), expected);

    let ids: BTreeSet<String> = decisions
        .iter()
        .map(|decision| decision["request_id"].to_string())
        .collect();
    let logged = gateway.finish().lines;
    assert_eq!(
        logged
            .iter()
            .map(|line| line["request_id"].to_string())
            .collect::<BTreeSet<_>>(),
        ids
    );
}

#[test]
fn every_outcome_is_on_the_page() {
    let (_backend, gateway, status) = eventful();
    let shown = well_formed(&page(&gateway));
    let listeners = status["listeners"]["shown"].as_array().unwrap();
    let addresses = listeners
        .iter()
        .map(|listener| listener["address"].as_str().unwrap());
    let words = [
        "token_mismatch",
        "upstream_reset",
        "no_route",
        "unsteady",
        "previous",
        "not checked",
        "plain HTTP",
    ];
    let hash = status["configuration"]["hash"].as_str().unwrap();
    assert_eq!(hash.len(), 12);
    for word in words
        .into_iter()
        .chain(addresses)
        .chain([hash, env!("CARGO_PKG_VERSION")])
    {
        assert!(shown.contains(word), "{word} is not in\n{shown}");
    }
    for decision in status["decisions"].as_array().unwrap() {
        assert!(shown.contains(decision["request_id"].as_str().unwrap()));
    }
    let everything = shown + &status.to_string();
    assert!(!everything.contains("CANARY"), "{everything}");
}

#[test]
fn a_browser_may_apply_the_style_and_do_nothing_else() {
    let gateway = Gateway::before(&Backend::ok());
    let answer = get(&gateway, "/status", "127.0.0.1:9090");
    let text = answer.text();
    let style = text
        .split_once("<style>")
        .unwrap()
        .1
        .split_once("</style>")
        .unwrap()
        .0;
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    for (name, value) in [
        ("content-security-policy", policy.as_str()),
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.value(name), Some(value), "{name}");
    }
    assert_eq!(text.matches("<style>").count(), 1);
    assert!(text.contains("<html lang=\"en\">") && text.contains("http-equiv=\"refresh\""));
    assert!(
        !text.contains("http://") || !text.contains("https://www"),
        "nothing from elsewhere"
    );
}

#[test]
fn only_reading_is_possible() {
    let gateway = Gateway::before(&Backend::ok());
    for path in ["/status", "/status.json"] {
        let whole = get(&gateway, path, "localhost");
        let mut connection = request(gateway.admin_address(), "HEAD", path, "localhost");
        let head = connection.any_head().unwrap();
        assert_eq!(
            (head.status, head.value("content-type")),
            (200, whole.value("content-type"))
        );
        assert_ne!(head.value("content-length"), Some("0"));
        assert_eq!(connection.rest(), b"", "no body to HEAD");
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = request(gateway.admin_address(), method, path, "localhost").answer();
            assert_eq!(
                (answer.status, answer.value("allow")),
                (405, Some("GET, HEAD")),
                "{method}"
            );
        }
    }
}

#[test]
fn a_page_of_somebody_else_learns_nothing() {
    let backend = Backend::ok();
    let file = text(&format!("http://{}", backend.address()), "", "");
    let admin = "admin: { address: \"127.0.0.1:0\"";
    let file = file.replace(admin, &format!("{admin}, hosts: [Gate.example.org]"));
    let gateway = Gateway::from_text(&file, &Environment::default());
    for path in ["/status", "/status.json"] {
        for host in [
            "evil.example",
            "gate.example.org.evil.example",
            "192.0.2.1",
            "",
        ] {
            let answer = get(&gateway, path, host);
            assert_eq!(answer.status, 421, "{host}");
            assert!(answer.text().contains("`admin.hosts`"), "{}", answer.text());
        }
        for host in [
            "localhost:9090",
            "127.0.0.1",
            "[::1]:80",
            "gate.example.org:9090",
            "GATE.example.org",
        ] {
            assert_eq!(get(&gateway, path, host).status, 200, "{host}");
        }
        let mut twice = Connection::plain(gateway.admin_address());
        twice.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"
        ));
        assert_eq!(twice.answer().status, 421);
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(get(&gateway, path, "evil.example").status, 200, "{path}");
    }
}

#[test]
fn it_is_not_served_where_it_was_not_asked_for() {
    let backend = Backend::ok();
    let file = text(&format!("http://{}", backend.address()), "", "");
    for (setting, served) in [
        ("{ address: \"127.0.0.1:0\", status: false }", false),
        ("{ address: \"0.0.0.0:0\" }", false),
        ("{ address: \"0.0.0.0:0\", status: true }", true),
        ("{ address: \"127.0.0.1:0\" }", true),
    ] {
        let file = file.replace("{ address: \"127.0.0.1:0\" }", setting);
        let gateway = Gateway::from_text(&file, &Environment::default());
        let address = SocketAddr::from(([127, 0, 0, 1], gateway.admin_address().port()));
        for path in ["/status", "/status.json"] {
            let answer = request(address, "GET", path, "localhost").answer();
            assert_eq!(answer.status, if served { 200 } else { 404 }, "{setting}");
            assert!(served || answer.text().contains("`admin.status: true`"));
        }
        assert_eq!(request(address, "GET", "/readyz", "a").answer().status, 200);
    }
}

#[test]
fn fifty_decisions_are_kept_and_no_more() {
    let gateway = Gateway::with(&Backend::ok(), "workers: 2", "");
    let mut connection = gateway.connect();
    let header = format!("verification-token: {TOKEN}\r\n");
    for _ in 0..120 {
        assert_eq!(connection.post(&header, b"{}").answer().status, 200);
    }
    let last = wait_for(&gateway, |status| {
        let route = &status["routes"]["shown"][0];
        (route["forwarded"] == 120).then(|| status["decisions"].clone())
    });
    let decisions = last.as_array().unwrap();
    assert_eq!(decisions.len(), 50);
    let ids: BTreeSet<_> = decisions
        .iter()
        .map(|decision| decision["request_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 50, "each once");
    let times: Vec<_> = decisions
        .iter()
        .map(|decision| decision["time"].as_str().unwrap())
        .collect();
    assert!(
        times.is_sorted_by(|later, earlier| later >= earlier),
        "{times:?}"
    );
}

#[test]
fn what_an_operator_wrote_is_escaped() {
    const HOSTILE: &str = "<script>alert(\"&'1\")</script><b-hostile>";
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![HOSTILE.to_owned(), "localhost".to_owned()]);
    let certificate = params.unwrap().self_signed(&key).unwrap();
    let paths = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], certificate.pem()).unwrap();
    std::fs::write(&paths[1], key.serialize_pem()).unwrap();
    let backend = Backend::ok();
    let route = "path: \"/a&amp,b'c\"";
    let file = text(&format!("http://{}", backend.address()), "", route).replace(
        "self_signed: [localhost]",
        &format!(
            "certificate: {}, key: {}",
            paths[0].display(),
            paths[1].display()
        ),
    );
    let mut gateway = Gateway::from_text(&file, &Environment::default());
    gateway.offer_invalid(&file.replace(
        "workers:",
        &format!("'{}': 1\nworkers:", HOSTILE.replace('\'', "''")),
    ));
    let shown = well_formed(&page(&gateway));
    for word in ["/a&amp,b'c", "<b-hostile>", "<script>alert("] {
        assert!(shown.contains(word), "{word} is not in\n{shown}");
    }
    let status = json(&gateway);
    let names = &status["certificates"]["shown"][0]["names"]["shown"];
    assert_eq!(names[0], HOSTILE);
    assert!(
        !status["configuration"]["last_reload"]["findings"]["shown"][0]
            .as_str()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn reloads_show_with_what_came_of_them() {
    let backend = Backend::ok();
    let file = text(&format!("http://{}", backend.address()), "", "");
    let mut gateway = Gateway::from_text(&file, &Environment::default());
    let before = json(&gateway);
    assert_eq!(before["configuration"]["last_reload"], Value::Null);

    gateway.offer_invalid(&file.replace("REDOX_TOKEN_OLD", "REDOX_TOKEN_GONE"));
    let refused = json(&gateway);
    let reload = &refused["configuration"]["last_reload"];
    assert_eq!(
        (&reload["taken_up"], &reload["trigger"]),
        (&Value::from(false), &Value::from("signal"))
    );
    let finding = reload["findings"]["shown"][0].as_str().unwrap();
    assert!(
        finding.contains("REDOX_TOKEN_GONE") && finding.contains("help: "),
        "{finding}"
    );
    assert_eq!(refused["verdict"]["level"], "attention");
    assert_eq!(
        refused["configuration"]["hash"],
        before["configuration"]["hash"]
    );

    gateway
        .reload(&file.replace("workers: 1", "workers: 2"))
        .unwrap_err();
    let settings = json(&gateway)["configuration"]["last_reload"]["settings"]["shown"].clone();
    assert_eq!(settings, serde_json::json!(["workers"]));
    assert!(well_formed(&page(&gateway)).contains("which only a restart takes up"));

    gateway
        .reload(&file.replace("name: redox", "name: renamed"))
        .unwrap();
    let taken = json(&gateway);
    assert_eq!(taken["configuration"]["last_reload"]["taken_up"], true);
    assert_eq!(taken["routes"]["shown"][0]["name"], "renamed");
    assert_eq!(taken["verdict"]["level"], "ok");
    assert_ne!(
        taken["configuration"]["hash"],
        before["configuration"]["hash"]
    );
}

#[test]
fn tokens_and_failures_are_remembered_over_a_reload() {
    let backend = Backend::with(|_| Reply::Reset);
    let file = text(&format!("http://{}", backend.address()), "", "");
    let mut gateway = Gateway::from_text(&file, &Environment::default());
    let header = format!("verification-token: {OLD_TOKEN}\r\n");
    assert_eq!(gateway.connect().post(&header, b"{}").answer().status, 502);
    wait_for_decisions(&gateway, 1);
    gateway
        .reload(&file.replace("{ id: current, env: REDOX_TOKEN }, ", ""))
        .unwrap();
    let status = json(&gateway);
    let route = &status["routes"]["shown"][0];
    let tokens = &route["tokens"]["shown"];
    assert_eq!(
        (tokens.as_array().unwrap().len(), &tokens[0]["id"]),
        (1, &Value::from("previous"))
    );
    assert!(tokens[0]["last_used"].is_string());
    assert_eq!(route["state"], "failing");
    assert_eq!(status["verdict"]["level"], "failing");
    assert_eq!(
        status["upstreams"]["shown"][0]["last_error"]["kind"],
        "reset"
    );
}

#[test]
fn ends_that_come_near_are_told() {
    let backend = Backend::ok();
    let soon = now().0 + 3 * 86_400 + 3600;
    let soon = time::OffsetDateTime::from_unix_timestamp(soon.try_into().unwrap()).unwrap();
    let soon = soon
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let route = format!(
        "verify: {{ scheme: redox, tokens: [{{ id: next, env: REDOX_TOKEN, not_after: {soon} }}, \
         {{ id: gone, env: REDOX_TOKEN_OLD, not_after: 2020-01-01T00:00:00Z }}] }}"
    );
    let gateway = Gateway::with(&backend, "", &route);
    let status = json(&gateway);
    let tokens = &status["routes"]["shown"][0]["tokens"]["shown"];
    assert_eq!(
        (&tokens[0]["state"], &tokens[0]["days_left"]),
        (&Value::from("retiring"), &Value::from(3))
    );
    assert_eq!(
        (&tokens[1]["state"], &tokens[1]["days_left"]),
        (&Value::from("expired"), &Value::from(0))
    );
    let notices = &status["verdict"]["notices"];
    assert_eq!(
        notices,
        &serde_json::json!([
            {
                "level": "attention",
                "about": "route redox",
                "text": "token next expires in 3 days",
                "runbook": "token-rotation",
            }
        ])
    );
    let certificate = &status["certificates"]["shown"][0];
    let days = certificate["days_left"].as_i64().unwrap();
    assert!((29..=30).contains(&days), "made for 30 days: {days}");
    assert_eq!(certificate["names"]["shown"][0], "localhost");
    let serial = certificate["serial"].as_str().unwrap();
    assert!(
        serial.len() >= 16 && serial.chars().all(|c| c == ':' || c.is_ascii_hexdigit()),
        "{serial}"
    );
}

#[test]
fn addresses_that_refuse_are_told() {
    let nobody = Nobody::new();
    let backend = Backend::ok();
    let upstream = format!(
        "upstream: {{ urls: [\"{}\", \"http://{}\"], connect_retry: 0s, keep_alive: off }}",
        nobody.url(),
        backend.address()
    );
    let gateway = Gateway::with(&backend, "", &upstream);
    let header = format!("verification-token: {TOKEN}\r\n");
    for _ in 0..3 {
        assert_eq!(gateway.connect().post(&header, b"{}").answer().status, 200);
    }
    let status = wait_for_decisions(&gateway, 3);
    let endpoints = &status["upstreams"]["shown"][0]["endpoints"];
    assert_eq!(endpoints[0]["state"], "passed_over");
    assert!(endpoints[0]["passed_over_for_s"].as_u64().unwrap() <= 5);
    assert_eq!(
        (&endpoints[0]["passed_over"], &endpoints[1]["state"]),
        (&Value::from(1), &Value::from("unknown"))
    );
    assert_eq!(status["verdict"]["level"], "attention");
}

#[test]
fn health_checks_show() {
    let nobody = Nobody::new();
    let backend = Backend::ok();
    let upstream = format!(
        "path: /redox\nupstream: {{ urls: [\"{}\", \"http://{}\"], health_check: {{ path: /health, interval: 100ms, timeout: 5s, fall: 1 }} }}",
        nobody.url(),
        backend.address()
    );
    let gateway = Gateway::with(&backend, "", &upstream);
    wait_for(&gateway, |status| {
        let endpoints = &status["upstreams"]["shown"][0]["endpoints"];
        let states = (
            endpoints[0]["state"].as_str()?,
            endpoints[1]["state"].as_str()?,
        );
        (states == ("out", "up")).then_some(())
    });
}

#[test]
fn a_backend_that_turns_messages_down_is_not_working() {
    let backend = Backend::with(|request| match request.body.as_slice() {
        b"{}" => Reply::Ok("received"),
        _ => Reply::Raw(b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 0\r\n\r\n".to_vec()),
    });
    let gateway = Gateway::with(&backend, "", "");
    let header = format!("verification-token: {TOKEN}\r\n");
    for _ in 0..3 {
        assert_eq!(gateway.connect().post(&header, b"[]").answer().status, 422);
    }
    let status = wait_for_decisions(&gateway, 3);
    let route = &status["routes"]["shown"][0];
    assert_eq!(
        (&route["state"], &route["upstream_errors_by_code"]),
        (&Value::from("failing"), &serde_json::json!({"422": 3}))
    );
    assert_eq!(
        status["verdict"]["text"],
        "Not working: nothing gets through"
    );
    let notice = status["verdict"]["notices"][0]["text"].as_str().unwrap();
    assert!(notice.ends_with("most frequent error is 422"), "{notice}");
    let failing = well_formed(&page(&gateway));
    assert!(
        failing.contains("runbook CountersignFeedStalled"),
        "{failing}"
    );
    assert_eq!(gateway.connect().post(&header, b"{}").answer().status, 200);
    let status = wait_for_decisions(&gateway, 4);
    assert_eq!(status["routes"]["shown"][0]["state"], "unsteady");
    let page = well_formed(&page(&gateway));
    assert!(page.contains("1 accepted, 0 refused, 3 failed"), "{page}");
}

#[test]
fn an_audit_trail_that_cannot_be_written_shows() {
    let cases = [
        ("", "failing", "attention"),
        (", on_failure: strict", "refusing", "failing"),
    ];
    for (more, state, level) in cases {
        let top = format!("audit: {{ file: /dev/full{more} }}");
        let gateway = Gateway::with(&Backend::ok(), &top, "");
        let status = wait_for(&gateway, |status| {
            (status["program"]["audit"] == state).then(|| status.clone())
        });
        assert_eq!(status["verdict"]["level"], level);
        assert_eq!(status["verdict"]["notices"][0]["about"], "the audit trail");
    }
    let gateway = Gateway::before(&Backend::ok());
    assert_eq!(json(&gateway)["program"]["audit"], "off");
}

#[test]
fn many_routes_are_bounded_and_the_troubled_ones_come_first() {
    let backend = Backend::ok();
    let mut file = text(&format!("http://{}", backend.address()), "", "");
    for number in 0..300 {
        let maintenance = if number == 250 {
            "maintenance: true, "
        } else {
            ""
        };
        file.push_str(&format!(
            "  - {{ {maintenance}path: /more/{number}, name: more-{number}, upstream: {{ url: \"http://{}\" }}, verify: {{ scheme: redox, tokens: [{{ id: a, env: REDOX_TOKEN }}] }} }}\n",
            backend.address()
        ));
    }
    let gateway = Gateway::from_text(&file, &Environment::default());
    let mut connection = gateway.connect_plain();
    connection.send(format!(
        "POST /more/200 HTTP/1.1\r\nHost: a\r\nverification-token: {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}"
    ));
    assert_eq!(connection.answer().status, 200);
    let status = wait_for_decisions(&gateway, 1);
    let names: Vec<_> = (status["routes"]["shown"].as_array().unwrap().iter())
        .map(|route| route["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        (names.len(), &status["routes"]["left_out"]),
        (100, &Value::from(201))
    );
    assert_eq!(names[0], "more-250", "in maintenance");
    assert!(names.contains(&"more-200"), "has had traffic");
    assert_eq!(names[1], "redox", "the others as configured");
    assert!(well_formed(&page(&gateway)).contains("201 more routes are left out here"));
}

#[test]
fn a_drain_shows() {
    let gateway = Gateway::with(&Backend::ok(), "timeouts: { drain: 20s }", "");
    // Holds the drain open.
    let mut slow = gateway.connect_plain();
    slow.send(format!("POST /redox HTTP/1.1\r\nHost: a\r\nverification-token: {TOKEN}\r\nContent-Length: 9000\r\n\r\n"));
    wait_for(&gateway, |status| {
        (status["routes"]["shown"][0]["in_flight"] == 1).then_some(())
    });
    gateway.stop(Stop::Drain);
    let status = json(&gateway);
    assert_eq!(status["program"]["state"], "draining");
    assert!(
        status["verdict"]["text"]
            .as_str()
            .unwrap()
            .starts_with("Draining")
    );
    assert_eq!(slow.send([b' '; 9000]).answer().status, 200);
}

#[test]
fn connections_are_bounded() {
    let gateway = Gateway::before(&Backend::ok());
    let address = gateway.admin_address();
    let mut held: Vec<Connection> = (0..CONNECTION_LIMIT)
        .map(|_| Connection::plain(address))
        .collect();
    for connection in &mut held {
        connection.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(connection.answer().status, 200);
    }
    let mut waiting = TcpStream::connect(address).unwrap();
    let question = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    waiting.write_all(question).unwrap();
    // Meanwhile all the others are answered; somebody without a bound would have answered this one as well.
    for connection in &mut held {
        connection.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(connection.answer().status, 200);
    }
    waiting.set_nonblocking(true).unwrap();
    let early = waiting.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock), "one too many");
    held.pop();
    waiting.set_nonblocking(false).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// All keys of a value, however deep; those of counts are labels of metrics.
/// Of all those connections together, little is kept in memory.
#[test]
fn heads_are_bounded() {
    let backend = Backend::with(|_| Reply::Ok("received"));
    let gateway = Gateway::before(&backend);
    let ask = |length: usize| {
        let mut connection = Connection::plain(gateway.admin_address());
        let field = "a".repeat(length);
        connection.send(format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {field}\r\n\r\n"
        ));
        connection.answer().status
    };
    assert_eq!(ask(16 * 1024), 200);
    assert_eq!(ask(100 * 1024), 431);
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(key.clone());
                if !key.contains("_by_") {
                    keys(value, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    let gateway = Gateway::before(&Backend::ok());
    let mut connection = gateway.connect_plain();
    connection.post("", b"{}").answer();
    let status = wait_for_decisions(&gateway, 1);
    let mut found = BTreeSet::new();
    keys(&status, &mut found);
    assert!(found.len() > 60, "{found:?}");
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status.md");
    let document = std::fs::read_to_string(document).unwrap();
    for key in found {
        assert!(
            document.contains(&format!("`{key}`")),
            "{key} is not in docs/status.md"
        );
    }
}
