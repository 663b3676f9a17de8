//! The audit trail of the real gateway: one record for everything, through rotations, failures, restarts, successors.
//!
//! Whether a trail is whole is asked of `countersign audit verify`, and `tests/it/audit_damage.rs` shows that it finds
//! what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::drain::wait_until;
use crate::support::{
    Backend, CHALLENGE, Connection, Gateway, Left, OLD_TOKEN, Place, Program, Reply, TOKEN, text,
};

pub(crate) fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

/// The setting, with the trail in this folder.
pub(crate) fn setting(folder: &Path, more: &str) -> String {
    format!(
        "audit: {{ file: \"{}/audit.jsonl\"{more} }}",
        folder.display()
    )
}

/// All records of a file.
pub(crate) fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn events(records: &[Value]) -> Vec<&str> {
    let events = records
        .iter()
        .map(|record| record["event"].as_str().unwrap());
    events.collect()
}

/// What `audit verify` says: whether the trail is whole, and its report.
pub(crate) fn verify(arguments: &[&str], files: &[&Path]) -> (bool, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["audit", "verify", "--format", "json"])
        .args(arguments)
        .args(files)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["whole"], output.status.success());
    (output.status.success(), report)
}

fn assert_whole(arguments: &[&str], files: &[&Path]) -> Value {
    let (whole, report) = verify(arguments, files);
    assert!(whole, "{report:#}");
    report
}

/// One request of each kind; the events they are to leave, by their request ids.
fn play(gateway: &Gateway) {
    let token = token_line();
    let challenge = |token: &str| {
        format!("{{\"verification-token\":\"{token}\",\"challenge\":\"{CHALLENGE}\"}}")
    };
    let post = |headers: &str, body: &str, status: u16| {
        let answer = gateway.connect().post(headers, body.as_bytes()).answer();
        assert_eq!(answer.status, status, "{headers} {body}");
    };
    post(&token, "{}", 200);
    post("", "{}", 401);
    post("", &challenge(TOKEN), 200);
    post("", &challenge("CANARY-wrong-0123456789"), 401);
    post(&token, "fail", 502);
    // Nothing that a request could be read from.
    let rest = gateway.connect_plain().send("CANARY\r\n\r\n").rest();
    assert!(rest.starts_with(b"HTTP/1.1 400"));
    // A sender that does not wait.
    let mut leaving = gateway.connect_plain();
    leaving.post(&token, b"hang");
}

fn moody() -> Backend {
    Backend::with(|request| match request.body.as_slice() {
        b"fail" => Reply::Reset,
        b"hang" => Reply::Hang,
        _ => Reply::Ok("ok"),
    })
}

#[test]
fn every_request_has_exactly_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let backend = moody();
    let gateway = Gateway::with(&backend, &setting(folder.path(), ""), "");
    play(&gateway);
    gateway.wait_for_metric(
        r#"countersign_requests_total{listener="plain",outcome="error",route="redox"} 1"#,
    );
    let story = gateway.finish();
    let file = folder.path().join("audit.jsonl");
    let records = records(&file);
    let requests = records
        .iter()
        .filter(|record| record["request_id"].is_string());
    let requests: Vec<&Value> = requests.collect();
    assert_eq!(requests.len(), story.lines.len());
    let by_id = |lines: &[&Value]| -> BTreeMap<String, Value> {
        let pairs = lines.iter().map(|line| {
            let id = line["request_id"].as_str().unwrap().to_owned();
            (id, (*line).clone())
        });
        pairs.collect()
    };
    let told = by_id(&requests);
    let logged = by_id(&story.lines.iter().collect::<Vec<_>>());
    assert_eq!(told.len(), requests.len(), "an id twice");
    let mut seen = BTreeSet::new();
    for (id, line) in logged {
        let record = &told[&id];
        for key in [
            "time",
            "listener",
            "route",
            "reason",
            "token_id",
            "method",
            "status",
            "client",
            "received_bytes",
            "sent_bytes",
            "duration_s",
            "upstream",
        ] {
            assert_eq!(record[key], line[key], "{key} of {record}");
        }
        assert_eq!(record["tls"], line["listener"] == "public");
        let event = record["event"].as_str().unwrap();
        let outcome = line["outcome"].as_str().unwrap();
        let reason = line["reason"].as_str().unwrap_or_default();
        seen.insert(format!("{event} {outcome} {reason}"));
    }
    let expected = [
        "challenge_answered challenge ",
        "challenge_refused rejected token_mismatch",
        "client_left error client_closed",
        "message_accepted forwarded ",
        "message_refused rejected malformed",
        "message_refused rejected token_missing",
        "upstream_failed error upstream_reset",
    ];
    assert_eq!(seen, expected.map(str::to_owned).into());
    assert_eq!(events(&records).last(), Some(&"stopped"));
    for event in ["message_accepted", "client_left"] {
        let series = format!("countersign_audit_records_total{{event=\"{event}\"}}");
        assert_eq!(story.value(&series), 1.0, "{event}");
    }
    let report = assert_whole(&["--closed"], &[&file]);
    assert_eq!(report["notes"], Value::Array(Vec::new()), "{report:#}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for canary in [TOKEN, OLD_TOKEN, CHALLENGE, "CANARY"] {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(canary), "{canary} in {text}");
    }
}

