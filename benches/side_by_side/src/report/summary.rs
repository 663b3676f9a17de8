//! All rounds of a cell together.

use crate::measure::{Figures, SATURATED};
use crate::options::{Log, Options};
use crate::proxy::Kind;
use crate::rounds::{Cell, Outcome};
use crate::scenario::Scenario;
use crate::statistics::Spread;

/// One of the numbers that are compared; less is better in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Metric {
    Cpu,
    P50,
    P99,
    PerConnection,
    Empty,
    Peak,
}

impl Metric {
    pub(super) fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Self::Cpu => Some(figures.cpu_per_request / 1000.0),
            Self::P50 => Some(figures.p50),
            Self::P99 => Some(figures.p99),
            Self::PerConnection => figures.per_connection.map(|bytes| bytes / 1024.0),
            Self::Empty => Some(mib(figures.empty)),
            Self::Peak => Some(mib(figures.peak)),
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Cpu => "processor time per request, µs",
            Self::P50 => "median latency, µs",
            Self::P99 => "99th percentile of latency, µs",
            Self::PerConnection => "memory per idle connection, KiB",
            Self::Empty => "memory of the empty process, MiB",
            Self::Peak => "highest memory, MiB",
        }
    }
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// The cells of one variant of the log.
pub(super) struct Summary<'a> {
    cells: Vec<&'a Cell>,
    pub(super) scenarios: Vec<&'static Scenario>,
    pub(super) kinds: Vec<Kind>,
}

/// All rounds of a scenario with a proxy.
pub(super) enum Rounds<'a> {
    Measured(Vec<&'a Figures>),
    Absent(&'static str),
    /// None of them is good.
    Void,
}

impl<'a> Summary<'a> {
    pub(super) fn of(options: &Options, cells: &'a [Cell], log: Log) -> Self {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.log == log).collect();
        let played = |scenario: &&&Scenario| {
            let mut cells = cells.iter();
            cells.any(|cell| cell.scenario.name == scenario.name)
        };
        Self {
            scenarios: options.scenarios.iter().filter(played).copied().collect(),
            kinds: options.proxies.clone(),
            cells,
        }
    }

    pub(super) fn rounds(&self, scenario: &str, kind: Kind) -> Rounds<'a> {
        let (mut measured, mut absent) = (Vec::new(), None);
        let mine = |cell: &&&Cell| cell.scenario.name == scenario && cell.kind == kind;
        for cell in self.cells.iter().filter(mine) {
            match &cell.outcome {
                Outcome::Measured(figures) => measured.push(figures),
                Outcome::Absent(reason) => absent = Some(*reason),
                Outcome::Void(_) => {}
            }
        }
        match absent {
            _ if !measured.is_empty() => Rounds::Measured(measured),
            Some(reason) => Rounds::Absent(reason),
            None => Rounds::Void,
        }
    }

    pub(super) fn measured(&self, scenario: &str, kind: Kind) -> Vec<&'a Figures> {
        match self.rounds(scenario, kind) {
            Rounds::Measured(figures) => figures,
            Rounds::Absent(_) | Rounds::Void => Vec::new(),
        }
    }

    pub(super) fn spread(&self, scenario: &str, kind: Kind, metric: Metric) -> Option<Spread> {
        let figures = self.measured(scenario, kind);
        Spread::of(
            figures
                .into_iter()
                .filter_map(|figures| metric.of(figures))
                .collect(),
        )
    }

    /// The rival with the lowest median among these.
    pub(super) fn best(
        &self,
        scenario: &str,
        metric: Metric,
        among: impl Fn(Kind) -> bool,
    ) -> Option<(Kind, f64)> {
        let rivals = self.kinds.iter().copied();
        rivals
            .filter(|kind| *kind != Kind::Countersign && among(*kind))
            .filter_map(|kind| Some((kind, self.spread(scenario, kind, metric)?.median)))
            .min_by(|one, other| one.1.total_cmp(&other.1))
    }

    /// Countersign's median, divided by the best rival's, and who that is.
    pub(super) fn ratio(
        &self,
        scenario: &str,
        metric: Metric,
        among: impl Fn(Kind) -> bool,
    ) -> Option<(f64, Kind)> {
        let own = self.spread(scenario, Kind::Countersign, metric)?.median;
        let (kind, best) = self.best(scenario, metric, among)?;
        Some((own / best, kind))
    }

    /// Whether the proxy was the limit in every round.
    pub(super) fn is_saturated(figures: &[&Figures]) -> bool {
        figures
            .iter()
            .all(|figures| figures.proxy_busy >= SATURATED)
    }
}
