//! How much of one kind may happen in a second, by key: who has used up what may come at once waits until
//! some of it has come back. Counted in memory, by the domain's clock; `governor` does the sums.
//!
//! Keys are spread over shards with a lock each, so that nobody waits for a lock that all share.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use freehold_proto::Clock;
use governor::{
    Quota, RateLimiter,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};
use parking_lot::Mutex;

/// Keys counted at once. A shard with more than its part begins anew: the memory is bounded, not whoever
/// has so many keys.
const KEYS_MAX: usize = 100_000;
const SHARDS: usize = 32;

/// So much in a second, and so much at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// What comes back in a second.
    pub per_second: NonZeroU32,
    /// What may come at once after a rest.
    pub burst: NonZeroU32,
}

impl Rate {
    /// From numbers; nothing if one of them is 0.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        Some(Self {
            per_second: NonZeroU32::new(per_second)?,
            burst: NonZeroU32::new(burst)?,
        })
    }
}

/// It is too much.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Over {
    /// After how long there is room, if nothing else comes.
    pub wait: Duration,
}

/// Counts one kind of thing by key.
pub struct Limiter<K: Clone + Eq + Hash> {
    /// None: there is no limit.
    counts: Option<Counts<K>>,
    burst: NonZeroU32,
    held_back: AtomicU64,
}

type Counts<K> = RateLimiter<K, Shards<K>, Elapsed, NoOpMiddleware<Duration>>;

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// Lets each key have as much as a rate says; without one, anything.
    #[must_use]
    pub fn new(rate: Option<Rate>, clock: &Arc<dyn Clock>) -> Self {
        let quota = |it: Rate| Quota::per_second(it.per_second).allow_burst(it.burst);
        let clock = Elapsed(Arc::clone(clock));
        Self {
            counts: rate.map(|it| RateLimiter::new(quota(it), Shards::default(), clock)),
            burst: rate.map_or(NonZeroU32::MAX, |it| it.burst),
            held_back: AtomicU64::new(0),
        }
    }

    /// Takes one for a key. What is over the limit takes nothing.
    pub fn take(&self, key: &K) -> Result<(), Over> {
        self.take_some(key, NonZeroU32::MIN).map(drop)
    }

    /// Takes as many as asked for, or as may come at once, if that is less; all of these or none. Returns
    /// how many.
    pub fn take_some(&self, key: &K, wanted: NonZeroU32) -> Result<u32, Over> {
        let wanted = wanted.min(self.burst);
        let Some(counts) = &self.counts else {
            return Ok(wanted.get());
        };
        match counts.check_key_n(key, wanted) {
            // More than may come at once is never asked for.
            Ok(Ok(())) | Err(_) => Ok(wanted.get()),
            Ok(Err(not_until)) => {
                self.held_back.fetch_add(1, Ordering::Relaxed);
                let now = governor::clock::Clock::now(counts.clock());
                let wait = not_until.wait_time_from(now);
                Err(Over { wait })
            }
        }
    }

    /// How often something was too much since this was asked last.
    pub fn take_held_back(&self) -> u64 {
        self.held_back.swap(0, Ordering::Relaxed)
    }

    /// Forgets keys that may have as much as those that were never seen.
    pub fn sweep(&self) {
        if let Some(counts) = &self.counts {
            counts.retain_recent();
            counts.shrink_to_fit();
        }
    }

    /// Keys in memory.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.counts.as_ref().map_or(0, RateLimiter::len)
    }
}

impl<K: Clone + Eq + Hash> fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limited = self.counts.is_some();
        f.debug_struct("Limiter")
            .field("limited", &limited)
            .finish_non_exhaustive()
    }
}

/// The domain's clock, as far as it only goes forward.
#[derive(Clone, Debug)]
struct Elapsed(Arc<dyn Clock>);

impl governor::clock::Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// When each key will have used up nothing any more.
struct Shards<K> {
    shards: [Mutex<HashMap<K, Nanos>>; SHARDS],
    hasher: RandomState,
}

impl<K> Default for Shards<K> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl<K: Hash> Shards<K> {
    fn of(&self, key: &K) -> &Mutex<HashMap<K, Nanos>> {
        let [first, ..] = &self.shards;
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64);
        let found = index.ok().and_then(|it| self.shards.get(it));
        found.unwrap_or(first)
    }
}

