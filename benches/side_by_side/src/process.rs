//! What the kernel says about processes: processor time, memory, children, listening ports (`man 5 proc`).

use std::path::Path;

use crate::Result;

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let (mut all, mut at) = (vec![root], 0);
    while let Some(process) = all.get(at) {
        all.extend(children(*process));
        at += 1;
    }
    all
}

fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let lists = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let numbers = list
                .split_whitespace()
                .filter_map(|number| number.parse().ok());
            numbers.collect::<Vec<u32>>()
        })
        .collect()
}

/// Nanoseconds on a processor, over all threads of all these processes that have not ended.
pub(crate) fn processor_time(processes: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for process in processes {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?.path();
            match schedstat(&thread) {
                Ok(time) => sum += time,
                // It ended after the list was made, as others have before.
                Err(_) if !thread.exists() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sum)
}

/// Nanoseconds on a processor of one thread of this process.
pub(crate) fn thread_time(thread: i32) -> Result<u64> {
    schedstat(Path::new(&format!("/proc/self/task/{thread}")))
}

/// Nanoseconds in which this processor did something, for whomever.
pub(crate) fn core_time(core: usize) -> Result<u64> {
    busy(&std::fs::read_to_string("/proc/stat")?, core).ok_or_else(|| "no such processor".into())
}

fn busy(table: &str, core: usize) -> Option<u64> {
    /// `USER_HZ` is 100 on every Linux.
    const TICK: u64 = 10_000_000;
    let name = format!("cpu{core} ");
    let line = table.lines().find_map(|line| line.strip_prefix(&name))?;
    let mut ticks = Vec::new();
    for field in line.split_whitespace().take(8) {
        ticks.push(field.parse::<u64>().ok()?);
    }
    // User, nice, system, idle, waiting for a disk, interrupts, soft interrupts, stolen by the host.
    let (idle, waiting) = (ticks.get(3)?, ticks.get(4)?);
    Some((ticks.iter().sum::<u64>() - idle - waiting) * TICK)
}

fn schedstat(thread: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(thread.join("schedstat"))?;
    Ok(text
        .split_whitespace()
        .next()
        .ok_or("no schedstat")?
        .parse()?)
}

/// Bytes in memory, pages shared by several processes counted by share, over all these processes.
pub(crate) fn proportional(processes: &[u32]) -> Result<u64> {
    sum(processes, "smaps_rollup", "Pss:")
}

/// The most bytes that were in memory, over all these processes.
pub(crate) fn peak(processes: &[u32]) -> Result<u64> {
    sum(processes, "status", "VmHWM:")
}

fn sum(processes: &[u32], file: &str, field: &str) -> Result<u64> {
    let one = |process: &u32| -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{process}/{file}"))?;
        kilobytes(&text, field).ok_or_else(|| format!("no {field}").into())
    };
    processes.iter().map(one).sum()
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(number * 1024)
}

/// Whether somebody listens on this port of an IPv4 address.
pub(crate) fn listens(port: u16) -> Result<bool> {
    Ok(has_listener(
        &std::fs::read_to_string("/proc/net/tcp")?,
        port,
    ))
}

fn has_listener(table: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&port));
        local && fields.nth(1) == Some(LISTEN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_memory_is_read() {
        let text = "Rss:   10 kB\nPss:          1234 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(kilobytes(text, "Pss:"), Some(1234 * 1024));
        assert_eq!(kilobytes(text, "VmHWM:"), None);
    }

    #[test]
    fn a_busy_processor_is_one_that_is_not_idle() {
        let table =
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 100 50 4 5 6 0 0\ncpu1 0 0 0 1 0 0 0 0 0 0\n";
        assert_eq!(busy(table, 0), Some(21 * 10_000_000));
        assert_eq!(busy(table, 1), Some(0));
        assert_eq!(busy(table, 2), None);
    }

    #[test]
    fn only_a_listener_listens() {
        let table = "  sl  local_address rem_address   st\n\
                     0: 0100007F:1F90 00000000:0000 0A 00000000\n\
                     1: 0100007F:1F91 0100007F:1F90 01 00000000\n";
        assert!(has_listener(table, 8080));
        assert!(!has_listener(table, 8081));
    }

    #[test]
    fn this_process_has_time_and_memory() {
        let me = [std::process::id()];
        assert!(processor_time(&me).is_ok());
        assert!(proportional(&me).is_ok_and(|bytes| bytes > 0));
        assert!(peak(&me).is_ok_and(|bytes| bytes > 0));
    }
}
