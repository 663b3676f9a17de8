//! Every answer of the contract's table, over both protocols: what the sender is told, what the backend sees, what
//! the log says, and that the counters concerned move by one and no others at all.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;

use crate::support::{
    Answer, Backend, CHALLENGE, Environment, Gateway, Message, Nobody, OLD_TOKEN, Protocol, Reply,
    Story, TOKEN, now, text,
};

/// Its digest is in [`VERIFY`], with an end in the past.
const EXPIRED: &str = "expired-t0ken-from-long-ago";
/// As long as the right one.
const WRONG: &str = "CANARY-t0ken-6fd1e0c2b7a94d54";

/// The settings of the route, with room for more of `verify`.
fn verify(more: &str) -> String {
    use std::fmt::Write;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(EXPIRED);
    let mut hex = String::new();
    for byte in &digest {
        write!(hex, "{byte:02x}").unwrap();
    }
    format!(
        "verify:\n  scheme: redox\n  tokens:\n  - {{ id: current, env: REDOX_TOKEN }}\n  \
         - {{ id: previous, env: REDOX_TOKEN_OLD }}\n  \
         - {{ id: expired, sha256: {hex}, not_after: 2020-01-01T00:00:00Z }}\n{more}"
    )
}

/// A request and all that must come of it.
struct Case {
    name: &'static str,
    top: &'static str,
    verify: &'static str,
    route: &'static str,
    behaviour: fn() -> Reply,
    message: Message,
    outcome: &'static str,
    reason: Option<&'static str>,
    status: u16,
    text: &'static str,
    named_route: &'static str,
    token: Option<&'static str>,
    challenge: Option<(&'static str, &'static str)>,
    upstream_code: Option<u16>,
    upstream_error: Option<&'static str>,
    reaches_backend: bool,
    /// A field that this answer has to have.
    field: Option<(&'static str, &'static str)>,
    /// For what only one of them can express.
    protocols: &'static [Protocol],
}

impl Case {
    fn new(name: &'static str, message: Message) -> Self {
        Self {
            name,
            top: "",
            verify: "",
            route: "",
            behaviour: || Reply::Ok("received"),
            message,
            outcome: "forwarded",
            reason: None,
            status: 200,
            text: "received",
            named_route: "redox",
            token: None,
            challenge: None,
            upstream_code: None,
            upstream_error: None,
            reaches_backend: false,
            field: None,
            protocols: &Protocol::BOTH,
        }
    }

    /// Refused, and the backend never hears of it.
    fn refused(name: &'static str, reason: &'static str, message: Message) -> Self {
        let (status, text, field) = match reason {
            "no_route" => (404, "not found\n", None),
            "method_not_allowed" => (405, "method not allowed\n", Some(("allow", "POST"))),
            "token_missing" | "token_mismatch" | "token_expired" | "token_ambiguous" => {
                (401, "not verified\n", Some(("www-authenticate", "Token")))
            }
            "header_alias" | "challenge_malformed" | "malformed" => (400, "bad request\n", None),
            "body_too_large" => (413, "request body too large\n", None),
            "header_too_large" => (431, "request head too large\n", None),
            "expectation_failed" => (417, "expectation failed\n", None),
            "maintenance" => (
                503,
                "in maintenance, try again later\n",
                Some(("retry-after", "30")),
            ),
            _ => panic!("{reason} is no refusal"),
        };
        let named_route = match reason {
            "no_route" | "malformed" | "header_too_large" | "expectation_failed" => "none",
            _ => "redox",
        };
        Self {
            outcome: "rejected",
            reason: Some(reason),
            status,
            text,
            field,
            named_route,
            ..Self::new(name, message)
        }
    }

    /// Passed on, and answered in the upstream's stead.
    fn failed(name: &'static str, kind: &'static str, behaviour: fn() -> Reply) -> Self {
        let (status, text) = match kind {
            "timeout" => (504, "no answer in time\n"),
            _ => (502, "no usable answer\n"),
        };
        Self {
            outcome: "error",
            status,
            text,
            behaviour,
            token: Some("current"),
            upstream_error: Some(kind),
            reaches_backend: true,
            ..Self::new(name, Message::post("{}").token())
        }
    }

