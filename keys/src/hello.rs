//! Proving a domain on one TLS connection, and checking such a proof (PROTOCOL.md section 5).

use freehold_proto::{
    IdentityRecord, Refusal, RefusalCode, Timestamp,
    hello::{CONTEXT, Hello},
};

use crate::{Signer, verify};

/// Signs a hello. Every value in it is our own or measured on the connection.
#[must_use]
pub fn prove(hello: &Hello<'_>, signer: &Signer) -> [u8; 64] {
    // `signed_bytes` begins with the context already.
    signer.sign_raw(&hello.signed_bytes())
}

/// Checks that `signature` proves `record`'s domain on the connection that shows the TLS key
/// `tls_key_hash`.
pub fn verify_proof(
    hello: &Hello<'_>,
    signature: &[u8],
    record: &IdentityRecord,
    tls_key_hash: &[u8; 32],
    now: Timestamp,
) -> Result<(), Refusal> {
    if !record.tls_key_hashes.contains(tls_key_hash) {
        return Err(Refusal::new(
            RefusalCode::TlsKeyNotInRecord,
            format!("{}'s record has no such TLS key", record.domain),
        ));
    }
    let unproven = |why: &str| Refusal::new(RefusalCode::HelloUnproven, why);
    let key = record
        .unrevoked_key(hello.key_id, now)
        .ok_or_else(|| unproven("the signing key is not valid now"))?;
    let signature = signature
        .try_into()
        .map_err(|_| unproven("the signature is not 64 bytes"))?;
    let signed = hello.signed_bytes();
    let rest = signed
        .strip_prefix(CONTEXT)
        .expect("signed bytes begin with their context");
    if verify(&key.public_key, CONTEXT, rest, &signature) {
        Ok(())
    } else {
        Err(unproven("the signature does not hold on this connection"))
    }
}
