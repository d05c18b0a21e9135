//! Who we are on links: record, signing key and TLS key belong together and change together, while
//! links go on.

use std::sync::Arc;

use freehold_keys::{KeyError, KeyRing};
use freehold_proto::{Timestamp, freshness::RENEW_AFTER};
use parking_lot::{Mutex, RwLock};

use crate::{BindError, hello::Ourselves, tls::Tls};

/// One set of keys, in use.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) ours: Ourselves,
    pub(crate) tls: Tls,
    /// The record as it is served, with our word that it is the latest, and when that was given.
    served: Mutex<Option<(Timestamp, Arc<[u8]>)>>,
}

impl Identity {
    pub(crate) fn new(ring: &KeyRing) -> Result<Self, BindError> {
        Ok(Self {
            ours: Ourselves::new(ring),
            tls: Tls::new(ring.tls_identity()?)?,
            served: Mutex::default(),
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
}

/// The keys in use now.
#[derive(Clone, Debug)]
pub(crate) struct CurrentIdentity(Arc<RwLock<Arc<Identity>>>);

impl CurrentIdentity {
    pub(crate) fn new(ring: &KeyRing) -> Result<Self, BindError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(Identity::new(ring)?)))))
    }

    pub(crate) fn get(&self) -> Arc<Identity> {
        Arc::clone(&self.0.read())
    }

    pub(crate) fn replace(&self, ring: &KeyRing) -> Result<(), KeyError> {
        let next = Identity::new(ring).map_err(|error| match error {
            BindError::Keys(error) => error,
            error => KeyError::Certificate(error.to_string()),
        })?;
        *self.0.write() = Arc::new(next);
        Ok(())
    }
}
