//! Pieces of the lines that requests leave: keys and values of JSON, times and durations, formatted by hand into a
//! buffer. Every request writes them, and the machinery of the standard library takes longer.
//!
//! Text is escaped whatever it holds, so a line stays one line.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Writes points in time; remembers the last second, as the next line is mostly of the same one.
pub(super) struct Calendar(Cell<(u64, [u8; 19])>);

impl Default for Calendar {
    fn default() -> Self {
        Self(Cell::new((u64::MAX, [0; 19])))
    }
}

impl Calendar {
    /// RFC 3339 in UTC with microseconds. The calendar is consulted once a second.
    pub(super) fn stamp(&self, time: SystemTime) -> [u8; 27] {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let (second, mut prefix) = self.0.get();
        if second != since.as_secs() {
            let whole = i64::try_from(since.as_secs()).ok();
            let date = whole.and_then(|whole| OffsetDateTime::from_unix_timestamp(whole).ok());
            let text = date
                .and_then(|date| date.format(&Rfc3339).ok())
                .unwrap_or_default();
            if let Some(text) = text.as_bytes().first_chunk::<19>() {
                prefix = *text;
            }
            self.0.set((since.as_secs(), prefix));
        }
        let mut stamp = [b'0'; 27];
        let (head, tail) = stamp.split_at_mut(19);
        head.copy_from_slice(&prefix);
        let mut micros = since.subsec_micros();
        for digit in tail.iter_mut().skip(1).take(6).rev() {
            *digit = b'0' + u8::try_from(micros % 10).unwrap_or(0);
            micros /= 10;
        }
        if let Some(dot) = tail.first_mut() {
            *dot = b'.';
        }
        if let Some(zone) = tail.last_mut() {
            *zone = b'Z';
        }
        stamp
    }
}

pub(super) fn json_key(line: &mut Vec<u8>, key: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(key.as_bytes());
    line.extend_from_slice(b"\":");
}

pub(super) fn json_text(line: &mut Vec<u8>, key: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    json_key(line, key);
    // Configured names may hold anything.
    if value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
    {
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
    } else {
        // Writing into memory does not fail.
        let _ = serde_json::to_writer(line, value);
    }
}

pub(super) fn json_number(line: &mut Vec<u8>, key: &str, value: Option<u64>) {
    let Some(value) = value else { return };
    json_key(line, key);
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn json_seconds(line: &mut Vec<u8>, key: &str, value: Option<Duration>) {
    let Some(value) = value else { return };
    json_key(line, key);
    seconds(line, value);
}

/// Seconds with microseconds.
pub(super) fn seconds(line: &mut Vec<u8>, value: Duration) {
    line.extend_from_slice(itoa::Buffer::new().format(value.as_secs()).as_bytes());
    line.push(b'.');
    let micros = value.subsec_micros();
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(micros).as_bytes();
    line.extend(std::iter::repeat_n(
        b'0',
        6_usize.saturating_sub(digits.len()),
    ));
    line.extend_from_slice(digits);
}
