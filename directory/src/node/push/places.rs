//! Pushes on their way at once: so many of all domains, and fewer of one, of all below one name, to one host and by
//! one way, so that what is slow keeps the rest from nothing.

use std::collections::HashMap;

use freehold_proto::{DomainName, PushTarget};
use parking_lot::Mutex;

use crate::node::family::family;

/// Of all domains, to hosts that people name; and as many to the services of vendors.
const ALL_MAX: usize = 512;
/// Of one.
const DOMAIN_MAX: usize = 128;
/// Of all below one name of two labels.
const FAMILY_MAX: usize = 256;
/// To one host that people name.
const HOST_MAX: usize = 64;

/// How many are on their way.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<Share, usize>>);

/// What a push has a share of.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Share {
    Hosts,
    Vendors,
    Domain(DomainName),
    Family(String),
    Host(String),
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    shares: Vec<Share>,
}

impl Share {
    fn max(&self) -> usize {
        match self {
            Self::Hosts | Self::Vendors => ALL_MAX,
            Self::Domain(_) => DOMAIN_MAX,
            Self::Family(_) => FAMILY_MAX,
            Self::Host(_) => HOST_MAX,
        }
    }
}

impl Places {
    /// A place for a push of this domain, if there is one.
    pub(super) fn take(&self, domain: &DomainName, target: &PushTarget) -> Option<Place<'_>> {
        let mut shares = vec![Share::Domain(domain.clone()), Share::Family(family(domain))];
        match target {
            PushTarget::Web { endpoint, .. } => {
                shares.push(Share::Hosts);
                shares.push(Share::Host(endpoint.host().to_string()));
            }
            PushTarget::Fcm(_) | PushTarget::Apns(_) => shares.push(Share::Vendors),
        }
        let mut taken = self.0.lock();
        let full = |it: &Share| taken.get(it).is_some_and(|count| *count >= it.max());
        if shares.iter().any(full) {
            return None;
        }
        for share in &shares {
            *taken.entry(share.clone()).or_default() += 1;
        }
        Some(Place {
            places: self,
            shares,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        for share in &self.shares {
            let left = taken.get_mut(share).map(|it| {
                *it -= 1;
                *it
            });
            if left == Some(0) {
                taken.remove(share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use freehold_proto::Token;

    use super::*;

    fn domain(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn to_host(number: usize) -> PushTarget {
        PushTarget::Web {
            endpoint: format!("https://h{number}.test/a").parse().unwrap(),
            body: bytes::Bytes::new(),
            encrypted: true,
        }
    }

    fn to_vendor() -> PushTarget {
        PushTarget::Fcm(Token {
            token: "a".to_owned(),
            fields: Vec::new(),
        })
    }

    /// Takes as many as there are, up to 2000; each to another host, or to one.
    fn fill<'a>(places: &'a Places, domain: &DomainName, hosts: usize) -> Vec<Place<'a>> {
        let targets = (0..2000).map(|it| to_host(it % hosts));
        targets.map_while(|it| places.take(domain, &it)).collect()
    }

    #[test]
    fn one_domain_a_family_and_a_host_leave_room_for_others() {
        let places = Places::default();
        let one = fill(&places, &domain("a.test"), 1000);
        assert_eq!(one.len(), DOMAIN_MAX);
        drop(one);
        let one_host = fill(&places, &domain("a.test"), 1);
        assert_eq!(one_host.len(), HOST_MAX);
        drop(one_host);
        let family: Vec<_> = (0..8)
            .flat_map(|it| fill(&places, &domain(&format!("d{it}.evil.test")), 1000))
            .collect();
        assert_eq!(family.len(), FAMILY_MAX);
        assert!(places.take(&domain("honest.test"), &to_host(1)).is_some());
        drop(family);
        assert!(places.0.lock().is_empty());
    }

    #[test]
    fn hosts_that_people_name_take_no_place_of_vendors() {
        let places = Places::default();
        let all: Vec<_> = (0..10)
            .flat_map(|it| fill(&places, &domain(&format!("d{it}.test")), 1000))
            .collect();
        assert_eq!(all.len(), ALL_MAX);
        let honest = domain("honest.test");
        assert!(places.take(&honest, &to_host(1)).is_none());
        assert!(places.take(&honest, &to_vendor()).is_some());
    }
}
