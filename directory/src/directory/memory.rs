//! What is held in memory of domains met before: a copy of some of the pins.

use std::{collections::HashMap, sync::Arc};

use freehold_keys::VerifiedRecord;
use freehold_proto::DomainName;
use parking_lot::Mutex;

use crate::{AnchorLevel, Hold, Life};

/// Domains kept in memory; the pins hold all of them.
pub(super) const KNOWN_MAX: usize = 4096;

/// A domain met before.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: Arc<VerifiedRecord>,
    pub(super) level: AnchorLevel,
    pub(super) life: Life,
    pub(super) hold: Option<Hold>,
}

/// Domains met before, as many as there is room for.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    domains: HashMap<DomainName, Arc<Known>>,
    changes: u64,
}

impl Memory {
    pub(super) fn get(&self, domain: &DomainName) -> Option<Arc<Known>> {
        self.0.lock().domains.get(domain).cloned()
    }

    /// A number that is another one after each change of a pin. Whoever reads a pin notes it first.
    pub(super) fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// Keeps what has just become of a domain.
    pub(super) fn put(&self, domain: &DomainName, known: Known) {
        let mut inner = self.0.lock();
        inner.changes += 1;
        inner.insert(domain, Arc::new(known));
    }

    /// Forgets what is no longer so.
    pub(super) fn remove(&self, domain: &DomainName) {
        let mut inner = self.0.lock();
        inner.changes += 1;
        inner.domains.remove(domain);
    }

    /// Keeps what was read from a pin, unless it may have changed since.
    pub(super) fn recall(&self, domain: &DomainName, known: Known, changes: u64) -> Arc<Known> {
        let known = Arc::new(known);
        let mut inner = self.0.lock();
        if inner.changes == changes {
            inner.insert(domain, Arc::clone(&known));
        }
        known
    }
}

impl Inner {
    fn insert(&mut self, domain: &DomainName, known: Arc<Known>) {
        if self.domains.len() >= KNOWN_MAX
            && !self.domains.contains_key(domain)
            && let Some(any) = self.domains.keys().next().cloned()
        {
            self.domains.remove(&any);
        }
        self.domains.insert(domain.clone(), known);
    }
}
