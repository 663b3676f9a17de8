//! When something last happened, for the status page: shared by all workers, and handed on to a new plan.
//!
//! Noting reads one shared number, and writes it at most once a second; so workers do not wait for each other's caches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::reason::UpstreamError;
use crate::verify::UnixTime;

/// When each token of a route last let something through, by position.
#[derive(Clone, Debug)]
pub struct TokenUses(Vec<Arc<AtomicU64>>);

impl TokenUses {
    /// No use of so many tokens.
    pub fn new(tokens: usize) -> Self {
        let never = || Arc::new(AtomicU64::new(0));
        Self(std::iter::repeat_with(never).take(tokens).collect())
    }

    /// Goes on where another one is, for tokens of the same names.
    pub(super) fn inherit(&mut self, ids: &[Arc<str>], old: &Self, old_ids: &[Arc<str>]) {
        for (own, id) in self.0.iter_mut().zip(ids) {
            let position = old_ids.iter().position(|old_id| old_id == id);
            if let Some(old) = position.and_then(|position| old.0.get(position)) {
                *own = Arc::clone(old);
            }
        }
    }

    pub(super) fn note(&self, token: usize, at: u64) {
        if let Some(last) = self.0.get(token)
            && last.load(Ordering::Relaxed) < at
        {
            last.fetch_max(at, Ordering::Relaxed);
        }
    }

    /// When the token at this position was last used; `None` for never.
    pub fn of(&self, token: usize) -> Option<UnixTime> {
        let at = self.0.get(token)?.load(Ordering::Relaxed);
        (at > 0).then_some(UnixTime(at))
    }
}

/// The last failure of an upstream: kind and second in one number, so that they belong together.
#[derive(Debug, Default)]
pub struct LastFailure(AtomicU64);

/// Bits of the number that are the kind, from 1; 0 is no failure.
const KIND_BITS: u32 = 8;

impl LastFailure {
    pub(super) fn note(&self, error: UpstreamError, at: u64) {
        let kind = u64::try_from(error.position() + 1).unwrap_or(0);
        let number = (at << KIND_BITS) | kind;
        if self.0.load(Ordering::Relaxed) != number {
            self.0.store(number, Ordering::Relaxed);
        }
    }

    /// What it was, and when; `None` where there was none.
    pub fn told(&self) -> Option<(UpstreamError, UnixTime)> {
        let number = self.0.load(Ordering::Relaxed);
        let kind = usize::try_from(number & ((1 << KIND_BITS) - 1)).ok()?;
        let error = UpstreamError::ALL.get(kind.checked_sub(1)?)?;
        Some((*error, UnixTime(number >> KIND_BITS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_set_of_tokens_goes_on_with_those_of_the_same_name() {
        let old = TokenUses::new(2);
        old.note(0, 100);
        old.note(1, 200);
        old.note(1, 150);
        let mut new = TokenUses::new(3);
        let ids = |ids: &[&str]| -> Vec<Arc<str>> { ids.iter().map(|id| Arc::from(*id)).collect() };
        new.inherit(&ids(&["c", "b", "a"]), &old, &ids(&["a", "b"]));
        // A request that began under the old plan ends under it.
        old.note(0, 300);
        let seen: Vec<_> = (0..4).map(|token| new.of(token)).collect();
        let expected = [None, Some(UnixTime(200)), Some(UnixTime(300)), None];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_failure_keeps_its_kind_and_its_time() {
        let last = LastFailure::default();
        assert_eq!(last.told(), None);
        for (at, error) in (1_790_000_000..).zip(UpstreamError::ALL) {
            last.note(*error, at);
            assert_eq!(last.told(), Some((*error, UnixTime(at))));
        }
    }
}
