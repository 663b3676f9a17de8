//! The stage on which the programs of this folder play: the real gateway as a child process, a backend, senders, and
//! what is read from the outside while they play.
//!
//! Not here: what a single program shows. The gateway has the first processor to itself and everything else runs on
//! the second, so that whoever makes the load never takes time from whoever is measured.

mod backend;
mod client;
mod flood;
mod gateway;
mod load;
mod metrics;
mod output;
mod place;
mod site;
mod statistics;

pub(crate) use backend::Backend;
pub(crate) use client::{Alpn, HOME, Http1, Http2, Target, exchange, message, post};
pub(crate) use flood::{Flood, Style};
pub(crate) use gateway::{Gateway, send};
pub(crate) use load::{Answer, Heard, Round, Steady};
pub(crate) use metrics::Metrics;
pub(crate) use place::{
    Core, be_nice, descriptors, on, open_descriptors, processor_time, raise_limit, resident,
};
pub(crate) use site::{Site, TOKEN, configuration, route};
pub(crate) use statistics::{Spread, median, mib, millis, quantile, slope};

use std::process::ExitCode;
use std::time::Duration;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How large a program plays: `--quick` for some seconds, `name=value` for a single number.
pub(crate) struct Scale {
    quick: bool,
    given: Vec<(String, u64)>,
}

impl Scale {
    fn from_arguments() -> Result<Self> {
        let (mut quick, mut given) = (false, Vec::new());
        for argument in std::env::args().skip(1) {
            match argument.split_once('=') {
                Some((name, value)) => given.push((name.to_owned(), value.parse()?)),
                None if argument == "--quick" => quick = true,
                None if argument == "--bench" => {}
                None => return Err(format!("--quick or name=value, not {argument}").into()),
            }
        }
        Ok(Self { quick, given })
    }

    /// A number: as given, or by the size of the play.
    pub(crate) fn number(&self, name: &str, full: u64, quick: u64) -> u64 {
        let given = self.given.iter().find(|(known, _)| known == name);
        let default = if self.quick { quick } else { full };
        given.map_or(default, |(_, value)| *value)
    }

    pub(crate) fn count(&self, name: &str, full: u64, quick: u64) -> usize {
        usize::try_from(self.number(name, full, quick)).unwrap_or(usize::MAX)
    }

    pub(crate) fn seconds(&self, name: &str, full: u64, quick: u64) -> Duration {
        Duration::from_secs(self.number(name, full, quick))
    }
}

/// Plays, prints the verdict, and ends with 1 when a promise is broken.
pub(crate) fn play(
    name: &str,
    program: impl FnOnce(&Scale, &mut Promises) -> Result<()>,
) -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("a long play, not a test: cargo bench --bench {name}; `-- --quick` takes seconds");
        return ExitCode::SUCCESS;
    }
    let mut promises = Promises { broken: 0 };
    let played = Scale::from_arguments().and_then(|scale| {
        raise_limit()?;
        on(Core::Load)?;
        program(&scale, &mut promises)
    });
    match played {
        Ok(()) if promises.broken == 0 => {
            println!("verdict: {name}: every promise kept");
            return ExitCode::SUCCESS;
        }
        Ok(()) => println!("verdict: {name}: {} broken", promises.broken),
        Err(error) => println!("verdict: {name}: could not be played: {error}"),
    }
    ExitCode::FAILURE
}

/// Counts what was promised and not kept.
pub(crate) struct Promises {
    broken: usize,
}

impl Promises {
    pub(crate) fn that(&mut self, kept: bool, promise: &str) {
        if !kept {
            self.broken += 1;
        }
        println!("{} {promise}", if kept { "kept:  " } else { "BROKEN:" });
    }
}

/// Asks again and again until the answer is yes; an error when it has not come in time.
pub(crate) fn wait_until(
    what: &str,
    patience: Duration,
    mut asked: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = std::time::Instant::now();
    while !asked()? {
        if start.elapsed() > patience {
            return Err(format!("{what}: not within {} s", patience.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
