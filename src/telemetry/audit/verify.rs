//! Checks a trail: every record, every link between two, and where the files of a rotated trail meet.
//!
//! Reads each byte once, in bounded memory. Of a file that somebody may have changed it repeats numbers and hashes only.
//! What a chain cannot show is that its end is missing; [`Expected`] and the `stopped` of every process are for that.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead};

use sha2::{Digest as _, Sha256};

use super::chain::{Fields, HASH_BYTES, Link, Record, Seal, hex, unhex};
use super::lines::Lines;

/// Most breaks that are told one by one; the rest is counted.
const BREAKS: usize = 100;
/// Most notes that are told one by one; the rest is counted.
const NOTES: usize = 100;
/// Most gaps that are remembered, in case what is missing comes later.
const GAPS: usize = 1000;
/// Most processes without an end that are remembered.
const BOOTS: usize = 1000;
/// Most lines in a row that are told one by one where they are no records.
const BAD_LINES: usize = BREAKS;

/// What kind of damage it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakKind {
    /// A record is not as it was written, or something else stands there.
    Edited,
    /// Records are missing.
    Removed,
    /// A record stands in the wrong place.
    Reordered,
    /// A record stands there twice.
    Duplicated,
    /// The end is missing.
    Truncated,
    /// Another chain begins, which does not name the one before it.
    Unlinked,
}

impl BreakKind {
    /// What reports call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Removed => "removed",
            Self::Reordered => "reordered",
            Self::Duplicated => "duplicated",
            Self::Truncated => "truncated",
            Self::Unlinked => "unlinked",
        }
    }
}

/// A place where the trail is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The file, as it was given.
    pub file: String,
    /// The line, from 1; 0 where it is about the whole file.
    pub line: u64,
    /// What kind of damage.
    pub kind: BreakKind,
    /// What is there.
    pub found: String,
    /// What should be.
    pub expected: String,
}

/// A record that is known from elsewhere, such as a copy on another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The trail goes at least as far as this number.
    Seq(u64),
    /// It has the record with this hash.
    Hash([u8; HASH_BYTES]),
}

impl std::str::FromStr for Expected {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(hash) = unhex(text.as_bytes()) {
            return Ok(Self::Hash(hash));
        }
        let seq = text.parse().map(Self::Seq);
        seq.map_err(|_| "neither the number of a record nor a hash of 64 small hexadecimal digits")
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// The file, as it was given.
    pub file: String,
    /// How many genuine records it has.
    pub records: u64,
    /// The number of the first one; 0 without any.
    pub first_seq: u64,
    /// The number of the last one; 0 without any.
    pub last_seq: u64,
    /// The hash of the last one, as hexadecimal digits.
    pub last_hash: String,
}

/// What came of a check.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Each file.
    pub files: Vec<FileSummary>,
    /// Where the trail is not whole.
    pub breaks: Vec<Break>,
    /// How many more such places there are.
    pub further: u64,
    /// What is worth knowing, and no damage.
    pub notes: Vec<String>,
    /// How many more notes there would be.
    pub further_notes: u64,
    /// Whether a record says that there is a key, and none was given.
    pub needs_key: bool,
    /// Whether a record says that there is none, and nothing but keys was given.
    pub has_no_key: bool,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.breaks.is_empty()
    }
}

/// See the module.
pub struct Verifier {
    seals: Vec<Seal>,
    expected: Vec<Expected>,
    /// The last record in order.
    at: Option<Link>,
    gaps: VecDeque<(u64, u64)>,
    /// Processes whose `stopped` has not come, each with the place of its last record.
    boots: BTreeMap<String, String>,
    bad: BadLines,
    name: String,
    line: u64,
    begun: bool,
    verdict: Verdict,
}

/// Lines in a row that are no genuine records.
#[derive(Default)]
struct BadLines {
    lines: Vec<(u64, &'static str)>,
    count: u64,
    bytes: u64,
    hash: Sha256,
}

impl BadLines {
    fn add(&mut self, line: u64, bytes: &[u8], why: &'static str) {
        if self.count > 0 {
            self.hash.update(b"\n");
            self.bytes += 1;
        }
        self.count += 1;
        self.hash.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.lines.len() < BAD_LINES {
            self.lines.push((line, why));
        }
    }

