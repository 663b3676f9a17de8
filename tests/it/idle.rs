//! Connections that have been idle for a while: whatever comes next is served as if they had not, and they end in time.
//!
//! After 300 ms without a request a connection of HTTP/1.1 lets go of what it does not need. Rests here are longer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use countersign::server::Stop;
use rustls::{ClientConnection, Stream};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{
    Answer, Backend, Connection, Gateway, Message, PATIENCE, Reply, TOKEN, tls_config,
};

/// Longer than every timeout set here, shorter than every one that is not.
const SOON: Duration = Duration::from_secs(5);
/// Long enough for a connection to have let go, whatever the machine is busy with.
const REST: Duration = Duration::from_millis(700);
/// Between two bytes of a peer that is slow, not silent.
const TRICKLE: Duration = Duration::from_millis(5);

/// What is done here is done after a rest.
fn rest() {
    std::thread::sleep(REST);
}

fn both(gateway: &Gateway) -> [Connection; 2] {
    [gateway.connect_plain(), gateway.connect()]
}

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

fn request(body: &str) -> Vec<u8> {
    Message::post(body).token().bytes()
}

fn is_received(answer: &Answer) {
    assert_eq!((answer.status, answer.text()), (200, "received"));
    assert_eq!(answer.value("connection"), None);
}

#[test]
fn requests_are_answered_after_a_rest() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connections = both(&gateway);
    for round in 0..4 {
        rest();
        for connection in &mut connections {
            // Some rests are between two, some before one that is pressed for time.
            for _ in 0..=round % 2 {
                is_received(&connection.post(&token_line(), b"{}").answer());
            }
        }
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), 12);
    assert!(requests.iter().all(|request| request.complaint.is_none()));
    drop(connections);
    let story = gateway.finish();
    assert_eq!(story.outcomes(), [("forwarded", ""); 12]);
    assert_eq!(story.sum("countersign_connections_closed_total{"), 2.0);
}

/// More connections with a request on them than may keep what they need for the next one: the others let go at once.
fn crowd(gateway: &Gateway) -> Vec<Connection> {
    let head = "POST /redox HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n";
    let mut crowd: Vec<_> = (0..70).map(|_| gateway.connect_plain()).collect();
    for connection in &mut crowd {
        connection.send(format!("{head}{}\r\n", token_line()));
        assert_eq!(connection.any_answer().unwrap().status, 100);
    }
    crowd
}

#[test]
fn in_a_crowd_requests_are_answered_as_ever() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut crowd = crowd(&gateway);
    let good = request("{}");
    let one_more = |behind: &[u8]| [&good, behind].concat();
    for mut connection in both(&gateway) {
        for _ in 0..3 {
            is_received(&connection.send(&good).answer());
        }
        // With the next one right behind it, whole, in part, or behind an empty line.
        for behind in [&good[..], &good[..40], b"\r\n"] {
            is_received(&connection.send(one_more(behind)).answer());
            let rest = good.strip_prefix(behind).unwrap_or(&good);
            is_received(&connection.send(rest).answer());
        }
    }
    for mut connection in both(&gateway) {
        is_received(
            &connection
                .send(one_more(b"GET / HTTP/1.1 \r\n\r\n"))
                .answer(),
        );
        assert_eq!(connection.answer().is_own().status, 400);
        assert!(connection.is_closed());
    }
    for mut connection in both(&gateway) {
        is_received(&connection.send(&good).answer());
        let close = format!("{}Connection: close\r\n", token_line());
        let answer = connection.post(&close, b"{}").answer();
        assert_eq!(answer.value("connection"), Some("close"));
        assert!(connection.is_closed());
    }
    for mut connection in both(&gateway) {
        is_received(&connection.send(&good).answer());
        connection.finish_sending();
        assert!(connection.is_closed());
    }
    for connection in &mut crowd {
        is_received(&connection.send("{}").answer());
    }
    let requests = backend.requests();
    assert!(requests.iter().all(|request| request.complaint.is_none()));
}

