//! Two small audit trails, what can be done to their files, and a plain reading of what came of it.
//!
//! Shared by the fuzz target `audit_trail` and by `tests/it/audit_steps.rs`, and written from `docs/audit.md` alone.

use sha2::{Digest as _, Sha256};

/// Files of each trail.
const FILES: usize = 3;

/// Two trails of files of lines, each with its line break.
pub struct Trails {
    trails: [Vec<Vec<Vec<u8>>>; 2],
}

impl Default for Trails {
    fn default() -> Self {
        Self {
            trails: [trail("00000000000000aa"), trail("00000000000000bb")],
        }
    }
}

fn trail(boot: &str) -> Vec<Vec<Vec<u8>>> {
    let mut chain = Chain {
        boot: boot.to_owned(),
        seq: 0,
        previous: "0".repeat(64),
    };
    let file = |number: usize| {
        let mut lines = vec![chain.next(r#""event":"chain_started","file":"new""#)];
        lines.push(chain.next(r#""event":"ready""#));
        if number == 1 {
            let torn = r#"{"seq":7,"boot":"half a"#;
            let told = format!(
                r#""event":"chain_started","file":"continued","torn_bytes":{},"torn_sha256":"{}""#,
                torn.len(),
                hash(torn.as_bytes())
            );
            lines.push(format!("{torn}\n").into_bytes());
            lines.push(chain.next(&told));
        }
        lines.push(chain.next(r#""event":"message_accepted","status":200"#));
        lines.push(chain.next(r#""event":"records_lost","records":3"#));
        lines.push(chain.next(r#""event":"stopped","clean":true"#));
        lines
    };
    (0..FILES).map(file).collect()
}

struct Chain {
    boot: String,
    seq: u64,
    previous: String,
}

impl Chain {
    fn next(&mut self, fields: &str) -> Vec<u8> {
        self.seq += 1;
        let body = format!(
            r#"{{"seq":{},"boot":"{}",{fields},"previous":"{}""#,
            self.seq, self.boot, self.previous
        );
        self.previous = hash(body.as_bytes());
        format!("{body},\"hash\":\"{}\"}}\n", self.previous).into_bytes()
    }
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Trails {
    /// The files of the first trail after these steps, four bytes each.
    pub fn damaged(&self, steps: &[u8]) -> Vec<Vec<u8>> {
        let mut files = self.trails[0].clone();
        for step in steps.as_chunks::<4>().0.iter().take(16) {
            self.step(&mut files, *step);
        }
        files.iter().map(|lines| lines.concat()).collect()
    }

    fn step(&self, files: &mut Vec<Vec<Vec<u8>>>, [what, a, b, c]: [u8; 4]) {
        let [a, b, c] = [a, b, c].map(usize::from);
        let other = &self.trails[1][a % FILES];
        let foreign = other[b % other.len()].clone();
        if files.is_empty() {
            files.push(Vec::new());
        }
        let file = a % files.len();
        let count = files[file].len();
        let (line, place) = (b % count.max(1), c % (count + 1));
        let has_next = file + 1 < files.len();
        let lines = &mut files[file];
        match what % 16 {
            // One byte is another.
            0 if count > 0 => {
                let at = c % lines[line].len().max(1);
                if let Some(byte) = lines[line].get_mut(at) {
                    *byte ^= 1 << (a % 8);
                }
            }
            // A record is taken out, repeated, or moved.
            1 if count > 0 => drop(lines.remove(line)),
            2 if count > 0 => lines.insert(place, lines[line].clone()),
            3 if count > 0 => lines.swap(line, c % count),
            // The end is cut off: of records, or within one.
            4 => lines.truncate(place),
            5 if count > 0 => {
                lines.truncate(line + 1);
                lines[line].truncate(c);
            }
            // A record, or a file, of the other trail.
            6 => lines.insert(place, foreign),
            7 => *lines = other.clone(),
            // Files are left out, repeated, exchanged, joined, divided.
            8 => drop(files.remove(file)),
            9 => files.push(self.trails[0][a % FILES].clone()),
            10 => {
                let with = b % files.len();
                files.swap(file, with);
            }
            11 if has_next => {
                let next = files.remove(file + 1);
                files[file].extend(next);
            }
            12 => {
                let rest = files[file].split_off(place);
                files.insert(file + 1, rest);
            }
            // Bytes of no record: between records, or at the end of one.
            13 => lines.insert(place, vec![u8::try_from(b).unwrap_or_default(), b'\n']),
            14 if count > 0 => {
                let end = lines[line].len().saturating_sub(1);
                lines[line].splice(end..end, [[b'\r', b' ', 0, b'\t'][c % 4]]);
            }
            // Spelled otherwise, and the same to a parser.
            15 if count > 0 => {
                let (from, to): (&[u8], &[u8]) = [
                    (b"\"seq\":" as &[u8], b"\"seq\": " as &[u8]),
                    (b"\"event\"", b"\"\\u0065vent\""),
                    (b"{\"seq\"", b"{\"seq\":1,\"seq\""),
                ][c % 3];
                let at = lines[line]
                    .windows(from.len())
                    .position(|part| part == from);
                if let Some(at) = at {
                    lines[line].splice(at..at + from.len(), to.iter().copied());
                }
            }
            _ => {}
        }
    }

    /// Whether these files are records as they were written, of one trail, one after the other; from a file's beginning,
    /// and as far as they go.
    pub fn are_whole(&self, files: &[Vec<u8>]) -> bool {
        self.trails.iter().any(|trail| {
            let lines = trail.iter().flatten().collect::<Vec<_>>();
            let mut at = None;
            files.iter().all(|file| self.goes_on(file, &lines, &mut at)) && at.is_some()
        })
    }

    /// `at` is the place of the next line in the trail.
    fn goes_on(&self, file: &[u8], lines: &[&Vec<u8>], at: &mut Option<usize>) -> bool {
        let mut rest = file;
        while !rest.is_empty() {
            let beginning = rest.len() == file.len();
            let found = match at {
                Some(at) => lines
                    .get(*at)
                    .is_some_and(|line| rest.starts_with(line))
                    .then_some(*at),
                None => lines.iter().position(|line| rest.starts_with(line)),
            };
            let Some(found) = found else { return false };
            // A file begins with the record that says so.
            let new = br#""event":"chain_started","file":"new""#;
            let is_new = lines[found].windows(new.len()).any(|part| part == new);
            if beginning && !is_new {
                return false;
            }
            rest = &rest[lines[found].len()..];
            *at = Some(found + 1);
        }
        // Torn bytes belong to the record that tells of them, which is in the same file.
        at.is_none_or(|at| {
            at == 0 || lines[at - 1].starts_with(b"{\"seq\":") && lines[at - 1].ends_with(b"\"}\n")
        })
    }
}
