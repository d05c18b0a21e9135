//! Saying where clients connect, and judging such a word (PROTOCOL.md section 3.4).

use bytes::Bytes;
use freehold_proto::{
    ClientDocument, Malformed, Timestamp,
    client_document::{CONTEXT, LIFETIME_MAX},
    limits, wire,
};
use prost::Message as _;

use crate::{VerifiedRecord, verify};

/// Why a client document is not believed. The fault of its domain, or of whoever handed it on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentFault {
    /// Not a client document at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is one, and not to be believed.
    #[error("{0}")]
    NotGood(&'static str),
}

/// A client document and the signature under it, as it came. Nothing about it is checked but its form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedClientDocument {
    bytes: Bytes,
    signature: Bytes,
    document: ClientDocument,
}

impl SignedClientDocument {
    pub(crate) fn new(document: ClientDocument, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let bytes = document.encode();
        Self {
            signature: Bytes::copy_from_slice(&sign(&bytes)),
            bytes: bytes.into(),
            document,
        }
    }

    /// Reads an encoded `SignedClientDocument`.
    pub fn read(signed: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "signed client document";
        if signed.len() > limits::CLIENT_DOCUMENT_BYTES_MAX {
            let max = limits::CLIENT_DOCUMENT_BYTES_MAX;
            return Err(Malformed::TooLarge { what: WHAT, max });
        }
        let words = wire::SignedClientDocument::decode(signed)
            .map_err(|_| Malformed::Protobuf { what: WHAT })?;
        Ok(Self {
            document: ClientDocument::decode(&words.document)?,
            bytes: words.document,
            signature: words.signature,
        })
    }

    /// Believes received bytes if the domain of `record`, which the caller believes, has signed them for now.
    pub fn verify(
        signed: &[u8],
        record: &VerifiedRecord,
        now: Timestamp,
    ) -> Result<Self, DocumentFault> {
        let read = Self::read(signed)?;
        read.check(record, now)?;
        Ok(read)
    }

    /// The bytes to send: an encoded `SignedClientDocument`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::SignedClientDocument {
            document: self.bytes.clone(),
            signature: self.signature.clone(),
        }
        .encode_to_vec()
    }

    /// What it says.
    #[must_use]
    pub fn document(&self) -> &ClientDocument {
        &self.document
    }

    /// Does the domain of `record` say this, now, and under a key of that record?
    fn check(&self, record: &VerifiedRecord, now: Timestamp) -> Result<(), DocumentFault> {
        let refuse = |why| Err(DocumentFault::NotGood(why));
        let (it, record) = (&self.document, record.record());
        if it.domain != record.domain {
            return refuse("its client document is of another domain");
        }
        if it.issued > now.plus(limits::CLOCK_SKEW_MAX) || it.expires <= now {
            return refuse("its client document does not count now");
        }
        if it.expires > it.issued.plus(LIFETIME_MAX) {
            return refuse("its client document counts for more than 7 days");
        }
        let Some(key) = record.unrevoked_key(it.key_id, it.issued) else {
            return refuse("its client document is signed by a key that did not count");
        };
        let Ok(signature) = (&*self.signature).try_into() else {
            return refuse("its client document is not signed");
        };
        if !verify(&key.public_key, CONTEXT, &self.bytes, &signature) {
            return refuse("the signature under its client document does not hold");
        }
        Ok(())
    }
}
