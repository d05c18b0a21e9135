//! Bounds on look-ups: failures are remembered for a while, and what strangers can make us look up
//! is rationed. No clock of its own: the caller says what time it is.

use std::{collections::HashMap, time::Duration};

use freehold_proto::DomainName;
use tokio::time::Instant;

use crate::{NegativeCache, ResolveError};

/// A stranger's claim makes us look up one name at most this often.
const STRANGER_INTERVAL: Duration = Duration::from_secs(60);
/// A claim that turned out to be true may be followed by others sooner, in that time so many in all: a
/// domain that has just been met may change its keys.
const TRUE_CLAIMS_MAX: u32 = 4;
/// Look-ups that all strangers together can cause in that time.
const STRANGER_LOOKUPS_MAX: usize = 120;
/// Failures remembered at once.
const FAILURES_MAX: usize = 4096;

/// What has been looked up lately, and with what outcome.
#[derive(Debug)]
pub(crate) struct Budget {
    negative: NegativeCache,
    failures: HashMap<DomainName, Failure>,
    // Invariant: at most STRANGER_LOOKUPS_MAX entries, none older than STRANGER_INTERVAL when read.
    asked: HashMap<DomainName, Asked>,
}

#[derive(Debug)]
struct Asked {
    since: Instant,
    count: u32,
    /// The last look-up found what was claimed.
    fruitful: bool,
}

#[derive(Debug)]
struct Failure {
    count: u32,
    until: Instant,
    error: ResolveError,
}

impl Budget {
    pub(crate) fn new(negative: NegativeCache) -> Self {
        Self {
            negative,
            failures: HashMap::new(),
            asked: HashMap::new(),
        }
    }

    /// The failure to answer with instead of looking again.
    pub(crate) fn remembered(&self, domain: &DomainName, now: Instant) -> Option<ResolveError> {
        let failure = self.failures.get(domain)?;
        (now < failure.until).then(|| failure.error.clone())
    }

    pub(crate) fn succeeded(&mut self, domain: &DomainName) {
        self.failures.remove(domain);
    }

    pub(crate) fn failed(&mut self, domain: &DomainName, error: ResolveError, now: Instant) {
        if self.failures.len() >= FAILURES_MAX {
            self.failures.retain(|_, failure| now < failure.until);
        }
        if self.failures.len() >= FAILURES_MAX && !self.failures.contains_key(domain) {
            return;
        }
        let count = self.failures.get(domain).map_or(0, |it| it.count);
        let count = count.saturating_add(1);
        let until = now + self.negative.lifetime(count);
        let failure = Failure {
            count,
            until,
            error,
        };
        self.failures.insert(domain.clone(), failure);
    }

    /// Takes one look-up of `domain` from what strangers may cause, if there is one left.
    pub(crate) fn admit_stranger(&mut self, domain: &DomainName, now: Instant) -> bool {
        self.asked
            .retain(|_, asked| now.duration_since(asked.since) < STRANGER_INTERVAL);
        if let Some(asked) = self.asked.get_mut(domain) {
            let admitted = asked.fruitful && asked.count < TRUE_CLAIMS_MAX;
            asked.count += u32::from(admitted);
            asked.fruitful = false;
            return admitted;
        }
        if self.asked.len() >= STRANGER_LOOKUPS_MAX {
            return false;
        }
        let asked = Asked {
            since: now,
            count: 1,
            fruitful: false,
        };
        self.asked.insert(domain.clone(), asked);
        true
    }

    /// A look-up that a stranger caused found what was claimed.
    pub(crate) fn was_fruitful(&mut self, domain: &DomainName) {
        if let Some(asked) = self.asked.get_mut(domain) {
            asked.fruitful = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(NegativeCache::USUAL)
    }

    fn name(number: usize) -> DomainName {
        format!("d{number}.test").parse().unwrap()
    }

    #[test]
    fn a_failure_is_remembered_longer_each_time_up_to_the_longest() {
        let (mut budget, mut now) = (budget(), Instant::now());
        for seconds in [5, 10, 20, 40, 60, 60] {
            budget.failed(&name(1), ResolveError::NoAddress, now);
            let last = now + Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(budget.remembered(&name(1), last).is_some(), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(budget.remembered(&name(1), now).is_none(), "{seconds}");
        }
        budget.succeeded(&name(1));
        budget.failed(&name(1), ResolveError::NoAddress, now);
        assert!(
            budget
                .remembered(&name(1), now + Duration::from_secs(5))
                .is_none()
        );
    }

    #[test]
    fn a_stranger_causes_one_look_up_of_a_name_a_minute() {
        let (mut budget, now) = (budget(), Instant::now());
        assert!(budget.admit_stranger(&name(1), now));
        assert!(!budget.admit_stranger(&name(1), now + STRANGER_INTERVAL / 2));
        assert!(budget.admit_stranger(&name(2), now));
        assert!(budget.admit_stranger(&name(1), now + STRANGER_INTERVAL));
    }

    #[test]
    fn strangers_together_have_a_budget() {
        let (mut budget, now) = (budget(), Instant::now());
        for number in 0..STRANGER_LOOKUPS_MAX {
            assert!(budget.admit_stranger(&name(number), now));
        }
        assert!(!budget.admit_stranger(&name(99_999), now));
        assert!(budget.admit_stranger(&name(99_999), now + STRANGER_INTERVAL));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut budget, now) = (budget(), Instant::now());
        for number in 0..FAILURES_MAX + 10 {
            budget.failed(&name(number), ResolveError::NoAddress, now);
        }
        assert_eq!(budget.failures.len(), FAILURES_MAX);
    }

    #[test]
    fn a_true_claim_may_be_followed_by_a_few_others_and_a_false_one_ends_that() {
        let (mut budget, now) = (budget(), Instant::now());
        let mut claims = |fruitful: bool| {
            let admitted = budget.admit_stranger(&name(1), now);
            if admitted && fruitful {
                budget.was_fruitful(&name(1));
            }
            admitted
        };
        assert_eq!([true; 5].map(&mut claims), [true, true, true, true, false]);
        let mut other = self::budget();
        assert!(other.admit_stranger(&name(2), now));
        assert!(!other.admit_stranger(&name(2), now), "it was not true");
    }
}
