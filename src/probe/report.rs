//! What a probe tells: one step after the other, and whether all is right.
//!
//! Not here: the text table (`Report::text` in `table`).

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

/// Number of the form that [`Report::json`] has; another one when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// Right for now, but somebody has to act soon.
    Warning,
    /// Good to know, neither right nor wrong.
    Info,
    /// Refused, but for a reason that says nothing about what was tried.
    Unclear,
    /// Not done, and why.
    Skipped,
    /// Not as it must be.
    Wrong,
}

impl Verdict {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Unclear => "unclear",
            Self::Skipped => "skipped",
            Self::Wrong => "wrong",
        }
    }
}

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The way to the gateway.
    Connection,
    /// TLS and certificates.
    Tls,
    /// Challenges.
    Challenge,
    /// Messages and their token.
    Token,
    /// Methods other than those of the protocol.
    Method,
    /// Paths.
    Path,
    /// HTTP that is too large, or has two readings.
    Http,
    /// A message that a right gateway forwards.
    Sample,
}

impl Group {
    /// As a headline.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Tls => "TLS and certificate",
            Self::Challenge => "challenges",
            Self::Token => "messages",
            Self::Method => "methods",
            Self::Path => "paths",
            Self::Http => "HTTP",
            Self::Sample => "sample",
        }
    }
}

/// One thing that was tried.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name, for programs and documents.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// What was sent or looked at, in words.
    pub sent: &'static str,
    /// What a right gateway does.
    pub expected: &'static str,
    /// What this one did.
    pub seen: String,
    /// Whether that is right.
    pub verdict: Verdict,
    /// From the first byte sent to the last one of the answer, where there was one.
    pub latency: Option<Duration>,
    /// What it means and what to do.
    pub advice: Option<String>,
}

/// All steps of a probe.
#[derive(Clone, Debug)]
pub struct Report {
    /// As it was given.
    pub url: String,
    /// Where the gateway was found.
    pub address: Option<SocketAddr>,
    /// How long all of it took.
    pub duration: Duration,
    /// In order.
    pub steps: Vec<Step>,
}

#[derive(Serialize)]
struct JsonReport<'r> {
    schema: u32,
    url: &'r str,
    address: Option<String>,
    right: bool,
    duration_s: f64,
    counts: JsonCounts,
    steps: Vec<JsonStep<'r>>,
}

#[derive(Serialize)]
struct JsonCounts {
    ok: usize,
    warning: usize,
    info: usize,
    unclear: usize,
    skipped: usize,
    wrong: usize,
}

#[derive(Serialize)]
struct JsonStep<'r> {
    id: &'r str,
    group: Group,
    sent: &'r str,
    expected: &'r str,
    seen: &'r str,
    verdict: Verdict,
    latency_s: Option<f64>,
    advice: Option<&'r str>,
}

impl Report {
    /// Whether no step is wrong, and it answers to the token: who answers nothing has shown nothing.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let answers = self.steps.iter().any(|step| {
            step.group == Group::Challenge && matches!(step.verdict, Verdict::Ok | Verdict::Warning)
        });
        answers && self.count(Verdict::Wrong) == 0
    }

    /// How many steps ended so.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let same = self.steps.iter().filter(|step| step.verdict == verdict);
        same.count()
    }

    /// For programs; the form is described in `docs/probe.md`.
    #[must_use]
    pub fn json(&self) -> String {
        let report = JsonReport {
            schema: SCHEMA,
            url: &self.url,
            address: self.address.map(|address| address.to_string()),
            right: self.is_right(),
            duration_s: self.duration.as_secs_f64(),
            counts: JsonCounts {
                ok: self.count(Verdict::Ok),
                warning: self.count(Verdict::Warning),
                info: self.count(Verdict::Info),
                unclear: self.count(Verdict::Unclear),
                skipped: self.count(Verdict::Skipped),
                wrong: self.count(Verdict::Wrong),
            },
            steps: self.steps.iter().map(json_step).collect(),
        };
        let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn json_step(step: &Step) -> JsonStep<'_> {
    JsonStep {
        id: step.id,
        group: step.group,
        sent: step.sent,
        expected: step.expected,
        seen: &step.seen,
        verdict: step.verdict,
        latency_s: step.latency.map(|latency| latency.as_secs_f64()),
        advice: step.advice.as_deref(),
    }
}
