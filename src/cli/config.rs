//! `countersign config`: what is in force, and what may be written.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use super::check::say_findings;
use super::{ConfigFile, print};
use crate::clock;
use crate::config::{self, Process};

/// Arguments of `config`.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Print the effective configuration: defaults filled in, every secret masked
    Show(ConfigFile),
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
}

pub(super) fn config(arguments: &Config) -> ExitCode {
    match arguments {
        Config::Show(config) => show(&config.file),
        Config::Schema => print(&config::schema()),
    }
}

fn show(file: &Path) -> ExitCode {
    match config::show(file, &Process, clock::unix_now()) {
        Ok(text) => print(&text),
        Err(report) => {
            say_findings(&report);
            ExitCode::FAILURE
        }
    }
}
