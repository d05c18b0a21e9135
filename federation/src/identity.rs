//! Who we are on links: record, signing key and TLS key belong together and change together, while
//! links go on. What is served to anybody is signed with the same keys.

use std::sync::{Arc, OnceLock};

use freehold_keys::{KeyError, KeyRing, SignedClientDocument};
use freehold_proto::{Entrance, Timestamp, client_document, freshness::RENEW_AFTER};
use parking_lot::{Mutex, RwLock};

use crate::{BindError, hello::Ourselves, tls::Tls};

/// One set of keys, in use.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) ours: Ourselves,
    pub(crate) tls: Tls,
    /// The record as it is served, with our word that it is the latest, and when that was given.
    served: Mutex<Option<(Timestamp, Arc<[u8]>)>>,
    /// The client document as it is served.
    directed: Mutex<Option<Arc<SignedClientDocument>>>,
}

impl Identity {
    pub(crate) fn new(ring: &KeyRing) -> Result<Self, BindError> {
        Ok(Self {
            ours: Ourselves::new(ring),
            tls: Tls::new(ring.tls_identity()?)?,
            served: Mutex::default(),
            directed: Mutex::default(),
        })
    }

    /// Our record with a freshness statement of today.
    pub(crate) fn served(&self, now: Timestamp) -> Arc<[u8]> {
        let mut served = self.served.lock();
        if let Some((given, bytes)) = &*served
            && *given <= now
            && now < given.plus(RENEW_AFTER)
        {
            return Arc::clone(bytes);
        }
        let fresh = self.ours.signer.vouch(&self.ours.record, now);
        let bytes: Arc<[u8]> = fresh.to_bytes().into();
        *served = Some((now, Arc::clone(&bytes)));
        bytes
    }

    /// Our client document of today.
    fn directed(&self, entrance: &Entrance, now: Timestamp) -> Arc<SignedClientDocument> {
        let mut directed = self.directed.lock();
        if let Some(document) = &*directed {
            let made = document.document().issued;
            if made <= now && now < made.plus(client_document::RENEW_AFTER) {
                return Arc::clone(document);
            }
        }
        let document = Arc::new(self.ours.signer.direct_clients(entrance.clone(), now));
        *directed = Some(Arc::clone(&document));
        document
    }
}

/// The keys in use now.
#[derive(Clone, Debug)]
pub(crate) struct CurrentIdentity {
    identity: Arc<RwLock<Arc<Identity>>>,
    /// Where our people's clients connect, if that is told.
    entrance: Arc<OnceLock<Entrance>>,
}

impl CurrentIdentity {
    pub(crate) fn new(ring: &KeyRing) -> Result<Self, BindError> {
        Ok(Self {
            identity: Arc::new(RwLock::new(Arc::new(Identity::new(ring)?))),
            entrance: Arc::default(),
        })
    }

    pub(crate) fn get(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read())
    }

    pub(crate) fn replace(&self, ring: &KeyRing) -> Result<(), KeyError> {
        let next = Identity::new(ring).map_err(|error| match error {
            BindError::Keys(error) => error,
            error => KeyError::Certificate(error.to_string()),
        })?;
        *self.identity.write() = Arc::new(next);
        Ok(())
    }

    /// Tells from now on where our people's clients connect. Only the first word counts.
    pub(crate) fn open_entrance(&self, entrance: Entrance) {
        self.entrance.get_or_init(|| entrance);
    }

    /// Where they connect, signed, if that is told.
    pub(crate) fn client_document(&self, now: Timestamp) -> Option<Arc<SignedClientDocument>> {
        let entrance = self.entrance.get()?;
        Some(self.get().directed(entrance, now))
    }
}
