//! Several workers, several plans, and one scrape of them.

use std::time::Duration;

use super::*;

pub(in crate::telemetry) const LABELS: Labels = Labels {
    outcomes: &["forwarded", "rejected"],
    reasons: &["token_missing"],
    challenge_methods: &["get"],
    challenge_results: &["answered"],
    upstream_errors: &["refused"],
    codes: &["200", "5xx"],
    upstream_codes: &["200", "other"],
    tls_versions: &["TLSv1.3"],
    tls_failures: &["io"],
    connection_ends: &["peer"],
    proxy_faults: &["closed"],
};

pub(super) fn listeners(names: &[&str]) -> Vec<ConfiguredListener> {
    let listener = |name: &&str| ConfiguredListener {
        name: (*name).into(),
        limit: 7,
    };
    names.iter().map(listener).collect()
}

/// The id of a token, and its end.
type Token<'t> = (&'t str, Option<u64>);

/// Routes with these names, upstreams and tokens, each token with its end.
pub(super) fn configured(routes: &[(&str, &str, &[Token<'_>])]) -> Arc<Configured> {
    let upstreams = routes.iter().map(|(_, upstream, _)| ConfiguredUpstream {
        name: (*upstream).into(),
        endpoints: vec!["e".into()],
    });
    let routes = routes
        .iter()
        .map(|(name, upstream, tokens)| ConfiguredRoute {
            name: (*name).into(),
            upstream: (*upstream).into(),
            tokens: (tokens.iter())
                .map(|(id, not_after)| ConfiguredToken {
                    id: (*id).into(),
                    not_after: *not_after,
                })
                .collect(),
        });
    Arc::new(Configured::new(routes, upstreams))
}

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|other| other == *line),
            "{line}\nnot in\n{text}"
        );
    }
}

const LONG: Duration = Duration::from_millis(200);

#[test]
fn workers_are_added_up_and_the_latest_time_counts() {
    let metrics = Metrics::new(LABELS, listeners(&["public"]));
    let plan = configured(&[("redox", "u", &[("2026-11", None)])]);
    metrics.configured(Arc::clone(&plan));
    for (number, at) in [(1, 200), (2, 100)] {
        let worker = metrics.worker();
        let route = worker.plan(&plan).routes.remove(0);
        for _ in 0..number {
            route.request(0, 0, LONG);
            route.response(200);
            route.response(599);
            route.bytes(10, 1);
            route.body(2000);
            route.rejected(0, true);
            worker.overhead(0, Duration::from_micros(70));
        }
        route.token_used(0, at);
        worker.listener(0).unwrap().opened();
        worker.listener(0).unwrap().handshake(0, true, LONG);
    }
    assert_lines(
        &text(&metrics),
        &[
            r#"countersign_requests_total{listener="public",outcome="forwarded",route="redox"} 3"#,
            r#"countersign_requests_total{listener="public",outcome="rejected",route="redox"} 0"#,
            r#"countersign_requests_total{listener="public",outcome="rejected",route="none"} 0"#,
            r#"countersign_responses_total{code="5xx",route="redox"} 3"#,
            r#"countersign_rejected_requests_total{reason="token_missing",route="redox",sender="redox"} 3"#,
            r#"countersign_rejected_requests_total{reason="token_missing",route="redox",sender="other"} 0"#,
            r#"countersign_last_accepted_timestamp_seconds{route="redox"} 200"#,
            r#"countersign_connections_open{listener="public"} 2"#,
            r#"countersign_connections_limit{listener="public"} 7"#,
            r#"countersign_token_uses_total{route="redox",state="active",token_id="2026-11"} 2"#,
            r#"countersign_request_duration_seconds_bucket{outcome="forwarded",route="redox",le="0.25"} 3"#,
            r#"countersign_request_duration_seconds_bucket{outcome="forwarded",route="redox",le="0.1"} 0"#,
            r#"countersign_request_duration_seconds_count{outcome="forwarded",route="redox"} 3"#,
            r#"countersign_request_body_bytes_bucket{route="redox",le="4096"} 3"#,
            r#"countersign_request_body_bytes_sum{route="redox"} 6000"#,
            r#"countersign_received_bytes_total{route="redox"} 30"#,
            r#"countersign_overhead_seconds_bucket{outcome="forwarded",le="0.0001"} 3"#,
            r#"countersign_tls_handshakes_total{listener="public",resumed="true",version="TLSv1.3"} 2"#,
            r#"countersign_tls_handshakes_total{listener="public",resumed="false",version="TLSv1.3"} 0"#,
            r#"countersign_tls_handshake_seconds_bucket{listener="public",le="0.25"} 2"#,
        ],
    );
}