#[test]
fn large_messages_go_both_ways_after_a_rest() {
    const ANSWER: usize = 3_000_000;
    let answer = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\n\r\n").into_bytes(),
        vec![b'a'; ANSWER],
    ];
    let backend = Backend::with(move |_| Reply::Raw(answer.concat()));
    let gateway = Gateway::before(&backend);
    let mut connections = both(&gateway);
    for _ in 0..2 {
        rest();
        for connection in &mut connections {
            let question = vec![b'q'; 2_000_000];
            let answer = connection.post(&token_line(), &question).answer();
            assert!(answer.body == vec![b'a'; ANSWER]);
        }
    }
    let requests = backend.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.body_length == 2_000_000)
    );
}

#[test]
fn a_request_that_begins_after_a_rest_may_come_slowly() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connections = both(&gateway);
    let request = request("{}");
    let (first, second) = request.split_at(30);
    for _ in 0..2 {
        rest();
        for byte in &request {
            for connection in &mut connections {
                connection.send([*byte]);
            }
            std::thread::sleep(TRICKLE);
        }
        for connection in &mut connections {
            is_received(&connection.answer());
        }
        rest();
        for connection in &mut connections {
            connection.send(first);
        }
        rest();
        for connection in &mut connections {
            connection.send(second);
            is_received(&connection.answer());
            // An empty line may stand before a request, and may be all there is for a while.
            connection.send("\r\n");
        }
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), 8);
    assert!(requests.iter().all(|request| request.complaint.is_none()));
}

#[test]
fn a_head_that_begins_after_a_rest_has_its_deadline() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, "timeouts: { request_head: 400ms }", "");
    for mut connection in both(&gateway) {
        is_received(&connection.post(&token_line(), b"{}").answer());
        rest();
        let began = Instant::now();
        connection.send("POST /redox HT");
        assert_eq!(connection.answer().is_own().status, 408);
        assert!(connection.is_closed());
        assert!(began.elapsed() < SOON);
    }
    let story = gateway.finish();
    let rejected = ("rejected", "read_timeout");
    let forwarded = ("forwarded", "");
    assert_eq!(story.outcomes(), [forwarded, rejected, forwarded, rejected]);
}

/// What a line tells of a request begins with its first byte: the time, as the duration.
#[test]
fn a_head_that_comes_slowly_began_when_it_began() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let request = request("{}");
    let (first, second) = request.split_at(30);
    for mut connection in both(&gateway) {
        connection.send(first);
        rest();
        connection.send(second);
        is_received(&connection.answer());
    }
    let ended = OffsetDateTime::now_utc();
    let story = gateway.finish();
    for line in &story.lines {
        let time = OffsetDateTime::parse(line["time"].as_str().unwrap(), &Rfc3339).unwrap();
        let took = Duration::from_secs_f64(line["duration_s"].as_f64().unwrap());
        // Two clocks are read for it, and a busy machine may come between.
        assert!(time + took < ended + REST / 2, "{line}");
    }
}

/// A client whose records the tests may cut.
struct Cutter {
    socket: TcpStream,
    session: ClientConnection,
}

impl Cutter {
    fn connect(gateway: &Gateway) -> Self {
        let mut socket = TcpStream::connect(gateway.tls_address()).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "localhost".try_into().unwrap();
        let mut session = ClientConnection::new(tls_config(&[b"http/1.1"]), name).unwrap();
        session.complete_io(&mut socket).unwrap();
        Self { socket, session }
    }

    fn record(&mut self, text: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.session.writer().write_all(text).unwrap();
        self.session.write_tls(&mut record).unwrap();
        record
    }

    /// Reads until what was answered so far ends like this.
    fn answer(&mut self, end: &str) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let mut bytes = [0; 1024];
            let mut stream = Stream::new(&mut self.session, &mut self.socket);
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "{}", answer.escape_ascii());
            answer.extend_from_slice(&bytes[..count]);
        }
        String::from_utf8(answer).unwrap()
    }
}

