//! Lines of a file of any size, in bounded memory.

use std::io::{self, BufRead};

/// Longest line that is kept, in bytes; the rest of a longer one is passed over.
// Records are far shorter. It is what a torn end may be long at most, see `tail`.
const LINE_CAP: usize = 1024 * 1024 + 1;

/// One line after the other.
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

/// One line, without its line break.
pub(super) struct Line<'l> {
    pub(super) bytes: &'l [u8],
    /// Whether there was a line break; without one the file ends here.
    pub(super) finished: bool,
    /// Whether all of it is in `bytes`.
    pub(super) whole: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// When reading fails.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut whole = true;
        let mut any = false;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                let line = Line {
                    bytes: &self.line,
                    finished: false,
                    whole,
                };
                return Ok(any.then_some(line));
            }
            any = true;
            let end = memchr::memchr(b'\n', buffer);
            let piece = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
            let room = LINE_CAP.saturating_sub(self.line.len());
            whole &= piece.len() <= room;
            self.line
                .extend_from_slice(piece.get(..room).unwrap_or(piece));
            let used = piece.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(Line {
                    bytes: &self.line,
                    finished: true,
                    whole,
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_their_bound_and_counted_right() {
        let long = "x".repeat(3 * LINE_CAP);
        let text = format!("a\n\n{long}\nb");
        let reader = io::BufReader::with_capacity(100, text.as_bytes());
        let mut lines = Lines::new(reader);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push((line.bytes.len(), line.finished, line.whole));
        }
        let expected = [
            (1, true, true),
            (0, true, true),
            (LINE_CAP, true, false),
            (1, false, true),
        ];
        assert_eq!(seen, expected);
    }
}
