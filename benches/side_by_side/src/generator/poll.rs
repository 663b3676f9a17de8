//! Waiting for sockets, to the nanosecond.

use std::sync::Arc;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventFlags};
use rustix::fd::OwnedFd;

use crate::Result;

/// As many as a wake-up may bring.
const EVENTS: usize = 256;

/// An epoll instance and what it told last.
pub(super) struct Poll {
    pub(super) descriptor: Arc<OwnedFd>,
    events: Vec<Event>,
}

impl Poll {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            descriptor: epoll::create(epoll::CreateFlags::CLOEXEC)?.into(),
            events: Vec::with_capacity(EVENTS),
        })
    }

    /// Waits at most so long; tells how many events there are.
    pub(super) fn wait(&mut self, longest: Duration) -> Result<usize> {
        let longest = Timespec::try_from(longest)?;
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.descriptor, room, Some(&longest)) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Whose event it is, and whether there is room to write.
    pub(super) fn event(&self, at: usize) -> (u64, bool) {
        let Event { data, flags, .. } = self.events[at];
        (data.u64(), flags.contains(EventFlags::OUT))
    }
}
