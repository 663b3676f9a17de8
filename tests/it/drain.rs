//! Stopping: what is in flight finishes, what is idle goes, nobody new comes in, and a second word is the last.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign::server::Stop;

use crate::support::frames::{Frames, GOAWAY};
use crate::support::{
    Backend, Connection, Gateway, PATIENCE, Place, Program, Reply, TOKEN, http2_post, text,
};

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

/// A backend that answers when it is told to.
fn held() -> (Backend, Sender<()>) {
    let (release, released) = channel();
    let released = Arc::new(Mutex::new(released));
    let backend = Backend::with(
        move |_| match released.lock().unwrap().recv_timeout(PATIENCE) {
            Ok(()) => Reply::Ok("late"),
            Err(_) => Reply::Reset,
        },
    );
    (backend, release)
}

fn ready(admin: SocketAddr) -> u16 {
    Connection::plain(admin)
        .send("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        .answer()
        .status
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn what_is_in_flight_finishes_and_nobody_new_comes_in() {
    let (backend, release) = held();
    let gateway = Gateway::before(&backend);
    let (mut plain, mut tls) = (gateway.connect_plain(), gateway.connect());
    let (mut idle_plain, mut idle_tls) = (gateway.connect_plain(), gateway.connect());
    let mut idle_http2 = Frames::connect(gateway.tls_address(), &[]);
    let mut http2 = gateway.connect_http2();
    assert_eq!(ready(gateway.admin_address()), 200);
    plain.post(&token_line(), b"{}");
    tls.post(&token_line(), b"{}");
    let in_flight = std::thread::spawn(move || {
        http2.request(http2_post(&[("verification-token", TOKEN)], b"{}"))
    });
    wait_until("three uploads", || backend.requests().len() == 3);
    gateway.stop(Stop::Drain);
    assert_eq!(ready(gateway.admin_address()), 503);
    assert!(idle_plain.is_closed() && idle_tls.is_closed());
    let mut told = false;
    while let Some(frame) = idle_http2.next() {
        told |= frame.kind == GOAWAY;
        if told {
            break;
        }
    }
    assert!(told, "GOAWAY");
    drop(idle_http2);
    for address in [gateway.tls_address(), gateway.plain_address()] {
        wait_until("a refusal", || refused(address));
    }
    for _ in 0..3 {
        release.send(()).unwrap();
    }
    for connection in [&mut plain, &mut tls] {
        let answer = connection.answer();
        assert_eq!((answer.status, answer.text()), (200, "late"));
        assert_eq!(answer.value("connection"), Some("close"));
        assert!(connection.is_closed());
    }
    assert_eq!(in_flight.join().unwrap().unwrap().text(), "late");
    assert_eq!(gateway.finish().outcomes(), [("forwarded", ""); 3]);
}

/// Whoever has connected before the drain began and whose first request is on its way is served, and told to go.
#[test]
fn a_first_request_on_its_way_is_waited_for() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let (mut plain, mut tls) = (gateway.connect_plain(), gateway.connect());
    let (mut half, mut http2) = (gateway.connect_plain(), gateway.connect_http2());
    let mut silent = gateway.connect_plain();
    half.send("POST /redox HTTP/1.1\r\nHost: a\r\n");
    gateway.wait_for_metric(r#"countersign_connections_open{listener="plain"} 3"#);
    gateway.wait_for_metric(r#"countersign_connections_open{listener="public"} 2"#);
    gateway.stop(Stop::Drain);
    wait_until("a refusal", || refused(gateway.tls_address()));
    half.send(format!("{}Content-Length: 2\r\n\r\n{{}}", token_line()));
    for connection in [&mut plain, &mut tls] {
        connection.post(&token_line(), b"{}");
    }
    // All of them are sent before any answer is waited for: they are waited for only so long.
    let request = http2_post(&[("verification-token", TOKEN)], b"{}");
    assert_eq!(http2.request(request).unwrap().status, 200);
    drop(http2);
    for connection in [&mut half, &mut plain, &mut tls] {
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.value("connection")),
            (200, Some("close"))
        );
        assert!(connection.is_closed());
    }
    let began = Instant::now();
    assert!(silent.is_closed());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(gateway.finish().outcomes(), [("forwarded", ""); 4]);
}

/// Whoever was accepted and waits for room has left the kernel's queue: no next process could take him from there.
#[test]
fn whoever_waits_for_room_is_served_when_the_doors_close() {
    let (backend, release) = held();
    let gateway = Gateway::with_room(&backend, "workers: 1", 1);
    let (mut inside, mut waiting) = (gateway.connect_plain(), gateway.connect_plain());
    for connection in [&mut inside, &mut waiting] {
        connection.post(&token_line(), b"{}");
    }
    backend.wait_for(1);
    // Until the gateway has accepted him he would be reset with the socket.
    wait_until("nobody in the queue", || {
        queued(gateway.plain_address()) == 0
    });
    gateway.stop(Stop::Drain);
    backend.wait_for(2);
    for connection in [&mut inside, &mut waiting] {
        release.send(()).unwrap();
        assert_eq!(connection.answer().status, 200);
    }
    drop((inside, waiting));
    assert_eq!(gateway.finish().outcomes(), [("forwarded", ""); 2]);
}

/// Connections of a listening socket that nobody has accepted yet: `rx_queue` of its line in `/proc/net/tcp`.
fn queued(address: SocketAddr) -> u32 {
    let own = format!(":{:04X} 00000000:0000 0A ", address.port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = sockets.lines().find(|line| line.contains(&own)).unwrap();
    let (_, queues) = line.split_once(&own).unwrap();
    u32::from_str_radix(&queues[9..17], 16).unwrap()
}

/// A body that is still coming belongs to a request in flight.
#[test]
fn an_upload_finishes() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    connection.send(format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: 6000\r\n\r\n",
        token_line()
    ));
    connection.send([b'x'; 5000]);
    wait_until("the upload", || backend.connections() == 1);
    gateway.stop(Stop::Drain);
    wait_until("a refusal", || refused(gateway.tls_address()));
    connection.send([b'x'; 1000]);
    assert_eq!(connection.answer().status, 200);
    assert!(connection.is_closed());
    assert_eq!(backend.only_request().body_length, 6000);
}

