//! Saying what of a domain may be found by words, and judging such a word (PROTOCOL.md section 13.1).

use bytes::Bytes;
use freehold_proto::{
    Announcement, Card, KeyId, Malformed, Timestamp,
    card::{ANNOUNCEMENT_CONTEXT, CONTEXT, LIFETIME_MAX, SignedBytes},
    limits, wire,
};
use prost::Message as _;

use crate::{VerifiedRecord, verify};

/// Why a card or an announcement is not believed. The fault of its domain, or of whoever handed it on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CardFault {
    /// Not one at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is one, and not to be believed.
    #[error("{0}")]
    NotGood(&'static str),
}

/// A card and the signature under it, as it came. Nothing about it is checked but its form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedCard {
    signed: SignedBytes,
    card: Card,
}

/// An announcement that its domain has signed, with cards that hold too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedAnnouncement {
    /// What it says.
    pub announcement: Announcement,
    /// What was signed, and by what: the same signature is the same announcement.
    pub signature: Bytes,
    /// The cards in it.
    pub cards: Vec<SignedCard>,
}

/// What an announcement says it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnnouncementClaim {
    /// Whose.
    pub domain: freehold_proto::DomainName,
    /// When it was made.
    pub issued: Timestamp,
    /// What stands under it.
    pub signature: Bytes,
    /// How many cards are in it.
    pub cards: usize,
}

/// Whose word it is and for when, which cards and announcements say in the same way.
struct Claim<'a> {
    domain: &'a freehold_proto::DomainName,
    key_id: KeyId,
    issued: Timestamp,
    expires: Timestamp,
}

impl SignedCard {
    pub(crate) fn new(card: Card, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let bytes = card.encode();
        Self {
            signed: SignedBytes {
                signature: Bytes::copy_from_slice(&sign(&bytes)),
                bytes: bytes.into(),
            },
            card,
        }
    }

    /// Reads an encoded `SignedCard`.
    pub fn read(signed: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "signed card";
        let words =
            wire::SignedCard::decode(signed).map_err(|_| Malformed::Protobuf { what: WHAT })?;
        Self::of(SignedBytes {
            bytes: words.card,
            signature: words.signature,
        })
    }

    fn of(signed: SignedBytes) -> Result<Self, Malformed> {
        if signed.bytes.len() + signed.signature.len() > limits::CARD_BYTES_MAX {
            let max = limits::CARD_BYTES_MAX;
            return Err(Malformed::TooLarge { what: "card", max });
        }
        Ok(Self {
            card: Card::decode(&signed.bytes)?,
            signed,
        })
    }

    /// The bytes to send: an encoded `SignedCard`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::SignedCard {
            card: self.signed.bytes.clone(),
            signature: self.signed.signature.clone(),
        }
        .encode_to_vec()
    }

    /// What it says.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Believes it if the domain of `record`, which the caller believes, has signed it for now.
    pub fn check(&self, record: &VerifiedRecord, now: Timestamp) -> Result<(), CardFault> {
        let claim = Claim {
            domain: &self.card.domain,
            key_id: self.card.key_id,
            issued: self.card.issued,
            expires: self.card.expires,
        };
        check(claim, CONTEXT, &self.signed, record, now)
    }
}

impl VerifiedAnnouncement {
    /// What an encoded `SignedAnnouncement` says it is, so that the record can be had that decides whether
    /// it is. Nothing is checked.
    pub fn claim(signed: &[u8]) -> Result<AnnouncementClaim, Malformed> {
        let (signed, announcement) = read(signed)?;
        Ok(AnnouncementClaim {
            domain: announcement.domain,
            issued: announcement.issued,
            signature: signed.signature,
            cards: announcement.cards.len(),
        })
    }

    /// Believes received bytes, an encoded `SignedAnnouncement`, if the domain of `record`, which the caller
    /// believes, has signed them for now, and each card in them.
    pub fn verify(
        signed: &[u8],
        record: &VerifiedRecord,
        now: Timestamp,
    ) -> Result<Self, CardFault> {
        let (signed, announcement) = read(signed)?;
        let claim = Claim {
            domain: &announcement.domain,
            key_id: announcement.key_id,
            issued: announcement.issued,
            expires: announcement.expires,
        };
        check(claim, ANNOUNCEMENT_CONTEXT, &signed, record, now)?;
        let mut cards = Vec::with_capacity(announcement.cards.len());
        for card in &announcement.cards {
            let card = SignedCard::of(card.clone())?;
            card.check(record, now)?;
            cards.push(card);
        }
        Ok(Self {
            signature: signed.signature,
            announcement,
            cards,
        })
    }
}

