//! The freshness statement: a domain's word, given anew each day, that a record is still its latest
//! (PROTOCOL.md section 3.1).

use std::time::Duration;

use prost::Message as _;

use crate::{DomainName, KeyId, Malformed, Timestamp, wire};

/// Goes before the statement when it is signed.
pub const CONTEXT: &[u8] = b"freehold/freshness/v1\0";
/// How long a statement may count at most.
pub const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// After so long a statement is given, or asked for, anew.
pub const RENEW_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A well-formed freshness statement. Whether it is *true* is for `keys` to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Freshness {
    /// Whose record it speaks of.
    pub domain: DomainName,
    /// The record's serial.
    pub serial: u64,
    /// SHA-256 of the record bytes.
    pub record_hash: [u8; 32],
    /// The key that signs.
    pub key_id: KeyId,
    /// When it was given.
    pub issued: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
}

impl Freshness {
    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::Freshness {
            domain: self.domain.to_string(),
            serial: self.serial,
            record_hash: self.record_hash.to_vec().into(),
            key_id: self.key_id.as_bytes().to_vec().into(),
            issued_ms: self.issued.as_millis(),
            expires_ms: self.expires.as_millis(),
        }
        .encode_to_vec()
    }

    /// Reads statement bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "freshness statement";
        let words =
            wire::Freshness::decode(bytes).map_err(|_| Malformed::Protobuf { what: WHAT })?;
        Ok(Self {
            domain: words.domain.parse()?,
            serial: words.serial,
            record_hash: (&*words.record_hash)
                .try_into()
                .map_err(|_| Malformed::Layout {
                    what: WHAT,
                    why: "the record's hash is not 32 bytes",
                })?,
            key_id: KeyId::from_slice(&words.key_id)?,
            issued: Timestamp::from_millis(words.issued_ms)?,
            expires: Timestamp::from_millis(words.expires_ms)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_statement_survives_its_bytes() {
        let statement = Freshness {
            domain: "alpha.test".parse().unwrap(),
            serial: 3,
            record_hash: [7; 32],
            key_id: KeyId::of(&[1; 32]),
            issued: Timestamp::from_millis(1000).unwrap(),
            expires: Timestamp::from_millis(2000).unwrap(),
        };
        assert_eq!(Freshness::decode(&statement.encode()).unwrap(), statement);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Freshness::decode(&bytes);
        }
    }
}
