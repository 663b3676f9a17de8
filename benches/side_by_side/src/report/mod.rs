//! What is shown at the end: a table, every cell as CSV, and a picture.

mod csv;
mod goals;
mod picture;
mod summary;
mod table;

use std::fs;

use crate::Result;
use crate::machine::Machine;
use crate::options::Options;
use crate::rounds::{Cell, Outcome};

/// Writes all files of the report and prints the table.
pub(crate) fn write(
    options: &Options,
    machine: &Machine,
    capacity: f64,
    cells: &[Cell],
) -> Result<()> {
    let mut text = table::machine(machine, capacity);
    text.push_str(&table::legend(options));
    for &log in &options.logs {
        let summary = summary::Summary::of(options, cells, log);
        text.push_str(&table::results(options, &summary, log));
        text.push_str(&goals::judged(&summary, log));
        let name = format!("cpu-log-{}.svg", log.name());
        fs::write(
            options.out.join(name),
            picture::draw(options, &summary, log),
        )?;
    }
    text.push_str(&table::void(cells));
    fs::write(options.out.join("table.md"), &text)?;
    fs::write(options.out.join("cells.csv"), csv::all(cells))?;
    println!("{text}\nwritten to {}", options.out.display());
    Ok(())
}

/// A cell in one line, for whoever watches.
pub(crate) fn line(cell: &Cell) -> String {
    let place = format!(
        "{} {:<5}{:<22}{:<12}",
        cell.round + 1,
        cell.log.name(),
        cell.scenario.name,
        cell.kind.name()
    );
    match &cell.outcome {
        Outcome::Absent(reason) => format!("{place}{reason}"),
        Outcome::Void(error) => format!("{place}VOID: {error}"),
        Outcome::Measured(figures) => format!(
            "{place}{:>9.1} µs {:>8.0}/s  p50 {:>7.0} p99 {:>7.0} µs  busy {:.0}+{:.0} | {:.0} {:.0} %  {:.1} MiB{} {}",
            figures.cpu_per_request / 1000.0,
            figures.per_second,
            figures.p50,
            figures.p99,
            figures.proxy_busy * 100.0,
            figures.others * 100.0,
            figures.generator_busy * 100.0,
            figures.backend_busy * 100.0,
            figures.peak as f64 / 1_048_576.0,
            figures
                .per_connection
                .map_or_else(String::new, |bytes| format!(
                    " {:.1} KiB/conn",
                    bytes / 1024.0
                )),
            figures.notes.join("; ")
        ),
    }
}
