//! One Ed25519 key pair, and strict verification. No type of the signature library leaves this file.

use std::fmt;

use ed25519_dalek::{
    Signature, Signer as _, SigningKey, VerifyingKey, pkcs8::EncodePrivateKey as _,
};
use zeroize::Zeroizing;

use crate::{KeyError, random};

/// A private key, wiped from memory when dropped.
pub(crate) struct SecretKey(SigningKey);

impl SecretKey {
    pub(crate) fn generate() -> Result<Self, KeyError> {
        Ok(Self::from_bytes(&Zeroizing::new(random()?)))
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    pub(crate) fn bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `context` followed by `bytes`.
    pub(crate) fn sign(&self, context: &[u8], bytes: &[u8]) -> [u8; 64] {
        self.0.sign(&[context, bytes].concat()).to_bytes()
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self
            .0
            .to_pkcs8_der()
            .map_err(|fault| KeyError::Certificate(fault.to_string()))?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Checks a signature over `context` followed by `bytes`, strictly: canonical encodings only, no
/// weak keys (PROTOCOL.md section 4). Two implementations cannot disagree about the outcome.
#[must_use]
pub fn verify(public_key: &[u8; 32], context: &[u8], bytes: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public_key).is_ok_and(|key| {
        let signed = [context, bytes].concat();
        !key.is_weak()
            && key
                .verify_strict(&signed, &Signature::from_bytes(signature))
                .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_its_context_bytes_and_key_only() {
        let key = SecretKey::generate().unwrap();
        let signature = key.sign(b"context", b"bytes");
        let other = SecretKey::generate().unwrap();
        assert!(verify(&key.public(), b"context", b"bytes", &signature));
        assert!(!verify(&key.public(), b"contexT", b"bytes", &signature));
        assert!(!verify(&key.public(), b"context", b"byteS", &signature));
        assert!(!verify(&other.public(), b"context", b"bytes", &signature));
    }

    #[test]
    fn weak_keys_verify_nothing() {
        // The neutral element and a point of order 2: with them a lax verifier accepts forgeries.
        let neutral = {
            let mut bytes = [0; 32];
            bytes[0] = 1;
            bytes
        };
        let order_two = {
            let mut bytes = [0xff; 32];
            bytes[0] = 0xec;
            bytes[31] = 0x7f;
            bytes
        };
        let mut signature = [0; 64];
        signature[0] = 1;
        for key in [neutral, order_two] {
            assert!(!verify(&key, b"", b"anything", &signature));
        }
    }
}
