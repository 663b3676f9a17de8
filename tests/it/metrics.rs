//! `docs/metrics.md` is what a scrape has, in both directions; and nothing that is sent makes it larger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use countersign::server::Stop;

use crate::support::{
    Answer, Backend, CHALLENGE, Connection, Environment, Gateway, Message, Nobody, Protocol, Reply,
    Step, TOKEN,
};

type Set = BTreeSet<String>;

/// A family, as a scrape or the document has it.
#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: String,
    labels: Set,
    bounds: Set,
}

/// What a scrape has.
#[derive(Default)]
struct Scrape {
    families: BTreeMap<String, Family>,
    /// Values by family and label.
    values: BTreeMap<(String, String), Set>,
    /// Each series with its labels.
    series: BTreeMap<String, BTreeMap<String, String>>,
    numbers: BTreeMap<String, f64>,
}

fn scrape(admin: SocketAddr) -> Scrape {
    let answer = get(admin, "/metrics");
    assert_eq!(answer.status, 200);
    read(answer.text())
}

fn get(admin: SocketAddr, path: &str) -> Answer {
    let mut connection = Connection::plain(admin);
    connection.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    connection.answer()
}

fn read(text: &str) -> Scrape {
    let mut scrape = Scrape::default();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (family, kind) = kind.split_once(' ').unwrap();
            name = family.to_owned();
            let family = Family {
                kind: kind.to_owned(),
                ..Family::default()
            };
            assert_eq!(scrape.families.insert(name.clone(), family), None, "{name}");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&name), "{series} in {name}");
            take(&mut scrape, &name, series, value.parse().unwrap());
        }
    }
    scrape
}

fn take(scrape: &mut Scrape, name: &str, series: &str, value: f64) {
    let mut labels: BTreeMap<String, String> = series
        .split_once('{')
        .map_or("", |(_, labels)| labels.strip_suffix('}').unwrap())
        .split_terminator("\",")
        .map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect();
    let family = scrape.families.get_mut(name).unwrap();
    family.bounds.extend(labels.remove("le"));
    let names: Set = labels.keys().cloned().collect();
    if family.labels.is_empty() {
        family.labels.clone_from(&names);
    }
    assert_eq!(family.labels, names, "{series}");
    for (label, value) in &labels {
        let key = (name.to_owned(), label.clone());
        scrape.values.entry(key).or_default().insert(value.clone());
    }
    assert_eq!(scrape.series.insert(series.to_owned(), labels), None);
    scrape.numbers.insert(series.to_owned(), value);
}

/// The rows of the document's tables, from a heading to the next, without the heads of tables.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let part = text.split("\n## ").find(|part| part.starts_with(heading));
    let part = part.unwrap_or_else(|| panic!("no {heading}"));
    let lines = part.lines().filter(|line| line.starts_with("| "));
    let rows = lines.map(|line| line.trim_matches('|').split('|').map(cell).collect());
    rows.skip_while(|row: &Vec<String>| row[0] != "---")
        .skip(1)
        .collect()
}

fn cell(text: &str) -> String {
    text.trim().to_owned()
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

fn full(name: &str) -> String {
    if name.starts_with("process_") {
        name.to_owned()
    } else {
        format!("countersign_{name}")
    }
}

const GROUPS: [&str; 5] = [
    "Traffic",
    "Upstream",
    "TLS and connections",
    "Configuration",
    "Process",
];

fn documented() -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    for row in GROUPS.iter().flat_map(|group| rows(group)) {
        let kind = match row[1].as_str() {
            "C" => "counter",
            "G" => "gauge",
            "H" => "histogram",
            other => panic!("{other}"),
        };
        let family = Family {
            kind: kind.to_owned(),
            labels: quoted(&row[2]).into_iter().collect(),
            bounds: Set::new(),
        };
        let name = full(&quoted(&row[0])[0]);
        assert_eq!(families.insert(name, family), None, "{row:?}");
    }
    for row in rows("Buckets") {
        for name in quoted(&row[0]) {
            let family = families.get_mut(&full(&name)).unwrap();
            family.bounds = quoted(&row[1]).into_iter().collect();
            family.bounds.insert("+Inf".to_owned());
        }
    }
    families
}

