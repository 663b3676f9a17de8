//! What countersign wants to be, what it is, and where it loses.

use std::fmt::Write as _;

use super::summary::{Metric, Summary};
use crate::options::Log;
use crate::proxy::Kind;

/// Against whom a goal is set.
#[derive(Clone, Copy)]
enum Rival {
    /// Whoever is best in the scenario.
    Best,
    /// The best of those that come from the distribution.
    Distribution,
    Envoy,
    /// Countersign itself with one route and one token.
    Itself,
}

struct Goal {
    scenario: &'static str,
    metric: Metric,
    rival: Rival,
    limit: f64,
}

const fn goal(scenario: &'static str, metric: Metric, rival: Rival, limit: f64) -> Goal {
    Goal {
        scenario,
        metric,
        rival,
        limit,
    }
}

const GOALS: &[Goal] = &[
    goal("keepalive", Metric::Cpu, Rival::Best, 0.85),
    goal("handshake_full", Metric::Cpu, Rival::Distribution, 0.45),
    goal("handshake_full", Metric::Cpu, Rival::Envoy, 0.80),
    goal("handshake_resumed", Metric::Cpu, Rival::Best, 0.80),
    goal("reject_keepalive", Metric::Cpu, Rival::Best, 0.75),
    goal("reject_new", Metric::Cpu, Rival::Best, 0.45),
    goal("http2", Metric::Cpu, Rival::Best, 0.75),
    goal("body_64k", Metric::Cpu, Rival::Best, 0.90),
    goal("body_1m", Metric::Cpu, Rival::Best, 0.90),
    goal("rate_half", Metric::P99, Rival::Best, 1.00),
    goal("idle_1000", Metric::PerConnection, Rival::Best, 0.60),
    goal("idle_10000", Metric::PerConnection, Rival::Best, 0.60),
    goal("idle_1000", Metric::Empty, Rival::Best, 1.00),
    // More tokens cost more on purpose: all of them are compared each time, so that the time tells nothing.
    goal("routes_10000", Metric::Cpu, Rival::Itself, 1.05),
    goal("tokens_1000", Metric::Cpu, Rival::Itself, 1.05),
];

/// The goals and the losses.
pub(super) fn judged(summary: &Summary<'_>, log: Log) -> String {
    let mut text = format!(
        "\n## Goals, log={}\n\n| scenario | of | against | goal | measured | |\n| --- | --- | --- | --- | --- | --- |\n",
        log.name()
    );
    for goal in GOALS {
        let (against, ratio) = goal.measured(summary);
        let Some(ratio) = ratio else { continue };
        let met = if ratio <= goal.limit {
            "met"
        } else {
            "**not met**"
        };
        let (title, limit) = (goal.metric.title(), goal.limit);
        let _ = writeln!(
            text,
            "| {} | {title} | {against} | ≤ {limit:.2} | {ratio:.2} | {met} |",
            goal.scenario
        );
    }
    text + &losses(summary, log)
}

impl Goal {
    fn measured(&self, summary: &Summary<'_>) -> (String, Option<f64>) {
        let against = |ratio: Option<(f64, Kind)>, what: &str| match ratio {
            Some((ratio, kind)) => (format!("{what} ({})", kind.name()), Some(ratio)),
            None => (what.to_owned(), None),
        };
        let ratio = |among: fn(Kind) -> bool| summary.ratio(self.scenario, self.metric, among);
        match self.rival {
            Rival::Best => against(ratio(|_| true), "best rival"),
            Rival::Distribution => against(ratio(Kind::is_distribution_build), "best of Debian's"),
            Rival::Envoy => against(ratio(|kind| kind == Kind::Envoy), "Envoy"),
            Rival::Itself => {
                let own = |scenario| summary.spread(scenario, Kind::Countersign, self.metric);
                let ratio = own(self.scenario).zip(own("keepalive"));
                let ratio = ratio.map(|(many, one)| many.median / one.median);
                ("itself with one".to_owned(), ratio)
            }
        }
    }
}

/// Every number in which some rival is better, whether there is a goal for it or not.
fn losses(summary: &Summary<'_>, log: Log) -> String {
    let mut text = format!("\n## Where countersign loses, log={}\n\n", log.name());
    let before = text.len();
    for scenario in &summary.scenarios {
        let metrics: &[Metric] = if scenario.is_idle() {
            &[Metric::PerConnection, Metric::Empty, Metric::Peak]
        } else {
            &[Metric::Cpu, Metric::P50, Metric::P99, Metric::Peak]
        };
        for metric in metrics {
            let worse: Vec<String> = summary
                .kinds
                .iter()
                .filter_map(|kind| summary.ratio(scenario.name, *metric, |rival| rival == *kind))
                .filter(|(ratio, _)| *ratio > 1.0)
                .map(|(ratio, kind)| {
                    format!("{:.0} % more than {}", (ratio - 1.0) * 100.0, kind.name())
                })
                .collect();
            if !worse.is_empty() {
                let _ = writeln!(
                    text,
                    "* {}, {}: {}",
                    scenario.name,
                    metric.title(),
                    worse.join(", ")
                );
            }
        }
    }
    if text.len() == before {
        text.push_str("Nowhere in this run.\n");
    }
    text
}
