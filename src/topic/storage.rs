//! Between the meaning of a topic and its rows.

use std::collections::BTreeSet;

use bytes::Bytes;
use freehold_proto::{AccessMode, DomainName, Placed, Position, Timestamp, UserId};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        rooms::{put_member, put_room},
        rows::{
            FeedStartRow, FormerMemberRow, LogRow, LogStartRow, RoomRow, SubscriptionRow,
            SuccessorsRow, TopicRow,
        },
        topics::{put_subscription, put_topic},
    },
};

use prost::Message as _;

use super::{
    TopicName,
    conversation::Conversation,
    deletion::Cleared,
    log::Log,
    one_to_one::{OneToOne, Person},
    room::{Description, Room, RoomKind},
    standing::Standing,
};

/// Members read in one go.
const MEMBERS_PAGE: usize = 500;
/// Rows and bytes of standings in one batch; what is more goes into the next.
const BATCH_OPS: usize = 1000;
const BATCH_BYTES: usize = 400 * 1024;

/// Reads a topic, or the beginning of one; true when it was stored before. Blocks.
pub(crate) fn load(
    tables: &Tables,
    name: &TopicName,
    (us, deletes): (&DomainName, bool),
    now: Timestamp,
) -> Result<(Conversation, bool), StoreError> {
    let TopicName::OneToOne(people) = name else {
        let (mut room, stored) = load_room(tables, name, now)?;
        if room.home.is_some() || room.is_renumbered() {
            room.unplaced = unplaced(tables, name.key(), &room, us)?;
        }
        if room.home.is_none() && room.log.is_some() {
            for peer in room.domains(us, |_, _| true) {
                // One without a row has begun another life since.
                if let Some(row) = tables.follower(&peer, name.key())? {
                    room.followers.insert(peer, row.since);
                }
            }
        }
        return Ok((Conversation::Room(Box::new(room)), stored));
    };
    let mut pair = load_pair(tables, people, us)?;
    pair.allow_deletion(deletes);
    let stored = pair.created.is_some();
    Ok((Conversation::Pair(Box::new(pair)), stored))
}

fn load_pair(
    tables: &Tables,
    people: &[UserId; 2],
    us: &DomainName,
) -> Result<OneToOne, StoreError> {
    let [a, b] = people;
    let key = TopicKey::one_to_one(a, b);
    let mut topic = OneToOne::new(a.clone(), b.clone(), us);
    if let Some(row) = tables.topic(key)? {
        topic.created = Some(Timestamp::from_stored(row.created));
        topic.aux = row.aux;
        topic.cleared = Cleared::of(row.cleared);
    }
    topic.head = tables.head(key)?;
    for person in &mut topic.people {
        person.standing = tables
            .subscription(&person.id, key)?
            .map(|row| standing(&row));
    }
    if topic.head > 0
        && let Some(last) = tables.message(key, topic.head)?
    {
        topic.touched = Some(Timestamp::from_stored(last.received));
        let author = |it: &&mut Person| it.local && it.id.to_string() == last.author;
        if let Some(person) = topic.people.iter_mut().find(author) {
            repair_cursor(person.standing.as_mut(), topic.head);
        }
    }
    Ok(topic)
}

/// An author has read what he wrote. His cursor is written later than the message, so after a crash
/// it may lag behind.
fn repair_cursor(standing: Option<&mut Standing>, head: u32) {
    if let Some(standing) = standing {
        standing.read = standing.read.max(head);
        standing.received = standing.received.max(head);
    }
}

fn load_room(
    tables: &Tables,
    name: &TopicName,
    now: Timestamp,
) -> Result<(Room, bool), StoreError> {
    let key = name.key();
    let group = match name {
        TopicName::Group(group) => Some(*group),
        _ => None,
    };
    let kind = name.room_kind().unwrap_or(RoomKind::Group);
    let mut room = Room::new(kind, group, now);
    let row = tables.room(key)?;
    let stored = row.is_some();
    let epoch = row.as_ref().map_or(0, |it| it.epoch);
    if let Some(row) = row {
        take_row(&mut room, row);
        load_members(tables, key, &mut room)?;
    }
    room.head = tables.head(key)?;
    load_log(tables, key, epoch, &mut room)?;
    if room.kind == RoomKind::Channel {
        room.load_feed(tables, key)?;
    }
    if room.head > 0
        && let Some(last) = tables.message(key, room.head)?
    {
        room.touched = Some(Timestamp::from_stored(last.received));
        if let Ok(author) = last.author.parse() {
            repair_cursor(room.members.get_mut(&author), room.head);
        }
    }
    room.dirty = false;
    Ok((room, stored))
}

