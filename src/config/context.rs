//! What all parts of compiling share: the places of settings, the findings so far, the machine.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::Environment;
use super::diagnostic::{At, Finding, Findings};
use super::places::Places;
use crate::verify::UnixTime;

/// What compiling needs besides the document.
pub(super) struct Context<'a> {
    pub(super) places: &'a Places,
    pub(super) findings: &'a mut Findings,
    pub(super) env: &'a dyn Environment,
    pub(super) now: UnixTime,
    /// Where relative paths begin.
    pub(super) base: &'a Path,
    /// Every file that was asked for, whether or not it could be read.
    pub(super) files: RefCell<Vec<PathBuf>>,
}

impl Context<'_> {
    pub(super) fn error(
        &mut self,
        path: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let finding = Finding::error(&self.at(path), found, expected);
        self.findings.add(finding);
    }

    pub(super) fn error_help(
        &mut self,
        path: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
        help: impl Into<String>,
    ) {
        let finding = Finding::error(&self.at(path), found, expected).help(help);
        self.findings.add(finding);
    }

    pub(super) fn warn_help(
        &mut self,
        path: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
        help: impl Into<String>,
    ) {
        let finding = Finding::warning(&self.at(path), found, expected).help(help);
        self.findings.add(finding);
    }

    /// Keeps the value of a setting out of all snippets.
    pub(super) fn hide(&mut self, path: &str) {
        let mark = self.at(path).mark;
        self.findings.hide(mark);
    }

    /// The value of a setting as the file has it.
    pub(super) fn shown(&self, path: &str) -> String {
        self.places.shown(path)
    }

    /// The line of a setting.
    pub(super) fn line(&self, path: &str) -> usize {
        self.at(path).mark.line
    }

    /// Whether a part of a setting has been taken out, so that what seems to be missing may have been there.
    pub(super) fn lost(&self, path: &str) -> bool {
        self.places.lost(path)
    }

    /// Whether the file has a setting.
    pub(super) fn has(&self, path: &str) -> bool {
        self.places.has(path)
    }

    /// A file that the configuration names. From here on it is one whose content matters.
    pub(super) fn resolve(&self, file: &str) -> PathBuf {
        let path = self.base.join(file);
        self.files.borrow_mut().push(path.clone());
        path
    }

    pub(super) fn at(&self, path: &str) -> At {
        self.places.at(path)
    }
}
