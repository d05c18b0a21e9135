//! Entries of groups' logs: written by anybody, placed by the home. Two domains have signed each, and
//! both signatures are checked wherever one comes in: delivered, or read.

use std::{sync::Arc, time::Duration};

use freehold_keys::{
    Consent, Entry, OpenedPosition, VerifiedRecord, open_entry, open_of_any_age, open_position,
};
use freehold_proto::{
    Destination, DomainName, Envelope, Header, Placed, Position, Refusal, RefusalCode, wire,
    wire::payload::Kind,
};
use tokio::time::timeout;

use crate::engine::Engine;

/// How long an entry may wait for its author's domain to be looked up.
const LOOK_UP: Duration = Duration::from_secs(3);
/// When to offer an entry again whose author's domain could not be looked up.
pub(crate) const AUTHOR_RETRY: Duration = Duration::from_secs(5);
/// Consents in one entry that are looked at.
const CONSENTS_MAX: usize = 64;

/// Why an entry is not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is wrong.
    Never(Refusal),
    /// Its author's domain cannot be looked up now.
    Later(RefusalCode),
}

impl Refused {
    /// Whether it is for want of the key that its author's domain had, and may have no more. The home took
    /// the entry once; after a while it holds up nobody else's words.
    fn lacks_key(&self) -> bool {
        match self {
            Self::Later(_) => true,
            Self::Never(refusal) => refusal.code == RefusalCode::UnknownKey,
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Never(refusal)
    }
}

const LATER: Refused = Refused::Later(RefusalCode::IdentityUnverified);

/// Opens an entry that a peer has placed and hands on.
pub(crate) async fn open(
    engine: &Engine,
    peer: &VerifiedRecord,
    placed: Placed,
    envelope: Envelope,
) -> Result<Entry, Refused> {
    let place = match open_position(placed.clone(), peer.record(), true) {
        Err(refusal) if refusal.code == RefusalCode::UnknownKey => {
            let newer = timeout(LOOK_UP, engine.directory.rechecked(&peer.record().domain));
            let Ok(Ok(newer)) = newer.await else {
                return Err(LATER);
            };
            open_position(placed, newer.record(), true)?
        }
        opened => opened?,
    };
    open_placed(engine, peer, place, envelope).await
}

/// Opens an entry that a peer shows, whichever home of the group has placed it.
pub(crate) async fn open_of_any_home(
    engine: &Engine,
    peer: &VerifiedRecord,
    placed: Placed,
    envelope: Envelope,
) -> Result<Entry, Refused> {
    let home = Position::decode(&placed.position)
        .map_err(Refusal::from)?
        .home;
    let place = match record_of(engine, peer, &home).await? {
        None => open_position(placed, peer.record(), true)?,
        Some(home) => open_position(placed, home.record(), false)?,
    };
    open_placed(engine, peer, place, envelope).await
}

async fn open_placed(
    engine: &Engine,
    peer: &VerifiedRecord,
    place: OpenedPosition,
    envelope: Envelope,
) -> Result<Entry, Refused> {
    let header = Header::decode(&envelope.header).map_err(Refusal::from)?;
    if !engine.config.policy.permits(&header.from) {
        return Ok(unshown(place, envelope, header)?);
    }
    let opened = open_written(engine, peer, place.clone(), envelope.clone()).await;
    let mut entry = match opened {
        Err(refused) if refused.lacks_key() && in_vain(engine, &header) => {
            tracing::warn!(author = %header.from, "the key of an author is not to be had: an entry of a group's log is not shown");
            return Ok(unshown(place, envelope, header)?);
        }
        opened => opened?,
    };
    engine.awaited.had(&header.from, header.key_id);
    if let Some(Kind::GroupChange(change)) = &entry.payload
        && let Some(succession) = change.succession.clone()
    {
        let place = &entry.position;
        entry.consents = consents(engine, peer, place, succession).await?;
    }
    Ok(entry)
}

/// Whether a key has been asked for in vain for long enough to go on without it.
pub(crate) fn in_vain(engine: &Engine, header: &Header) -> bool {
    let now = engine.clock.elapsed();
    engine.awaited.in_vain(&header.from, header.key_id, now)
}

/// An entry that counts in the chain and says nothing.
fn unshown(place: OpenedPosition, envelope: Envelope, header: Header) -> Result<Entry, Refusal> {
    if envelope.header_hash() != place.position.envelope {
        let detail = "the position is that of another envelope";
        return Err(Refusal::new(RefusalCode::PayloadAltered, detail));
    }
    Ok(Entry {
        placed: place.placed,
        position: place.position,
        envelope,
        header,
        payload: None,
        consents: Vec::new(),
    })
}

async fn open_written(
    engine: &Engine,
    peer: &VerifiedRecord,
    place: OpenedPosition,
    envelope: Envelope,
) -> Result<Entry, Refused> {
    let header = Header::decode(&envelope.header).map_err(Refusal::from)?;
    let ours = engine.domain();
    let author = record_of(engine, peer, &header.from).await?;
    let author = author.as_deref().unwrap_or(peer).record();
    if author.is_revoked(header.key_id) {
        return Ok(unshown(place, envelope, header)?);
    }
    match open_entry(place.clone(), envelope.clone(), author) {
        Err(refusal) if refusal.code == RefusalCode::UnknownKey && author.domain != *ours => {
            let newer = record_now(engine, &header.from).await?;
            if newer.record().is_revoked(header.key_id) {
                return Ok(unshown(place, envelope, header)?);
            }
            Ok(open_entry(place, envelope, newer.record())?)
        }
        opened => Ok(opened?),
    }
}

/// The record of a domain, our own included; `None` where it is the peer's, which is at hand. What an
/// entry makes us look up is rationed: whoever hands it on names the domain.
pub(crate) async fn record_of(
    engine: &Engine,
    peer: &VerifiedRecord,
    domain: &DomainName,
) -> Result<Option<Arc<VerifiedRecord>>, Refused> {
    if *domain == peer.record().domain {
        return Ok(None);
    }
    if domain == engine.domain() {
        return Ok(Some(Arc::clone(&engine.identity.get().ours.record)));
    }
    match timeout(LOOK_UP, engine.directory.mentioned(domain)).await {
        Ok(Ok(record)) => Ok(Some(record)),
        _ => Err(LATER),
    }
}

/// The record of a domain as it is now, where the one at hand may be too old.
pub(crate) async fn record_now(
    engine: &Engine,
    domain: &DomainName,
) -> Result<Arc<VerifiedRecord>, Refused> {
    match timeout(LOOK_UP, engine.directory.rechecked(domain)).await {
        Ok(Ok(record)) => Ok(record),
        _ => Err(LATER),
    }
}

/// The consents in an entry that hold: signed by whom they claim, for this group.
async fn consents(
    engine: &Engine,
    peer: &VerifiedRecord,
    place: &Position,
    succession: wire::GroupSuccession,
) -> Result<Vec<Consent>, Refused> {
    let (mut held, mut unknown) = (Vec::new(), false);
    for envelope in succession.consents.into_iter().take(CONSENTS_MAX) {
        let Ok(envelope) = Envelope::try_from(envelope) else {
            continue;
        };
        let Ok(header) = Header::decode(&envelope.header) else {
            continue;
        };
        let Ok(record) = record_of(engine, peer, &header.from).await else {
            // Whoever cannot be looked up now might be one of those that make the difference.
            unknown |= !in_vain(engine, &header);
            continue;
        };
        let record = record.as_deref().unwrap_or(peer).record();
        let opened = open_of_any_age(envelope, record).ok();
        let to = Destination::Group(place.group);
        if let Some(opened) = opened.filter(|it| it.header.to == to)
            && let Kind::GroupConsent(words) = opened.payload
        {
            let domain = opened.header.from;
            held.push(Consent { domain, words });
        }
    }
    // Whether they suffice is judged where the group is known.
    match unknown {
        true => Err(LATER),
        false => Ok(held),
    }
}