/// Messages of ours that the home has not placed, or that stood in a log behind where it was fenced: looked
/// for from the last one on, until so many in a row have their place.
pub(super) fn unplaced(
    tables: &Tables,
    key: TopicKey,
    room: &Room,
    us: &DomainName,
) -> Result<BTreeSet<u32>, StoreError> {
    const PLACED: usize = 1000;
    const PAGE: usize = 500;
    let low = room.opened.saturating_add(1);
    let (mut waiting, mut placed) = (BTreeSet::new(), 0);
    let mut behind = room.head.saturating_add(1);
    while placed < PLACED && low < behind {
        let page = tables.history(key, low, behind, PAGE, usize::MAX)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        behind = *last;
        for (seq, row) in page {
            if row.deleted != 0 || tables.order_at(key, seq)?.is_some_and(|it| it.0 == seq) {
                placed += 1;
                continue;
            }
            placed = 0;
            let author: Option<UserId> = row.author.parse().ok();
            if author.is_some_and(|it| it.domain() == us) {
                waiting.insert(seq);
            }
        }
    }
    Ok(waiting)
}

/// Where the log of a room has got to, if it has one.
fn load_log(tables: &Tables, key: TopicKey, epoch: u64, room: &mut Room) -> Result<(), StoreError> {
    if epoch == 0 {
        return Ok(());
    }
    let begun = room.begun.map(|(log, _)| log);
    let last = tables.log_head(key)?;
    // Entries from before a copy began anew say nothing about where it is.
    let last = last.filter(|(index, _)| begun.is_none_or(|it| *index > it.index));
    let mut log = match last {
        Some((_, row)) => log_behind(&row).ok_or_else(|| StoreError::Corrupt {
            detail: format!("the log of {key:?} has an entry that cannot be read"),
        })?,
        None => begun.unwrap_or(Log::opened(room.head)),
    };
    // The last entry of a home is of its epoch, and the next one of another.
    log.epoch = log.epoch.max(epoch);
    room.log = Some(log);
    room.head = room.head.max(room.begun.map_or(0, |(_, base)| base));
    Ok(())
}

/// Where a log is behind an entry.
pub(crate) fn log_behind(row: &LogRow) -> Option<Log> {
    let placed = Placed {
        position: row.position.clone(),
        signature: row.signature.as_ref().try_into().ok()?,
    };
    let position = Position::decode(&placed.position).ok()?;
    let mut log = Log::opened(0);
    log.advance(&position, &placed);
    Some(log)
}

pub(super) fn take_row(room: &mut Room, row: RoomRow) {
    room.stored_bytes = row.encoded_len();
    if row.kind == kind_number(RoomKind::Channel) {
        room.kind = RoomKind::Channel;
    }
    room.created = Timestamp::from_stored(row.created);
    room.updated = Timestamp::from_stored(row.updated);
    room.deleted = (row.deleted != 0).then(|| Timestamp::from_stored(row.deleted));
    room.readers_count = row.readers;
    room.cleared = Cleared::of(row.cleared);
    room.record = (row.record, row.signature);
    room.home = row.home.parse().ok();
    room.fetched = row.fetched;
    room.opened = row.opened;
    room.consented = row
        .consented_home
        .parse()
        .ok()
        .map(|home| (row.consented_epoch, home));
    room.succession = row.succession;
    room.charter = row.charter;
    let names = |it: Vec<String>| it.iter().filter_map(|it| it.parse().ok()).collect();
    let said = row.successors.into_iter();
    room.successors = said.map(|it| (it.index, names(it.names))).collect();
    room.unsure = row.unsure;
    room.feed = row.feed.and_then(|it| {
        let start = it.start?;
        Some(Log {
            epoch: it.epoch,
            index: start.index,
            order: start.order,
            hash: start.hash.as_ref().try_into().ok()?,
        })
    });
    room.begun = row.begun.map(|it| {
        let log = Log {
            epoch: row.epoch,
            index: it.index,
            order: it.order,
            hash: it.hash.as_ref().try_into().unwrap_or_default(),
        };
        (log, row.base)
    });
    room.description = Description {
        public: row.public,
        trusted: row.trusted,
        access_auth: mode(&row.access_auth),
        access_anon: mode(&row.access_anon),
        tags: row.tags,
        aux: row.aux,
    };
}

