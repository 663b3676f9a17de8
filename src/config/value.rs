//! Durations, sizes, rates and points in time as people write them.
//!
//! The types hold text; reading it says what was expected and nothing else, because the caller knows the place.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::verify::UnixTime;

/// What a size looks like.
pub(super) const SIZE: &str = "a size such as 42MiB, 4KiB or a number of bytes";
/// What a duration looks like.
pub(super) const DURATION: &str = "a duration such as 250ms, 30s, 5m or 1h";
/// What a time to keep a connection looks like.
pub(super) const KEEP: &str = "a duration such as 4s, or `off`";
/// What a rate looks like.
pub(super) const RATE: &str = "a rate such as 5/s, 30/min or 100/h";
/// What a point in time looks like.
pub(super) const TIME: &str = "a date with time and zone such as 2026-12-31T00:00:00Z";

/// Declares a text type with a title and examples in the schema.
macro_rules! text {
    ($(#[$meta:meta])* $name:ident, $title:expr, $kinds:tt, $examples:tt) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub(super) struct $name(String);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextVisitor).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).trim_end_matches("Text").into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "title": $title, "type": $kinds, "examples": $examples })
            }
        }
    };
}

text!(
    /// A size in bytes.
    SizeText, SIZE, ["string", "integer"], ["42MiB", "4KiB", 65536]
);
text!(
    /// A length of time.
    DurationText, DURATION, "string", ["250ms", "30s", "5m", "1h"]
);
text!(
    /// How long a connection is kept.
    KeepText, KEEP, "string", ["4s", "off"]
);
text!(
    /// So many in so much time.
    RateText, RATE, "string", ["30/min"]
);

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a whole number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// Number and unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

impl SizeText {
    /// In bytes; `None` for a text that is none.
    pub(super) fn bytes(&self) -> Option<u64> {
        let (number, unit) = split(&self.0)?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return None,
        };
        number.checked_mul(factor)
    }
}

impl DurationText {
    /// `None` for a text that is none; a number without unit is none.
    pub(super) fn duration(&self) -> Option<Duration> {
        let (number, unit) = split(&self.0)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(millis).map(Duration::from_millis)
    }
}

impl KeepText {
    /// Zero for `off`; `None` for a text that is none.
    pub(super) fn duration(&self) -> Option<Duration> {
        match self.0.trim() {
            "off" => Some(Duration::ZERO),
            text => DurationText::from(text).duration(),
        }
    }
}

impl RateText {
    /// Number and the time it is for.
    pub(super) fn rate(&self) -> Option<(u64, Duration)> {
        let (number, unit) = split(&self.0)?;
        let seconds = match unit.strip_prefix('/')?.trim_start() {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            _ => return None,
        };
        (number > 0).then(|| (number, Duration::from_secs(seconds)))
    }
}

/// A point in time by RFC 3339.
pub(super) fn point_in_time(text: &str) -> Option<UnixTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok().map(UnixTime)
}

/// A point in time as text.
pub(super) fn time_text(time: UnixTime) -> String {
    let time = i64::try_from(time.0)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "a time far away".into())
}

/// A duration with the largest unit that fits.
pub(super) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fitting = units
        .iter()
        .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    match fitting {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// A size with the largest unit that fits.
pub(super) fn size_text(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fitting = units
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match fitting {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        let cases = [
            ("42MiB", Some(44_040_192)),
            ("4 KiB", Some(4_096)),
            ("40MB", Some(40_000_000)),
            ("1GiB", Some(1 << 30)),
            ("17", Some(17)),
            ("17B", Some(17)),
            ("42mb", None),
            ("42M", None),
            ("4.5MiB", None),
            ("-1", None),
            ("", None),
            ("99999999999GiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(SizeText::from(text).bytes(), expected, "{text}");
        }
    }

    #[test]
    fn reads_durations() {
        let cases = [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("5min", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("30", None),
            ("1h30m", None),
            ("-5s", None),
            ("1.5s", None),
            ("forever", None),
            ("99999999999999999999h", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(DurationText::from(text).duration(), expected, "{text}");
        }
    }

    #[test]
    fn reads_rates() {
        let cases = [
            ("30/min", Some((30, 60))),
            ("5/s", Some((5, 1))),
            ("100 / h", Some((100, 3_600))),
            ("0/s", None),
            ("30", None),
            ("30/fortnight", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(number, seconds)| (number, Duration::from_secs(seconds)));
            assert_eq!(RateText::from(text).rate(), expected, "{text}");
        }
    }

    #[test]
    fn reads_points_in_time() {
        let cases = [
            ("1970-01-01T00:01:00Z", Some(60)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("2026-12-31", None),
            ("2026-12-31T00:00:00", None),
            ("1969-12-31T00:00:00Z", None),
            ("soon", None),
        ];
        for (text, expected) in cases {
            assert_eq!(point_in_time(text), expected.map(UnixTime), "{text}");
        }
        assert_eq!(time_text(UnixTime(60)), "1970-01-01T00:01:00Z");
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["250ms", "90s", "5m", "24h"] {
            let duration = DurationText::from(text).duration().unwrap();
            assert_eq!(duration_text(duration), text);
        }
        for text in ["42MiB", "4KiB", "300B", "1GiB"] {
            assert_eq!(size_text(SizeText::from(text).bytes().unwrap()), text);
        }
    }
}
