//! What `countersign audit verify` finds: each kind of damage, and any single change to a real trail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use countersign::telemetry::{Seal, Verdict, Verifier};
use proptest::prelude::*;

use crate::audit::{setting, token_line, verify};
use crate::support::{Backend, Gateway};

/// The lines of a real trail, each with its line break.
fn trail() -> &'static [String] {
    static TRAIL: OnceLock<Vec<String>> = OnceLock::new();
    TRAIL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::ok();
        let gateway = Gateway::with(&backend, &setting(folder.path(), ""), "");
        for _ in 0..4 {
            gateway.connect().post(&token_line(), b"{}").answer();
            gateway.connect().post("", b"{}").answer();
        }
        gateway.finish();
        let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        let lines = text
            .split_inclusive('\n')
            .map(str::to_owned)
            .collect::<Vec<_>>();
        assert!(lines.len() > 12);
        lines
    })
}

fn check(text: &[u8]) -> Verdict {
    let mut verifier = Verifier::new(vec![Seal::Plain], Vec::new());
    verifier.file("audit.jsonl", text).unwrap();
    verifier.finish(true)
}

/// Kind and line of the first break.
fn first(lines: &[String]) -> (&'static str, u64) {
    let verdict = check(lines.concat().as_bytes());
    let found = &verdict.breaks[0];
    (found.kind.label(), found.line)
}

#[test]
fn each_kind_of_damage_is_called_by_its_name() {
    let lines = trail();
    assert!(check(lines.concat().as_bytes()).is_whole());
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.to_vec();
        change(&mut lines);
        first(&lines)
    };
    let edited = changed(&|lines| lines[5] = lines[5].replace("\"time\":\"2", "\"time\":\"3"));
    assert_eq!(edited, ("edited", 6));
    assert_eq!(changed(&|lines| drop(lines.remove(5))), ("removed", 6));
    assert_eq!(changed(&|lines| drop(lines.drain(2..7))), ("removed", 3));
    assert_eq!(changed(&|lines| drop(lines.remove(0))), ("removed", 1));
    assert_eq!(
        changed(&|lines| lines.insert(6, lines[5].clone())),
        ("duplicated", 7)
    );
    assert_eq!(
        changed(&|lines| lines.insert(3, "a note\n".to_owned())),
        ("edited", 4)
    );
    // The record that was passed over is missing first, and then stands in the wrong place.
    let mut swapped = lines.to_vec();
    swapped.swap(5, 6);
    let kinds: Vec<_> = check(swapped.concat().as_bytes()).breaks;
    let kinds: Vec<_> = kinds
        .iter()
        .map(|found| (found.kind.label(), found.line))
        .collect();
    assert_eq!(kinds, [("removed", 6), ("reordered", 7)]);
    let last = lines.len() as u64;
    let torn = changed(&|lines| {
        let last = lines.last_mut().unwrap();
        last.truncate(last.len() / 2);
    });
    assert_eq!(torn, ("truncated", last));
    assert_eq!(changed(&|lines| drop(lines.pop())), ("truncated", last - 1));
    let twice = [lines, lines].concat();
    assert_eq!(first(&twice), ("unlinked", last + 1));
}

#[test]
fn a_rewritten_record_breaks_the_chain_behind_it() {
    // As somebody would who knows how hashes are made, and has no key.
    let mut lines = trail().to_vec();
    let body = lines[5].replace("\"time\":\"2", "\"time\":\"3");
    let body = body[..body.len() - 76].to_owned();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&body);
    let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    lines[5] = format!("{body},\"hash\":\"{}\"}}\n", digest.concat());
    assert_eq!(first(&lines), ("edited", 7));
}

