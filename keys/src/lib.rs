//! A domain's keys: made from the operating system's generator, kept in files only their owner can
//! read, used to sign and verify.
//!
//! Four keys, four purposes, never exchanged (PROTOCOL.md section 4): the *root* signs identity
//! records, the *signing* key signs envelopes and hellos, the *TLS* key stands in certificates, the
//! *next root* exists only as a recovery phrase on paper.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod card;
mod client_document;
mod error;
mod files;
mod freshness;
mod hello;
mod lineage;
mod open;
mod phrase;
mod push;
mod record;
mod ring;
mod rotation;
mod secret;
mod signer;
mod tls;

pub use card::{AnnouncementClaim, CardFault, SignedCard, VerifiedAnnouncement};
pub use client_document::{DocumentFault, SignedClientDocument};
pub use error::KeyError;
pub use freshness::SignedFreshness;
pub use hello::{prove, verify_proof};
pub use open::{
    Consent, Entry, Opened, OpenedPosition, open, open_entry, open_of_any_age, open_position,
};
pub use phrase::RecoveryPhrase;
pub use push::{PushFault, SignedPush};
pub use record::{RecordFault, VerifiedRecord, fingerprint_from_text, fingerprint_to_text};
pub use ring::KeyRing;
pub use rotation::Lost;
pub use secret::verify;
pub use signer::Signer;
pub use tls::{TlsIdentity, spki_hash, verify_possession};

/// Fills an array from the operating system's generator.
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(bytes)
}
