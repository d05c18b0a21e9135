//! Ids of users, groups, messages and keys.
//!
//! Stored and sent between domains an id is always global (`usrX@domain`); only the client edge
//! shortens it.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{DomainName, Malformed, Timestamp, malformed::excerpt};

/// A person's account, named all over the world: `usr` + 11 base64url characters + `@domain`.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct UserId {
    domain: DomainName,
    local: [u8; 8],
}

impl UserId {
    /// The id of a user of `domain` whose random part is `local`.
    #[must_use]
    pub fn new(local: [u8; 8], domain: DomainName) -> Self {
        Self { domain, local }
    }

    /// Reads the form that is used inside the user's own domain, `usrX`.
    pub fn from_bare(text: &str, domain: &DomainName) -> Result<Self, Malformed> {
        let refuse = || Malformed::Id {
            what: "user",
            id: excerpt(text),
        };
        let suffix = text.strip_prefix("usr").ok_or_else(refuse)?;
        let local = decode_exact(suffix).ok_or_else(refuse)?;
        Ok(Self::new(local, domain.clone()))
    }

    /// The form used inside the user's own domain, `usrX`.
    #[must_use]
    pub fn bare(&self) -> String {
        format!("usr{}", URL_SAFE_NO_PAD.encode(self.local))
    }

    /// The domain whose account this is.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// The random part.
    #[must_use]
    pub fn local_bytes(&self) -> [u8; 8] {
        self.local
    }
}

impl FromStr for UserId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (bare, domain) = text.split_once('@').ok_or_else(|| Malformed::Id {
            what: "user",
            id: excerpt(text),
        })?;
        Self::from_bare(bare, &domain.parse()?)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "usr{}@{}",
            URL_SAFE_NO_PAD.encode(self.local),
            self.domain
        )
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A group: `grp` + 22 base64url characters, the first 16 bytes of the SHA-256 of its create
/// record. Contains no domain, so a group can outlive its home.
#[derive(Clone, Copy, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct GroupId([u8; 16]);

impl GroupId {
    /// Takes the 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for GroupId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.strip_prefix("grp")
            .and_then(decode_exact)
            .map(Self)
            .ok_or_else(|| Malformed::Id {
                what: "group",
                id: excerpt(text),
            })
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grp{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A message's id, unique within the author's domain: a UUIDv7. Its time part is never used to
/// order messages.
#[derive(Clone, Copy, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// Makes a new id from the present moment and fresh random bytes.
    #[must_use]
    pub fn mint(now: Timestamp, random: &[u8; 10]) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Self(
            *uuid::Builder::from_unix_timestamp_millis(millis, random)
                .as_uuid()
                .as_bytes(),
        )
    }

    /// Takes 16 bytes as they are; any 16 bytes name a message.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Takes a slice that must hold exactly 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Malformed> {
        bytes.try_into().map(Self).map_err(|_| Malformed::Id {
            what: "message",
            id: format!("{} bytes", bytes.len()),
        })
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names an Ed25519 public key: the first 16 bytes of its SHA-256.
#[derive(Clone, Copy, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The id of `public_key`.
    #[must_use]
    pub fn of(public_key: &[u8; 32]) -> Self {
        let hash: [u8; 32] = Sha256::digest(public_key).into();
        let mut id = [0; 16];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(id)
    }

    /// Takes a slice that must hold exactly 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Malformed> {
        bytes.try_into().map(Self).map_err(|_| Malformed::Id {
            what: "key",
            id: format!("{} bytes", bytes.len()),
        })
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Decodes base64url that must stand for exactly `N` bytes, in its one canonical spelling.
fn decode_exact<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // Room for one group more, so that text of a wrong length is measured rather than cut.
    let mut room = [0; 64];
    let room = room.get_mut(..N + 3)?;
    let written = URL_SAFE_NO_PAD.decode_slice(text, room).ok()?;
    if written != N {
        return None;
    }
    bytes.copy_from_slice(room.get(..N)?);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_spellings_of_a_user_id_are_refused() {
        for text in [
            "usrAAAAAAAAAAA",
            "usrAAAAAAAAAAA@",
            "usrAAAAAAAAAAB@b.example",
            "usrAAAAAAAAAA@b.example",
            "usrAAAAAAAAAAAA@b.example",
            "usrAAAAAAAAAAA=@b.example",
            "usrAAAAAAAAAAA@B.example",
            "grpAAAAAAAAAAA@b.example",
            "usrAAAAAAAAA+A@b.example",
            "usrAAAAAAAAAAA@b.example@c.example",
        ] {
            assert!(text.parse::<UserId>().is_err(), "{text:?} passed");
        }
    }

    proptest! {
        #[test]
        fn a_user_id_survives_text(local: [u8; 8]) {
            let user = UserId::new(local, "b.example".parse().unwrap());
            prop_assert_eq!(user.to_string().parse::<UserId>().unwrap(), user.clone());
            prop_assert_eq!(UserId::from_bare(&user.bare(), user.domain()).unwrap(), user.clone());
            prop_assert_eq!(user.bare().len(), 14);
        }

        #[test]
        fn a_group_id_survives_text(bytes: [u8; 16]) {
            let group = GroupId::from_bytes(bytes);
            prop_assert_eq!(group.to_string().parse::<GroupId>().unwrap(), group);
            prop_assert_eq!(group.to_string().len(), 25);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<UserId>();
            let _ = text.parse::<GroupId>();
        }
    }
}