    fn forwarded(name: &'static str, message: Message) -> Self {
        Self {
            token: Some("current"),
            upstream_code: Some(200),
            reaches_backend: true,
            ..Self::new(name, message)
        }
    }

    /// A challenge that is answered.
    fn answered(name: &'static str, way: &'static str, message: Message) -> Self {
        Self {
            outcome: "challenge",
            text: CHALLENGE,
            token: Some("current"),
            challenge: Some((way, "answered")),
            field: Some(("content-type", "text/plain; charset=utf-8")),
            ..Self::new(name, message)
        }
    }

    /// The refusal counts as one of a challenge.
    fn of_challenge(mut self, way: &'static str) -> Self {
        let result = match self.reason {
            Some("challenge_malformed") => "malformed",
            _ => "token_mismatch",
        };
        self.challenge = Some((way, result));
        self
    }

    fn after_token(mut self) -> Self {
        self.token = Some("current");
        self
    }

    fn token(mut self, id: &'static str) -> Self {
        self.token = Some(id);
        self
    }

    fn top(mut self, top: &'static str) -> Self {
        self.top = top;
        self
    }

    fn verify(mut self, verify: &'static str) -> Self {
        self.verify = verify;
        self
    }

    fn route(mut self, route: &'static str) -> Self {
        self.route = route;
        self
    }

    fn only(mut self, protocols: &'static [Protocol]) -> Self {
        self.protocols = protocols;
        self
    }

    fn run(&self) {
        for protocol in self.protocols {
            let name = format!("{} over {protocol:?}", self.name);
            let behaviour = self.behaviour;
            let backend = Backend::with(move |_| behaviour());
            let settings = verify(self.verify) + "\n" + self.route;
            let gateway = Gateway::with(&backend, self.top, &settings);
            let began = now().0;
            let answer = self.message.over(*protocol, &gateway);
            let answer = answer.unwrap_or_else(|| panic!("{name}: no answer"));
            self.check_answer(&name, &answer);
            let story = gateway.finish();
            let arrived = usize::from(self.reaches_backend);
            assert_eq!(backend.requests().len(), arrived, "{name}");
            self.check_line(&name, &story, &answer);
            let (moved, accepted) = moved(&story);
            assert_eq!(moved, self.series(), "{name}");
            match self.token {
                Some(_) => assert!((began..=now().0).contains(&accepted.unwrap()), "{name}"),
                None => assert_eq!(accepted, None, "{name}"),
            }
        }
    }

    fn check_answer(&self, name: &str, answer: &Answer) {
        assert_eq!(answer.status, self.status, "{name}");
        if self.message.method != "HEAD" {
            assert_eq!(answer.text(), self.text, "{name}");
        }
        if self.outcome != "forwarded" {
            answer.is_own();
        }
        for (field, statuses) in [
            ("allow", &[405][..]),
            ("www-authenticate", &[401]),
            ("retry-after", &[503]),
        ] {
            let present = answer.value(field).is_some();
            assert_eq!(present, statuses.contains(&self.status), "{name}: {field}");
        }
        if let Some((field, value)) = self.field {
            assert_eq!(answer.value(field), Some(value), "{name}");
        }
    }

    fn check_line(&self, name: &str, story: &Story, answer: &Answer) {
        let line = story.only_line();
        let reason = self
            .upstream_error
            .map(|kind| format!("upstream_{kind}"))
            .or(self.reason.map(str::to_owned));
        assert_eq!(line["outcome"], self.outcome, "{name}");
        assert_eq!(line["reason"].as_str(), reason.as_deref(), "{name}");
        assert_eq!(line["token_id"].as_str(), self.token, "{name}");
        assert_eq!(line["status"], self.status, "{name}");
        assert_eq!(line["route"], self.named_route, "{name}");
        assert_eq!(line["listener"], "public", "{name}");
        if self.outcome != "forwarded" {
            assert_eq!(
                line["request_id"].as_str(),
                answer.value("x-request-id"),
                "{name}"
            );
        }
        let asked = self.upstream_code.is_some() || self.upstream_error.is_some();
        assert_eq!(line["upstream"].is_string(), asked, "{name}");
    }

