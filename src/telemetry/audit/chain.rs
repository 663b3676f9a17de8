//! The chain: how a record names the one before it, and what its hash covers.
//!
//! A record is one line:
//!
//! ```text
//! {"seq":2,"boot":"…", …fields… ,"previous":"<hash of record 1>","hash":"<64 hexadecimal digits>"}
//! └──────────────────────── hashed, byte for byte ─────────────┘└────── the last 75 bytes ───────┘
//! ```
//!
//! The hash is SHA-256, or HMAC-SHA-256 where there is a key. Whoever has no key cannot make a record that fits.
//!
//! Not here: files.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use serde::Deserialize;

/// Bytes of a hash.
pub(super) const HASH_BYTES: usize = 32;
/// Digits that stand for a start of a process.
const BOOT_DIGITS: usize = 16;
/// What stands between the hashed part of a line and its hash.
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
/// What stands behind it.
const AFTER_HASH: &[u8] = b"\"}";

/// How hashes are made.
#[derive(Clone)]
pub enum Seal {
    /// SHA-256: anybody can check it, and whoever may write can make the whole chain anew.
    Plain,
    /// HMAC-SHA-256: both need the key.
    Keyed(Arc<hmac::Key>),
}

impl Seal {
    /// A seal with this key.
    pub fn keyed(key: &[u8]) -> Self {
        Self::Keyed(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// Whether there is a key.
    pub(super) fn is_keyed(&self) -> bool {
        matches!(self, Self::Keyed(_))
    }

    fn hash(&self, bytes: &[u8]) -> [u8; HASH_BYTES] {
        match self {
            Self::Plain => first_bytes(digest::digest(&digest::SHA256, bytes).as_ref()),
            Self::Keyed(key) => first_bytes(hmac::sign(key, bytes).as_ref()),
        }
    }
}

/// Both kinds are as long as a hash.
fn first_bytes(hash: &[u8]) -> [u8; HASH_BYTES] {
    hash.first_chunk().copied().unwrap_or([0; HASH_BYTES])
}

/// A place in the chain: a record's number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) hash: [u8; HASH_BYTES],
}

impl Link {
    /// Before the first record.
    pub(super) const NONE: Self = Self {
        seq: 0,
        hash: [0; HASH_BYTES],
    };
}

/// Writes the next record of the chain: `fields` are those between `boot` and `previous`, without a comma in front.
pub(super) fn write_record(
    out: &mut Vec<u8>,
    seal: &Seal,
    boot: &str,
    link: Link,
    fields: &[u8],
) -> Link {
    let start = out.len();
    let seq = link.seq.saturating_add(1);
    out.extend_from_slice(b"{\"seq\":");
    out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    out.extend_from_slice(b",\"boot\":\"");
    out.extend_from_slice(boot.as_bytes());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(fields);
    out.extend_from_slice(b",\"previous\":\"");
    write_hex(out, &link.hash);
    out.push(b'"');
    let hash = seal.hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(BEFORE_HASH);
    write_hex(out, &hash);
    out.extend_from_slice(AFTER_HASH);
    out.push(b'\n');
    Link { seq, hash }
}

/// The fields of a record that the chain needs. Others are left alone.
#[derive(Debug, Deserialize)]
pub(super) struct Fields<'l> {
    seq: u64,
    #[serde(borrow)]
    pub(super) boot: Cow<'l, str>,
    #[serde(borrow)]
    pub(super) event: Cow<'l, str>,
    #[serde(borrow)]
    previous: Cow<'l, str>,
    /// Of `chain_started`: `new` or `continued`.
    #[serde(borrow, default)]
    pub(super) file: Option<Cow<'l, str>>,
    /// Of `chain_started`: how many bytes in front of it are no records.
    #[serde(default)]
    pub(super) torn_bytes: Option<u64>,
    /// And their SHA-256.
    #[serde(borrow, default)]
    pub(super) torn_sha256: Option<Cow<'l, str>>,
    /// Of `chain_started`.
    #[serde(default)]
    pub(super) keyed: Option<bool>,
    /// Of `records_lost`.
    #[serde(default)]
    pub(super) records: Option<u64>,
}

/// A line that has the form of a record.
pub(super) struct Record<'l> {
    pub(super) fields: Fields<'l>,
    pub(super) link: Link,
    pub(super) previous: [u8; HASH_BYTES],
    hashed: &'l [u8],
}

impl<'l> Record<'l> {
    /// Reads a line without its line break; `None` where it has not the form of a record.
    pub(super) fn read(line: &'l [u8]) -> Option<Self> {
        let rest = line.strip_suffix(AFTER_HASH)?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(2 * HASH_BYTES)?)?;
        let hashed = rest.strip_suffix(BEFORE_HASH)?;
        let hash = unhex(hash)?;
        let fields: Fields<'l> = serde_json::from_slice(line).ok()?;
        // Repeated to whoever asks, and remembered; so nothing else may be in its place.
        if fields.boot.len() != BOOT_DIGITS
            || !fields.boot.bytes().all(|byte| digit(byte).is_some())
        {
            return None;
        }
        let previous = unhex(fields.previous.as_bytes())?;
        let seq = fields.seq;
        Some(Self {
            fields,
            link: Link { seq, hash },
            previous,
            hashed,
        })
    }

    /// Whether its hash is the one it should be under one of these seals.
    pub(super) fn is_genuine(&self, seals: &[Seal]) -> bool {
        seals
            .iter()
            .any(|seal| seal.hash(self.hashed) == self.link.hash)
    }
}

/// As small hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(2 * bytes.len());
    write_hex(&mut text, bytes);
    // Digits are text.
    String::from_utf8(text).unwrap_or_default()
}

fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    out.extend(
        bytes
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]),
    );
}

/// A hash from 64 small hexadecimal digits; capital ones are another text, and so no hash of ours.
pub(super) fn unhex(text: &[u8]) -> Option<[u8; HASH_BYTES]> {
    let mut hash = [0; HASH_BYTES];
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != hash.len() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for seal in [Seal::Plain, Seal::keyed(b"0123456789abcdef")] {
            let mut out = Vec::new();
            let first = write_record(
                &mut out,
                &seal,
                "00000000000000b0",
                Link::NONE,
                b"\"event\":\"started\"",
            );
            let second = write_record(
                &mut out,
                &seal,
                "00000000000000b0",
                first,
                b"\"event\":\"ready\"",
            );
            let lines: Vec<&[u8]> = out.split(|byte| *byte == b'\n').collect();
            let read = Record::read(lines[1]).unwrap();
            assert_eq!(read.link, second);
            assert_eq!(read.previous, first.hash);
            assert_eq!(read.fields.event, "ready");
            assert!(read.is_genuine(std::slice::from_ref(&seal)));
            assert!(!read.is_genuine(&[Seal::keyed(b"another")]));
        }
    }

    #[test]
    fn hashes_have_one_spelling() {
        let text = "0f".repeat(32);
        assert_eq!(hex(&unhex(text.as_bytes()).unwrap()), text);
        for bad in [
            text.to_uppercase(),
            text[1..].to_owned(),
            format!("{text}00"),
            format!("{}g", &text[1..]),
        ] {
            assert_eq!(unhex(bad.as_bytes()), None, "{bad}");
        }
    }
}
