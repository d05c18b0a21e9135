//! What has no expiry: whoever leaves, deletes or erases is gone in the end everywhere, however long a
//! domain is away (rules.md 15). A request whose envelope would be too old on arrival is sealed anew;
//! all of these may take effect twice without harm.

use std::time::Duration;

use freehold_proto::{Destination, DomainName, Envelope, Header, Timestamp, wire};
use freehold_store::{
    StoreError, Tables, TopicKey,
    tables::{outbox::RELATION, rows::OutboxRow},
};
use prost::Message as _;
use wire::{group_request::What, payload::Kind};

use super::{
    logs,
    stream::{is_request, pair_of},
};
use crate::topic::message;

/// How old an envelope may become before it is sealed anew. Well below the lifetime of 30 days, for
/// clocks differ and it may wait again.
const FRESH_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Entries of one log looked at for deletions.
const ENTRIES_MAX: usize = 10_000;
/// Of those, read in one go.
const ENTRIES_PAGE: usize = 500;

/// What may not get lost and may be said twice.
fn lasts(what: &What) -> bool {
    match what {
        What::Want(_) | What::Delete(_) | What::Erase(_) | What::Profile(_) => true,
        What::Grant(_) | What::Evict(_) | What::Describe(_) | What::Close(_) => false,
    }
}

/// True for a request that takes something away for good, or somebody out.
pub(crate) fn ends(what: &What) -> bool {
    match what {
        What::Want(want) => want.leaves,
        What::Delete(_) | What::Erase(_) => true,
        _ => false,
    }
}

fn words_of(envelope: &Envelope) -> Option<Kind> {
    wire::Payload::decode(envelope.payload.clone()).ok()?.kind
}

/// True for words of which `counts` holds, if they are a request to the home of a group; for a deletion
/// between two people always.
fn holds(words: &Kind, counts: impl Fn(&What) -> bool) -> bool {
    match words {
        Kind::GroupRequest(request) => request.what.as_ref().is_some_and(counts),
        Kind::DirectDeletion(_) => true,
        _ => false,
    }
}

/// The words of a request that has waited for long and must arrive all the same, to be sealed anew.
pub(super) fn anew(envelope: &Envelope, now: Timestamp) -> Option<(Destination, Kind)> {
    let header = Header::decode(&envelope.header).ok()?;
    if now.since(header.issued_at) < FRESH_FOR {
        return None;
    }
    let words = words_of(envelope).filter(|it| holds(it, lasts))?;
    Some((header.to, words))
}

/// Whether a waiting item takes something away or somebody out: a request of that kind, or the last
/// word of somebody whose account is gone. Blocks.
pub(crate) fn is_ending(tables: &Tables, row: &OutboxRow) -> Result<bool, StoreError> {
    let Some((topic, user)) = pair_of(row) else {
        return Ok(false);
    };
    if row.kind == u32::from(RELATION) {
        return Ok(tables.tombstone(&user)?.is_some());
    }
    if !is_request(row) {
        return Ok(false);
    }
    let stored = tables.request(topic, &row.request)?;
    let envelope = stored.and_then(|it| it.envelope);
    let request = envelope.and_then(message::envelope_of);
    let words = request.and_then(|it| words_of(&it));
    Ok(words.is_some_and(|it| holds(&it, ends)))
}

/// How many entries of a log that a peer has not been told take messages away or somebody out. Looks at
/// the first ten thousand. Blocks.
pub(crate) fn endings_untold(
    tables: &Tables,
    peer: &DomainName,
    topic: TopicKey,
) -> Result<usize, StoreError> {
    let Some(part) = tables.follower(peer, topic)? else {
        return Ok(0);
    };
    let mut after = tables.told(peer, topic)?.max(part.since);
    let end = if part.until > 0 { part.until } else { u64::MAX };
    let (mut found, mut seen) = (0, 0);
    while seen < ENTRIES_MAX {
        let page = tables.log_after(topic, after, ENTRIES_PAGE)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        after = *last;
        seen += page.len();
        for (_, row) in page.iter().filter(|it| it.0 <= end) {
            let change = match row.envelope {
                Some(_) => logs::entry(tables, topic, row)?,
                None => None,
            };
            let payload = change.and_then(|it| wire::Payload::decode(it.1.payload).ok());
            if let Some(Kind::GroupChange(change)) = payload.and_then(|it| it.kind) {
                let goes = change.members.iter().any(|it| it.gone);
                found += usize::from(goes || change.closed || !change.deleted.is_empty());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use freehold_keys::KeyRing;
    use freehold_proto::{GroupId, MessageId};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_request_that_may_not_get_lost_is_sealed_anew_before_it_is_too_old() {
        let dir = tempfile::tempdir().unwrap();
        let us = "alpha.test".parse().unwrap();
        let at = Timestamp::from_millis(1_767_323_045_000).unwrap();
        let (ring, _) = KeyRing::create(&dir.path().join("keys"), &us, at).unwrap();
        let group = Destination::Group(GroupId::from_bytes([3; 16]));
        let sealed = |what| {
            let request = Kind::GroupRequest(wire::GroupRequest {
                actor: String::new(),
                what: Some(what),
            });
            let id = MessageId::from_bytes([1; 16]);
            ring.signer().seal(group.clone(), id, at, request).unwrap()
        };
        let leaves = What::Want(wire::GroupWant {
            leaves: true,
            ..wire::GroupWant::default()
        });
        for what in [
            leaves,
            What::Erase(true),
            What::Delete(wire::GroupDelete::default()),
        ] {
            assert!(ends(&what));
            let envelope = sealed(what.clone());
            assert_eq!(anew(&envelope, at.plus(6 * DAY)), None);
            for days in [7, 40] {
                let (to, kind) = anew(&envelope, at.plus(days * DAY)).unwrap();
                let Kind::GroupRequest(again) = kind else {
                    panic!("{kind:?}");
                };
                assert_eq!((to, again.what), (group.clone(), Some(what.clone())));
            }
        }
        let taken_back = Kind::DirectDeletion(wire::DirectDeletion::default());
        let to = Destination::Domain("beta.test".parse().unwrap());
        let id = MessageId::from_bytes([1; 16]);
        let sealed_at = |kind| ring.signer().seal(to.clone(), id, at, kind).unwrap();
        let waits = sealed_at(taken_back.clone());
        assert_eq!(anew(&waits, at.plus(6 * DAY)), None);
        assert_eq!(
            anew(&waits, at.plus(40 * DAY)),
            Some((to.clone(), taken_back))
        );
        let message = sealed_at(Kind::DirectMessage(wire::DirectMessage::default()));
        assert_eq!(anew(&message, at.plus(40 * DAY)), None);
        // What somebody else has to decide is not asked a month later.
        let evict = sealed(What::Evict("usrAAAAAAAAAAA@beta.test".to_owned()));
        assert_eq!(anew(&evict, at.plus(40 * DAY)), None);
    }
}
