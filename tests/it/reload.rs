//! Configuration, tokens and certificates change while the gateway runs: all at once or not at all.

use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;

use crate::drain::wait_until;
use crate::support::{
    Backend, Connection, Gateway, OLD_TOKEN, PATIENCE, Place, Program, TOKEN, text, tls_config,
};

const SUCCESSFUL: &str = "countersign_config_last_reload_successful";
const FRESH_TOKEN: &str = "CANARY-fre5h-t0ken-2b9d41e6a0";

fn status(program: &Program, token: &str) -> u16 {
    let line = format!("verification-token: {token}\r\n");
    Connection::plain(program.plain)
        .post(&line, b"{}")
        .answer()
        .status
}

fn reloads(program: &Program, result: &str, trigger: &str) -> f64 {
    program.metric(&format!(
        "countersign_config_reloads_total{{result=\"{result}\",trigger=\"{trigger}\"}}"
    ))
}

/// The certificate that a new connection is shown.
fn certificate(program: &Program) -> Vec<u8> {
    let mut socket = std::net::TcpStream::connect(program.tls).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = rustls::ClientConnection::new(tls_config(&[]), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    session.peer_certificates().unwrap()[0].to_vec()
}

fn configuration(backend: &Backend, tokens: &str) -> String {
    let url = format!("http://{}", backend.address());
    let route = format!("verify: {{ scheme: redox, tokens: [{tokens}] }}");
    let tls = "tls: { certificate: certificate.pem, key: key.pem }";
    text(&url, "log: { format: json }", &route).replace("tls: { self_signed: [localhost] }", tls)
}

fn program(configuration: &str) -> (Place, Program) {
    let place = Place::new(configuration);
    place.write_certificate();
    place.write("token", FRESH_TOKEN);
    let program = Program::start(&mut place.command());
    (place, program)
}

const ENV: &str = "{ id: a, env: REDOX_TOKEN }";
const BOTH: &str = "{ id: a, env: REDOX_TOKEN }, { id: b, env: REDOX_TOKEN_OLD }";
const FILE: &str = "{ id: f, file: token }";

#[test]
fn a_signal_takes_up_a_good_configuration_and_no_other() {
    let backend = Backend::ok();
    let (place, program) =
        program(&configuration(&backend, ENV).replace("log:", "watch_files: off\nlog:"));
    let good = configuration(&backend, BOTH).replace("log:", "watch_files: off\nlog:");
    let mut connection = Connection::plain(program.plain);
    let old_line = format!("verification-token: {OLD_TOKEN}\r\n");
    assert_eq!(connection.post(&old_line, b"{}").answer().status, 401);
    assert_eq!(program.metric(SUCCESSFUL), 1.0);
    place.write("gateway.yaml", &good);
    program.signal("-HUP");
    program.says("configuration reloaded");
    assert_eq!(
        connection.post(&old_line, b"{}").answer().status,
        200,
        "the same connection"
    );
    assert_eq!(reloads(&program, "success", "signal"), 1.0);

    let bad = [
        good.replace("REDOX_TOKEN_OLD", "NOT_SET"),
        good.replace("path: /redox", "pth: /redox"),
        "routes: [".to_owned(),
        String::new(),
        good.replace("key.pem", "none.pem"),
    ];
    for (count, bad) in bad.iter().enumerate() {
        place.write("gateway.yaml", bad);
        program.signal("-HUP");
        let finding =
            program.line(|line| line["level"] == "ERROR" && line["message"] == "configuration");
        assert!(
            finding["line"].is_u64() && finding["expected"].is_string(),
            "{finding}"
        );
        program.says("the configuration is not valid; the one in force stays");
        assert_eq!(program.metric(SUCCESSFUL), 0.0);
        assert_eq!(reloads(&program, "failure", "signal"), count as f64 + 1.0);
        assert_eq!(
            (status(&program, TOKEN), status(&program, OLD_TOKEN)),
            (200, 200)
        );
    }
    std::fs::remove_file(place.path("gateway.yaml")).unwrap();
    program.signal("-HUP");
    program.says("the configuration is not valid; the one in force stays");

    place.write(
        "gateway.yaml",
        &configuration(&backend, ENV).replace("log:", "watch_files: off\nlog:"),
    );
    program.signal("-HUP");
    program.says("configuration reloaded");
    assert_eq!(
        (status(&program, TOKEN), status(&program, OLD_TOKEN)),
        (200, 401)
    );
    assert_eq!(program.metric(SUCCESSFUL), 1.0);
}

#[test]
fn changed_files_are_noticed_without_a_signal() {
    let backend = Backend::ok();
    let (place, program) = program(&configuration(&backend, FILE));
    assert_eq!(
        (status(&program, FRESH_TOKEN), status(&program, TOKEN)),
        (200, 401)
    );
    place.write("token", TOKEN);
    program.says("configuration reloaded");
    assert_eq!(
        (status(&program, FRESH_TOKEN), status(&program, TOKEN)),
        (401, 200)
    );

    let before = certificate(&program);
    let written = place.write_certificate();
    assert_ne!(before, written);
    program.says("configuration reloaded");
    assert_eq!(certificate(&program), written);

    // A key that does not fit: the pair in force stays, and everything else too.
    let stranger = rcgen::KeyPair::generate().unwrap();
    place.write("key.pem", &stranger.serialize_pem());
    program.says("the configuration is not valid; the one in force stays");
    assert_eq!(certificate(&program), written);
    assert_eq!(reloads(&program, "failure", "watch"), 1.0);
    place.write("token", "short");
    program.says("the configuration is not valid; the one in force stays");
    assert_eq!(status(&program, TOKEN), 200);
    let written = place.write_certificate();
    place.write("token", FRESH_TOKEN);
    let both = configuration(&backend, &format!("{FILE}, {ENV}"));
    place.write("gateway.yaml", &both);
    wait_until("the new certificate", || certificate(&program) == written);
    assert_eq!(
        (status(&program, FRESH_TOKEN), status(&program, TOKEN)),
        (200, 200)
    );
}

/// Kubernetes: the file is a link into a folder behind a second link, and the second link is what changes.
#[test]
fn a_swapped_link_is_a_change() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, "{ id: f, file: secrets/token }"));
    place.write_certificate();
    let link = |target: &str, name: &str| {
        let beside = place.path("link");
        std::os::unix::fs::symlink(target, &beside).unwrap();
        std::fs::rename(beside, place.path(name)).unwrap();
    };
    for (folder, token) in [("one", TOKEN), ("two", OLD_TOKEN)] {
        std::fs::create_dir_all(place.path("secrets").join(folder)).unwrap();
        place.write(&format!("secrets/{folder}/token"), token);
    }
    link("one", "secrets/..data");
    link("..data/token", "secrets/token");
    let program = Program::start(&mut place.command());
    assert_eq!(
        (status(&program, TOKEN), status(&program, OLD_TOKEN)),
        (200, 401)
    );
    link("two", "secrets/..data");
    program.says("configuration reloaded");
    assert_eq!(
        (status(&program, TOKEN), status(&program, OLD_TOKEN)),
        (401, 200)
    );
}

