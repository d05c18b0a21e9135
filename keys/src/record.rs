//! Signing and believing identity records (PROTOCOL.md section 3).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_proto::{DomainName, IdentityRecord, Malformed, Timestamp, limits, record, wire};
use prost::Message as _;
use sha2::{Digest, Sha256};

use crate::{secret::SecretKey, verify};

/// A record whose signature holds, whose root key fits the anchor, and which names the domain it was
/// asked of. Keeps the signed bytes: they are stored and shown to others as they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedRecord {
    bytes: Bytes,
    signature: [u8; 64],
    record: IdentityRecord,
}

/// Why a peer's record is not believed. The peer's fault, or that of whoever sits between.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// Not a record at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It speaks for another domain.
    #[error("the record is of {found}, not of {expected}")]
    OtherDomain {
        /// Whom it speaks for.
        found: DomainName,
        /// Whom it should speak for.
        expected: DomainName,
    },
    /// The root key is not the anchored one.
    #[error("the root key's fingerprint is {found}, but {expected} is expected")]
    OtherRoot {
        /// Fingerprint of the key in the record.
        found: String,
        /// Fingerprint that the anchor gives.
        expected: String,
    },
    /// The root key's signature does not hold.
    #[error("the root key's signature over the record does not hold")]
    BadSignature,
    /// Outside its life.
    #[error("the record is valid from {issued} to {expires}, and it is {now}")]
    OutsideLifetime {
        /// When it was signed.
        issued: Timestamp,
        /// When it stops counting.
        expires: Timestamp,
        /// Our time.
        now: Timestamp,
    },
    /// No protocol version in common.
    #[error(
        "the peer speaks versions {min} to {max}, we speak {}",
        limits::VERSION
    )]
    Version {
        /// Lowest it speaks.
        min: u32,
        /// Highest it speaks.
        max: u32,
    },
    /// It would take the place of a newer one, or of another one with the same number.
    #[error("serial {found} may not follow serial {known}")]
    Rollback {
        /// Serial of the record offered.
        found: u64,
        /// Serial of the record known.
        known: u64,
    },
}

impl VerifiedRecord {
    /// Signs a record with the root key in it.
    pub(crate) fn sign(record: IdentityRecord, root: &SecretKey) -> Self {
        let bytes = record.encode();
        let signature = root.sign(record::CONTEXT, &bytes);
        Self {
            bytes: bytes.into(),
            signature,
            record,
        }
    }

    /// Believes received bytes if they hold together: the right domain, the root key that `anchor`
    /// (SHA-256 of a public key) names, a signature by it, within its lifetime.
    pub fn verify(
        signed: &[u8],
        domain: &DomainName,
        anchor: &[u8; 32],
        now: Timestamp,
    ) -> Result<Self, RecordFault> {
        let verified = Self::verify_stored(signed, domain, anchor)?;
        let record = &verified.record;
        if record.issued > now.plus(limits::CLOCK_SKEW_MAX) || record.expires <= now {
            return Err(RecordFault::OutsideLifetime {
                issued: record.issued,
                expires: record.expires,
                now,
            });
        }
        if !(record.version_min..=record.version_max).contains(&limits::VERSION) {
            return Err(RecordFault::Version {
                min: record.version_min,
                max: record.version_max,
            });
        }
        Ok(verified)
    }

    /// As [`VerifiedRecord::verify`], for a record believed before: it may have expired since.
    pub fn verify_stored(
        signed: &[u8],
        domain: &DomainName,
        anchor: &[u8; 32],
    ) -> Result<Self, RecordFault> {
        if signed.len() > limits::RECORD_BYTES_MAX {
            return Err(too_large());
        }
        let signed = wire::SignedRecord::decode(signed).map_err(|_| Malformed::Protobuf {
            what: "signed record",
        })?;
        let record = IdentityRecord::decode(&signed.record)?;
        if record.domain != *domain {
            return Err(RecordFault::OtherDomain {
                found: record.domain,
                expected: domain.clone(),
            });
        }
        let root: [u8; 32] = Sha256::digest(record.root_key).into();
        if root != *anchor {
            return Err(RecordFault::OtherRoot {
                found: fingerprint_to_text(&root),
                expected: fingerprint_to_text(anchor),
            });
        }
        let signature = (&*signed.signature)
            .try_into()
            .map_err(|_| RecordFault::BadSignature)?;
        if !verify(
            &record.root_key,
            record::CONTEXT,
            &signed.record,
            &signature,
        ) {
            return Err(RecordFault::BadSignature);
        }
        Ok(Self {
            bytes: signed.record,
            signature,
            record,
        })
    }

    /// Checks that this record may replace `known`: the serial never goes back, and one serial never
    /// names two records.
    pub fn may_follow(&self, known: &Self) -> Result<(), RecordFault> {
        let (found, old) = (self.record.serial, known.record.serial);
        if found < old || (found == old && self.hash() != known.hash()) {
            return Err(RecordFault::Rollback { found, known: old });
        }
        Ok(())
    }

    /// What it says.
    #[must_use]
    pub fn record(&self) -> &IdentityRecord {
        &self.record
    }

    /// SHA-256 of the record bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        IdentityRecord::hash(&self.bytes)
    }

    /// SHA-256 of the root public key: what anchors name.
    #[must_use]
    pub fn root_fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.record.root_key).into()
    }

    /// The bytes to send and store: an encoded `SignedRecord`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::SignedRecord {
            record: self.bytes.clone(),
            signature: Bytes::copy_from_slice(&self.signature),
        }
        .encode_to_vec()
    }
}

fn too_large() -> RecordFault {
    RecordFault::Malformed(Malformed::TooLarge {
        what: "signed record",
        max: limits::RECORD_BYTES_MAX,
    })
}

/// A root key's fingerprint as it stands in DNS and in configuration files.
#[must_use]
pub fn fingerprint_to_text(fingerprint: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(fingerprint)
}

/// Reads what [`fingerprint_to_text`] wrote.
#[must_use]
pub fn fingerprint_from_text(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}
