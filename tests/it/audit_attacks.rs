//! The audit trail against somebody who may write its file, hold its lock, or hang its disk.
//!
//! What `verify` makes of damaged files is in `audit_damage`, and of any series of damages in the fuzz target
//! `audit_trail`.

use std::fs::File;
use std::io::Read as _;
use std::process::Command;

use countersign::telemetry::{Seal, Verdict, Verifier};
use rustix::pty::OpenptFlags;
use sha2::{Digest as _, Sha256};

use crate::audit::{ONE, configuration, ready, token_line, verify};
use crate::drain::wait_until;
use crate::support::{Backend, Gateway, Place};

const BOOT: &str = "00112233445566ff";

/// A chain as somebody makes it who knows how, and has no key.
struct Forger {
    text: String,
    seq: u64,
    previous: String,
}

impl Forger {
    fn new() -> Self {
        Self {
            text: String::new(),
            seq: 0,
            previous: "0".repeat(64),
        }
    }

    fn add(mut self, boot: &str, fields: &str) -> Self {
        self.seq = self.seq.saturating_add(1);
        let (seq, previous) = (self.seq, &self.previous);
        let body = format!(r#"{{"seq":{seq},"boot":"{boot}",{fields},"previous":"{previous}""#);
        let hash = Sha256::digest(&body);
        let hash: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.previous = hash.concat();
        self.text += &format!("{body},\"hash\":\"{}\"}}\n", self.previous);
        self
    }

    fn begun() -> Self {
        Self::new().add(BOOT, r#""event":"chain_started","file":"new""#)
    }
}

fn check(text: &str) -> Verdict {
    let mut verifier = Verifier::new(vec![Seal::Plain], Vec::new());
    verifier.file("audit.jsonl", text.as_bytes()).unwrap();
    verifier.finish(false)
}

#[test]
fn what_is_repeated_to_a_terminal_cannot_steer_it() {
    assert!(check(&Forger::begun().text).is_whole());
    for boot in [
        r"\u001b[2J\u001b[1;1Hthe trail is whole",
        "x",
        "00112233445566FF",
        "",
    ] {
        let forged = Forger::begun().add(boot, r#""event":"ready""#);
        let verdict = check(&forged.text);
        assert!(!verdict.is_whole(), "{boot}");
        let told = format!("{verdict:?}");
        assert!(!told.contains("whole") && !told.contains("[2J"), "{told}");
    }
}

#[test]
fn a_hostile_trail_takes_no_more_memory_than_another() {
    let mut forged = Forger::begun();
    for _ in 0..1000 {
        forged = forged.add(BOOT, r#""event":"records_lost","records":1"#);
    }
    let verdict = check(&forged.text);
    assert!(verdict.is_whole());
    assert_eq!(verdict.notes.len(), 100);
    // One for the process that has not ended.
    assert_eq!(verdict.further_notes, 1000 + 1 - 100);
}

#[test]
fn nothing_at_all_is_no_trail() {
    let verdict = check("");
    assert_eq!(verdict.breaks[0].kind.label(), "truncated");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    std::fs::write(&file, "").unwrap();
    assert!(!verify(&[], &[&file]).0);
    // An empty file beside others is one that could not be written for as long as it had this name.
    let whole = folder.path().join("whole.jsonl");
    std::fs::write(&whole, Forger::begun().text).unwrap();
    assert!(verify(&[], &[&file, &whole]).0);
}

#[test]
fn numbers_end_somewhere_and_nothing_comes_behind() {
    let mut forged = Forger::begun();
    forged.seq = u64::MAX - 2;
    let mut verifier = Verifier::new(vec![Seal::Plain], Vec::new());
    let from = forged.text.len();
    forged = forged.add(BOOT, r#""event":"chain_started","file":"new""#);
    forged = forged.add(BOOT, r#""event":"ready""#);
    verifier
        .file("last", &forged.text.as_bytes()[from..])
        .unwrap();
    assert!(verifier.finish(false).is_whole());
    forged = forged.add(BOOT, r#""event":"ready""#);
    let verdict = check(&forged.text[from..]);
    assert!(!verdict.is_whole());
}

#[test]
fn a_key_file_is_read_alike_by_the_gateway_and_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("audit.jsonl"), Forger::begun().text).unwrap();
    let said = |length: usize, end: &str| {
        std::fs::write(at("key"), "k".repeat(length) + end).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["audit", "verify", "--key-file"])
            .args([at("key"), at("audit.jsonl")])
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let configured = |length: usize, end: &str| {
        std::fs::write(at("key"), "k".repeat(length) + end).unwrap();
        let text = std::fs::read(at("key")).unwrap();
        countersign::config::read_secret(text.as_slice()).is_ok()
    };
    for (length, end, fits) in [
        (4096, "", true),
        (4095, "\n", true),
        (4096, "\n", false),
        (4095, "\r\n", false),
        (4097, "", false),
    ] {
        let text = said(length, end);
        assert_eq!(
            !text.contains("larger than 4 KiB"),
            fits,
            "{length}: {text}"
        );
        assert_eq!(configured(length, end), fits, "{length}");
    }
    assert!(said(0, "\n").contains("it is empty"));
}

/// Somebody who may read a file can lock it for as long as he likes.
#[test]
fn a_lock_that_is_never_given_back_holds_up_nobody_for_ever() {
    let backend = Backend::ok();
    let place = Place::new(&configuration(&backend, ONE, ""));
    place.write_certificate();
    let file = place.path("audit.jsonl");
    let holder = File::create(&file).unwrap();
    holder.lock().unwrap();
    let output = place.command().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("another process holds its lock"), "{said}");
    holder.unlock().unwrap();

    let top = format!(
        "audit: {{ file: \"{}\", on_failure: strict }}",
        file.display()
    );
    let gateway = Gateway::with(&backend, &top, "");
    assert_eq!(status(&gateway), 200);
    holder.lock().unwrap();
    // Its record is the first that has to wait.
    assert_eq!(status(&gateway), 200);
    gateway.wait_for_metric("countersign_audit_failing 1");
    assert_eq!(status(&gateway), 503);
    holder.unlock().unwrap();
    gateway.wait_for_metric("countersign_audit_failing 0");
    assert_eq!(status(&gateway), 200);
    gateway.finish();
    let (whole, report) = verify(&["--closed"], &[&file]);
    assert!(whole, "{report:#}");
}

fn status(gateway: &Gateway) -> u16 {
    let answer = gateway.connect().post(&token_line(), b"{}").answer();
    answer.status
}

/// A terminal that nobody reads takes some kilobytes, and then no more: like a disk that does not answer.
#[test]
fn a_write_that_does_not_come_back_stops_strict_however_few_messages_there_are() {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let terminal = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let terminal = terminal.into_string().unwrap();
    let backend = Backend::ok();
    let top = format!("audit: {{ file: {terminal}, on_failure: strict }}");
    let gateway = Gateway::with(&backend, &top, "");
    // More than the terminal takes, and far fewer than the queue has room for. On a busy machine what does not come back
    // may have been noticed before the last of them.
    let mut connection = gateway.connect_plain();
    for _ in 0..200 {
        match connection.post(&token_line(), b"{}").answer().status {
            200 => {}
            status => {
                assert_eq!(status, 503);
                break;
            }
        }
    }
    drop(connection);
    wait_until("no readiness", || ready(&gateway).0 == 503);
    assert_eq!(status(&gateway), 503);
    gateway.wait_for_metric("countersign_audit_failing 1");
    let forwarded = backend.requests().len();
    assert_eq!(status(&gateway), 503);
    assert_eq!(backend.requests().len(), forwarded);
    let reader = std::thread::spawn(move || {
        let mut read = Vec::new();
        // Ends with an error when the other side is closed.
        let _ = File::from(master).read_to_end(&mut read);
        read
    });
    gateway.wait_for_metric("countersign_audit_failing 0");
    assert_eq!(status(&gateway), 200);
    gateway.finish();
    let read = reader.join().unwrap();
    let trail = String::from_utf8(read).unwrap().replace("\r\n", "\n");
    let verdict = check(&trail);
    assert!(verdict.is_whole(), "{verdict:?}");
    assert_eq!(trail.matches("\"message_accepted\"").count(), forwarded + 1);
}
