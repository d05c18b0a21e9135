//! The feed of a channel whose home we are: what its readers at other domains get, in a chain of its own
//! that names no author and no member (PROTOCOL.md section 7.11; rules.md 22).

use std::collections::BTreeSet;

use bytes::Bytes;
use freehold_keys::{KeyError, Signer};
use freehold_proto::{Destination, DomainName, GroupId, MessageId, Timestamp, wire};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        log::{extend_log, put_follower, put_log_entry, put_place, put_reading_domain, put_told},
        rows::{CHANNEL, FollowerRow, LogRow, MessageRow, PlaceRow, RoomRow},
    },
};
use sha2::{Digest as _, Sha256};
use wire::payload::Kind;

use super::{
    actor::{Actor, Effect},
    group_history::{Placed, by_order, by_position},
    group_home::{Unheard, nobody},
    group_replica::not_home,
    group_wire,
    log::Log,
    message, places,
    room::{Room, RoomKind},
    storage, succession,
};
use crate::{
    edge::reply::Reply,
    files::{self, Referrer},
    peers::outbox::logs,
};

/// Domains whose people read one channel.
const DOMAINS_MAX: usize = 1000;

impl Actor {
    /// A domain says how many of its people read the channel. What follows from that is done with the
    /// next commit.
    pub(super) async fn note_readers(
        &mut self,
        origin: &DomainName,
        readers: u32,
        batch: &mut Batch,
    ) -> Result<Vec<Effect>, Unheard> {
        let (key, stored) = (self.key(), self.is_stored());
        if self.home_abroad().is_some() {
            return Err(not_home().into());
        }
        let Some((_, room)) = self.homed().filter(|_| stored) else {
            return Err(nobody().into());
        };
        let known = room.reading.get(origin).copied().unwrap_or(0);
        if known == readers {
            return Ok(Vec::new());
        }
        let ended = room.feed.filter(|_| room.deleted.is_some() && readers > 0);
        if let Some(last) = ended {
            return self.tell_ended(origin, last.index, batch).await;
        }
        let lives = room.kind == RoomKind::Channel && room.deleted.is_none();
        let full = known == 0 && room.reading.len() >= DOMAINS_MAX;
        if readers > 0 && (!lives || full) {
            return Err(nobody().into());
        }
        match readers {
            0 => room.reading.remove(origin),
            readers => room.reading.insert(origin.clone(), readers),
        };
        room.dirty = true;
        put_reading_domain(batch, key, origin, readers);
        // It is told of the feed from now on.
        let prepared = self.server.outbox.prepare(origin).await;
        prepared.map_err(|fault| Unheard::Unavailable(fault.to_string()))?;
        Ok(Vec::new())
    }

    /// Somebody came to read while the channel ended: their domain is told its last entry.
    async fn tell_ended(
        &mut self,
        origin: &DomainName,
        last: u64,
        batch: &mut Batch,
    ) -> Result<Vec<Effect>, Unheard> {
        let (key, since) = (self.key().feed(), last.saturating_sub(1));
        let prepared = self.server.outbox.prepare(origin).await;
        prepared.map_err(|fault| Unheard::Unavailable(fault.to_string()))?;
        let row = FollowerRow { since, until: last };
        put_follower(batch, origin, key, &row);
        put_told(batch, origin, key, since);
        self.server.outbox.unfollow(origin, key);
        Ok(vec![Effect::WakePeers(vec![origin.clone()], key)])
    }

    /// Adds to a batch what its effects mean for readers at other domains. Nothing while there are none
    /// and never were.
    pub(super) fn chronicle_feed(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), KeyError> {
        if self.regaining {
            return Ok(());
        }
        let Some((group, room)) = self.homed() else {
            return Ok(());
        };
        let count = effects.iter().filter_map(message_in).count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let Some((begun, opens)) = room.open_feed(count) else {
            return Ok(());
        };
        if opens {
            let item = self.told_channel();
            self.place_item(batch, group, item, None)?;
        }
        for (seq, row) in effects.iter().filter_map(message_in) {
            let item = self.told_message(seq, row);
            let id = item_id(group, row);
            self.place_item(batch, group, item, Some((seq, id)))?;
        }
        if let Some(item) = self.item_in(effects) {
            self.place_item(batch, group, item, None)?;
        }
        let told = self.update_fed(batch, begun.index);
        let moved = self.homed().and_then(|(_, it)| it.feed);
        if let Some(last) = moved.filter(|it| *it != begun) {
            extend_log(batch, self.key().feed(), begun.index, last.index);
        }
        if !told.is_empty() {
            let told = told.into_iter().collect();
            effects.push(Effect::WakePeers(told, self.key().feed()));
        }
        Ok(())
    }

