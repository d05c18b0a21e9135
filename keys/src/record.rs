//! Signing and believing identity records (PROTOCOL.md section 3).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_proto::{DomainName, IdentityRecord, Malformed, Timestamp, limits, record, wire};
use prost::Message as _;
use sha2::{Digest, Sha256};

use crate::{
    SignedFreshness,
    lineage::{self, Former},
    secret::SecretKey,
    verify,
};

/// A record whose signature holds, whose root key is the anchored one or follows from it, and which
/// names the domain it was asked of. Keeps the signed bytes: they are stored and shown to others as they
/// are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedRecord {
    bytes: Bytes,
    signature: [u8; 64],
    record: IdentityRecord,
    former: Vec<Former>,
    freshness: Option<SignedFreshness>,
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
    /// Nobody says that it is the latest.
    #[error("{0}")]
    NotFresh(&'static str),
    /// A root key does not follow from the one before it.
    #[error("{0}")]
    Succession(&'static str),
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
    pub(crate) fn sign(record: IdentityRecord, root: &SecretKey, former: Vec<Former>) -> Self {
        let bytes = record.encode();
        let signature = root.sign(record::CONTEXT, &bytes);
        Self {
            bytes: bytes.into(),
            signature,
            record,
            former,
            freshness: None,
        }
    }

    /// The same record under a root that follows from this one's.
    pub(crate) fn succeeded(&self) -> Vec<Former> {
        let last = Former::of(self.bytes.clone(), self.signature, &self.record);
        let mut all: Vec<Former> = self.former.iter().cloned().chain([last]).collect();
        let surplus = all.len().saturating_sub(lineage::FORMER_MAX);
        all.drain(..surplus);
        all
    }

    /// The former roots, for the next record under the same root.
    pub(crate) fn former(&self) -> Vec<Former> {
        self.former.clone()
    }

    /// The same record with a statement that it is the latest.
    #[must_use]
    pub(crate) fn with_freshness(&self, freshness: SignedFreshness) -> Self {
        Self {
            freshness: Some(freshness),
            ..self.clone()
        }
    }

    /// Believes received bytes if they hold together: the right domain, the root key that `anchor`
    /// (SHA-256 of a public key) names or one that follows from it, a signature by it, within its
    /// lifetime, and said to be the latest.
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
        verified.check_fresh(now)?;
        Ok(verified)
    }

    /// Checks that somebody who holds a signing key of it says, now, that it is the latest.
    pub fn check_fresh(&self, now: Timestamp) -> Result<(), RecordFault> {
        match &self.freshness {
            Some(freshness) => freshness.check(&self.record, &self.hash(), now),
            None => Err(RecordFault::NotFresh("it has no freshness statement")),
        }
    }

    /// The statement that it is the latest, if one came with it.
    #[must_use]
    pub fn freshness(&self) -> Option<&SignedFreshness> {
        self.freshness.as_ref()
    }

    /// Fingerprint of the root key that an encoded `SignedRecord` bears. Nothing is checked.
    pub fn root_in(signed: &[u8]) -> Result<[u8; 32], RecordFault> {
        if signed.len() > limits::RECORD_BYTES_MAX {
            return Err(too_large());
        }
        let signed = wire::SignedRecord::decode(signed).map_err(|_| Malformed::Protobuf {
            what: "signed record",
        })?;
        let record = IdentityRecord::decode(&signed.record)?;
        Ok(Sha256::digest(record.root_key).into())
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
        let former = lineage::read(signed.former, domain, root)?;
        if root != *anchor && former.iter().all(|it| it.root() != *anchor) {
            return Err(RecordFault::OtherRoot {
                found: fingerprint_to_text(&root),
                expected: fingerprint_to_text(anchor),
            });
        }
        let freshness = signed.freshness.map(SignedFreshness::read).transpose()?;
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
            former,
            freshness,
        })
    }

    /// Checks that this record may replace `known`. Under one root key the serial never goes back, one
    /// serial never names two records, a record names the hash of the one before, and the commitment to
    /// the next root never changes. Another root key must be the one that `known` has committed to; then
    /// it wins over whatever the former one signed.
    pub fn may_follow(&self, known: &Self) -> Result<(), RecordFault> {
        if self.record.root_key != known.record.root_key {
            return self.is_succession_of(known);
        }
        let (found, old) = (self.record.serial, known.record.serial);
        if found < old || (found == old && self.hash() != known.hash()) {
            return Err(RecordFault::Rollback { found, known: old });
        }
        if self.record.next_root_hash != known.record.next_root_hash {
            return Err(RecordFault::Succession(
                "it commits to another next root than the record before it",
            ));
        }
        if found == old + 1 && self.record.previous_hash != Some(known.hash()) {
            return Err(RecordFault::Succession(
                "it names another record before it than the one known",
            ));
        }
        Ok(())
    }

    /// Does this record's root follow from that of `known`, as `known` itself has committed?
    fn is_succession_of(&self, known: &Self) -> Result<(), RecordFault> {
        let root = known.root_fingerprint();
        let step = self.former.iter().find(|it| it.root() == root);
        match step {
            None => Err(RecordFault::OtherRoot {
                found: fingerprint_to_text(&self.root_fingerprint()),
                expected: fingerprint_to_text(&root),
            }),
            Some(step) if step.next() != known.record.next_root_hash => {
                Err(RecordFault::Succession(
                    "its root key is not the one that the known record has committed to",
                ))
            }
            Some(_) => Ok(()),
        }
    }

    /// Is this the fingerprint of its root key, or of one that it follows from?
    #[must_use]
    pub fn has_root(&self, fingerprint: &[u8; 32]) -> bool {
        self.root_fingerprint() == *fingerprint
            || self.former.iter().any(|it| it.root() == *fingerprint)
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
            former: self.former.iter().map(Former::to_wire).collect(),
            freshness: self.freshness.as_ref().map(SignedFreshness::to_wire),
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