#[test]
fn what_only_a_start_takes_up_is_refused_by_name() {
    let backend = Backend::ok();
    let url = format!("http://{}", backend.address());
    let text = text(&url, "", "");
    let mut gateway = Gateway::before(&backend);
    let cases = [
        (
            text.replace("name: public", "name: second"),
            "listeners[0].name",
        ),
        (
            text.replacen("127.0.0.1:0", "127.0.0.2:0", 1),
            "listeners[0].address",
        ),
        (
            text.replacen("127.0.0.1:0\n", "127.0.0.1:0\n    max_connections: 7\n", 1),
            "listeners[0].max_connections",
        ),
        (
            text.replace(
                "insecure_plaintext: true",
                "tls: { self_signed: [localhost] }",
            ),
            "listeners[1].tls",
        ),
        (text.replace("workers: 1", "workers: 2"), "workers"),
        (
            text.replace("admin: { address: \"127.0.0.1:0\" }", "admin: off"),
            "admin",
        ),
        (
            text.replace("workers: 1", "workers: 1\nlog: { level: debug }"),
            "log",
        ),
    ];
    for (changed, setting) in cases {
        let refused = gateway.reload(&changed).unwrap_err();
        assert_eq!(refused, [setting]);
    }
    gateway.reload(&text).unwrap();
    let mut story = gateway.finish();
    assert_eq!(
        story.sum("countersign_config_reloads_total{result=\"failure\""),
        7.0
    );
    assert_eq!(
        story.sum("countersign_config_reloads_total{result=\"success\""),
        1.0
    );
    story.lines.clear();
}