#[test]
fn half_a_record_may_come_after_a_rest() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut cutter = Cutter::connect(&gateway);
    for cut in [1, 5, 6, 40] {
        rest();
        let record = cutter.record(&request("{}"));
        let (first, second) = record.split_at(cut);
        cutter.socket.write_all(first).unwrap();
        rest();
        cutter.socket.write_all(second).unwrap();
        let answer = cutter.answer("received");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(backend.requests().len(), 4);
}

/// It is not a request, and buys no time.
#[test]
fn half_a_record_does_not_keep_a_connection_alive() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, "timeouts: { keep_alive: 1s }", "");
    let mut cutter = Cutter::connect(&gateway);
    let began = Instant::now();
    let record = cutter.record(&request("{}"));
    for byte in &record[..30] {
        if cutter.socket.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    gateway.wait_for_metric(
        r#"countersign_connections_closed_total{listener="public",reason="idle"} 1"#,
    );
    assert!(began.elapsed() < SOON);
}

/// What is left of the time goes on running.
#[test]
fn an_idle_connection_ends_when_its_time_is_up() {
    let backend = Backend::ok();
    // Much longer than a rest: the request after it has to come in time.
    let gateway = Gateway::with(&backend, "timeouts: { keep_alive: 2s }", "");
    let mut connections = both(&gateway);
    for used in [false, true] {
        if used {
            connections = both(&gateway);
            rest();
            for connection in &mut connections {
                is_received(&connection.post(&token_line(), b"{}").answer());
            }
        }
        for connection in &mut connections {
            assert!(connection.is_closed() && !connection.was_reset());
        }
    }
    let mut connection = gateway.connect();
    is_received(&connection.post(&token_line(), b"{}").answer());
    let began = Instant::now();
    assert!(connection.is_closed());
    // Less what the answer took to come here.
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(1800) && took < SOON,
        "{took:?}"
    );
    let story = gateway.finish();
    let idle = |listener: &str| {
        let series = "countersign_connections_closed_total";
        story.value(&format!(
            "{series}{{listener=\"{listener}\",reason=\"idle\"}}"
        ))
    };
    assert_eq!((idle("plain"), idle("public")), (2.0, 3.0));
}

#[test]
fn a_drain_does_not_wait_for_idle_connections() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connections = both(&gateway);
    for connection in &mut connections {
        is_received(&connection.post(&token_line(), b"{}").answer());
    }
    rest();
    let began = Instant::now();
    gateway.stop(Stop::Drain);
    for connection in &mut connections {
        assert!(connection.is_closed() && !connection.was_reset());
    }
    let story = gateway.finish();
    assert!(began.elapsed() < SOON);
    assert_eq!(story.outcomes(), [("forwarded", ""); 2]);
}

