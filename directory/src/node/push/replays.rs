//! Requests that were taken, so that none is taken twice: in memory, for as long as each counts.

use std::{collections::HashMap, time::Duration};

use freehold_proto::DomainName;
use parking_lot::Mutex;

/// Requests remembered. Beyond that none is taken: forgetting one would let it be repeated.
const TAKEN_MAX: usize = 250_000;

/// What was taken, and until when, by the clock that never goes back, it counts.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<HashMap<(DomainName, [u8; 16]), Duration>>);

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
        let mut taken = self.0.lock();
        let key = (domain.clone(), nonce);
        if taken.contains_key(&key) {
            return Taken::Before;
        }
        if taken.len() >= TAKEN_MAX {
            return Taken::Full;
        }
        taken.insert(key, until);
        Taken::New
    }

    /// Forgets what does not count any more.
    pub(super) fn sweep(&self, now: Duration) {
        let mut taken = self.0.lock();
        taken.retain(|_, until| *until > now);
        taken.shrink_to_fit();
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
        for number in 2..TAKEN_MAX {
            let nonce = (number as u128).to_be_bytes();
            assert_eq!(replays.take(&domains[0], nonce, seconds(5)), Taken::New);
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