/// One of everything that has series of its own.
fn everything(backend: &Backend, dead: [SocketAddr; 2], folder: &Path) -> String {
    let (up, [down, gone]) = (backend.address(), dead);
    let audit = folder.join("audit.jsonl");
    format!(
        r#"
listeners:
  - name: public
    address: 127.0.0.1:0
    tls: {{ self_signed: [localhost] }}
  - name: plain
    address: 127.0.0.1:0
    insecure_plaintext: true
  - name: strict
    address: 127.0.0.1:0
    tls: {{ self_signed: [strict.example.org], minimum_version: "1.3" }}
  - name: behind
    address: 127.0.0.1:0
    insecure_plaintext: true
    proxy_protocol: required
admin: {{ address: "127.0.0.1:0" }}
workers: 1
audit: {{ file: "{}" }}
failed_verifications: {{ rate: 1000/min, burst: 1000 }}
routes:
  - path: /redox
    name: redox
    verify: {{ scheme: redox, tokens: [{{ id: current, env: REDOX_TOKEN }}, {{ id: previous, env: REDOX_TOKEN_OLD, not_after: 2199-01-01T00:00:00Z }}] }}
    upstream: {{ urls: ["http://{down}", "http://{up}"], health_check: {{ path: /health, interval: 1s, timeout: 5s, fall: 100, rise: 1 }} }}
  - path: /lost
    name: lost
    verify: {{ scheme: redox, tokens: [{{ id: current, env: REDOX_TOKEN }}] }}
    upstream: {{ url: "http://{gone}", connect_retry: 100ms }}
  - path: /slow
    name: slow
    verify: {{ scheme: redox, tokens: [{{ id: current, env: REDOX_TOKEN }}] }}
    upstream: {{ url: "http://{up}", max_connections: 1, queue: 1, queue_timeout: 15s }}
"#,
        audit.display()
    )
}

fn behaviour(request: &crate::support::Recorded) -> Reply {
    match request.target.as_str() {
        "/slow" => Reply::Hang,
        _ => Reply::Ok("received"),
    }
}

/// A gateway with one of everything.
struct Site {
    gateway: Gateway,
    text: String,
    /// Upstreams are called by the first of their addresses.
    main: String,
    gone: String,
    slow: String,
    /// Of the audit trail.
    _folder: tempfile::TempDir,
    _nobody: [Nobody; 2],
}

impl Site {
    fn new(backend: &Backend, redox: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nobody = [Nobody::new(), Nobody::new()];
        let dead = nobody.each_ref().map(Nobody::address);
        let text = everything(backend, dead, folder.path());
        let text = text.replace("path: /redox\n", &format!("path: {redox}\n"));
        let gateway = Gateway::from_text(&text, &Environment::default());
        let name = |address: SocketAddr| format!("http://{address}");
        let site = Self {
            gateway,
            text,
            main: name(dead[0]),
            gone: name(dead[1]),
            slow: name(backend.address()),
            _folder: folder,
            _nobody: nobody,
        };
        for endpoint in [&site.main, &site.slow] {
            site.gateway.wait_for_metric(&format!(
                r#"countersign_upstream_up{{endpoint="{endpoint}",upstream="{}"}} 1"#,
                site.main
            ));
        }
        site
    }
}

#[test]
fn the_document_has_what_a_scrape_has() {
    let backend = Backend::with(behaviour);
    let site = Site::new(&backend, "/redox");
    let scrape = scrape(site.gateway.admin_address());
    let documented = documented();
    let names = |families: &BTreeMap<String, Family>| families.keys().cloned().collect::<Set>();
    assert_eq!(names(&scrape.families), names(&documented));
    for (name, family) in &documented {
        assert_eq!(&scrape.families[name], family, "{name}");
    }
    assert!(documented.len() > 50, "{}", documented.len());
}

