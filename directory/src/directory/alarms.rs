//! Why alarms were raised for domains: each reason is told when it is new, and kept while look-ups come
//! upon it.

use std::collections::HashMap;

use freehold_proto::DomainName;
use parking_lot::Mutex;

use super::memory::KNOWN_MAX;

/// Reasons about one domain that are kept.
const REASONS_MAX: usize = 4;

/// Reasons by domain.
#[derive(Debug, Default)]
pub(super) struct Alarms(Mutex<HashMap<DomainName, Vec<Reason>>>);

#[derive(Debug)]
struct Reason {
    why: String,
    /// Whether the present look-up, or the last one, has come upon it.
    stands: bool,
}

impl Alarms {
    /// A look-up begins. What it does not come upon stands no longer.
    pub(super) fn begin(&self, domain: &DomainName) {
        for reason in self.0.lock().get_mut(domain).into_iter().flatten() {
            reason.stands = false;
        }
    }

    pub(super) fn raise(&self, domain: &DomainName, why: &str) {
        let mut all = self.0.lock();
        if let Some(known) = all
            .get_mut(domain)
            .into_iter()
            .flatten()
            .find(|it| it.why == why)
        {
            known.stands = true;
            return;
        }
        tracing::error!(peer = %domain, why, "ALARM: the identity of a peer is disputed");
        if all.len() >= KNOWN_MAX && !all.contains_key(domain) {
            // One of which no look-up speaks any more makes room, if there is one.
            let over = |it: &Vec<Reason>| it.iter().all(|reason| !reason.stands);
            let Some(old) = all.iter().find(|it| over(it.1)).map(|it| it.0.clone()) else {
                return;
            };
            all.remove(&old);
        }
        let reasons = all.entry(domain.clone()).or_default();
        if reasons.len() >= REASONS_MAX {
            let old = reasons.iter().position(|it| !it.stands);
            reasons.remove(old.unwrap_or_default());
        }
        let why = why.to_owned();
        reasons.push(Reason { why, stands: true });
    }

    /// A look-up has ended well: only what it came upon remains.
    pub(super) fn settle(&self, domain: &DomainName) {
        let mut all = self.0.lock();
        if let Some(reasons) = all.get_mut(domain) {
            reasons.retain(|it| it.stands);
            if reasons.is_empty() {
                all.remove(domain);
            }
        }
    }

    pub(super) fn forget(&self, domain: &DomainName) {
        self.0.lock().remove(domain);
    }

    /// All reasons, in one line.
    pub(super) fn of(&self, domain: &DomainName) -> Option<String> {
        let all = self.0.lock();
        let reasons: Vec<_> = all.get(domain)?.iter().map(|it| &*it.why).collect();
        Some(reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_reason_is_kept_whatever_was_said_before() {
        let alarms = Alarms::default();
        let domain: DomainName = "beta.test".parse().unwrap();
        for number in 0..10 {
            alarms.begin(&domain);
            alarms.raise(&domain, &format!("shows key {number}"));
        }
        alarms.raise(&domain, "all its keys are new");
        let said = alarms.of(&domain).unwrap();
        assert!(said.contains("all its keys are new"), "{said}");
        assert_eq!(said.split("; ").count(), REASONS_MAX);
        alarms.settle(&domain);
        assert_eq!(
            alarms.of(&domain).unwrap(),
            "shows key 9; all its keys are new"
        );
    }
}
