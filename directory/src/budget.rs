//! Bounds on look-ups: failures are remembered for a while, and what strangers can make us look up
//! is rationed. No clock of its own: the caller says what time it is.

use std::{collections::HashMap, time::Duration};

use freehold_proto::DomainName;
use tokio::time::Instant;

use crate::{NegativeCache, ResolveError};

/// A stranger's claim makes us look up one name at most this often.
const STRANGER_INTERVAL: Duration = Duration::from_secs(60);
/// The name of a domain that was met before is looked up so much more often: it may come back, or change
/// its keys, just after somebody has claimed its name in vain.
const MET_INTERVAL: Duration = Duration::from_secs(5);
/// Look-ups that all strangers together can cause in that time.
const STRANGER_LOOKUPS_MAX: usize = 120;
/// Domains met before that are looked up on the word of others in that time.
const MET_MAX: usize = 1200;
/// Failures remembered at once.
const FAILURES_MAX: usize = 4096;

/// What has been looked up lately, and with what outcome.
#[derive(Debug)]
pub(crate) struct Budget {
    negative: NegativeCache,
    failures: HashMap<DomainName, Failure>,
    // When, and whether it was met before. Invariant: at most STRANGER_LOOKUPS_MAX that were not and
    // MET_MAX that were, none older than STRANGER_INTERVAL when read.
    asked: HashMap<DomainName, (Instant, bool)>,
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

    /// The operator has decided something about a domain: it may be looked up at once.
    pub(crate) fn forget(&mut self, domain: &DomainName) {
        self.failures.remove(domain);
        self.asked.remove(domain);
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

    /// Takes one look-up of `domain` from what strangers may cause, if there is one left. `met` says
    /// whether we know it from before.
    pub(crate) fn admit_stranger(&mut self, domain: &DomainName, met: bool, now: Instant) -> bool {
        self.asked
            .retain(|_, (asked, _)| now.duration_since(*asked) < STRANGER_INTERVAL);
        let interval = if met { MET_INTERVAL } else { STRANGER_INTERVAL };
        let recent = |(asked, _): &(Instant, bool)| now.duration_since(*asked) < interval;
        if self.asked.get(domain).is_some_and(recent) {
            return false;
        }
        // Whoever was met is known: strangers do not use up what it may cause.
        let strangers = self.asked.values().filter(|(_, met)| !met).count();
        if !met && strangers >= STRANGER_LOOKUPS_MAX {
            return false;
        }
        if met && self.asked.len() >= STRANGER_LOOKUPS_MAX + MET_MAX {
            return false;
        }
        self.asked.insert(domain.clone(), (now, met));
        true
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
        assert!(budget.admit_stranger(&name(1), false, now));
        assert!(!budget.admit_stranger(&name(1), false, now + STRANGER_INTERVAL / 2));
        assert!(budget.admit_stranger(&name(2), false, now));
        assert!(budget.admit_stranger(&name(1), false, now + STRANGER_INTERVAL));
    }

    #[test]
    fn strangers_together_have_a_budget() {
        let (mut budget, now) = (budget(), Instant::now());
        for number in 0..STRANGER_LOOKUPS_MAX {
            assert!(budget.admit_stranger(&name(number), false, now));
        }
        assert!(!budget.admit_stranger(&name(99_999), false, now));
        assert!(budget.admit_stranger(&name(99_999), false, now + STRANGER_INTERVAL));
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
    fn a_domain_that_was_met_is_looked_up_sooner() {
        let (mut budget, now) = (budget(), Instant::now());
        assert!(budget.admit_stranger(&name(1), false, now));
        assert!(!budget.admit_stranger(&name(1), true, now + MET_INTERVAL / 2));
        assert!(!budget.admit_stranger(&name(1), false, now + MET_INTERVAL));
        assert!(budget.admit_stranger(&name(1), true, now + MET_INTERVAL));
        assert!(!budget.admit_stranger(&name(1), true, now + MET_INTERVAL));
    }
}
