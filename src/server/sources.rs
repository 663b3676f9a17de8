//! Connections open from each source address, counted over all workers.
//!
//! Memory is bounded by the connections that are open: an address is forgotten with its last one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The counts of one listener. Cloning gives another handle.
// One lock for all workers, because the count has to be exact: a limit per worker would depend on where the kernel
// puts a connection. It is held for a look-up, twice in the life of a connection.
#[derive(Clone, Default)]
pub(super) struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Sources {
    /// A place for one more connection from this address; `None` where `limit` of them are open.
    pub(super) fn enter(&self, address: IpAddr, limit: usize) -> Option<Place> {
        let source = source(address);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(source).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place {
            sources: self.clone(),
            source,
        })
    }
}

/// A connection that is counted until this is dropped.
pub(super) struct Place {
    sources: Sources,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let sources = &self.sources.0;
        let mut open = sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: an address, or the /64 of IPv6, because who has one address of it has all of them. An IPv4
/// address mapped into IPv6 is an IPv4 address.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_addresses_and_forgets_them() {
        let sources = Sources::default();
        let enter = |address: &str| sources.enter(address.parse().unwrap(), 2);
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && enter("192.0.2.1").is_none());
        let third = enter("192.0.2.2");
        assert!(third.is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        let (fourth, fifth) = (enter("2001:db8::1"), enter("2001:db8::ffff:2"));
        assert!(fourth.is_some() && fifth.is_some() && enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
        drop((second, third, fourth, fifth));
        assert!(sources.0.lock().unwrap().is_empty());
    }
}
