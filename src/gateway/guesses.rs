//! How often a source has failed to prove itself: one bounded table for all workers.
//!
//! A source is an IPv4 address or a network of 64 bits of IPv6, the least that one host can be given. The limit is
//! the generic cell rate algorithm: for each source one instant, until which its failures have used up what the
//! rate allows. The limit itself is no part of the table, so a new plan keeps what is known of everybody.
//!
//! The verdict is asked first and the table only about a refusal: a valid token never touches it.
//!
//! # What a flood of sources can do
//!
//! The table holds [`SOURCE_LIMIT`] sources, and forgets the one that has failed least recently. A source that goes
//! on guessing is the most recent one, so it is forgotten only when as many *other* sources fail between two
//! failures of its own. Who commands that many (a /48 of IPv6 is just that) can have one source forgotten for each
//! round over all the others, and gains a burst by it; but each of them had a burst to begin with, so the flood
//! gains less than a factor of two over what it could do against a table without end.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use prometheus::IntGauge;
use tokio::time::Instant;

use super::plan::FailureLimit;
use crate::server::source;

/// Most sources that are remembered; at most about 9 MB, measured.
pub const SOURCE_LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);

/// The failures of all sources; see the module.
pub struct Guesses {
    began: Instant,
    /// Until when what a source may fail is used up, since `began`.
    // One lock for all workers: it is held for a look-up, and only where a token was refused.
    used_up: Mutex<LruCache<IpAddr, Duration>>,
    tracked: IntGauge,
}

impl Guesses {
    /// An empty table, whose time begins at `began`. `tracked` follows the number of sources in it.
    pub fn new(began: Instant, tracked: IntGauge) -> Self {
        Self {
            began,
            used_up: Mutex::new(LruCache::new(SOURCE_LIMIT)),
            tracked,
        }
    }

    /// Takes note of a failure; `false` where this source has failed too often. Such failures are not added up, so
    /// it takes one step of the rate, not a penance, until one of them is within the limit again.
    pub(super) fn allow(&self, address: IpAddr, limit: FailureLimit, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.began);
        let source = source(address);
        let mut table = self.used_up.lock().unwrap_or_else(PoisonError::into_inner);
        // Asking makes it the most recent one.
        let used_up = table.get(&source).copied().unwrap_or_default().max(now);
        let next = used_up.saturating_add(limit.step);
        let allowed = next.saturating_sub(now) <= limit.step.saturating_mul(limit.burst);
        if allowed {
            table.put(source, next);
            self.tracked
                .set(i64::try_from(table.len()).unwrap_or(i64::MAX));
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const LIMIT: FailureLimit = FailureLimit {
        step: Duration::from_secs(2),
        burst: 60,
    };

    fn table() -> (Guesses, Instant) {
        let began = Instant::now();
        (Guesses::new(began, IntGauge::new("t", "t").unwrap()), began)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn allowed(table: &Guesses, source: &str, at: Instant, tries: usize) -> usize {
        let tries = (0..tries).filter(|_| table.allow(address(source), LIMIT, at));
        tries.count()
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let (table, began) = table();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(allowed(&table, "192.0.2.1", at(0), 100), 60);
        assert_eq!(allowed(&table, "192.0.2.1", at(1), 100), 0);
        assert_eq!(allowed(&table, "192.0.2.1", at(2), 100), 1);
        assert_eq!(allowed(&table, "192.0.2.1", at(12), 100), 5);
        // All of it is there again after as long as the burst is worth, and never more.
        assert_eq!(allowed(&table, "192.0.2.1", at(132), 100), 60);
        assert_eq!(allowed(&table, "192.0.2.1", at(100_000), 100), 60);
        // A clock that goes back frees nobody.
        assert_eq!(allowed(&table, "192.0.2.1", at(0), 100), 0);
    }

    #[test]
    fn sources_are_addresses_or_networks_of_64_bits() {
        let (table, now) = table();
        assert_eq!(allowed(&table, "192.0.2.1", now, 60), 60);
        assert_eq!(allowed(&table, "192.0.2.2", now, 60), 60);
        assert_eq!(allowed(&table, "::ffff:192.0.2.1", now, 1), 0);
        assert_eq!(allowed(&table, "2001:db8:0:1::1", now, 60), 60);
        assert_eq!(allowed(&table, "2001:db8:0:1:ffff::", now, 1), 0);
        assert_eq!(allowed(&table, "2001:db8:0:2::1", now, 1), 1);
        // The bits of an IPv4 address are not those of a network.
        assert_eq!(allowed(&table, "::c000:201", now, 1), 1);
    }

    #[test]
    fn another_limit_judges_by_what_is_known() {
        let (table, now) = table();
        assert_eq!(allowed(&table, "192.0.2.1", now, 60), 60);
        let wider = FailureLimit { burst: 61, ..LIMIT };
        assert!(table.allow(address("192.0.2.1"), wider, now));
        assert!(!table.allow(address("192.0.2.1"), wider, now));
    }

    #[test]
    fn a_million_sources_have_no_more_room_than_the_table() {
        let (table, now) = table();
        let guesser = address("203.0.113.1");
        assert_eq!(allowed(&table, "203.0.113.1", now, 60), 60);
        let room = table.used_up.lock().unwrap().cap();
        let mut forgotten = 0;
        for number in 0..1_000_000_u32 {
            let network = u128::from(number) << 64 | 0x2001_0db8 << 96;
            let other = if number % 2 == 0 {
                IpAddr::V4(Ipv4Addr::from_bits(number))
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(network))
            };
            assert!(table.allow(other, LIMIT, now), "{other}");
            // As long as it goes on it is not forgotten, whoever else comes by.
            if number % 60_000 == 0 && table.allow(guesser, LIMIT, now) {
                forgotten += 1;
            }
        }
        assert_eq!(forgotten, 0);
        let held = table.used_up.lock().unwrap();
        assert_eq!((held.len(), held.cap()), (SOURCE_LIMIT.get(), room));
        assert_eq!(table.tracked.get(), i64::try_from(held.len()).unwrap());
    }
}
