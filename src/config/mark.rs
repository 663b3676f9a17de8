//! Places in the source.

/// A stretch of the source. Lines and columns count from 1, columns in characters; the end is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) end_line: usize,
    pub(super) end_column: usize,
}

impl Mark {
    /// One character.
    pub(super) fn point(line: usize, column: usize) -> Self {
        Self {
            line,
            column,
            end_line: line,
            end_column: column + 1,
        }
    }

    /// The beginning of the file, for findings about the file as a whole.
    pub(super) fn start() -> Self {
        Self::point(1, 1)
    }
}
