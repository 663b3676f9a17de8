//! `countersign check`: everything `run` does before it opens a port.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{ConfigFile, print, say};
use crate::clock;
use crate::config::{self, Process, Report};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Let warnings count as errors
    #[arg(long)]
    strict: bool,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people, on standard error
    Text,
    /// For programs, on standard output
    Json,
}

pub(super) fn check(arguments: &Check) -> ExitCode {
    let report = config::load(&arguments.config.file, &Process, clock::unix_now());
    let valid = report.errors() == 0 && !(arguments.strict && report.warnings() > 0);
    match arguments.format {
        Format::Text => {
            say_findings(&report);
            say(&verdict(&arguments.config, &report, valid));
        }
        Format::Json => {
            print(&report.json());
        }
    }
    if valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints the findings for people, if there are any.
pub(super) fn say_findings(report: &Report) {
    let text = report.text();
    if !text.is_empty() {
        say(text.trim_end());
    }
}

fn verdict(config: &ConfigFile, report: &Report, valid: bool) -> String {
    let file = config.file.display();
    let word = if valid { "valid" } else { "not valid" };
    match (report.errors(), report.warnings()) {
        (0, 0) => format!("{file} is {word}"),
        (errors, warnings) => {
            format!(
                "{file} is {word}: {}, {}",
                counted(errors, "error"),
                counted(warnings, "warning")
            )
        }
    }
}

/// A number and what it counts.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}
