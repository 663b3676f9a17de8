//! The order of things: rounds, in each round all scenarios, in each scenario all proxies in turn.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::machine::Machine;
use crate::measure::{Figures, Place, Stage};
use crate::options::{Log, Options};
use crate::place::{self, Core, Cores};
use crate::proxy::Kind;
use crate::report;
use crate::scenario::{Load, SCENARIOS, Scenario};

/// What became of a cell.
pub(crate) enum Outcome {
    Measured(Figures),
    /// It is not played, and why.
    Absent(&'static str),
    /// Something went wrong, and what.
    Void(String),
}

/// A scenario with a proxy in a round.
pub(crate) struct Cell {
    pub(crate) round: usize,
    pub(crate) log: Log,
    pub(crate) scenario: &'static Scenario,
    pub(crate) kind: Kind,
    pub(crate) outcome: Outcome,
}

/// Runs everything and writes the report; tells how many cells are void.
pub(crate) fn run(options: &Options) -> Result<usize> {
    place::raise_limit()?;
    fs::create_dir_all(&options.out)?;
    let (cores, folder) = (Cores::find()?, folder(options)?);
    let programs = programs(options);
    let machine = Machine::look(&programs, options)?;
    cores.enter(Core::Load)?;
    certificate(&folder)?;
    let mut run = Run {
        stage: Stage::new(cores, folder)?,
        options,
        programs,
        capacity: 0.0,
        cells: Vec::new(),
    };
    run.find_capacity();
    for &log in &options.logs {
        for round in 0..options.rounds {
            run.round(log, round);
        }
    }
    let Run {
        cells, capacity, ..
    } = run;
    report::write(options, &machine, capacity, &cells)?;
    let void = |cell: &&Cell| matches!(cell.outcome, Outcome::Void(_));
    Ok(cells.iter().filter(void).count())
}

struct Run<'a> {
    stage: Stage,
    options: &'a Options,
    programs: HashMap<&'static str, PathBuf>,
    /// Requests per second on open connections of the proxy that took most.
    capacity: f64,
    cells: Vec<Cell>,
}

impl Run<'_> {
    /// Only needed where the rate is fixed: each proxy shows what it can take.
    fn find_capacity(&mut self) {
        let is_open = |scenario: &&Scenario| matches!(scenario.load, Load::Open { .. });
        let Some(keepalive) = SCENARIOS.first() else {
            return;
        };
        if !self.options.scenarios.iter().any(is_open) {
            return;
        }
        for kind in &self.options.proxies {
            if let Outcome::Measured(figures) = self.cell(*kind, keepalive, Log::None) {
                self.capacity = self.capacity.max(figures.per_second);
            }
        }
        eprintln!("capacity: {:.0} requests/s", self.capacity);
    }

    fn round(&mut self, log: Log, round: usize) {
        for scenario in &self.options.scenarios {
            // Memory does not depend on the log: once is enough.
            if scenario.is_idle() && self.options.logs.first() != Some(&log) {
                continue;
            }
            let mut order = self.options.proxies.clone();
            let count = order.len().max(1);
            order.rotate_left(round % count);
            for kind in order {
                let outcome = self.cell(kind, scenario, log);
                let cell = Cell {
                    round,
                    log,
                    scenario,
                    kind,
                    outcome,
                };
                eprintln!("{}", report::line(&cell));
                self.cells.push(cell);
            }
        }
    }

    fn cell(&self, kind: Kind, scenario: &'static Scenario, log: Log) -> Outcome {
        let reason = scenario.only_countersign();
        if let (Some(reason), true) = (reason, kind != Kind::Countersign) {
            return Outcome::Absent(reason);
        }
        let Some(program) = self.programs.get(kind.name()) else {
            return Outcome::Absent("not available");
        };
        let place = Place {
            kind,
            program,
            scenario,
            log,
            capacity: self.capacity,
        };
        match self.stage.measure(self.options, &place) {
            Ok(figures) => Outcome::Measured(figures),
            Err(error) => Outcome::Void(error.to_string()),
        }
    }
}

fn programs(options: &Options) -> HashMap<&'static str, PathBuf> {
    let kinds = options.proxies.iter();
    kinds
        .filter_map(|kind| Some((kind.name(), kind.program(options)?)))
        .collect()
}

/// Where the proxies write; absolute, because each takes relative paths from another place.
fn folder(options: &Options) -> Result<PathBuf> {
    let folder = options.out.canonicalize()?.join("work");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// One ECDSA P-256 certificate for all; HAProxy wants it in one file with its key.
fn certificate(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    secret(&folder.join("both.pem"), &format!("{certificate}{key}"))?;
    secret(&folder.join("key.pem"), &key)?;
    Ok(fs::write(folder.join("certificate.pem"), certificate)?)
}

/// For its owner alone, or countersign warns.
fn secret(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text)?;
    Ok(fs::set_permissions(
        file,
        fs::Permissions::from_mode(0o600),
    )?)
}
