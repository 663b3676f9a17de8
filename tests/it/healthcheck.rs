//! `countersign healthcheck`: the question that a container asks of itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::drain::wait_until;
use crate::support::{Backend, Connection, PATIENCE, Place, Program, Reply, TOKEN, text};

/// Asks, in this place and without any variable.
fn healthcheck(place: &Place, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("healthcheck")
        .args(arguments)
        .current_dir(place.path(""))
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Exit code, standard output, standard error.
fn told(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = healthcheck(place, arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A configuration that has an admin address and else nothing that could start.
fn only_admin(address: &str) -> Place {
    Place::new(&format!(
        "admin: {{ address: \"{address}\" }}\n\
         routes:\n  - path: /redox\n    verify: {{ scheme: redox, tokens: [{{ id: a, file: /absent }}] }}\n"
    ))
}

#[test]
fn it_is_ready_until_it_is_told_to_stop() {
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let backend = Backend::with(
        move |_| match released.lock().unwrap().recv_timeout(PATIENCE) {
            Ok(()) => Reply::Ok("late"),
            Err(_) => Reply::Reset,
        },
    );
    let upstream = format!("http://{}", backend.address());
    let place = Place::new(&text(&upstream, "log: { format: json }\n", ""));
    let program = Program::start(&mut place.command());
    let admin = program.admin;
    let asked = only_admin(&admin.to_string());
    let ready = (
        Some(0),
        format!("http://{admin}/readyz: 200\n"),
        String::new(),
    );
    assert_eq!(told(&asked, &[]), ready);
    // Listens on every address: asked on one.
    let everywhere = only_admin(&format!("0.0.0.0:{}", admin.port()));
    assert_eq!(told(&everywhere, &["-c", "gateway.yaml"]), ready);
    let url = format!("http://{admin}");
    assert_eq!(told(&asked, &["--url", &url]), ready);
    let (code, _, err) = told(&asked, &["--url", &format!("{url}/absent")]);
    assert_eq!(code, Some(1));
    assert!(err.contains("404, expected 200"), "{err}");

    let mut connection = Connection::plain(program.plain);
    connection.post(&format!("verification-token: {TOKEN}\r\n"), b"{}");
    backend.wait_for(1);
    program.signal("-TERM");
    wait_until("the end of readiness", || {
        let (code, out, err) = told(&asked, &[]);
        code == Some(1) && out.is_empty() && err.contains("/readyz: 503, not ready\n  help: ")
    });
    release.send(()).unwrap();
    assert_eq!(connection.answer().status, 200);
    assert_eq!(program.end(), Some(0));
    let (code, out, err) = told(&asked, &[]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("cannot connect"), "{err}");
}

#[test]
fn without_an_address_there_is_a_finding_and_no_question() {
    let cases = [
        ("admin: off\n", "the admin listener is off"),
        ("admin: { address: \"127.0.0.1:0\" }\n", "any free port"),
        ("admin: { address: nonsense }\n", "gateway.yaml:1:"),
    ];
    for (configuration, part) in cases {
        let (code, out, err) = told(&Place::new(configuration), &[]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{configuration}");
        assert!(err.contains(part), "{configuration}: {err}");
    }
    let place = Place::new("admin: off\n");
    for arguments in [
        &["-c", "absent.yaml"][..],
        &["--url", "https://127.0.0.1:9090"],
    ] {
        assert_eq!(told(&place, arguments).0, Some(1), "{arguments:?}");
    }
    for arguments in [
        &["--url", "http://127.0.0.1:9", "-c", "gateway.yaml"][..],
        &["--timeout", "0"],
        &["--timeout", "soon"],
    ] {
        assert_eq!(told(&place, arguments).0, Some(2), "{arguments:?}");
    }
}

/// Somebody who accepts one connection, says this and then what `rest` says.
fn somebody(
    says: &'static [u8],
    rest: impl FnOnce(&mut std::net::TcpStream) + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(says).unwrap();
        rest(&mut stream);
    });
    address
}

#[test]
fn who_is_not_a_gateway_is_not_healthy() {
    let place = Place::new("");
    // Reads to the end, so that its own end is no reset.
    let leave = |stream: &mut std::net::TcpStream| {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let cases: [(&'static [u8], &str); 4] = [
        (b"", "no answer"),
        (b"HTTP/1.1 20", "no answer"),
        (b"SSH-2.0-somebody\r\n", "not HTTP"),
        (&[b'x'; 64 * 1024], "not HTTP"),
    ];
    for (says, part) in cases {
        let url = format!("http://{}", somebody(says, leave));
        let (code, out, err) = told(&place, &["--url", &url]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.contains(part), "{part}: {err}");
        assert!(!err.contains("somebody"), "{err}");
    }
}

#[test]
fn one_deadline_bounds_all_of_it() {
    let place = Place::new("");
    let drip = |stream: &mut std::net::TcpStream| {
        // A byte now and then keeps no deadline alive. Ends with the connection.
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let silent = |stream: &mut std::net::TcpStream| {
        let _ = stream.read_to_end(&mut Vec::new());
    };
    for address in [somebody(b"", silent), somebody(b"", drip)] {
        let begun = Instant::now();
        let url = format!("http://{address}");
        let (code, _, err) = told(&place, &["--url", &url, "--timeout", "1"]);
        assert_eq!(code, Some(1));
        assert!(err.contains("not within 1 s"), "{err}");
        assert!(begun.elapsed() < PATIENCE);
    }
}
