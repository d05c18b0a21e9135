//! Bounds on connections that have not proven a domain: all together, and from one IP prefix.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use freehold_directory::prefix_of;
use parking_lot::Mutex;

/// Counts strangers. Clones share the count.
#[derive(Clone, Debug)]
pub struct Strangers {
    max: usize,
    per_prefix_max: usize,
    // Invariant: the sum of all values is the number of tickets, and no value is 0.
    prefixes: Arc<Mutex<HashMap<Ipv6Addr, usize>>>,
}

/// The place of one stranger. Dropping it frees the place.
#[derive(Debug)]
pub struct Ticket {
    prefix: Ipv6Addr,
    strangers: Strangers,
}

impl Strangers {
    /// So many places, and so many for one prefix: the /24 of an IPv4 address or the /56 of an IPv6
    /// address.
    #[must_use]
    pub fn new(max: usize, per_prefix_max: usize) -> Self {
        Self {
            max,
            per_prefix_max,
            prefixes: Arc::default(),
        }
    }

    /// A place for a connection from `address`, if there is one.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<Ticket> {
        let prefix = prefix_of(address);
        let mut prefixes = self.prefixes.lock();
        let total: usize = prefixes.values().sum();
        let here = prefixes.get(&prefix).copied().unwrap_or(0);
        if total >= self.max || here >= self.per_prefix_max {
            return None;
        }
        prefixes.insert(prefix, here + 1);
        Some(Ticket {
            prefix,
            strangers: self.clone(),
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut prefixes = self.strangers.prefixes.lock();
        if let Some(count) = prefixes.get_mut(&self.prefix) {
            *count -= 1;
            if *count == 0 {
                prefixes.remove(&self.prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_and_all_together_are_bounded() {
        let strangers = Strangers::new(3, 2);
        let admit = |address: &str| strangers.admit(address.parse().unwrap());
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("::ffff:192.0.2.200").unwrap();
        assert!(admit("192.0.2.9").is_none());
        let _third = admit("2001:db8:0:ff::1").unwrap();
        assert!(admit("198.51.100.1").is_none());
        drop(first);
        assert!(admit("192.0.2.9").is_some());
        assert!(admit("2001:db8::2").is_some());
    }
}
