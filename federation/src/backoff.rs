//! When to try a peer again. Pure: the caller brings the time and the chance.

use std::time::Duration;

use tokio::time::Instant;

/// How long a peer must be away before [`Backoff::new`]'s last bound counts.
const FIRST_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a peer must be away before people are told.
const PATIENCE: Duration = Duration::from_secs(2 * 60);
/// After so many days a peer is dormant: it is tried only so many times less often.
const DORMANT_AFTER_DAYS: u32 = 7;
const DORMANT: u32 = 4;

/// A delay with full jitter: between the shortest delay and a bound that doubles with each failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    // Invariant: zero < shortest <= longest <= longest_later.
    shortest: Duration,
    longest: Duration,
    longest_later: Duration,
    first_day: Duration,
    patience: Duration,
}

/// Bounds that cannot form a [`Backoff`].
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// Would hammer a peer that is failing already.
    #[error("the shortest delay must not be zero")]
    Zero,
    /// A bound is longer than the one after it.
    #[error("delays must not shrink: {0:?}, {1:?}, {2:?}")]
    Shrinking(Duration, Duration, Duration),
}

impl Backoff {
    /// From the shortest delay to the longest of the first day, and the longest after that.
    pub fn new(
        shortest: Duration,
        longest: Duration,
        longest_later: Duration,
    ) -> Result<Self, BackoffError> {
        if shortest.is_zero() {
            return Err(BackoffError::Zero);
        }
        if longest < shortest || longest_later < longest {
            return Err(BackoffError::Shrinking(shortest, longest, longest_later));
        }
        Ok(Self {
            shortest,
            longest,
            longest_later,
            first_day: FIRST_DAY,
            patience: PATIENCE,
        })
    }

    /// The same schedule, so many times faster.
    #[cfg(feature = "test-hooks")]
    #[must_use]
    pub fn hastened(self, by: u32) -> Self {
        let faster = |it: Duration| (it / by.max(1)).max(Duration::from_millis(1));
        Self {
            shortest: faster(self.shortest),
            longest: faster(self.longest),
            longest_later: faster(self.longest_later),
            first_day: faster(self.first_day),
            patience: faster(self.patience),
        }
    }

    /// For how long a peer must have been failing before people are told.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The shortest delay.
    pub(crate) fn shortest(&self) -> Duration {
        self.shortest
    }

    /// The delay after `failures` failures in a row over the time `failing`. `chance` is from 0 to 1.
    #[must_use]
    pub fn delay(&self, failures: u32, failing: Duration, chance: f64) -> Duration {
        let longest = if failing < self.first_day {
            self.longest
        } else if failing < self.first_day.saturating_mul(DORMANT_AFTER_DAYS) {
            self.longest_later
        } else {
            self.longest_later.saturating_mul(DORMANT)
        };
        let bound = self
            .shortest
            .saturating_mul(2_u32.saturating_pow(failures))
            .min(longest);
        self.shortest + (bound - self.shortest).mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// How attempts to reach a peer have gone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Attempts {
    pub(crate) failures: u32,
    pub(crate) failing_since: Option<Instant>,
    failed_at: Option<Instant>,
    not_before: Option<Instant>,
}

/// Whether to try a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attempt {
    Now,
    After(Instant),
}

impl Attempts {
    /// The verdict at `now`.
    pub(crate) fn attempt(&self, now: Instant) -> Attempt {
        match self.not_before {
            Some(moment) if now < moment => Attempt::After(moment),
            _ => Attempt::Now,
        }
    }

    /// The verdict for a person who waits: only the shortest delay must have passed.
    pub(crate) fn attempt_for_person(&self, backoff: &Backoff, now: Instant) -> Attempt {
        match self.failed_at.map(|it| it + backoff.shortest) {
            Some(moment) if now < moment => Attempt::After(moment),
            _ => Attempt::Now,
        }
    }

    /// Another failure: the next attempt waits.
    pub(crate) fn failed(&mut self, backoff: &Backoff, now: Instant, chance: f64) {
        self.failures = self.failures.saturating_add(1);
        let since = *self.failing_since.get_or_insert(now);
        let delay = backoff.delay(self.failures, now.duration_since(since), chance);
        self.failed_at = Some(now);
        self.not_before = Some(now + delay);
    }

    /// The peer was reached, or has proven itself to us: nothing waits any longer.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn usual() -> Backoff {
        Backoff::new(Duration::from_secs(1), HOUR, 6 * HOUR).unwrap()
    }

    #[track_caller]
    fn check(failures: u32, failing: Duration, chance: f64, seconds: u64) {
        let delay = usual().delay(failures, failing, chance);
        assert_eq!(delay, Duration::from_secs(seconds));
    }

    #[test]
    fn the_bound_doubles_up_to_an_hour_after_a_day_to_six_and_after_a_week_to_a_day() {
        check(1, Duration::ZERO, 1.0, 2);
        check(2, Duration::ZERO, 1.0, 4);
        check(5, Duration::ZERO, 0.0, 1);
        check(20, HOUR, 1.0, 3600);
        check(u32::MAX, 23 * HOUR, 1.0, 3600);
        check(u32::MAX, 24 * HOUR, 1.0, 6 * 3600);
        check(u32::MAX, 7 * 24 * HOUR, 1.0, 24 * 3600);
    }

    #[test]
    fn impossible_bounds_are_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(
            Backoff::new(Duration::ZERO, second, second),
            Err(BackoffError::Zero)
        );
        assert!(Backoff::new(2 * second, second, second).is_err());
        assert!(Backoff::new(second, 3 * second, 2 * second).is_err());
    }

    #[test]
    fn a_failure_delays_and_a_contact_ends_the_delay() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        assert_eq!(attempts.attempt(now), Attempt::Now);
        attempts.failed(&usual(), now, 1.0);
        let due = now + Duration::from_secs(2);
        assert_eq!(attempts.attempt(now), Attempt::After(due));
        assert_eq!(attempts.attempt(due), Attempt::Now);
        let soon = now + Duration::from_secs(1);
        let for_person = |now| attempts.attempt_for_person(&usual(), now);
        assert_eq!(for_person(now), Attempt::After(soon));
        assert_eq!(for_person(soon), Attempt::Now);
        attempts.failed(&usual(), due, 1.0);
        assert_eq!(attempts.failing_since, Some(now));
        attempts.succeeded();
        assert_eq!(attempts.attempt(now), Attempt::Now);
    }

    proptest! {
        #[test]
        fn a_delay_stays_within_its_bounds(
            failures: u32,
            hours in 0u32..1000,
            chance in 0.0..=1.0,
        ) {
            let delay = usual().delay(failures, HOUR * hours, chance);
            prop_assert!(delay >= Duration::from_secs(1) && delay <= 24 * HOUR);
        }

        #[test]
        fn more_failures_never_mean_less_delay(failures in 0u32..64, chance in 0.0..=1.0) {
            let at = |failures| usual().delay(failures, Duration::ZERO, chance);
            prop_assert!(at(failures) <= at(failures + 1));
        }
    }
}