pub(crate) fn configuration(backend: &Backend, tokens: &str, more: &str) -> String {
    let url = format!("http://{}", backend.address());
    let route = format!("verify: {{ scheme: redox, tokens: [{tokens}] }}");
    let top = format!(
        "log: {{ format: json }}\nwatch_files: off\naudit: {{ file: audit.jsonl{more} }}\n"
    );
    text(&url, &top, &route).replace(
        "tls: { self_signed: [localhost] }",
        "tls: { certificate: certificate.pem, key: key.pem }",
    )
}

pub(crate) const ONE: &str = "{ id: a, env: REDOX_TOKEN }";
const OTHER: &str = "{ id: b, env: REDOX_TOKEN_OLD }";

#[test]
fn the_life_of_the_process_is_told() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, ONE, ""));
    place.write_certificate();
    let program = Program::start(&mut place.command());
    let taken_up = || {
        program.signal("-HUP");
        program.says("configuration reloaded");
    };
    place.write("gateway.yaml", &configuration(&backend, OTHER, ""));
    taken_up();
    place.write_certificate();
    taken_up();
    place.write(
        "gateway.yaml",
        &configuration(&backend, OTHER, ", on_failure: strict"),
    );
    program.signal("-HUP");
    program.line(|line| line["settings"] == "audit");
    place.write("gateway.yaml", "routes: [");
    program.signal("-HUP");
    program.says("the configuration is not valid; the one in force stays");
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));

    let file = place.path("audit.jsonl");
    let records = records(&file);
    let expected = [
        "chain_started",
        "started",
        "configuration_loaded",
        "certificate_changed",
        "ready",
        "reload_accepted",
        "tokens_changed",
        "reload_accepted",
        "certificate_changed",
        "reload_refused",
        "reload_refused",
        "draining",
        "stopped",
    ];
    // Certificates are told of as soon as they are in place, and the reload before that.
    assert_eq!(events(&records), expected, "{records:#?}");
    assert_eq!(records[0]["file"], "new");
    assert_eq!(records[1]["version"], env!("CARGO_PKG_VERSION"));
    let loaded = records[2]["configuration"].as_str().unwrap();
    assert_eq!(loaded.len(), 64);
    assert_eq!(records[3]["names"][0], "localhost");
    assert!(records[3]["serial"].is_string() && records[3]["not_after"].is_string());
    assert_eq!(records[5]["trigger"], "signal");
    assert_eq!(records[5]["configuration_before"], loaded);
    assert_ne!(records[5]["configuration"], loaded);
    assert_eq!(records[5]["settings"][0], "routes[0].verify.tokens[0].id");
    assert_eq!(records[6]["route"], "redox");
    assert_eq!(records[6]["added"][0], "b");
    assert_eq!(records[6]["removed"][0], "a");
    assert!(
        records[7].get("settings").is_none(),
        "only a file has changed"
    );
    assert_ne!(records[8]["serial"], records[3]["serial"]);
    assert_eq!(records[9]["why"], "restart_needed");
    assert_eq!(records[9]["settings"][0], "audit");
    assert_eq!(records[10]["why"], "not_valid");
    assert_eq!(records[12]["clean"], true);
    assert_whole(&["--closed"], &[&file]);
}

/// Messages on new connections, all the time.
fn traffic(gateway: &Gateway, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    let (address, stop) = (gateway.plain_address(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut count = 0;
        let mut connection = Connection::plain(address);
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
            count += 1;
        }
        count
    })
}

