//! The list of contacts: everybody and everything one has a conversation with (fact sheet, section
//! 2.4).

use std::sync::Arc;

use bytes::Bytes;
use freehold_proto::{AccessMode, Timestamp, UserId};
use freehold_store::{StoreError, Tables, TopicKey, tables::rows::SubscriptionRow};

use crate::{
    edge::{
        frames::{Access, Seen, Sub, raw},
        ids::Ids,
        reply::Reply,
        requests::GetOptions,
        times,
    },
    server::Server,
    topic::{TopicName, channel_name, storage},
};

/// Contacts read in one go.
const CONTACTS_PAGE: usize = 500;
/// Contacts shown or told at most.
const CONTACTS_MAX: usize = 10_000;

/// A conversation that a person of ours stands in, or stood in.
pub(super) struct Contact {
    pub(super) topic: TopicKey,
    pub(super) name: TopicName,
    pub(super) row: SubscriptionRow,
}

impl Contact {
    /// The other one, of a conversation between two.
    pub(super) fn peer_of(&self, user: &UserId) -> Option<&UserId> {
        match &self.name {
            TopicName::OneToOne(people) => people.iter().find(|it| *it != user),
            _ => None,
        }
    }

    /// The name under which its owner knows it.
    fn shown(&self, user: &UserId, ids: &Ids) -> String {
        match &self.name {
            TopicName::OneToOne(_) => self
                .peer_of(user)
                .map(|it| ids.shown(it))
                .unwrap_or_default(),
            TopicName::Group(group) if self.row.reader => channel_name(group),
            name => name.stored(user),
        }
    }

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
            let name = TopicName::from_stored(&row.peer, user)?;
            Some(Contact { topic, name, row })
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
    let wanted = options.topic.as_deref().filter(|it| !it.is_empty());
    // A person may be named with their domain, even if it is ours.
    let wanted = wanted.map(|name| match server.ids.read(name) {
        Ok(person) => server.ids.shown(&person),
        Err(_) => name.to_owned(),
    });
    let since = times::parse(options.ims.as_deref());
    let limit = options
        .limit
        .and_then(|it| usize::try_from(it).ok())
        .unwrap_or(CONTACTS_MAX);
    let (me, reader) = (user.clone(), Arc::clone(server));
    let read = move |tables: &Tables| {
        let mut rows = Vec::new();
        for contact in contacts(tables, &me)? {
            let named = wanted
                .as_ref()
                .is_none_or(|it| *it == contact.shown(&me, &reader.ids));
            if named && rows.len() < limit {
                let row = contact_row(&reader, tables, (&me, &contact), since)?;
                rows.extend(row.map(|row| (contact, row)));
            }
        }
        Ok(rows)
    };
    let rows = server.tables.read(read).await?;
    let finish = |(contact, mut row): (Contact, Sub)| {
        let listens = row.acs.as_ref().is_some_and(|it| it.mode.contains('P'));
        let here = match contact.peer_of(user) {
            Some(peer) => server.is_online(peer),
            None => !contact.row.reader && server.hub.is_present(contact.topic),
        };
        row.online = listens && here;
        row.seen = row.seen.filter(|_| listens && !row.online);
        row
    };
    Ok(rows.into_iter().map(finish).collect())
}

