//! The end of a file that somebody wrote before: its last record, and what stands behind that.
//!
//! Bounded: at most [`TAIL_CAP`] bytes are looked at, whatever the file holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};

use super::chain::{HASH_BYTES, Link, Record};

/// How far back the last record is looked for, in bytes.
const TAIL_CAP: u64 = 1024 * 1024;
/// How every record begins.
const BEGINNING: &[u8] = b"{\"seq\":";

/// What stands at the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last record; none in a file without one.
    pub(super) last: Option<Link>,
    /// Bytes behind it that are no record: a process ended while it wrote.
    pub(super) torn: Option<Torn>,
    /// Whether a line break has to come before the next record.
    pub(super) unfinished: bool,
}

/// Bytes that are no record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) hash: [u8; HASH_BYTES],
}

/// Reads the end of a file of this length.
///
/// # Errors
/// When the file cannot be read, or holds something else than records.
pub(super) fn read(file: &File, length: u64) -> io::Result<Tail> {
    let start = length.saturating_sub(TAIL_CAP);
    let size = usize::try_from(length - start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, start)?;
    let tail = last(&bytes);
    let begun = bytes.starts_with(BEGINNING) || BEGINNING.starts_with(&bytes);
    // A first record that was torn off is one line at most.
    let first = start == 0 && begun && !bytes.contains(&b'\n');
    if tail.last.is_none() && !first {
        let message =
            "it holds something else than audit records; give the trail a file of its own";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(tail)
}

fn last(bytes: &[u8]) -> Tail {
    let mut end = bytes.len();
    loop {
        let before = bytes.get(..end).unwrap_or_default();
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |position| position + 1);
        let line = before.get(line_start..).unwrap_or_default();
        if let Some(record) = Record::read(line) {
            // Behind a whole record there is its line break, unless it was just that which is missing.
            let rest = bytes.get(end..).unwrap_or_default();
            let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            return Tail {
                last: Some(record.link),
                torn: torn(rest),
                unfinished: bytes.last() != Some(&b'\n'),
            };
        }
        if line_start == 0 {
            return Tail {
                last: None,
                torn: torn(bytes),
                unfinished: bytes.last().is_some_and(|last| *last != b'\n'),
            };
        }
        end = line_start - 1;
    }
}

/// Without the last line break: that is there, or comes, in any case.
fn torn(bytes: &[u8]) -> Option<Torn> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    (!bytes.is_empty()).then(|| Torn {
        bytes: length,
        hash: Sha256::digest(bytes).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::audit::chain::{Seal, write_record};

    const BOOT: &str = "000000000000000b";

    #[test]
    fn the_last_record_is_found_behind_whatever_follows() {
        let mut whole = Vec::new();
        let first = write_record(
            &mut whole,
            &Seal::Plain,
            BOOT,
            Link::NONE,
            b"\"event\":\"a\"",
        );
        let one = whole.len();
        let second = write_record(&mut whole, &Seal::Plain, BOOT, first, b"\"event\":\"b\"");
        type Case<'c> = (&'c [u8], Option<Link>, &'c [u8], bool);
        let cases: [Case<'_>; 6] = [
            (&whole, Some(second), b"", false),
            (&whole[..whole.len() - 1], Some(second), b"", true),
            (&whole[..one + 20], Some(first), &whole[one..one + 20], true),
            (
                &[&whole[..], b"\0\0\n\0"].concat(),
                Some(second),
                b"\0\0\n\0",
                true,
            ),
            (&[&whole[..], b"x\n"].concat(), Some(second), b"x", false),
            (b"", None, b"", false),
        ];
        for (bytes, link, rest, unfinished) in cases {
            let expected = Tail {
                last: link,
                torn: torn(rest),
                unfinished,
            };
            assert_eq!(
                last(bytes),
                expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
