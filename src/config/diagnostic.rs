//! Findings: what is wrong with a configuration, where, and what to do about it.
//!
//! Message style: what was found in lower case without a full stop, then what was expected, then help that says
//! what to do. Names and values from the file stand in backticks.
//!
//! Not here: deciding what is wrong.
//!
//! A finding shows what the file says, never what the environment or a secret file holds. Its line of the source
//! passes through [`mask`] first, so that a secret that somebody wrote into the file is not printed again.

use std::fmt::Write as _;

use serde_json::json;

use super::mark::Mark;
use super::mask;

/// Widest piece of a source line that is shown, in characters.
const SNIPPET_WIDTH: usize = 120;
/// Most findings that are shown.
const MOST: usize = 500;
/// Longest line of which a piece is shown, in bytes. Longer ones are made by programs and for them.
const LONGEST_LINE: usize = 4 * 1024;
/// Longest value that a message repeats, in characters.
const QUOTE_LENGTH: usize = 100;

/// Whether a configuration can be used in spite of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but probably not as its author thinks.
    Warning,
}

impl Severity {
    /// The word for it in texts and in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named by the caller.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key in question, such as `routes[0].verify.tokens[1].env`; empty for the file as a whole.
    pub path: String,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub expected: String,
    /// What to do about it.
    pub hint: Option<String>,
    mark: Mark,
    snippet: Option<Snippet>,
}

impl Finding {
    /// The finding as text, several lines.
    pub fn text(&self) -> String {
        let mut text = format!("{}:{}:{}: ", self.file, self.line, self.column);
        text.push_str(self.severity.label());
        text.push_str(": ");
        if !self.path.is_empty() {
            let _ = write!(text, "{}: ", self.path);
        }
        let _ = writeln!(text, "{}", self.found);
        if let Some(snippet) = &self.snippet {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            let _ = writeln!(text, "  {gutter} |");
            let _ = writeln!(text, "  {number} | {}", snippet.line);
            let indent = " ".repeat(snippet.start);
            let _ = writeln!(text, "  {gutter} | {indent}{}", "^".repeat(snippet.width));
        }
        let _ = writeln!(text, "  expected: {}", self.expected);
        for line in self.hint.iter().flat_map(|hint| hint.lines()) {
            let _ = writeln!(text, "  help: {line}");
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "severity": self.severity.label(),
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "found": self.found,
            "expected": self.expected,
            "hint": self.hint,
        })
    }

    pub(super) fn error(at: &At, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(Severity::Error, at, found.into(), expected.into())
    }

    pub(super) fn warning(at: &At, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(Severity::Warning, at, found.into(), expected.into())
    }

    /// Adds what to do about it; each line becomes a `help:` line.
    pub(super) fn help(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn new(severity: Severity, at: &At, found: String, expected: String) -> Self {
        Self {
            severity,
            file: String::new(),
            line: at.mark.line,
            column: at.mark.column,
            path: at.path.clone(),
            found,
            expected,
            hint: None,
            mark: at.mark,
            snippet: None,
        }
    }
}

/// All findings as one text, with a last line that counts them; empty where there are none.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&finding.text());
        text.push('\n');
    }
    if !findings.is_empty() {
        let (errors, warnings) = count(findings);
        let _ = writeln!(
            text,
            "{}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        );
    }
    text
}

