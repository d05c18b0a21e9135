//! Signing in a domain's name.

use std::{sync::Arc, time::Duration};

use freehold_proto::{
    Announcement, Card, ClientDocument, Destination, DomainName, Entrance, Envelope, Freshness,
    GroupRecord, Header, KeyId, MessageId, Placed, Position, PushDraft, PushRequest, Timestamp,
    card::{self as proto_card, CardWords, SignedBytes},
    client_document, envelope, freshness, group, limits, position, push, wire,
};
use parking_lot::RwLock;
use prost::Message as _;

use crate::{
    KeyError, SignedCard, SignedClientDocument, SignedFreshness, SignedPush, VerifiedRecord, card,
    random, secret::SecretKey,
};

/// What an announcement weighs without its cards, at most: a name, a key id, two times, a signature.
const HEAD_BYTES: usize = 1024;
/// What stands around a card and its signature in an announcement, at most.
const CARD_HEAD_BYTES: usize = 16;

/// Signs envelopes and hellos for one domain. Clones share the key, and sign with another one as soon
/// as the domain does.
#[derive(Clone, Debug)]
pub struct Signer {
    domain: DomainName,
    pair: Arc<RwLock<Arc<Pair>>>,
}

/// A signing key and its name.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) key: SecretKey,
    pub(crate) id: KeyId,
}

impl Signer {
    pub(crate) fn new(domain: DomainName, key: SecretKey) -> Self {
        let id = KeyId::of(&key.public());
        Self {
            domain,
            pair: Arc::new(RwLock::new(Arc::new(Pair { key, id }))),
        }
    }

    pub(crate) fn pair(&self) -> Arc<Pair> {
        Arc::clone(&self.pair.read())
    }

    /// From now on this one and its clones sign with the key of `other`.
    pub(crate) fn take_over(&self, other: &Self) {
        *self.pair.write() = other.pair();
    }

    /// A signer that keeps to the present key.
    #[must_use]
    pub fn fixed(&self) -> Self {
        Self {
            domain: self.domain.clone(),
            pair: Arc::new(RwLock::new(self.pair())),
        }
    }

    /// For whom it signs.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// The name of the key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.pair().id
    }

    /// Says that `record`, which must be our own, is our latest, for as long as one may say so.
    #[must_use]
    pub fn vouch(&self, record: &VerifiedRecord, now: Timestamp) -> VerifiedRecord {
        let pair = self.pair();
        let statement = Freshness {
            domain: self.domain.clone(),
            serial: record.record().serial,
            record_hash: record.hash(),
            key_id: pair.id,
            issued: now,
            expires: now.plus(freshness::LIFETIME_MAX),
        };
        record.with_freshness(SignedFreshness::new(statement, |bytes| {
            pair.key.sign(freshness::CONTEXT, bytes)
        }))
    }

    /// Says where our people's clients connect, for as long as one may say so.
    #[must_use]
    pub fn direct_clients(&self, entrance: Entrance, now: Timestamp) -> SignedClientDocument {
        let pair = self.pair();
        let document = ClientDocument {
            domain: self.domain.clone(),
            key_id: pair.id,
            issued: now,
            expires: now.plus(client_document::LIFETIME_MAX),
            entrance,
        };
        SignedClientDocument::new(document, |bytes| {
            pair.key.sign(client_document::CONTEXT, bytes)
        })
    }

    /// Says what of us may be found by words, until the lease ends; it takes the place of what we said
    /// before. An encoded `SignedAnnouncement`, with the first 256 cards that fit.
    #[must_use]
    pub fn announce(&self, cards: Vec<CardWords>, lease: Duration, now: Timestamp) -> Vec<u8> {
        let pair = self.pair();
        let mut room = limits::ANNOUNCEMENT_BYTES_MAX - HEAD_BYTES;
        let signed = cards.into_iter().take(limits::CARDS_MAX).map(|words| {
            let card = Card {
                domain: self.domain.clone(),
                key_id: pair.id,
                issued: now,
                expires: now.plus(lease),
                words,
            };
            card::parts(&SignedCard::new(card, |bytes| {
                pair.key.sign(proto_card::CONTEXT, bytes)
            }))
        });
        let fits = |it: &SignedBytes| {
            let bytes = it.bytes.len() + it.signature.len() + CARD_HEAD_BYTES;
            let fits = bytes <= limits::CARD_BYTES_MAX && bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        };
        let announcement = Announcement {
            domain: self.domain.clone(),
            key_id: pair.id,
            issued: now,
            expires: now.plus(lease),
            cards: signed.filter(fits).collect(),
        };
        card::announce(&announcement, |bytes| {
            pair.key.sign(proto_card::ANNOUNCEMENT_CONTEXT, bytes)
        })
    }

    /// Asks a node for a push, for as long as one may ask.
    #[must_use]
    pub fn ask_for_push(&self, draft: PushDraft, now: Timestamp) -> SignedPush {
        let pair = self.pair();
        let request = PushRequest {
            domain: self.domain.clone(),
            key_id: pair.id,
            issued: now,
            expires: now.plus(push::LIFETIME_MAX),
            draft,
        };
        SignedPush::new(request, |bytes| pair.key.sign(push::CONTEXT, bytes))
    }

    /// Seals a payload that *we* composed: gives it a salt, a header and a signature.
    pub fn seal(
        &self,
        to: Destination,
        message_id: MessageId,
        issued_at: Timestamp,
        payload: wire::payload::Kind,
    ) -> Result<Envelope, KeyError> {
        let payload = wire::Payload {
            kind: Some(payload),
        }
        .encode_to_vec();
        let (salt, pair) = (random()?, self.pair());
        let header = Header {
            from: self.domain.clone(),
            to,
            key_id: pair.id,
            message_id,
            issued_at,
            payload_hash: Envelope::payload_hash(&salt, &payload),
        }
        .encode();
        Ok(Envelope {
            signature: pair.key.sign(envelope::CONTEXT, &header),
            header: header.into(),
            salt,
            payload: payload.into(),
        })
    }

    /// Makes the create record of a new group: its bytes, and our signature on them.
    pub fn found_group(&self) -> Result<(Vec<u8>, [u8; 64]), KeyError> {
        let pair = self.pair();
        let record = GroupRecord {
            home: self.domain.clone(),
            key_id: pair.id,
            nonce: random()?,
        }
        .encode();
        let signature = pair.key.sign(group::CONTEXT, &record);
        Ok((record, signature))
    }

    /// Gives an entry its place in the log of a group whose home we are. `position` is signed under our
    /// name and key, whatever it says of them.
    #[must_use]
    pub fn place(&self, position: Position) -> Placed {
        let pair = self.pair();
        let bytes = Position {
            home: self.domain.clone(),
            key_id: pair.id,
            ..position
        }
        .encode();
        Placed {
            signature: pair.key.sign(position::CONTEXT, &bytes),
            position: bytes.into(),
        }
    }

    /// Signs bytes that carry their own context.
    pub(crate) fn sign_raw(&self, bytes: &[u8]) -> [u8; 64] {
        self.pair().key.sign(b"", bytes)
    }
}
