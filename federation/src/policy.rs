//! With which domains this one has to do at all.

use std::{collections::BTreeSet, sync::Arc};

use freehold_proto::DomainName;
use parking_lot::RwLock;

/// Open to all, or to a list; never to those denied. Clones are one policy: what replaces it replaces it
/// for all of them.
#[derive(Clone, Debug, Default)]
pub struct Policy(Arc<RwLock<Rules>>);

#[derive(Clone, Debug, Default)]
struct Rules {
    // Invariant: `None` is open to everybody.
    allowed: Option<BTreeSet<DomainName>>,
    denied: BTreeSet<DomainName>,
}

impl Policy {
    /// Everybody but the denied, who are denied with all their sub-domains.
    #[must_use]
    pub fn open(denied: impl IntoIterator<Item = DomainName>) -> Self {
        Self::of(Rules {
            allowed: None,
            denied: denied.into_iter().collect(),
        })
    }

    /// Only the allowed, each for itself; a denied domain stays denied.
    #[must_use]
    pub fn only(
        allowed: impl IntoIterator<Item = DomainName>,
        denied: impl IntoIterator<Item = DomainName>,
    ) -> Self {
        Self::of(Rules {
            allowed: Some(allowed.into_iter().collect()),
            denied: denied.into_iter().collect(),
        })
    }

    fn of(rules: Rules) -> Self {
        Self(Arc::new(RwLock::new(rules)))
    }

    /// The rules of `other`, as they are now, hold here too.
    pub fn replace(&self, other: &Self) {
        let rules = other.0.read().clone();
        *self.0.write() = rules;
    }

    /// The same rules, with some domains more that are permitted by name and some more that are denied.
    #[must_use]
    pub fn with(&self, allowed: &[DomainName], denied: &[DomainName]) -> Self {
        let mut rules = self.0.read().clone();
        if let Some(list) = &mut rules.allowed {
            list.extend(allowed.iter().cloned());
        }
        rules.denied.extend(denied.iter().cloned());
        Self::of(rules)
    }

    /// May this domain talk to us, and we to it?
    #[must_use]
    pub fn permits(&self, domain: &DomainName) -> bool {
        let rules = self.0.read();
        let denied = rules.denied.iter().any(|it| domain.is_within(it));
        !denied && rules.allowed.as_ref().is_none_or(|it| it.contains(domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(policy: &Policy, domain: &str, permitted: bool) {
        assert_eq!(policy.permits(&name(domain)), permitted, "{domain}");
    }

    #[test]
    fn denial_wins_and_covers_sub_domains() {
        let open = Policy::open([name("bad.example")]);
        check(&open, "good.example", true);
        check(&open, "notbad.example", true);
        check(&open, "bad.example", false);
        check(&open, "deep.down.bad.example", false);
        let both = Policy::only([name("a.bad.example")], [name("bad.example")]);
        check(&both, "a.bad.example", false);
    }

    #[test]
    fn a_list_opens_to_those_on_it_only() {
        let list = Policy::only([name("good.example")], []);
        check(&list, "good.example", true);
        check(&list, "sub.good.example", false);
        check(&list, "other.example", false);
    }
}
