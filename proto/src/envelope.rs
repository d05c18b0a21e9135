//! The signed unit between domains, and its layout (PROTOCOL.md section 6).
//!
//! The header has a fixed layout rather than protobuf, so that the same bytes have one meaning for
//! every reader. The payload travels beside it and is bound by a salted hash: it can be erased later
//! while the signature over the header still verifies.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    DomainName, GroupId, KeyId, Malformed, MessageId, Timestamp, limits::PAYLOAD_BYTES_MAX, wire,
};

/// Goes before the header when an envelope is signed, so that the signature fits nothing else.
pub const CONTEXT: &[u8] = b"freehold/envelope/v1\0";

const LAYOUT_VERSION: u8 = 1;
const LAYOUT: &str = "envelope header";
const TO_DOMAIN: u8 = 1;
const TO_GROUP: u8 = 2;

/// Where an envelope goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// To one domain: one-to-one matters.
    Domain(DomainName),
    /// To a group, through its home.
    Group(GroupId),
}

/// What the author's domain signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The author's domain.
    pub from: DomainName,
    /// Where it goes.
    pub to: Destination,
    /// Which of the author's domain's keys signed it.
    pub key_id: KeyId,
    /// Unique with `from`.
    pub message_id: MessageId,
    /// When it was sealed, by the author's domain's clock.
    pub issued_at: Timestamp,
    /// SHA-256 of salt and payload.
    pub payload_hash: [u8; 32],
}

impl Header {
    /// The bytes that are signed (after [`CONTEXT`]) and sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![LAYOUT_VERSION];
        put_name(&mut bytes, &self.from);
        match &self.to {
            Destination::Domain(domain) => {
                bytes.push(TO_DOMAIN);
                put_name(&mut bytes, domain);
            }
            Destination::Group(group) => {
                bytes.push(TO_GROUP);
                bytes.extend_from_slice(group.as_bytes());
            }
        }
        bytes.extend_from_slice(self.key_id.as_bytes());
        bytes.extend_from_slice(self.message_id.as_bytes());
        bytes.extend_from_slice(&self.issued_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(&self.payload_hash);
        bytes
    }

    /// Reads a header; every byte must have its place.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader::new(bytes, LAYOUT);
        if rest.byte()? != LAYOUT_VERSION {
            return Err(rest.fault("unknown layout version"));
        }
        let from = rest.name()?;
        let to = match rest.byte()? {
            TO_DOMAIN => Destination::Domain(rest.name()?),
            TO_GROUP => Destination::Group(GroupId::from_bytes(rest.array()?)),
            _ => return Err(rest.fault("unknown kind of destination")),
        };
        let header = Self {
            from,
            to,
            key_id: KeyId::from_slice(&rest.array::<16>()?)?,
            message_id: MessageId::from_bytes(rest.array()?),
            issued_at: Timestamp::from_millis(i64::from_be_bytes(rest.array()?))?,
            payload_hash: rest.array()?,
        };
        rest.end()?;
        Ok(header)
    }
}

/// Writes a name after its length. A domain name is at most 253 bytes long.
pub(crate) fn put_name(bytes: &mut Vec<u8>, name: &DomainName) {
    bytes.push(u8::try_from(name.as_str().len()).expect("a domain name fits in 253 bytes"));
    bytes.extend_from_slice(name.as_str().as_bytes());
}

/// Reads a fixed layout from its start.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which should be a `what`.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn fault(&self, why: &'static str) -> Malformed {
        Malformed::Layout {
            what: self.what,
            why,
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let split = self.rest.split_at_checked(length);
        let (head, rest) = split.ok_or_else(|| self.fault("it ends early"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn name(&mut self) -> Result<DomainName, Malformed> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.take(length)?);
        text.map_err(|_| self.fault("a name is not text"))?.parse()
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.fault("bytes after its end"))
        }
    }
}

