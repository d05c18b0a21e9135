//! What waits for a peer. A row exists exactly as long as its item is undecided; it refers to the
//! message, relation or cursor and holds no copy.
//!
//! Messages stand in the order they were queued. A relation or a cursor has one *cell* for each topic
//! and person: a newer one takes a new position and the older position goes. A message that the peer
//! answered with *later* is *parked*, and so is every later message of its author in its topic, so
//! that their order holds while all others flow on (rules.md 7).

use freehold_proto::{DomainName, UserId};
use prost::Message as _;

use super::{
    Tables, damaged, decode,
    keys::{self, TopicKey},
    rows::{CellRow, OutboxRow, StreamRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

/// [`OutboxRow::kind`] of a message.
pub const MESSAGE: u8 = 1;
/// [`OutboxRow::kind`] of a relation.
pub const RELATION: u8 = 2;
/// [`OutboxRow::kind`] of a cursor.
pub const CURSOR: u8 = 3;

/// [`OutboxRow::kind`] of a request to a group's home.
pub const REQUEST: u8 = 4;
/// [`OutboxRow::kind`] of an invitation to a group.
pub const INVITATION: u8 = 5;
/// [`OutboxRow::kind`] of how far people of a group have got.
pub const GROUP_CURSORS: u8 = 6;
/// [`OutboxRow::kind`] of what somebody says about a call.
pub const CALL: u8 = 7;

impl Tables {
    /// Items waiting for `peer` above `after`, in order.
    pub fn outbox(
        &self,
        peer: &DomainName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, OutboxRow)>, StoreError> {
        let range = KeyRange::prefix(&keys::outbox_of(peer))
            .starting_at(keys::outbox(peer, after.saturating_add(1)));
        self.numbered(&range, Order::Ascending, limit)
    }

    /// The highest position ever given to an item that still waits, parked ones included.
    pub fn outbox_head(&self, peer: &DomainName) -> Result<u64, StoreError> {
        let range = KeyRange::prefix(&keys::outbox_of(peer));
        let last = self.numbered(&range, Order::Descending, 1)?;
        Ok(last.first().map_or(0, |(position, _)| *position))
    }

    /// Messages parked for `peer`, grouped by topic and author, each group in order; with the key
    /// from which the next page goes on.
    pub fn parked_after(
        &self,
        peer: &DomainName,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, u64, OutboxRow)>, StoreError> {
        let whole = KeyRange::prefix(&keys::parked_of(peer));
        let range = match after {
            Some(key) => whole.starting_at([key, &[0]].concat()),
            None => whole,
        };
        self.page(&range, Order::Ascending, limit)?
            .into_iter()
            .map(|(key, row)| {
                let position = keys::last_number(&key).ok_or_else(|| damaged(&key))?;
                let row = decode(&key, row)?;
                Ok((key.to_vec(), position, row))
            })
            .collect()
    }

    /// Messages of one author in one topic parked for `peer`, in order.
    pub fn parked_pair(
        &self,
        peer: &DomainName,
        topic: TopicKey,
        author: &UserId,
        limit: usize,
    ) -> Result<Vec<(u64, OutboxRow)>, StoreError> {
        let range = KeyRange::prefix(&keys::parked_pair(peer, topic, author));
        self.numbered(&range, Order::Ascending, limit)
    }

    /// Where a coalesced item stands.
    pub fn outbox_cell(
        &self,
        peer: &DomainName,
        kind: u8,
        topic: TopicKey,
        user: &UserId,
    ) -> Result<Option<u64>, StoreError> {
        let cell: Option<CellRow> = self.row(&keys::cell(peer, kind, topic, user))?;
        Ok(cell.map(|it| it.position))
    }

    /// The stream to a peer, if there ever was one.
    pub fn stream_out(&self, peer: &DomainName) -> Result<Option<StreamRow>, StoreError> {
        self.row(&keys::stream_out(peer))
    }

    /// Peers that we ever had something for, from `after` on.
    pub fn streams_out(
        &self,
        after: Option<&DomainName>,
        limit: usize,
    ) -> Result<Vec<DomainName>, StoreError> {
        let whole = KeyRange::prefix(&keys::streams_out());
        let range = match after {
            Some(peer) => whole.starting_at([keys::stream_out(peer), vec![0]].concat()),
            None => whole,
        };
        let name = |key: &[u8]| std::str::from_utf8(key.get(1..)?).ok()?.parse().ok();
        self.page(&range, Order::Ascending, limit)?
            .iter()
            .map(|(key, _)| name(key).ok_or_else(|| damaged(key)))
            .collect()
    }

    fn numbered(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(u64, OutboxRow)>, StoreError> {
        self.page(range, order, limit)?
            .into_iter()
            .map(|(key, row)| {
                let position = keys::last_number(&key).ok_or_else(|| damaged(&key))?;
                Ok((position, decode(&key, row)?))
            })
            .collect()
    }
}

/// Queues an item at a fresh position.
pub fn put_item(batch: &mut Batch, peer: &DomainName, position: u64, row: &OutboxRow) {
    batch.put(keys::outbox(peer, position), row.encode_to_vec());
}

/// Takes an item out.
pub fn remove_item(batch: &mut Batch, peer: &DomainName, position: u64) {
    batch.remove(keys::outbox(peer, position));
}

/// Moves a coalesced item to a fresh position; `row` says what it is.
pub fn put_cell(
    batch: &mut Batch,
    peer: &DomainName,
    (topic, user): (TopicKey, &UserId),
    former: Option<u64>,
    position: u64,
    row: &OutboxRow,
) {
    if let Some(former) = former {
        remove_item(batch, peer, former);
    }
    put_item(batch, peer, position, row);
    let kind = u8::try_from(row.kind).expect("kinds are the small constants of this module");
    batch.put(
        keys::cell(peer, kind, topic, user),
        CellRow { position }.encode_to_vec(),
    );
}

/// Takes a coalesced item out together with its cell; the batch fails when the item has moved on to
/// another position.
pub fn remove_cell(
    batch: &mut Batch,
    peer: &DomainName,
    kind: u8,
    (topic, user): (TopicKey, &UserId),
    position: u64,
) {
    let key = keys::cell(peer, kind, topic, user);
    batch.require_value(key.clone(), CellRow { position }.encode_to_vec());
    batch.remove(key);
    remove_item(batch, peer, position);
}

/// Parks a message under its author and topic.
pub fn park(
    batch: &mut Batch,
    peer: &DomainName,
    (topic, author): (TopicKey, &UserId),
    position: u64,
    row: &OutboxRow,
) {
    batch.put(
        keys::parked(peer, topic, author, position),
        row.encode_to_vec(),
    );
}

/// Takes a parked message out.
pub fn unpark(
    batch: &mut Batch,
    peer: &DomainName,
    (topic, author): (TopicKey, &UserId),
    position: u64,
) {
    batch.remove(keys::parked(peer, topic, author, position));
}

/// Writes the stream to a peer.
pub fn put_stream_out(batch: &mut Batch, peer: &DomainName, row: &StreamRow) {
    batch.put(keys::stream_out(peer), row.encode_to_vec());
}