/// One contact as it stands in the list; `None` if nothing changed. Blocks.
fn contact_row(
    server: &Server,
    tables: &Tables,
    (user, contact): (&UserId, &Contact),
    since: Timestamp,
) -> Result<Option<Sub>, StoreError> {
    let standing = storage::standing(&contact.row);
    let topic = Some(contact.shown(user, &server.ids));
    let face = match contact.peer_of(user) {
        Some(peer) => Face {
            cleared: cleared_of_pair(tables, contact.topic)?,
            ..face_of_person(tables, &server.ids, peer)?
        },
        None => face_of_room(tables, contact.topic)?,
    };
    if let Some(deleted) = standing.deleted.or(face.deleted) {
        // Told only to those who knew it before.
        let told = since > Timestamp::EPOCH && deleted > since;
        return Ok(told.then(|| Sub {
            topic,
            updated: Some(standing.updated.max(deleted)),
            deleted: Some(deleted),
            ..Sub::default()
        }));
    }
    let head = tables
        .head(contact.topic)?
        .min(server.hub.durable_head(contact.topic))
        .max(face.base);
    let reads = standing.mode().has(AccessMode::READ.or(AccessMode::JOIN));
    // Whoever may not read is not told by the clock either that somebody writes.
    let touched = match tables.message(contact.topic, head)?.filter(|_| reads) {
        Some(last) => Timestamp::from_stored(last.received),
        None if reads => standing.created,
        None => standing.updated,
    };
    let updated = standing.updated.max(face.described);
    if updated.max(touched) <= since {
        return Ok(None);
    }
    let (live_read, live_received) = server.hub.cursor(contact.topic, user);
    let known = |number: u32| if reads { number } else { 0 };
    Ok(Some(Sub {
        topic,
        updated: Some(updated),
        touched: Some(touched),
        acs: Some(Access::new(standing.want, standing.given)),
        seq: known(head),
        read: known(standing.read.max(live_read).min(head)),
        recv: known(standing.received.max(live_received).min(head)),
        clear: known(standing.cleared.max(face.cleared)),
        subcnt: face.members,
        public: raw(&face.public).filter(|_| face.described > since),
        trusted: raw(&face.trusted).filter(|_| face.described > since),
        private: raw(&standing.private).filter(|_| standing.updated > since),
        seen: face.seen,
        ..Sub::default()
    }))
}

/// What is shown of a contact.
#[derive(Default)]
struct Face {
    public: Bytes,
    trusted: Bytes,
    /// When that last changed.
    described: Timestamp,
    /// When the person was last here.
    seen: Option<Seen>,
    /// When the group ended.
    deleted: Option<Timestamp>,
    /// The last deletion for everybody.
    cleared: u32,
    /// Of a group.
    members: u32,
    /// Of a copy of a group: the position behind which it begins.
    base: u32,
}

/// The last deletion for both in a topic between two people.
fn cleared_of_pair(tables: &Tables, topic: TopicKey) -> Result<u32, StoreError> {
    let cleared = tables.topic(topic)?.and_then(|it| it.cleared);
    Ok(cleared.map_or(0, |it| it.last_hard))
}

fn face_of_room(tables: &Tables, topic: TopicKey) -> Result<Face, StoreError> {
    let row = tables.room(topic)?.unwrap_or_default();
    let is_group = row.kind <= 2;
    let people = storage::people_in(&row);
    Ok(Face {
        public: row.public,
        trusted: row.trusted,
        described: Timestamp::from_stored(row.updated),
        seen: None,
        deleted: (row.deleted != 0).then(|| Timestamp::from_stored(row.deleted)),
        cleared: row.cleared.map_or(0, |it| it.last_hard),
        base: row.base,
        members: if is_group { people } else { 0 },
    })
}

fn face_of_person(tables: &Tables, ids: &Ids, peer: &UserId) -> Result<Face, StoreError> {
    if ids.is_ours(peer) {
        let row = tables.account(peer)?.unwrap_or_default();
        let seen = (row.seen != 0).then(|| Seen {
            when: Timestamp::from_stored(row.seen),
            ua: row.seen_agent.clone(),
        });
        return Ok(Face {
            public: row.public,
            trusted: row.trusted,
            described: Timestamp::from_stored(row.updated),
            seen,
            ..Face::default()
        });
    }
    let row = tables.foreign_person(peer)?.unwrap_or_default();
    Ok(Face {
        public: row.public,
        described: Timestamp::from_stored(row.updated),
        ..Face::default()
    })
}
