//! The command line: one file per command.
//!
//! Text for people goes to standard error, data to standard output. Messages begin in lower case, say what is
//! wrong, and then, after `help:`, what to do. Exit codes: 0 done, 1 not, 2 not understood.

mod audit;
mod check;
mod config;
mod demo;
mod descriptors;
mod healthcheck;
mod manager;
mod overview;
mod probe;
mod reload;
mod run;
pub mod serve;
mod shell;
mod successor;
mod supervise;
mod token;
mod trail;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

/// What `--version` tells: number, revision, target, TLS provider.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nrevision: ",
    env!("COUNTERSIGN_REVISION"),
    "\ntarget: ",
    env!("COUNTERSIGN_TARGET"),
    "\ntls: rustls with aws-lc-rs"
);

/// A TLS gateway for webhooks: answers verification challenges, refuses every request whose token is wrong, and
/// forwards the rest untouched.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    long_version = VERSION,
    max_term_width = 100
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop
    Run(ConfigFile),
    /// Do everything `run` does before it opens a port, and print all that is wrong
    Check(check::Check),
    /// Show the main job on this machine: a small backend, the gateway before it, and a sender
    Demo(demo::Demo),
    /// Ask a running gateway on this machine whether it is ready: 0 if so, for containers
    Healthcheck(healthcheck::HealthCheck),
    /// Play the sender against a live gateway, well and badly, and tell whether it is right
    Probe(probe::Probe),
    /// Make tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Look at audit trails
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Config),
    /// Print a completion script for a shell
    Completions(shell::Completions),
    /// Print the manual page
    Man,
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = "gateway.yaml"
    )]
    file: PathBuf,
}

/// The command line as clap reads it, so that what documents show can be read by the same rules.
pub fn grammar() -> clap::Command {
    CommandLine::command()
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Run(file) => run::run(&file.file),
        Command::Check(arguments) => check::check(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Healthcheck(arguments) => healthcheck::healthcheck(&arguments),
        Command::Probe(arguments) => probe::probe(&arguments),
        Command::Token(arguments) => token::token(&arguments),
        Command::Audit(arguments) => audit::audit(&arguments),
        Command::Config(arguments) => config::config(&arguments),
        Command::Completions(arguments) => shell::completions(&arguments),
        Command::Man => shell::man(),
    }
}

/// Data for whoever reads our output.
fn print(data: &str) -> ExitCode {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    // A reader that has gone (`| head`) wanted no more; that is no failure worth a message.
    match output
        .write_all(data.as_bytes())
        .and_then(|()| output.flush())
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A message for people.
fn say(message: &str) {
    use std::io::Write;
    // Where there is nobody to read, there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}

/// An error, and what to do about it.
fn fail(message: &str, help: &str) -> ExitCode {
    say(&format!("error: {message}"));
    if !help.is_empty() {
        say(&format!("  help: {help}"));
    }
    ExitCode::FAILURE
}
