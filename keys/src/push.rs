//! Asking for a push in a domain's name, and judging who asks (PROTOCOL.md section 13.3).

use bytes::Bytes;
use freehold_proto::{
    Malformed, PushRequest, Timestamp, limits,
    push::{CONTEXT, LIFETIME_MAX, SKEW_MAX},
    wire,
};
use prost::Message as _;

use crate::{VerifiedRecord, verify};

/// Why a push request is not believed. The fault of whoever asks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PushFault {
    /// Not a push request at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is one, and not to be believed.
    #[error("{0}")]
    NotGood(&'static str),
    /// It is signed by a key that does not count, as far as the record says that it was judged by. A newer one
    /// may say otherwise.
    #[error("the request is signed by a key that does not count")]
    UnknownKey,
}

/// A push request and the signature under it, as it came. Nothing about it is checked but its form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedPush {
    bytes: Bytes,
    signature: Bytes,
    request: PushRequest,
}

impl SignedPush {
    pub(crate) fn new(request: PushRequest, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let bytes = request.encode();
        Self {
            signature: Bytes::copy_from_slice(&sign(&bytes)),
            bytes: bytes.into(),
            request,
        }
    }

    /// Reads an encoded `SignedPushRequest`.
    pub fn read(signed: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "signed push request";
        if signed.len() > limits::PUSH_REQUEST_BYTES_MAX {
            let max = limits::PUSH_REQUEST_BYTES_MAX;
            return Err(Malformed::TooLarge { what: WHAT, max });
        }
        let words = wire::SignedPushRequest::decode(signed)
            .map_err(|_| Malformed::Protobuf { what: WHAT })?;
        Ok(Self {
            request: PushRequest::decode(&words.request)?,
            bytes: words.request,
            signature: words.signature,
        })
    }

    /// The bytes to send: an encoded `SignedPushRequest`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::SignedPushRequest {
            request: self.bytes.clone(),
            signature: self.signature.clone(),
        }
        .encode_to_vec()
    }

    /// What it asks for.
    #[must_use]
    pub fn request(&self) -> &PushRequest {
        &self.request
    }

    /// Is it for the node of this name, and does it count now? Says nothing about who asks.
    pub fn is_for(&self, node: &str, now: Timestamp) -> Result<(), PushFault> {
        let it = &self.request;
        if it.draft.node != node {
            return Err(PushFault::NotGood("the request is for another node"));
        }
        if it.expires > it.issued.plus(LIFETIME_MAX) {
            return Err(PushFault::NotGood(
                "the request counts for more than 5 minutes",
            ));
        }
        if it.issued > now.plus(SKEW_MAX) || it.expires <= now {
            return Err(PushFault::NotGood(
                "the request does not count now: is a clock wrong?",
            ));
        }
        Ok(())
    }

    /// Does the domain of `record`, which the caller believes, ask for this, under a key of that record?
    pub fn is_from(&self, record: &VerifiedRecord) -> Result<(), PushFault> {
        let refuse = |why| Err(PushFault::NotGood(why));
        let (it, record) = (&self.request, record.record());
        if it.domain != record.domain {
            return refuse("the request is of another domain");
        }
        let Some(key) = record.unrevoked_key(it.key_id, it.issued) else {
            return Err(PushFault::UnknownKey);
        };
        let Ok(signature) = (&*self.signature).try_into() else {
            return refuse("the request is not signed");
        };
        if !verify(&key.public_key, CONTEXT, &self.bytes, &signature) {
            return refuse("the signature under the request does not hold");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use freehold_proto::{PushDraft, PushTarget, Urgency, limits::CLOCK_SKEW_MAX};

    use super::*;
    use crate::{KeyRing, Lost};

    const NODE: &str = "node.example.org";

    fn now() -> Timestamp {
        Timestamp::from_millis(1_767_323_045_678).unwrap()
    }

    fn ring(domain: &str) -> (tempfile::TempDir, KeyRing) {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let (ring, _) = KeyRing::create(&keys, &domain.parse().unwrap(), now()).unwrap();
        (dir, ring)
    }

    fn signed(ring: &KeyRing) -> SignedPush {
        let draft = PushDraft {
            node: NODE.to_owned(),
            nonce: [7; 16],
            ttl: Duration::from_secs(60),
            urgency: Urgency::High,
            collapse: String::new(),
            target: PushTarget::Web {
                endpoint: "https://push.example.net/x".parse().unwrap(),
                body: vec![1].into(),
                encrypted: true,
            },
        };
        ring.signer().ask_for_push(draft, now())
    }

    #[track_caller]
    fn refused(judged: Result<(), PushFault>, word: &str) {
        let fault = judged.unwrap_err().to_string();
        assert!(fault.contains(word), "{fault}");
    }

    #[test]
    fn a_request_is_for_one_node_and_a_few_minutes() {
        let (_dir, ring) = ring("alpha.test");
        let read = SignedPush::read(&signed(&ring).to_bytes()).unwrap();
        assert_eq!(read, signed(&ring));
        let at = |seconds| now().plus(Duration::from_secs(seconds));
        read.is_for(NODE, now()).unwrap();
        read.is_for(NODE, at(299)).unwrap();
        read.is_for(NODE, now().minus(SKEW_MAX)).unwrap();
        refused(read.is_for("other.example.org", now()), "another node");
        refused(read.is_for(NODE, at(300)), "does not count now");
        let early = now().minus(CLOCK_SKEW_MAX);
        refused(read.is_for(NODE, early), "does not count now");
        let mut long = read.request().clone();
        long.expires = long.expires.plus(Duration::from_millis(1));
        let pair = ring.signer().pair();
        let long = SignedPush::new(long, |it| pair.key.sign(CONTEXT, it));
        refused(long.is_for(NODE, now()), "more than 5 minutes");
        let too_long = vec![0; limits::PUSH_REQUEST_BYTES_MAX + 1];
        assert!(SignedPush::read(&too_long).is_err());
    }

    #[test]
    fn a_request_that_the_domain_has_not_signed_is_not_believed() {
        let ((_dir, mut ring), (_others_dir, other)) = (ring("alpha.test"), ring("beta.test"));
        let read = signed(&ring);
        read.is_from(ring.record()).unwrap();
        refused(read.is_from(other.record()), "of another domain");
        let (own, thief) = (ring.signer().pair(), other.signer().pair());
        let by_thief = SignedPush::new(read.request().clone(), |it| thief.key.sign(CONTEXT, it));
        refused(by_thief.is_from(ring.record()), "does not hold");
        let mut claim = read.request().clone();
        claim.key_id = thief.id;
        let claim = SignedPush::new(claim, |it| thief.key.sign(CONTEXT, it));
        refused(claim.is_from(ring.record()), "a key that does not count");
        let context = freehold_proto::freshness::CONTEXT;
        let purpose = SignedPush::new(read.request().clone(), |it| own.key.sign(context, it));
        refused(purpose.is_from(ring.record()), "does not hold");
        let mut changed = read.request().clone();
        changed.draft.nonce = [8; 16];
        let changed = SignedPush {
            bytes: changed.encode().into(),
            signature: read.signature.clone(),
            request: changed,
        };
        refused(changed.is_from(ring.record()), "does not hold");
        let bare = SignedPush {
            signature: Bytes::new(),
            ..read.clone()
        };
        refused(bare.is_from(ring.record()), "is not signed");
        let lost = Lost {
            signing: true,
            tls: false,
        };
        ring.revoke(lost, now(), now()).unwrap();
        refused(read.is_from(ring.record()), "a key that does not count");
    }
}
