//! Reading a group at its home: how it stands, or a part of its log.

use std::sync::Arc;

use freehold_keys::{Entry, VerifiedRecord, open_of_any_age, open_position};
use freehold_proto::{Destination, Envelope, GroupId, Malformed, Refusal, RefusalCode, wire};

use crate::{
    GroupAnswer, GroupQuery, LinkError, Past, PeerMisbehaved,
    engine::Engine,
    entries::{self, Refused},
    link::Established,
    peer::{Peer, Urgency},
};

/// Entries in one page at most.
pub(crate) const PAGE_MAX: usize = 1000;

/// Asks `peer`. `None`: we have no part in such a group there.
pub(crate) async fn read(
    engine: &Arc<Engine>,
    peer: &Arc<Peer>,
    group: GroupId,
    query: GroupQuery,
) -> Result<Option<GroupAnswer>, LinkError> {
    use wire::{read_group_request as asked, read_group_response::What};
    let link = engine.link(peer, Urgency::Usual).await?;
    let what = match query {
        GroupQuery::State(after) => {
            asked::What::State(after.map(|it| it.to_string()).unwrap_or_default())
        }
        GroupQuery::EntriesAfter(index) => asked::What::EntriesAfter(index),
        GroupQuery::MessagesBefore(order) => asked::What::MessagesBefore(order),
    };
    let request = wire::ReadGroupRequest {
        from: engine.ours.domain().to_string(),
        to: peer.domain.to_string(),
        group: group.as_bytes().to_vec().into(),
        what: Some(what),
    };
    let response = link.read_group(request, engine.config.call_timeout).await?;
    let record = engine.directory.peer(&peer.domain).await;
    let record = record.map_err(|_| bad(&link, "its record is gone"))?;
    match response.what {
        None => Ok(None),
        Some(What::State(mut state)) => {
            let wrong = || bad(&link, "the head of the log does not hold");
            let placed = state.head.take().ok_or_else(wrong)?;
            let placed = placed.try_into().map_err(|_: Malformed| wrong())?;
            let head = open_position(placed, record.record()).map_err(|_| wrong())?;
            if head.position.group != group {
                return Err(wrong());
            }
            let (head, state) = (Box::new(head), Box::new(state));
            Ok(Some(GroupAnswer::State { head, state }))
        }
        Some(What::Page(page)) if page.entries.len() + page.past.len() <= PAGE_MAX => {
            let mut entries = Vec::with_capacity(page.entries.len());
            for entry in page.entries {
                entries.push(open(engine, &link, &record, group, entry).await?);
            }
            let past = page.past.into_iter();
            let past = past.map(|it| open_past(&record, group, it));
            let past: Option<Vec<Past>> = past.collect();
            let past = past.ok_or_else(|| bad(&link, "a message of the past does not hold"))?;
            Ok(Some(GroupAnswer::Page(entries, past, page.more)))
        }
        Some(What::Page(_)) => Err(bad(&link, "too many entries in one page")),
    }
}

async fn open(
    engine: &Engine,
    link: &Established,
    home: &VerifiedRecord,
    group: GroupId,
    entry: wire::LogEntry,
) -> Result<Entry, LinkError> {
    let parts = || -> Option<(freehold_proto::Placed, Envelope)> {
        let placed = entry.placed?.try_into().ok()?;
        Some((placed, entry.envelope?.try_into().ok()?))
    };
    let (placed, envelope) = parts().ok_or_else(|| bad(link, "an entry is not whole"))?;
    match entries::open(engine, home, placed, envelope).await {
        Ok(entry) if entry.position.group == group => Ok(entry),
        Ok(_) => Err(bad(link, "an entry of another group")),
        Err(Refused::Never(refusal)) => {
            tracing::warn!(peer = %link.peer(), %refusal, fault = "peer", "an entry of a group's log does not hold");
            Err(bad(link, "an entry does not hold"))
        }
        Err(Refused::Later(_)) => Err(LinkError::Ours(
            "the domain of an author cannot be looked up now".to_owned(),
        )),
    }
}

/// What the home says was written before the group spanned domains.
fn open_past(home: &VerifiedRecord, group: GroupId, past: wire::PastMessage) -> Option<Past> {
    let envelope: Envelope = past.envelope?.try_into().ok()?;
    let envelope = open_of_any_age(envelope, home.record()).ok()?;
    let fits = envelope.header.to == Destination::Group(group);
    fits.then_some(Past {
        order: past.order,
        envelope,
    })
}

fn bad(link: &Established, what: &'static str) -> LinkError {
    link.misbehaved(PeerMisbehaved::BadAnswer(what))
}

/// Reads what a peer asks.
pub(crate) fn read_query(
    request: &wire::ReadGroupRequest,
) -> Result<(GroupId, GroupQuery), Refusal> {
    use wire::read_group_request::What;
    let malformed = |why: &str| Refusal::new(RefusalCode::Malformed, why);
    let group = <[u8; 16]>::try_from(&*request.group)
        .map_err(|_| malformed("the id of a group has 16 bytes"))?;
    let query = match &request.what {
        Some(What::State(after)) if after.is_empty() => GroupQuery::State(None),
        Some(What::State(after)) => GroupQuery::State(Some(after.parse()?)),
        Some(What::EntriesAfter(index)) => GroupQuery::EntriesAfter(*index),
        Some(What::MessagesBefore(order)) => GroupQuery::MessagesBefore(*order),
        None => return Err(malformed("nothing is asked of the group")),
    };
    Ok((GroupId::from_bytes(group), query))
}
