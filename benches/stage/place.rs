//! Where processes run and what they use: processors, descriptors, memory, processor time.
//!
//! Numbers come from `/proc` (`man 5 proc`) and are about one process with all its threads.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

use super::Result;

/// Whose processor.
#[derive(Clone, Copy)]
pub(crate) enum Core {
    Gateway,
    Load,
}

/// Moves the calling thread; threads and processes that it starts afterwards follow it.
pub(crate) fn on(core: Core) -> Result<()> {
    // Processors that a container took away would be an error.
    let all =
        sched_getaffinity(Some(rustix::process::Pid::INIT)).or_else(|_| sched_getaffinity(None))?;
    let mut usable = (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor));
    let first = usable.next().ok_or("no processor")?;
    let chosen = match core {
        Core::Gateway => first,
        Core::Load => usable.next().unwrap_or(first),
    };
    let mut set = CpuSet::new();
    set.set(chosen);
    sched_setaffinity(None, &set)?;
    Ok(())
}

/// Lets the calling thread have only what time the others leave: whoever floods is on another machine in life, and must
/// not take the processor from those who measure and are measured.
pub(crate) fn be_nice() {
    let thread = gettid().as_raw_nonzero().to_string();
    let idle = Command::new("chrt")
        .args(["--idle", "--pid", "0", &thread])
        .status();
    if !idle.is_ok_and(|status| status.success()) {
        // Best effort: measured is the delay of the measuring side anyway.
        let _ = nice(19);
    }
}

/// As many descriptors as this process and its children may have.
pub(crate) fn raise_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    Ok(())
}

/// How many descriptors a process may have.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Resident bytes.
pub(crate) fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kilobytes.parse::<u64>()? * 1024)
}

/// Descriptors that are open now.
pub(crate) fn open_descriptors(process: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// Time on a processor, over all threads that live.
pub(crate) fn processor_time(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().ok_or("no schedstat")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
