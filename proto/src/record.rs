//! The identity record: what a domain publishes about itself, signed by its root key
//! (PROTOCOL.md section 3).

use prost::Message as _;
use sha2::{Digest, Sha256};

use crate::{DomainName, KeyId, Malformed, Timestamp, limits::RECORD_BYTES_MAX, wire};

/// Goes before the record when it is signed.
pub const CONTEXT: &[u8] = b"freehold/record/v1\0";

/// One of a domain's keys for envelopes and hellos.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SigningKey {
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// Envelopes issued before this are not its.
    pub valid_from: Timestamp,
    /// Envelopes issued at or after this are not its.
    pub valid_until: Timestamp,
}

/// A key that must no longer be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RevokedKey {
    /// Which.
    pub key_id: KeyId,
    /// From when on.
    pub invalid_from: Timestamp,
}

/// A well-formed identity record. That it is *true* is for `keys` and `directory` to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentityRecord {
    /// Whose.
    pub domain: DomainName,
    /// Starts at 1, one more with each change.
    pub serial: u64,
    /// SHA-256 of the record before this one.
    pub previous_hash: Option<[u8; 32]>,
    /// The root public key, which signed this.
    pub root_key: [u8; 32],
    /// SHA-256 of the only key that may be the next root.
    pub next_root_hash: [u8; 32],
    /// Keys for envelopes and hellos.
    pub signing_keys: Vec<SigningKey>,
    /// Keys no longer to be believed.
    pub revoked_keys: Vec<RevokedKey>,
    /// SHA-256 of each SubjectPublicKeyInfo allowed in TLS.
    pub tls_key_hashes: Vec<[u8; 32]>,
    /// `host:port`, informative.
    pub endpoints: Vec<String>,
    /// Lowest protocol version spoken.
    pub version_min: u32,
    /// Highest protocol version spoken.
    pub version_max: u32,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// Which life of this domain name it belongs to.
    pub incarnation: u32,
}

impl IdentityRecord {
    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::IdentityRecord::from(self).encode_to_vec()
    }

    /// Reads record bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Malformed::TooLarge {
                what: "identity record",
                max: RECORD_BYTES_MAX,
            });
        }
        wire::IdentityRecord::decode(bytes)
            .map_err(|_| Malformed::Protobuf {
                what: "identity record",
            })?
            .try_into()
    }

    /// SHA-256 of record bytes: names one exact record.
    #[must_use]
    pub fn hash(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    /// As [`IdentityRecord::signing_key`], but of a key that was never revoked: what is seen for the
    /// first time after a revocation may have been written by a thief, whatever time it bears.
    #[must_use]
    pub fn unrevoked_key(&self, id: KeyId, moment: Timestamp) -> Option<&SigningKey> {
        self.signing_key(id, moment)
            .filter(|_| !self.is_revoked(id))
    }

    /// The signing key named `id`, whether it counts for anything now or not.
    #[must_use]
    pub fn listed_key(&self, id: KeyId) -> Option<&SigningKey> {
        self.signing_keys
            .iter()
            .find(|key| KeyId::of(&key.public_key) == id)
    }

    /// Has the key named `id` been revoked, from whatever moment on?
    #[must_use]
    pub fn is_revoked(&self, id: KeyId) -> bool {
        self.revoked_keys.iter().any(|key| key.key_id == id)
    }

    /// The signing key named `id`, if it was good for something issued at `moment`.
    #[must_use]
    pub fn signing_key(&self, id: KeyId, moment: Timestamp) -> Option<&SigningKey> {
        let revoked = |key: &RevokedKey| key.key_id == id && key.invalid_from <= moment;
        if self.revoked_keys.iter().any(revoked) {
            return None;
        }
        self.signing_keys.iter().find(|key| {
            KeyId::of(&key.public_key) == id && key.valid_from <= moment && moment < key.valid_until
        })
    }
}

