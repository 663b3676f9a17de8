//! The last hour in minutes: how many requests of each route were accepted, refused and failed.
//!
//! Counters are looked at once a minute, so a request costs nothing. Only minutes in which something happened are kept:
//! a route that nobody uses takes a few bytes, however many of them there are. The time is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Minutes that are kept, the one that has begun included.
pub(super) const MINUTES: usize = 60;
const SPAN: u64 = 60;

/// What counters say of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Forwarded, and challenges answered.
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    /// Those of the accepted ones that the upstream answered with 400 or more. Begins anew with another upstream.
    pub(super) turned_down: u64,
}

impl Counted {
    /// What has come since `earlier`. A counter that is smaller than it was began anew.
    fn since(self, earlier: Self) -> Tally {
        let since = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        let accepted = since(self.accepted, earlier.accepted);
        // An answer is counted when it begins, and its request when that ends.
        let turned_down = since(self.turned_down, earlier.turned_down).min(accepted);
        Tally {
            accepted: accepted - turned_down,
            refused: since(self.refused, earlier.refused),
            failed: since(self.failed, earlier.failed) + turned_down,
        }
    }
}

/// Requests by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Forwarded and taken, and challenges answered.
    pub(super) accepted: u64,
    /// Refused: the sender's doing.
    pub(super) refused: u64,
    /// Failed: the upstream's doing, its answers of 400 and above included, or the sender left.
    pub(super) failed: u64,
}

impl Tally {
    pub(super) fn total(self) -> u64 {
        self.accepted + self.refused + self.failed
    }

    fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
        }
    }
}

/// The last hour of one route, oldest minute first; the last one has only begun.
pub(super) type Hour = [Tally; MINUTES];

/// The last hour of all routes.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    routes: HashMap<Arc<str>, Track>,
}

#[derive(Debug, Default)]
struct Track {
    counted: Counted,
    /// Minutes in which something happened, each with its number.
    points: VecDeque<(u64, Tally)>,
}

impl Minutes {
    /// Notes what the counters of a route say in the minute of this number. What has come since they were last
    /// looked at belongs to it; a request or two may be told to the next one.
    pub(super) fn note(&mut self, route: &Arc<str>, minute: u64, counted: Counted) {
        let track = match self.routes.get_mut(route) {
            Some(track) => track,
            None => self.routes.entry(Arc::clone(route)).or_default(),
        };
        let more = counted.since(track.counted);
        track.counted = counted;
        if more.total() > 0 {
            match track.points.back_mut() {
                Some((last, tally)) if *last >= minute => *tally = tally.plus(more),
                Some(_) | None => track.points.push_back((minute, more)),
            }
        }
        while (track.points.front()).is_some_and(|(first, _)| first + SPAN <= minute) {
            track.points.pop_front();
        }
    }

    /// Forgets routes that are not among these.
    pub(super) fn keep(&mut self, is_known: impl Fn(&str) -> bool) {
        self.routes.retain(|route, _| is_known(route));
    }

    /// The hour that ends with the minute of this number.
    pub(super) fn hour(&self, route: &str, minute: u64) -> Hour {
        let mut hour = [Tally::default(); MINUTES];
        let points = self.routes.get(route).into_iter();
        for (number, tally) in points.flat_map(|track| &track.points) {
            let back = minute.checked_sub(*number);
            let back = back.and_then(|back| usize::try_from(back).ok());
            let place = back.and_then(|back| hour.iter_mut().rev().nth(back));
            if let Some(place) = place {
                *place = *tally;
            }
        }
        hour
    }
}

/// The sum of some minutes.
pub(super) fn sum(minutes: &[Tally]) -> Tally {
    minutes
        .iter()
        .fold(Tally::default(), |sum, tally| sum.plus(*tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(accepted: u64) -> Counted {
        Counted {
            accepted,
            ..Counted::default()
        }
    }

    fn accepted(minutes: &Minutes, minute: u64) -> Vec<u64> {
        let hour = minutes.hour("redox", minute);
        hour.iter().map(|tally| tally.accepted).collect()
    }

    /// Zeros but for some places, counted from the last minute.
    fn hour(places: &[(usize, u64)]) -> Vec<u64> {
        let mut hour = vec![0; MINUTES];
        for (back, value) in places {
            hour[MINUTES - 1 - back] = *value;
        }
        hour
    }

    #[test]
    fn each_minute_has_what_came_in_it() {
        let (mut minutes, redox) = (Minutes::default(), "redox".into());
        for (minute, count) in [(1000, 5), (1000, 7), (1001, 7), (1002, 10)] {
            minutes.note(&redox, minute, counted(count));
        }
        assert_eq!(accepted(&minutes, 1002), hour(&[(2, 7), (0, 3)]));
        assert_eq!(accepted(&minutes, 1010), hour(&[(10, 7), (8, 3)]));
        assert_eq!(accepted(&minutes, 1061), hour(&[(59, 3)]));
        assert_eq!(accepted(&minutes, 1062), hour(&[]));
        assert_eq!(minutes.hour("other", 1002), [Tally::default(); MINUTES]);
    }

    #[test]
    fn what_the_upstream_turned_down_has_failed() {
        let (mut minutes, redox) = (Minutes::default(), "redox".into());
        // The second one of the first minute ends in the next; then another upstream begins at zero.
        for (minute, accepted, turned_down) in [(1, 1, 2), (2, 5, 3), (3, 9, 1)] {
            let counted = Counted {
                turned_down,
                ..counted(accepted)
            };
            minutes.note(&redox, minute, counted);
        }
        let seen = minutes.hour("redox", 3);
        let seen = seen.iter().rev().take(3).rev();
        let seen: Vec<_> = seen.map(|tally| (tally.accepted, tally.failed)).collect();
        assert_eq!(seen, [(0, 1), (3, 1), (3, 1)]);
    }

    #[test]
    fn no_more_than_an_hour_is_kept() {
        let (mut minutes, redox) = (Minutes::default(), "redox".into());
        for minute in 1..=500 {
            minutes.note(&redox, minute, counted(minute));
        }
        assert_eq!(accepted(&minutes, 500), vec![1; MINUTES]);
        assert_eq!(minutes.routes["redox"].points.len(), MINUTES);
        minutes.note(&redox, 600, counted(500));
        assert!(minutes.routes["redox"].points.is_empty());
    }

    #[test]
    fn counters_that_begin_anew_and_clocks_that_go_back_do_no_harm() {
        let (mut minutes, redox) = (Minutes::default(), "redox".into());
        minutes.note(&redox, 10, counted(100));
        minutes.note(&redox, 11, counted(3));
        minutes.note(&redox, 5, counted(4));
        assert_eq!(accepted(&minutes, 11), hour(&[(1, 100), (0, 4)]));
        assert_eq!(accepted(&minutes, 5), hour(&[]));
        minutes.note(&redox, 0, counted(5));
    }

    #[test]
    fn routes_that_are_gone_are_forgotten() {
        let (mut minutes, redox) = (Minutes::default(), "redox".into());
        minutes.note(&redox, 10, counted(100));
        minutes.keep(|route| route != "redox");
        assert!(minutes.routes.is_empty());
    }
}