#[test]
fn the_second_word_is_the_last() {
    let (backend, _release) = held();
    let gateway = Gateway::before(&backend);
    let mut connections = [gateway.connect_plain(), gateway.connect()];
    for connection in &mut connections {
        connection.post(&token_line(), b"{}");
    }
    backend.wait_for(2);
    gateway.stop(Stop::Drain);
    wait_until("a refusal", || refused(gateway.tls_address()));
    let began = Instant::now();
    gateway.stop(Stop::Now);
    for connection in &mut connections {
        assert!(connection.is_closed(), "cut without an answer");
    }
    let story = gateway.finish();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(story.outcomes(), [("error", "drain_timeout"); 2]);
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let (backend, _release) = held();
    let gateway = Gateway::with(&backend, "timeouts: { drain: 300ms }", "");
    let mut connection = gateway.connect();
    connection.post(&token_line(), b"{}");
    backend.wait_for(1);
    gateway.stop(Stop::Drain);
    assert!(connection.is_closed());
    assert_eq!(gateway.finish().outcomes(), [("error", "drain_timeout")]);
}

#[test]
fn a_handshake_that_never_ends_does_not_hold_up_the_drain_for_ever() {
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, "timeouts: { drain: 300ms }", "");
    let mut silent = TcpStream::connect(gateway.tls_address()).unwrap();
    assert_eq!(
        gateway.connect().post(&token_line(), b"{}").answer().status,
        200
    );
    assert_eq!(gateway.finish().outcomes(), [("forwarded", "")]);
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0);
}

fn program(backend: &Backend, settings: &str) -> (Place, Program) {
    let top = format!("log: {{ format: json }}\n{settings}");
    let place = Place::new(&text(&format!("http://{}", backend.address()), &top, ""));
    let program = Program::start(&mut place.command());
    (place, program)
}

#[test]
fn the_program_drains_when_told_and_exits_0() {
    let (backend, release) = held();
    let (_place, program) = program(&backend, "");
    let mut connection = Connection::plain(program.plain);
    connection.post(&token_line(), b"{}");
    backend.wait_for(1);
    program.signal("-HUP");
    program.signal("-TERM");
    wait_until("a refusal", || refused(program.plain));
    program.signal("-HUP");
    program.says("too late to reload or upgrade: this process is stopping");
    release.send(()).unwrap();
    assert_eq!(connection.answer().text(), "late");
    assert_eq!(program.end(), Some(0));
}

#[test]
fn the_program_ends_at_once_when_told_twice() {
    let (backend, _release) = held();
    let (_place, program) = program(&backend, "");
    let mut connection = Connection::plain(program.plain);
    connection.post(&token_line(), b"{}");
    backend.wait_for(1);
    program.signal("-TERM");
    wait_until("a refusal", || refused(program.plain));
    program.signal("-INT");
    assert!(connection.is_closed());
    assert_eq!(program.end(), Some(0));
}

/// Readiness ends first. Whoever comes all the same is served, and told not to come again on this connection.
#[test]
fn readiness_ends_before_anything_else_does() {
    let backend = Backend::ok();
    let (_place, program) = program(&backend, "timeouts: { drain_delay: 1h }");
    let mut connection = Connection::plain(program.plain);
    assert_eq!(
        connection
            .post(&token_line(), b"{}")
            .answer()
            .value("connection"),
        None
    );
    assert_eq!(program.get("/readyz").status, 200);
    program.signal("-TERM");
    program.says("no longer ready; draining follows");
    wait_until("unready", || program.get("/readyz").status == 503);
    assert_eq!(program.get("/healthz").status, 200);
    wait_until("a farewell", || {
        let mut connection = Connection::plain(program.plain);
        let answer = connection.post(&token_line(), b"{}").answer();
        assert_eq!(answer.status, 200);
        answer.value("connection") == Some("close") && connection.is_closed()
    });
    let answer = connection.post(&token_line(), b"{}").answer();
    assert_eq!(
        (answer.status, answer.value("connection")),
        (200, Some("close"))
    );
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));
}
