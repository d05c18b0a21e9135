//! What was written in a group before a domain came in: shown by the home, fetched by a copy, page by
//! page from the newest on (PROTOCOL.md section 7.7; rules.md 8). It stands under the home's numbers.

use std::collections::BTreeSet;

use bytes::Bytes;
use freehold_federation::{GroupAnswer, GroupQuery, Past};
use freehold_keys::{Entry, Opened, Signer};
use freehold_proto::{
    Destination, Envelope, GroupId, Header, MessageId, Timestamp, UserId, limits, wire,
    wire::payload::Kind,
};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        log::{put_log_entry, put_place},
        messages::{fill_message, put_seen, replace_message},
        rows::{LogRow, MessageRow, PlaceRow, SeenRow},
    },
};
use prost::Message as _;

use super::{
    Command, TopicName,
    actor::{Actor, Effect},
    feed_copy::{note_shown, shown_before},
    group_home::message_row,
    hub::Hub,
    message, places,
};
use crate::{
    edge::reply::Reply,
    files::{self, Attached, Referrer},
    peers::outbox::logs,
};

/// Messages in one page.
const PAGE: usize = 100;
/// The newest ones, shown at once to whoever has the group open.
const SHOWN_MAX: usize = 24;
/// Messages that a copy fetches from before it began; what is older stays at the home.
const FETCHED_MAX: u32 = 10_000;

/// Files of the messages in one page; more would not fit into one batch with what else is written.
const FILES_MAX: usize = 512;

/// Positions looked at for one that is free.
const FREE_MAX: u32 = 1000;

/// A page of a group's past, as its home answered.
#[derive(Debug)]
pub struct PastPage {
    /// What was placed in the log.
    pub entries: Vec<Entry>,
    /// What was written before there was one.
    pub past: Vec<Past>,
    /// There is older.
    pub more: bool,
}

/// Messages with an order below `before`, newest first. Blocks.
pub(crate) fn page(
    signer: &Signer,
    tables: &Tables,
    group: GroupId,
    before: u32,
) -> Result<wire::LogPage, StoreError> {
    let key = TopicKey::group(&group);
    let room = tables.room(key)?.unwrap_or_default();
    let renumbered = room.begun.is_some();
    let (mut page, mut before) = (wire::LogPage::default(), before);
    // Where everything has been deleted there is nothing to show, and older may be left.
    while page.entries.is_empty() && page.past.is_empty() && before > 1 {
        let same = room.opened.saturating_add(1);
        let (rows, low) = match renumbered && before > same {
            true => (by_order(tables, key, before)?, same),
            false => (by_position(tables, key, before)?, 1),
        };
        before = rows.last().map_or(low, |it| it.0).min(before - 1);
        for (order, seq, row) in rows {
            // What is deleted may not be erased yet.
            if row.deleted != 0 || tables.is_deleted(key, seq)? {
                continue;
            }
            show(signer, tables, (group, key), (order, seq, row), &mut page)?;
        }
    }
    page.more = before > 1;
    Ok(page)
}

/// An order, a position, and the message there.
pub(super) type Placed = (u32, u32, MessageRow);

/// Messages at positions below `before` where that is their order, newest first. Blocks.
pub(super) fn by_position(
    tables: &Tables,
    key: TopicKey,
    before: u32,
) -> Result<Vec<Placed>, StoreError> {
    let rows = tables.history(key, 1, before, PAGE, limits::BATCH_BYTES_MAX / 2)?;
    Ok(rows.into_iter().map(|(seq, row)| (seq, seq, row)).collect())
}

/// Messages with an order below `before` where that is not their position, newest first. Blocks.
pub(super) fn by_order(
    tables: &Tables,
    key: TopicKey,
    before: u32,
) -> Result<Vec<Placed>, StoreError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for place in tables.places_before(key, before, PAGE)? {
        let Some(row) = tables.message(key, place.seq)? else {
            continue;
        };
        bytes += row.encoded_len();
        found.push((place.order, place.seq, row));
        if bytes > limits::BATCH_BYTES_MAX / 2 {
            break;
        }
    }
    Ok(found)
}

