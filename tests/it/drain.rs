//! Stopping: what is in flight finishes, what is idle goes, nobody new comes in, and a second word is the last.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign::server::Stop;

use crate::support::frames::{Frames, GOAWAY};
use crate::support::{Backend, Connection, Gateway, PATIENCE, Reply, TOKEN, http2_post};

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

/// `countersign run`, killed when it goes.
struct Program {
    child: Child,
    plain: SocketAddr,
    log: std::thread::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Program {
    fn run(backend: &Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        let text = crate::support::text(
            &format!("http://{}", backend.address()),
            "log: { format: json }",
            "",
        );
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["run", "--config"])
            .arg(&file)
            .env("REDOX_TOKEN", TOKEN)
            .env("REDOX_TOKEN_OLD", "another-t0ken-of-some-length")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut addresses = log.by_ref().map_while(Result::ok).filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            let address = line["fields"]["address"]
                .as_str()
                .or(line["address"].as_str())?;
            address.parse().ok()
        });
        let plain = addresses.nth(1).expect("two listeners");
        addresses.next().expect("the admin listener");
        drop(addresses);
        let log = std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            plain,
            log,
            _folder: folder,
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Its exit code; `None` where a signal ended it.
    fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.log.join().unwrap();
                return status.code();
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("still running");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn the_program_drains_when_told_and_exits_0() {
    let (backend, release) = held();
    let program = Program::run(&backend);
    let mut connection = Connection::plain(program.plain);
    connection.post(&token_line(), b"{}");
    backend.wait_for(1);
    program.signal("-HUP");
    program.signal("-TERM");
    wait_until("a refusal", || refused(program.plain));
    release.send(()).unwrap();
    assert_eq!(connection.answer().text(), "late");
    assert_eq!(program.end(), Some(0));
}

#[test]
fn the_program_ends_at_once_when_told_twice() {
    let (backend, _release) = held();
    let program = Program::run(&backend);
    let mut connection = Connection::plain(program.plain);
    connection.post(&token_line(), b"{}");
    backend.wait_for(1);
    program.signal("-TERM");
    wait_until("a refusal", || refused(program.plain));
    program.signal("-INT");
    assert!(connection.is_closed());
    assert_eq!(program.end(), Some(0));
}