/// A connection keeps the limits it began with; the next one has the new ones.
#[test]
fn limits_of_heads_and_timeouts_change_with_the_next_connection() {
    let backend = Backend::ok();
    let url = format!("http://{}", backend.address());
    let mut gateway = Gateway::before(&backend);
    let line = format!(
        "verification-token: {TOKEN}\r\nX-Pad: {}\r\n",
        "x".repeat(2000)
    );
    let mut before = gateway.connect_plain();
    assert_eq!(before.post(&line, b"{}").answer().status, 200);
    let small = "limits: { header_bytes: 1KiB }";
    gateway.reload(&text(&url, small, "")).unwrap();
    assert_eq!(before.post(&line, b"{}").answer().status, 200);
    assert_eq!(
        gateway.connect_plain().post(&line, b"{}").answer().status,
        431
    );
    let brief = "timeouts: { keep_alive: 200ms }";
    gateway.reload(&text(&url, brief, "")).unwrap();
    assert_eq!(before.post(&line, b"{}").answer().status, 200);
    let began = Instant::now();
    assert!(gateway.connect_plain().is_closed(), "idle for too long");
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Sessions begun before a reload go on where the certificate has not changed.
#[test]
fn sessions_outlive_a_reload_that_leaves_the_certificate() {
    let backend = Backend::ok();
    let url = format!("http://{}", backend.address());
    let mut gateway = Gateway::before(&backend);
    let config = tls_config(&[b"http/1.1"]);
    let post = |gateway: &Gateway| {
        let mut connection = Connection::tls_with(gateway.tls_address(), &config, "localhost");
        let line = format!("verification-token: {TOKEN}\r\n");
        assert_eq!(connection.post(&line, b"{}").answer().status, 200);
    };
    post(&gateway);
    gateway
        .reload(&text(&url, "", "maintenance: false"))
        .unwrap();
    post(&gateway);
    let other = text(&url, "", "").replace("[localhost]", "[other.test]");
    gateway.reload(&other).unwrap();
    post(&gateway);
    let story = gateway.finish();
    let handshakes = |resumed: &str| {
        story.value(&format!(
            "countersign_tls_handshakes_total{{listener=\"public\",resumed=\"{resumed}\",version=\"TLSv1.3\"}}"
        ))
    };
    assert_eq!((handshakes("false"), handshakes("true")), (2.0, 1.0));
    let named = "countersign_tls_certificate_not_after_timestamp_seconds{cert=";
    let certificates: Vec<&str> = story
        .metrics
        .lines()
        .filter(|line| line.starts_with(named))
        .collect();
    assert_eq!(
        certificates.len(),
        1,
        "the former certificate is gone: {certificates:?}"
    );
}

/// What holds beside the requests changes with them.
#[test]
fn watching_and_the_way_out_change_with_a_reload() {
    let backend = Backend::ok();
    let on = configuration(&backend, FILE);
    let set = |settings: &str| on.replace("log:", &format!("{settings}\nlog:"));
    let (place, program) = program(&set("watch_files: off"));
    place.write("gateway.yaml", &set("timeouts: { drain_delay: 0s }"));
    program.signal("-HUP");
    program.says("configuration reloaded");
    // Watched from now on.
    place.write("token", TOKEN);
    let line = program.says("configuration reloaded");
    assert_eq!(line["trigger"], "watch");
    assert_eq!(status(&program, TOKEN), 200);
    program.signal("-TERM");
    let line = program.line(|line| {
        line["message"]
            .as_str()
            .is_some_and(|said| said.contains("drain"))
    });
    assert_eq!(
        line["message"],
        "draining: no new connections, requests in flight finish"
    );
    assert_eq!(program.end(), Some(0));
}
