//! What we remember of a domain once met: its record, and who vouched for its root key.
//!
//! Keeping pins durably is the caller's part; here is only what is kept.

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use freehold_proto::{DomainName, Timestamp};
use parking_lot::Mutex;

/// Who vouched for a root key. The greater, the stronger; numbers are stored and never change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum AnchorLevel {
    /// An unsigned TXT record.
    Dns = 1,
    /// An administrator, through the static table.
    Admin = 4,
}

impl AnchorLevel {
    /// The number under which it is stored.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The level stored as `number`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Dns),
            4 => Some(Self::Admin),
            _ => None,
        }
    }
}

impl fmt::Display for AnchorLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "a DNS TXT record",
            Self::Admin => "the administrator",
        })
    }
}

/// A domain's root key and latest record, as first met and carried forward since.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pin {
    /// Which domain.
    pub domain: DomainName,
    /// An encoded `SignedRecord`, as received.
    pub record: Vec<u8>,
    /// SHA-256 of the root public key.
    pub root_fingerprint: [u8; 32],
    /// Who vouched for the root key. Never goes down.
    pub anchor: AnchorLevel,
    /// When this record took its place here.
    pub pinned_at: Timestamp,
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
}
