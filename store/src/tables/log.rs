//! The logs of groups that span domains: what the home placed, in its order, at the home and at each
//! domain with a copy; and, at the home, how far each of those has been told.
//!
//! A message of the log is a row of [`super::messages`] too, which holds its words. What is no message
//! has its envelope here. At the home a message's order is its `seq`; elsewhere two small rows lead
//! from one to the other.

use freehold_proto::{DomainName, Position};
use prost::Message as _;

use super::{
    Tables, blob, damaged, decode,
    keys::{self, TopicKey},
    rows::{EnvelopeRow, FollowerRow, LogRow, PlaceRow, ReadingDomainRow, RequestRow, ToldRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

impl Tables {
    /// One entry.
    pub fn log_entry(&self, topic: TopicKey, index: u64) -> Result<Option<LogRow>, StoreError> {
        let key = keys::log_entry(topic, index);
        blob::get(self, &key)?
            .map(|bytes| decode(&key, bytes))
            .transpose()
    }

    /// The last entry; `None` where there is no log.
    pub fn log_head(&self, topic: TopicKey) -> Result<Option<(u64, LogRow)>, StoreError> {
        let range = KeyRange::prefix(&keys::log(topic));
        let last = self.log_page(&range, Order::Descending, 1)?;
        Ok(last.into_iter().next())
    }

    /// Index of the entry that a log was last brought up to; `None` where there is no log. Entries above
    /// it are of one that was given up.
    pub fn log_tip(&self, topic: TopicKey) -> Result<Option<u64>, StoreError> {
        let key = keys::log_tip(topic);
        let bytes = self.engine.get(&key)?;
        bytes
            .map(|it| {
                let index = it.as_ref().try_into().map_err(|_| damaged(&key))?;
                Ok(u64::from_be_bytes(index))
            })
            .transpose()
    }

    /// Entries above `after`, in order.
    pub fn log_after(
        &self,
        topic: TopicKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogRow)>, StoreError> {
        let range = KeyRange::prefix(&keys::log(topic))
            .starting_at(keys::log_entry(topic, after.saturating_add(1)));
        self.log_page(&range, Order::Ascending, limit)
    }

    fn log_page(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(u64, LogRow)>, StoreError> {
        let mut found = Vec::new();
        for (key, row) in self.page(range, order, limit)? {
            let index = keys::last_number(&key).ok_or_else(|| damaged(&key))?;
            let row = blob::complete(self, &key, &row)?;
            found.push((index, decode(&key, row)?));
        }
        Ok(found)
    }

    /// Our position of the message with this order, or of the last one before.
    pub fn seq_at(&self, topic: TopicKey, order: u32) -> Result<Option<(u32, u32)>, StoreError> {
        let range = keys::orders(topic, 0, order.saturating_add(1));
        let page = self.page(&range, Order::Descending, 1)?;
        page.first()
            .map(|(key, row)| {
                let order = keys::last_short(key).ok_or_else(|| damaged(key))?;
                let place: PlaceRow = decode(key, row.clone())?;
                Ok((order, place.seq))
            })
            .transpose()
    }

    /// Where the message with exactly this order stands.
    pub fn place(&self, topic: TopicKey, order: u32) -> Result<Option<PlaceRow>, StoreError> {
        self.row(&keys::order(topic, order))
    }

    /// The order and our position of messages with `low <= order < high`, in order.
    pub fn seqs_between(
        &self,
        topic: TopicKey,
        (low, high): (u32, u32),
        limit: usize,
    ) -> Result<Vec<(u32, u32)>, StoreError> {
        let range = keys::orders(topic, low, high);
        self.page(&range, Order::Ascending, limit)?
            .iter()
            .map(|(key, row)| {
                let order = keys::last_short(key).ok_or_else(|| damaged(key))?;
                let place: PlaceRow = decode(key, row.clone())?;
                Ok((order, place.seq))
            })
            .collect()
    }

    /// Where messages with an order below `before` stand, newest first.
    pub fn places_before(
        &self,
        topic: TopicKey,
        before: u32,
        limit: usize,
    ) -> Result<Vec<PlaceRow>, StoreError> {
        let range = keys::orders(topic, 0, before);
        self.page(&range, Order::Descending, limit)?
            .iter()
            .map(|(key, row)| decode(key, row.clone()))
            .collect()
    }

    /// The order of the message at our position `seq`, or of the last one before that has any and was
    /// not written here.
    pub fn order_at(&self, topic: TopicKey, seq: u32) -> Result<Option<(u32, u32)>, StoreError> {
        let range = keys::places(topic, 0, seq.saturating_add(1));
        let page = self.page(&range, Order::Descending, 1)?;
        page.first()
            .map(|(key, row)| {
                let seq = keys::last_short(key).ok_or_else(|| damaged(key))?;
                let place: PlaceRow = decode(key, row.clone())?;
                Ok((seq, place.order))
            })
            .transpose()
    }

    /// Our position and the order of messages behind `seq` that have one, in our order.
    pub fn places_after(
        &self,
        topic: TopicKey,
        seq: u32,
        limit: usize,
    ) -> Result<Vec<(u32, u32)>, StoreError> {
        let range = keys::places(topic, seq.saturating_add(1), u32::MAX);
        self.page(&range, Order::Ascending, limit)?
            .iter()
            .map(|(key, row)| {
                let seq = keys::last_short(key).ok_or_else(|| damaged(key))?;
                let place: PlaceRow = decode(key, row.clone())?;
                Ok((seq, place.order))
            })
            .collect()
    }

    /// Since when, and until when, a domain has a part in a group.
    pub fn follower(
        &self,
        peer: &DomainName,
        topic: TopicKey,
    ) -> Result<Option<FollowerRow>, StoreError> {
        self.row(&keys::follower(peer, topic))
    }

    /// How far a domain has been told what happens in a group.
    pub fn told(&self, peer: &DomainName, topic: TopicKey) -> Result<u64, StoreError> {
        let row: Option<ToldRow> = self.row(&keys::told(peer, topic))?;
        Ok(row.map_or(0, |it| it.told))
    }

    /// The groups that a domain is told about, from behind `after` on.
    pub fn followed_by(
        &self,
        peer: &DomainName,
        after: Option<TopicKey>,
        limit: usize,
    ) -> Result<Vec<(TopicKey, FollowerRow)>, StoreError> {
        let whole = KeyRange::prefix(&keys::followed_by(peer));
        let range = match after {
            Some(topic) => whole.starting_at([keys::follower(peer, topic), vec![0]].concat()),
            None => whole,
        };
        self.page(&range, Order::Ascending, limit)?
            .into_iter()
            .map(|(key, row)| {
                let topic = key.last_chunk::<16>().map(|it| it.as_slice());
                let topic = topic.and_then(TopicKey::from_slice);
                Ok((topic.ok_or_else(|| damaged(&key))?, decode(&key, row)?))
            })
            .collect()
    }

    /// Domains whose people read a channel of ours, and how many they are, behind `after`.
    pub fn reading_domains(
        &self,
        topic: TopicKey,
        after: Option<&DomainName>,
        limit: usize,
    ) -> Result<Vec<(DomainName, u32)>, StoreError> {
        let whole = KeyRange::prefix(&keys::reading_domains(topic));
        let range = match after {
            Some(peer) => whole.starting_at([keys::reading_domain(topic, peer), vec![0]].concat()),
            None => whole,
        };
        self.page(&range, Order::Ascending, limit)?
            .into_iter()
            .map(|(key, row)| {
                let peer = keys::last_reading_domain(&key).ok_or_else(|| damaged(&key))?;
                let row: ReadingDomainRow = decode(&key, row)?;
                Ok((peer, row.readers))
            })
            .collect()
    }

    /// What one of our people asked of a group's home.
    pub fn request(&self, topic: TopicKey, id: &[u8]) -> Result<Option<RequestRow>, StoreError> {
        let key = keys::request(topic, id);
        blob::get(self, &key)?
            .map(|bytes| decode(&key, bytes))
            .transpose()
    }
}

/// Writes an entry. Goes with [`extend_log`].
pub fn put_log_entry(batch: &mut Batch, topic: TopicKey, index: u64, row: &LogRow) {
    let key = keys::log_entry(topic, index);
    blob::put(batch, key, &row.encode_to_vec().into());
}

/// The batch has the entries from behind `before` up to `last`. It fails when `before` is not the last
/// one in the log: so a log never has a hole, whatever failed in between.
pub fn extend_log(batch: &mut Batch, topic: TopicKey, before: u64, last: u64) {
    let tip = keys::log_tip(topic);
    match before {
        0 => batch.require_absent(tip),
        _ => batch.require_value(tip, before.to_be_bytes().to_vec()),
    };
    put_log_tip(batch, topic, last);
}

/// A copy of a log begins behind this entry.
pub fn put_log_tip(batch: &mut Batch, topic: TopicKey, index: u64) {
    batch.put(keys::log_tip(topic), index.to_be_bytes().to_vec());
}

/// Takes the last entries out of a log, as many as `limit`, but none up to `base`; the messages in them
/// stay and have no order any more. True when none is left behind `base`. Blocks.
pub fn cut_log(
    tables: &Tables,
    batch: &mut Batch,
    topic: TopicKey,
    base: u64,
    limit: usize,
) -> Result<bool, StoreError> {
    let behind = base.saturating_add(1);
    let range = KeyRange::prefix(&keys::log(topic)).starting_at(keys::log_entry(topic, behind));
    let last = tables.log_page(&range, Order::Descending, limit)?;
    let Some((lowest, _)) = last.last() else {
        return Ok(true);
    };
    put_log_tip(batch, topic, lowest - 1);
    for (index, row) in &last {
        blob::remove(tables, batch, &keys::log_entry(topic, *index))?;
        let position = Position::decode(&row.position);
        if let Ok(position) = position
            && row.seq > 0
        {
            batch.remove(keys::order(topic, position.order));
            batch.remove(keys::place(topic, row.seq));
        }
    }
    Ok(*lowest == behind)
}

/// Notes where the message at `seq` stands in the log.
pub fn put_place(batch: &mut Batch, topic: TopicKey, place: PlaceRow) {
    batch.put(keys::order(topic, place.order), place.encode_to_vec());
    batch.put(keys::place(topic, place.seq), place.encode_to_vec());
}

/// The message at `seq` has no order any more.
pub fn remove_place(batch: &mut Batch, topic: TopicKey, place: PlaceRow) {
    batch.remove(keys::order(topic, place.order));
    batch.remove(keys::place(topic, place.seq));
}

/// Writes how far a domain has been told.
pub fn put_told(batch: &mut Batch, peer: &DomainName, topic: TopicKey, told: u64) {
    batch.put(keys::told(peer, topic), ToldRow { told }.encode_to_vec());
}

/// Writes since when, and until when, a domain has a part in a group.
pub fn put_follower(batch: &mut Batch, peer: &DomainName, topic: TopicKey, row: &FollowerRow) {
    batch.put(keys::follower(peer, topic), row.encode_to_vec());
}

/// Forgets a domain that has been told everything up to its end; the batch fails when `row` is not how
/// it stands any more.
pub fn remove_follower(batch: &mut Batch, peer: &DomainName, topic: TopicKey, row: &FollowerRow) {
    let key = keys::follower(peer, topic);
    batch.require_value(key.clone(), row.encode_to_vec());
    batch.remove(key);
    batch.remove(keys::told(peer, topic));
}

/// Forgets a domain, whatever it has been told.
pub fn drop_follower(batch: &mut Batch, peer: &DomainName, topic: TopicKey) {
    batch.remove(keys::follower(peer, topic));
    batch.remove(keys::told(peer, topic));
}

/// Writes how many people of a domain read a channel of ours; with 0 it is forgotten.
pub fn put_reading_domain(batch: &mut Batch, topic: TopicKey, peer: &DomainName, readers: u32) {
    let key = keys::reading_domain(topic, peer);
    match readers {
        0 => batch.remove(key),
        readers => batch.put(key, ReadingDomainRow { readers }.encode_to_vec()),
    };
}

/// Takes the words of the message at `seq` out of a feed, which keeps its header: the chain still holds.
/// Blocks.
pub fn erase_from_feed(
    tables: &Tables,
    batch: &mut Batch,
    feed: TopicKey,
    seq: u32,
) -> Result<(), StoreError> {
    let Some((_, order)) = tables.order_at(feed, seq)?.filter(|it| it.0 == seq) else {
        return Ok(());
    };
    let index = tables.place(feed, order)?.map_or(0, |it| it.index);
    let Some(row) = tables.log_entry(feed, index)? else {
        return Ok(());
    };
    let envelope = row.envelope.map(|it| EnvelopeRow {
        salt: bytes::Bytes::new(),
        payload: bytes::Bytes::new(),
        ..it
    });
    let left = LogRow { envelope, ..row };
    let key = keys::log_entry(feed, index);
    blob::replace(tables, batch, key, &left.encode_to_vec().into())
}

/// Writes what one of our people asks of a group's home.
pub fn put_request(batch: &mut Batch, topic: TopicKey, id: &[u8], row: &RequestRow) {
    blob::put(batch, keys::request(topic, id), &row.encode_to_vec().into());
}

/// Takes a request out that has been decided. Blocks.
pub fn remove_request(
    tables: &Tables,
    batch: &mut Batch,
    topic: TopicKey,
    id: &[u8],
) -> Result<(), StoreError> {
    blob::remove(tables, batch, &keys::request(topic, id))
}
