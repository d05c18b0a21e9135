//! What a node says about a domain, as JSON.

use freehold_keys::{SignedCard, VerifiedRecord, fingerprint_to_text};
use freehold_proto::{DomainName, KeyId, Timestamp, card::Subject};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Look, listing::Page};
use crate::{Connect, Observation, ResolveError};

/// What can be seen of a domain from this node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Domain {
    /// The domain's name.
    pub(super) domain: String,
    /// Whether it serves an identity record that holds together. A "no" proves nothing: ask another
    /// node, or look yourself.
    pub(super) found: bool,
    /// When this node looked.
    pub(super) seen_at: String,
    /// Until when it hands this on without looking again.
    pub(super) good_until: String,
    /// The `SignedRecord` as the domain serves it, in base64url: the only thing here that is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) record: Option<String>,
    /// The record in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<Identity>,
    /// Why there is no record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// Who names which root key, as this node sees it.
    pub(super) anchors: Vec<Anchor>,
}

/// Where the clients of a domain's people connect, as the domain says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Located {
    /// The domain's name.
    pub(super) domain: String,
    /// Whether it says so. A "no" proves nothing: ask another node, or the domain itself.
    pub(super) found: bool,
    /// When this node looked.
    pub(super) seen_at: String,
    /// Until when it hands this on without looking again.
    pub(super) good_until: String,
    /// What the domain says, signed by a key of its record, and checked against that here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connect: Option<Connect>,
    /// Why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// Who names which root key, as this node sees it. The document is worth what they say of the record.
    pub(super) anchors: Vec<Anchor>,
}

/// What came of an announcement.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Announced {
    /// Whose it is.
    pub(super) domain: String,
    /// How many cards are listed.
    pub(super) cards: usize,
    /// The end of the lease.
    pub(super) until: String,
}

/// What was found by words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Found {
    /// Those that fit best first, at most 50, and of one domain at most 10.
    pub(super) cards: Vec<FoundCard>,
    /// There are more.
    pub(super) more: bool,
}

/// A group or a person, as their domain says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FoundCard {
    /// The `SignedCard` as the domain announced it, in base64url: the only thing here that is signed.
    pub(super) card: String,
    /// What a client opens: a group, channel or person with the domain.
    pub(super) topic: String,
    /// The domain.
    pub(super) domain: String,
    /// The name.
    pub(super) title: String,
    /// What it is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
    /// By which it is found too.
    pub(super) tags: Vec<String>,
    /// Of a group, its members; of a channel, its readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<u32>,
    /// Until when its domain says so.
    pub(super) until: String,
}

/// An identity record in words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Identity {
    /// Its number: one more with each change.
    pub(super) serial: u64,
    /// Fingerprint of the root key.
    pub(super) root: String,
    /// Fingerprint of the key that alone may follow it.
    pub(super) next_root: String,
    /// Keys that sign messages.
    pub(super) signing_keys: Vec<SigningKey>,
    /// Fingerprints of the keys of its connections.
    pub(super) tls_keys: Vec<String>,
    /// When it was made.
    pub(super) issued: String,
    /// When it stops counting.
    pub(super) expires: String,
    /// When somebody with a signing key said last that it is the latest.
    pub(super) confirmed: String,
    /// Until when that counts.
    pub(super) confirmed_until: String,
}

/// A key that signs messages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SigningKey {
    /// Its id.
    pub(super) id: String,
    /// From when it counts.
    pub(super) from: String,
    /// Until when.
    pub(super) until: String,
    /// Whether it was revoked.
    pub(super) revoked: bool,
}

/// Somebody who names a root key of the domain.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Anchor {
    /// `dnssec`, `dns` or `well-known`.
    pub(super) source: &'static str,
    /// The fingerprint that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<String>,
    /// Whether that is the root key of the record, or one that it follows from or is followed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agrees: Option<bool>,
    /// Why it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// Why a question is not answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Refused {
    /// What is wrong, for people.
    pub(super) error: String,
}

impl Domain {
    pub(super) fn of(look: &Look) -> Self {
        let seen = &look.seen;
        let record = seen.record.as_ref().ok();
        Self {
            domain: seen.domain.to_string(),
            found: record.is_some(),
            seen_at: seen.at.to_string(),
            good_until: look.until.to_string(),
            record: record.map(|it| base64_url(&it.to_bytes())),
            identity: record.map(|it| Identity::of(it)),
            why: seen.record.as_ref().err().map(ToString::to_string),
            anchors: anchors(seen),
        }
    }
}

