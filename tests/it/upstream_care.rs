//! How connections to an upstream are looked after: which endpoint, how many, for how long, and what happens while
//! nobody accepts.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

use crate::support::{Answer, Backend, Connection, Gateway, Nobody, PATIENCE, Reply, TOKEN, text};

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

fn post(gateway: &Gateway) -> Answer {
    gateway.connect_plain().post(&token_line(), b"{}").answer()
}

fn upstream(addresses: &[SocketAddr], more: &str) -> String {
    let urls: Vec<String> = addresses
        .iter()
        .map(|address| format!("\"http://{address}\""))
        .collect();
    format!(
        "path: /redox\nupstream: {{ urls: [{}]{more} }}",
        urls.join(", ")
    )
}

fn towards(addresses: &[SocketAddr], more: &str, top: &str) -> Gateway {
    Gateway::towards("", top, &upstream(addresses, more))
}

/// The value of a metric of the first upstream, over all that begin like this.
fn metric(gateway: &Gateway, prefix: &str) -> f64 {
    let text = gateway.metrics();
    let lines = text.lines().filter(|line| line.starts_with(prefix));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

#[test]
fn a_restart_of_the_backend_is_hidden() {
    let nobody = Nobody::new();
    let gateway = towards(
        &[nobody.address()],
        ", connect_retry: 15s",
        "timeouts: { connect: 15s }",
    );
    let mut connection = gateway.connect_plain();
    connection.post(&token_line(), b"{}");
    let retries = "countersign_upstream_retries_total{";
    let deadline = Instant::now() + PATIENCE;
    while metric(&gateway, retries) < 2.0 {
        assert!(Instant::now() < deadline, "no retries");
        std::thread::yield_now();
    }
    let backend = Backend::instead_of(nobody);
    assert_eq!(connection.answer().status, 200);
    assert_eq!(backend.requests().len(), 1);
    assert_eq!(gateway.finish().outcomes(), [("forwarded", "")]);
}

#[test]
fn nobody_is_waited_for_longer_than_configured() {
    for (retry, some) in [("0s", false), ("1s", true)] {
        let nobody = Nobody::new();
        let gateway = towards(
            &[nobody.address()],
            &format!(", connect_retry: {retry}"),
            "",
        );
        assert_eq!(post(&gateway).is_own().status, 502);
        let retries = metric(&gateway, "countersign_upstream_retries_total{");
        assert!(
            if some {
                (1.0..=20.0).contains(&retries)
            } else {
                retries == 0.0
            },
            "{retries}"
        );
        assert_eq!(gateway.finish().outcomes(), [("error", "upstream_refused")]);
    }
}

/// What was accepted may have been delivered, so it is not tried again in time.
#[test]
fn an_accepted_request_is_not_retried() {
    let backend = Backend::with(|_| Reply::Reset);
    let gateway = towards(&[backend.address()], ", connect_retry: 5s", "");
    assert_eq!(post(&gateway).is_own().status, 502);
    assert_eq!(backend.requests().len(), 1);
    assert_eq!(metric(&gateway, "countersign_upstream_retries_total{"), 0.0);
}

#[test]
fn an_endpoint_that_fails_is_passed_over_by_all_workers_and_over_a_new_plan() {
    let (nobody, backup) = (Nobody::new(), Backend::ok());
    let primary = nobody.address();
    let upstream = upstream(&[primary, backup.address()], ", keep_alive: off");
    let mut gateway = Gateway::towards("", "workers: 2", &upstream);
    for _ in 0..3 {
        assert_eq!(post(&gateway).status, 200);
    }
    let ejections = format!(
        "countersign_upstream_ejections_total{{endpoint=\"http://{primary}\",upstream=\"http://{primary}\"}} 1"
    );
    gateway.wait_for_metric(&ejections);
    let returned = Backend::instead_of(nobody);
    for _ in 0..4 {
        assert_eq!(post(&gateway).status, 200);
    }
    gateway.reload(&text("", "workers: 2", &upstream)).unwrap();
    for _ in 0..4 {
        assert_eq!(post(&gateway).status, 200);
    }
    assert_eq!(
        (returned.requests().len(), backup.requests().len()),
        (0, 11)
    );
}

#[test]
fn where_all_are_passed_over_all_are_tried_and_success_brings_one_back() {
    let (primary, backup) = (Nobody::new(), Nobody::new());
    let gateway = towards(
        &[primary.address(), backup.address()],
        ", keep_alive: off, connect_retry: 0s",
        "",
    );
    for _ in 0..3 {
        assert_eq!(post(&gateway).status, 502);
    }
    assert_eq!(
        metric(&gateway, "countersign_upstream_ejections_total{"),
        2.0
    );
    let (first, second) = (Backend::instead_of(primary), Backend::instead_of(backup));
    for _ in 0..3 {
        assert_eq!(post(&gateway).status, 200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (3, 0));
}

/// Whether or not there are connections to them that could be used again.
#[test]
fn health_checks_take_endpoints_out_and_bring_them_back() {
    for keep_alive in ["off", "1h"] {
        taken_out_and_brought_back(keep_alive);
    }
}

fn taken_out_and_brought_back(keep_alive: &str) {
    static STATUS: Mutex<&str> = Mutex::new("204 No Content");
    let answer = |request: &crate::support::Recorded| {
        if request.target != "/health" {
            return Reply::Ok("received");
        }
        assert_eq!((request.method.as_str(), request.body_length), ("GET", 0));
        assert!(request.headers.len() <= 3, "{request:?}");
        let status = *STATUS.lock().unwrap();
        Reply::RawAndClose(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into())
    };
    let (primary, backup) = (
        Backend::with(answer),
        Backend::with(|_| {
            Reply::RawAndClose(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec())
        }),
    );
    let check = format!(
        ", keep_alive: {keep_alive}, health_check: {{ path: /health, interval: 100ms, timeout: 5s, fall: 2, rise: 2 }}"
    );
    let addresses = [primary.address(), backup.address()];
    let mut gateway = towards(&addresses, &check, "workers: 2");
    let up = |address: SocketAddr, up: u8| {
        format!(
            "countersign_upstream_up{{endpoint=\"http://{address}\",upstream=\"http://{}\"}} {up}",
            primary.address()
        )
    };
    gateway.wait_for_metric(&up(primary.address(), 1));
    assert_eq!(post(&gateway).status, 200);
    *STATUS.lock().unwrap() = "500 Oh";
    gateway.wait_for_metric(&up(primary.address(), 0));
    gateway.wait_for_metric(&up(backup.address(), 1));
    assert_eq!(post(&gateway).status, 502, "the backup redirects");
    *STATUS.lock().unwrap() = "200 OK";
    gateway.wait_for_metric(&up(primary.address(), 1));
    assert_eq!(post(&gateway).status, 200);
    let checked_by = primary.requests();
    assert!(
        checked_by
            .iter()
            .filter(|request| request.target == "/health")
            .count()
            >= 4
    );
    let without = upstream(&[primary.address(), backup.address()], "");
    gateway.reload(&text("", "workers: 2", &without)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while gateway.metrics().contains("countersign_upstream_up{") {
        assert!(Instant::now() < deadline, "checks go on");
        std::thread::yield_now();
    }
    let story = gateway.finish();
    let named: Vec<_> = story.lines.iter().map(|line| &line["upstream"]).collect();
    let [primary, backup] = addresses.map(|address| format!("http://{address}"));
    assert_eq!(named, [&primary, &backup, &primary]);
}

#[test]
fn connections_are_limited_exactly_over_all_workers() {
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let backend = Backend::counting(&MOST);
    let gateway = towards(
        &[backend.address()],
        ", max_connections: 2, queue_timeout: 15s, keep_alive: 1h",
        "workers: 2",
    );
    let address = gateway.plain_address();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..10 {
                    // Each on a new connection, so that both workers get some.
                    let mut connection = Connection::plain(address);
                    assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
                }
            });
        }
    });
    assert_eq!(MOST.load(Ordering::SeqCst), 2, "connections at once");
    assert_eq!(backend.requests().len(), 120);
    assert_eq!(metric(&gateway, "countersign_upstream_waiting{"), 0.0);
    assert_eq!(
        gateway.finish().sum("countersign_upstream_connections{"),
        0.0
    );
}