impl From<&IdentityRecord> for wire::IdentityRecord {
    fn from(record: &IdentityRecord) -> Self {
        let signing_keys = record.signing_keys.iter().map(|key| wire::SigningKey {
            public_key: key.public_key.to_vec().into(),
            valid_from_ms: key.valid_from.as_millis(),
            valid_until_ms: key.valid_until.as_millis(),
        });
        let revoked_keys = record.revoked_keys.iter().map(|key| wire::RevokedKey {
            key_id: key.key_id.as_bytes().to_vec().into(),
            invalid_from_ms: key.invalid_from.as_millis(),
        });
        Self {
            domain: record.domain.to_string(),
            serial: record.serial,
            previous_hash: record
                .previous_hash
                .map(Vec::from)
                .unwrap_or_default()
                .into(),
            root_key: record.root_key.to_vec().into(),
            next_root_hash: record.next_root_hash.to_vec().into(),
            signing_keys: signing_keys.collect(),
            revoked_keys: revoked_keys.collect(),
            tls_key_hashes: record
                .tls_key_hashes
                .iter()
                .map(|it| it.to_vec().into())
                .collect(),
            endpoints: record.endpoints.clone(),
            version_min: record.version_min,
            version_max: record.version_max,
            issued_ms: record.issued.as_millis(),
            expires_ms: record.expires.as_millis(),
            incarnation: record.incarnation,
        }
    }
}

impl TryFrom<wire::IdentityRecord> for IdentityRecord {
    type Error = Malformed;

    fn try_from(bytes: wire::IdentityRecord) -> Result<Self, Malformed> {
        let previous_hash = match bytes.previous_hash.len() {
            0 => None,
            _ => Some(array(&bytes.previous_hash)?),
        };
        let signing_keys = bytes.signing_keys.iter().map(|key| {
            Ok(SigningKey {
                public_key: array(&key.public_key)?,
                valid_from: Timestamp::from_millis(key.valid_from_ms)?,
                valid_until: Timestamp::from_millis(key.valid_until_ms)?,
            })
        });
        let revoked_keys = bytes.revoked_keys.iter().map(|key| {
            Ok(RevokedKey {
                key_id: KeyId::from_slice(&key.key_id)?,
                invalid_from: Timestamp::from_millis(key.invalid_from_ms)?,
            })
        });
        Ok(Self {
            domain: bytes.domain.parse()?,
            serial: bytes.serial,
            previous_hash,
            root_key: array(&bytes.root_key)?,
            next_root_hash: array(&bytes.next_root_hash)?,
            signing_keys: signing_keys.collect::<Result<_, Malformed>>()?,
            revoked_keys: revoked_keys.collect::<Result<_, Malformed>>()?,
            tls_key_hashes: bytes
                .tls_key_hashes
                .iter()
                .map(|it| array(it))
                .collect::<Result<_, _>>()?,
            endpoints: bytes.endpoints,
            version_min: bytes.version_min,
            version_max: bytes.version_max,
            issued: Timestamp::from_millis(bytes.issued_ms)?,
            expires: Timestamp::from_millis(bytes.expires_ms)?,
            incarnation: bytes.incarnation,
        })
    }
}

fn array(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_| Malformed::Layout {
        what: "identity record",
        why: "a key or hash is not 32 bytes",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn record() -> IdentityRecord {
        IdentityRecord {
            domain: "alpha.test".parse().unwrap(),
            serial: 2,
            previous_hash: Some([1; 32]),
            root_key: [2; 32],
            next_root_hash: [3; 32],
            signing_keys: vec![SigningKey {
                public_key: [4; 32],
                valid_from: at(100),
                valid_until: at(200),
            }],
            revoked_keys: vec![RevokedKey {
                key_id: KeyId::of(&[4; 32]),
                invalid_from: at(180),
            }],
            tls_key_hashes: vec![[5; 32]],
            endpoints: vec!["alpha.test:6269".to_owned()],
            version_min: 1,
            version_max: 1,
            issued: at(100),
            expires: at(300),
            incarnation: 1,
        }
    }

    #[test]
    fn a_record_survives_its_bytes() {
        assert_eq!(
            IdentityRecord::decode(&record().encode()).unwrap(),
            record()
        );
    }

    #[test]
    fn a_signing_key_counts_only_within_its_validity_and_before_its_revocation() {
        let id = KeyId::of(&[4; 32]);
        let known = |moment| record().signing_key(id, at(moment)).is_some();
        assert_eq!(
            [99, 100, 179, 180, 200].map(known),
            [false, true, true, false, false]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = IdentityRecord::decode(&bytes);
        }
    }
}
