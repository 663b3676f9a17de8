//! Which endpoints of an upstream are worth a try: what all workers have seen of them, in one place.
//!
//! Two observers report here: requests, for which a connection failed or came about, and active checks. Neither ever
//! takes the last endpoint away: where none looks good, all are tried in their order.
//!
//! Not here: connecting, checking, telling anybody about a change.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which an endpoint is passed over. One may be chance, and two may be one restart.
const FAILURES: u32 = 3;
/// How long it is passed over at first. Doubles each time until [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(5);
/// How long it is passed over at most.
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of the endpoints of one upstream.
#[derive(Debug)]
pub(in crate::gateway) struct Health {
    endpoints: Box<[Mutex<Seen>]>,
}

/// What is known of an endpoint, for those who look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// What active checks have found; `None` before the first one, and where there are none.
    pub up: Option<bool>,
    /// How much longer it is passed over because it accepted no connections; `None` where it is not. Zero: the next
    /// request finds out.
    pub passed_over: Option<Duration>,
}

/// What is known of one endpoint.
#[derive(Debug, Default)]
struct Seen {
    /// Connections that failed since the last one that did not.
    failures: u32,
    /// Set while it is passed over: until when, and for how long this time.
    passed_over: Option<(Instant, Duration)>,
    /// Active checks have found it down.
    down: bool,
    /// There has been a check.
    checked: bool,
    /// Checks in a row that say the opposite of `down`.
    contrary: u32,
}

impl Health {
    pub(in crate::gateway) fn new(endpoints: usize) -> Self {
        Self {
            endpoints: std::iter::repeat_with(Mutex::default)
                .take(endpoints)
                .collect(),
        }
    }

    /// Positions in the order in which a request tries them: the good ones as configured, then the others.
    pub(super) fn order(&self, now: Instant) -> Vec<usize> {
        let mut good = Vec::with_capacity(self.endpoints.len());
        let mut rest = Vec::new();
        for (position, endpoint) in self.endpoints.iter().enumerate() {
            let mut seen = locked(endpoint);
            let waiting = match &mut seen.passed_over {
                None => false,
                Some((until, _)) if now < *until => true,
                Some((until, time)) => {
                    // This request finds out for all; the others go on passing it over meanwhile.
                    *until = now + *time;
                    false
                }
            };
            if waiting || seen.down {
                rest.push(position);
            } else {
                good.push(position);
            }
        }
        good.append(&mut rest);
        good
    }

    /// No connection came about. How long the endpoint is passed over, where that begins or goes on.
    pub(super) fn failed(&self, position: usize, now: Instant) -> Option<Duration> {
        // There is nobody to go to instead of the only one.
        let endpoint = self
            .endpoints
            .get(position)
            .filter(|_| self.endpoints.len() > 1)?;
        let mut seen = locked(endpoint);
        seen.failures = seen.failures.saturating_add(1);
        let time = match seen.passed_over {
            // The order has moved the end already for the request that finds out, so this asks who failed before it.
            Some((_, time)) if seen.failures > FAILURES => (time * 2).min(LONGEST),
            Some(_) => return None,
            None if seen.failures >= FAILURES => SHORTEST,
            None => return None,
        };
        seen.passed_over = Some((now + time, time));
        Some(time)
    }

    /// A connection came about. Whether the endpoint had been passed over until now.
    pub(super) fn succeeded(&self, position: usize) -> bool {
        let Some(endpoint) = self.endpoints.get(position) else {
            return false;
        };
        let mut seen = locked(endpoint);
        seen.failures = 0;
        seen.passed_over.take().is_some()
    }

    /// An active check has found this. The endpoint's new state, where `fall` or `rise` checks in a row change it.
    pub(super) fn checked(
        &self,
        position: usize,
        healthy: bool,
        fall: u32,
        rise: u32,
    ) -> Option<bool> {
        let mut seen = locked(self.endpoints.get(position)?);
        seen.checked = true;
        if healthy != seen.down {
            seen.contrary = 0;
            return None;
        }
        seen.contrary = seen.contrary.saturating_add(1);
        if seen.contrary < if healthy { rise } else { fall } {
            return None;
        }
        seen.contrary = 0;
        seen.down = !healthy;
        Some(healthy)
    }

    /// Whether a connection to this endpoint may be used again: none of a worse endpoint than the first good one, nor of
    /// one that is not good itself. Where none is good, all are alike.
    pub(super) fn is_preferred(&self, position: usize) -> bool {
        if self.endpoints.len() == 1 {
            return true;
        }
        let good = |endpoint: &Mutex<Seen>| {
            let seen = locked(endpoint);
            !seen.down && seen.passed_over.is_none()
        };
        let best = self.endpoints.iter().position(good);
        best.is_none_or(|best| best == position)
    }

