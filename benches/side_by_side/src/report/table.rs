//! The tables, in Markdown.

use std::fmt::Write as _;

use super::summary::{Metric, Rounds, Summary};
use crate::machine::Machine;
use crate::measure::Figures;
use crate::options::{Log, Options};
use crate::proxy::Kind;
use crate::rounds::{Cell, Outcome};
use crate::scenario::{Load, Scenario};
use crate::statistics::Spread;

/// On what it was measured.
pub(super) fn machine(machine: &Machine, capacity: f64) -> String {
    let mut text = "# Side by side\n\n| | |\n| --- | --- |\n".to_owned();
    for (name, fact) in &machine.facts {
        let _ = writeln!(text, "| {name} | {fact} |");
    }
    if capacity > 0.0 {
        let _ = writeln!(
            text,
            "| capacity for the fixed rates | {capacity:.0} requests/s |"
        );
    }
    text
}

/// What the scenarios are.
pub(super) fn legend(options: &Options) -> String {
    let mut text = "\n| scenario | |\n| --- | --- |\n".to_owned();
    for scenario in &options.scenarios {
        let _ = writeln!(text, "| {} | {} |", scenario.name, scenario.title);
    }
    text
}

/// All tables of one variant.
pub(super) fn results(options: &Options, summary: &Summary<'_>, log: Log) -> String {
    let log = match log {
        Log::All => "one access line for each request, from everybody",
        Log::None => "no access lines, from nobody",
    };
    let mut text = format!(
        "\n## {log}\n\nMedians of {} rounds, with the lowest and the highest. `ratio` is countersign's median divided by that of \
         the best rival, which is named; below 1 countersign is better.\n",
        options.rounds
    );
    let busy = |scenario: &Scenario| !scenario.is_idle();
    let all = |_: &Scenario| true;
    let has_body = |scenario: &Scenario| scenario.name.starts_with("body_");
    let memory = |scenario: &Scenario| scenario.is_idle();
    text.push_str(&compared(
        summary,
        Metric::Cpu.title(),
        busy,
        Some(Metric::Cpu),
        |_, figures| spread(figures, Metric::Cpu),
    ));
    text.push_str(&compared(
        summary,
        "processor time per byte of body, ns",
        has_body,
        Some(Metric::Cpu),
        per_byte,
    ));
    text.push_str(&compared(
        summary,
        "requests per second; `≥` where the proxy had time left, so that generator and backend were the limit",
        |scenario| busy(scenario) && !matches!(scenario.load, Load::Open { .. }),
        None,
        |_, figures| rate(figures),
    ));
    for metric in [Metric::P50, Metric::P99] {
        text.push_str(&compared(
            summary,
            metric.title(),
            busy,
            Some(metric),
            |_, figures| spread(figures, metric),
        ));
    }
    for metric in [Metric::PerConnection, Metric::Empty] {
        text.push_str(&compared(
            summary,
            metric.title(),
            memory,
            Some(metric),
            |_, figures| spread(figures, metric),
        ));
    }
    text.push_str(&compared(
        summary,
        Metric::Peak.title(),
        all,
        Some(Metric::Peak),
        |_, figures| spread(figures, Metric::Peak),
    ));
    text.push_str(&compared(
        summary,
        "busy, %: the proxy's processor by the proxy + by others, the other one by the generator and the backend",
        busy,
        None,
        |_, figures| shares(figures),
    ));
    text.push_str(&notes(summary));
    text
}