fn load_members(tables: &Tables, key: TopicKey, room: &mut Room) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = tables.members(key, after.as_ref(), MEMBERS_PAGE)?;
        let full = page.len() == MEMBERS_PAGE;
        after = page.last().cloned();
        for user in page {
            if let Some(row) = tables.subscription(&user, key)?
                && let Some(member) = membership(&row)
            {
                room.members.insert(user, member);
            }
        }
        if !full {
            return Ok(());
        }
    }
}

/// How somebody stands as a member, also if they only read now: what they were given outlives it.
fn membership(row: &SubscriptionRow) -> Option<Standing> {
    if !row.reader {
        return Some(standing(row));
    }
    let former = row.member.as_ref()?;
    let left = Timestamp::from_stored(former.left);
    let mut member = Standing::new(AccessMode::NONE, mode(&former.given), left);
    member.given_version = former.given_version;
    member.deleted = Some(left);
    Some(member)
}

fn former_member(member: &Standing) -> FormerMemberRow {
    FormerMemberRow {
        given: member.given.to_string(),
        given_version: member.given_version,
        left: member.deleted.map_or(0, Timestamp::as_millis),
    }
}

/// Reads how somebody stands who reads a channel. Blocks.
pub(crate) fn load_reader(
    tables: &Tables,
    key: TopicKey,
    user: &UserId,
) -> Result<Option<Standing>, StoreError> {
    let row = tables.subscription(user, key)?;
    Ok(row.filter(|it| it.reader).map(|row| standing(&row)))
}

/// Adds what changed since the last write to a batch; what does not fit makes further ones.
pub(crate) fn write(
    mut batch: Batch,
    name: &TopicName,
    topic: &mut Conversation,
    is_stored: &mut bool,
) -> Vec<Batch> {
    let key = name.key();
    match topic {
        Conversation::Pair(pair) => {
            write_pair(&mut batch, key, pair, is_stored);
            vec![batch]
        }
        Conversation::Room(room) => {
            if std::mem::take(&mut room.dirty) {
                let row = room_row(room);
                room.stored_bytes = put_room(&mut batch, key, &row, room.stored_bytes);
                *is_stored = true;
            }
            write_standings(batch, key, name, room)
        }
    }
}

fn write_pair(batch: &mut Batch, key: TopicKey, topic: &mut OneToOne, is_stored: &mut bool) {
    topic.urgent = false;
    let changed = std::mem::take(&mut topic.row_dirty) || !*is_stored;
    if changed && let Some(created) = topic.created {
        let row = TopicRow {
            people: topic.people.iter().map(|it| it.id.to_string()).collect(),
            created: created.as_millis(),
            aux: topic.aux.clone(),
            cleared: topic.cleared.row(),
        };
        put_topic(batch, key, &row);
        *is_stored = true;
    }
    let [low, high] = &mut topic.people;
    write_person(batch, key, low, &high.id);
    write_person(batch, key, high, &low.id);
}

fn write_person(batch: &mut Batch, key: TopicKey, person: &mut Person, other: &UserId) {
    if !std::mem::take(&mut person.dirty) {
        return;
    }
    if let Some(standing) = &person.standing {
        put_subscription(batch, &person.id, key, &row(standing, other.to_string()));
    }
}

fn write_standings(batch: Batch, key: TopicKey, name: &TopicName, room: &mut Room) -> Vec<Batch> {
    let mut batches = vec![batch];
    for user in std::mem::take(&mut room.changed) {
        let member = room.members.get(&user);
        let reader = room.readers.get(&user);
        // A member who was a reader before is a member; the one row says which.
        let (standing, former) = match (member, reader) {
            (Some(member), Some(reader)) if member.deleted.is_some() => {
                (reader, Some(former_member(member)))
            }
            (Some(standing), _) | (None, Some(standing)) => (standing, None),
            (None, None) => continue,
        };
        let full = batches
            .last()
            .is_some_and(|it| it.ops() >= BATCH_OPS || it.bytes() >= BATCH_BYTES);
        if full {
            batches.push(Batch::new());
        }
        if let Some(batch) = batches.last_mut() {
            let row = SubscriptionRow {
                member: former,
                ..row(standing, name.stored(&user))
            };
            put_subscription(batch, &user, key, &row);
            if !standing.reader {
                put_member(batch, key, &user);
            }
        }
    }
    batches
}