impl<K: Clone + Eq + Hash> StateStore for Shards<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.of(key).lock();
        if let Some(known) = shard.get_mut(key) {
            let (outcome, next) = measure(Some(*known))?;
            *known = next;
            return Ok(outcome);
        }
        let (outcome, next) = measure(None)?;
        if shard.len() >= KEYS_MAX / SHARDS {
            shard.clear();
        }
        shard.insert(key.clone(), next);
        Ok(outcome)
    }
}

impl<K: Clone + Eq + Hash> ShrinkableKeyedStateStore<K> for Shards<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.shards {
            shard.lock().retain(|_, it| *it > drop_below);
        }
    }

    fn shrink_to_fit(&self) {
        for shard in &self.shards {
            shard.lock().shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|it| it.lock().len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.shards.iter().all(|it| it.lock().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use freehold_proto::{ManualClock, Timestamp};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(per_second: u32, burst: u32) -> (Limiter<u32>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let shared: Arc<dyn Clock> = clock.clone();
        let rate = Rate::new(per_second, burst).unwrap();
        (Limiter::new(Some(rate), &shared), clock)
    }

    fn some(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn what_was_used_up_comes_back_with_time_and_only_for_whoever_used_it() {
        let (limiter, clock) = limiter(2, 5);
        for _ in 0..5 {
            limiter.take(&1).unwrap();
        }
        let wait = SECOND / 2;
        assert_eq!(limiter.take(&1), Err(Over { wait }));
        assert_eq!(limiter.take(&2), Ok(()));
        clock.advance(SECOND);
        assert_eq!(limiter.take(&1), Ok(()));
        assert_eq!(limiter.take(&1), Ok(()));
        assert_eq!(limiter.take(&1), Err(Over { wait }));
        assert_eq!(limiter.take_held_back(), 2);
        assert_eq!(limiter.take_held_back(), 0);
    }

    #[test]
    fn a_clock_that_is_put_back_locks_nobody_out() {
        let (limiter, clock) = limiter(1, 1);
        limiter.take(&1).unwrap();
        clock.advance(SECOND);
        clock.set(Timestamp::EPOCH);
        assert_eq!(limiter.take(&1), Ok(()));
        clock.advance(SECOND);
        assert_eq!(limiter.take(&1), Ok(()));
    }

    #[test]
    fn many_are_taken_together_up_to_what_may_come_at_once_or_not_at_all() {
        let (limiter, clock) = limiter(1, 5);
        assert_eq!(limiter.take_some(&1, some(3)), Ok(3));
        assert_eq!(limiter.take_some(&1, some(3)), Err(Over { wait: SECOND }));
        assert_eq!(limiter.take_some(&1, some(2)), Ok(2));
        clock.advance(5 * SECOND);
        assert_eq!(limiter.take_some(&1, some(1000)), Ok(5));
    }

    #[test]
    fn without_a_rate_everything_goes() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let limiter = Limiter::new(Rate::new(0, 0), &clock);
        for _ in 0..10 {
            assert_eq!(limiter.take_some(&1, NonZeroU32::MAX), Ok(u32::MAX));
        }
        assert_eq!(limiter.keys(), 0);
    }

    #[test]
    fn keys_are_forgotten_once_they_have_all_of_it_again() {
        let (limiter, clock) = limiter(10, 10);
        for key in 0..50 {
            limiter.take(&key).unwrap();
        }
        for _ in 0..9 {
            limiter.take(&1).unwrap();
        }
        clock.advance(SECOND / 2);
        limiter.sweep();
        assert_eq!(limiter.keys(), 1);
        assert!(limiter.take_some(&1, some(6)).is_err());
        clock.advance(SECOND);
        limiter.sweep();
        assert_eq!(limiter.keys(), 0);
    }

    #[test]
    fn keys_that_never_come_again_take_a_bounded_memory() {
        let (limiter, _clock) = limiter(1, 1);
        for key in 0..300_000 {
            limiter.take(&key).unwrap();
        }
        assert!(limiter.keys() <= KEYS_MAX, "{}", limiter.keys());
    }
}
