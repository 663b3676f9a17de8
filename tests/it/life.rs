//! The life of the process beside its service manager: sockets handed over, notices, a successor.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use command_fds::{CommandFdExt, FdMapping};

use crate::drain::wait_until;
use crate::support::{Backend, Connection, Left, PATIENCE, Place, Program, Reply, TOKEN, text};

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

/// Sockets as a service manager opens them, and a configuration that asks for them.
fn sockets(count: usize) -> Vec<TcpListener> {
    let open = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    (0..count).map(open).collect()
}

fn configuration(backend: &Backend, addresses: &[SocketAddr], more: &str) -> String {
    let top = format!("log: {{ format: json }}\n{more}");
    let mut text = text(&format!("http://{}", backend.address()), &top, "");
    for address in addresses {
        text = text.replacen("127.0.0.1:0", &address.to_string(), 1);
    }
    text
}

fn hand_over(command: &mut Command, sockets: &[TcpListener]) {
    let mappings = sockets.iter().zip(3..).map(|(socket, child_fd)| FdMapping {
        parent_fd: OwnedFd::from(socket.try_clone().unwrap()),
        child_fd,
    });
    command.env("LISTEN_FDS", sockets.len().to_string());
    command.fd_mappings(mappings.collect()).unwrap();
}

fn addresses(sockets: &[TcpListener]) -> Vec<SocketAddr> {
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap());
    addresses.collect()
}

#[test]
fn sockets_are_taken_over_by_their_address() {
    let backend = Backend::ok();
    let sockets = sockets(3);
    let addresses = addresses(&sockets);
    let place = Place::new(&configuration(&backend, &addresses, ""));
    // A connection that came before there was a program waits in the socket's queue.
    let mut early = Connection::plain(addresses[1]);
    early.post(&token_line(), b"{}");
    let mut command = place.command();
    let mut reversed: Vec<TcpListener> = sockets
        .iter()
        .map(|socket| socket.try_clone().unwrap())
        .collect();
    reversed.reverse();
    hand_over(&mut command, &reversed);
    let program = Program::start(&mut command);
    assert_eq!(
        (program.tls, program.plain, program.admin),
        (addresses[0], addresses[1], addresses[2])
    );
    assert_eq!(early.answer().status, 200);
    assert_eq!(
        Connection::tls(addresses[0])
            .post(&token_line(), b"{}")
            .answer()
            .status,
        200
    );
    assert_eq!(program.get("/readyz").status, 200);
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));
    // Still open: whoever comes now waits for the next program.
    let mut late = Connection::plain(addresses[1]);
    late.post(&token_line(), b"{}");
    let mut command = place.command();
    hand_over(&mut command, &sockets);
    let program = Program::start(&mut command);
    assert_eq!(late.answer().status, 200);
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));
}

/// More workers than sockets, and more sockets than workers: each socket is served, each worker serves.
#[test]
fn every_socket_is_served_whatever_the_number_of_workers() {
    let backend = Backend::ok();
    let one = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = one.local_addr().unwrap();
    for workers in [1, 3] {
        let more = format!("workers: {workers}");
        let place = Place::new(&configuration(&backend, &[address], &more));
        let mut command = place.command();
        hand_over(
            &mut command,
            &[one.try_clone().unwrap(), one.try_clone().unwrap()],
        );
        let program = Program::start(&mut command);
        for _ in 0..20 {
            let answer = Connection::tls(address).post(&token_line(), b"{}").answer();
            assert_eq!(answer.status, 200);
        }
        program.signal("-TERM");
        assert_eq!(program.end(), Some(0));
    }
}

#[test]
fn a_socket_that_no_listener_asked_for_is_no_start() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, &[], ""));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = place.command();
    hand_over(&mut command, &[socket]);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("was handed a socket on {address}")),
        "{text}"
    );
    assert!(text.contains("ListenStream="), "{text}");
}

/// Collects what a service manager would be told.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    /// Waits for a notice with this line.
    fn hears(&self, line: &str) {
        let mut bytes = [0; 1024];
        loop {
            let length = self.socket.recv(&mut bytes).unwrap();
            let text = std::str::from_utf8(&bytes[..length]).unwrap();
            if text.lines().any(|other| other == line) {
                return;
            }
        }
    }
}

#[test]
fn a_service_manager_is_told_what_happens() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, &[], ""));
    let manager = Manager::new();
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", manager.folder.path().join("notify"));
    command.env("WATCHDOG_USEC", "400000");
    let program = Program::start(&mut command);
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");
    program.signal("-HUP");
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    program.signal("-USR2");
    program.line(|line| {
        line["message"]
            .as_str()
            .is_some_and(|said| said.contains("restart the service instead"))
    });
    program.signal("-TERM");
    manager.hears("STOPPING=1");
    assert_eq!(program.end(), Some(0));
}