/// All findings as one JSON object; its keys are an interface.
pub(super) fn json(findings: &[Finding]) -> String {
    let (errors, warnings) = count(findings);
    let report = json!({
        "valid": errors == 0,
        "errors": errors,
        "warnings": warnings,
        "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}

/// Errors and warnings.
pub(super) fn count(findings: &[Finding]) -> (usize, usize) {
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    (errors, findings.len() - errors)
}

fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A value from the file as a message repeats it: in backticks, in one line, not too long, and without what looks like a
/// secret.
pub(super) fn quoted(text: &str) -> String {
    let masked = mask::line(text, 1, &[]).text;
    let text = masked.as_str();
    let mut shown: String = text.escape_debug().take(QUOTE_LENGTH).collect();
    if text.escape_debug().count() > QUOTE_LENGTH {
        shown.push('…');
    }
    format!("`{}`", shown.replace("\\\"", "\"").replace("\\'", "'"))
}

/// Words as a choice: "`a`, `b` or `c`".
pub(super) fn choice<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => "nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// A place in the file and the key it belongs to.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) mark: Mark,
    pub(super) path: String,
}

/// Collects findings of all stages.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    hidden: Vec<Mark>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.list.push(finding);
    }

    /// Whether nothing has been found.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets what is not about this key of the top level.
    pub(super) fn keep_about(&mut self, key: &str) {
        self.list.retain(|finding| {
            let below = finding.path.strip_prefix(key);
            below.is_some_and(|below| below.is_empty() || below.starts_with(['.', '[']))
        });
    }

    /// Keeps a stretch of the source out of all snippets.
    pub(super) fn hide(&mut self, mark: Mark) {
        self.hidden.push(mark);
    }

    /// Nobody reads a thousand findings; but an error among those left out must count.
    fn cut(&mut self) {
        let Some(more) = self.list.len().checked_sub(MOST).filter(|more| *more > 0) else {
            return;
        };
        self.list.truncate(MOST);
        let mark = self.list.last().map_or(Mark::start(), |last| last.mark);
        let at = At {
            mark,
            path: String::new(),
        };
        let found = format!("{more} more findings after this one, not shown");
        self.list.push(Finding::error(
            &at,
            found,
            "fewer mistakes; mend the ones above first",
        ));
    }

    /// All findings in the order of the file, each with its line of the source.
    pub(super) fn finish(mut self, file: &str, source: &str) -> Vec<Finding> {
        // Anchored nodes are checked once for each use; one report is enough.
        self.list.sort_by(|a, b| {
            (a.line, a.column, a.severity, &a.found).cmp(&(b.line, b.column, b.severity, &b.found))
        });
        self.list.dedup_by(|a, b| {
            (a.line, a.column, &a.found, &a.expected) == (b.line, b.column, &b.found, &b.expected)
        });
        self.cut();
        let lines: Vec<&str> = source.lines().collect();
        for finding in &mut self.list {
            file.clone_into(&mut finding.file);
            let line = finding.line.checked_sub(1).and_then(|at| lines.get(at));
            finding.snippet = line
                .filter(|line| line.len() <= LONGEST_LINE)
                .map(|line| Snippet::new(line, finding.mark, &self.hidden));
        }
        self.list
    }
}

/// A line of the source, fit for printing, and the stretch of it that is underlined.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    line: String,
    start: usize,
    width: usize,
}

impl Snippet {
    fn new(line: &str, mark: Mark, hidden: &[Mark]) -> Self {
        let masked = mask::line(line, mark.line, hidden);
        let first = mark.column.saturating_sub(1);
        let last = if mark.end_line == mark.line {
            mark.end_column.saturating_sub(1)
        } else {
            usize::MAX
        };
        let start = masked.position(first);
        let end = masked.position(last).max(start + 1);
        let text = masked.text.trim_end();
        let length = text.chars().count();
        let skipped = if length > SNIPPET_WIDTH {
            start.saturating_sub(SNIPPET_WIDTH / 2)
        } else {
            0
        };
        let shown: String = text.chars().skip(skipped).take(SNIPPET_WIDTH).collect();
        let start = start - skipped;
        let room = shown.chars().count().saturating_sub(start).max(1);
        Self {
            line: shown,
            start,
            width: (end - skipped - start).clamp(1, room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(source: &str, mark: Mark) -> String {
        let mut findings = Findings::default();
        let at = At {
            mark,
            path: "a.b".into(),
        };
        findings.add(Finding::error(&at, "nothing", "something").help("one\ntwo"));
        text(&findings.finish("f.yaml", source))
    }

    #[test]
    fn text_underlines_the_place() {
        let mark = Mark {
            end_column: 7,
            ..Mark::point(2, 4)
        };
        let expected = "f.yaml:2:4: error: a.b: nothing\n    |\n  2 | b: xyz\n    |    ^^^\n  \
                        expected: something\n  help: one\n  help: two\n\n1 error, 0 warnings\n";
        assert_eq!(finding("a: 1\nb: xyz\n", mark), expected);
    }

    #[test]
    fn text_survives_marks_outside_the_source() {
        for mark in [Mark::point(9, 1), Mark::point(1, 99), Mark::point(0, 0)] {
            assert!(finding("a: 1\n", mark).contains("expected: something"));
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let source = format!("a: {} x", "word ".repeat(200));
        let text = finding(&source, Mark::point(1, 500));
        assert!(
            text.lines().all(|line| line.chars().count() < 140),
            "{text}"
        );
    }

    #[test]
    fn many_findings_are_cut_but_stay_errors() {
        let mut findings = Findings::default();
        for line in 1..2_000 {
            let at = At {
                mark: Mark::point(line, 1),
                path: String::new(),
            };
            findings.add(Finding::warning(&at, "a", "b"));
        }
        let list = findings.finish("f", "");
        assert_eq!((list.len(), count(&list).0), (MOST + 1, 1));
    }

    #[test]
    fn choices_read_like_sentences() {
        assert_eq!(choice([]), "nothing");
        assert_eq!(choice(["a"]), "`a`");
        assert_eq!(choice(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
