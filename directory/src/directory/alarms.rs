//! Why alarms were raised for domains: each reason told once, and nothing that a peer does repeats it.

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
        if all.len() >= KNOWN_MAX && !all.contains_key(domain) {
            return;
        }
        let reasons = all.entry(domain.clone()).or_default();
        if let Some(known) = reasons.iter_mut().find(|it| it.why == why) {
            known.stands = true;
        } else if reasons.len() < REASONS_MAX {
            let why = why.to_owned();
            tracing::error!(peer = %domain, why, "ALARM: the identity of a peer is disputed");
            reasons.push(Reason { why, stands: true });
        }
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