pub(crate) fn announce(
    announcement: &Announcement,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Vec<u8> {
    let bytes = announcement.encode();
    wire::SignedAnnouncement {
        signature: Bytes::copy_from_slice(&sign(&bytes)),
        announcement: bytes.into(),
    }
    .encode_to_vec()
}

/// The parts of an encoded `SignedCard`, as they stand in an announcement.
pub(crate) fn parts(card: &SignedCard) -> SignedBytes {
    card.signed.clone()
}

fn read(signed: &[u8]) -> Result<(SignedBytes, Announcement), Malformed> {
    const WHAT: &str = "signed announcement";
    if signed.len() > limits::ANNOUNCEMENT_BYTES_MAX {
        let max = limits::ANNOUNCEMENT_BYTES_MAX;
        return Err(Malformed::TooLarge { what: WHAT, max });
    }
    let words =
        wire::SignedAnnouncement::decode(signed).map_err(|_| Malformed::Protobuf { what: WHAT })?;
    let announcement = Announcement::decode(&words.announcement)?;
    let signed = SignedBytes {
        bytes: words.announcement,
        signature: words.signature,
    };
    Ok((signed, announcement))
}

/// Does the domain of `record` say this, now, and under a key of that record?
fn check(
    claim: Claim<'_>,
    context: &[u8],
    signed: &SignedBytes,
    record: &VerifiedRecord,
    now: Timestamp,
) -> Result<(), CardFault> {
    let refuse = |why| Err(CardFault::NotGood(why));
    if *claim.domain != record.record().domain {
        return refuse("it is of another domain");
    }
    if claim.issued > now.plus(limits::CLOCK_SKEW_MAX) || claim.expires <= now {
        return refuse("it does not count now: look at the clock of its domain");
    }
    if claim.expires > claim.issued.plus(LIFETIME_MAX) {
        return refuse("it counts for more than an hour");
    }
    let Some(key) = record.record().unrevoked_key(claim.key_id, claim.issued) else {
        return refuse("it is signed by a key that did not count");
    };
    let Ok(signature) = (&*signed.signature).try_into() else {
        return refuse("it is not signed");
    };
    if !verify(&key.public_key, context, &signed.bytes, &signature) {
        return refuse("the signature under it does not hold");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use freehold_proto::{
        GroupId,
        card::{CardWords, Subject},
    };

    use super::*;
    use crate::KeyRing;

    const LEASE: Duration = Duration::from_secs(600);

    fn now() -> Timestamp {
        Timestamp::from_millis(1_767_323_045_678).unwrap()
    }

    fn ring(domain: &str) -> KeyRing {
        let dir = tempfile::tempdir().unwrap();
        let domain = domain.parse().unwrap();
        let made = KeyRing::create(&dir.path().join("keys"), &domain, now());
        made.unwrap().0
    }

    fn words() -> Vec<CardWords> {
        vec![CardWords {
            subject: Subject::Group {
                group: GroupId::from_bytes([7; 16]),
                channel: true,
                access: freehold_proto::AccessMode::READER,
                members: 3,
            },
            title: "Bicycle workshop".to_owned(),
            note: String::new(),
            tags: Vec::new(),
        }]
    }

    #[test]
    fn what_a_domain_announces_holds_by_its_own_record_and_for_its_lease() {
        let (beta, alpha) = (ring("beta.test"), ring("alpha.test"));
        let signed = beta.signer().announce(words(), LEASE, now());
        let record = beta.fresh_record(now());
        let holds = VerifiedAnnouncement::verify(&signed, &record, now()).unwrap();
        assert_eq!(holds.cards.len(), 1);
        assert_eq!(holds.cards[0].card().words, words()[0]);
        let claim = VerifiedAnnouncement::claim(&signed).unwrap();
        assert_eq!((claim.domain.as_str(), claim.issued), ("beta.test", now()));
        for (record, now) in [
            (alpha.fresh_record(now()), now()),
            (record.clone(), now().plus(LEASE)),
            (record, now().minus(limits::CLOCK_SKEW_MAX + LEASE)),
        ] {
            assert!(VerifiedAnnouncement::verify(&signed, &record, now).is_err());
        }
    }

    #[test]
    fn a_card_is_worth_as_much_without_its_announcement() {
        let beta = ring("beta.test");
        let record = beta.fresh_record(now());
        let signed = beta.signer().announce(words(), LEASE, now());
        let announced = VerifiedAnnouncement::verify(&signed, &record, now()).unwrap();
        let card = SignedCard::read(&announced.cards[0].to_bytes()).unwrap();
        assert_eq!(card.check(&record, now()), Ok(()));
        let mut changed = announced.cards[0].to_bytes();
        let title = changed.windows(7).position(|it| it == b"Bicycle").unwrap();
        changed[title] = b'T';
        let changed = SignedCard::read(&changed).unwrap();
        assert!(changed.check(&record, now()).is_err());
    }

    #[test]
    fn a_lease_of_more_than_an_hour_is_refused() {
        let beta = ring("beta.test");
        let lease = LIFETIME_MAX + Duration::from_millis(1);
        let signed = beta.signer().announce(words(), lease, now());
        let record = beta.fresh_record(now());
        assert!(VerifiedAnnouncement::verify(&signed, &record, now()).is_err());
    }
}