    /// Whether active checks have found it down.
    pub(super) fn is_down(&self, position: usize) -> bool {
        self.endpoints
            .get(position)
            .is_some_and(|endpoint| locked(endpoint).down)
    }

    /// What is known of each.
    pub(in crate::gateway) fn states(&self, now: Instant) -> Vec<EndpointState> {
        let state = |endpoint| {
            let seen = locked(endpoint);
            EndpointState {
                up: seen.checked.then_some(!seen.down),
                passed_over: (seen.passed_over).map(|(until, _)| until.duration_since(now)),
            }
        };
        self.endpoints.iter().map(state).collect()
    }

    /// Forgets what active checks have found: there are none any more.
    pub(super) fn unchecked(&self) {
        for endpoint in &self.endpoints {
            let mut seen = locked(endpoint);
            (seen.down, seen.contrary, seen.checked) = (false, 0, false);
        }
    }
}

fn locked(endpoint: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    endpoint.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_failures_in_a_row_pass_an_endpoint_over() {
        let (health, now) = (Health::new(2), Instant::now());
        assert_eq!(health.failed(0, now), None);
        assert_eq!(health.failed(0, now), None);
        assert!(!health.succeeded(0), "it was never passed over");
        assert_eq!(health.failed(0, now), None);
        assert_eq!(health.failed(0, now), None);
        assert_eq!(health.order(now), [0, 1]);
        assert_eq!(health.failed(0, now), Some(SHORTEST));
        assert_eq!(health.order(now + SECOND * 4), [1, 0]);
        assert!(health.succeeded(0));
        assert_eq!(health.order(now), [0, 1]);
    }

    #[test]
    fn one_request_finds_out_and_the_time_doubles_to_its_bound() {
        let (health, mut now) = (Health::new(2), Instant::now());
        (0..3).for_each(|_| {
            health.failed(0, now);
        });
        for seconds in [10, 20, 40, 60, 60] {
            now += LONGEST;
            assert_eq!(health.order(now), [0, 1], "the first asks again");
            assert_eq!(health.order(now), [1, 0], "the second does not");
            assert_eq!(health.failed(0, now), Some(SECOND * seconds));
        }
    }

    #[test]
    fn the_only_endpoint_and_the_last_good_one_stay() {
        let now = Instant::now();
        let alone = Health::new(1);
        assert!((0..9).all(|_| alone.failed(0, now).is_none()));
        let both = Health::new(2);
        for position in [0, 1] {
            (0..3).for_each(|_| {
                both.failed(position, now);
            });
        }
        assert_eq!(both.order(now), [0, 1]);
    }

    #[test]
    fn what_is_known_can_be_looked_at() {
        let (health, now) = (Health::new(2), Instant::now());
        let unknown = EndpointState {
            up: None,
            passed_over: None,
        };
        assert_eq!(health.states(now), [unknown; 2]);
        (0..3).for_each(|_| {
            health.failed(0, now);
            health.checked(1, false, 3, 1);
        });
        let seen = |after: Duration| {
            let states = health.states(now + after).into_iter();
            let states = states.map(|state| (state.up, state.passed_over));
            states.collect::<Vec<_>>()
        };
        let later = |time| vec![(None, Some(time)), (Some(false), None)];
        assert_eq!(seen(SECOND), later(SHORTEST - SECOND));
        assert_eq!(seen(SHORTEST * 2), later(Duration::ZERO));
        health.checked(1, true, 3, 1);
        health.succeeded(0);
        assert_eq!(seen(SECOND), [(None, None), (Some(true), None)]);
        health.unchecked();
        assert_eq!(health.states(now), [unknown; 2]);
    }

    #[test]
    fn checks_need_as_many_in_a_row_as_configured() {
        let (health, now) = (Health::new(2), Instant::now());
        let check = |healthy| health.checked(0, healthy, 3, 2);
        assert_eq!(
            [false, false, true, false, false].map(check),
            [None; 5],
            "never three in a row"
        );
        assert_eq!(check(false), Some(false));
        assert_eq!(health.order(now), [1, 0]);
        assert_eq!([true, false, true].map(check), [None; 3]);
        assert_eq!(check(true), Some(true));
        assert_eq!(health.order(now), [0, 1]);
    }
}