/// An envelope as it travels: the bytes as received, which are stored and forwarded untouched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// The encoded [`Header`].
    pub header: Bytes,
    /// Over [`CONTEXT`] and `header`.
    pub signature: [u8; 64],
    /// 128 random bits, so that an erased payload cannot be guessed from its hash.
    pub salt: [u8; 16],
    /// An encoded [`wire::Payload`].
    pub payload: Bytes,
}

impl Envelope {
    /// SHA-256 of salt and payload, as it stands in the header.
    #[must_use]
    pub fn payload_hash(salt: &[u8; 16], payload: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(salt)
            .chain_update(payload)
            .finalize()
            .into()
    }

    /// SHA-256 of the signed header: what makes two envelopes with one id the same or a conflict.
    #[must_use]
    pub fn header_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.header).into()
    }

    /// The same envelope without its words; the signature over the header still holds.
    #[must_use]
    pub fn erased(self) -> Self {
        Self {
            salt: [0; 16],
            payload: Bytes::new(),
            ..self
        }
    }

    /// True when the words have been erased.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.salt == [0; 16] && self.payload.is_empty()
    }

    /// Bytes this envelope takes in a batch, near enough to plan with.
    #[must_use]
    pub fn size(&self) -> usize {
        self.header.len() + self.payload.len() + 128
    }
}

impl From<Envelope> for wire::Envelope {
    fn from(envelope: Envelope) -> Self {
        Self {
            header: envelope.header,
            signature: Bytes::copy_from_slice(&envelope.signature),
            salt: Bytes::copy_from_slice(&envelope.salt),
            payload: envelope.payload,
        }
    }
}

impl TryFrom<wire::Envelope> for Envelope {
    type Error = Malformed;

    fn try_from(bytes: wire::Envelope) -> Result<Self, Malformed> {
        if bytes.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Malformed::TooLarge {
                what: "payload",
                max: PAYLOAD_BYTES_MAX,
            });
        }
        let part = |why| Malformed::Layout {
            what: "envelope",
            why,
        };
        Ok(Self {
            header: bytes.header,
            signature: (&*bytes.signature)
                .try_into()
                .map_err(|_| part("the signature is not 64 bytes"))?,
            salt: (&*bytes.salt)
                .try_into()
                .map_err(|_| part("the salt is not 16 bytes"))?,
            payload: bytes.payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(to: Destination) -> Header {
        Header {
            from: "alpha.test".parse().unwrap(),
            to,
            key_id: KeyId::of(&[7; 32]),
            message_id: MessageId::from_bytes([9; 16]),
            issued_at: Timestamp::from_millis(1_767_323_045_678).unwrap(),
            payload_hash: Envelope::payload_hash(&[1; 16], b"payload"),
        }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        for to in [
            Destination::Domain("beta.test".parse().unwrap()),
            Destination::Group(GroupId::from_bytes([3; 16])),
        ] {
            let header = header(to);
            assert_eq!(Header::decode(&header.encode()).unwrap(), header);
        }
    }

    #[test]
    fn a_header_with_any_byte_too_few_or_too_many_is_refused() {
        let bytes = header(Destination::Domain("beta.test".parse().unwrap())).encode();
        for end in 0..bytes.len() {
            assert!(Header::decode(&bytes[..end]).is_err(), "{end} bytes passed");
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert!(Header::decode(&longer).is_err());
    }

    #[test]
    fn capitals_in_a_header_are_refused_as_not_canonical() {
        let mut bytes = header(Destination::Domain("beta.test".parse().unwrap())).encode();
        bytes[2] = b'A';
        assert!(matches!(
            Header::decode(&bytes),
            Err(Malformed::Domain { .. })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_have_one_spelling(bytes: Vec<u8>) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn a_changed_byte_never_decodes_to_the_same_header(at in 0usize..110, flip in 1u8..) {
            let original = header(Destination::Domain("beta.test".parse().unwrap()));
            let mut bytes = original.encode();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert_ne!(Header::decode(&bytes).ok(), Some(original));
        }
    }
}
