//! `countersign probe`: plays the sender against a live gateway, well and badly.
//!
//! Here are the arguments, the token and the authorities; what is tried and how it is judged is in the room `probe`.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{print, say};
use crate::clock;
use crate::config::{self, Environment as _, Process, Unusable};
use crate::probe::{self, Resolve, Seed, Target, Token};

/// Largest file of authorities, in bytes; the store of a machine has some 200 KiB.
const AUTHORITIES_CAP: u64 = 4 * 1024 * 1024;
/// Exit code where nothing was probed.
const NOT_UNDERSTOOD: u8 = 2;

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub(super) struct Probe {
    /// The URL as the sender has it; http:// only on this machine
    url: String,
    /// The environment variable that holds the token
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "token_file",
        conflicts_with = "token_file"
    )]
    token_env: Option<String>,
    /// The file that holds the token; one line end after it does not count
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Also send one synthetic message, which a right gateway forwards to its backend
    #[arg(long)]
    send_sample: bool,
    /// Trust the authorities in this PEM file instead of this machine's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where the host is, instead of asking for its name
    #[arg(long, value_name = "HOST:PORT:ADDR")]
    resolve: Option<Resolve>,
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Seconds to wait for a connection, a handshake or an answer; six times that for all of it
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120))]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What keeps a probe from beginning, and what to do about it.
type Obstacle = (String, &'static str);

pub(super) fn probe(arguments: &Probe) -> ExitCode {
    let probe = match prepare(arguments) {
        Ok(probe) => probe,
        Err((message, help)) => {
            say(&format!("error: {message}\n  help: {help}"));
            return ExitCode::from(NOT_UNDERSTOOD);
        }
    };
    let report = probe::run(&probe);
    let text = match arguments.format {
        Format::Text => report.text(coloured()),
        Format::Json => report.json(),
    };
    let printed = print(&text);
    if report.is_right() {
        printed
    } else {
        ExitCode::FAILURE
    }
}

/// On a terminal, and nobody said no. <https://no-color.org>
fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !refused
}

fn prepare(arguments: &Probe) -> Result<probe::Probe, Obstacle> {
    let target = Target::new(&arguments.url, arguments.resolve.as_ref()).map_err(|why| {
        let help = "give it as the sender has it, such as https://ehr.example.org/redox";
        (format!("the URL {why}"), help)
    })?;
    let token = token(arguments)?;
    if token.is_in(arguments.url.as_bytes()) {
        return Err((
            "the URL holds the token".to_owned(),
            "the token belongs in a header; everybody on this machine can read arguments, so change it",
        ));
    }
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| {
        let message = "no random numbers to be had from this machine";
        (
            message.to_owned(),
            "challenges have to be random; try on another machine",
        )
    })?;
    Ok(probe::Probe {
        roots: roots(arguments)?,
        target,
        token,
        now: clock::unix_now().0,
        seed: Seed(seed),
        timeout: Duration::from_secs(arguments.timeout),
        sample: arguments.send_sample,
    })
}

fn token(arguments: &Probe) -> Result<Token, Obstacle> {
    let (text, place) = match (&arguments.token_env, &arguments.token_file) {
        (Some(name), _) => (of_variable(name)?, format!("environment variable `{name}`")),
        (None, Some(path)) => (of_file(path)?, format!("{}", path.display())),
        (None, None) => return Err(("no token".to_owned(), "give --token-env or --token-file")),
    };
    Token::new(text).map_err(|why| {
        let help = "put the very token there that the sender has, and nothing around it";
        (format!("the token in {place} {why}"), help)
    })
}

fn of_variable(name: &str) -> Result<String, Obstacle> {
    Process.variable(name).map_err(|why| match why {
        Unusable::Unset => (
            format!("{} is not set", variable(name)),
            "set it for this command; --token-env wants the name of the variable, not the token",
        ),
        Unusable::NotText => (
            format!("environment variable `{name}` is not UTF-8"),
            "put the very token there that the sender has",
        ),
    })
}

/// As messages call it. What does not look like a name may be the token itself, given by mistake, and is not repeated:
/// output ends in logs.
fn variable(name: &str) -> String {
    let of_names = |byte: u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
    if name.len() < 32 && name.bytes().all(of_names) {
        format!("environment variable `{name}`")
    } else {
        "the environment variable of --token-env".to_owned()
    }
}

fn of_file(path: &Path) -> Result<String, Obstacle> {
    let bytes = read(path, "4 KiB", config::read_secret)?;
    String::from_utf8(bytes).map_err(|_| {
        let help = "put the very token there that the sender has";
        (format!("{} is not UTF-8", path.display()), help)
    })
}

fn roots(arguments: &Probe) -> Result<Vec<CertificateDer<'static>>, Obstacle> {
    if arguments.url.starts_with("http:") {
        return Ok(Vec::new());
    }
    let Some(path) = &arguments.ca else {
        let roots = Process.trust_roots();
        let none = "this machine has no trust store";
        let help = "install one (ca-certificates), or name a PEM file with --ca";
        return if roots.is_empty() {
            Err((none.to_owned(), help))
        } else {
            Ok(roots)
        };
    };
    let bytes = read(path, "4 MiB", |file| {
        config::read_at_most(file, AUTHORITIES_CAP)
    })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err((
            format!("{} has no certificate in PEM", path.display()),
            "give the certificate of the authority, or the self-signed one itself",
        )),
    }
}

fn read(
    path: &Path,
    limit: &str,
    content: impl FnOnce(File) -> io::Result<Vec<u8>>,
) -> Result<Vec<u8>, Obstacle> {
    File::open(path).and_then(content).map_err(|error| {
        if error.kind() == io::ErrorKind::FileTooLarge {
            let help = "this cannot be the right file";
            return (format!("{} is larger than {limit}", path.display()), help);
        }
        let help = "check the path, and whether this user may read it";
        (format!("cannot read {}: {error}", path.display()), help)
    })
}
