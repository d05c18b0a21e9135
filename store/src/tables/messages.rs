//! The log of a topic, and the way from message ids into it. The message row is the commit point of
//! a publish; heads are read from the end of the log once and then live in memory.

use bytes::Bytes;
use freehold_proto::{DomainName, MessageId, UserId};
use prost::Message as _;

use super::{
    Tables, blob, damaged, decode,
    keys::{self, TopicKey},
    rows::{EnvelopeRow, MessageRow, SeenRow},
};
use crate::{Batch, Order, StoreError};

impl Tables {
    /// The highest `seq` of a topic; 0 when it has no messages.
    pub fn head(&self, topic: TopicKey) -> Result<u32, StoreError> {
        let range = keys::messages(topic, 0, u32::MAX);
        match self.page(&range, Order::Descending, 1)?.first() {
            Some((key, _)) => keys::message_seq(key).ok_or_else(|| damaged(key)),
            None => Ok(0),
        }
    }

    /// One message.
    pub fn message(&self, topic: TopicKey, seq: u32) -> Result<Option<MessageRow>, StoreError> {
        let key = keys::message(topic, seq);
        blob::get(self, &key)?
            .map(|bytes| decode(&key, bytes))
            .transpose()
    }

    /// Messages with `low <= seq < high`, newest first, at most `limit` of them and about
    /// `bytes_max` bytes (at least one message, whatever its size).
    pub fn history(
        &self,
        topic: TopicKey,
        low: u32,
        high: u32,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(u32, MessageRow)>, StoreError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for (key, row) in self.page(&keys::messages(topic, low, high), Order::Descending, limit)? {
            let seq = keys::message_seq(&key).ok_or_else(|| damaged(&key))?;
            let row = blob::complete(self, &key, &row)?;
            bytes += row.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push((seq, decode(&key, row)?));
        }
        Ok(found)
    }

    /// Positions with `low <= seq < high` that hold a message, in order, at most `limit`.
    pub fn seqs(
        &self,
        topic: TopicKey,
        (low, high): (u32, u32),
        limit: usize,
    ) -> Result<Vec<u32>, StoreError> {
        let range = keys::messages(topic, low, high);
        self.page(&range, Order::Ascending, limit)?
            .iter()
            .map(|(key, _)| keys::message_seq(key).ok_or_else(|| damaged(key)))
            .collect()
    }

    /// The same without messages that are hidden from `user`.
    pub fn visible_history(
        &self,
        topic: TopicKey,
        user: &UserId,
        (low, high): (u32, u32),
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(u32, MessageRow)>, StoreError> {
        let (mut found, mut bytes, mut high) = (Vec::new(), 0, high);
        while found.len() < limit && bytes < bytes_max {
            let Some((start, end)) = self.last_visible(topic, user, (low, high))? else {
                break;
            };
            let left = limit - found.len();
            let page = self.history(topic, start, end, left, bytes_max - bytes)?;
            // Without a full page the stretch has been read to its start.
            high = match page.last() {
                Some((seq, _)) if *seq > start => *seq,
                _ => start,
            };
            bytes += page.iter().map(|(_, row)| row.encoded_len()).sum::<usize>();
            found.extend(page);
        }
        Ok(found)
    }

    /// What became of a message id.
    pub fn seen(&self, origin: &DomainName, id: MessageId) -> Result<Option<SeenRow>, StoreError> {
        self.row(&keys::seen(origin, id))
    }
}

/// Writes a message; the batch fails when the position is taken, so that no fault above can ever
/// write over a message.
pub fn put_message(batch: &mut Batch, topic: TopicKey, seq: u32, row: &MessageRow) {
    let key = keys::message(topic, seq);
    batch.require_absent(key.clone());
    blob::put(batch, key, &row.encode_to_vec().into());
}

/// Writes a message in the place of the same one, of which less was known. Blocks.
pub fn replace_message(
    tables: &Tables,
    batch: &mut Batch,
    topic: TopicKey,
    seq: u32,
    row: &MessageRow,
) -> Result<(), StoreError> {
    let key = keys::message(topic, seq);
    blob::replace(tables, batch, key, &row.encode_to_vec().into())
}

/// Takes the content of a message away; who wrote it, when and under which id stays, and so does its
/// position. Blocks.
pub fn erase_message(
    tables: &Tables,
    batch: &mut Batch,
    (topic, seq): (TopicKey, u32),
    deletion: u32,
) -> Result<(), StoreError> {
    let Some(row) = tables.message(topic, seq)?.filter(|it| it.deleted == 0) else {
        return Ok(());
    };
    let left = MessageRow {
        head: Bytes::new(),
        content: Bytes::new(),
        envelope: row.envelope.map(|it| EnvelopeRow {
            salt: Bytes::new(),
            payload: Bytes::new(),
            ..it
        }),
        deleted: deletion,
        vouched: None,
        ..row
    };
    let key = keys::message(topic, seq);
    blob::replace(tables, batch, key, &left.encode_to_vec().into())
}

/// Writes what became of a message id; the batch fails when that is known already.
pub fn put_seen(batch: &mut Batch, origin: &DomainName, id: MessageId, row: &SeenRow) {
    let key = keys::seen(origin, id);
    batch.require_absent(key.clone());
    batch.put(key, row.encode_to_vec());
}
