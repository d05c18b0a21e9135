//! Hello: how two domains prove themselves on a connection (PROTOCOL.md section 5). Everything here
//! is decided from values; `service` and `link` carry the words.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use freehold_keys::{KeyRing, Signer, VerifiedRecord, prove, verify_proof};
use freehold_proto::{
    DomainName, IdentityRecord, KeyId, Malformed, Refusal, RefusalCode, Timestamp,
    hello::{Hello, Role},
    limits, wire,
};

use crate::{LinkError, PeerMisbehaved, PeerUnsupported, Policy, StreamPosition};

/// Shortest and longest time after which a hello is repeated.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Longest text of a peer's refusal that is kept.
const DETAIL_CHARS_MAX: usize = 200;

/// What we prove ourselves with: one key and the record that lists it.
#[derive(Debug)]
pub(crate) struct Ourselves {
    pub(crate) signer: Signer,
    pub(crate) record: Arc<VerifiedRecord>,
}

/// What both ends of one TLS connection can measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    /// Bytes exported from the connection.
    pub(crate) exporter: [u8; 32],
    /// SHA-256 of the other end's TLS key.
    pub(crate) tls_key_hash: [u8; 32],
}

impl Ourselves {
    pub(crate) fn new(ring: &KeyRing) -> Self {
        Self {
            signer: ring.signer().fixed(),
            record: Arc::new(ring.record().clone()),
        }
    }

    pub(crate) fn domain(&self) -> &DomainName {
        self.signer.domain()
    }

    /// Our hello to `peer`, as initiator.
    pub(crate) fn request(
        &self,
        peer: &DomainName,
        channel: &Channel,
        received: StreamPosition,
    ) -> wire::HelloRequest {
        wire::HelloRequest {
            version: limits::VERSION,
            from: self.domain().to_string(),
            to: peer.to_string(),
            key_id: self.signer.key_id().as_bytes().to_vec().into(),
            record_hash: self.record.hash().to_vec().into(),
            signature: self.signature(Role::Initiator, peer, channel),
            received: Some(received.into()),
        }
    }

    /// Our answer to the hello of `peer`, which has been proven.
    pub(crate) fn answer(
        &self,
        peer: &DomainName,
        channel: &Channel,
        received: StreamPosition,
    ) -> wire::HelloAccepted {
        wire::HelloAccepted {
            version: limits::VERSION,
            key_id: self.signer.key_id().as_bytes().to_vec().into(),
            record_hash: self.record.hash().to_vec().into(),
            signature: self.signature(Role::Acceptor, peer, channel),
            received: Some(received.into()),
        }
    }

    fn signature(&self, role: Role, peer: &DomainName, channel: &Channel) -> Bytes {
        let hello = Hello {
            role,
            from: self.domain(),
            to: peer,
            key_id: self.signer.key_id(),
            record_hash: self.record.hash(),
            exporter: channel.exporter,
        };
        prove(&hello, &self.signer).to_vec().into()
    }
}

/// A well-formed hello: who somebody says they are.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) from: DomainName,
    pub(crate) to: DomainName,
    pub(crate) record_hash: [u8; 32],
    key_id: KeyId,
    signature: Vec<u8>,
}

impl Claim {
    /// Reads a hello.
    pub(crate) fn read(request: &wire::HelloRequest) -> Result<Self, Refusal> {
        if request.version != limits::VERSION {
            let (version, ours) = (request.version, limits::VERSION);
            let detail = format!("version {version} is not spoken here, version {ours} is");
            return Err(Refusal::new(RefusalCode::UnsupportedVersion, detail));
        }
        Ok(Self {
            from: request.from.parse()?,
            to: request.to.parse()?,
            record_hash: hash(&request.record_hash)?,
            key_id: KeyId::from_slice(&request.key_id)?,
            signature: request.signature.to_vec(),
        })
    }

    /// May this claim be looked into at all? Asked before anything is looked up on its word.
    pub(crate) fn admit(&self, us: &DomainName, policy: &Policy) -> Result<(), Refusal> {
        if self.to != *us {
            let detail = format!("{} is not served here", self.to);
            return Err(Refusal::new(RefusalCode::WrongAudience, detail));
        }
        if self.from == *us {
            return Err(Refusal::new(
                RefusalCode::HelloUnproven,
                "that is our own name",
            ));
        }
        if !policy.permits(&self.from) {
            return Err(Refusal::new(RefusalCode::Denied, "by policy"));
        }
        Ok(())
    }

    /// Is the claim proven on this connection?
    pub(crate) fn verify(
        &self,
        record: &IdentityRecord,
        channel: &Channel,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let hello = Hello {
            role: Role::Initiator,
            from: &self.from,
            to: &self.to,
            key_id: self.key_id,
            record_hash: self.record_hash,
            exporter: channel.exporter,
        };
        verify_proof(&hello, &self.signature, record, &channel.tls_key_hash, now)
    }
}

/// What the acceptor says to our hello.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It believes us, and this is its own proof.
    Accepted(Box<wire::HelloAccepted>),
    /// It is still looking us up.
    Pending(Duration),
    /// It does not want us.
    Refused(Refusal),
}

