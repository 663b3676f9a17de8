//! The fields of one record: of a request, or of a change.
//!
//! As in an access line there is no field for anything that a sender wrote.

use std::time::SystemTime;

use super::event::AuditEvent;
use crate::telemetry::access::{AccessEntry, json_parties};
use crate::telemetry::line::{Calendar, json_key, json_number, json_seconds, json_text};

/// Most bytes of a list in a record; what is beyond is counted.
const LIST_CAP: usize = 8 * 1024;

/// A record of a change, while its fields are put together.
pub struct Notice {
    pub(super) line: Vec<u8>,
}

impl Notice {
    /// A record of this event, at this time.
    pub fn new(event: AuditEvent, time: SystemTime) -> Self {
        let mut line = Vec::with_capacity(256);
        begin(&mut line, event, &Calendar::default().stamp(time));
        Self { line }
    }

    /// A field with text; none where there is none.
    #[must_use]
    pub fn text(mut self, key: &str, value: Option<&str>) -> Self {
        json_text(&mut self.line, key, value);
        self
    }

    /// A field with a number.
    #[must_use]
    pub fn number(mut self, key: &str, value: u64) -> Self {
        json_number(&mut self.line, key, Some(value));
        self
    }

    /// A field that is true or false.
    #[must_use]
    pub fn flag(mut self, key: &str, value: bool) -> Self {
        flag(&mut self.line, key, value);
        self
    }

    /// A field with several texts; none where there are none. Of a long list `KEY_omitted` are left out.
    #[must_use]
    pub fn list<'t>(mut self, key: &str, items: impl IntoIterator<Item = &'t str>) -> Self {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return self;
        }
        json_key(&mut self.line, key);
        let start = self.line.len();
        let mut omitted = 0_u64;
        for item in items {
            if self.line.len() - start + item.len() > LIST_CAP {
                omitted += 1;
                continue;
            }
            self.line
                .push(if self.line.len() == start { b'[' } else { b',' });
            // Writing into memory does not fail.
            let _ = serde_json::to_writer(&mut self.line, item);
        }
        if self.line.len() == start {
            self.line.push(b'[');
        }
        self.line.push(b']');
        if omitted > 0 {
            self = self.number(&format!("{key}_omitted"), omitted);
        }
        self
    }
}

/// Writes the fields of a request's record, as they go into the queue.
pub(super) fn write_request(
    line: &mut Vec<u8>,
    calendar: &Calendar,
    event: AuditEvent,
    entry: &AccessEntry<'_>,
    tls: bool,
) {
    line.push(event.mark());
    begin(line, event, &calendar.stamp(entry.time));
    json_text(line, "request_id", Some(entry.request_id));
    json_text(line, "listener", Some(entry.listener));
    flag(line, "tls", tls);
    json_text(line, "route", Some(entry.route));
    json_text(line, "reason", entry.reason);
    json_text(line, "token_id", entry.token_id);
    json_text(line, "method", Some(entry.method));
    json_number(line, "status", entry.status.map(u64::from));
    json_number(line, "received_bytes", Some(entry.received));
    json_number(line, "sent_bytes", Some(entry.sent));
    json_seconds(line, "duration_s", Some(entry.duration));
    json_parties(line, entry);
    line.push(b'\n');
}

fn begin(line: &mut Vec<u8>, event: AuditEvent, stamp: &[u8]) {
    line.extend_from_slice(b"\"time\":\"");
    line.extend_from_slice(stamp);
    line.push(b'"');
    json_text(line, "event", Some(event.label()));
}

fn flag(line: &mut Vec<u8>, key: &str, value: bool) {
    json_key(line, key);
    line.extend_from_slice(if value { b"true" } else { b"false" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(notice: &Notice) -> serde_json::Value {
        let text = String::from_utf8(notice.line.clone()).unwrap();
        serde_json::from_str(&format!("{{{text}}}")).unwrap()
    }

    #[test]
    fn lists_are_bounded_and_say_so() {
        let items: Vec<String> = (0..2000)
            .map(|number| format!("routes[{number}]"))
            .collect();
        let notice = Notice::new(AuditEvent::ReloadAccepted, SystemTime::UNIX_EPOCH);
        let notice = notice.list("settings", items.iter().map(String::as_str));
        assert!(notice.line.len() < 2 * LIST_CAP);
        let value = value(&notice);
        let listed = value["settings"].as_array().unwrap().len();
        let omitted = value["settings_omitted"].as_u64().unwrap();
        assert_eq!(listed, 2000 - usize::try_from(omitted).unwrap());
    }

    #[test]
    fn text_never_breaks_the_line() {
        let notice = Notice::new(AuditEvent::ChainStarted, SystemTime::UNIX_EPOCH);
        let notice = notice
            .text("host", Some("a\n\"b"))
            .list("names", ["c\r\nd"]);
        assert!(!notice.line.contains(&b'\n'));
        assert_eq!(value(&notice)["host"], "a\n\"b");
        assert_eq!(value(&notice)["time"], "1970-01-01T00:00:00.000000Z");
    }
}
