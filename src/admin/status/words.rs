//! Counts and moments as the page writes them.

use maud::{Markup, html};

use super::moment::{Moment, span};

/// A moment as it is.
pub(super) fn stamp(moment: Moment) -> Markup {
    html! { time datetime=(moment.rfc3339()) { (moment.date_and_time()) } }
}

/// A moment, and how long ago that is.
pub(super) fn ago(moment: Moment, now: Moment) -> Markup {
    html! { (span(now.since(moment))) " ago" div.sub { (stamp(moment)) } }
}

/// With commas between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(count(number), expected);
        }
    }
}