/// New connections all the time, one request each, until told to stop; how many there were.
fn knocking(address: SocketAddr, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = Connection::plain(address)
                .post(&token_line(), b"{}")
                .answer();
            assert_eq!(answer.status, 200);
            count += 1;
        }
        count
    })
}

#[test]
fn a_successor_takes_over_without_a_refused_connection() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(
        &backend,
        &[],
        "timeouts: { drain_delay: 200ms }",
    ));
    let copy = place.path("countersign");
    // By another process: what this one has open for writing, the children of other tests have open too until they
    // become a program of their own, and no file can be run while somebody may write to it.
    let copied = Command::new("cp")
        .args([Path::new(env!("CARGO_BIN_EXE_countersign")), &copy])
        .status();
    assert!(copied.unwrap().success());
    let mut command = place.command_of(&copy);
    // The successor's log goes on in the same pipe.
    let program = Program::start(&mut command);
    let (plain, admin) = (program.plain, program.admin);
    let addresses = [program.tls, plain, admin];
    // The successor asks for the ports that the first one was given.
    place.write(
        "gateway.yaml",
        &configuration(&backend, &addresses, "watch_files: off"),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let knocking = knocking(plain, Arc::clone(&stop));

    // A program that cannot start changes nothing.
    std::fs::rename(&copy, place.path("good")).unwrap();
    std::os::unix::fs::symlink("/bin/false", &copy).unwrap();
    program.signal("-USR2");
    program.says("the successor ended before it could serve; this process goes on");
    std::fs::remove_file(&copy).unwrap();
    std::fs::rename(place.path("good"), &copy).unwrap();

    program.signal("-USR2");
    let line = program.says("starting a successor");
    let left = Left::told_of(&line);
    program.says("the successor serves");
    program.says("stopped");
    assert_eq!(program.end(), Some(0));
    let before = backend.requests().len();
    wait_until("a request to the successor", || {
        backend.requests().len() > before + 10
    });
    stop.store(true, Ordering::Relaxed);
    assert!(knocking.join().unwrap() > 10);
    let ready = Connection::plain(admin)
        .send("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        .answer();
    assert_eq!(ready.status, 200);
    left.signal("-TERM");
    wait_until("the end of the successor", || {
        TcpStream::connect(plain).is_err()
    });
}

/// What is in flight when a successor takes over finishes with the process it began with.
#[test]
fn requests_in_flight_outlive_the_take_over() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let backend = Backend::with(
        move |_| match released.lock().unwrap().recv_timeout(PATIENCE) {
            Ok(()) => Reply::Ok("late"),
            Err(_) => Reply::Reset,
        },
    );
    let place = Place::new(&configuration(
        &backend,
        &[],
        "timeouts: { drain_delay: 0s }",
    ));
    let program = Program::start(&mut place.command());
    let mut connection = Connection::plain(program.plain);
    connection.post(&token_line(), b"{}");
    backend.wait_for(1);
    let addresses = [program.tls, program.plain, program.admin];
    place.write(
        "gateway.yaml",
        &configuration(&backend, &addresses, "watch_files: off"),
    );
    program.signal("-USR2");
    let line = program.says("starting a successor");
    let _left = Left::told_of(&line);
    program.says("draining: no new connections, requests in flight finish");
    // The first word to stop that it hears: nothing is cut for it.
    program.signal("-TERM");
    program.says("told to stop: that is under way; once more cuts what is in flight");
    release.send(()).unwrap();
    assert_eq!(connection.answer().text(), "late");
    assert_eq!(program.end(), Some(0));
}

/// With next to no descriptors: those who are in stay in, those who come wait, nobody is lost, nothing spins.
#[test]
fn a_lack_of_descriptors_ends_nothing() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, &[], "failed_verifications: off"));
    let program = Program::start(&mut place.command_after("ulimit -n 140"));
    let mut inside = Connection::plain(program.plain);
    assert_eq!(inside.post(&token_line(), b"{}").answer().status, 200);
    // Far more than there are descriptors for.
    let mut waiting: Vec<Connection> = (0..200).map(|_| Connection::plain(program.plain)).collect();
    let spent = || program.metric("process_cpu_seconds_total");
    let before = spent();
    for _ in 0..50 {
        assert_eq!(inside.post(&token_line(), b"{}").answer().status, 200);
        assert_eq!(program.get("/readyz").status, 200);
    }
    assert!(spent() - before < 1.0, "it spins");
    drop(inside);
    // They come in one after the other, as others leave.
    for mut connection in waiting.drain(..) {
        assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
    }
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));
}
