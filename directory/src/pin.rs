//! What we remember of a domain once met: its record, and who vouched for its root key.
//!
//! Keeping pins durably is the caller's part; here is only what is kept.

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use freehold_proto::{DomainName, Timestamp};
use parking_lot::Mutex;

/// Who vouched for a root key, the weakest first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
#[non_exhaustive]
pub enum AnchorLevel {
    /// Nobody: it was the one shown at the first contact.
    FirstUse,
    /// An unsigned TXT record.
    Dns,
    /// An unsigned TXT record that two nodes of the directory see as we do.
    Confirmed,
    /// The domain's web server, under a certificate that the web believes.
    WellKnown,
    /// A TXT record that DNSSEC vouches for.
    Dnssec,
    /// An administrator, through the static table or by hand.
    Admin,
}

impl AnchorLevel {
    /// Levels with the numbers under which they are stored, which never change.
    const NUMBERS: [(Self, u8); 6] = [
        (Self::FirstUse, 6),
        (Self::Dns, 1),
        (Self::Confirmed, 2),
        (Self::WellKnown, 3),
        (Self::Dnssec, 5),
        (Self::Admin, 4),
    ];

    /// The number under which it is stored.
    #[must_use]
    pub fn number(self) -> u8 {
        let found = Self::NUMBERS.iter().find(|(level, _)| *level == self);
        found.map_or(0, |(_, number)| *number)
    }

    /// The level stored as `number`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let found = Self::NUMBERS.iter().find(|(_, it)| *it == number);
        found.map(|(level, _)| *level)
    }
}

impl fmt::Display for AnchorLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstUse => "the first contact",
            Self::Dns => "a DNS TXT record",
            Self::Confirmed => "a DNS TXT record that directory nodes confirm",
            Self::WellKnown => "its web server",
            Self::Dnssec => "DNSSEC",
            Self::Admin => "the administrator",
        })
    }
}

/// A domain's root key and latest record, as first met and carried forward since.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pin {
    /// Which domain.
    pub domain: DomainName,
    /// An encoded `SignedRecord`, as received. Empty while an administrator has vouched for the root
    /// key and the domain has not been met.
    pub record: Vec<u8>,
    /// SHA-256 of the root public key.
    pub root_fingerprint: [u8; 32],
    /// Who vouched for the root key. Never goes down.
    pub anchor: AnchorLevel,
    /// When this record took its place here.
    pub pinned_at: Timestamp,
    /// Which life of the name this is.
    pub life: Life,
    /// Another root key that is being watched, if one is.
    pub hold: Option<Hold>,
}

/// A life of a domain's name, as we have seen it. Another one begins each time that the domain starts anew
/// with keys that no earlier one has named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    /// 1 for the first.
    pub incarnation: u32,
    /// When we saw it begin.
    pub began: Timestamp,
}

impl Life {
    /// The first, beginning now.
    #[must_use]
    pub fn first(now: Timestamp) -> Self {
        Self {
            incarnation: 1,
            began: now,
        }
    }

    /// This one if `same`, or the next, beginning now.
    #[must_use]
    pub fn or_next(self, same: bool, now: Timestamp) -> Self {
        match same {
            true => self,
            false => Self {
                incarnation: self.incarnation.saturating_add(1),
                began: now,
            },
        }
    }
}

/// A root key that a domain shows instead of the pinned one, which has not named it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hold {
    /// SHA-256 of it.
    pub fingerprint: [u8; 32],
    /// Since when it has been seen.
    pub since: Timestamp,
    /// When it was last seen.
    pub seen: Timestamp,
}

/// The pins cannot be read or written now. Ours, not the peer's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("pins cannot be read or written: {0}")]
pub struct PinError(pub String);

/// Where pins are kept.
#[async_trait]
pub trait Pins: Send + Sync + 'static {
    /// The pin of `domain`, if it has been met.
    async fn load(&self, domain: &DomainName) -> Result<Option<Pin>, PinError>;

    /// Keeps a pin in place of the one before it; durable when it returns.
    async fn save(&self, pin: Pin) -> Result<(), PinError>;

    /// All pins, by domain; at most `limit`, those after `after`.
    async fn list(&self, after: Option<&DomainName>, limit: usize) -> Result<Vec<Pin>, PinError>;
}

/// Pins that are forgotten with the process: for tests and for tools that only look.
#[derive(Debug, Default)]
pub struct MemoryPins(Mutex<HashMap<DomainName, Pin>>);

#[async_trait]
impl Pins for MemoryPins {
    async fn load(&self, domain: &DomainName) -> Result<Option<Pin>, PinError> {
        Ok(self.0.lock().get(domain).cloned())
    }

    async fn save(&self, pin: Pin) -> Result<(), PinError> {
        self.0.lock().insert(pin.domain.clone(), pin);
        Ok(())
    }

    async fn list(&self, after: Option<&DomainName>, limit: usize) -> Result<Vec<Pin>, PinError> {
        let mut pins: Vec<Pin> = self.0.lock().values().cloned().collect();
        pins.retain(|it| after.is_none_or(|after| it.domain > *after));
        pins.sort_by(|a, b| a.domain.cmp(&b.domain));
        pins.truncate(limit);
        Ok(pins)
    }
}
