//! The place that a group's home gives an entry of the group's log, and its layout (PROTOCOL.md
//! section 7.7).
//!
//! Every entry has an *index* in one chain of hashes. A message has besides an *order*: its number
//! among the messages, which is its position at the home. An entry that is no message carries the
//! order of the last message before it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    DomainName, GroupId, KeyId, Malformed, Timestamp,
    envelope::{Reader, put_name},
    wire,
};

/// Goes before a position when it is signed.
pub const CONTEXT: &[u8] = b"freehold/position/v1\0";

const LAYOUT_VERSION: u8 = 1;
/// The same in the feed of a channel.
const FEED_LAYOUT_VERSION: u8 = 2;
const LAYOUT: &str = "position";

/// What the home signs for each entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position {
    /// The domain that gave it.
    pub home: DomainName,
    /// Which of the home's keys signed it.
    pub key_id: KeyId,
    /// In which group's log.
    pub group: GroupId,
    /// In the feed of its channel, which is not its log (PROTOCOL.md section 7.11).
    pub feed: bool,
    /// How often the group has changed its home, from 1.
    pub epoch: u64,
    /// Number of the entry in the log, from 1.
    pub index: u64,
    /// Number of the message, or of the last one before.
    pub order: u32,
    /// When, by the home's clock.
    pub placed_at: Timestamp,
    /// The [`Placed::hash`] of the entry before; zeros before the first.
    pub previous: [u8; 32],
    /// SHA-256 of the header of the author's envelope.
    pub envelope: [u8; 32],
}

impl Position {
    /// The bytes that are signed (after [`CONTEXT`]) and sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![match self.feed {
            true => FEED_LAYOUT_VERSION,
            false => LAYOUT_VERSION,
        }];
        put_name(&mut bytes, &self.home);
        bytes.extend_from_slice(self.key_id.as_bytes());
        bytes.extend_from_slice(self.group.as_bytes());
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.index.to_be_bytes());
        bytes.extend_from_slice(&self.order.to_be_bytes());
        bytes.extend_from_slice(&self.placed_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(&self.previous);
        bytes.extend_from_slice(&self.envelope);
        bytes
    }

    /// Reads a position; every byte must have its place.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader::new(bytes, LAYOUT);
        let feed = match rest.byte()? {
            LAYOUT_VERSION => false,
            FEED_LAYOUT_VERSION => true,
            _ => return Err(rest.fault("unknown layout version")),
        };
        let position = Self {
            home: rest.name()?,
            key_id: KeyId::from_slice(&rest.array::<16>()?)?,
            group: GroupId::from_bytes(rest.array()?),
            feed,
            epoch: u64::from_be_bytes(rest.array()?),
            index: u64::from_be_bytes(rest.array()?),
            order: u32::from_be_bytes(rest.array()?),
            placed_at: Timestamp::from_millis(i64::from_be_bytes(rest.array()?))?,
            previous: rest.array()?,
            envelope: rest.array()?,
        };
        if position.epoch == 0 || position.index == 0 {
            return Err(rest.fault("epoch and index begin at 1"));
        }
        rest.end()?;
        Ok(position)
    }
}

/// A position as it travels: the bytes as received, which are stored and forwarded untouched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placed {
    /// The encoded [`Position`].
    pub position: Bytes,
    /// By a signing key of the home, over [`CONTEXT`] and `position`.
    pub signature: [u8; 64],
}

impl Placed {
    /// What the next entry of the log names as its predecessor.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.position).into()
    }
}

impl From<Placed> for wire::Placed {
    fn from(placed: Placed) -> Self {
        Self {
            position: placed.position,
            signature: Bytes::copy_from_slice(&placed.signature),
        }
    }
}

impl TryFrom<wire::Placed> for Placed {
    type Error = Malformed;

    fn try_from(bytes: wire::Placed) -> Result<Self, Malformed> {
        Ok(Self {
            signature: (&*bytes.signature)
                .try_into()
                .map_err(|_| Malformed::Layout {
                    what: LAYOUT,
                    why: "the signature is not 64 bytes",
                })?,
            position: bytes.position,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position() -> Position {
        Position {
            home: "alpha.test".parse().unwrap(),
            key_id: KeyId::of(&[7; 32]),
            group: GroupId::from_bytes([3; 16]),
            feed: false,
            epoch: 1,
            index: 9,
            order: 4,
            placed_at: Timestamp::from_millis(1_767_323_045_678).unwrap(),
            previous: [1; 32],
            envelope: [2; 32],
        }
    }

    #[test]
    fn a_position_survives_its_bytes_and_no_others() {
        let bytes = position().encode();
        assert_eq!(Position::decode(&bytes).unwrap(), position());
        for end in 0..bytes.len() {
            assert!(
                Position::decode(&bytes[..end]).is_err(),
                "{end} bytes passed"
            );
        }
        let of_feed = Position {
            feed: true,
            ..position()
        };
        assert_eq!(of_feed.encode()[1..], bytes[1..]);
        assert_eq!(Position::decode(&of_feed.encode()).unwrap(), of_feed);
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert!(Position::decode(&longer).is_err());
        let first = Position {
            index: 0,
            ..position()
        };
        assert!(Position::decode(&first.encode()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_have_one_spelling(bytes: Vec<u8>) {
            if let Ok(position) = Position::decode(&bytes) {
                prop_assert_eq!(position.encode(), bytes);
            }
        }

        #[test]
        fn a_changed_byte_never_decodes_to_the_same_position(at in 0usize..141, flip in 1u8..) {
            let mut bytes = position().encode();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert_ne!(Position::decode(&bytes).ok(), Some(position()));
        }
    }
}
