//! `countersign audit`: whether an audit trail is whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::check::{Format, counted};
use super::{fail, print, say};
use crate::config;
use crate::telemetry::{Expected, Seal, Verdict, Verifier};

/// Arguments of `audit`.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check that no record of an audit trail was edited, removed, reordered or duplicated
    Verify(Verify),
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The files of the trail, the oldest one first
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// File with the key of a keyed trail; several times where it has changed
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Environment variable with the key of a keyed trail
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// A record known from elsewhere that has to be there: a number at least, or a hash
    #[arg(long, value_name = "SEQ|HASH", value_parser = expected)]
    expect_last: Vec<Expected>,
    /// Let a process that did not end with `stopped` count as damage
    #[arg(long)]
    closed: bool,
}

fn expected(text: &str) -> Result<Expected, &'static str> {
    text.parse()
}

pub(super) fn audit(arguments: &Audit) -> ExitCode {
    let Audit::Verify(verify) = arguments;
    let seals = match seals(verify) {
        Ok(seals) => seals,
        Err(problem) => return fail(&problem, "give the key that the gateway has in `audit.key`"),
    };
    let mut verifier = Verifier::new(seals, verify.expect_last.clone());
    for path in &verify.files {
        let name = path.display().to_string();
        let read = open(path).and_then(|file| verifier.file(&name, file));
        if let Err(error) = read {
            return fail(&format!("cannot read {name}: {error}"), "");
        }
    }
    let verdict = verifier.finish(verify.closed);
    match verify.format {
        Format::Text => tell(&verdict),
        Format::Json => drop(print(&format!("{:#}\n", json(&verdict)))),
    }
    if verdict.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A file as it is now. A gateway that writes holds a lock while it does, so that half a record is not taken for
/// a torn one.
fn open(path: &Path) -> io::Result<impl BufRead> {
    let file = File::open(path)?;
    let mut length = u64::MAX;
    if file.metadata()?.is_file() {
        file.lock_shared()?;
        length = file.metadata()?.len();
        file.unlock()?;
    }
    Ok(BufReader::with_capacity(64 * 1024, file.take(length)))
}

fn seals(verify: &Verify) -> Result<Vec<Seal>, String> {
    let mut seals = Vec::new();
    for path in &verify.key_file {
        let key = key(path)
            .map_err(|error| format!("the key file {} cannot be used: {error}", path.display()))?;
        seals.push(Seal::keyed(&key));
    }
    if let Some(name) = &verify.key_env {
        let key = std::env::var(name).ok().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| "the variable of --key-env is not set, or empty".to_owned())?;
        seals.push(Seal::keyed(key.as_bytes()));
    }
    if seals.is_empty() {
        seals.push(Seal::Plain);
    }
    Ok(seals)
}

/// As the configuration reads it.
fn key(path: &Path) -> io::Result<Vec<u8>> {
    let key = config::read_secret(File::open(path)?).map_err(|error| {
        if error.kind() == io::ErrorKind::FileTooLarge {
            io::Error::new(error.kind(), "it is larger than 4 KiB")
        } else {
            error
        }
    })?;
    if key.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(key)
}

fn tell(verdict: &Verdict) {
    for found in &verdict.breaks {
        let kind = found.kind.label();
        say(&format!(
            "{}:{}: {kind}: {}",
            found.file, found.line, found.found
        ));
        say(&format!("  expected: {}", found.expected));
    }
    if verdict.further > 0 {
        say(&format!("and {} more", verdict.further));
    }
    for note in &verdict.notes {
        say(&format!("note: {note}"));
    }
    if verdict.further_notes > 0 {
        say(&format!("and {} more notes", verdict.further_notes));
    }
    let mut records = 0;
    for file in &verdict.files {
        records += file.records;
        if file.records > 0 {
            say(&format!(
                "{}: records {} to {}, the last one with the hash {}",
                file.file, file.first_seq, file.last_seq, file.last_hash
            ));
        }
    }
    let records = counted(usize::try_from(records).unwrap_or(usize::MAX), "record");
    if verdict.is_whole() {
        say(&format!("the trail is whole: {records}"));
        return;
    }
    say(&format!(
        "the trail is not whole: {records} as they were written"
    ));
    if verdict.needs_key {
        say("  help: it is keyed; give its key with --key-file or --key-env");
    }
    if verdict.has_no_key {
        say(
            "  help: it says that it has no key; if `audit.key` was never set, verify it without one",
        );
    }
}

fn json(verdict: &Verdict) -> serde_json::Value {
    let files = verdict.files.iter().map(|file| {
        json!({
            "file": file.file,
            "records": file.records,
            "first_seq": file.first_seq,
            "last_seq": file.last_seq,
            "last_hash": file.last_hash,
        })
    });
    let breaks = verdict.breaks.iter().map(|found| {
        json!({
            "file": found.file,
            "line": found.line,
            "kind": found.kind.label(),
            "found": found.found,
            "expected": found.expected,
        })
    });
    json!({
        "whole": verdict.is_whole(),
        "files": files.collect::<Vec<_>>(),
        "breaks": breaks.collect::<Vec<_>>(),
        "further_breaks": verdict.further,
        "notes": verdict.notes,
        "further_notes": verdict.further_notes,
    })
}
