//! What each side signs to prove its domain on one TLS connection (PROTOCOL.md section 5).

use crate::{DomainName, KeyId, envelope::put_name};

/// Goes before everything else in a signed hello.
pub const CONTEXT: &[u8] = b"freehold/hello/v1\0";
/// Label under which both sides export keying material from TLS (RFC 8446 section 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-freehold-hello-v1";

/// Which end of the connection signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The one that opened the TLS connection.
    Initiator,
    /// The one that accepted it.
    Acceptor,
}

/// The values a hello binds together.
#[derive(Clone, Debug)]
pub struct Hello<'a> {
    /// Who signs: the end of the connection.
    pub role: Role,
    /// Who signs: the domain.
    pub from: &'a DomainName,
    /// To whom.
    pub to: &'a DomainName,
    /// With which signing key.
    pub key_id: KeyId,
    /// SHA-256 of the signer's current identity record.
    pub record_hash: [u8; 32],
    /// 32 bytes exported from this very TLS connection.
    pub exporter: [u8; 32],
}

impl Hello<'_> {
    /// The bytes to sign, context included.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = CONTEXT.to_vec();
        bytes.extend_from_slice(&self.exporter);
        bytes.push(match self.role {
            Role::Initiator => 1,
            Role::Acceptor => 2,
        });
        put_name(&mut bytes, self.from);
        put_name(&mut bytes, self.to);
        bytes.extend_from_slice(self.key_id.as_bytes());
        bytes.extend_from_slice(&self.record_hash);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_changes_the_signed_bytes() {
        let (alpha, beta) = ("alpha.test".parse().unwrap(), "beta.test".parse().unwrap());
        let hello = Hello {
            role: Role::Initiator,
            from: &alpha,
            to: &beta,
            key_id: KeyId::of(&[1; 32]),
            record_hash: [2; 32],
            exporter: [3; 32],
        };
        let bytes = hello.signed_bytes();
        let others = [
            Hello {
                role: Role::Acceptor,
                ..hello.clone()
            },
            Hello {
                from: &beta,
                ..hello.clone()
            },
            Hello {
                to: &alpha,
                ..hello.clone()
            },
            Hello {
                key_id: KeyId::of(&[9; 32]),
                ..hello.clone()
            },
            Hello {
                record_hash: [9; 32],
                ..hello.clone()
            },
            Hello {
                exporter: [9; 32],
                ..hello.clone()
            },
        ];
        for other in others {
            assert_ne!(other.signed_bytes(), bytes, "{other:?}");
        }
    }
}
