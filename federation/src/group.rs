//! Reading a group at its home: how it stands, or a part of its log.

use std::sync::Arc;

use freehold_keys::{Entry, Opened, VerifiedRecord, open_of_any_age, open_position};
use freehold_proto::{
    Destination, Envelope, GroupId, Header, Malformed, Refusal, RefusalCode, wire,
    wire::payload::Kind,
};

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
    let feed = matches!(
        query,
        GroupQuery::Channel | GroupQuery::FeedAfter(_) | GroupQuery::FeedBefore(_)
    );
    let listed = query == GroupQuery::Listed;
    let what = match query {
        GroupQuery::State(after) => {
            asked::What::State(after.map(|it| it.to_string()).unwrap_or_default())
        }
        GroupQuery::Channel | GroupQuery::Listed => asked::What::State(String::new()),
        GroupQuery::EntriesAfter(index) | GroupQuery::FeedAfter(index) => {
            asked::What::EntriesAfter(index)
        }
        GroupQuery::MessagesBefore(order) | GroupQuery::FeedBefore(order) => {
            asked::What::MessagesBefore(order)
        }
        GroupQuery::Ballot(ballot) => asked::What::Ballot(ballot),
    };
    let request = wire::ReadGroupRequest {
        from: engine.domain().to_string(),
        to: peer.domain.to_string(),
        group: group.as_bytes().to_vec().into(),
        what: Some(what),
        feed,
        listed,
    };
    let response = link.read_group(request, engine.config.call_timeout).await?;
    let record = engine.directory.peer(&peer.domain).await;
    let record = record.map_err(|_| bad(&link, "its record is gone"))?;
    match response.what {
        None => Ok(None),
        Some(What::State(mut state)) if feed => {
            let wrong = || bad(&link, "the head of a feed does not hold");
            let head = match state.head.take() {
                None => None,
                Some(placed) => {
                    let placed = placed.try_into().map_err(|_: Malformed| wrong())?;
                    let head = open_position(placed, record.record(), true).map_err(|_| wrong())?;
                    let fits = head.position.feed && head.position.group == group;
                    Some(Box::new(fits.then_some(head).ok_or_else(wrong)?))
                }
            };
            let state = Box::new(state);
            Ok(Some(GroupAnswer::Channel { head, state }))
        }
        Some(What::State(state)) if listed => Ok(Some(GroupAnswer::Listed(Box::new(state)))),
        Some(What::State(mut state)) => {
            let wrong = || bad(&link, "the head of the log does not hold");
            let placed = state.head.take().ok_or_else(wrong)?;
            let placed = placed.try_into().map_err(|_: Malformed| wrong())?;
            let head = open_position(placed, record.record(), true).map_err(|_| wrong())?;
            if head.position.group != group || head.position.feed {
                return Err(wrong());
            }
            let (head, state) = (Box::new(head), Box::new(state));
            Ok(Some(GroupAnswer::State { head, state }))
        }
        Some(What::Consent(envelope)) => {
            let consent = open_consent(&record, group, envelope);
            let consent = consent.ok_or_else(|| bad(&link, "a consent does not hold"))?;
            Ok(Some(GroupAnswer::Consent(Box::new(consent))))
        }
        Some(What::Page(page)) if page.entries.len() + page.past.len() <= PAGE_MAX => {
            let mut entries = Vec::with_capacity(page.entries.len());
            for entry in page.entries {
                let opened = Box::pin(open(engine, &link, &record, (group, feed), entry));
                entries.push(opened.await?);
            }
            let mut past = Vec::with_capacity(page.past.len());
            for message in page.past {
                let opened = Box::pin(open_past(engine, &record, group, message));
                match opened.await {
                    Ok(message) => past.push(message),
                    Err(Refused::Never(refusal)) => {
                        tracing::warn!(peer = %link.peer(), %refusal, fault = "peer", "a message of a group's past does not hold");
                        return Err(bad(&link, "a message of the past does not hold"));
                    }
                    Err(Refused::Later(_)) => return Err(author_unknown()),
                }
            }
            Ok(Some(GroupAnswer::Page(entries, past, page.more)))
        }
        Some(What::Page(_)) => Err(bad(&link, "too many entries in one page")),
    }
}

