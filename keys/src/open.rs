//! Opening an envelope: everything that can be checked from its bytes and the origin's record.
//! Verifies only; never writes (PROTOCOL.md section 6).

use freehold_proto::{
    Destination, DomainName, Envelope, Header, IdentityRecord, Placed, Position, Refusal,
    RefusalCode, Timestamp, envelope::CONTEXT, limits, position, wire,
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

/// What a group's home says of an entry of its log, and its signature holds.
#[derive(Clone, Debug)]
pub struct OpenedPosition {
    /// The bytes as received.
    pub placed: Placed,
    /// What was signed.
    pub position: Position,
}

/// An entry of a group's log: everything about it holds.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place, as received.
    pub placed: Placed,
    /// What the home signed.
    pub position: Position,
    /// The author's bytes, as received.
    pub envelope: Envelope,
    /// What the author's domain signed.
    pub header: Header,
    /// What it says; `None` when that has been erased, or is of a kind that this version does not know.
    pub payload: Option<wire::payload::Kind>,
    /// Of an entry that names another home: consents in it that hold, each with the domain that gave it.
    pub consents: Vec<Consent>,
}

/// What a domain has agreed to.
#[derive(Clone, Debug, PartialEq)]
pub struct Consent {
    /// By its signature.
    pub domain: DomainName,
    /// What it says.
    pub words: wire::GroupConsent,
}

/// Checks an envelope that claims to come from `record`'s domain.
pub fn open(
    envelope: Envelope,
    record: &IdentityRecord,
    now: Timestamp,
) -> Result<Opened, Refusal> {
    let header = Header::decode(&envelope.header)?;
    let oldest = now.minus(limits::ENVELOPE_LIFETIME_MAX + limits::CLOCK_SKEW_MAX);
    if header.from == record.domain
        && (header.issued_at > now.plus(limits::CLOCK_SKEW_MAX) || header.issued_at < oldest)
    {
        let detail = format!("issued at {}, and it is {now}", header.issued_at);
        return Err(Refusal::new(RefusalCode::OutsideLifetime, detail));
    }
    verified(envelope, header, record)
}

/// The same whatever its age: what the home of a group keeps may be old.
pub fn open_of_any_age(envelope: Envelope, record: &IdentityRecord) -> Result<Opened, Refusal> {
    let header = Header::decode(&envelope.header)?;
    verified(envelope, header, record)
}

/// Checks the position of an entry against the record of the home that claims to have given it.
/// `shown_by_home` says that the home itself shows it, on a connection proven with a key that counts: then
/// its word counts for what it placed under any key of its own, revoked or not.
pub fn open_position(
    placed: Placed,
    home: &IdentityRecord,
    shown_by_home: bool,
) -> Result<OpenedPosition, Refusal> {
    let position = Position::decode(&placed.position)?;
    let refuse = |code, detail: &str| Err(Refusal::new(code, detail));
    if position.home != home.domain {
        return refuse(
            RefusalCode::OriginNotAuthenticated,
            "the position is another domain's",
        );
    }
    let key = match shown_by_home {
        true => home.listed_key(position.key_id),
        false => home.unrevoked_key(position.key_id, position.placed_at),
    };
    let Some(key) = key else {
        return refuse(
            RefusalCode::UnknownKey,
            "the home had no such key at that time",
        );
    };
    if !verify(
        &key.public_key,
        position::CONTEXT,
        &placed.position,
        &placed.signature,
    ) {
        return refuse(
            RefusalCode::BadSignature,
            "the signature over the position does not hold",
        );
    }
    Ok(OpenedPosition { placed, position })
}

/// Checks the envelope of an entry of a group's log, whose position was checked before. It may be of
/// any age: what counts is that it was fresh when the home took it. Its words may have been erased, or be
/// of a later version: the log goes on behind them, and who hands them on hands on the bytes.
pub fn open_entry(
    place: OpenedPosition,
    envelope: Envelope,
    author: &IdentityRecord,
) -> Result<Entry, Refusal> {
    let header = Header::decode(&envelope.header)?;
    let refuse = |code, detail: &str| Err(Refusal::new(code, detail));
    if envelope.header_hash() != place.position.envelope {
        return refuse(
            RefusalCode::PayloadAltered,
            "the position is that of another envelope",
        );
    }
    if header.to != Destination::Group(place.position.group) {
        return refuse(RefusalCode::WrongDestination, "written for another group");
    }
    let payload = if envelope.is_erased() {
        check_header(&envelope, &header, author)?;
        None
    } else {
        check_header(&envelope, &header, author)?;
        payload_of(&envelope, &header)?
    };
    Ok(Entry {
        placed: place.placed,
        position: place.position,
        envelope,
        header,
        payload,
        consents: Vec::new(),
    })
}

/// Checks everything but the age of an envelope.
fn verified(
    envelope: Envelope,
    header: Header,
    record: &IdentityRecord,
) -> Result<Opened, Refusal> {
    check_header(&envelope, &header, record)?;
    let payload = payload_of(&envelope, &header)?.ok_or_else(|| {
        let detail = "the payload has no known kind";
        Refusal::new(RefusalCode::UnsupportedKind, detail)
    })?;
    Ok(Opened {
        envelope,
        header,
        payload,
    })
}

/// The payload that the header was signed for; `None` if it is of a kind that this version does not know.
fn payload_of(
    envelope: &Envelope,
    header: &Header,
) -> Result<Option<wire::payload::Kind>, Refusal> {
    let refuse = |code, detail: &str| Refusal::new(code, detail);
    if Envelope::payload_hash(&envelope.salt, &envelope.payload) != header.payload_hash {
        let detail = "the payload's hash is another";
        return Err(refuse(RefusalCode::PayloadAltered, detail));
    }
    let payload = wire::Payload::decode(envelope.payload.clone());
    let payload =
        payload.map_err(|_| refuse(RefusalCode::Malformed, "the payload is not protobuf"))?;
    Ok(payload.kind)
}

/// Checks origin, key and signature.
fn check_header(
    envelope: &Envelope,
    header: &Header,
    record: &IdentityRecord,
) -> Result<(), Refusal> {
    let refuse = |code, detail: &str| Err(Refusal::new(code, detail));
    if header.from != record.domain {
        return refuse(
            RefusalCode::OriginNotAuthenticated,
            "the origin is another domain",
        );
    }
    if record.is_revoked(header.key_id) {
        return refuse(RefusalCode::UnknownKey, "the key was revoked");
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
    Ok(())
}
