//! Every cell, for those who want to calculate themselves.

use std::fmt::Write as _;

use crate::rounds::{Cell, Outcome};

const COLUMNS: &str = "round,log,scenario,proxy,outcome,requests,cpu_ns_per_request,requests_per_s,p50_us,p99_us,\
    proxy_busy,generator_busy,backend_busy,others,peak_bytes,resident_bytes,empty_bytes,bytes_per_connection,notes\n";

pub(super) fn all(cells: &[Cell]) -> String {
    cells.iter().fold(COLUMNS.to_owned(), |mut text, cell| {
        let (scenario, proxy) = (cell.scenario.name, cell.kind.name());
        let _ = write!(
            text,
            "{},{},{scenario},{proxy},",
            cell.round + 1,
            cell.log.name()
        );
        let _ = match &cell.outcome {
            Outcome::Absent(reason) => writeln!(text, "absent{}{}", ",".repeat(14), quoted(reason)),
            Outcome::Void(error) => writeln!(text, "void{}{}", ",".repeat(14), quoted(error)),
            Outcome::Measured(figures) => writeln!(
                text,
                "measured,{},{:.0},{:.1},{:.1},{:.1},{:.4},{:.4},{:.4},{:.4},{},{},{},{},{}",
                figures.requests,
                figures.cpu_per_request,
                figures.per_second,
                figures.p50,
                figures.p99,
                figures.proxy_busy,
                figures.generator_busy,
                figures.backend_busy,
                figures.others,
                figures.peak,
                figures.resident,
                figures.empty,
                figures
                    .per_connection
                    .map_or_else(String::new, |bytes| format!("{bytes:.0}")),
                quoted(&figures.notes.join("; "))
            ),
        };
        text
    })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\"").replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_in_its_column() {
        assert_eq!(quoted("a \"b\",\nc"), "\"a \"\"b\"\", c\"");
        assert_eq!(COLUMNS.matches(',').count(), 18);
    }
}
