//! Pushes on their way at once: so many of all domains, and fewer of one, so that a domain whose devices' services
//! are slow keeps the others from nothing.

use std::collections::HashMap;

use freehold_proto::DomainName;
use parking_lot::Mutex;

/// Of all domains.
const ALL_MAX: usize = 1024;
/// Of one.
const DOMAIN_MAX: usize = 128;

/// How many are on their way.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_domain: HashMap<DomainName, usize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    domain: &'a DomainName,
}

impl Places {
    /// A place for a push of this domain, if there is one.
    pub(super) fn take<'a>(&'a self, domain: &'a DomainName) -> Option<Place<'a>> {
        let mut taken = self.0.lock();
        let own = taken.by_domain.get(domain).copied().unwrap_or(0);
        if taken.all >= ALL_MAX || own >= DOMAIN_MAX {
            return None;
        }
        taken.all += 1;
        taken.by_domain.insert(domain.clone(), own + 1);
        Some(Place {
            places: self,
            domain,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        taken.all -= 1;
        let left = taken.by_domain.get_mut(self.domain).map(|it| {
            *it -= 1;
            *it
        });
        if left == Some(0) {
            taken.by_domain.remove(self.domain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_domain_leaves_room_for_others_and_what_is_done_makes_room_again() {
        let places = Places::default();
        let domains: Vec<DomainName> = (0..10)
            .map(|it| format!("d{it}.test").parse().unwrap())
            .collect();
        let mut held: Vec<_> = domains
            .iter()
            .flat_map(|it| {
                (0..=DOMAIN_MAX)
                    .map_while(|_| places.take(it))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(held.len(), ALL_MAX);
        assert!(
            places.take(domains.last().unwrap()).is_none(),
            "all are taken"
        );
        held.truncate(DOMAIN_MAX);
        assert!(
            places.take(domains.first().unwrap()).is_none(),
            "it has its share"
        );
        assert!(places.take(domains.last().unwrap()).is_some());
        held.clear();
        assert!(places.take(domains.first().unwrap()).is_some());
        assert!(places.0.lock().by_domain.is_empty());
    }
}