#[test]
fn an_idle_connection_of_one_worker_is_in_no_other_worker_s_way() {
    let backend = Backend::ok();
    let limited = ", max_connections: 1, queue_timeout: 15s, keep_alive: 1h";
    let gateway = towards(&[backend.address()], limited, "workers: 2");
    for _ in 0..40 {
        assert_eq!(post(&gateway).status, 200);
    }
    assert!(backend.connections() > 1, "one worker took all of them");
}

#[test]
fn too_many_wait_for_nothing() {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::with(move |_| {
        held.lock().unwrap().recv().unwrap();
        Reply::Ok("received")
    });
    let limited = ", max_connections: 1, queue: 1, queue_timeout: 15s";
    let gateway = towards(&[backend.address()], limited, "");
    let (mut first, mut second) = (gateway.connect_plain(), gateway.connect_plain());
    first.post(&token_line(), b"{}");
    backend.wait_for(1);
    second.post(&token_line(), b"{}");
    let name = format!("http://{}", backend.address());
    gateway.wait_for_metric(&format!(
        "countersign_upstream_waiting{{upstream=\"{name}\"}} 1"
    ));
    let third = post(&gateway);
    assert_eq!(third.is_own().status, 503);
    assert!(third.value("retry-after").is_some());
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!((first.answer().status, second.answer().status), (200, 200));
    assert_eq!(backend.requests().len(), 2);
    let story = gateway.finish();
    let mut outcomes = story.outcomes();
    outcomes.sort_unstable();
    let expected = [
        ("forwarded", ""),
        ("forwarded", ""),
        ("rejected", "overloaded"),
    ];
    assert_eq!(outcomes, expected);
}

