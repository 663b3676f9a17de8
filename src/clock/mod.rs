//! Time: the only room that reads a clock.
//!
//! Timeouts here are coarse: one tick of [`TICK`] serves every timeout of a worker. A hashed wheel keeps the
//! alarms; setting, moving and dropping one costs no allocation, no system call and no look at the real clock,
//! so a timeout may be restarted for every piece of a body.
//!
//! Alarms never ring early and at most two ticks late. A worker without alarms does not tick at all.

mod alarm;

pub use alarm::{Alarm, Timers};

use std::time::{Duration, SystemTime};

use crate::verify::UnixTime;

/// Resolution of all timeouts.
// A tenth of a second is 1 % of the shortest default (5 s would be 2 %), and ten wake-ups a second are free.
pub const TICK: Duration = Duration::from_millis(100);

/// The time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that reads the clock"
)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The time of day in whole seconds, as the verification core wants it.
pub fn unix_now() -> UnixTime {
    // A clock before 1970 is a broken clock; then every `not_after` still holds.
    UnixTime(
        wall()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    )
}
