//! A look at a domain as somebody sees it who has never met it: nothing is remembered, nothing pinned.

use std::{sync::Arc, time::Duration};

use freehold_keys::VerifiedRecord;
use freehold_proto::{DomainName, Timestamp};
use tokio::time::timeout;

use super::Directory;
use crate::ResolveError;

/// What can be seen of a domain from here, at one moment.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Which domain.
    pub domain: DomainName,
    /// When.
    pub at: Timestamp,
    /// The record that it serves. It holds together and is said to be the latest; its root key is the one
    /// that it names itself, so it is worth what the anchors say of that key.
    pub record: Result<Arc<VerifiedRecord>, ResolveError>,
    /// The root key that DNS names, if it names one.
    pub txt: Result<Option<TxtAnchor>, ResolveError>,
    /// The root key that the domain's web server names.
    pub well_known: Result<[u8; 32], ResolveError>,
}

/// A root key that DNS names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TxtAnchor {
    /// Its fingerprint.
    pub root: [u8; 32],
    /// Whether DNSSEC vouches for that.
    pub signed: bool,
}

impl Directory {
    /// Asks DNS, the domain's web server and the domain itself, all at once; what has not answered within
    /// this time has not answered.
    pub async fn observe(&self, domain: &DomainName, within: Duration) -> Observation {
        let late = || ResolveError::Fetch("the look-up takes too long".to_owned());
        let (txt, well_known, record) = tokio::join!(
            timeout(within, self.txt(domain)),
            timeout(within, self.well_known(domain)),
            timeout(within, Box::pin(self.fetch(domain, None))),
        );
        let txt = txt.unwrap_or_else(|_| Err(late()));
        Observation {
            domain: domain.clone(),
            at: self.clock.now(),
            record: record.unwrap_or_else(|_| Err(late())).map(Arc::new),
            txt: txt.map(|found| found.map(|(root, signed)| TxtAnchor { root, signed })),
            well_known: well_known.unwrap_or_else(|_| Err(late())),
        }
    }
}
