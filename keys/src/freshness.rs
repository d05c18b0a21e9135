//! Giving one's word that a record is still the latest, and judging such a word (PROTOCOL.md
//! section 3.1).

use bytes::Bytes;
use freehold_proto::{
    Freshness, IdentityRecord, Timestamp,
    freshness::{CONTEXT, LIFETIME_MAX},
    limits, wire,
};

use crate::{RecordFault, verify};

/// A freshness statement and the signature under it, as it came. Nothing about it is checked but its
/// form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedFreshness {
    bytes: Bytes,
    signature: Bytes,
    statement: Freshness,
}

impl SignedFreshness {
    pub(crate) fn new(statement: Freshness, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let bytes = statement.encode();
        Self {
            signature: Bytes::copy_from_slice(&sign(&bytes)),
            bytes: bytes.into(),
            statement,
        }
    }

    pub(crate) fn read(words: wire::SignedFreshness) -> Result<Self, RecordFault> {
        Ok(Self {
            statement: Freshness::decode(&words.statement)?,
            bytes: words.statement,
            signature: words.signature,
        })
    }

    pub(crate) fn to_wire(&self) -> wire::SignedFreshness {
        wire::SignedFreshness {
            statement: self.bytes.clone(),
            signature: self.signature.clone(),
        }
    }

    /// What it says.
    #[must_use]
    pub fn statement(&self) -> &Freshness {
        &self.statement
    }

    /// Does it say, now, and under a key of that record, that `record` is the latest?
    pub(crate) fn check(
        &self,
        record: &IdentityRecord,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<(), RecordFault> {
        let refuse = |why| Err(RecordFault::NotFresh(why));
        let it = &self.statement;
        if it.domain != record.domain || it.serial != record.serial || it.record_hash != *hash {
            return refuse("its freshness statement is about another record");
        }
        if it.issued > now.plus(limits::CLOCK_SKEW_MAX) || it.expires <= now {
            return refuse("its freshness statement does not count now");
        }
        if it.expires > it.issued.plus(LIFETIME_MAX) {
            return refuse("its freshness statement counts for more than 7 days");
        }
        let Some(key) = record.unrevoked_key(it.key_id, it.issued) else {
            return refuse("its freshness statement is signed by a key that did not count");
        };
        let signature = (&*self.signature)
            .try_into()
            .map_err(|_| RecordFault::NotFresh("its freshness statement is not signed"))?;
        if !verify(&key.public_key, CONTEXT, &self.bytes, &signature) {
            return refuse("the signature under its freshness statement does not hold");
        }
        Ok(())
    }
}