#[test]
fn labels_have_the_documented_values_all_of_them_from_the_start() {
    let backend = Backend::with(behaviour);
    let site = Site::new(&backend, "/redox");
    let scrape = scrape(site.gateway.admin_address());
    let mut closed = BTreeMap::new();
    for row in rows("Values of labels") {
        let label = &quoted(&row[0])[0];
        let places = match quoted(&row[1]).as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| Some(full(name))).collect(),
        };
        let values: Set = quoted(&row[2]).into_iter().collect();
        for place in places {
            let known = closed.insert((place, label.clone()), values.clone());
            assert_eq!(known, None, "{row:?}");
        }
    }
    let mut used = BTreeSet::new();
    for ((family, label), values) in &scrape.values {
        let own = (Some(family.clone()), label.clone());
        let key = if closed.contains_key(&own) {
            own
        } else {
            (None, label.clone())
        };
        match closed.get(&key) {
            // Only what this build says.
            Some(allowed) if label == "fips" => assert!(values.is_subset(allowed)),
            Some(allowed) => assert_eq!(values, allowed, "{label} of {family}"),
            None => assert!(
                OPEN.contains(&label.as_str()),
                "{label} of {family} is in no list: {values:?}"
            ),
        }
        used.insert(key);
    }
    let unused: Vec<_> = closed.keys().filter(|key| !used.contains(*key)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// Labels whose values the configuration or the build gives.
const OPEN: [&str; 11] = [
    "listener", "route", "upstream", "endpoint", "token_id", "cert", "version", "revision",
    "rustc", "target", "hash",
];

/// The first number of a row of the table of sizes.
fn size(of: &str) -> usize {
    let rows = rows("Size");
    let row = rows.iter().find(|row| row[0] == of).unwrap();
    let digits = row[1]
        .split_whitespace()
        .find_map(|word| word.trim_matches(',').parse().ok());
    digits.unwrap_or_else(|| panic!("{row:?}"))
}

#[test]
fn a_scrape_has_as_many_series_as_the_document_says() {
    let backend = Backend::with(behaviour);
    let site = Site::new(&backend, "/redox");
    let scrape = scrape(site.gateway.admin_address());
    let count = |wanted: &dyn Fn(&BTreeMap<String, String>) -> bool| {
        scrape
            .series
            .values()
            .filter(|labels| wanted(labels))
            .count()
    };
    let of = |label: &str, value: &str| {
        count(&|labels| {
            let own = labels.get(label).is_some_and(|found| found == value);
            own && (label == "route" || !labels.contains_key("route"))
        })
    };
    let listeners = 4;
    assert_eq!(of("route", "redox"), size("route") + 4 * listeners + 2 + 1);
    assert_eq!(of("route", "lost"), size("route") + 4 * listeners + 1);
    assert_eq!(of("route", "none"), size("`none`") + 4 * listeners);
    assert_eq!(of("upstream", &site.main), size("upstream") + 2 * 2);
    assert_eq!(of("upstream", &site.gone), size("upstream") + 1);
    assert_eq!(of("listener", "plain"), size("listener"));
    assert_eq!(of("cert", "localhost"), size("certificate"));
    let belongs = ["route", "upstream", "listener", "cert", "profile"];
    let rest = count(&|labels| belongs.iter().all(|label| !labels.contains_key(*label)));
    assert_eq!(rest, size("the process"));
}

const TOKEN_LINE: &str = "verification-token";

fn post(target: &str) -> Message {
    Message::post("{\"a\": 1}").target(target)
}

/// Whatever a sender or an upstream says, no series comes up, and none goes.
#[test]
fn nothing_that_is_sent_makes_a_series() {
    let statuses = [201, 299, 300, 418, 451, 499, 507, 599];
    let backend = Backend::with(move |request| {
        let digits = request.target.rsplit('-').next().unwrap();
        match digits.parse::<usize>() {
            Ok(number) => {
                let status = statuses[number % statuses.len()];
                Reply::Raw(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes())
            }
            Err(_) => Reply::Ok("received"),
        }
    });
    let site = Site::new(&backend, "/redox/*");
    let gateway = &site.gateway;
    let before = scrape(gateway.admin_address());
    for number in 0..40 {
        let mut connection = gateway.connect_plain();
        let odd = format!(
            "M{number} /p{number}?q{number} HTTP/1.1\r\nHost: h{number}\r\nX-{number}: {number}\r\n\r\n"
        );
        assert!(connection.send(odd).answer().status >= 400);
        let target = format!("/redox/x-{number}");
        for (name, value) in [
            ("application-name", format!("name-{number}")),
            ("user-agent", format!("agent-{number}")),
        ] {
            let message = post(&target).header(name, value);
            let wrong = message.header(TOKEN_LINE, format!("wrong-{number}"));
            assert_eq!(wrong.over(Protocol::Http1, gateway).unwrap().status, 401);
        }
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let answer = post(&target).token().over(protocol, gateway).unwrap();
            assert!(answer.status > 200, "{}", answer.status);
        }
        get(gateway.admin_address(), &format!("/nothing-{number}"));
        let name = format!("n{number}.example.org");
        let config = crate::support::tls_config(&[b"http/1.1"]);
        drop(Connection::tls_with(gateway.tls_address(), &config, &name));
    }
    let after = scrape(gateway.admin_address());
    let names = |scrape: &Scrape| scrape.series.keys().cloned().collect::<Set>();
    assert_eq!(names(&after), names(&before));
    let sum = |prefix: &str| -> f64 {
        let own = after
            .numbers
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        own.map(|(_, value)| value).sum()
    };
    // Classes have what has no label of its own; a redirect is told as 502.
    let responses = r#"countersign_upstream_responses_total{code="#;
    for (code, count) in [
        ("201", 10),
        ("2xx", 10),
        ("3xx", 10),
        ("4xx", 30),
        ("5xx", 20),
    ] {
        let prefix = format!("{responses}\"{code}\",route=\"redox\"");
        assert_eq!(sum(&prefix), f64::from(count), "{code}");
    }
    let told = r#"countersign_responses_total{code="502",route="redox"}"#;
    assert_eq!(after.numbers[told], 10.0);
}

