//! The picture: a bar for each proxy in each scenario, as long as its processor time divided by countersign's.
//!
//! No background and middling greys, so that it can be read on light and on dark pages.

use std::fmt::Write as _;

use super::summary::{Metric, Summary};
use crate::options::{Log, Options};
use crate::proxy::Kind;
use crate::scenario::Scenario;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 70.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;
/// Longer bars are cut: one slow proxy must not make all others short.
const LONGEST: f64 = 5.0;

/// Draws it.
pub(super) fn draw(options: &Options, summary: &Summary<'_>, log: Log) -> String {
    let scenarios: Vec<_> = summary
        .scenarios
        .iter()
        .filter(|scenario| is_compared(summary, scenario))
        .collect();
    let (mut bars, mut y) = (String::new(), TOP);
    for scenario in scenarios {
        let _ = writeln!(
            bars,
            r##"<text x="0" y="{:.0}" font-weight="bold">{}</text>"##,
            y + 11.0,
            scenario.name
        );
        for kind in &summary.kinds {
            if let Some(ratio) = relative(summary, scenario, *kind) {
                bars.push_str(&bar(summary, scenario, *kind, ratio, y));
                y += BAR + 1.0;
            }
        }
        y += GAP;
    }
    let one = LEFT + scale(1.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0} {y:.0}" width="{WIDTH:.0}" height="{y:.0}" font-family="sans-serif" font-size="12" fill="#808080">
<title>Processor time per request, relative to countersign</title>
<text x="0" y="18" font-size="16" font-weight="bold">Processor time per request, relative to countersign (shorter is better)</text>
<text x="0" y="38">medians of {} rounds of {:.0} s; {}</text>
<line x1="{one:.1}" y1="50" x2="{one:.1}" y2="{:.0}" stroke="#808080" stroke-dasharray="3 3"/>
<text x="{one:.1}" y="62" text-anchor="middle">1</text>
{bars}</svg>
"##,
        options.rounds,
        options.seconds.as_secs_f64(),
        match log {
            Log::All => "an access line for each request",
            Log::None => "no access lines",
        },
        y - GAP,
    )
}

fn is_compared(summary: &Summary<'_>, scenario: &Scenario) -> bool {
    !scenario.is_idle()
        && summary
            .ratio(scenario.name, Metric::Cpu, |_| true)
            .is_some()
}

fn relative(summary: &Summary<'_>, scenario: &Scenario, kind: Kind) -> Option<f64> {
    let median = |kind| Some(summary.spread(scenario.name, kind, Metric::Cpu)?.median);
    Some(median(kind)? / median(Kind::Countersign)?)
}

fn scale(ratio: f64) -> f64 {
    (WIDTH - LEFT - RIGHT) * ratio.min(LONGEST) / LONGEST
}

fn bar(summary: &Summary<'_>, scenario: &Scenario, kind: Kind, ratio: f64, y: f64) -> String {
    let time = summary
        .spread(scenario.name, kind, Metric::Cpu)
        .map_or(0.0, |spread| spread.median);
    let (length, text) = (scale(ratio), y + 10.5);
    let cut = if ratio > LONGEST { "… " } else { "" };
    let digits = usize::from(time < 100.0);
    format!(
        r##"<text x="{:.0}" y="{text:.1}" text-anchor="end" font-size="11">{}</text><rect x="{LEFT:.0}" y="{y:.1}" width="{length:.1}" height="{BAR:.0}" fill="{}"/><text x="{:.1}" y="{text:.1}" font-size="11">{cut}×{ratio:.2} ({time:.digits$} µs)</text>
"##,
        LEFT - 6.0,
        kind.name(),
        colour(kind),
        LEFT + length + 6.0,
    )
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Countersign => "#d9730d",
        Kind::Nginx => "#3f8f5f",
        Kind::Haproxy => "#4a7fb5",
        Kind::Caddy => "#7a9fbf",
        Kind::Envoy => "#9a6fb0",
        Kind::Pingora => "#8f8f6f",
    }
}