fn show(
    signer: &Signer,
    tables: &Tables,
    (group, key): (GroupId, TopicKey),
    (order, seq, row): Placed,
    page: &mut wire::LogPage,
) -> Result<(), StoreError> {
    let index = tables.place(key, order)?.map_or(0, |it| it.index);
    if let Some(entry) = tables.log_entry(key, index)? {
        let entry = logs::entry(tables, key, &entry)?;
        page.entries
            .extend(entry.map(|(placed, envelope)| wire::LogEntry {
                placed: Some(placed.into()),
                envelope: Some(envelope.into()),
            }));
    } else {
        let referrer = Referrer::Message(key, seq);
        let envelope = match row.vouched.clone().and_then(message::envelope_of) {
            // Another home did, while it was it.
            Some(envelope) => Some(envelope),
            None => {
                let files = files::attachments_of(tables, signer.domain(), &referrer)?;
                vouched(signer, group, &row, files)
            }
        };
        page.past.extend(envelope.map(|envelope| wire::PastMessage {
            order,
            envelope: Some(envelope.into()),
        }));
    }
    Ok(())
}

/// A message from before there was a log, in our own words.
fn vouched(
    signer: &Signer,
    group: GroupId,
    row: &MessageRow,
    attachments: Vec<wire::Attachment>,
) -> Option<Envelope> {
    let (head, content) = message::words_with_references(row);
    let words = Kind::GroupMessage(wire::GroupMessage {
        author: row.author.clone(),
        head,
        content,
        attachments,
        ..wire::GroupMessage::default()
    });
    let id = MessageId::from_slice(&row.message_id).ok()?;
    let issued = Timestamp::from_stored(row.issued);
    let to = Destination::Group(group);
    signer.seal(to, id, issued, words).ok()
}