    /// We become the home: our feed goes on behind what is here of a feed, ours of long ago or that of another
    /// home, in a later epoch.
    pub(super) async fn take_up_feed(&mut self) -> Result<(), Reply> {
        let key = self.key();
        let read = move |tables: &Tables| last_of_feed(tables, key);
        let last = self.server.tables.read(read).await?;
        self.room_mut()?.feed = last.as_ref().and_then(storage::log_behind);
        Ok(())
    }

    /// Another domain is the home from now on: the last item says so, and nothing comes behind it. Returns
    /// whom to tell.
    pub(super) fn end_feed(
        &mut self,
        batch: &mut Batch,
        next: &DomainName,
    ) -> Result<Vec<DomainName>, KeyError> {
        let key = self.key();
        let Some((group, room)) = self.homed() else {
            return Ok(Vec::new());
        };
        let Some(begun) = room.feed else {
            return Ok(Vec::new());
        };
        let item = wire::FeedItem {
            next_home: next.to_string(),
            ..wire::FeedItem::default()
        };
        self.place_item(batch, group, item, None)?;
        let Some((_, room)) = self.homed() else {
            return Ok(Vec::new());
        };
        let until = room.feed.take().map_or(begun.index, |it| it.index);
        extend_log(batch, key.feed(), begun.index, until);
        for peer in std::mem::take(&mut room.reading).keys() {
            put_reading_domain(batch, key, peer, 0);
        }
        let fed = std::mem::take(&mut room.fed);
        for (peer, since) in &fed {
            let row = FollowerRow {
                since: *since,
                until,
            };
            put_follower(batch, peer, key.feed(), &row);
        }
        Ok(fed.into_keys().collect())
    }

    /// Seals an item, signs the next position and adds the entry. Of a message: where it stands here, and the
    /// id of its item.
    fn place_item(
        &mut self,
        batch: &mut Batch,
        group: GroupId,
        item: wire::FeedItem,
        message: Option<(u32, MessageId)>,
    ) -> Result<(), KeyError> {
        let (feed, now, signer) = (self.key().feed(), self.now(), self.server.signer.clone());
        let (to, seq) = (Destination::Group(group), message.map(|it| it.0));
        let id = match message {
            Some((_, id)) => id,
            None => message::mint(now)?,
        };
        let envelope = signer.seal(to, id, now, Kind::FeedItem(item))?;
        let Some(log) = self.homed().and_then(|(_, it)| it.feed.as_mut()) else {
            return Ok(());
        };
        let ours = (signer.domain(), signer.key_id());
        let hash = envelope.header_hash();
        let mut position = log.next(group, hash, seq.is_some(), ours, now);
        position.feed = true;
        let placed = signer.place(position.clone());
        log.advance(&position, &placed);
        let entry = LogRow {
            position: placed.position,
            signature: Bytes::copy_from_slice(&placed.signature),
            seq: seq.unwrap_or_default(),
            envelope: Some(message::envelope_row(&envelope)),
        };
        put_log_entry(batch, feed, position.index, &entry);
        if let Some(seq) = seq {
            let place = PlaceRow {
                order: position.order,
                index: position.index,
                seq,
            };
            put_place(batch, feed, place);
        }
        Ok(())
    }

    /// A message without its author. Reads the store here for what it refers to, as few do.
    fn told_message(&self, seq: u32, row: &MessageRow) -> wire::FeedItem {
        let opened = self.topic.room().filter(|it| it.is_renumbered());
        let opened = opened.map(|it| it.opened);
        let (tables, key) = (&self.server.tables, self.key());
        let read = message_item(tables, key, opened, (seq, row));
        read.unwrap_or_else(|fault| {
            tracing::error!(%fault, seq, "what a message refers to cannot be read");
            // It takes its place, and nobody elsewhere is shown it.
            wire::FeedItem::default()
        })
    }

    /// What everybody sees of the channel.
    fn told_channel(&self) -> wire::FeedItem {
        wire::FeedItem {
            description: self.topic.room().map(shown_description),
            ..wire::FeedItem::default()
        }
    }

