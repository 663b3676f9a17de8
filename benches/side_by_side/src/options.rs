//! What the command line asks for: `name=value`, nothing else.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::proxy::Kind;
use crate::scenario::{SCENARIOS, Scenario};

/// Whether the proxies write access lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Log {
    /// The same kind of line for each request, into a file.
    All,
    /// No line at all, from anybody.
    None,
}

impl Log {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// The whole run.
pub(crate) struct Options {
    pub(crate) rounds: usize,
    /// How long each cell is measured.
    pub(crate) seconds: Duration,
    /// How long each cell runs before that.
    pub(crate) warm_up: Duration,
    pub(crate) scenarios: Vec<&'static Scenario>,
    pub(crate) proxies: Vec<Kind>,
    pub(crate) logs: Vec<Log>,
    pub(crate) out: PathBuf,
    pub(crate) countersign: PathBuf,
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) pingora: Option<PathBuf>,
    /// The arguments as given but for places of this machine, for the record.
    pub(crate) given: String,
}

impl Options {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let given: Vec<String> = arguments.collect();
        let mut options = Self {
            rounds: 5,
            seconds: Duration::from_secs(2),
            warm_up: Duration::from_millis(400),
            scenarios: SCENARIOS.iter().collect(),
            proxies: Kind::ALL.to_vec(),
            logs: vec![Log::All],
            out: PathBuf::from("results"),
            countersign: PathBuf::from("countersign"),
            envoy: None,
            pingora: None,
            given: record(&given),
        };
        for argument in &given {
            let (name, value) = argument
                .split_once('=')
                .ok_or_else(|| format!("name=value, not {argument}"))?;
            options.set(name, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "rounds" => self.rounds = value.parse()?,
            "seconds" => self.seconds = Duration::try_from_secs_f64(value.parse()?)?,
            "only" => self.scenarios = chosen(value, scenario)?,
            "proxies" => self.proxies = chosen(value, Kind::named)?,
            "log" => self.logs = logs(value)?,
            "out" => self.out = value.into(),
            "countersign" => self.countersign = value.into(),
            "envoy" => self.envoy = Some(value.into()),
            "pingora" => self.pingora = Some(value.into()),
            _ => return Err(format!("no parameter is called {name}").into()),
        }
        Ok(())
    }
}

fn record(given: &[String]) -> String {
    let is_told = |argument: &&String| !argument.contains('/');
    given
        .iter()
        .filter(is_told)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

fn chosen<T>(list: &str, find: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    list.split(',')
        .map(|name| find(name).ok_or_else(|| format!("{name} is not known").into()))
        .collect()
}

fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

fn logs(value: &str) -> Result<Vec<Log>> {
    match value {
        "all" => Ok(vec![Log::All]),
        "none" => Ok(vec![Log::None]),
        "both" => Ok(vec![Log::All, Log::None]),
        _ => Err(format!("log is all, none or both, not {value}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn names_and_values_are_taken() {
        let options = parse("rounds=2 seconds=0.5 only=keepalive,http2 proxies=nginx log=both")
            .expect("all are known");
        assert_eq!(options.rounds, 2);
        assert_eq!(options.seconds, Duration::from_millis(500));
        assert_eq!(options.scenarios.len(), 2);
        assert_eq!(options.proxies, [Kind::Nginx]);
        assert_eq!(options.logs, [Log::All, Log::None]);
    }

    #[test]
    fn places_are_not_told() {
        let options = parse("rounds=2 out=some/place log=none").expect("all are known");
        assert_eq!(options.given, "rounds=2 log=none");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in ["round=2", "rounds", "rounds=x", "only=none", "log=some"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