impl Actor {
    /// Fetches what was written before the copy began, unless that has been done.
    pub(super) fn fetch_past(&mut self) {
        let Some(room) = self.topic.room().filter(|it| it.deleted.is_none()) else {
            return;
        };
        let (Some((begun, _)), Some(home)) = (room.begun, room.home.clone()) else {
            return;
        };
        let before = match room.fetched {
            0 => begun.order.saturating_add(1),
            fetched => fetched,
        };
        let enough = begun.order.saturating_sub(before) >= FETCHED_MAX;
        let fed = room.reads_feed(&self.server.us);
        let TopicName::Group(group) = self.name else {
            return;
        };
        if before <= 1 || enough || !self.begin_pull() {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        self.server.tasks.spawn("group history", async move {
            let query = match fed {
                true => GroupQuery::FeedBefore(before),
                false => GroupQuery::MessagesBefore(before),
            };
            let answer = match server.federation.get() {
                Some(federation) => federation.read_group(&home, group, query).await,
                None => Ok(None),
            };
            let page = match answer {
                Ok(Some(GroupAnswer::Page(entries, past, more))) => Some(PastPage {
                    entries,
                    past,
                    more,
                }),
                other => {
                    tracing::debug!(peer = %home, ?other, "the past of a group is not shown now");
                    None
                }
            };
            Hub::send(&server, &name, Command::Past(page)).await;
        });
    }

    /// A page of the past has come, or none.
    pub(super) async fn take_past(&mut self, page: Option<PastPage>) {
        self.pulled();
        let Some(page) = page else { return };
        if let Err(reply) = self.keep_past(page).await {
            tracing::warn!(
                code = reply.status.code,
                "a page of a group's past is not kept"
            );
            return self.read_again();
        }
        self.fetch_past();
    }

    async fn keep_past(&mut self, page: PastPage) -> Result<(), Reply> {
        self.finish_commits().await?;
        let (key, now) = (self.key(), self.now());
        let Some(room) = self.topic.room() else {
            return Ok(());
        };
        let (opened, Some((begun, head))) = (room.opened, room.begun) else {
            return Ok(());
        };
        let orders = page.entries.iter().map(|it| it.position.order);
        let orders = orders.chain(page.past.iter().map(|it| it.order));
        // A home that shows nothing, or what was not asked for, is asked no more.
        let lowest = orders.min().filter(|_| page.more).unwrap_or(1).max(1);
        let written = page.entries.into_iter().filter_map(|it| written(it, now));
        let past = page.past.into_iter().filter_map(|it| vouched_for(it, now));
        let (mut all, mut left) = (Vec::new(), FILES_MAX);
        let earlier = |it: &Found| it.order <= begun.order && it.index <= begun.index;
        for mut found in written.chain(past).filter(earlier) {
            found.files.truncate(left);
            left -= found.files.len();
            let held = self.server.files.hold_attached(&found.files, &found.from);
            all.push((held.await?, found));
        }
        let fill = move |tables: &Tables| {
            let (mut batch, mut kept, mut files) = (Batch::new(), Vec::new(), Vec::new());
            let mut taken = BTreeSet::new();
            for (held, found) in all {
                let places = (key, opened, head);
                let seq = keep(tables, &mut batch, places, &taken, &found, now)?;
                if let Some(seq) = seq {
                    taken.insert(seq);
                    held.refer(&mut batch, &Referrer::Message(key, seq), true);
                    kept.push((seq, found.row));
                    files.push(Effect::Referred(held));
                }
            }
            kept.sort_unstable_by_key(|(seq, _)| std::cmp::Reverse(*seq));
            kept.truncate(SHOWN_MAX);
            Ok((batch, kept, files))
        };
        let (batch, kept, mut effects) = self.server.tables.read(fill).await?;
        let room = self.room_mut()?;
        let asked = if room.fetched == 0 {
            u32::MAX
        } else {
            room.fetched
        };
        // Older ones are asked for by whoever looks for them.
        let newest = room.fetched == 0;
        room.fetched = if lowest < asked { lowest } else { 1 };
        room.dirty = true;
        effects.extend(newest.then_some(Effect::Past(kept)));
        self.commit_all(batch, effects);
        Ok(())
    }
}

/// A message of the past, and where it stands.
struct Found {
    order: u32,
    index: u64,
    /// Its place in the log, if it has one.
    placed: Option<LogRow>,
    from: freehold_proto::DomainName,
    header_hash: Bytes,
    row: MessageRow,
    files: Vec<Attached>,
    /// As readers get it: without author, and known by its order alone.
    fed: bool,
}

fn author_of(words: &wire::GroupMessage) -> Option<UserId> {
    message::makes_sense(&words.head, &words.content).ok()?;
    words.author.parse().ok()
}

/// What an entry of the log says, if it is a message that can be shown.
fn written(entry: Entry, now: Timestamp) -> Option<Found> {
    if entry.position.feed {
        let order = entry.position.order;
        return fed(order, entry.payload?, &entry.envelope, entry.header, now);
    }
    let Some(Kind::GroupMessage(words)) = &entry.payload else {
        return None;
    };
    let author = author_of(words).filter(|it| *it.domain() == entry.header.from)?;
    Some(Found {
        files: Attached::read(&words.attachments).ok()?,
        order: entry.position.order,
        index: entry.position.index,
        placed: Some(LogRow {
            position: entry.placed.position.clone(),
            signature: Bytes::copy_from_slice(&entry.placed.signature),
            seq: entry.position.order,
            envelope: None,
        }),
        row: as_old(message_row(&author, &entry.envelope, &entry.header, now)),
        header_hash: Bytes::copy_from_slice(&entry.envelope.header_hash()),
        from: entry.header.from,
        fed: false,
    })
}

/// What the home says of its own people, from before there was a log. References in it are orders,
/// which are the positions here too.
fn vouched_for(past: Past, now: Timestamp) -> Option<Found> {
    let Opened {
        envelope,
        header,
        payload,
    } = past.envelope?;
    if let Kind::FeedItem(_) = payload {
        return fed(past.order, payload, &envelope, header, now);
    }
    let Kind::GroupMessage(words) = payload else {
        return None;
    };
    let author = author_of(&words).filter(|it| *it.domain() == header.from)?;
    let hash = Bytes::copy_from_slice(&envelope.header_hash());
    let files = Attached::read(&words.attachments).ok()?;
    let row = MessageRow {
        head: words.head,
        content: words.content,
        envelope: None,
        vouched: Some(message::envelope_row(&envelope)),
        ..message_row(&author, &envelope, &header, now)
    };
    Some(Found {
        order: past.order,
        index: 0,
        placed: None,
        row: as_old(row),
        header_hash: hash,
        from: header.from,
        files,
        fed: false,
    })
}

/// What the home of a channel shows its readers, if it is a message that can be shown.
fn fed(
    order: u32,
    payload: Kind,
    envelope: &Envelope,
    header: Header,
    now: Timestamp,
) -> Option<Found> {
    let Kind::FeedItem(item) = payload else {
        return None;
    };
    message::makes_sense(&item.head, &item.content).ok()?;
    let row = MessageRow {
        message_id: Bytes::copy_from_slice(header.message_id.as_bytes()),
        issued: header.issued_at.as_millis(),
        received: now.as_millis(),
        head: item.head,
        content: item.content,
        ..MessageRow::default()
    };
    Some(Found {
        order,
        index: 0,
        placed: None,
        row: as_old(row),
        header_hash: Bytes::copy_from_slice(&envelope.header_hash()),
        from: header.from,
        files: Attached::read(&item.attachments).ok()?,
        fed: true,
    })
}

/// It came here late, and is as old as it is.
fn as_old(row: MessageRow) -> MessageRow {
    MessageRow {
        received: row.received.min(row.issued),
        ..row
    }
}

/// Adds a message of the past, unless something stands there; its position, if it was added. Blocks.
fn keep(
    tables: &Tables,
    batch: &mut Batch,
    (key, opened, head): (TopicKey, u32, u32),
    taken: &BTreeSet<u32>,
    found: &Found,
    now: Timestamp,
) -> Result<Option<u32>, StoreError> {
    let known = places::seq_of(tables, key, opened, found.order)?;
    let mut seq = known.unwrap_or(found.order);
    let Ok(id) = MessageId::from_slice(&found.row.message_id) else {
        return Ok(None);
    };
    if found.fed && known.is_none() {
        if let Some(seq) = shown_before(tables, key, id)? {
            let (order, index) = (found.order, found.index);
            put_place(batch, key, PlaceRow { order, index, seq });
            return Ok(None);
        }
        // What a home that was had placed may stand in its place.
        let free = |it: &u32| !taken.contains(it) && matches!(tables.message(key, *it), Ok(None));
        seq = (seq..=head.min(seq.saturating_add(FREE_MAX)))
            .find(free)
            .unwrap_or(seq);
    }
    if !found.fed && tables.seen(&found.from, id)?.is_some() {
        return Ok(None);
    }
    // It was deleted while it was on its way.
    if tables.is_deleted(key, seq)? {
        return Ok(None);
    }
    match tables.message(key, seq)? {
        None => fill_message(batch, key, seq, &found.row),
        // What came without its author, while only readers were here, is had with them now.
        Some(it) if known.is_some() && !found.fed && it.deleted == 0 && it.author.is_empty() => {
            replace_message(tables, batch, key, seq, &found.row)?;
        }
        Some(_) => return Ok(None),
    }
    let place = PlaceRow {
        order: found.order,
        index: found.index,
        seq,
    };
    put_place(batch, key, place);
    if let Some(row) = &found.placed {
        let row = LogRow { seq, ..row.clone() };
        put_log_entry(batch, key, found.index, &row);
    }
    if found.fed {
        note_shown(batch, key, id, seq, now);
        return Ok(Some(seq));
    }
    let mark = SeenRow {
        header_hash: found.header_hash.clone(),
        topic: Bytes::copy_from_slice(key.as_bytes()),
        seq,
        at: now.as_millis(),
        ..SeenRow::default()
    };
    put_seen(batch, &found.from, id, &mark);
    Ok(Some(seq))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use freehold_store::{
        MemoryEngine, Outcome,
        tables::{
            deletions,
            rows::{DeletionRow, SpanRow},
        },
    };

    use super::*;

    const ORDERS: u32 = 6;

    /// A message of the past that has come from the home of the group, or of the channel.
    fn found(order: u32, fed: bool) -> Found {
        let mut id = [0; 16];
        id[12..].copy_from_slice(&order.to_be_bytes());
        let row = MessageRow {
            message_id: Bytes::copy_from_slice(&id),
            ..MessageRow::default()
        };
        Found {
            order,
            index: 0,
            placed: None,
            row,
            header_hash: Bytes::new(),
            from: "alpha.test".parse().unwrap(),
            files: Vec::new(),
            fed,
        }
    }

    #[test]
    fn what_was_deleted_while_it_was_on_its_way_is_not_taken_in() {
        let tables = Tables::open(Arc::new(MemoryEngine::new())).unwrap();
        let key = TopicKey::group(&GroupId::from_bytes([7; 16]));
        let mut batch = Batch::new();
        let row = DeletionRow {
            spans: vec![SpanRow { low: 3, high: 5 }],
            ..DeletionRow::default()
        };
        let left = deletions::delete(&tables, &mut batch, (key, None), 1, row).unwrap();
        assert!(left.is_empty());
        let written = tables.commit(batch).wait_blocking().unwrap();
        assert_eq!(written, Outcome::Applied);
        for fed in [false, true] {
            let places = (key, ORDERS, ORDERS);
            let keep = |order| {
                let (mut batch, found) = (Batch::new(), found(order, fed));
                let taken = BTreeSet::new();
                keep(
                    &tables,
                    &mut batch,
                    places,
                    &taken,
                    &found,
                    Timestamp::EPOCH,
                )
                .unwrap()
            };
            let kept: Vec<_> = (1..=ORDERS).filter_map(keep).collect();
            assert_eq!(kept, [1, 2, 5, 6], "fed: {fed}");
        }
    }
}
