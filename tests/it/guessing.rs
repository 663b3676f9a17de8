//! An address may fail to prove itself only so often, and a valid token from the same address never notices.

use std::time::{Duration, Instant};

use countersign::server::Stop;

use crate::support::{
    Backend, Connection, Environment, Gateway, Message, Protocol, TOKEN, http2_post, text,
};

/// Three failures in a row, and no more while a test runs.
const LIMIT: &str = "failed_verifications: { rate: 1/h, burst: 3 }";
const WRONG: &str = "verification-token: wrong-wrong-wrong-wrong\r\n";

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

fn limited(setting: &str) -> (Backend, Gateway) {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, setting, "");
    (backend, gateway)
}

/// How long this took when it took least. Nothing here may ever be held for a second; a busy machine may hold it once.
fn at_best(mut what: impl FnMut()) -> Duration {
    let took = (0..5).map(|_| {
        let began = Instant::now();
        what();
        began.elapsed()
    });
    took.min().unwrap()
}

/// Statuses of wrong tokens, one after another on this connection.
fn guess(connection: &mut Connection, times: usize) -> Vec<u16> {
    let status = |_| connection.post(WRONG, b"{}").answer().status;
    (0..times).map(status).collect()
}

#[test]
fn the_answer_is_429_from_the_first_failure_over_the_burst() {
    let (backend, gateway) = limited(LIMIT);
    let mut connection = gateway.connect();
    assert_eq!(guess(&mut connection, 3), [401, 401, 401]);
    let began = Instant::now();
    let answer = connection.post(WRONG, b"{}").answer();
    assert_eq!(answer.status, 429);
    assert!(began.elapsed() >= Duration::from_secs(1), "it came at once");
    assert_eq!(answer.is_own().value("retry-after"), Some("30"));
    // The connection is kept, and a valid token passes: on it, on another one, and as a challenge.
    assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
    let message = at_best(|| {
        let answer = gateway.connect().post(&token_line(), b"{}").answer();
        assert_eq!(answer.status, 200);
    });
    let challenge =
        format!("GET /redox?challenge=abc&verification-token={TOKEN} HTTP/1.1\r\nHost: a\r\n\r\n");
    let challenge = at_best(|| {
        assert_eq!(gateway.connect().send(&challenge).answer().status, 200);
    });
    assert!(
        message.max(challenge) < Duration::from_secs(1),
        "a valid token waits"
    );
    assert_eq!(backend.requests().len(), 6);
    gateway.wait_for_metric("countersign_failed_verification_sources 1");
    let story = gateway.finish();
    let series = |reason| {
        format!(
            r#"countersign_rejected_requests_total{{reason="{reason}",route="redox",sender="other"}}"#
        )
    };
    assert_eq!(story.value(&series("token_mismatch")), 3.0);
    assert_eq!(story.value(&series("rate_limited")), 1.0);
}

/// So many were refused for guessing too much.
fn rate_limited(count: u32) -> String {
    format!(
        r#"countersign_rejected_requests_total{{reason="rate_limited",route="redox",sender="other"}} {count}"#
    )
}

#[test]
fn only_failures_to_prove_oneself_count() {
    let (_backend, gateway) = limited("failed_verifications: { rate: 1/h, burst: 1 }");
    let mut connection = gateway.connect();
    let mut status = |request: String| connection.send(request).answer().status;
    let challenge = |query: &str| format!("GET /redox?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..3 {
        let elsewhere = "POST /elsewhere HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(status(elsewhere.to_owned()), 404);
        assert_eq!(status(challenge("")), 405);
        let malformed = format!("challenge=%20&verification-token={TOKEN}");
        assert_eq!(status(challenge(&malformed)), 400);
    }
    drop(connection);
    for (number, headers) in ["", WRONG, "verification_token: x\r\n"].iter().enumerate() {
        let gateway = Gateway::with(&Backend::ok(), LIMIT, "");
        let mut connection = gateway.connect();
        guess(&mut connection, 2);
        let first = connection.post(headers, b"{}").answer().status;
        assert_eq!(first, [401, 401, 400][number], "{headers}");
        let second = connection.post(headers, b"{}").answer().status;
        assert_eq!(second, 429, "{headers}");
    }
    let gateway = Gateway::with(&Backend::ok(), LIMIT, "");
    let wrong = challenge("challenge=abc&verification-token=wrong-wrong-wrong");
    let mut connection = gateway.connect();
    for expected in [401, 401, 401, 429] {
        assert_eq!(connection.send(&wrong).answer().status, expected);
    }
}

#[test]
fn workers_count_together_and_addresses_apart() {
    let (_backend, gateway) = limited(&format!("workers: 4\n{LIMIT}"));
    // The kernel spreads connections over the workers.
    let statuses: Vec<u16> = (0..3)
        .map(|_| guess(&mut gateway.connect_plain(), 1)[0])
        .collect();
    assert_eq!(statuses, [401, 401, 401]);
    for _ in 0..3 {
        assert_eq!(guess(&mut gateway.connect_plain(), 1), [429]);
    }
    for other in ["127.0.0.2", "127.0.0.3"] {
        let mut connection = Connection::plain_from(other, gateway.plain_address());
        assert_eq!(guess(&mut connection, 4), [401, 401, 401, 429], "{other}");
    }
    gateway.wait_for_metric("countersign_failed_verification_sources 3");
}