    /// What effects mean for readers, but for messages.
    fn item_in(&self, effects: &[Effect]) -> Option<wire::FeedItem> {
        let (mut item, mut any) = (wire::FeedItem::default(), false);
        for effect in effects {
            match effect {
                Effect::Redescribed(_) | Effect::Pinned(_) => {
                    item.description = self.told_channel().description;
                }
                Effect::Deleted(it) if it.hard => {
                    let orders = it.orders.iter().map(|it| wire::Orders {
                        low: it.low,
                        high: it.high,
                    });
                    item.deleted.extend(orders);
                }
                Effect::Closed(_) => item.closed = true,
                _ => continue,
            }
            any = true;
        }
        any.then_some(item)
    }

    /// Domains with readers and no members get what comes now, and those that do not any more only what
    /// came up to here. Returns whom to tell.
    fn update_fed(&mut self, batch: &mut Batch, before: u64) -> BTreeSet<DomainName> {
        let (key, server) = (self.key().feed(), self.server.clone());
        let Some((_, room)) = self.homed() else {
            return BTreeSet::new();
        };
        let counts = |domain: &DomainName, joined| !server.lives.is_over(domain, joined);
        let members = room.domains(&server.us, counts);
        let until = room.feed.map_or(0, |it| it.index);
        let told: BTreeSet<_> = room.fed.keys().cloned().collect();
        let reading = &room.reading;
        room.fed.retain(|gone, &mut since| {
            let stays = reading.contains_key(gone) && !members.contains(gone);
            if !stays {
                put_follower(batch, gone, key, &FollowerRow { since, until });
            }
            stays
        });
        let hears = |it: &&DomainName| !members.contains(*it) && !told.contains(*it);
        let came: BTreeSet<_> = room.reading.keys().filter(hears).cloned().collect();
        // The last entry is told again: by that a domain sees what it missed since it had readers last, or
        // since it asked how the channel stands.
        let since = before.saturating_sub(1);
        for new in &came {
            put_follower(batch, new, key, &FollowerRow { since, until: 0 });
            put_told(batch, new, key, since);
            server.outbox.unfollow(new, key);
            room.fed.insert(new.clone(), since);
        }
        match until == before {
            true => came,
            false => told.into_iter().chain(came).collect(),
        }
    }
}

/// Under which id readers get a message: the same from every home, so that nobody is shown it twice, and it
/// leads to no author.
fn item_id(group: GroupId, row: &MessageRow) -> MessageId {
    let domain = row.author.split_once('@').map_or("", |it| it.1);
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"freehold/feed-item/v1\0")
        .chain_update(group.as_bytes())
        .chain_update(&row.message_id)
        .chain_update(domain)
        .finalize()
        .into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    MessageId::from_bytes(id)
}

/// The message that has its order with this effect.
fn message_in(effect: &Effect) -> Option<(u32, &MessageRow)> {
    match effect {
        Effect::Appended { seq, row, .. } | Effect::Placed(seq, row) => Some((*seq, row)),
        _ => None,
    }
}

/// What readers at other domains see of a group: its tags and what is attached to it is for members, but for
/// the domains to ask when the home is away.
pub(super) fn shown_description(room: &Room) -> wire::GroupDescription {
    let successors = succession::only_successors(&room.description.aux);
    let mut shown = group_wire::description(room, successors);
    shown.tags.clear();
    shown
}

/// A message as readers at other domains get it. `opened` is up to where its position is its order, in
/// what once was a copy. Blocks.
fn message_item(
    tables: &Tables,
    key: TopicKey,
    opened: Option<u32>,
    (seq, row): (u32, &MessageRow),
) -> Result<wire::FeedItem, StoreError> {
    let order = |seq: u32| match opened {
        None => Ok(Some(seq)),
        Some(opened) => places::order_of(tables, key, opened, seq),
    };
    let (head, content) = message::for_readers(tables, key, (seq, row), order)?;
    Ok(wire::FeedItem {
        head,
        content,
        attachments: message::attachments_in(row),
        ..wire::FeedItem::default()
    })
}

/// The row of a group that lives here and has a channel. Blocks.
fn channel_row(tables: &Tables, key: TopicKey) -> Result<Option<RoomRow>, StoreError> {
    let channel = |it: &RoomRow| it.home.is_empty() && it.kind == CHANNEL && it.deleted == 0;
    Ok(tables.room(key)?.filter(channel))
}