/// A table with a row for each scenario that is wanted and a column for each proxy.
fn compared(
    summary: &Summary<'_>,
    title: &str,
    wanted: impl Fn(&Scenario) -> bool,
    metric: Option<Metric>,
    show: impl Fn(&Scenario, &[&Figures]) -> String,
) -> String {
    let scenarios: Vec<_> = summary
        .scenarios
        .iter()
        .filter(|scenario| wanted(scenario))
        .collect();
    if scenarios.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = summary.kinds.iter().map(|kind| kind.name()).collect();
    let ratio = if metric.is_some() { " ratio |" } else { "" };
    let mut text = format!(
        "\n### {title}\n\n| | {} |{ratio}\n| --- |",
        names.join(" | ")
    );
    text.push_str(&" --- |".repeat(names.len() + usize::from(metric.is_some())));
    text.push('\n');
    for scenario in scenarios {
        let _ = write!(text, "| {} |", scenario.name);
        for kind in &summary.kinds {
            let cell = match summary.rounds(scenario.name, *kind) {
                Rounds::Measured(figures) => show(scenario, &figures),
                Rounds::Absent(reason) => reason.to_owned(),
                Rounds::Void => "void".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
        if let Some(metric) = metric {
            let ratio = summary.ratio(scenario.name, metric, |_| true);
            let _ = write!(text, " {} |", ratio.map_or("–".to_owned(), named));
        }
        text.push('\n');
    }
    text
}

fn named((ratio, kind): (f64, Kind)) -> String {
    format!("{ratio:.2} ({})", kind.name())
}

fn spread(figures: &[&Figures], metric: Metric) -> String {
    let values = figures
        .iter()
        .filter_map(|figures| metric.of(figures))
        .collect();
    Spread::of(values).map_or("–".to_owned(), shown)
}

fn per_byte(scenario: &Scenario, figures: &[&Figures]) -> String {
    let values = figures
        .iter()
        .map(|figures| figures.cpu_per_request / scenario.body as f64);
    Spread::of(values.collect()).map_or("–".to_owned(), |spread| {
        let Spread {
            median,
            lowest,
            highest,
        } = spread;
        format!("{median:.2} ({lowest:.2}–{highest:.2})")
    })
}

fn rate(figures: &[&Figures]) -> String {
    let bound = if Summary::is_saturated(figures) {
        ""
    } else {
        "≥ "
    };
    let values = figures.iter().map(|figures| figures.per_second).collect();
    Spread::of(values).map_or("–".to_owned(), |spread| {
        format!("{bound}{}", shown(spread))
    })
}

fn shares(figures: &[&Figures]) -> String {
    let median = |of: fn(&Figures) -> f64| {
        let values = figures.iter().map(|figures| of(figures) * 100.0).collect();
        Spread::of(values).map_or(0.0, |spread| spread.median)
    };
    format!(
        "{:.0} + {:.0}, {:.0} + {:.0}",
        median(|figures| figures.proxy_busy),
        median(|figures| figures.others),
        median(|figures| figures.generator_busy),
        median(|figures| figures.backend_busy)
    )
}

/// Three digits that count.
fn shown(spread: Spread) -> String {
    let digits = match spread.median {
        median if median >= 100.0 => 0,
        median if median >= 10.0 => 1,
        _ => 2,
    };
    let Spread {
        median,
        lowest,
        highest,
    } = spread;
    format!("{median:.digits$} ({lowest:.digits$}–{highest:.digits$})")
}

/// What else was seen in cells.
fn notes(summary: &Summary<'_>) -> String {
    let mut notes = Vec::new();
    for scenario in &summary.scenarios {
        for kind in &summary.kinds {
            let figures = summary.measured(scenario.name, *kind);
            let seen = figures
                .iter()
                .flat_map(|figures| &figures.notes)
                .next_back();
            notes
                .extend(seen.map(|note| format!("* {}, {}: {note}\n", scenario.name, kind.name())));
        }
    }
    if notes.is_empty() {
        return String::new();
    }
    format!("\n### also seen\n\n{}", notes.concat())
}

/// Cells that went wrong.
pub(super) fn void(cells: &[Cell]) -> String {
    let mut text = String::new();
    for cell in cells {
        if let Outcome::Void(error) = &cell.outcome {
            let _ = writeln!(
                text,
                "* round {}, log {}, {}, {}: {error}",
                cell.round + 1,
                cell.log.name(),
                cell.scenario.name,
                cell.kind.name()
            );
        }
    }
    if text.is_empty() {
        return "\nNo error in any cell.\n".to_owned();
    }
    format!(
        "\n## Void\n\nSomething went wrong in these cells, and so the run as a whole is void.\n\n{text}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_or_so() {
        let one = |median| {
            shown(Spread {
                median,
                lowest: median,
                highest: median,
            })
        };
        assert_eq!(one(1.234), "1.23 (1.23–1.23)");
        assert_eq!(one(12.34), "12.3 (12.3–12.3)");
        assert_eq!(one(1234.5), "1234 (1234–1234)");
    }
}
