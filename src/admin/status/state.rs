//! How a route does, judged by its last minutes; and how urgent what is.

use serde::Serialize;

use super::minutes::{Hour, sum};
use super::runbook::Runbook;

/// How many minutes are looked at, up to the last one in which anything happened.
const RECENT: usize = 5;

/// How a route does. The order is that of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RouteState {
    /// Requests failed, and none was accepted.
    Failing,
    /// Some requests failed.
    Unsteady,
    /// All requests were refused.
    Refusing,
    /// It is told to refuse messages.
    Maintenance,
    /// Requests were accepted, and none failed.
    Working,
    /// Nothing has come for an hour.
    Quiet,
}

impl RouteState {
    /// From the last minutes in which anything happened: a sender that has given up for now makes no route good.
    pub(super) fn of(hour: &Hour, maintenance: bool) -> Self {
        if maintenance {
            return Self::Maintenance;
        }
        let Some(last) = hour.iter().rposition(|tally| tally.total() > 0) else {
            return Self::Quiet;
        };
        let first = (last + 1).saturating_sub(RECENT);
        let recent = sum(hour.get(first..=last).unwrap_or_default());
        match (recent.accepted, recent.failed) {
            (0, 0) => Self::Refusing,
            (0, _) => Self::Failing,
            (_, 0) => Self::Working,
            (_, _) => Self::Unsteady,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Unsteady => "unsteady",
            Self::Refusing => "refusing",
            Self::Maintenance => "maintenance",
            Self::Working => "working",
            Self::Quiet => "quiet",
        }
    }
}

/// How urgent something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// Nothing is wrong.
    Ok,
    /// Somebody should look.
    Attention,
    /// Messages do not get through.
    Failing,
}

impl Level {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Attention => "attention",
            Self::Failing => "failing",
        }
    }
}

/// Something to look at.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Notice {
    pub(super) level: Level,
    pub(super) about: String,
    pub(super) text: String,
    pub(super) runbook: Option<Runbook>,
}

/// The answer, in one sentence and in single points.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) text: String,
    pub(super) notices: Vec<Notice>,
    pub(super) notices_left_out: usize,
}

#[cfg(test)]
mod tests {
    use super::super::minutes::{MINUTES, Tally};
    use super::*;

    /// How many minutes back, and how many were accepted, refused and failed.
    type Minute = (usize, u64, u64, u64);

    fn hour(minutes: &[Minute]) -> Hour {
        let mut hour = [Tally::default(); MINUTES];
        for (back, accepted, refused, failed) in minutes {
            hour[MINUTES - 1 - back] = Tally {
                accepted: *accepted,
                refused: *refused,
                failed: *failed,
            };
        }
        hour
    }

    #[test]
    fn the_last_minutes_with_traffic_decide() {
        let cases: [(&str, &[Minute], RouteState); 8] = [
            ("nothing", &[], RouteState::Quiet),
            ("good", &[(0, 5, 0, 0)], RouteState::Working),
            ("good with noise", &[(0, 5, 9, 0)], RouteState::Working),
            (
                "one failed",
                &[(0, 5, 0, 0), (3, 0, 0, 1)],
                RouteState::Unsteady,
            ),
            ("mended", &[(0, 5, 0, 0), (9, 0, 0, 8)], RouteState::Working),
            (
                "all failed",
                &[(0, 0, 3, 2), (9, 7, 0, 0)],
                RouteState::Failing,
            ),
            (
                "sender paused",
                &[(40, 0, 0, 2), (50, 7, 0, 0)],
                RouteState::Failing,
            ),
            ("wrong token", &[(1, 0, 2, 0)], RouteState::Refusing),
        ];
        for (name, minutes, expected) in cases {
            assert_eq!(RouteState::of(&hour(minutes), false), expected, "{name}");
        }
        let state = RouteState::of(&hour(&[(0, 1, 0, 1)]), true);
        assert_eq!(state, RouteState::Maintenance);
    }
}