/// How a channel stands, for whoever asks. Blocks.
pub(crate) fn channel_state(
    tables: &Tables,
    group: GroupId,
) -> Result<Option<wire::GroupState>, StoreError> {
    let key = TopicKey::group(&group);
    let shown = |it: &RoomRow| {
        // Of a channel that has moved: where to.
        let known = it.home.is_empty() || (it.begun.is_some() && !it.succession.is_empty());
        known && it.kind == CHANNEL && it.deleted == 0
    };
    let Some(row) = tables.room(key)?.filter(shown) else {
        return Ok(None);
    };
    let (epoch, ours) = (row.epoch, row.home.is_empty());
    let mut room = Room::new(RoomKind::Channel, Some(group), Timestamp::EPOCH);
    storage::take_row(&mut room, row);
    room.reading.extend(reading(tables, key)?);
    // What we placed before another domain was the home for a while is no beginning.
    let present = |it: &LogRow| ours && storage::log_behind(it).is_some_and(|it| it.epoch >= epoch);
    let last = last_of_feed(tables, key)?.filter(present);
    let head = last.map(|row| wire::Placed {
        position: row.position,
        signature: row.signature,
    });
    Ok(Some(wire::GroupState {
        record: room.record.0.clone(),
        signature: room.record.1.clone(),
        head,
        description: Some(shown_description(&room)),
        succession: group_wire::steps(&room.succession),
        readers: room.readers_everywhere(),
        ..wire::GroupState::default()
    }))
}

/// The entry that a feed was last brought up to. Blocks.
fn last_of_feed(tables: &Tables, key: TopicKey) -> Result<Option<LogRow>, StoreError> {
    match tables.log_tip(key.feed())? {
        Some(tip) => tables.log_entry(key.feed(), tip),
        None => Ok(None),
    }
}

/// Domains that read a channel of ours, and how many they are. Blocks.
pub(super) fn reading(
    tables: &Tables,
    key: TopicKey,
) -> Result<Vec<(DomainName, u32)>, StoreError> {
    tables.reading_domains(key, None, DOMAINS_MAX)
}

/// Messages of a channel with an order below `before`, newest first, without their authors. Blocks.
pub(crate) fn channel_past(
    signer: &Signer,
    tables: &Tables,
    group: GroupId,
    before: u32,
) -> Result<Option<wire::LogPage>, StoreError> {
    let key = TopicKey::group(&group);
    let Some(room) = channel_row(tables, key)? else {
        return Ok(None);
    };
    let renumbered = room.begun.is_some();
    let opened = renumbered.then_some(room.opened);
    let (mut page, mut before) = (wire::LogPage::default(), before);
    // Where everything has been deleted there is nothing to show, and older may be left.
    while page.entries.is_empty() && page.past.is_empty() && before > 1 {
        let same = room.opened.saturating_add(1);
        let (rows, low) = match renumbered && before > same {
            true => (by_order(tables, key, before)?, same),
            false => (by_position(tables, key, before)?, 1),
        };
        before = rows.last().map_or(low, |it| it.0).min(before - 1);
        for placed in rows.into_iter().filter(|it| it.2.deleted == 0) {
            show(signer, tables, (group, opened), placed, &mut page)?;
        }
    }
    page.more = before > 1;
    Ok(Some(page))
}

fn show(
    signer: &Signer,
    tables: &Tables,
    (group, opened): (GroupId, Option<u32>),
    (order, seq, row): Placed,
    page: &mut wire::LogPage,
) -> Result<(), StoreError> {
    let key = TopicKey::group(&group);
    let index = tables.place(key.feed(), order)?.map_or(0, |it| it.index);
    if let Some(entry) = tables.log_entry(key.feed(), index)? {
        let entry = logs::entry(tables, key.feed(), &entry)?;
        page.entries
            .extend(entry.map(|(placed, envelope)| wire::LogEntry {
                placed: Some(placed.into()),
                envelope: Some(envelope.into()),
            }));
        return Ok(());
    }
    let mut item = message_item(tables, key, opened, (seq, &row))?;
    let referrer = Referrer::Message(key, seq);
    item.attachments = files::attachments_of(tables, signer.domain(), &referrer)?;
    let issued = Timestamp::from_stored(row.issued);
    let (to, id) = (Destination::Group(group), item_id(group, &row));
    let sealed = signer.seal(to, id, issued, Kind::FeedItem(item));
    page.past
        .extend(sealed.ok().map(|envelope| wire::PastMessage {
            order,
            envelope: Some(envelope.into()),
        }));
    Ok(())
}