/// How many members and readers a group has, as far as it is known here.
pub(crate) fn people_in(row: &RoomRow) -> u32 {
    let here = row.members.saturating_add(row.readers);
    here.saturating_add(row.readers_abroad)
}

/// A room as it is stored.
pub(crate) fn room_row(room: &Room) -> RoomRow {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    RoomRow {
        kind: kind_number(room.kind),
        created: room.created.as_millis(),
        updated: room.updated.as_millis(),
        public: room.description.public.clone(),
        trusted: room.description.trusted.clone(),
        access_auth: room.description.access_auth.to_string(),
        access_anon: room.description.access_anon.to_string(),
        tags: room.description.tags.clone(),
        aux: room.description.aux.clone(),
        cleared: room.cleared.row(),
        record: room.record.0.clone(),
        signature: room.record.1.clone(),
        members: number(room.size()),
        readers: room.readers_count,
        readers_abroad: room.readers_abroad(),
        deleted: room.deleted.map_or(0, Timestamp::as_millis),
        home: room
            .home
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        epoch: room.log.map_or(0, |it| it.epoch),
        fetched: room.fetched,
        opened: room.opened,
        consented_epoch: room.consented.as_ref().map_or(0, |it| it.0),
        consented_home: room
            .consented
            .as_ref()
            .map_or_else(String::new, |it| it.1.to_string()),
        succession: room.succession.clone(),
        charter: room.charter.clone(),
        successors: room
            .successors
            .iter()
            .map(|(index, names)| SuccessorsRow {
                index: *index,
                names: names.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        unsure: room.unsure,
        // At the home it is read from the feed itself.
        feed: room
            .feed
            .filter(|_| room.home.is_some())
            .map(|it| FeedStartRow {
                epoch: it.epoch,
                start: Some(LogStartRow {
                    index: it.index,
                    order: it.order,
                    hash: Bytes::copy_from_slice(&it.hash),
                }),
            }),
        base: room.begun.map_or(0, |(_, base)| base),
        begun: room.begun.map(|(log, _)| LogStartRow {
            index: log.index,
            order: log.order,
            hash: Bytes::copy_from_slice(&log.hash),
        }),
    }
}

fn kind_number(kind: RoomKind) -> u32 {
    match kind {
        RoomKind::Group => 1,
        RoomKind::Channel => 2,
        RoomKind::Saved => 3,
        RoomKind::Reports => 4,
    }
}

/// Rows hold modes that were valid when written.
fn mode(text: &str) -> AccessMode {
    text.parse().unwrap_or(AccessMode::NONE)
}

/// The meaning of a subscription row.
pub(crate) fn standing(row: &SubscriptionRow) -> Standing {
    Standing {
        want: mode(&row.want),
        want_version: row.want_version,
        given: mode(&row.given),
        given_version: row.given_version,
        private: row.private.clone(),
        read: row.read,
        received: row.received,
        created: Timestamp::from_stored(row.created),
        updated: Timestamp::from_stored(row.updated),
        deleted: (row.deleted != 0).then(|| Timestamp::from_stored(row.deleted)),
        unaccepted_texts: row.unaccepted_texts,
        announced: row.announced,
        reader: row.reader,
        cleared: row.cleared,
        changed: (row.changed_index, mode(&row.before)),
    }
}

fn row(standing: &Standing, peer: String) -> SubscriptionRow {
    SubscriptionRow {
        peer,
        want: standing.want.to_string(),
        want_version: standing.want_version,
        given: standing.given.to_string(),
        given_version: standing.given_version,
        private: standing.private.clone(),
        read: standing.read,
        received: standing.received,
        created: standing.created.as_millis(),
        updated: standing.updated.as_millis(),
        deleted: standing.deleted.map_or(0, Timestamp::as_millis),
        unaccepted_texts: standing.unaccepted_texts,
        announced: standing.announced,
        reader: standing.reader,
        cleared: standing.cleared,
        member: None,
        changed_index: standing.changed.0,
        before: match standing.changed.0 {
            0 => String::new(),
            _ => standing.changed.1.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use freehold_proto::GroupId;
    use freehold_store::{
        MemoryEngine, Outcome,
        tables::{
            log::put_place,
            messages::put_message,
            rows::{MessageRow, PlaceRow},
        },
    };

    use super::{super::room::RoomLimits, *};

    const MEMBERS: u32 = 10_000;
    const LIMITS: RoomLimits = RoomLimits {
        members_max: MEMBERS as usize,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_767_323_045_000 + second * 1000).unwrap()
    }

    fn user(number: u32) -> UserId {
        let mut local = [0; 8];
        local[..4].copy_from_slice(&number.to_be_bytes());
        UserId::new(local, "alpha.test".parse().unwrap())
    }

    fn store(tables: &Tables, batches: Vec<Batch>) {
        for batch in batches {
            let outcome = tables.commit(batch).wait_blocking().unwrap();
            assert_eq!(outcome, Outcome::Applied);
        }
    }

    /// The room in a conversation.
    fn room(topic: &mut Conversation) -> &mut Room {
        match topic {
            Conversation::Room(room) => room,
            Conversation::Pair(_) => panic!("a room was stored"),
        }
    }

    #[test]
    fn a_group_of_ten_thousand_is_written_in_batches_that_fit_and_comes_back_whole() {
        let tables = Tables::open(Arc::new(MemoryEngine::new())).unwrap();
        let name = TopicName::Group(GroupId::from_bytes([7; 16]));
        let us: DomainName = "alpha.test".parse().unwrap();
        let mut group = Room::new(RoomKind::Group, Some(GroupId::from_bytes([7; 16])), at(0));
        let owner = user(0);
        group.found(&owner, AccessMode::NONE, at(0));
        for number in 1..MEMBERS {
            let wants = AccessMode::GROUP;
            let granted = group.grant(&owner, &user(number), "", Some(wants), LIMITS, at(1));
            assert!(granted.unwrap().is_some());
        }
        assert!(
            group
                .grant(
                    &owner,
                    &user(MEMBERS),
                    "",
                    Some(AccessMode::GROUP),
                    LIMITS,
                    at(1)
                )
                .is_err(),
            "one more than the limit came in"
        );
        let (mut topic, mut stored) = (Conversation::Room(Box::new(group)), false);
        let batches = write(Batch::new(), &name, &mut topic, &mut stored);
        assert!(batches.len() > 4 && stored && !topic.is_dirty());
        store(&tables, batches);

        let (mut read, stored) = load(&tables, &name, (&us, false), at(2)).unwrap();
        assert!(stored);
        assert_eq!(room(&mut read).members, room(&mut topic).members);
        assert_eq!(tables.room(name.key()).unwrap().unwrap().members, MEMBERS);
        // What changes for one costs one row.
        room(&mut read).want(&user(5), "-P", at(3)).unwrap();
        let batches = write(Batch::new(), &name, &mut read, &mut true);
        assert_eq!(batches.iter().map(Batch::ops).sum::<usize>(), 2);
        store(&tables, batches);

        room(&mut read).close(&owner, at(4)).unwrap();
        store(&tables, write(Batch::new(), &name, &mut read, &mut true));
        let (mut ended, _) = load(&tables, &name, (&us, false), at(5)).unwrap();
        assert_eq!(room(&mut ended).size(), 0);
        assert_eq!(room(&mut ended).deleted, Some(at(4)));
    }

    #[test]
    fn a_fenced_tail_is_found_whole_however_long_it_is() {
        let tables = Tables::open(Arc::new(MemoryEngine::new())).unwrap();
        let group = GroupId::from_bytes([5; 16]);
        let key = TopicKey::group(&group);
        let us: DomainName = "alpha.test".parse().unwrap();
        let foreign = UserId::new([1; 8], "beta.test".parse().unwrap());
        let mut room = Room::new(RoomKind::Group, Some(group), at(0));
        (room.opened, room.head) = (10, 4_000);
        let mut batches = Vec::new();
        for seq in 11..=room.head {
            // The last ones have been placed since, and each fourth one is of somebody elsewhere.
            let author = if seq % 4 == 0 {
                foreign.clone()
            } else {
                user(1)
            };
            let row = MessageRow {
                author: author.to_string(),
                ..MessageRow::default()
            };
            let mut batch = Batch::new();
            put_message(&mut batch, key, seq, &row);
            if seq > 3_900 {
                let (order, index) = (seq, u64::from(seq));
                put_place(&mut batch, key, PlaceRow { order, seq, index });
            }
            batches.push(batch);
        }
        store(&tables, batches);
        let found = unplaced(&tables, key, &room, &us).unwrap();
        let expected = (11..=3_900).filter(|it| it % 4 != 0).count();
        assert_eq!(found.len(), expected);
        assert_eq!((found.first(), found.last()), (Some(&11), Some(&3_899)));
    }
}
