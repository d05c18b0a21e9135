//! Since when the keys of authors have been asked for in vain. Kept in memory: after a restart they are
//! waited for anew.

use std::{collections::HashMap, time::Duration};

use freehold_proto::{DomainName, KeyId};
use parking_lot::Mutex;

/// How long an entry waits for a key with which somebody of another domain than its home's has signed it.
pub(crate) const AUTHOR_AWAITED: Duration = Duration::from_secs(60 * 60);
/// Keys that are waited for at once.
const KEYS_MAX: usize = 4096;

/// Keys that were not to be had, and since when, in time since this process began.
#[derive(Debug, Default)]
pub(crate) struct Awaited(Mutex<HashMap<(DomainName, KeyId), Duration>>);

impl Awaited {
    /// A key is not to be had: has it been so for long enough to go on without it?
    pub(crate) fn in_vain(&self, domain: &DomainName, key: KeyId, now: Duration) -> bool {
        let mut keys = self.0.lock();
        let name = (domain.clone(), key);
        if keys.len() >= KEYS_MAX && !keys.contains_key(&name) {
            // Nobody who is still asked for those would have waited so long to ask again.
            keys.retain(|_, since| now < since.saturating_add(24 * AUTHOR_AWAITED));
            if keys.len() >= KEYS_MAX {
                return false;
            }
        }
        let since = *keys.entry(name).or_insert(now);
        now >= since.saturating_add(AUTHOR_AWAITED)
    }

    /// A key was to be had.
    pub(crate) fn had(&self, domain: &DomainName, key: KeyId) {
        let mut keys = self.0.lock();
        if !keys.is_empty() {
            keys.remove(&(domain.clone(), key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_waited_for_from_the_first_time_in_vain_and_by_itself() {
        let (awaited, start) = (Awaited::default(), Duration::from_secs(10));
        let domain: DomainName = "beta.test".parse().unwrap();
        let (one, other) = (KeyId::of(&[1; 32]), KeyId::of(&[2; 32]));
        assert!(!awaited.in_vain(&domain, one, start));
        assert!(!awaited.in_vain(&domain, one, start + AUTHOR_AWAITED / 2));
        assert!(awaited.in_vain(&domain, one, start + AUTHOR_AWAITED));
        assert!(!awaited.in_vain(&domain, other, start + AUTHOR_AWAITED));
        awaited.had(&domain, one);
        assert!(!awaited.in_vain(&domain, one, start + AUTHOR_AWAITED));
    }

    #[test]
    fn as_many_keys_are_remembered_as_there_is_room_for() {
        let awaited = Awaited::default();
        let domain: DomainName = "beta.test".parse().unwrap();
        let key = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            KeyId::of(&bytes)
        };
        for number in 0..2 * KEYS_MAX {
            awaited.in_vain(&domain, key(number), Duration::ZERO);
        }
        assert_eq!(awaited.0.lock().len(), KEYS_MAX);
        let later = 25 * AUTHOR_AWAITED;
        assert!(awaited.in_vain(&domain, key(0), later), "still known");
        awaited.in_vain(&domain, key(2 * KEYS_MAX), later);
        assert_eq!(
            awaited.0.lock().len(),
            1,
            "who is not asked for is forgotten"
        );
    }
}