impl Answer {
    pub(crate) fn read(response: wire::HelloResponse) -> Result<Self, PeerMisbehaved> {
        use wire::hello_response::Outcome;
        match response.outcome {
            Some(Outcome::Accepted(accepted)) => Ok(Self::Accepted(Box::new(accepted))),
            Some(Outcome::Pending(pending)) => {
                let asked = Duration::from_millis(pending.retry_after_ms.into());
                Ok(Self::Pending(asked.clamp(RETRY_MIN, RETRY_MAX)))
            }
            Some(Outcome::Refused(refused)) => Ok(Self::Refused(read_refusal(refused))),
            None => Err(PeerMisbehaved::BadAnswer("hello without an outcome")),
        }
    }
}

/// Checks the acceptor's own proof against its pinned record.
pub(crate) fn verify_answer(
    accepted: &wire::HelloAccepted,
    us: &DomainName,
    record: &IdentityRecord,
    channel: &Channel,
    now: Timestamp,
) -> Result<(), LinkError> {
    let peer = &record.domain;
    if accepted.version != limits::VERSION {
        return Err(LinkError::Unsupported {
            peer: peer.clone(),
            what: PeerUnsupported::Version(accepted.version),
        });
    }
    let verify = || -> Result<(), Refusal> {
        let hello = Hello {
            role: Role::Acceptor,
            from: peer,
            to: us,
            key_id: KeyId::from_slice(&accepted.key_id)?,
            record_hash: hash(&accepted.record_hash)?,
            exporter: channel.exporter,
        };
        verify_proof(
            &hello,
            &accepted.signature,
            record,
            &channel.tls_key_hash,
            now,
        )
    };
    verify().map_err(|refusal| LinkError::Misbehaved {
        peer: peer.clone(),
        what: PeerMisbehaved::Unproven(refusal),
    })
}

/// A refusal as it came, its text cut to a length that is safe to keep.
pub(crate) fn read_refusal(refused: wire::Refused) -> Refusal {
    let detail: String = refused.text.chars().take(DETAIL_CHARS_MAX).collect();
    Refusal::new(RefusalCode::from_number(refused.code), detail)
}

/// A refusal as it goes out.
pub(crate) fn write_refusal(refusal: Refusal) -> wire::Refused {
    wire::Refused {
        code: refusal.code.number(),
        text: refusal.detail,
    }
}

fn hash(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_| Malformed::Layout {
        what: "hello",
        why: "the record hash is not 32 bytes",
    })
}

impl From<StreamPosition> for wire::StreamPosition {
    fn from(position: StreamPosition) -> Self {
        Self {
            epoch: position.epoch,
            position: position.position,
        }
    }
}

impl From<wire::StreamPosition> for StreamPosition {
    fn from(position: wire::StreamPosition) -> Self {
        Self {
            epoch: position.epoch,
            position: position.position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> wire::HelloRequest {
        wire::HelloRequest {
            version: 1,
            from: "alpha.test".to_owned(),
            to: "beta.test".to_owned(),
            key_id: vec![1; 16].into(),
            record_hash: vec![2; 32].into(),
            signature: vec![3; 64].into(),
            received: None,
        }
    }

    #[track_caller]
    fn check(change: impl Fn(&mut wire::HelloRequest), policy: &Policy, code: RefusalCode) {
        let mut request = request();
        change(&mut request);
        let us = "beta.test".parse().unwrap();
        let refusal = Claim::read(&request)
            .and_then(|claim| claim.admit(&us, policy))
            .unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
    }

    #[test]
    fn a_hello_is_refused_before_anything_is_looked_up() {
        let open = Policy::default();
        check(|it| it.version = 2, &open, RefusalCode::UnsupportedVersion);
        check(
            |it| it.from = "Alpha.test".to_owned(),
            &open,
            RefusalCode::NameNotCanonical,
        );
        check(
            |it| it.to = "beta.test.".to_owned(),
            &open,
            RefusalCode::NameNotCanonical,
        );
        check(
            |it| it.key_id = vec![1; 15].into(),
            &open,
            RefusalCode::Malformed,
        );
        check(
            |it| it.record_hash = vec![].into(),
            &open,
            RefusalCode::Malformed,
        );
        check(
            |it| it.to = "gamma.test".to_owned(),
            &open,
            RefusalCode::WrongAudience,
        );
        check(
            |it| it.from = "beta.test".to_owned(),
            &open,
            RefusalCode::HelloUnproven,
        );
        let denied = Policy::open(["alpha.test".parse().unwrap()]);
        check(|_| (), &denied, RefusalCode::Denied);
    }

    #[test]
    fn a_peer_cannot_make_us_hurry_or_wait() {
        let pending = |retry_after_ms| {
            let outcome =
                wire::hello_response::Outcome::Pending(wire::HelloPending { retry_after_ms });
            match Answer::read(wire::HelloResponse {
                outcome: Some(outcome),
            }) {
                Ok(Answer::Pending(delay)) => delay,
                other => unreachable!("{other:?}"),
            }
        };
        assert_eq!(pending(0), RETRY_MIN);
        assert_eq!(pending(300), Duration::from_millis(300));
        assert_eq!(pending(u32::MAX), RETRY_MAX);
    }
}
