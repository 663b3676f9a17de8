//! Open files: as many as the machine gives, and no more connections than they last for.
//!
//! A connection of HTTP/1.1 takes two at most, its own and one to the upstream. Where the limit of the process is too
//! low for what is configured, the connections are limited instead: those beyond wait in the kernel's queue, and nothing
//! that is open fails for want of a descriptor. HTTP/2 can take more, one for each stream that is at the upstream; what
//! bounds those is `limits.requests` and `upstream.max_connections`.

use rlimit::{INFINITY, Resource};

use crate::server::ListenerSpec;

/// Descriptors for one connection of HTTP/1.1.
const EACH: u64 = 2;
/// For everything else: listening sockets, the admin listener and its clients, files, pipes, timers.
const RESERVE: u64 = 128;

/// Raises the limit as far as may be, as other servers do: its low default is for programs that use `select`. Gives
/// the limit; `None` for none.
pub(super) fn raise() -> Option<u64> {
    let raised = Resource::NOFILE.get().and_then(|(soft, hard)| {
        if soft < hard {
            Resource::NOFILE.set(hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(limit) => Some(limit).filter(|limit| *limit != INFINITY),
        Err(error) => {
            tracing::warn!(%error, "the limit on open files cannot be raised");
            Resource::NOFILE.get_soft().ok()
        }
    }
}

/// Limits the connections of these listeners to what `descriptors` last for; `true` where that took something away.
pub(super) fn fit(listeners: &mut [ListenerSpec], descriptors: u64) -> bool {
    let wanted: u64 = listeners
        .iter()
        .map(|spec| wide(spec.max_connections))
        .sum();
    let available = descriptors.saturating_sub(RESERVE) / EACH;
    if wanted <= available {
        return false;
    }
    for spec in listeners {
        let share =
            u128::from(wide(spec.max_connections)) * u128::from(available) / u128::from(wanted);
        // One at least, or the listener would be shut.
        spec.max_connections = usize::try_from(share).unwrap_or(usize::MAX).max(1);
    }
    true
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(max_connections: usize) -> ListenerSpec {
        ListenerSpec {
            name: "l".into(),
            address: ([127, 0, 0, 1], 0).into(),
            tls: None,
            tls_minimum: None,
            tls_digest: None,
            max_connections,
            max_connections_per_source: 1,
            proxy_protocol: false,
            trusted_proxies: [].into(),
        }
    }

    fn fitted(wanted: &[usize], descriptors: u64) -> Option<Vec<usize>> {
        let mut listeners: Vec<_> = wanted.iter().map(|count| listener(*count)).collect();
        let cut = fit(&mut listeners, descriptors);
        cut.then(|| listeners.iter().map(|spec| spec.max_connections).collect())
    }

    #[test]
    fn connections_share_what_there_is() {
        assert_eq!(fitted(&[10_000], 20_128), None);
        assert_eq!(fitted(&[10_000], 20_127), Some(vec![9_999]));
        assert_eq!(fitted(&[10_000], 1024), Some(vec![448]));
        assert_eq!(fitted(&[3_000, 1_000], 1024), Some(vec![336, 112]));
        assert_eq!(fitted(&[10_000, 1], 64), Some(vec![1, 1]));
        assert_eq!(fitted(&[1_000_000; 3], u64::MAX), None);
    }
}
