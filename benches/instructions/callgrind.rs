//! Programs under callgrind, and what it counted.
//!
//! What AWS-LC gathers of the processor's jitter, for its random numbers, is left out of every sum: it takes tens of
//! millions of instructions at the start and now and then later, and never the same number.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::Result;

/// In the name of every function that gathers jitter.
const ENTROPY: &str = "jent_";

/// glibc copies and fills long stretches by one instruction that valgrind counts anew for every byte, where the
/// processor is said to be good at it. So it is told to leave that, on every machine.
const NO_STRING_INSTRUCTIONS: &str = "glibc.cpu.x86_rep_movsb_threshold=0x40000000:\
                                      glibc.cpu.x86_rep_stosb_threshold=0x40000000";

/// Whether there is a valgrind.
pub(crate) fn is_here() -> bool {
    let asked = Command::new("valgrind").arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

/// Where callgrind writes what so many operations of this name cost.
pub(crate) fn file(folder: &Path, name: &str, count: u64) -> PathBuf {
    let name = name.replace(|char: char| !char.is_ascii_alphanumeric(), "-");
    folder.join(format!("callgrind.out.{name}.{count}"))
}

/// The beginning of a command line; the program and its arguments follow. Writes to `out` at the program's end.
pub(crate) fn command(out: &Path) -> Command {
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(out);
    let mut command = Command::new("valgrind");
    command
        .env("GLIBC_TUNABLES", NO_STRING_INSTRUCTIONS)
        .args(["--tool=callgrind", "--quiet"])
        // Names as they are in the program, and whole wherever they stand.
        .args(["--demangle=no", "--compress-strings=no"])
        .arg(file);
    command
}

/// The instructions in a file of callgrind's, without entropy.
///
/// Its format: `fn=` begins a function, whose own costs follow, one line for each place: position, cost. After `cfn=`
/// and `calls=` stands one line with the cost of all that was called there.
pub(crate) fn instructions(out: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(out)?;
    let (mut all, mut entropy) = (0_u64, 0_u64);
    let (mut in_entropy, mut to_entropy, mut call) = (false, false, false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            in_entropy = name.contains(ENTROPY);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            to_entropy = name.contains(ENTROPY);
        } else if line.starts_with("calls=") {
            call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).map_or(Ok(0), str::parse::<u64>)?;
            match std::mem::take(&mut call) {
                false => all += cost,
                true if to_entropy && !in_entropy => entropy += cost,
                true => {}
            }
        }
    }
    all.checked_sub(entropy)
        .filter(|counted| *counted > 0)
        .ok_or_else(|| format!("nothing counted in {}", out.display()).into())
}