    /// The series that have to stand at one.
    fn series(&self) -> BTreeMap<String, f64> {
        let route = self.named_route;
        let mut series = vec![
            format!(
                r#"requests_total{{listener="public",outcome="{}",route="{route}"}}"#,
                self.outcome
            ),
            format!(
                r#"responses_total{{code="{}",route="{route}"}}"#,
                self.status
            ),
        ];
        if let Some(reason) = self.reason {
            series.push(format!(
                r#"rejected_requests_total{{reason="{reason}",route="{route}",sender="other"}}"#
            ));
        }
        if let Some(token) = self.token {
            series.push(format!(
                r#"token_uses_total{{route="{route}",state="active",token_id="{token}"}}"#
            ));
        }
        if let Some((method, result)) = self.challenge {
            series.push(format!(
                r#"challenges_total{{method="{method}",result="{result}",route="{route}"}}"#
            ));
        }
        if let Some(code) = self.upstream_code {
            // Of numbers that no sender is given, metrics tell the class.
            let code = match code {
                200..300 | 400..600 => code.to_string(),
                300..400 => "3xx".to_owned(),
                _ => "other".to_owned(),
            };
            series.push(format!(
                r#"upstream_responses_total{{code="{code}",route="{route}"}}"#
            ));
        }
        if let Some(kind) = self.upstream_error {
            series.push(format!(
                r#"upstream_errors_total{{kind="{kind}",route="{route}"}}"#
            ));
        }
        series.into_iter().map(|name| (name, 1.0)).collect()
    }
}

/// The counters of requests that are not at zero, and when a request was last accepted.
fn moved(story: &Story) -> (BTreeMap<String, f64>, Option<u64>) {
    let mut counters = BTreeMap::new();
    let mut accepted = None;
    for line in story.metrics.lines() {
        let Some(line) = line.strip_prefix("countersign_") else {
            continue;
        };
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let family = series.split('{').next().unwrap();
        let of_requests = family.ends_with("_total")
            && !family.starts_with("tls_")
            && !family.starts_with("connections_")
            && !family.ends_with("_bytes_total");
        if of_requests && value != 0.0 {
            // Its address is another one each time.
            let named = series.split_once(",upstream=");
            let series = named.map_or(series.to_owned(), |(rest, _)| format!("{rest}}}"));
            counters.insert(series, value);
        }
        if family == "last_accepted_timestamp_seconds" && value != 0.0 {
            let seconds = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            assert_eq!(accepted.replace(seconds), None, "two routes");
        }
    }
    (counters, accepted)
}

fn run(cases: impl IntoIterator<Item = Case>) {
    cases.into_iter().for_each(|case| case.run());
}

/// A GET with this query.
fn get(query: &str) -> Message {
    Message::new("GET", &format!("/redox?{query}"))
}

/// A challenge by POST.
fn challenge(token: &str, value: &str) -> Message {
    Message::post(format!(
        r#"{{"verification-token":"{token}","challenge":"{value}"}}"#
    ))
}

