//! How often something may be tried: counted in memory, by key, in windows of fixed length.

use std::{collections::HashMap, hash::Hash, net::IpAddr, sync::Arc, time::Duration};

use freehold_proto::{Timestamp, UserId};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Keys counted at once. With more, all counting begins anew: the memory is bounded, not the attacker.
const KEYS_MAX: usize = 100_000;

/// Resets looked at at once; more are answered as always and forgotten.
const RESETS_AT_ONCE: usize = 64;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Counts something by key.
#[derive(Debug)]
pub struct Counter<K> {
    most: u32,
    window: Duration,
    counts: Mutex<HashMap<K, Count>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Timestamp,
    times: u32,
}

impl<K: Eq + Hash> Counter<K> {
    /// Lets something happen `most` times in a window.
    #[must_use]
    pub fn new(most: u32, window: Duration) -> Self {
        Self {
            most,
            window,
            counts: Mutex::default(),
        }
    }

    /// Whether it may happen once more.
    pub fn has_room(&self, key: &K, now: Timestamp) -> bool {
        let counts = self.counts.lock();
        counts
            .get(key)
            .is_none_or(|it| it.times < self.most || now.since(it.since) >= self.window)
    }

    /// Notes that it happened.
    pub fn count(&self, key: K, now: Timestamp) {
        let mut counts = self.counts.lock();
        if counts.len() >= KEYS_MAX {
            counts.retain(|_, it| now.since(it.since) < self.window);
            if counts.len() >= KEYS_MAX {
                counts.clear();
            }
        }
        let count = counts.entry(key).or_insert(Count {
            since: now,
            times: 0,
        });
        if now.since(count.since) >= self.window {
            *count = Count {
                since: now,
                times: 0,
            };
        }
        count.times = count.times.saturating_add(1);
    }

    /// Forgets a key: whoever proves to be right begins anew.
    pub fn forget(&self, key: &K) {
        self.counts.lock().remove(key);
    }
}

/// Where a client comes from: an IPv4 address, or the half of an IPv6 address that its network has.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Origin(IpAddr);

impl Origin {
    /// The origin of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(it) => {
                let network = it.to_bits() >> 64 << 64;
                Self(IpAddr::V6(network.into()))
            }
            it @ IpAddr::V4(_) => Self(it),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// All that is counted of people coming in.
#[derive(Debug)]
pub struct Attempts {
    /// Failed log-ins by name.
    pub names: Counter<String>,
    /// Failed log-ins by origin.
    pub origins: Counter<Origin>,
    /// New accounts by origin.
    pub accounts: Counter<Origin>,
    /// Mails by address.
    pub mail_addresses: Counter<String>,
    /// Mails by account.
    pub mail_accounts: Counter<UserId>,
    /// Mails by origin.
    pub mail_origins: Counter<Origin>,
    /// Resets of passwords that are looked at beside the sessions that asked.
    pub resets: Arc<Semaphore>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            names: Counter::new(10, 15 * MINUTE),
            origins: Counter::new(100, 15 * MINUTE),
            accounts: Counter::new(50, HOUR),
            mail_addresses: Counter::new(5, HOUR),
            mail_accounts: Counter::new(10, HOUR),
            mail_origins: Counter::new(50, HOUR),
            resets: Arc::new(Semaphore::new(RESETS_AT_ONCE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_too_often_may_happen_again_when_the_window_is_over() {
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let counter = Counter::new(2, MINUTE);
        for _ in 0..2 {
            assert!(counter.has_room(&"ann", start));
            counter.count("ann", start);
        }
        assert!(!counter.has_room(&"ann", start));
        assert!(counter.has_room(&"amy", start));
        let later = start.plus(MINUTE);
        assert!(counter.has_room(&"ann", later));
        counter.count("ann", later);
        assert!(counter.has_room(&"ann", later));
        counter.count("ann", later);
        assert!(!counter.has_room(&"ann", later));
        counter.forget(&"ann");
        assert!(counter.has_room(&"ann", later));
    }

    #[test]
    fn a_network_is_one_origin() {
        let origin = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    }
}
