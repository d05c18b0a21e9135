//! A look at a domain as somebody sees it who has never met it: nothing is remembered, nothing pinned.

use std::{sync::Arc, time::Duration};

use freehold_keys::{SignedClientDocument, VerifiedRecord};
use freehold_proto::{DomainName, Timestamp};
use tokio::time::{Instant, timeout_at};

use super::Directory;
use crate::{DocumentError, ResolveError};

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
    /// Where it says that its people's clients connect. That is checked against the record.
    pub client_document: Result<Arc<SignedClientDocument>, DocumentError>,
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
        let end = Instant::now() + within;
        let (txt, well_known, (record, client_document)) = tokio::join!(
            timeout_at(end, self.txt(domain)),
            timeout_at(end, self.well_known(domain)),
            self.seen_itself(domain, end),
        );
        let txt = txt.unwrap_or_else(|_| Err(late()));
        Observation {
            domain: domain.clone(),
            at: self.clock.now(),
            record,
            client_document,
            txt: txt.map(|found| found.map(|(root, signed)| TxtAnchor { root, signed })),
            well_known: well_known.unwrap_or_else(|_| Err(late())),
        }
    }

    /// What the domain itself serves until then.
    async fn seen_itself(
        &self,
        domain: &DomainName,
        end: Instant,
    ) -> (
        Result<Arc<VerifiedRecord>, ResolveError>,
        Result<Arc<SignedClientDocument>, DocumentError>,
    ) {
        let fetched = timeout_at(end, Box::pin(self.fetch(domain, None)));
        match fetched.await.unwrap_or_else(|_| Err(late())) {
            Ok(record) => {
                let document = timeout_at(end, Box::pin(self.client_document(domain, &record)));
                let document = document
                    .await
                    .unwrap_or_else(|_| Err(DocumentError::Fetch("it takes too long".to_owned())));
                (Ok(Arc::new(record)), document.map(Arc::new))
            }
            Err(error) => (Err(error), Err(DocumentError::NoRecord)),
        }
    }
}

fn late() -> ResolveError {
    ResolveError::Fetch("the look-up takes too long".to_owned())
}