#[test]
fn a_rotation_under_traffic_loses_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::ok();
    let gateway = Gateway::with(&backend, &setting(folder.path(), ""), "");
    let file = folder.path().join("audit.jsonl");
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = traffic(&gateway, &stop);
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 1..=3 {
        wait_until("records of requests", || {
            file.exists() && events(&whole_records(&file)).contains(&"message_accepted")
        });
        let old = folder.path().join(format!("audit.jsonl.{number}"));
        std::fs::rename(&file, &old).unwrap();
        files.push(old);
    }
    wait_until("the last file", || {
        file.exists() && events(&whole_records(&file)).contains(&"message_accepted")
    });
    stop.store(true, Ordering::Relaxed);
    let sent = traffic.join().unwrap();
    gateway.finish();
    files.push(file);
    let all: Vec<Value> = files.iter().flat_map(|file| records(file)).collect();
    let accepted = events(&all)
        .iter()
        .filter(|event| **event == "message_accepted")
        .count();
    assert_eq!(accepted, sent);
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    assert_whole(&["--closed"], &files);
    // Without one of them something is missing, and the last one alone says after what it begins.
    let (whole, report) = verify(&[], &[files[0], files[2], files[3]]);
    assert!(!whole);
    assert_eq!(report["breaks"][0]["kind"], "removed");
    let last = assert_whole(&[], &files[3..]);
    assert!(
        last["notes"][0]
            .as_str()
            .unwrap()
            .contains("begins after record")
    );
}

/// The records of a file that is being written.
fn whole_records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    let lines = text[..end].lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_signal_begins_the_next_file_at_once() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, ONE, ""));
    place.write_certificate();
    let program = Program::start(&mut place.command());
    let (file, old) = (place.path("audit.jsonl"), place.path("audit.jsonl.1"));
    wait_until("the first records", || {
        events(&whole_records(&file)).contains(&"ready")
    });
    std::fs::rename(&file, &old).unwrap();
    program.signal("-USR1");
    wait_until("the next file", || {
        file.exists() && !whole_records(&file).is_empty()
    });
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));
    assert_eq!(
        events(&records(&file)),
        ["chain_started", "draining", "stopped"]
    );
    assert_whole(&["--closed"], &[&old, &file]);
}

#[test]
fn a_restart_goes_on_and_tells_of_a_torn_end() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, ONE, ""));
    place.write_certificate();
    let file = place.path("audit.jsonl");
    let run = || {
        let program = Program::start(&mut place.command());
        program.signal("-TERM");
        assert_eq!(program.end(), Some(0));
    };
    run();
    let first = records(&file);
    run();
    let both = records(&file);
    assert_eq!(both[first.len()]["event"], "chain_started");
    assert_eq!(both[first.len()]["file"], "continued");
    assert_eq!(
        both[first.len()]["previous"],
        first[first.len() - 1]["hash"]
    );
    assert_ne!(both[first.len()]["boot"], first[0]["boot"]);
    assert_whole(&["--closed"], &[&file]);

    // As a crash leaves it.
    let torn = br#"{"seq":99,"boot":"half a"#;
    let mut open = std::fs::File::options().append(true).open(&file).unwrap();
    open.write_all(torn).unwrap();
    let (whole, report) = verify(&[], &[&file]);
    assert!(!whole);
    assert_eq!(report["breaks"][0]["kind"], "truncated");
    run();
    let text = std::fs::read_to_string(&file).unwrap();
    let after: Value = serde_json::from_str(text.lines().nth(both.len() + 1).unwrap()).unwrap();
    assert_eq!(after["torn_bytes"], torn.len());
    let report = assert_whole(&["--closed"], &[&file]);
    assert!(
        report["notes"][0]
            .as_str()
            .unwrap()
            .contains("a process ended while it wrote")
    );
    // What was torn cannot be changed either.
    std::fs::write(&file, text.replace("half a", "half b")).unwrap();
    let (whole, report) = verify(&[], &[&file]);
    assert!(!whole);
    assert_eq!(report["breaks"][0]["kind"], "edited");
}

