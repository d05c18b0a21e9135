//! The recovery phrase: the next root key as 24 words on paper. The server keeps only its hash.

use std::fmt;

use bip39::Mnemonic;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{KeyError, secret::SecretKey};

/// The secret of the next root key. Shown once, stored nowhere.
pub struct RecoveryPhrase(SecretKey);

impl RecoveryPhrase {
    /// Makes a fresh one.
    pub fn generate() -> Result<Self, KeyError> {
        SecretKey::generate().map(Self)
    }

    /// Reads the 24 words, whatever the spacing and case.
    pub fn from_words(words: &str) -> Result<Self, KeyError> {
        let phrase = Mnemonic::parse_normalized(&words.to_lowercase())
            .map_err(|fault| KeyError::Phrase(fault.to_string()))?;
        let entropy = Zeroizing::new(phrase.to_entropy());
        let secret = entropy
            .as_slice()
            .try_into()
            .map_err(|_| KeyError::Phrase("24 words are needed".to_owned()))?;
        Ok(Self(SecretKey::from_bytes(secret)))
    }

    /// The 24 words.
    #[must_use]
    pub fn words(&self) -> Zeroizing<String> {
        let phrase = Mnemonic::from_entropy(&*self.0.bytes()).expect("32 bytes make 24 words");
        Zeroizing::new(phrase.to_string())
    }

    /// The key itself, when it becomes the root.
    pub(crate) fn key(&self) -> SecretKey {
        SecretKey::from_bytes(&self.0.bytes())
    }

    /// SHA-256 of the public key, as it is committed to in the identity record.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        Sha256::digest(self.0.public()).into()
    }
}

impl fmt::Debug for RecoveryPhrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryPhrase(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_bring_the_key_back() {
        let phrase = RecoveryPhrase::generate().unwrap();
        let words = phrase.words();
        assert_eq!(words.split(' ').count(), 24);
        let again = RecoveryPhrase::from_words(&words.to_uppercase()).unwrap();
        assert_eq!(again.commitment(), phrase.commitment());
        assert!(RecoveryPhrase::from_words("abandon abandon").is_err());
    }
}