#[test]
fn good_messages_and_challenges() {
    let with = |name: &str, value: &str| Message::post(r#"{"Meta":{}}"#).header(name, value);
    run([
        Case::forwarded("a message", Message::post(r#"{"Meta":{}}"#).token()),
        Case::forwarded("an empty message", Message::post("").token()),
        Case::forwarded(
            "a message without length",
            Message::post("{}").token().unknown_length(),
        ),
        Case::forwarded("the older token", with("verification-token", OLD_TOKEN)).token("previous"),
        Case::forwarded(
            "a bearer token where allowed",
            with("authorization", &format!("Bearer {TOKEN}")),
        )
        .verify("  authorization_bearer: true"),
        Case::answered("a POST challenge", "post", challenge(TOKEN, CHALLENGE)),
        Case::answered(
            "a POST challenge without length",
            "post",
            challenge(TOKEN, CHALLENGE).unknown_length(),
        ),
        Case::answered(
            "a POST challenge with the older token",
            "post",
            challenge(OLD_TOKEN, CHALLENGE),
        )
        .token("previous"),
        Case::answered(
            "a GET challenge",
            "get",
            get(&format!("challenge={CHALLENGE}&verification-token={TOKEN}")),
        ),
        Case::answered(
            "a GET challenge with the token in its header",
            "get",
            get(&format!("challenge={CHALLENGE}")).token(),
        ),
        Case {
            text: r#"{"challenge":"CANARY-challenge-0b7c2e4a"}"#,
            field: Some(("content-type", "application/json")),
            ..Case::answered("a JSON reply", "post", challenge(TOKEN, CHALLENGE))
        }
        .verify("  reply: json"),
    ]);
}

#[test]
fn wrong_addresses_and_methods() {
    let elsewhere = |target| Message::post("{}").token().target(target);
    let method = |name| Message::new(name, "/redox").token();
    run([
        Case::refused("no such path", "no_route", elsewhere("/other")),
        Case::refused("below an exact path", "no_route", elsewhere("/redox/")),
        Case::refused("another case", "no_route", elsewhere("/Redox")),
        Case::refused("another host", "no_route", elsewhere("/redox"))
            .route("host: ehr.example.org"),
        Case::refused("GET", "method_not_allowed", method("GET")),
        Case::refused("HEAD", "method_not_allowed", method("HEAD")),
        Case::refused("PUT", "method_not_allowed", method("PUT")),
        Case::refused("DELETE", "method_not_allowed", method("DELETE")),
        Case::refused("OPTIONS", "method_not_allowed", method("OPTIONS")),
        Case::refused("an invented method", "method_not_allowed", method("CANARY")),
        Case::refused(
            "PUT without a token",
            "method_not_allowed",
            Message::new("PUT", "/redox"),
        ),
        Case::refused(
            "a GET challenge where there are none",
            "method_not_allowed",
            get(&format!("challenge={CHALLENGE}&verification-token={TOKEN}")),
        )
        .verify("  challenge: off"),
    ]);
}

#[test]
fn tokens_that_do_not_open() {
    let with = |value: &str| Message::post(r#"{"Meta":{}}"#).header("verification-token", value);
    run([
        Case::refused("none", "token_missing", Message::post("{}")),
        Case::refused("none, no body", "token_missing", Message::post("")),
        Case::refused("empty", "token_missing", with("")),
        Case::refused("wrong", "token_mismatch", with(WRONG)),
        Case::refused(
            "wrong, with a long body",
            "token_mismatch",
            Message {
                body: vec![b'x'; 60_000],
                ..with(WRONG)
            },
        ),
        Case::refused("expired", "token_expired", with(EXPIRED)),
        Case::refused("twice", "token_ambiguous", with(TOKEN).token()),
        Case::refused(
            "contradicted by a bearer token",
            "token_ambiguous",
            with(TOKEN).header("authorization", format!("Bearer {OLD_TOKEN}")),
        )
        .verify("  authorization_bearer: true"),
        Case::refused(
            "a bearer token where not allowed",
            "token_missing",
            Message::post("{}").header("authorization", format!("Bearer {TOKEN}")),
        ),
        Case::refused(
            "in the query",
            "token_missing",
            Message::post("{}").target(&format!("/redox?verification-token={TOKEN}")),
        ),
        Case::refused(
            "in the body",
            "token_missing",
            Message::post(format!(r#"{{"verification-token":"{TOKEN}"}}"#)),
        ),
        Case::refused(
            "an alias beside it",
            "header_alias",
            with(TOKEN).header("verification_token", "x"),
        ),
        Case::refused(
            "an alias alone",
            "header_alias",
            Message::post("{}").header("verification_token", TOKEN),
        ),
    ]);
}

#[test]
fn post_challenges_that_are_refused() {
    let refused = Case::refused;
    run([
        refused(
            "POST, wrong token",
            "token_mismatch",
            challenge(WRONG, CHALLENGE),
        )
        .of_challenge("post"),
        refused(
            "POST, expired token",
            "token_expired",
            challenge(EXPIRED, CHALLENGE),
        )
        .of_challenge("post"),
        refused(
            "POST, empty token",
            "token_missing",
            challenge("", CHALLENGE),
        )
        .of_challenge("post"),
        refused(
            "POST, wrong token beside a right header",
            "token_mismatch",
            challenge(WRONG, CHALLENGE).token(),
        )
        .of_challenge("post"),
        // The header is judged before the body is looked at, so nobody knows yet that this is a challenge.
        refused(
            "POST, right token beside a wrong header",
            "token_mismatch",
            challenge(TOKEN, CHALLENGE).header("verification-token", WRONG),
        ),
        refused(
            "POST, empty value",
            "challenge_malformed",
            challenge(TOKEN, ""),
        )
        .of_challenge("post"),
        refused(
            "POST, markup",
            "challenge_malformed",
            challenge(TOKEN, "<script>"),
        )
        .of_challenge("post"),
        refused(
            "POST, a number",
            "challenge_malformed",
            Message::post(format!(
                r#"{{"verification-token":"{TOKEN}","challenge":5}}"#
            )),
        )
        .of_challenge("post"),
        refused(
            "POST, a challenge where there are none",
            "token_missing",
            challenge(TOKEN, CHALLENGE),
        )
        .verify("  challenge: off"),
    ]);
}

#[test]
fn get_challenges_that_are_refused() {
    let refused = Case::refused;
    let query =
        |token: &str, value: &str| get(&format!("challenge={value}&verification-token={token}"));
    run([
        refused(
            "GET, wrong token",
            "token_mismatch",
            query(WRONG, CHALLENGE),
        )
        .of_challenge("get"),
        refused(
            "GET, expired token",
            "token_expired",
            query(EXPIRED, CHALLENGE),
        )
        .of_challenge("get"),
        refused(
            "GET, no token",
            "token_missing",
            get(&format!("challenge={CHALLENGE}")),
        )
        .of_challenge("get"),
        refused(
            "GET, bad value",
            "challenge_malformed",
            query(TOKEN, "a%20b"),
        )
        .of_challenge("get"),
        refused(
            "GET, a key twice",
            "challenge_malformed",
            get(&format!(
                "challenge=a&challenge=a&verification-token={TOKEN}"
            )),
        )
        .of_challenge("get"),
    ]);
}

#[test]
fn requests_with_more_than_one_reading() {
    let at = |target| Message::post("{}").token().target(target);
    run([
        Case::refused("dots", "malformed", at("/redox/../redox")),
        Case::refused("an escaped slash", "malformed", at("/redox%2fx")),
        Case::refused("two slashes", "malformed", at("//redox")),
        Case::refused("a parameter", "malformed", at("/redox;x")),
        Case::refused(
            "another host beside the authority",
            "malformed",
            at("/redox").header("host", "b.example"),
        ),
        Case::refused(
            "a strange expectation",
            "expectation_failed",
            at("/redox").header("expect", "200-ok"),
        ),
        Case::refused(
            "both framings",
            "malformed",
            at("/redox").header("Transfer-Encoding", "chunked"),
        )
        .only(&[Protocol::Http1]),
        Case::refused(
            "a number with a sign",
            "malformed",
            Message::post("").token().header("Content-Length", "+2"),
        )
        .only(&[Protocol::Http1]),
        Case::refused(
            "a space before the colon",
            "malformed",
            at("/redox").header("X ", "y"),
        )
        .only(&[Protocol::Http1]),
        Case::refused(
            "a bare line feed",
            "malformed",
            at("/redox").header("X", "y\nZ: z"),
        )
        .only(&[Protocol::Http1]),
    ]);
}

#[test]
fn what_hyper_itself_would_refuse_is_refused_in_our_words() {
    // Graphic ASCII that some parser down the line could take offence at, alone in a query and in a path.
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut requests = 0;
    for byte in b'!'..=b'~' {
        for target in [
            format!("/redox?a={}", char::from(byte)),
            format!("/x{}", char::from(byte)),
            format!("{}redox", char::from(byte)),
        ] {
            let mut connection = gateway.connect_plain();
            let answer = Message::post("{}")
                .target(&target)
                .over_http1(&mut connection)
                .unwrap_or_else(|| panic!("{target}: no answer"));
            assert!(matches!(answer.status, 400 | 401 | 404), "{target}");
            answer.is_own();
            requests += 1;
        }
    }
    assert_eq!(backend.requests().len(), 0);
    let story = gateway.finish();
    assert_eq!(story.lines.len(), requests);
}

#[test]
fn requests_that_are_too_large() {
    const SMALL: &str = "limits: { body: 1KiB, header_bytes: 2KiB, header_count: 20 }";
    let message = |length: usize| Message::post(vec![b'x'; length]).token();
    let mut many = message(2);
    for _ in 0..21 {
        many = many.header("x-many", "x");
    }
    run([
        Case::forwarded("a body as large as allowed", message(1024)).top(SMALL),
        Case::forwarded("the same without length", message(1024).unknown_length()).top(SMALL),
        Case::refused("one byte more", "body_too_large", message(1025))
            .after_token()
            .top(SMALL),
        Case::refused("much more", "body_too_large", message(60_000))
            .after_token()
            .top(SMALL),
        // Found before the upstream is asked, because a body this small is looked at for a challenge first.
        Case::refused(
            "one byte more, without length",
            "body_too_large",
            message(1025).unknown_length(),
        )
        .after_token()
        .top(SMALL),
        Case::refused(
            "a large head",
            "header_too_large",
            message(2).header("x-large", vec![b'x'; 3000]),
        )
        .top(SMALL),
        Case::refused("many fields", "header_too_large", many).top(SMALL),
    ]);
}

#[test]
fn a_body_found_too_large_on_its_way_is_cut_and_answered() {
    const SMALL: &str = "limits: { body: 8KiB }";
    for protocol in Protocol::BOTH {
        let backend = Backend::ok();
        let gateway = Gateway::with(&backend, SMALL, "");
        let message = Message::post(vec![b'x'; 40_000]).token().unknown_length();
        let answer = message.over(protocol, &gateway).unwrap();
        assert_eq!(
            (answer.is_own().status, answer.text()),
            (413, "request body too large\n")
        );
        let story = gateway.finish();
        assert_eq!(story.outcomes(), [("rejected", "body_too_large")]);
        assert_eq!(story.only_line()["token_id"], "current");
        let whole = |request: &crate::support::Recorded| request.complaint.is_none();
        assert!(
            !backend.requests().iter().any(whole),
            "the backend takes a part for a whole"
        );
    }
}

#[test]
fn upstreams_without_a_usable_answer() {
    const QUICK: &str = "timeouts: { connect: 100ms, response: 300ms }";
    let redirect = |name, behaviour, code| Case {
        upstream_code: Some(code),
        ..Case::failed(name, "redirect", behaviour)
    };
    run([
        Case::failed("reset", "reset", || Reply::Reset),
        Case::failed("closed without an answer", "reset", || {
            Reply::RawAndClose(Vec::new())
        }),
        Case::failed("half a head", "reset", || {
            Reply::RawAndClose(b"HTTP/1.1 200 OK\r\nContent-".to_vec())
        }),
        Case::failed("no HTTP", "protocol", || {
            Reply::RawAndClose(b"CANARY garbage\r\n\r\n".to_vec())
        }),
        Case::failed("both framings", "protocol", || {
            Reply::RawAndClose(
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                    .to_vec(),
            )
        }),
        Case::failed("too slow", "timeout", || Reply::Hang).top(QUICK),
        redirect(
            "301",
            || {
                Reply::Raw(
                    b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_vec(),
                )
            },
            301,
        ),
        redirect(
            "304",
            || Reply::Raw(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()),
            304,
        ),
        redirect(
            "307",
            || {
                Reply::Raw(
                    b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://CANARY/\r\nContent-Length: 6\r\n\r\nCANARY"
                        .to_vec(),
                )
            },
            307,
        ),
    ]);
}

#[test]
fn an_upstream_that_cannot_be_reached() {
    for (protocol, tls) in Protocol::BOTH.into_iter().zip([false, true]) {
        let nobody = Nobody::new();
        let (url, kind) = if tls {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            std::thread::spawn(move || {
                let (mut socket, _) = listener.accept().unwrap();
                socket.write_all(b"220 no TLS here\r\n").unwrap();
            });
            (format!("https://{address}"), "tls")
        } else {
            (nobody.url(), "refused")
        };
        // Any certificate makes a trust store.
        let trusted = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let environment = Environment {
            trust: vec![trusted.cert.der().clone()],
        };
        let gateway = Gateway::from_text(&text(&url, "", &verify("")), &environment);
        let answer = Message::post("{}").token().over(protocol, &gateway);
        let answer = answer.unwrap();
        assert_eq!(
            (answer.is_own().status, answer.text()),
            (502, "no usable answer\n")
        );
        let story = gateway.finish();
        let reason = format!("upstream_{kind}");
        assert_eq!(story.outcomes(), [("error", reason.as_str())]);
        let series = format!(r#"countersign_upstream_errors_total{{kind="{kind}",route="redox","#);
        assert_eq!(story.sum(&series), 1.0);
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_completed() {
    let heads: [&[u8]; 2] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for head in heads {
        let backend = Backend::with(move |_| Reply::RawAndClose(head.to_vec()));
        let gateway = Gateway::before(&backend);
        let mut connection = gateway.connect_plain();
        let bytes = connection.send(Message::post("{}").token().bytes()).rest();
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.is_empty() || text.contains("half") && !text.ends_with("0\r\n\r\n"),
            "{text}"
        );
        let message = Message::post("{}").token();
        assert_eq!(message.over(Protocol::Http2, &gateway), None);
        let story = gateway.finish();
        assert_eq!(story.outcomes(), [("error", "upstream_truncated"); 2]);
        assert_eq!(backend.requests().len(), 2, "nothing is sent twice");
    }
}

#[test]
fn requests_that_are_too_slow() {
    const QUICK: &str = "timeouts: { request_head: 100ms, request_body_idle: 100ms }";
    let head = "POST /redox HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n";
    let cases = [
        ("a head", "POST /red".to_owned(), "none"),
        (
            "a body that is looked at",
            format!("{head}verification-token: {TOKEN}\r\n\r\n{{").replace("9999", "10"),
            "redox",
        ),
        (
            "a body on its way",
            format!("{head}verification-token: {TOKEN}\r\n\r\n{{"),
            "redox",
        ),
    ];
    for (name, bytes, route) in cases {
        let backend = Backend::ok();
        let gateway = Gateway::with(&backend, QUICK, "");
        let mut connection = gateway.connect();
        let answer = connection.send(bytes).answer();
        assert_eq!(
            (answer.is_own().status, answer.text()),
            (408, "request too slow\n"),
            "{name}"
        );
        assert!(connection.is_closed(), "{name}");
        let story = gateway.finish();
        assert_eq!(story.outcomes(), [("rejected", "read_timeout")], "{name}");
        assert_eq!(story.only_line()["route"], route, "{name}");
        assert_eq!(
            story.value(&format!(
                r#"countersign_responses_total{{code="408",route="{route}"}}"#
            )),
            1.0
        );
    }
}

#[test]
fn a_route_in_maintenance_answers_challenges_only() {
    const MAINTENANCE: &str = "maintenance: true";
    run([
        Case::refused("a message", "maintenance", Message::post("{}").token())
            .after_token()
            .route(MAINTENANCE),
        Case::refused("a wrong token", "token_missing", Message::post("{}")).route(MAINTENANCE),
        Case::answered("a POST challenge", "post", challenge(TOKEN, CHALLENGE)).route(MAINTENANCE),
        Case::answered(
            "a GET challenge",
            "get",
            get(&format!("challenge={CHALLENGE}")).token(),
        )
        .route(MAINTENANCE),
        Case::refused(
            "a message, where refusals are silent",
            "maintenance",
            Message::post("{}").token(),
        )
        .after_token()
        .route("maintenance: true\non_reject: close"),
    ]);
}

#[test]
fn a_refused_sender_may_be_told_nothing() {
    let cases = [
        (
            "token_mismatch",
            Message::post("{}").header("verification-token", WRONG),
        ),
        ("token_missing", Message::post(vec![b'x'; 100_000])),
        ("method_not_allowed", Message::new("PUT", "/redox")),
        (
            "header_alias",
            Message::post("{}").header("verification_token", TOKEN),
        ),
        ("challenge_malformed", challenge(TOKEN, "")),
        ("body_too_large", Message::post(vec![b'x'; 2000]).token()),
    ];
    for (reason, message) in cases {
        for protocol in Protocol::BOTH {
            let backend = Backend::ok();
            let gateway = Gateway::with(&backend, "limits: { body: 1KiB }", "on_reject: close");
            if protocol == Protocol::Http1 {
                let mut connection = gateway.connect();
                let bytes = connection.send(message.bytes()).rest();
                assert_eq!(bytes, b"", "{reason}");
            } else {
                assert_eq!(message.over(protocol, &gateway), None, "{reason}");
            }
            assert_eq!(backend.requests().len(), 0, "{reason}");
            let story = gateway.finish();
            assert_eq!(story.outcomes(), [("rejected", reason)]);
            assert!(story.only_line().get("status").is_none(), "{reason}");
            assert_eq!(story.sum("countersign_responses_total{"), 0.0, "{reason}");
            assert_eq!(
                story.value(&format!(
                    r#"countersign_rejected_requests_total{{reason="{reason}",route="redox",sender="other"}}"#
                )),
                1.0
            );
        }
    }
}

#[test]
fn a_silent_route_still_speaks_to_the_right_sender() {
    const SILENT: &str = "on_reject: close";
    run([
        Case::forwarded("a message", Message::post("{}").token()).route(SILENT),
        Case::answered("a challenge", "post", challenge(TOKEN, CHALLENGE)).route(SILENT),
        Case::failed("an upstream failure", "reset", || Reply::Reset).route(SILENT),
        Case::refused(
            "another path",
            "no_route",
            Message::post("").target("/other"),
        )
        .route(SILENT),
    ]);
}

#[test]
fn a_refused_request_keeps_its_connection_when_that_is_cheap() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    let wrong = Message::post(vec![b'x'; 20_000]).header("verification-token", WRONG);
    for _ in 0..3 {
        assert_eq!(wrong.over_http1(&mut connection).unwrap().status, 401);
    }
    let right = Message::post("{}").token();
    assert_eq!(right.over_http1(&mut connection).unwrap().status, 200);
    let story = gateway.finish();
    assert_eq!(story.lines.len(), 4);
    assert_eq!(story.sum("countersign_tls_handshakes_total{"), 1.0);
}

#[test]
fn a_refusal_reaches_a_sender_that_is_still_sending() {
    let head = "POST /redox HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000000\r\n\r\n";
    let gateway = Gateway::before(&Backend::ok());
    for mut connection in [gateway.connect(), gateway.connect_plain()] {
        connection.send(head).send(vec![b'x'; 30_000]);
        assert_eq!(connection.answer().is_own().status, 401);
        connection.send(vec![b'x'; 30_000]);
        assert!(connection.is_closed());
    }
}

#[test]
fn an_answer_to_head_has_no_body_that_would_be_in_the_way() {
    let gateway = Gateway::before(&Backend::ok());
    let head = Message::new("HEAD", "/redox").token();
    let good = Message::post("{}").token();
    let mut http1 = gateway.connect();
    let mut http2 = gateway.connect_http2();
    for _ in 0..2 {
        assert_eq!(head.over_http1(&mut http1).unwrap().status, 405);
        assert_eq!(good.over_http1(&mut http1).unwrap().text(), "received");
        assert_eq!(head.over_http2(&mut http2).unwrap().body, b"");
        assert_eq!(good.over_http2(&mut http2).unwrap().text(), "received");
    }
}