    /// Whether a record tells of exactly these bytes.
    fn are_told_of(&self, fields: &Fields<'_>) -> bool {
        let hash = hex(&self.hash.clone().finalize());
        fields.event == "chain_started"
            && fields.torn_bytes == Some(self.bytes)
            && fields.torn_sha256.as_deref() == Some(hash.as_str())
    }
}

impl Verifier {
    /// A check with these seals, one of which every record has to have.
    pub fn new(seals: Vec<Seal>, expected: Vec<Expected>) -> Self {
        Self {
            seals,
            expected,
            at: None,
            gaps: VecDeque::new(),
            boots: BTreeMap::new(),
            bad: BadLines::default(),
            name: String::new(),
            line: 0,
            begun: false,
            verdict: Verdict {
                files: Vec::new(),
                breaks: Vec::new(),
                further: 0,
                notes: Vec::new(),
                further_notes: 0,
                needs_key: false,
                has_no_key: false,
            },
        }
    }

    /// Checks the next file, the oldest one first.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub fn file(&mut self, name: &str, reader: impl BufRead) -> io::Result<()> {
        self.name = name.to_owned();
        (self.line, self.begun) = (0, false);
        self.verdict.files.push(FileSummary {
            file: name.to_owned(),
            records: 0,
            first_seq: 0,
            last_seq: 0,
            last_hash: String::new(),
        });
        let mut lines = Lines::new(reader);
        let mut finished = true;
        while let Some(line) = lines.next()? {
            self.line += 1;
            finished = line.finished;
            let record = Record::read(line.bytes).filter(|_| line.whole);
            match record {
                Some(record) if record.is_genuine(&self.seals) => self.record(&record),
                Some(record) => {
                    let keyed = record.fields.keyed == Some(true);
                    self.verdict.needs_key |= keyed && !self.seals.iter().any(Seal::is_keyed);
                    let keyless = record.fields.keyed == Some(false);
                    self.verdict.has_no_key |= keyless && self.seals.iter().all(Seal::is_keyed);
                    self.bad
                        .add(self.line, line.bytes, "a hash that does not fit the record")
                }
                None => self
                    .bad
                    .add(self.line, line.bytes, "a line that is no record"),
            }
        }
        self.end_of_file(finished);
        Ok(())
    }

    /// The verdict. With `closed` every process has to have ended with `stopped`.
    pub fn finish(mut self, closed: bool) -> Verdict {
        for expected in std::mem::take(&mut self.expected) {
            let (reached, expected) = match expected {
                Expected::Seq(seq) => (self.at.is_some_and(|at| at.seq >= seq), seq.to_string()),
                Expected::Hash(hash) => (false, hex(&hash)),
            };
            if !reached {
                let found = match self.at {
                    Some(at) => format!("an end at record {}", at.seq),
                    None => "no record".to_owned(),
                };
                self.add(
                    self.line,
                    BreakKind::Truncated,
                    found,
                    format!("record {expected}"),
                );
            }
        }
        if self.at.is_none() && self.verdict.is_whole() {
            let found = "no record in any file".to_owned();
            let expected = "`chain_started`, with which every trail begins".to_owned();
            self.add(self.line, BreakKind::Truncated, found, expected);
        }
        for (boot, place) in std::mem::take(&mut self.boots) {
            if closed {
                let found = format!("the process {boot} ends at {place}");
                self.add(
                    self.line,
                    BreakKind::Truncated,
                    found,
                    "its record `stopped`".to_owned(),
                );
            } else {
                self.note(format!(
                    "the process {boot} ends at {place} without `stopped`: it still runs, crashed, or the end was cut off"
                ));
            }
        }
        self.verdict
    }

    fn record(&mut self, record: &Record<'_>) {
        let fields = &record.fields;
        let skipped = self.settle_bad_lines(Some(fields));
        self.check_beginning(fields, skipped > 0);
        self.check_link(record, skipped);
        self.expected
            .retain(|expected| *expected != Expected::Hash(record.link.hash));
        if fields.event == "records_lost" {
            let count = fields.records.unwrap_or_default();
            let place = format!("{}:{}", self.name, self.line);
            self.note(format!(
                "{place}: {count} records could not be written, and are lost"
            ));
        } else if fields.event == "stopped" {
            self.boots.remove(&*fields.boot);
        } else if self.boots.len() < BOOTS || self.boots.contains_key(&*fields.boot) {
            let place = format!("{}:{}", self.name, self.line);
            self.boots.insert(fields.boot.clone().into_owned(), place);
        }
        if let Some(file) = self.verdict.files.last_mut() {
            if file.records == 0 {
                file.first_seq = record.link.seq;
            }
            file.records += 1;
            file.last_seq = record.link.seq;
            file.last_hash = hex(&record.link.hash);
        }
    }

