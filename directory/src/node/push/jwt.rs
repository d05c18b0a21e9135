//! JSON web tokens by which a node shows a push service who it is, and the keys that sign them.

use std::{fs, path::Path};

use aws_lc_rs::{
    error::Unspecified,
    rand::SystemRandom,
    rsa::KeyPair as RsaKeyPair,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::Value;

use crate::DirectoryError;

/// A P-256 key.
pub(super) struct EcKey(EcdsaKeyPair);

/// An RSA key.
pub(super) struct RsaKey(RsaKeyPair);

impl EcKey {
    /// Reads a PKCS#8 file in PEM form.
    pub(super) fn read(what: &'static str, path: &Path) -> Result<Self, DirectoryError> {
        let text = read_text(what, path)?;
        let key = der(&text)
            .and_then(|it| {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &it)
                    .map_err(|it| it.to_string())
            })
            .map_err(|why| unusable(what, path, why))?;
        Ok(Self(key))
    }

    /// Its public half, as a point that is not compressed, in base64url.
    pub(super) fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref())
    }

    /// A token that it signs.
    pub(super) fn token(&self, header: &Value, claims: &Value) -> Result<String, Unspecified> {
        let text = unsigned(header, claims);
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes())?;
        Ok(signed(&text, signature.as_ref()))
    }
}

impl RsaKey {
    /// Takes PKCS#8 in PEM form.
    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        let key = RsaKeyPair::from_pkcs8(&der(text)?).map_err(|it| it.to_string())?;
        Ok(Self(key))
    }

    /// A token that it signs.
    pub(super) fn token(&self, header: &Value, claims: &Value) -> Result<String, Unspecified> {
        let text = unsigned(header, claims);
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)?;
        Ok(signed(&text, &signature))
    }
}

/// A new P-256 key as a file holds it, and its public half in base64url. `None` without randomness.
pub(super) fn new_key() -> Option<(String, String)> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
    let der = key.to_pkcs8v1().ok()?;
    let text = STANDARD.encode(der.as_ref());
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    Some((pem, EcKey(key).public()))
}

pub(super) fn read_text(what: &'static str, path: &Path) -> Result<String, DirectoryError> {
    fs::read_to_string(path).map_err(|error| unusable(what, path, error.to_string()))
}

pub(super) fn unusable(what: &'static str, path: &Path, why: String) -> DirectoryError {
    DirectoryError::PushKey {
        what,
        path: path.to_owned(),
        why,
    }
}

fn der(pem: &str) -> Result<Vec<u8>, String> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
    let key = key.map_err(|it| format!("no PKCS#8 key in PEM form ({it})"))?;
    Ok(key.secret_pkcs8_der().to_vec())
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |it: &Value| URL_SAFE_NO_PAD.encode(it.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn signed(text: &str, signature: &[u8]) -> String {
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer,
        rsa::KeySize,
        signature::{
            ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
            VerificationAlgorithm,
        },
    };
    use serde_json::json;

    use super::*;

    /// Checks a token as a service does, and gives what it says.
    fn read(token: &str, algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Value {
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = UnparsedPublicKey::new(algorithm, key);
        key.verify(text.as_bytes(), &signature).unwrap();
        let parts = text
            .split('.')
            .map(|it| URL_SAFE_NO_PAD.decode(it).unwrap());
        parts
            .map(|it| serde_json::from_slice::<Value>(&it).unwrap())
            .collect()
    }

    #[test]
    fn a_new_key_is_read_from_its_file_and_signs_what_its_public_half_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vapid.pem");
        let (pem, public) = new_key().unwrap();
        fs::write(&path, pem).unwrap();
        let key = EcKey::read("the key", &path).unwrap();
        assert_eq!(key.public(), public);
        let (header, claims) = (json!({"alg": "ES256"}), json!({"sub": "mailto:a@b.test"}));
        let token = key.token(&header, &claims).unwrap();
        let public = URL_SAFE_NO_PAD.decode(public).unwrap();
        assert_eq!(public.len(), 65);
        assert_eq!(
            read(&token, &ECDSA_P256_SHA256_FIXED, &public),
            json!([header, claims])
        );
        fs::write(
            &path,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        let told = EcKey::read("the key", &path).err().unwrap().to_string();
        assert!(told.contains("vapid.pem"), "{told}");
    }

    #[test]
    fn a_token_under_an_rsa_key_holds() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let key = RsaKey::from_pem(&pem).unwrap();
        let (header, claims) = (json!({"alg": "RS256"}), json!({"iss": "a@b.test"}));
        let token = key.token(&header, &claims).unwrap();
        let public = pair.public_key().as_ref();
        assert_eq!(
            read(&token, &RSA_PKCS1_2048_8192_SHA256, public),
            json!([header, claims])
        );
        assert!(RsaKey::from_pem("no key").is_err());
    }
}