/// An end without a word of TLS may be somebody else's doing.
#[test]
fn an_idle_connection_over_tls_is_told_that_it_ends() {
    let backend = Backend::ok();
    for drains in [false, true] {
        let gateway = Gateway::with(&backend, "timeouts: { keep_alive: 1s }", "");
        let mut cutter = Cutter::connect(&gateway);
        let record = cutter.record(&request("{}"));
        cutter.socket.write_all(&record).unwrap();
        cutter.answer("received");
        if drains {
            rest();
            gateway.stop(Stop::Drain);
        }
        let mut stream = Stream::new(&mut cutter.session, &mut cutter.socket);
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn who_goes_during_a_rest_is_missed() {
    type Go = fn(Connection);
    let ways: [Go; 3] = [drop, Connection::reset, |mut connection| {
        connection.finish_sending();
        assert!(connection.is_closed());
    }];
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connections = Vec::new();
    for go in ways {
        for used in [false, true] {
            for mut connection in both(&gateway) {
                if used {
                    is_received(&connection.post(&token_line(), b"{}").answer());
                }
                connections.push((connection, go));
            }
        }
    }
    rest();
    for (connection, go) in connections {
        go(connection);
    }
    for listener in ["plain", "public"] {
        gateway.wait_for_metric(&format!(
            "countersign_connections_open{{listener=\"{listener}\"}} 0"
        ));
    }
    // TLS has a word for it.
    let mut cutter = Cutter::connect(&gateway);
    rest();
    cutter.session.send_close_notify();
    cutter.session.complete_io(&mut cutter.socket).unwrap();
    let mut stream = Stream::new(&mut cutter.session, &mut cutter.socket);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    gateway.wait_for_metric(r#"countersign_connections_open{listener="public"} 0"#);
    let story = gateway.finish();
    let closed = "countersign_connections_closed_total";
    assert_eq!(
        story.sum(&format!("{closed}{{listener=\"plain\",reason=\"peer\"")),
        6.0
    );
    assert_eq!(
        story.sum(&format!("{closed}{{listener=\"public\",reason=\"peer\"")),
        7.0
    );
}

#[test]
fn several_requests_at_once_are_answered_after_a_rest() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let last = request("last");
    let mut expected = Vec::new();
    let mut connections = both(&gateway);
    for (many, cut) in [(3, 1), (80, 100)] {
        let bodies: Vec<_> = (0..many).map(|number: i32| number.to_string()).collect();
        let requests: Vec<_> = bodies.iter().map(|body| request(body)).collect();
        // Part of one more comes along, and waits.
        let (first, second) = last.split_at(cut);
        let requests = [&requests.concat(), first].concat();
        rest();
        for connection in &mut connections {
            connection.send(&requests);
            for _ in 0..many {
                is_received(&connection.answer());
            }
            expected.extend(bodies.iter().map(|body| body.clone().into_bytes()));
        }
        rest();
        for connection in &mut connections {
            connection.send(second);
            is_received(&connection.answer());
            expected.push(b"last".to_vec());
        }
    }
    let requests = backend.requests();
    let bodies: Vec<_> = requests.into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, expected);
}

/// An answer that takes longer than it takes to call a connection idle.
#[test]
fn waiting_for_an_answer_is_no_rest() {
    let backend = Backend::with(|_| {
        rest();
        Reply::Ok("received")
    });
    let gateway = Gateway::with(&backend, "timeouts: { keep_alive: 600ms }", "");
    for connect in [Gateway::connect_plain, Gateway::connect] {
        let mut connection = connect(&gateway);
        connection.send([request("1"), request("2")].concat());
        for _ in 0..2 {
            is_received(&connection.answer());
        }
        assert!(connection.is_closed());
    }
    let story = gateway.finish();
    assert_eq!(story.outcomes(), [("forwarded", ""); 4]);
}

/// Each request has the names of its own head, however heads come and whatever becomes of the requests between.
#[test]
fn header_names_stay_with_their_request() {
    let backend = Backend::ok();
    let route = format!(
        "upstream: {{ url: \"http://{}\", header_case: preserve }}",
        backend.address()
    );
    let gateway = Gateway::with(&backend, "", &route);
    let names = [
        "X-oDD-0", "x-Odd-0", "X-ODD-1", "x-odd-1", "X-Odd-2", "X-OdD-2", "x-ODD-3",
    ];
    let named = |name: &str| Message::post("{}").token().header(name, "x").bytes();
    let lost = Message::post("")
        .target("/nowhere")
        .header("X-loST", "x")
        .bytes();
    for mut connection in both(&gateway) {
        let many = names.map(named);
        connection.send(many.concat());
        for _ in 0..names.len() {
            is_received(&connection.answer());
        }
        rest();
        for name in names {
            connection.send(named(name));
            is_received(&connection.answer());
        }
        rest();
        connection.send(
            [&many[0], &lost, &many[1], &many[2]]
                .map(Vec::as_slice)
                .concat(),
        );
        for status in [200, 404, 200, 200] {
            assert_eq!(connection.answer().status, status);
        }
    }
    let expected = [&names[..], &names[..], &names[..3]].concat();
    let expected = [&expected[..], &expected[..]].concat();
    let requests = backend.requests();
    let found: Vec<_> = requests
        .iter()
        .map(|request| {
            let headers = request.headers.iter().map(|(name, _)| name.as_str());
            let odd: Vec<_> = headers
                .filter(|name| name.to_ascii_lowercase().starts_with("x-odd"))
                .collect();
            assert_eq!(odd.len(), 1, "{odd:?}");
            odd[0]
        })
        .collect();
    assert_eq!(found, expected);
}
