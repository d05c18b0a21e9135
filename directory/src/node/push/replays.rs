//! Requests that were taken, so that none is taken twice: in memory, for as long as each counts.

use std::{collections::HashMap, time::Duration};

use freehold_proto::DomainName;
use parking_lot::Mutex;

use crate::node::family::family;

/// Requests remembered. Beyond that none is taken: forgetting one would let it be repeated.
const TAKEN_MAX: usize = 250_000;

/// Of these, requests of all domains below one name of two labels.
const FAMILY_MAX: usize = TAKEN_MAX / 8;

/// What was taken, and until when, by the clock that never goes back, it counts.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    taken: HashMap<(DomainName, [u8; 16]), Duration>,
    families: HashMap<String, usize>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// It is the first of its kind.
    New,
    /// It was taken before.
    Before,
    /// There is no room to remember it.
    Full,
}

impl Replays {
    /// Takes a request that counts until then.
    pub(super) fn take(&self, domain: &DomainName, nonce: [u8; 16], until: Duration) -> Taken {
        let mut memory = self.0.lock();
        let key = (domain.clone(), nonce);
        if memory.taken.contains_key(&key) {
            return Taken::Before;
        }
        let family = family(domain);
        let own = memory.families.get(&family).copied().unwrap_or(0);
        if memory.taken.len() >= TAKEN_MAX || own >= FAMILY_MAX {
            return Taken::Full;
        }
        memory.families.insert(family, own + 1);
        memory.taken.insert(key, until);
        Taken::New
    }

    /// Forgets what does not count any more.
    pub(super) fn sweep(&self, now: Duration) {
        let mut memory = self.0.lock();
        let Memory { taken, families } = &mut *memory;
        taken.retain(|_, until| *until > now);
        taken.shrink_to_fit();
        families.clear();
        for (domain, _) in taken.keys() {
            *families.entry(family(domain)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_and_room_comes_back_with_time() {
        let replays = Replays::default();
        let domains = ["a.test", "b.test"].map(|it| it.parse::<DomainName>().unwrap());
        let seconds = Duration::from_secs;
        assert_eq!(replays.take(&domains[0], [1; 16], seconds(9)), Taken::New);
        assert_eq!(
            replays.take(&domains[0], [1; 16], seconds(9)),
            Taken::Before
        );
        assert_eq!(replays.take(&domains[1], [1; 16], seconds(9)), Taken::New);
        let below: [DomainName; 9] =
            std::array::from_fn(|it| format!("d.e{it}.test").parse().unwrap());
        let nonce = |number: usize| (number as u128).to_be_bytes();
        for number in 0..FAMILY_MAX {
            assert_eq!(
                replays.take(&below[0], nonce(number), seconds(5)),
                Taken::New
            );
        }
        let beside: DomainName = "other.e0.test".parse().unwrap();
        assert_eq!(replays.take(&beside, [9; 16], seconds(9)), Taken::Full);
        for number in FAMILY_MAX..TAKEN_MAX - 2 {
            let domain = below.get(number / FAMILY_MAX).unwrap();
            assert_eq!(replays.take(domain, nonce(number), seconds(5)), Taken::New);
        }
        assert_eq!(replays.take(&domains[1], [9; 16], seconds(9)), Taken::Full);
        replays.sweep(seconds(5));
        assert_eq!(
            replays.take(&domains[0], [1; 16], seconds(9)),
            Taken::Before
        );
        assert_eq!(replays.take(&domains[1], [9; 16], seconds(9)), Taken::New);
    }
}