impl Located {
    pub(super) fn of(look: &Look) -> Self {
        let seen = &look.seen;
        let document = seen.client_document.as_ref();
        let why = match (&seen.record, document) {
            (Err(error), _) => Some(error.to_string()),
            (_, Err(error)) => Some(error.to_string()),
            _ => None,
        };
        Self {
            domain: seen.domain.to_string(),
            found: document.is_ok(),
            seen_at: seen.at.to_string(),
            good_until: look.until.to_string(),
            connect: document.ok().map(|it| Connect::of(it)),
            why,
            anchors: anchors(seen),
        }
    }
}

impl Announced {
    pub(super) fn new(domain: &DomainName, cards: usize, until: Timestamp) -> Self {
        Self {
            domain: domain.to_string(),
            cards,
            until: until.to_string(),
        }
    }
}

impl Found {
    pub(super) fn of(page: &Page) -> Self {
        Self {
            cards: page.cards.iter().map(FoundCard::of).collect(),
            more: page.more,
        }
    }
}

impl FoundCard {
    fn of(signed: &SignedCard) -> Self {
        let card = signed.card();
        let members = match &card.words.subject {
            Subject::Group { members, .. } => Some(*members),
            Subject::Person(_) => None,
        };
        Self {
            card: base64_url(&signed.to_bytes()),
            topic: card.topic(),
            domain: card.domain.to_string(),
            title: card.words.title.clone(),
            note: card.words.note.clone(),
            tags: card.words.tags.clone(),
            members,
            until: card.expires.to_string(),
        }
    }
}

/// Whether somebody names the root key that the record has, and nobody another one: only then does this
/// node lead people anywhere.
pub(super) fn is_vouched_for(anchors: &[Anchor]) -> bool {
    let says = |what| anchors.iter().any(|it| it.agrees == Some(what));
    says(true) && !says(false)
}

impl Identity {
    fn of(verified: &VerifiedRecord) -> Self {
        let record = verified.record();
        let keys = record.signing_keys.iter().map(|key| {
            let id = KeyId::of(&key.public_key);
            SigningKey {
                id: id.to_string(),
                from: key.valid_from.to_string(),
                until: key.valid_until.to_string(),
                revoked: record.is_revoked(id),
            }
        });
        let said = verified.freshness().map(|it| it.statement());
        let hashes = record.tls_key_hashes.iter();
        Self {
            serial: record.serial,
            root: fingerprint_to_text(&verified.root_fingerprint()),
            next_root: fingerprint_to_text(&record.next_root_hash),
            signing_keys: keys.collect(),
            tls_keys: hashes.map(fingerprint_to_text).collect(),
            issued: record.issued.to_string(),
            expires: record.expires.to_string(),
            confirmed: said.map(|it| it.issued.to_string()).unwrap_or_default(),
            confirmed_until: said.map(|it| it.expires.to_string()).unwrap_or_default(),
        }
    }
}

fn anchors(seen: &Observation) -> Vec<Anchor> {
    let record = seen.record.as_ref().ok();
    let names = |source, root: &[u8; 32]| Anchor {
        source,
        root: Some(fingerprint_to_text(root)),
        agrees: record.map(|it| it.has_root(root) || it.record().next_root_hash == *root),
        why: None,
    };
    let silent = |source, why: String| Anchor {
        source,
        root: None,
        agrees: None,
        why: Some(why),
    };
    let dns = match &seen.txt {
        Ok(Some(txt)) if txt.signed => names("dnssec", &txt.root),
        Ok(Some(txt)) => names("dns", &txt.root),
        Ok(None) => silent("dns", "there is no TXT record".to_owned()),
        Err(error) => silent("dns", error.to_string()),
    };
    let web = match &seen.well_known {
        Ok(root) => names("well-known", root),
        Err(error) => silent("well-known", error.to_string()),
    };
    vec![dns, web]
}

/// Whether this is no answer about the domain but one about this node.
pub(super) fn is_busy(look: &Look) -> bool {
    matches!(look.seen.record, Err(ResolveError::Busy))
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}
