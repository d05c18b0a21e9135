//! From one root key to the next: which keys a domain's root has been, by its own word
//! (PROTOCOL.md section 3.2).
//!
//! Each root commits to the only key that may follow it, in its first record and in all others. So
//! whoever steals a root key can sign records with it, and cannot make another key its successor.

use bytes::Bytes;
use freehold_proto::{DomainName, IdentityRecord, record, wire};
use sha2::{Digest, Sha256};

use crate::{RecordFault, verify};

/// Roots before the present one that are shown and looked at.
pub(crate) const FORMER_MAX: usize = 16;

/// The last record under a root key that another has followed. Its signature holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Former {
    bytes: Bytes,
    signature: [u8; 64],
    root: [u8; 32],
    next: [u8; 32],
}

impl Former {
    /// What becomes of a record when its root is followed by another.
    pub(crate) fn of(bytes: Bytes, signature: [u8; 64], record: &IdentityRecord) -> Self {
        Self {
            bytes,
            signature,
            root: Sha256::digest(record.root_key).into(),
            next: record.next_root_hash,
        }
    }

    fn read(words: wire::FormerRecord, domain: &DomainName) -> Result<Self, RecordFault> {
        let record = IdentityRecord::decode(&words.record)?;
        if record.domain != *domain {
            return Err(RecordFault::OtherDomain {
                found: record.domain,
                expected: domain.clone(),
            });
        }
        let signature = (&*words.signature)
            .try_into()
            .map_err(|_| RecordFault::BadSignature)?;
        if !verify(&record.root_key, record::CONTEXT, &words.record, &signature) {
            return Err(RecordFault::BadSignature);
        }
        Ok(Self::of(words.record, signature, &record))
    }

    pub(crate) fn to_wire(&self) -> wire::FormerRecord {
        wire::FormerRecord {
            record: self.bytes.clone(),
            signature: Bytes::copy_from_slice(&self.signature),
        }
    }

    /// Fingerprint of its root.
    pub(crate) fn root(&self) -> [u8; 32] {
        self.root
    }

    /// Fingerprint of the only root that may follow.
    pub(crate) fn next(&self) -> [u8; 32] {
        self.next
    }
}

/// Reads the roots before `root`, oldest first, and checks that each follows from the one before.
pub(crate) fn read(
    former: Vec<wire::FormerRecord>,
    domain: &DomainName,
    root: [u8; 32],
) -> Result<Vec<Former>, RecordFault> {
    if former.len() > FORMER_MAX {
        return Err(RecordFault::Succession("there are too many former roots"));
    }
    let read = former.into_iter().map(|it| Former::read(it, domain));
    let read = read.collect::<Result<Vec<_>, _>>()?;
    let followers = read.iter().skip(1).map(Former::root).chain([root]);
    if read.iter().zip(followers).any(|(it, root)| it.next != root) {
        return Err(RecordFault::Succession(
            "a root key is not the one that the root before it has named",
        ));
    }
    Ok(read)
}