impl Room {
    /// The feed as it is before the last `count` messages are placed in it, and whether it begins, or goes
    /// on in a later epoch, by which its first item describes the channel. `None` while nobody elsewhere
    /// reads, nor ever did.
    fn open_feed(&mut self, count: u32) -> Option<(Log, bool)> {
        let wanted = self.kind == RoomKind::Channel && !self.reading.is_empty();
        if self.feed.is_none() && !wanted {
            return None;
        }
        // The log, or the room, has the new messages already.
        let last = self.log.map_or(self.head, |it| it.order);
        let before = last.saturating_sub(count);
        let epoch = self.log.map_or(1, |it| it.epoch);
        // After a loss of ours, or where another domain was the home meanwhile, the orders do not follow.
        let goes_on = |it: &Log| it.order == before && it.epoch >= epoch;
        if let Some(feed) = self.feed.filter(goes_on) {
            return Some((feed, false));
        }
        let begun = self.feed.unwrap_or(Log::opened(before));
        self.feed = Some(Log {
            epoch: epoch.max(begun.epoch + u64::from(self.feed.is_some())),
            order: before,
            ..begun
        });
        Some((begun, true))
    }

    /// Reads what there is to know of the feed of a channel. Blocks.
    pub(super) fn load_feed(&mut self, tables: &Tables, key: TopicKey) -> Result<(), StoreError> {
        let begun = self.feed;
        let last = last_of_feed(tables, key)?;
        let last = last.and_then(|row| storage::log_behind(&row));
        if self.home.is_some() {
            // A copy stands at the entry that it began behind, or further.
            let follows = |it: &Log| begun.is_some_and(|b| it.index >= b.index);
            self.feed = last.filter(follows).or(begun);
            let base = self.begun.map_or(0, |(_, base)| base);
            self.head = self.head.max(base);
            return Ok(());
        }
        self.feed = last;
        self.reading.extend(reading(tables, key)?);
        for peer in self.reading.keys() {
            let row = tables.follower(peer, key.feed())?;
            if let Some(row) = row.filter(|it| it.until == 0) {
                self.fed.insert(peer.clone(), row.since);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Room {
        let group = GroupId::from_bytes([1; 16]);
        Room::new(RoomKind::Channel, Some(group), Timestamp::EPOCH)
    }

    #[test]
    fn a_feed_begins_with_the_first_domain_that_reads_at_the_order_of_then() {
        let mut room = channel();
        room.head = 7;
        assert_eq!(room.open_feed(0), None);
        room.reading.insert("beta.test".parse().unwrap(), 1);
        // The seventh is being written now, and is to be placed.
        let (begun, opens) = room.open_feed(1).unwrap();
        assert_eq!(
            (begun.index, begun.order, begun.epoch, opens),
            (0, 6, 1, true)
        );
        room.feed = Some(Log {
            index: 2,
            order: 7,
            ..begun
        });
        assert_eq!(room.open_feed(0).map(|it| it.1), Some(false));
        // It stays when nobody reads: who comes again finds it without a gap.
        room.reading.clear();
        assert_eq!(room.open_feed(0).map(|it| it.1), Some(false));
    }

    #[test]
    fn a_message_has_the_same_id_in_every_feed_and_no_other_has_it() {
        let (one, two) = (GroupId::from_bytes([1; 16]), GroupId::from_bytes([2; 16]));
        let row = |author: &str, id: u8| MessageRow {
            author: author.to_owned(),
            message_id: vec![id; 16].into(),
            ..MessageRow::default()
        };
        let ann = "usrAAAAAAAAAAA@alpha.test";
        let id = item_id(one, &row(ann, 7));
        // Whoever numbers it where, and whatever is known of it there.
        let seen = MessageRow {
            content: vec![1].into(),
            received: 9,
            ..row(ann, 7)
        };
        assert_eq!(item_id(one, &seen), id);
        assert_ne!(item_id(two, &row(ann, 7)), id);
        assert_ne!(item_id(one, &row(ann, 8)), id);
        assert_ne!(item_id(one, &row("usrAAAAAAAAAAA@beta.test", 7)), id);
        assert_ne!(id.as_bytes(), &[7; 16]);
    }

    #[test]
    fn a_feed_whose_orders_do_not_follow_goes_on_in_a_later_epoch() {
        let mut room = channel();
        room.head = 7;
        room.feed = Some(Log {
            index: 3,
            ..Log::opened(7)
        });
        room.head = 1007;
        let (begun, opens) = room.open_feed(0).unwrap();
        let feed = room.feed.unwrap();
        assert!(opens && begun.index == feed.index);
        assert_eq!((feed.epoch, feed.order), (2, 1007));
    }
}
