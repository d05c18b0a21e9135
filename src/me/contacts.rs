//! The list of contacts: everybody and everything one has a conversation with (fact sheet, section
//! 2.4).

use std::sync::Arc;

use freehold_proto::{AccessMode, Timestamp, UserId};
use freehold_store::{StoreError, Tables, TopicKey, tables::rows::SubscriptionRow};

use crate::{
    edge::{
        frames::{Access, Seen, Sub, raw},
        ids::Ids,
        reply::{self, Reply},
        requests::GetOptions,
        times,
    },
    server::Server,
    topic::storage,
};

/// Contacts read in one go.
const CONTACTS_PAGE: usize = 500;
/// Contacts shown or told at most.
const CONTACTS_MAX: usize = 10_000;

/// Somebody whom a person of ours has a conversation with.
pub(super) struct Contact {
    pub(super) topic: TopicKey,
    pub(super) peer: UserId,
    pub(super) row: SubscriptionRow,
}

impl Contact {
    pub(super) fn mode(&self) -> AccessMode {
        storage::standing(&self.row).mode()
    }

    pub(super) fn is_active(&self) -> bool {
        self.row.deleted == 0
    }
}

/// All contacts of a person. Blocks.
pub(super) fn contacts(tables: &Tables, user: &UserId) -> Result<Vec<Contact>, StoreError> {
    let mut all = Vec::new();
    let mut after = None;
    while all.len() < CONTACTS_MAX {
        let page = tables.subscriptions(user, after, CONTACTS_PAGE)?;
        let full = page.len() == CONTACTS_PAGE;
        after = page.last().map(|(topic, _)| *topic);
        all.extend(page.into_iter().filter_map(|(topic, row)| {
            let peer = row.peer.parse().ok()?;
            Some(Contact { topic, peer, row })
        }));
        if !full {
            break;
        }
    }
    Ok(all)
}

/// The list of contacts: all that changed since `ims`, or the one that is asked for.
pub(super) async fn list(
    server: &Arc<Server>,
    user: &UserId,
    options: &GetOptions,
) -> Result<Vec<Sub>, Reply> {
    let only = match options.topic.as_deref() {
        Some(name) => Some(server.ids.read(name).map_err(|_| reply::TOPIC_NOT_FOUND)?),
        None => None,
    };
    let since = times::parse(options.ims.as_deref());
    let limit = options
        .limit
        .and_then(|it| usize::try_from(it).ok())
        .unwrap_or(CONTACTS_MAX);
    let (me, reader) = (user.clone(), Arc::clone(server));
    let read = move |tables: &Tables| {
        let mut rows = Vec::new();
        for contact in contacts(tables, &me)? {
            let wanted = only.as_ref().is_none_or(|it| *it == contact.peer);
            if wanted && rows.len() < limit {
                rows.extend(
                    contact_row(&reader, tables, &contact, since)?.map(|row| (contact.peer, row)),
                );
            }
        }
        Ok(rows)
    };
    let rows = server.tables.read(read).await?;
    let finish = |(peer, mut row): (UserId, Sub)| {
        let listens = row.acs.as_ref().is_some_and(|it| it.mode.contains('P'));
        row.online = listens && server.is_online(&peer);
        row.seen = row.seen.filter(|_| listens && !row.online);
        row
    };
    Ok(rows.into_iter().map(finish).collect())
}

/// One contact as it stands in the list; `None` if nothing changed. Blocks.
fn contact_row(
    server: &Server,
    tables: &Tables,
    contact: &Contact,
    since: Timestamp,
) -> Result<Option<Sub>, StoreError> {
    let standing = storage::standing(&contact.row);
    let topic = Some(server.ids.shown(&contact.peer));
    if let Some(deleted) = standing.deleted {
        // Told only to those who knew it before.
        let told = since > Timestamp::EPOCH && deleted > since;
        return Ok(told.then(|| Sub {
            topic,
            updated: Some(standing.updated),
            deleted: Some(deleted),
            ..Sub::default()
        }));
    }
    let head = tables
        .head(contact.topic)?
        .min(server.hub.durable_head(contact.topic));
    let last = tables.message(contact.topic, head)?;
    let touched = last.map_or(standing.created, |it| Timestamp::from_stored(it.received));
    let (public, trusted, described, seen) = peer_of(tables, &server.ids, &contact.peer)?;
    let updated = standing.updated.max(described);
    if updated.max(touched) <= since {
        return Ok(None);
    }
    let reads = standing.mode().has(AccessMode::READ);
    Ok(Some(Sub {
        topic,
        updated: Some(updated),
        touched: Some(touched),
        acs: Some(Access::new(standing.want, standing.given)),
        seq: if reads { head } else { 0 },
        read: if reads { standing.read } else { 0 },
        recv: if reads { standing.received } else { 0 },
        public: raw(&public).filter(|_| described > since),
        trusted: raw(&trusted).filter(|_| described > since),
        private: raw(&standing.private).filter(|_| standing.updated > since),
        seen,
        ..Sub::default()
    }))
}

/// What is shown of a contact: description, marks of trust, their age, when last here. Blocks.
fn peer_of(
    tables: &Tables,
    ids: &Ids,
    peer: &UserId,
) -> Result<(bytes::Bytes, bytes::Bytes, Timestamp, Option<Seen>), StoreError> {
    if ids.is_ours(peer) {
        let row = tables.account(peer)?.unwrap_or_default();
        let seen = (row.seen != 0).then(|| Seen {
            when: Timestamp::from_stored(row.seen),
            ua: row.seen_agent.clone(),
        });
        let updated = Timestamp::from_stored(row.updated);
        return Ok((row.public, row.trusted, updated, seen));
    }
    let row = tables.foreign_person(peer)?.unwrap_or_default();
    let updated = Timestamp::from_stored(row.updated);
    Ok((row.public, bytes::Bytes::new(), updated, None))
}