#[test]
fn a_new_plan_keeps_what_it_has_too_and_drops_the_rest() {
    let metrics = Metrics::new(LABELS, listeners(&["public"]));
    let worker = metrics.worker();
    let old = configured(&[("a", "u", &[("one", None), ("two", None)]), ("b", "v", &[])]);
    metrics.configured(Arc::clone(&old));
    let before = worker.plan(&old);
    for route in &before.routes {
        route.request(0, 0, LONG);
        route.upstream_response(200, LONG);
        route.token_used(0, 5);
        route.began();
    }
    let upstream = worker.upstream(&"u".into(), &["e".into()]);
    upstream.passed_over(0);
    upstream.up(0, true);
    assert!(text(&metrics).contains(r#"countersign_upstream_up{endpoint="e",upstream="u"} 1"#));

    let new = configured(&[("a", "w", &[("one", Some(99))]), ("c", "u", &[])]);
    metrics.configured(Arc::clone(&new));
    // Idle workers take a plan up with their next request, but its series are there.
    for taken_up in [false, true] {
        if taken_up {
            let _ = worker.plan(&new);
        }
        let text = text(&metrics);
        assert_lines(
            &text,
            &[
                r#"countersign_requests_total{listener="public",outcome="forwarded",route="a"} 1"#,
                r#"countersign_requests_total{listener="public",outcome="forwarded",route="c"} 0"#,
                r#"countersign_upstream_responses_total{code="200",route="a",upstream="w"} 0"#,
                r#"countersign_upstream_response_seconds_count{route="a"} 1"#,
                r#"countersign_token_uses_total{route="a",state="retiring",token_id="one"} 0"#,
                r#"countersign_token_not_after_timestamp_seconds{route="a",token_id="one"} 99"#,
                r#"countersign_requests_in_flight{route="a"} 1"#,
                r#"countersign_upstream_ejections_total{endpoint="e",upstream="u"} 1"#,
            ],
        );
        for gone in [
            r#"route="b""#,
            r#"upstream="v""#,
            "two",
            r#""active",token"#,
        ] {
            assert!(!text.contains(gone), "{gone} in\n{text}");
        }
    }
    // What began under the old plan ends in the numbers of the new one.
    before.routes[0].ended();
    worker.forget_endpoints();
    let text = text(&metrics);
    assert_lines(&text, &[r#"countersign_requests_in_flight{route="a"} 0"#]);
    assert!(!text.contains("countersign_upstream_up"));
}

#[test]
fn slices_make_one_text_with_each_head_once() {
    let metrics = Metrics::new(LABELS, listeners(&["public"]));
    let names: Vec<String> = (0..100).map(|number| format!("r{number}")).collect();
    // The only token with an end is in the middle of it.
    let routes: Vec<_> = names
        .iter()
        .map(|name| {
            let tokens: &[_] = if name == "r50" {
                &[("t", Some(1))]
            } else {
                &[("t", None)]
            };
            (name.as_str(), name.as_str(), tokens)
        })
        .collect();
    metrics.configured(configured(&routes));
    let _worker = metrics.worker();
    let slices: Vec<_> = metrics.scrape().map(|slice| slice.unwrap()).collect();
    assert!(slices.len() > 100, "{}", slices.len());
    assert!(slices.iter().all(|slice| slice.len() < 64 * 1024));
    let text = String::from_utf8(slices.concat()).unwrap();
    let mut heads = std::collections::HashMap::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            *heads.entry(head).or_insert(0) += 1;
            family = head.split(' ').nth(1).unwrap();
        } else {
            assert!(line.starts_with(family), "{line} in {family}");
        }
    }
    assert!(heads.values().all(|times| *times == 1), "{heads:?}");
    let ends = "countersign_token_not_after_timestamp_seconds";
    assert_eq!(text.matches(ends).count(), 3, "HELP, TYPE and one sample");
    for name in names {
        assert_lines(
            &text,
            &[&format!(
                r#"countersign_last_accepted_timestamp_seconds{{route="{name}"}} 0"#
            )],
        );
    }
}
