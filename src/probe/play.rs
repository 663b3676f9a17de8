//! Plays the plan: each check on a connection of its own, a few at a time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::Token;
use super::answer::{self, Outcome, Wanted};
use super::check::{Check, Expect};
use super::judge::{judge, remarks};
use super::link::{Limits, Link};
use super::plan::{Plan, SAMPLE_ID, SAMPLE_SENT};
use super::report::{Group, Step, Verdict};
use super::way_in::Door;

/// Connections at the same time: few, since gateways limit them for each address.
const HANDS: usize = 4;
/// After so many checks in a row without a connection the rest is not tried.
const LOST: usize = 3;
/// Why the rest is not tried where the whole took too long.
const LATE: &str = "out of time";

/// Plays it; the steps are in the plan's order.
pub(super) fn play(plan: Plan, token: &Token, door: Option<&Door>, limits: Limits) -> Vec<Step> {
    let stage = Stage {
        token,
        door,
        limits,
        lost: AtomicUsize::new(0),
    };
    let mut steps = stage.all(&plan.checks);
    if let Some(remarks) = stage.remarks(&plan.checks) {
        // After the challenge whose answer it is about.
        steps.insert(steps.len().min(1), remarks);
    }
    let loose = steps
        .iter()
        .any(|step| step.group == Group::Method && step.verdict == Verdict::Wrong);
    if loose {
        let why = Outcome::Untried("GET, HEAD, OPTIONS first");
        steps.extend(plan.guarded.iter().map(|check| judge(check, &why, token)));
    } else {
        steps.extend(stage.all(&plan.guarded));
    }
    let sample = match plan.sample {
        Ok(sample) => judge(&sample, &stage.one(&sample), token),
        Err(why) => Step {
            id: SAMPLE_ID,
            group: Group::Sample,
            sent: SAMPLE_SENT,
            expected: Expect::Accepted.words(),
            seen: why.to_owned(),
            verdict: Verdict::Skipped,
            latency: None,
            advice: None,
        },
    };
    steps.push(sample);
    tell_the_end(&mut steps);
    steps
}

/// What was not tried for want of time is not known to be right, so the first of it is wrong.
fn tell_the_end(steps: &mut [Step]) {
    if let Some(first) = steps.iter_mut().find(|step| step.seen == LATE) {
        first.verdict = Verdict::Wrong;
        first.advice = Some(
            "the probe ended here, and nothing is known of what was not tried: find out why answers are slow, or give \
             more time with --timeout"
                .to_owned(),
        );
    }
}

struct Stage<'s> {
    token: &'s Token,
    door: Option<&'s Door>,
    limits: Limits,
    /// Checks in a row that found no connection.
    lost: AtomicUsize,
}

impl Stage<'_> {
    fn all(&self, checks: &[Check]) -> Vec<Step> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..HANDS {
                scope.spawn(|| {
                    while let Some((at, check)) = take(checks, &next) {
                        let step = judge(check, &self.one(check), self.token);
                        done.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((at, step));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, step)| step).collect()
    }

    /// What the answer to the first challenge says beside the challenge.
    fn remarks(&self, checks: &[Check]) -> Option<Step> {
        if let Outcome::Answer(answer) = self.one(checks.first()?) {
            Some(remarks(&answer))
        } else {
            None
        }
    }

    fn one(&self, check: &Check) -> Outcome {
        let Some(door) = self.door else {
            return Outcome::Untried("no connection");
        };
        if self.limits.are_used_up() {
            return Outcome::Untried(LATE);
        }
        if self.lost.load(Ordering::Relaxed) >= LOST {
            return Outcome::Untried("no connection");
        }
        if let (true, Err(why)) = (check.secret, door.trust) {
            return Outcome::Untried(why);
        }
        match door.open(self.limits) {
            Err(unreached) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                unreached
            }
            Ok(mut link) => {
                self.lost.store(0, Ordering::Relaxed);
                self.talk(&mut link, check)
            }
        }
    }

    fn talk(&self, link: &mut Link, check: &Check) -> Outcome {
        if let Some(before) = &check.before {
            match self.ask(link, before, Wanted::Whole) {
                Outcome::Answer(answer) if !answer.closes => {}
                Outcome::Answer(_) | Outcome::Closed => return Outcome::Ended,
                other @ (Outcome::Ended
                | Outcome::Silent
                | Outcome::Garbled(_)
                | Outcome::Unreached(_)
                | Outcome::Untried(_)) => return other,
            }
        }
        self.ask(link, &check.request, check.wanted)
    }

    fn ask(&self, link: &mut Link, request: &[u8], wanted: Wanted) -> Outcome {
        let begun = Instant::now();
        link.until(self.limits.deadline());
        // A peer that stops reading may have said why; so whether all was sent does not matter.
        let _ = link.send(request);
        link.until(self.limits.deadline());
        let mut outcome = answer::read(link, wanted);
        if let Outcome::Answer(answer) = &mut outcome {
            answer.latency = begun.elapsed();
        }
        outcome
    }
}

fn take<'c>(checks: &'c [Check], next: &AtomicUsize) -> Option<(usize, &'c Check)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    checks.get(at).map(|check| (at, check))
}
