//! The create record of a group: what its id is made from, for ever (PROTOCOL.md section 2.2). It
//! names no people and holds no text, so it can be shown to anybody.

use sha2::{Digest as _, Sha256};

use crate::{
    DomainName, GroupId, KeyId, Malformed,
    envelope::{Reader, put_name},
};

/// Goes before the record when it is signed.
pub const CONTEXT: &[u8] = b"freehold/group/v1\0";
/// Goes before the record when the group's id is made from it.
const ID_CONTEXT: &[u8] = b"freehold/group-id/v1\0";

const LAYOUT_VERSION: u8 = 1;

/// How a group came to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupRecord {
    /// The domain that made it, and its first home.
    pub home: DomainName,
    /// The signing key of that domain.
    pub key_id: KeyId,
    /// 128 random bits: no two groups have one record.
    pub nonce: [u8; 16],
}

impl GroupRecord {
    /// The bytes to sign and to keep.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![LAYOUT_VERSION];
        put_name(&mut bytes, &self.home);
        bytes.extend_from_slice(self.key_id.as_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes
    }

    /// Reads what [`GroupRecord::encode`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader::new(bytes, "create record of a group");
        if rest.byte()? != LAYOUT_VERSION {
            return Err(rest.fault("unknown layout version"));
        }
        let record = Self {
            home: rest.name()?,
            key_id: KeyId::from_slice(&rest.array::<16>()?)?,
            nonce: rest.array()?,
        };
        rest.end()?;
        Ok(record)
    }
}

impl GroupId {
    /// The id of the group with this create record.
    #[must_use]
    pub fn of_record(record: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(ID_CONTEXT)
            .chain_update(record)
            .finalize()
            .into();
        let mut id = [0; 16];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self::from_bytes(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_record_changes_the_id() {
        let record = |home: &str, key: u8, nonce: u8| {
            let record = GroupRecord {
                home: home.parse().unwrap(),
                key_id: KeyId::of(&[key; 32]),
                nonce: [nonce; 16],
            };
            GroupId::of_record(&record.encode())
        };
        let bytes = GroupRecord {
            home: "alpha.test".parse().unwrap(),
            key_id: KeyId::of(&[1; 32]),
            nonce: [1; 16],
        }
        .encode();
        assert_eq!(GroupRecord::decode(&bytes).unwrap().encode(), bytes);
        assert!(GroupRecord::decode(&bytes[1..]).is_err());
        let id = record("alpha.test", 1, 1);
        assert_eq!(id, record("alpha.test", 1, 1));
        assert_ne!(id, record("beta.test", 1, 1));
        assert_ne!(id, record("alpha.test", 2, 1));
        assert_ne!(id, record("alpha.test", 1, 2));
    }
}
