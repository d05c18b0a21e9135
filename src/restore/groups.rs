//! Groups whose home we are: what we signed, and the copy of the store does not hold, comes back from
//! domains that follow them, so that nothing else is ever signed in its place.

use std::{collections::BTreeSet, sync::Arc};

use freehold_federation::{Federation, GroupAnswer, GroupQuery};
use freehold_proto::{DomainName, GroupId};
use freehold_store::{StoreError, Tables, TopicKey};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::PAGE;
use crate::{
    server::Server,
    topic::{Command, TopicName, hub::Hub},
};

/// Pages read of one group at one domain.
const PAGES_MAX: usize = 10_000;

/// Has the log of every group of ours go on where the furthest of these domains has it; returns how many
/// entries came back.
pub(super) async fn regain_all(
    server: &Arc<Server>,
    federation: &Federation,
    peers: &[DomainName],
) -> Result<u64, StoreError> {
    let (mut after, mut regained) = (None, 0);
    loop {
        let read = move |tables: &Tables| tables.rooms(after, PAGE);
        let page = server.tables.read(read).await?;
        let Some((last, _)) = page.last() else {
            return Ok(regained);
        };
        after = Some(*last);
        let ours = page
            .into_iter()
            .filter(|(_, row)| row.home.is_empty() && row.epoch > 0 && row.deleted == 0);
        for (key, row) in ours {
            let group = GroupId::of_record(&row.record);
            for peer in followers(server, key, peers).await? {
                regained += regain(server, federation, (group, key), &peer).await?;
            }
        }
    }
}

/// Those of these domains that have or had somebody in a group.
async fn followers(
    server: &Server,
    key: TopicKey,
    peers: &[DomainName],
) -> Result<BTreeSet<DomainName>, StoreError> {
    let (mut after, mut domains) = (None, BTreeSet::new());
    loop {
        let read = move |tables: &Tables| tables.members(key, after.as_ref(), PAGE);
        let page = server.tables.read(read).await?;
        after = page.last().cloned();
        if after.is_none() {
            return Ok(domains);
        }
        let theirs = page.iter().map(|it| it.domain());
        domains.extend(theirs.filter(|it| peers.contains(it)).cloned());
    }
}

/// Reads on behind the last entry that we know, as far as a domain has more.
async fn regain(
    server: &Arc<Server>,
    federation: &Federation,
    (group, key): (GroupId, TopicKey),
    peer: &DomainName,
) -> Result<u64, StoreError> {
    let read = move |tables: &Tables| tables.log_head(key);
    let begun = server.tables.read(read).await?.map_or(0, |it| it.0);
    let mut index = begun;
    for _ in 0..PAGES_MAX {
        let query = GroupQuery::EntriesAfter(index);
        let entries = match federation.read_group(peer, group, query).await {
            Ok(Some(GroupAnswer::Page(entries, ..))) if !entries.is_empty() => entries,
            Ok(_) => break,
            Err(error) => {
                warn!(%peer, %error, "what it has of a group of ours cannot be read");
                break;
            }
        };
        let (done, told) = oneshot::channel();
        let command = Command::Regain { entries, done };
        Hub::send(server, &TopicName::Group(group), command).await;
        match told.await {
            Ok(now) if now > index => index = now,
            _ => break,
        }
    }
    if index > begun {
        info!(%peer, %group, entries = index - begun, "entries of a group's log have come back");
    }
    Ok(index - begun)
}