#[test]
fn a_missing_end_is_found_by_what_is_known_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let lines = trail();
    let write = |count: usize| std::fs::write(&file, lines[..count].concat()).unwrap();
    write(lines.len());
    let (whole, report) = verify(&["--closed"], &[&file]);
    assert!(whole, "{report:#}");
    let seq = report["files"][0]["last_seq"].to_string();
    let hash = report["files"][0]["last_hash"].as_str().unwrap();
    let known = ["--expect-last", &seq, "--expect-last", hash];
    assert!(verify(&known, &[&file]).0);
    write(lines.len() - 1);
    let (whole, report) = verify(&[], &[&file]);
    assert!(whole, "a chain alone cannot see it");
    assert!(
        report["notes"][0]
            .as_str()
            .unwrap()
            .contains("without `stopped`")
    );
    for arguments in [&known[..2], &known[2..], &["--closed"]] {
        let (whole, report) = verify(arguments, &[&file]);
        assert!(!whole);
        assert_eq!(report["breaks"][0]["kind"], "truncated");
    }
}

#[test]
fn people_are_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let mut lines = trail().to_vec();
    std::fs::write(&file, lines.concat()).unwrap();
    let said = |file: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["audit", "verify"])
            .arg(file)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, text) = said(&file);
    assert_eq!(code, Some(0));
    assert!(
        text.contains(&format!("the trail is whole: {} records", lines.len())),
        "{text}"
    );
    assert!(text.contains(": records 1 to "), "{text}");
    lines.remove(5);
    std::fs::write(&file, lines.concat()).unwrap();
    let (code, text) = said(&file);
    assert_eq!(code, Some(1));
    let name = file.display();
    assert!(
        text.contains(&format!(
            "{name}:6: removed: record 7\n  expected: record 6\n"
        )),
        "{text}"
    );
    let (code, text) = said(&folder.path().join("none"));
    assert_eq!(code, Some(1));
    assert!(text.contains("error: cannot read"), "{text}");
}

/// The few lines of Python in `docs/audit.md` come to the same verdict as the program.
#[test]
fn the_documented_check_works() {
    let documents = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/audit.md");
    let text = std::fs::read_to_string(documents).unwrap();
    let (_, rest) = text.split_once("```python\n").unwrap();
    let (program, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let python = |lines: &[String]| {
        std::fs::write(&file, lines.concat()).unwrap();
        let output = Command::new("python3")
            .args(["-c", program])
            .arg(&file)
            .output();
        output.unwrap()
    };
    let good = python(trail());
    assert!(
        good.status.success(),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    let mut lines = trail().to_vec();
    lines[3] = lines[3].replace("\"time\":\"2", "\"time\":\"3");
    assert!(!python(&lines).status.success());
    let mut lines = trail().to_vec();
    lines.remove(3);
    assert!(!python(&lines).status.success());
}

proptest! {
    #[test]
    fn any_changed_byte_is_found(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut text = trail().concat().into_bytes();
        let at = at.index(text.len());
        prop_assume!(text[at] != to);
        text[at] = to;
        prop_assert!(!check(&text).is_whole(), "byte {at} is {to}");
    }

    #[test]
    fn any_missing_byte_is_found(at in any::<prop::sample::Index>()) {
        let mut text = trail().concat().into_bytes();
        text.remove(at.index(text.len()));
        prop_assert!(!check(&text).is_whole());
    }

    #[test]
    fn any_line_removed_moved_or_repeated_is_found(
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        what in 0..3,
    ) {
        let mut lines = trail().to_vec();
        let from = from.index(lines.len());
        let line = if what == 2 { lines[from].clone() } else { lines.remove(from) };
        if what > 0 {
            let to = to.index(lines.len() + 1);
            prop_assume!(what == 2 || to != from);
            lines.insert(to, line);
        }
        prop_assert!(!check(lines.concat().as_bytes()).is_whole(), "{what}: {from}");
    }

    #[test]
    fn whatever_a_file_holds_the_check_ends(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut verifier = Verifier::new(vec![Seal::Plain], Vec::new());
        verifier.file("x", bytes.as_slice()).unwrap();
        prop_assert!(!verifier.finish(false).is_whole());
    }
}