async fn open(
    engine: &Engine,
    link: &Established,
    home: &VerifiedRecord,
    (group, feed): (GroupId, bool),
    entry: wire::LogEntry,
) -> Result<Entry, LinkError> {
    let parts = || -> Option<(freehold_proto::Placed, Envelope)> {
        let placed = entry.placed?.try_into().ok()?;
        Some((placed, entry.envelope?.try_into().ok()?))
    };
    let (placed, envelope) = parts().ok_or_else(|| bad(link, "an entry is not whole"))?;
    match entries::open_of_any_home(engine, home, placed, envelope).await {
        Ok(entry) if entry.position.group == group && entry.position.feed == feed => Ok(entry),
        Ok(_) => Err(bad(link, "an entry of another group")),
        Err(Refused::Never(refusal)) => {
            tracing::warn!(peer = %link.peer(), %refusal, fault = "peer", "an entry of a group's log does not hold");
            Err(bad(link, "an entry does not hold"))
        }
        Err(Refused::Later(_)) => Err(author_unknown()),
    }
}

fn author_unknown() -> LinkError {
    LinkError::Ours("the domain of an author cannot be looked up now".to_owned())
}

/// What the home says was written before the group spanned domains.
async fn open_past(
    engine: &Engine,
    peer: &VerifiedRecord,
    group: GroupId,
    past: wire::PastMessage,
) -> Result<Past, Refused> {
    let malformed = || Refusal::new(RefusalCode::Malformed, "a message of the past is not whole");
    let envelope: Envelope = past
        .envelope
        .and_then(|it| it.try_into().ok())
        .ok_or_else(malformed)?;
    let header = Header::decode(&envelope.header).map_err(Refusal::from)?;
    let from = header.from.clone();
    // A home that came later hands on what the first one has vouched for.
    let record = entries::record_of(engine, peer, &from).await?;
    let known = record.as_deref().unwrap_or(peer).record();
    let unknown = |it: &Refusal| it.code == RefusalCode::UnknownKey;
    let mut opened = open_of_any_age(envelope.clone(), known);
    if from != *engine.domain() && opened.as_ref().is_err_and(unknown) {
        let newer = entries::record_now(engine, &from).await?;
        opened = open_of_any_age(envelope, newer.record());
    }
    let envelope = match opened {
        Err(refusal) if unknown(&refusal) && entries::in_vain(engine, &header) => None,
        opened => Some(opened?),
    };
    if envelope.is_some() {
        engine.awaited.had(&header.from, header.key_id);
    }
    if header.to != Destination::Group(group) {
        let detail = "a message of the past of another group";
        return Err(Refusal::new(RefusalCode::PayloadAltered, detail).into());
    }
    Ok(Past {
        order: past.order,
        envelope,
    })
}

/// What a peer has agreed to, in its own words.
fn open_consent(peer: &VerifiedRecord, group: GroupId, envelope: wire::Envelope) -> Option<Opened> {
    let opened = open_of_any_age(envelope.try_into().ok()?, peer.record()).ok()?;
    let fits = opened.header.to == Destination::Group(group)
        && matches!(opened.payload, Kind::GroupConsent(_));
    fits.then_some(opened)
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
    if request.feed {
        let query = match &request.what {
            Some(What::State(after)) if after.is_empty() => GroupQuery::Channel,
            Some(What::EntriesAfter(index)) => GroupQuery::FeedAfter(*index),
            Some(What::MessagesBefore(order)) => GroupQuery::FeedBefore(*order),
            _ => return Err(malformed("that is not asked of a feed")),
        };
        return Ok((GroupId::from_bytes(group), query));
    }
    let query = match &request.what {
        Some(What::State(after)) if after.is_empty() && request.listed => GroupQuery::Listed,
        Some(What::State(after)) if after.is_empty() => GroupQuery::State(None),
        Some(What::State(after)) => GroupQuery::State(Some(after.parse()?)),
        Some(What::EntriesAfter(index)) => GroupQuery::EntriesAfter(*index),
        Some(What::MessagesBefore(order)) => GroupQuery::MessagesBefore(*order),
        Some(What::Ballot(ballot)) => GroupQuery::Ballot(ballot.clone()),
        None => return Err(malformed("nothing is asked of the group")),
    };
    Ok((GroupId::from_bytes(group), query))
}
