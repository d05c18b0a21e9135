//! With which domains this one has to do at all. Pure.

use std::collections::BTreeSet;

use freehold_proto::DomainName;

/// Open to all, or to a list; never to those denied.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    // Invariant: `None` is open to everybody.
    allowed: Option<BTreeSet<DomainName>>,
    denied: BTreeSet<DomainName>,
}

impl Policy {
    /// Everybody but the denied, who are denied with all their sub-domains.
    #[must_use]
    pub fn open(denied: impl IntoIterator<Item = DomainName>) -> Self {
        Self {
            allowed: None,
            denied: denied.into_iter().collect(),
        }
    }

    /// Only the allowed, each for itself; a denied domain stays denied.
    #[must_use]
    pub fn only(
        allowed: impl IntoIterator<Item = DomainName>,
        denied: impl IntoIterator<Item = DomainName>,
    ) -> Self {
        Self {
            allowed: Some(allowed.into_iter().collect()),
            denied: denied.into_iter().collect(),
        }
    }

    /// May this domain talk to us, and we to it?
    #[must_use]
    pub fn permits(&self, domain: &DomainName) -> bool {
        let denied = self.denied.iter().any(|it| domain.is_within(it));
        !denied && self.allowed.as_ref().is_none_or(|it| it.contains(domain))
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