/// Moved from one scrape to another, by family.
fn moved(before: &Scrape, after: &Scrape) -> Set {
    let changed = |(name, value): &(&String, &f64)| {
        let earlier = before.numbers.get(*name);
        earlier.is_some_and(|earlier| earlier != *value)
    };
    let names = after.numbers.iter().filter(changed);
    let family = |(name, _): (&String, &f64)| {
        let name = name.split('{').next().unwrap();
        let histogram = ["_bucket", "_sum", "_count"];
        let mut base = histogram.iter().filter_map(|end| name.strip_suffix(end));
        let base = base.find(|base| after.families.contains_key(*base));
        base.unwrap_or(name).to_owned()
    };
    names.map(family).collect()
}

/// What has its own tests, because traffic alone does not move it, with where they are.
const ELSEWHERE: [(&str, &str); 7] = [
    ("countersign_upstream_ejections_total", "upstream_care"),
    ("countersign_upstream_up", "upstream_care"),
    (
        "countersign_config_last_reload_success_timestamp_seconds",
        "cli",
    ),
    ("countersign_audit_write_failures_total", "audit"),
    (
        "countersign_audit_records_lost_total",
        "unit tests of the audit trail",
    ),
    ("countersign_audit_failing", "audit"),
    ("countersign_log_dropped_total", "life"),
];

