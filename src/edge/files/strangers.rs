//! Bounds on pictures for accounts in the making: those who send them have proven nothing.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use freehold_proto::Timestamp;
use parking_lot::Mutex;

/// Uploads from one range of addresses in an hour.
const UPLOADS_MAX: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Ranges of addresses remembered.
const RANGES_MAX: usize = 10_000;

/// Counts uploads without an account.
#[derive(Debug, Default)]
pub(in crate::edge) struct Strangers {
    ranges: Mutex<HashMap<Ipv6Addr, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    begun: Timestamp,
    uploads: u32,
}

impl Strangers {
    /// False when there were enough from there.
    pub(super) fn admit(&self, address: IpAddr, now: Timestamp) -> bool {
        let mut ranges = self.ranges.lock();
        let current = |it: &Window| now.since(it.begun) < WINDOW;
        if ranges.len() >= RANGES_MAX {
            ranges.retain(|_, it| current(it));
        }
        let range = range_of(address);
        if ranges.len() >= RANGES_MAX && !ranges.contains_key(&range) {
            return false;
        }
        let fresh = Window {
            begun: now,
            uploads: 0,
        };
        let window = ranges.entry(range).or_insert(fresh);
        if !current(window) {
            *window = fresh;
        }
        window.uploads += 1;
        window.uploads <= UPLOADS_MAX
    }
}

/// The /24 of an IPv4 address (in its mapped form) or the /56 of an IPv6 address.
fn range_of(address: IpAddr) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(four) => Ipv6Addr::from_bits(four.to_ipv6_mapped().to_bits() & !0xff),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 72)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_addresses_has_its_share_in_an_hour() {
        let strangers = Strangers::default();
        let now = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let here =
            |number: u32| IpAddr::from(Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number)));
        for number in 0..UPLOADS_MAX {
            assert!(strangers.admit(here(number), now));
        }
        assert!(!strangers.admit(here(0), now));
        assert!(strangers.admit([127, 0, 0, 1].into(), now));
        assert!(strangers.admit(here(0), now.plus(WINDOW)));
    }
}
