//! Entries of groups' logs, which a home hands on: written by anybody, placed by the home. Two domains
//! have signed each, and both signatures are checked wherever one comes in: delivered, or read.

use std::time::Duration;

use freehold_keys::{Entry, VerifiedRecord, open_entry, open_position};
use freehold_proto::{Envelope, Header, Placed, Refusal, RefusalCode};
use tokio::time::timeout;

use crate::engine::Engine;

/// How long an entry may wait for its author's domain to be looked up.
const LOOK_UP: Duration = Duration::from_secs(3);

/// Why an entry is not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is wrong.
    Never(Refusal),
    /// Its author's domain cannot be looked up now.
    Later(RefusalCode),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Never(refusal)
    }
}

/// Opens an entry that `home` hands on.
pub(crate) async fn open(
    engine: &Engine,
    home: &VerifiedRecord,
    placed: Placed,
    envelope: Envelope,
) -> Result<Entry, Refused> {
    let place = open_position(placed, home.record())?;
    let header = Header::decode(&envelope.header).map_err(Refusal::from)?;
    if header.from == home.record().domain {
        return Ok(open_entry(place, envelope, home.record())?);
    }
    if header.from == *engine.ours.domain() {
        return Ok(open_entry(place, envelope, engine.ours.record.record())?);
    }
    let later = Refused::Later(RefusalCode::IdentityUnverified);
    let Ok(Ok(author)) = timeout(LOOK_UP, engine.directory.peer(&header.from)).await else {
        return Err(later);
    };
    match open_entry(place.clone(), envelope.clone(), author.record()) {
        Err(refusal) if refusal.code == RefusalCode::UnknownKey => {
            let Ok(Ok(newer)) = timeout(LOOK_UP, engine.directory.rechecked(&header.from)).await
            else {
                return Err(later);
            };
            Ok(open_entry(place, envelope, newer.record())?)
        }
        opened => Ok(opened?),
    }
}
