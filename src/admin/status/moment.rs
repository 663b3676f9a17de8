//! Moments and spans of time, for programs and for people.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::macros::format_description;

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can tell.
const LAST_SECOND: u64 = 253_402_300_799;

/// A moment; RFC 3339 in UTC for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(SystemTime);

impl Moment {
    pub(super) fn new(time: SystemTime) -> Self {
        Self(time)
    }

    /// From whole seconds since 1970; what is later than the calendar goes is its last second.
    pub(super) fn at(seconds: u64) -> Self {
        Self(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND)))
    }

    /// Whole seconds since 1970.
    pub(super) fn seconds(self) -> u64 {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }

    /// Seconds from `earlier` until this; 0 where it is later.
    pub(super) fn since(self, earlier: Self) -> u64 {
        self.seconds().saturating_sub(earlier.seconds())
    }

    /// As `2026-11-25T19:24:53.000120Z`: with six digits, as access lines tell it, also where the last of them are zeros.
    pub(super) fn rfc3339(self) -> String {
        let form = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        self.utc()
            .and_then(|time| time.format(form).ok())
            .unwrap_or_default()
    }

    /// As `2026-11-25 19:24:53`.
    pub(super) fn date_and_time(self) -> String {
        let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
        self.utc()
            .and_then(|time| time.format(form).ok())
            .unwrap_or_default()
    }

    /// As `2026-11-25`.
    pub(super) fn date(self) -> String {
        let form = format_description!("[year]-[month]-[day]");
        self.utc()
            .and_then(|time| time.format(form).ok())
            .unwrap_or_default()
    }

    /// As `19:24:53.123`.
    pub(super) fn clock(self) -> String {
        let form = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
        self.utc()
            .and_then(|time| time.format(form).ok())
            .unwrap_or_default()
    }

    /// To the microsecond, as access lines tell it; `None` for years that have no calendar.
    fn utc(self) -> Option<OffsetDateTime> {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let micros = i128::try_from(since.as_micros()).ok()?;
        OffsetDateTime::from_unix_timestamp_nanos(micros.checked_mul(1000)?).ok()
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

/// A span in its two largest units, as `3 d 4 h`.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units {
        let count = left / size;
        left %= size;
        if count > 0 || !parts.is_empty() {
            parts.push(format!("{count} {unit}"));
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.retain(|part| !part.starts_with("0 "));
    if parts.is_empty() {
        return "0 s".to_owned();
    }
    parts.join(" ")
}

/// A short duration, as `1.2 ms`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (3661, "1 h 1 min"),
            (86_400 * 3 + 59, "3 d"),
            (86_400 * 41 + 7200, "41 d 2 h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn moments_are_told_in_utc() {
        let moment =
            Moment::new(SystemTime::UNIX_EPOCH + Duration::from_micros(1_790_000_000_123_456));
        assert_eq!(moment.rfc3339(), "2026-09-21T14:13:20.123456Z");
        assert_eq!(moment.date_and_time(), "2026-09-21 14:13:20");
        assert_eq!(moment.clock(), "14:13:20.123");
        assert_eq!(moment.date(), "2026-09-21");
        assert_eq!(
            Moment::at(u64::MAX).rfc3339(),
            "9999-12-31T23:59:59.000000Z"
        );
    }

    /// As text they are in the order of time, and one is found again in the access log.
    #[test]
    fn moments_for_programs_are_of_one_length() {
        let told =
            |micros| Moment::new(SystemTime::UNIX_EPOCH + Duration::from_micros(micros)).rfc3339();
        let stamps = [
            1_790_000_000_000_000,
            1_790_000_000_000_001,
            1_790_000_000_226_000,
            1_790_000_000_226_245,
            1_790_000_000_226_720,
        ]
        .map(told);
        assert!(stamps.is_sorted(), "{stamps:?}");
        assert!(stamps.iter().all(|stamp| stamp.len() == 27), "{stamps:?}");
    }

    #[test]
    fn durations_have_a_unit_that_fits() {
        let cases = [
            (0.000_25, "250 µs"),
            (0.0012, "1.2 ms"),
            (0.25, "250 ms"),
            (12.0, "12.0 s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }
}
