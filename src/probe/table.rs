//! The report as text for people: a line for each step, in 100 columns.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::{Group, Report, Step, Verdict};

/// Widest line.
const WIDTH: usize = 100;
/// Columns: verdict, what was sent, expected, seen; the rest is for the time.
const VERDICT: usize = 7;
const SENT: usize = 40;
const EXPECTED: usize = 15;
const SEEN: usize = 24;
/// Where advice begins.
const INDENT: usize = VERDICT + 2;

impl Report {
    /// For people, in at most 100 columns; with colours for a terminal.
    #[must_use]
    pub fn text(&self, colour: bool) -> String {
        let mut text = self.url.clone();
        if let Some(address) = self.address {
            let _ = write!(text, " at {address}");
        }
        text.push('\n');
        let mut group = None;
        for step in &self.steps {
            if group != Some(step.group) {
                text.push_str(&headline(step.group));
                group = Some(step.group);
            }
            text.push_str(&line(step, colour));
            if let Some(advice) = &step.advice {
                text.push_str(&wrapped(&format!("{}: {advice}", step.id)));
            }
        }
        let _ = write!(text, "\n{}\n", summary(self, colour));
        text
    }
}

fn headline(group: Group) -> String {
    let title = group.title();
    if group == Group::Connection {
        cells(["", title, "expected", "seen"])
    } else {
        format!("{:VERDICT$}  {title}\n", "")
    }
}

fn cells([verdict, sent, expected, seen]: [&str; 4]) -> String {
    format!("{verdict:VERDICT$}  {sent:SENT$}  {expected:EXPECTED$}  {seen}\n")
}

fn line(step: &Step, colour: bool) -> String {
    let verdict = painted(
        step.verdict,
        &format!("{:VERDICT$}", step.verdict.word()),
        colour,
    );
    let (sent, expected, seen) = (step.sent, step.expected, &step.seen);
    let latency = step.latency.map_or_else(String::new, taken);
    let line = format!("{verdict}  {sent:SENT$}  {expected:EXPECTED$}  {seen:SEEN$} {latency:>7}");
    format!("{}\n", line.trim_end())
}

/// In seven columns at most, up to a day.
fn taken(latency: Duration) -> String {
    match latency.as_millis() {
        milliseconds @ 0..10_000 => format!("{milliseconds} ms"),
        10_000..999_950 => format!("{:.1} s", latency.as_secs_f64()),
        _ => format!("{} s", latency.as_secs()),
    }
}

fn painted(verdict: Verdict, text: &str, colour: bool) -> String {
    if !colour {
        return text.to_owned();
    }
    let code = match verdict {
        Verdict::Ok => "32",
        Verdict::Warning => "33",
        Verdict::Info => "36",
        Verdict::Unclear => "35",
        Verdict::Skipped => "2",
        Verdict::Wrong => "1;31",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Breaks a text between words, indented.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width == 0 || width + 1 + length > WIDTH {
            if width > 0 {
                lines.push('\n');
            }
            let _ = write!(lines, "{:INDENT$}{word}", "");
            width = INDENT + length;
        } else {
            let _ = write!(lines, " {word}");
            width += 1 + length;
        }
    }
    lines.push('\n');
    lines
}

fn summary(report: &Report, colour: bool) -> String {
    let counted = [
        Verdict::Ok,
        Verdict::Wrong,
        Verdict::Warning,
        Verdict::Unclear,
        Verdict::Info,
        Verdict::Skipped,
    ]
    .into_iter()
    .map(|verdict| (report.count(verdict), verdict))
    .filter(|(count, verdict)| *count > 0 || *verdict == Verdict::Wrong)
    .map(|(count, verdict)| format!("{count} {}", verdict.word()))
    .collect::<Vec<_>>()
    .join(", ");
    let (steps, seconds) = (report.steps.len(), report.duration.as_secs_f64());
    let (verdict, word) = if report.is_right() {
        (Verdict::Ok, "right")
    } else {
        (Verdict::Wrong, "WRONG")
    };
    format!(
        "{}: {steps} steps in {seconds:.1} s: {counted}",
        painted(verdict, word, colour)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway may take as long as `--timeout` lets it, and the table stays as wide as it is.
    #[test]
    fn times_are_no_wider_than_their_column() {
        let cases = [
            (0, "0 ms"),
            (9_999, "9999 ms"),
            (10_000, "10.0 s"),
            (19_561, "19.6 s"),
            (999_949, "999.9 s"),
            (999_950, "999 s"),
            (86_400_000, "86400 s"),
        ];
        for (milliseconds, expected) in cases {
            assert_eq!(taken(Duration::from_millis(milliseconds)), expected);
            assert!(expected.len() <= 7, "{expected}");
        }
    }
}