#[test]
fn a_new_plan_forgets_nobody() {
    let (backend, mut gateway) = limited(LIMIT);
    assert_eq!(guess(&mut gateway.connect(), 3), [401, 401, 401]);
    let url = format!("http://{}", backend.address());
    gateway.reload(&text(&url, LIMIT, "")).unwrap();
    assert_eq!(guess(&mut gateway.connect(), 1), [429]);
    gateway
        .reload(&text(&url, "failed_verifications: off", ""))
        .unwrap();
    assert_eq!(guess(&mut gateway.connect(), 5), [401; 5]);
}

#[test]
fn the_limit_is_on_unless_turned_off() {
    let backend = Backend::ok();
    let url = format!("http://{}", backend.address());
    let default = text(&url, "", "").replace("failed_verifications: off\n", "");
    let gateway = Gateway::from_text(&default, &Environment::default());
    let mut connection = gateway.connect();
    let statuses = guess(&mut connection, 61);
    assert_eq!(statuses[..60], [401; 60]);
    assert_eq!(statuses[60], 429);
}

#[test]
fn it_holds_over_http2_and_each_stream_waits() {
    let (backend, gateway) = limited(LIMIT);
    let mut client = gateway.connect_http2();
    let wrong = [("verification-token", "wrong-wrong-wrong-wrong")];
    for expected in [401, 401, 401, 429] {
        let answer = client.request(http2_post(&wrong, b"{}")).unwrap();
        assert_eq!(answer.status, expected);
    }
    let good = client.request(http2_post(&[("verification-token", TOKEN)], b"{}"));
    assert_eq!(good.unwrap().status, 200);
    assert_eq!(backend.requests().len(), 1);
}

/// The refusal stands: who leaves without it has been refused all the same.
/// A proxy's connection is everybody's behind it: nothing on it is held for one of them.
#[test]
fn behind_a_trusted_proxy_the_answer_does_not_wait() {
    let (_backend, gateway) = limited(&format!("trusted_proxies: [127.0.0.1]\n{LIMIT}"));
    let mut connection = gateway.connect();
    let began = Instant::now();
    let mut guess = |client: &str| {
        let line = format!("X-Forwarded-For: {client}\r\n{WRONG}");
        connection.post(&line, b"{}").answer().status
    };
    let statuses: Vec<u16> = (0..8).map(|_| guess("203.0.113.9")).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429, 429, 429]);
    assert_eq!(guess("203.0.113.10"), 401);
    assert!(began.elapsed() < Duration::from_secs(5), "held");
}

#[test]
fn who_does_not_wait_for_the_answer_was_refused() {
    let (_backend, gateway) = limited(LIMIT);
    guess(&mut gateway.connect_plain(), 3);
    let mut refused = 0;
    let took = at_best(|| {
        let mut connection = gateway.connect_plain();
        connection.post(WRONG, b"{}");
        refused += 1;
        gateway.wait_for_metric(&rate_limited(refused));
        connection.reset();
    });
    assert!(took < Duration::from_secs(1), "counted late");
    let story = gateway.finish();
    assert_eq!(story.outcomes()[3..], [("rejected", "rate_limited"); 5]);
    assert_eq!(story.sum("countersign_rejected_requests_total{"), 8.0);
}

#[test]
fn a_drain_releases_what_is_held() {
    let took = at_best(|| {
        let (_backend, gateway) = limited(LIMIT);
        let mut connection = gateway.connect_plain();
        guess(&mut connection, 3);
        connection.post(WRONG, b"{}");
        gateway.wait_for_metric(&rate_limited(1));
        gateway.stop(Stop::Drain);
        assert_eq!(connection.answer().status, 429);
        gateway.finish();
    });
    assert!(took < Duration::from_secs(1), "a drain waits");
}

/// A flood over the limit takes nothing from who has a valid token, whatever the protocol.
#[test]
fn a_flood_does_not_touch_a_valid_token() {
    let (backend, gateway) = limited(LIMIT);
    let address = gateway.plain_address();
    let floods: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut connection = Connection::plain(address);
                guess(&mut connection, 3)
            })
        })
        .collect();
    for protocol in Protocol::BOTH.repeat(10) {
        let answer = Message::post("{}")
            .token()
            .over(protocol, &gateway)
            .unwrap();
        assert_eq!(answer.status, 200, "{protocol:?}");
    }
    let statuses: Vec<u16> = floods
        .into_iter()
        .flat_map(|flood| flood.join().unwrap())
        .collect();
    let failures = |code| statuses.iter().filter(|status| **status == code).count();
    assert_eq!((failures(401), failures(429)), (3, 21));
    assert_eq!(backend.wait_for(20).len(), 20);
}
