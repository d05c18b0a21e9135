//! The log of a topic, and the way from message ids into it. The message row is the commit point of
//! a publish; heads are read from the end of the log once and then live in memory. What is older lies in
//! [`super::packs`], which readers look at after the rows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freehold_proto::{DomainName, MessageId, UserId};
use prost::Message as _;

use super::{
    Tables, blob, damaged, decode,
    keys::{self, TopicKey},
    packs::{self, Packed},
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
        match blob::get(self, &key)? {
            Some(bytes) => decode(&key, bytes).map(Some),
            None => self.packed(topic, seq),
        }
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
        let rows = self.page(&keys::messages(topic, low, high), Order::Descending, limit)?;
        let mut rows = rows.into_iter().peekable();
        let mut packed = Downwards::new(topic, low);
        let (mut found, mut bytes, mut below) = (Vec::new(), 0, high);
        while found.len() < limit {
            let upper = match rows.peek() {
                Some((key, _)) => Some(keys::message_seq(key).ok_or_else(|| damaged(key))?),
                None => None,
            };
            // Between neighbours there is nothing to be looked for.
            let older = match upper.is_some_and(|it| it + 1 == below) {
                true => None,
                false => packed.peek(self, below)?,
            };
            let (seq, row, takes) = match (upper, older) {
                (Some(seq), older) if older.is_none_or(|it| it <= seq) => {
                    let Some((key, row)) = rows.next() else { break };
                    let row = blob::complete(self, &key, &row)?;
                    (seq, decode(&key, row.clone())?, row.len())
                }
                (_, Some(seq)) => {
                    let row = packed.take(seq)?;
                    let takes = row.encoded_len();
                    (seq, row, takes)
                }
                (_, None) => break,
            };
            bytes += takes;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push((seq, row));
            below = seq;
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
        let rows = self.page(&range, Order::Ascending, limit)?;
        let seq = |(key, _): &(Bytes, _)| keys::message_seq(key).ok_or_else(|| damaged(key));
        let mut found: BTreeSet<u32> = rows.iter().map(seq).collect::<Result<_, _>>()?;
        // Behind the last row of a full page there may be more rows.
        let end = match found.last() {
            Some(last) if rows.len() == limit => *last,
            _ => high,
        };
        let (mut next, mut known) = (low, 0);
        while known < limit
            && let Some(packed) = self.packed_next(topic, (next, end), Order::Ascending)?
        {
            found.extend(packed.seqs());
            next = packed.span.1;
            known = found.range(..next).count();
        }
        Ok(found.into_iter().take(limit).collect())
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

/// Reads what is packed in a topic from some position downwards to `low`.
struct Downwards {
    topic: TopicKey,
    low: u32,
    stretch: Option<Packed>,
}

impl Downwards {
    fn new(topic: TopicKey, low: u32) -> Self {
        Self {
            topic,
            low,
            stretch: None,
        }
    }

    /// The last packed position before `below`.
    fn peek(&mut self, tables: &Tables, below: u32) -> Result<Option<u32>, StoreError> {
        let mut high = below;
        loop {
            if let Some(packed) = &self.stretch {
                if let Some(seq) = packed.seqs().rfind(|it| *it < below) {
                    return Ok(Some(seq));
                }
                high = high.min(packed.span.0);
            }
            let next = tables.packed_next(self.topic, (self.low, high), Order::Descending)?;
            let Some(next) = next else {
                return Ok(None);
            };
            self.stretch = Some(next);
        }
    }

    fn take(&mut self, seq: u32) -> Result<MessageRow, StoreError> {
        match &mut self.stretch {
            Some(packed) => packed.take(self.topic, seq),
            None => Err(damaged(&keys::message(self.topic, seq))),
        }
    }
}

/// Writes a message at the end of a topic; the batch fails when it is not the end, so that no fault above
/// can ever write over a message.
pub fn put_message(batch: &mut Batch, topic: TopicKey, seq: u32, row: &MessageRow) {
    batch.require_nothing(keys::messages(topic, seq, u32::MAX));
    blob::put(
        batch,
        keys::message(topic, seq),
        &row.encode_to_vec().into(),
    );
    packs::note_end(batch, topic, seq, row);
}

/// Writes a message where the past of a topic has none; the batch fails when another one is put there at
/// the same time.
pub fn fill_message(batch: &mut Batch, topic: TopicKey, seq: u32, row: &MessageRow) {
    let key = keys::message(topic, seq);
    batch.require_absent(key.clone());
    blob::put(batch, key, &row.encode_to_vec().into());
    packs::note_past(batch, topic, seq);
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
    packs::note_past(batch, topic, seq);
    blob::replace(tables, batch, key, &row.encode_to_vec().into())
}

/// Takes the content of messages away; who wrote them, when and under which id stays, and so do their
/// positions. Messages of one stretch ([`packs::stretch_start`]) go in one call, and only once in a batch.
/// The batch fails when any has moved meanwhile: then it is to be made again. Blocks.
pub fn erase_messages(
    tables: &Tables,
    batch: &mut Batch,
    topic: TopicKey,
    seqs: &[u32],
    deletion: u32,
) -> Result<(), StoreError> {
    let mut stretches: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for seq in seqs {
        let start = packs::stretch_start(*seq);
        stretches.entry(start).or_default().insert(*seq);
    }
    for seqs in stretches.values() {
        for seq in seqs {
            let key = keys::message(topic, *seq);
            let Some(row) = tables.engine.get(&key)? else {
                continue;
            };
            let whole = blob::complete(tables, &key, &row)?;
            if let Some(left) = erased(decode(&key, whole)?, deletion) {
                if packs::may_move(&row) {
                    batch.require_value(key.clone(), row);
                }
                blob::replace(tables, batch, key, &left.encode_to_vec().into())?;
            }
        }
        let change = |row| erased(row, deletion);
        packs::rewrite(tables, batch, (topic, seqs), change)?;
    }
    Ok(())
}

/// What stays of a message; `None` when that is all there is already.
fn erased(row: MessageRow, deletion: u32) -> Option<MessageRow> {
    if row.deleted != 0 {
        return None;
    }
    Some(MessageRow {
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
    })
}

/// Writes what became of a message id; the batch fails when that is known already.
pub fn put_seen(batch: &mut Batch, origin: &DomainName, id: MessageId, row: &SeenRow) {
    let key = keys::seen(origin, id);
    batch.require_absent(key.clone());
    batch.put(key, row.encode_to_vec());
}
