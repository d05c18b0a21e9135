//! The certificate a domain shows in TLS. It only carries a key: names, dates and usages in it mean
//! nothing between peers (PROTOCOL.md section 5).

use std::fmt;

use freehold_proto::DomainName;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ParsedCertificate,
};
use sha2::{Digest, Sha256};

use crate::{KeyError, secret::SecretKey};

/// A self-signed certificate and its private key, as TLS wants them.
pub struct TlsIdentity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub private_key: PrivateKeyDer<'static>,
}

impl TlsIdentity {
    pub(crate) fn new(domain: &DomainName, key: &SecretKey) -> Result<Self, KeyError> {
        let fault = |fault: rcgen::Error| KeyError::Certificate(fault.to_string());
        let pkcs8 = PrivatePkcs8KeyDer::from(key.to_pkcs8()?.to_vec());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ED25519).map_err(fault)?;
        let certificate = CertificateParams::new([domain.to_string()])
            .and_then(|params| params.self_signed(&pair))
            .map_err(fault)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            private_key: PrivateKeyDer::Pkcs8(pkcs8),
        })
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(..)")
    }
}

/// SHA-256 of the SubjectPublicKeyInfo in a certificate; `None` when it is not a certificate.
#[must_use]
pub fn spki_hash(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(Sha256::digest(parsed.subject_public_key_info().as_ref()).into())
}

/// Checks that the other end of a TLS 1.3 handshake holds the key in its certificate, which must be
/// an Ed25519 key. That is all a certificate proves between peers; whose key it is, the identity
/// record says.
pub fn verify_possession(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signed, &algorithms)
}