/// As long as somebody waits nobody else comes in, so a larger limit has to let in those who wait.
#[test]
fn a_larger_limit_counts_for_those_who_wait_already() {
    let backend = Backend::with(|_| Reply::Hang);
    let limited = |more: &str| upstream(&[backend.address()], more);
    let before = limited(", max_connections: 1, queue_timeout: 15s");
    for after in [", max_connections: 2, queue_timeout: 15s", ""] {
        let mut gateway = Gateway::towards("", "", &before);
        let served = backend.requests().len();
        let (mut first, mut second) = (gateway.connect_plain(), gateway.connect_plain());
        first.post(&token_line(), b"{}");
        backend.wait_for(served + 1);
        second.post(&token_line(), b"{}");
        let name = format!("http://{}", backend.address());
        gateway.wait_for_metric(&format!(
            "countersign_upstream_waiting{{upstream=\"{name}\"}} 1"
        ));
        gateway.reload(&text("", "", &limited(after))).unwrap();
        backend.wait_for(served + 2);
    }
}

#[test]
fn a_wait_has_an_end() {
    let backend = Backend::with(|_| Reply::Hang);
    let limited = ", max_connections: 1, queue_timeout: 300ms";
    let gateway = towards(&[backend.address()], limited, "");
    let mut first = gateway.connect_plain();
    first.post(&token_line(), b"{}");
    backend.wait_for(1);
    assert_eq!(post(&gateway).is_own().status, 503);
    assert_eq!(backend.connections(), 1);
    // Who leaves makes room, for others and in the queue.
    first.reset();
    let name = format!("http://{}", backend.address());
    gateway.wait_for_metric(&format!(
        "countersign_upstream_connections{{state=\"active\",upstream=\"{name}\"}} 0"
    ));
}

#[test]
fn a_connection_serves_as_many_requests_as_configured() {
    for (more, connections) in [
        (", keep_alive: off", 6),
        (", keep_alive: 0s", 6),
        (", keep_alive_requests: 2", 3),
        ("", 1),
    ] {
        let backend = Backend::ok();
        let gateway = towards(&[backend.address()], more, "");
        for _ in 0..6 {
            assert_eq!(post(&gateway).status, 200);
        }
        assert_eq!(backend.connections(), connections, "{more}");
        for (state, count) in [("active", 0), ("idle", u8::from(more.is_empty()))] {
            gateway.wait_for_metric(&format!(
                "countersign_upstream_connections{{state=\"{state}\",upstream=\"http://{}\"}} {count}",
                backend.address()
            ));
        }
        let requests = backend.requests();
        let closes = requests
            .iter()
            .filter(|request| request.value("connection") == Some("close"));
        assert_eq!(
            closes.count(),
            if connections == 6 { 6 } else { 0 },
            "{more}"
        );
    }
}

#[test]
fn what_the_backend_says_of_its_connections_is_heeded() {
    for (line, connections) in [
        ("timeout=5, max=1", 2),
        ("max=0", 4),
        ("timeout=1", 4),
        ("timeout=60, max=1000", 1),
        ("nonsense=, max=x", 1),
    ] {
        let backend = Backend::with(move |_| {
            Reply::Raw(
                format!("HTTP/1.1 200 OK\r\nKeep-Alive: {line}\r\nContent-Length: 4\r\n\r\nfine")
                    .into(),
            )
        });
        let gateway = towards(&[backend.address()], "", "");
        for _ in 0..4 {
            assert_eq!(post(&gateway).status, 200);
        }
        assert_eq!(backend.connections(), connections, "{line}");
    }
}

#[test]
fn an_idle_connection_goes_when_its_time_is_over() {
    let backend = Backend::ok();
    let gateway = towards(&[backend.address()], ", keep_alive: 200ms", "");
    assert_eq!(post(&gateway).status, 200);
    let name = format!("http://{}", backend.address());
    gateway.wait_for_metric(&format!(
        "countersign_upstream_connections{{state=\"idle\",upstream=\"{name}\"}} 0"
    ));
    assert_eq!(post(&gateway).status, 200);
    assert_eq!(backend.connections(), 2);
}