#[test]
fn a_killed_process_leaves_a_trail_that_goes_on() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, ONE, ""));
    place.write_certificate();
    let file = place.path("audit.jsonl");
    let program = Program::start(&mut place.command());
    Connection::plain(program.plain)
        .post(&token_line(), b"{}")
        .answer();
    wait_until("a record of the message", || {
        events(&whole_records(&file)).contains(&"message_accepted")
    });
    program.signal("-KILL");
    assert_eq!(program.end(), None);
    let program = Program::start(&mut place.command());
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));
    let report = assert_whole(&[], &[&file]);
    let notes = report["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 1, "{report:#}");
    assert!(notes[0].as_str().unwrap().contains("without `stopped`"));
    let (whole, report) = verify(&["--closed"], &[&file]);
    assert!(!whole);
    assert_eq!(report["breaks"][0]["kind"], "truncated");
}

#[test]
fn a_successor_and_its_predecessor_write_one_chain() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let backend = Backend::with(move |request| {
        if request.body == b"late" {
            released.lock().unwrap().recv().unwrap();
        }
        Reply::Ok("ok")
    });
    let text = configuration(&backend, ONE, "")
        .replace("watch_files", "timeouts: { drain_delay: 0s }\nwatch_files");
    let place = Place::new(&text);
    place.write_certificate();
    let program = Program::start(&mut place.command());
    let plain = program.plain;
    let mut late = Connection::plain(plain);
    late.post(&token_line(), b"late");
    backend.wait_for(1);
    let mut next = text.clone();
    for address in [program.tls, plain, program.admin] {
        next = next.replacen("127.0.0.1:0", &address.to_string(), 1);
    }
    place.write("gateway.yaml", &next);
    program.signal("-USR2");
    let line = program.says("starting a successor");
    let left = Left::told_of(&line);
    program.says("draining: no new connections, requests in flight finish");
    let file = place.path("audit.jsonl");
    // The successor writes while the old one still has a request.
    wait_until("a message to the successor", || {
        let status = Connection::plain(plain)
            .post(&token_line(), b"{}")
            .answer()
            .status;
        assert_eq!(status, 200);
        events(&whole_records(&file)).contains(&"message_accepted")
    });
    release.send(()).unwrap();
    assert_eq!(late.answer().status, 200);
    assert_eq!(program.end(), Some(0));
    left.signal("-TERM");
    wait_until("the end of the successor", || {
        let records = whole_records(&file);
        events(&records)
            .iter()
            .filter(|event| **event == "stopped")
            .count()
            == 2
    });
    let records = records(&file);
    let boots: BTreeSet<&str> = records
        .iter()
        .map(|record| record["boot"].as_str().unwrap())
        .collect();
    assert_eq!(boots.len(), 2);
    let last_of_first = records
        .iter()
        .rposition(|record| record["boot"] == records[0]["boot"]);
    let first_of_second = records
        .iter()
        .position(|record| record["boot"] != records[0]["boot"]);
    assert!(
        last_of_first > first_of_second,
        "they did not write at the same time"
    );
    assert_whole(&["--closed"], &[&file]);
}

fn failing(gateway: &Gateway, how: u8) {
    gateway.wait_for_metric(&format!("countersign_audit_failing {how}"));
}

pub(crate) fn ready(gateway: &Gateway) -> (u16, String) {
    let answer = Connection::plain(gateway.admin_address())
        .send("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        .answer();
    (answer.status, answer.text().to_owned())
}

fn status(gateway: &Gateway, headers: &str, body: &str) -> u16 {
    gateway
        .connect()
        .post(headers, body.as_bytes())
        .answer()
        .status
}

#[test]
fn strict_refuses_while_it_cannot_be_written_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let (here, away) = (folder.path().join("here"), folder.path().join("away"));
    std::fs::create_dir(&here).unwrap();
    let backend = Backend::ok();
    let gateway = Gateway::with(
        &backend,
        &setting(&here, ", on_failure: strict"),
        "on_reject: close",
    );
    assert_eq!(status(&gateway, &token_line(), "{}"), 200);
    assert_eq!(ready(&gateway), (200, "ready\n".to_owned()));
    std::fs::rename(&here, &away).unwrap();
    // The record of this one is the first that cannot be written.
    assert_eq!(status(&gateway, &token_line(), "{}"), 200);
    failing(&gateway, 1);
    let before = backend.requests().len();
    let challenge = format!("{{\"verification-token\":\"{TOKEN}\",\"challenge\":\"{CHALLENGE}\"}}");
    let answer = gateway.connect().post(&token_line(), b"{}").answer();
    assert_eq!(answer.status, 503);
    assert!(answer.value("retry-after").is_some());
    assert_eq!(status(&gateway, "", &challenge), 503);
    assert!(
        gateway.connect().post("", b"{}").any_answer().is_none(),
        "refusals go on as usual"
    );
    assert_eq!(ready(&gateway), (503, "audit failing\n".to_owned()));
    assert_eq!(backend.requests().len(), before, "nothing is forwarded");
    std::fs::rename(&away, &here).unwrap();
    failing(&gateway, 0);
    assert_eq!(status(&gateway, &token_line(), "{}"), 200);
    assert_eq!(ready(&gateway), (200, "ready\n".to_owned()));
    let story = gateway.finish();
    assert!(story.value("countersign_audit_write_failures_total") >= 1.0);
    assert_eq!(
        story
            .value("countersign_rejected_requests_total{reason=\"audit_failing\",route=\"redox\",sender=\"other\"}"),
        2.0
    );
    assert_eq!(
        story.value(
            "countersign_challenges_total{method=\"post\",result=\"answered\",route=\"redox\"}"
        ),
        0.0
    );
    // All of them were kept meanwhile.
    let file = here.join("audit.jsonl");
    let records = records(&file);
    let count = |event: &str| {
        events(&records)
            .iter()
            .filter(|other| **other == event)
            .count()
    };
    assert_eq!(count("message_accepted"), 3);
    assert_eq!(
        (count("message_refused"), count("challenge_refused")),
        (2, 1)
    );
    assert_whole(&["--closed"], &[&file]);
    let said = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["audit", "verify", "--key-env", "COUNTERSIGN_AUDIT_KEY"])
        .arg(&file)
        .env("COUNTERSIGN_AUDIT_KEY", "a-key-that-it-never-had")
        .output()
        .unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("it says that it has no key"), "{said}");
}

