//! Opening an envelope: everything that can be checked from its bytes and the origin's record.
//! Verifies only; never writes (PROTOCOL.md section 6).

use freehold_proto::{
    Envelope, Header, IdentityRecord, Refusal, RefusalCode, Timestamp, envelope::CONTEXT, limits,
    wire,
};
use prost::Message as _;

use crate::verify;

/// An envelope whose signature and payload hold.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The bytes as received.
    pub envelope: Envelope,
    /// What was signed.
    pub header: Header,
    /// What it says.
    pub payload: wire::payload::Kind,
}

/// Checks an envelope that claims to come from `record`'s domain.
pub fn open(
    envelope: Envelope,
    record: &IdentityRecord,
    now: Timestamp,
) -> Result<Opened, Refusal> {
    let header = Header::decode(&envelope.header)?;
    let refuse = |code, detail: &str| Err(Refusal::new(code, detail));
    if header.from != record.domain {
        return refuse(
            RefusalCode::OriginNotAuthenticated,
            "the origin is another domain",
        );
    }
    let oldest = now.minus(limits::ENVELOPE_LIFETIME_MAX + limits::CLOCK_SKEW_MAX);
    if header.issued_at > now.plus(limits::CLOCK_SKEW_MAX) || header.issued_at < oldest {
        let detail = format!("issued at {}, and it is {now}", header.issued_at);
        return refuse(RefusalCode::OutsideLifetime, &detail);
    }
    let Some(key) = record.signing_key(header.key_id, header.issued_at) else {
        return refuse(RefusalCode::UnknownKey, "no such key at that time");
    };
    if !verify(
        &key.public_key,
        CONTEXT,
        &envelope.header,
        &envelope.signature,
    ) {
        return refuse(
            RefusalCode::BadSignature,
            "the signature over the header does not hold",
        );
    }
    if Envelope::payload_hash(&envelope.salt, &envelope.payload) != header.payload_hash {
        return refuse(RefusalCode::PayloadAltered, "the payload's hash is another");
    }
    let payload = wire::Payload::decode(envelope.payload.clone())
        .map_err(|_| Refusal::new(RefusalCode::Malformed, "the payload is not protobuf"))?
        .kind
        .ok_or_else(|| {
            Refusal::new(
                RefusalCode::UnsupportedKind,
                "the payload has no known kind",
            )
        })?;
    Ok(Opened {
        envelope,
        header,
        payload,
    })
}
