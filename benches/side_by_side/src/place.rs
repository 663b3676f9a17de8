//! Processors and limits: who runs where.

use std::num::NonZeroU64;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CpuSet, current_timer_slack, sched_getaffinity, sched_setaffinity, set_current_timer_slack,
};

use crate::Result;

/// Whose processor.
#[derive(Clone, Copy)]
pub(crate) enum Core {
    /// The first one, for the proxy alone.
    Proxy,
    /// The second one, for generator and backend.
    Load,
}

/// The processors that this process was given at its start, the proxy's and the load's, and how late its timers may be.
#[derive(Clone, Copy)]
pub(crate) struct Cores(usize, usize, Option<NonZeroU64>);

impl Cores {
    pub(crate) fn find() -> Result<Self> {
        let usable = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|processor| usable.is_set(*processor));
        let slack = NonZeroU64::new(current_timer_slack()?);
        match (usable.next(), usable.next()) {
            (Some(proxy), Some(load)) => Ok(Self(proxy, load, slack)),
            _ => Err("two processors are needed: one for the proxy, one for the load".into()),
        }
    }

    pub(crate) fn number(self, core: Core) -> usize {
        match core {
            Core::Proxy => self.0,
            Core::Load => self.1,
        }
    }

    /// Moves the calling thread; threads and processes that it starts afterwards follow it.
    ///
    /// On the load's processor timers end when they are due, where the kernel may usually be 50 µs late. Children inherit
    /// that too, so proxies must be started on theirs.
    pub(crate) fn enter(self, core: Core) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(self.number(core));
        sched_setaffinity(None, &set)?;
        let slack = match core {
            Core::Proxy => self.2,
            Core::Load => Some(NonZeroU64::MIN),
        };
        Ok(set_current_timer_slack(slack)?)
    }
}

/// As many descriptors as this process, and the proxies that it starts, may have.
pub(crate) fn raise_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}