    /// How many places of the chain the bad lines before this record took.
    fn settle_bad_lines(&mut self, next: Option<&Fields<'_>>) -> u64 {
        let bad = std::mem::take(&mut self.bad);
        let first = bad.lines.first().map_or(0, |(line, _)| *line);
        if bad.count == 0 {
            if next.is_some_and(|fields| fields.torn_bytes.is_some()) {
                let found = "nothing torn before a record that tells of it".to_owned();
                let expected = "the bytes of which it tells".to_owned();
                self.add(self.line, BreakKind::Edited, found, expected);
            }
            return 0;
        }
        if next.is_some_and(|fields| bad.are_told_of(fields)) {
            self.note(format!(
                "{}:{first}: {} bytes that are no record, of which the record after them tells: a process ended while it wrote",
                self.name, bad.bytes
            ));
            return 0;
        }
        for (line, why) in &bad.lines {
            self.add(
                *line,
                BreakKind::Edited,
                (*why).to_owned(),
                "a record as it was written".to_owned(),
            );
        }
        let told = u64::try_from(bad.lines.len()).unwrap_or(u64::MAX);
        self.verdict.further += bad.count.saturating_sub(told);
        bad.count
    }

    /// Every file begins with the record that says so.
    fn check_beginning(&mut self, fields: &Fields<'_>, after_bad_lines: bool) {
        if std::mem::replace(&mut self.begun, true) || after_bad_lines {
            return;
        }
        if fields.event != "chain_started" || fields.file.as_deref() != Some("new") {
            let found = format!("the record `{}`", known(&fields.event));
            let expected = "`chain_started`, with which every file begins".to_owned();
            self.add(self.line, BreakKind::Removed, found, expected);
        }
    }

    /// Checks a genuine record against the one before it.
    fn check_link(&mut self, record: &Record<'_>, skipped: u64) {
        let link = record.link;
        let first = link.seq == 1 && record.previous == Link::NONE.hash;
        let Some(at) = self.at else {
            if !first && skipped == 0 {
                let before = link.seq.saturating_sub(1);
                self.note(format!(
                    "{} begins after record {before} with the hash {}, which is not in these files",
                    self.name,
                    hex(&record.previous)
                ));
            }
            self.at = Some(link);
            return;
        };
        // Nothing comes behind the highest number there is.
        let next = at.seq.saturating_add(1);
        let follows = next > at.seq && link.seq == next && record.previous == at.hash;
        // The record before it is bad, and has been told of.
        let behind_bad = skipped > 0 && link.seq == next.saturating_add(skipped);
        if follows || behind_bad {
            self.at = Some(link);
        } else if first {
            let found = "record 1 of a chain of its own".to_owned();
            self.add(
                self.line,
                BreakKind::Unlinked,
                found,
                format!("record {next}"),
            );
            self.gaps.clear();
            self.at = Some(link);
        } else if link.seq == next {
            let found = format!("record {next} after {}", hex(&record.previous));
            let expected = format!("record {next} after {}", hex(&at.hash));
            self.add(self.line, BreakKind::Edited, found, expected);
            self.at = Some(link);
        } else if link.seq > next {
            self.add(
                self.line,
                BreakKind::Removed,
                format!("record {}", link.seq),
                format!("record {next}"),
            );
            if self.gaps.len() == GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back((next, link.seq - 1));
            self.at = Some(link);
        } else {
            let missed = self
                .gaps
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&link.seq));
            let kind = if missed {
                BreakKind::Reordered
            } else {
                BreakKind::Duplicated
            };
            self.add(
                self.line,
                kind,
                format!("record {}", link.seq),
                format!("record {next}"),
            );
        }
    }

    fn end_of_file(&mut self, finished: bool) {
        // A torn last line is told of once.
        if !finished
            && self
                .bad
                .lines
                .pop_if(|(line, _)| *line == self.line)
                .is_some()
        {
            self.bad.count -= 1;
        }
        self.settle_bad_lines(None);
        if !finished {
            let found = "a last line without its line break".to_owned();
            let expected = "the whole record".to_owned();
            self.add(self.line, BreakKind::Truncated, found, expected);
        }
        if self.line == 0 {
            let note = format!("{}: an empty file", self.name);
            self.note(note);
        }
    }

    fn note(&mut self, note: String) {
        if self.verdict.notes.len() < NOTES {
            self.verdict.notes.push(note);
        } else {
            self.verdict.further_notes += 1;
        }
    }

    fn add(&mut self, line: u64, kind: BreakKind, found: String, expected: String) {
        if self.verdict.breaks.len() >= BREAKS {
            self.verdict.further += 1;
            return;
        }
        self.verdict.breaks.push(Break {
            file: self.name.clone(),
            line,
            kind,
            found,
            expected,
        });
    }
}

/// A label of ours, and not whatever somebody wrote in its place.
fn known(event: &str) -> &'static str {
    let labels = super::event::AuditEvent::ALL.iter();
    let mut labels = labels.map(|event| event.label());
    labels.find(|label| *label == event).unwrap_or("unknown")
}
