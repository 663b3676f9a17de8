//! The last hour of a route as a small picture: one bar for each minute, with its text beside.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::picture::LastHour;

/// Width of a bar and of the gap behind it.
const BAR: (u64, u64) = (3, 1);
const HEIGHT: f64 = 32.0;
/// Height of anything that happened at all.
const LEAST: f64 = 2.0;

/// The last hour with what it says in words.
pub(super) fn sparkline(hour: &LastHour) -> Markup {
    let columns = || hour.accepted.iter().zip(&hour.refused).zip(&hour.failed);
    let totals = columns().map(|((accepted, refused), failed)| accepted + refused + failed);
    let most = totals.max().unwrap_or(0);
    let words = format!(
        "last hour: {} accepted, {} refused, {} failed; busiest minute {most}",
        sum(&hour.accepted),
        sum(&hour.refused),
        sum(&hour.failed)
    );
    let mut paths = [String::new(), String::new(), String::new()];
    for (minute, ((accepted, refused), failed)) in (0_u64..).zip(columns()) {
        let mut top = HEIGHT;
        for (path, count) in paths.iter_mut().zip([accepted, refused, failed]) {
            let height = height(*count, most).min(top);
            if height > 0.0 {
                top -= height;
                let (width, gap) = BAR;
                let left = minute * (width + gap);
                // Writing into memory does not fail.
                let _ = write!(path, "M{left} {top:.1}h{width}v{height:.1}h-{width}z");
            }
        }
    }
    html! {
        svg.spark role="img" aria-label=(words) viewBox="0 0 239 33" preserveAspectRatio="none" {
            path.ground d="M0 32.5h239" {}
            @for (class, path) in ["accepted", "refused", "failed"].iter().zip(&paths) {
                @if !path.is_empty() {
                    path class=(class) d=(path) {}
                }
            }
        }
    }
}

pub(super) fn sum(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

/// In proportion to the busiest minute. Counts of a minute fit 32 bits, or are as good as that.
fn height(count: u64, most: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    // Room for the two others of the same minute, which must not vanish either.
    (number(count) / number(most) * (HEIGHT - 2.0 * LEAST)).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(accepted: &[u64], refused: &[u64], failed: &[u64]) -> String {
        sparkline(&LastHour {
            accepted: accepted.to_vec(),
            refused: refused.to_vec(),
            failed: failed.to_vec(),
        })
        .into_string()
    }

    #[test]
    fn bars_stand_on_each_other_and_say_it_in_words() {
        let svg = drawn(&[0, 10], &[0, 0], &[1, 1]);
        assert!(
            svg.contains("last hour: 10 accepted, 0 refused, 2 failed; busiest minute 11"),
            "{svg}"
        );
        assert!(
            svg.contains(r#"class="accepted" d="M4 6.5h3v25.5h-3z""#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"class="failed" d="M0 29.5h3v2.5h-3zM4 4.0h3v2.5h-3z""#),
            "{svg}"
        );
        assert!(!svg.contains("refused\" d"), "{svg}");
    }

    #[test]
    fn an_empty_hour_and_a_full_one_are_drawn() {
        assert!(!drawn(&[0; 60], &[0; 60], &[0; 60]).contains("accepted\" d"));
        let svg = drawn(&[u64::from(u32::MAX); 60], &[1; 60], &[1; 60]);
        assert_eq!(svg.matches('M').count(), 3 * 60 + 1);
        assert!(!svg.contains(" -"), "above the top: {svg}");
    }
}