/// What says how things are, and stands at its value from the start.
fn is_standing(name: &str) -> bool {
    name.starts_with("process_")
        || name.ends_with("_info")
        || name.contains("not_after")
        || name.contains("not_before")
        || name.ends_with("_limit")
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn every_number_moves_by_real_traffic() {
    let backend = Backend::with(behaviour);
    let mut site = Site::new(&backend, "/redox");
    let gateway = &mut site.gateway;
    let admin = gateway.admin_address();
    let fresh = read(&Gateway::before(&Backend::ok()).metrics());
    let standing: Set = (fresh.families.keys().chain(scrape(admin).families.keys()))
        .filter(|name| is_standing(name))
        .cloned()
        .collect();
    let before = scrape(admin);

    for protocol in [Protocol::Http1, Protocol::Http2] {
        let answer = post("/redox").token().over(protocol, gateway);
        assert_eq!(answer.unwrap().status, 200);
    }
    let challenge = format!("/redox?challenge={CHALLENGE}&verification-token={TOKEN}");
    let answer = Message::new("GET", &challenge).over(Protocol::Http1, gateway);
    assert_eq!(answer.unwrap().status, 200);
    let redox = post("/redox").header("application-name", "RedoxEngine");
    let wrong = redox.header(TOKEN_LINE, "wrong-wrong-wrong");
    assert_eq!(wrong.over(Protocol::Http1, gateway).unwrap().status, 401);
    let lost = post("/lost").token().over(Protocol::Http1, gateway);
    assert_eq!(lost.unwrap().status, 502);
    // Not TLS, and no PROXY header.
    Connection::plain(gateway.tls_address())
        .send("GET / HTTP/1.1\r\n\r\n")
        .rest();
    Connection::plain(gateway.address(3))
        .send("GET / HTTP/1.1\r\n\r\n")
        .rest();
    let mut waiting = Vec::new();
    for count in [1, 2] {
        let mut connection = gateway.connect_plain();
        connection.send(post("/slow").token().bytes());
        gateway.wait_for_metric(&format!(
            r#"countersign_requests_in_flight{{route="slow"}} {count}"#
        ));
        waiting.push(connection);
    }
    gateway.wait_for_metric(&format!(
        r#"countersign_upstream_waiting{{upstream="{}"}} 1"#,
        site.slow
    ));
    gateway.wait_for_metric(r#"countersign_audit_records_total{event="challenge_answered"} 1"#);
    gateway.offer_invalid("routes: 1");
    let during = scrape(admin);
    let text = site.text.replace("burst: 1000", "burst: 999");
    gateway.reload(&text).unwrap();
    gateway.stop(Stop::Drain);
    let after = scrape(admin);
    drop(waiting);

    let mut seen = moved(&before, &during);
    seen.extend(moved(&during, &after));
    let missing: Vec<_> = (documented().into_keys())
        .filter(|name| !seen.contains(name) && !standing.contains(name))
        .filter(|name| !ELSEWHERE.iter().any(|(other, _)| other == name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let at = |series: &str| during.numbers[series];
    let rejected = r#"countersign_rejected_requests_total{reason="token_mismatch",route="redox",sender="redox"}"#;
    assert_eq!(at(rejected), 1.0);
    assert_eq!(
        at(r#"countersign_received_bytes_total{route="redox"}"#),
        24.0
    );
    assert_eq!(
        at(r#"countersign_request_body_bytes_count{route="redox"}"#),
        2.0
    );
    assert_eq!(
        at(r#"countersign_request_body_bytes_sum{route="redox"}"#),
        16.0
    );
    assert_eq!(
        at(r#"countersign_upstream_response_seconds_count{route="redox"}"#),
        2.0
    );
    assert_eq!(
        at(r#"countersign_overhead_seconds_count{outcome="forwarded"}"#),
        2.0
    );
    assert_eq!(
        at(r#"countersign_overhead_seconds_count{outcome="rejected"}"#),
        1.0
    );
    assert_eq!(at("countersign_ready"), 1.0);
    assert_eq!(after.numbers["countersign_ready"], 0.0);
    assert_eq!(after.numbers["countersign_draining"], 1.0);
}

/// The clock of `overhead_seconds` stands still while others are waited for.
#[test]
fn overhead_is_without_the_time_of_others() {
    // Half of it is left to a busy machine.
    let slow = std::time::Duration::from_secs(1);
    let backend = Backend::with(move |_| {
        std::thread::sleep(slow);
        Reply::Ok("received")
    });
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect_plain();
    let message = post("/redox").token().bytes();
    let (first, last) = message.split_at(message.len() - 1);
    // The body is looked at before it is known whether this is a challenge, and its end is late.
    connection.send(first);
    std::thread::sleep(slow);
    connection.send(last);
    assert_eq!(connection.answer().status, 200);
    gateway.wait_for_metric(r#"countersign_overhead_seconds_count{outcome="forwarded"} 1"#);
    let story = gateway.finish();
    let total = story
        .value(r#"countersign_request_duration_seconds_sum{outcome="forwarded",route="redox"}"#);
    let own = story.value(r#"countersign_overhead_seconds_sum{outcome="forwarded"}"#);
    let upstream = story.value(r#"countersign_upstream_response_seconds_sum{route="redox"}"#);
    // It may have seen the first byte somewhat after we had sent it.
    assert!(total >= 1.5 * slow.as_secs_f64(), "{total}");
    assert!(
        upstream >= slow.as_secs_f64() && upstream < total,
        "{upstream}"
    );
    assert!(own > 0.0 && own < slow.as_secs_f64() / 2.0, "{own}");
}

/// Nor does it run while a head is on its way, or while the request before has its turn.
#[test]
fn overhead_begins_when_a_request_has_its_turn() {
    // Half of it is left to a busy machine.
    let slow = std::time::Duration::from_secs(1);
    let backend = Backend::with(move |_| {
        std::thread::sleep(slow);
        Reply::Ok("received")
    });
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect_plain();
    let message = post("/redox").token().bytes();
    let (first, last) = message.split_at(10);
    connection.send(first);
    std::thread::sleep(slow);
    connection.send([last, &message].concat());
    assert_eq!(connection.answer().status, 200);
    assert_eq!(connection.answer().status, 200);
    gateway.wait_for_metric(r#"countersign_overhead_seconds_count{outcome="forwarded"} 2"#);
    let story = gateway.finish();
    let total = story
        .value(r#"countersign_request_duration_seconds_sum{outcome="forwarded",route="redox"}"#);
    let own = story.value(r#"countersign_overhead_seconds_sum{outcome="forwarded"}"#);
    assert!(total >= 2.5 * slow.as_secs_f64(), "{total}");
    assert!(own > 0.0 && own < slow.as_secs_f64() / 2.0, "{own}");
}

/// The admin listener has one thread, and a scrape is the longest thing it does.
#[test]
fn a_scrape_that_nobody_reads_holds_nobody_up() {
    let backend = Backend::with(|_| Reply::Steps(vec![Step::Wait]));
    let route = |number: usize| {
        format!(
            "  - {{ path: /r{number}, verify: {{ scheme: redox, tokens: [{{ id: a, env: REDOX_TOKEN }}] }}, upstream: {{ url: \"http://{}\" }} }}\n",
            backend.address()
        )
    };
    let routes: String = (0..500).map(route).collect();
    let head = "listeners:\n  - name: public\n    address: 127.0.0.1:0\n    tls: { self_signed: [localhost] }\n  - name: plain\n    address: 127.0.0.1:0\n    insecure_plaintext: true\nadmin: { address: \"127.0.0.1:0\" }\nworkers: 1\nroutes:\n";
    let gateway = Gateway::from_text(&format!("{head}{routes}"), &Environment::default());
    let admin = gateway.admin_address();
    let mut unread: Vec<_> = (0..4).map(|_| Connection::plain(admin)).collect();
    for connection in &mut unread {
        connection.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        // It has begun.
        assert!(connection.take(15).is_some());
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(admin, path).status, 200);
    }
    let whole = scrape(admin);
    assert!(whole.series.len() > 500 * size("route"));
}