#[test]
fn a_full_disk_stops_strict_from_the_start_and_nothing_else() {
    let backend = Backend::ok();
    for (more, expected) in [("", 200), (", on_failure: strict", 503)] {
        let top = format!("audit: {{ file: /dev/full{more} }}");
        let gateway = Gateway::with(&backend, &top, "");
        failing(&gateway, 1);
        for _ in 0..3 {
            assert_eq!(status(&gateway, &token_line(), "{}"), expected);
        }
        assert_eq!(status(&gateway, "", "{}"), 401);
        assert_eq!(ready(&gateway).0, expected);
        let story = gateway.finish();
        assert!(story.value("countersign_audit_write_failures_total") >= 1.0);
        assert_eq!(story.value("countersign_audit_failing"), 1.0);
        assert_eq!(
            story.value("countersign_audit_records_total{event=\"started\"}"),
            0.0
        );
    }
}

#[test]
fn without_the_setting_there_is_no_trail() {
    let backend = Backend::ok();
    let gateway = Gateway::before(&backend);
    assert_eq!(status(&gateway, &token_line(), "{}"), 200);
    let story = gateway.finish();
    assert_eq!(story.sum("countersign_audit_"), 0.0);
}

#[test]
fn a_file_that_cannot_be_a_trail_is_no_start() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, ONE, ""));
    place.write_certificate();
    let said = || {
        let output = place.command().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    place.write("audit.jsonl", "shopping list\n");
    let text = said();
    assert!(
        text.contains("cannot open the audit file audit.jsonl: it holds something else"),
        "{text}"
    );
    assert!(text.contains("help:"), "{text}");
    std::fs::remove_file(place.path("audit.jsonl")).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.path("audit.jsonl")).unwrap();
    let text = said();
    assert!(
        text.contains("audit.file: `audit.jsonl` is a symbolic link"),
        "{text}"
    );
    let elsewhere = configuration(&backend, ONE, "").replace("audit.jsonl", "nowhere/audit.jsonl");
    place.write("gateway.yaml", &elsewhere);
    let text = said();
    assert!(
        text.contains("cannot be used: there is no such file"),
        "{text}"
    );
}

#[test]
fn a_key_is_needed_to_check_and_to_forge() {
    const KEY: &str = "CANARY-4ud1t-key-8c1e0f2a9b";
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, ONE, ", key: { file: audit.key }"));
    place.write_certificate();
    place.write("audit.key", &format!("{KEY}\n"));
    place.write("other.key", "another key that is long enough\n");
    let program = Program::start(&mut place.command());
    place.write("audit.key", "CANARY-4ud1t-key-0ther-one-2b7d");
    program.signal("-HUP");
    program.line(|line| line["settings"] == "audit");
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));
    let file = place.path("audit.jsonl");
    place.write("audit.key", &format!("{KEY}\n"));
    let (key, other) = (place.path("audit.key"), place.path("other.key"));
    let key = ["--closed", "--key-file", key.to_str().unwrap()];
    assert_whole(&key, &[&file]);
    assert!(!verify(&["--key-file", other.to_str().unwrap()], &[&file]).0);
    assert!(!verify(&[], &[&file]).0, "without a key it is not genuine");
    let said = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["audit", "verify"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("it is keyed; give its key"), "{said}");
    let by_variable = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["audit", "verify", "--key-env", "COUNTERSIGN_AUDIT_KEY"])
        .arg(&file)
        .env("COUNTERSIGN_AUDIT_KEY", KEY)
        .output();
    assert!(by_variable.unwrap().status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("CANARY"), "{text}");
    let shown = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["config", "show"])
        .current_dir(place.path(""))
        .env("REDOX_TOKEN", TOKEN)
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("file: '***'") && !shown.contains("audit.key"),
        "{shown}"
    );
}
