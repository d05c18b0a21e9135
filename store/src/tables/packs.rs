//! Older messages of a topic, several to a row: a pack. One key for many messages is what keeps a long past
//! small on disk and in memory, where the engine has an entry for each key.
//!
//! The positions of a topic are cut into stretches of [`STRETCH`]. Once a stretch lies far enough behind the
//! newest message, [`pack_some`] moves its rows into packs; what is large stays where it is. Three rules make
//! it safe beside readers, who read a row first and the packs after it:
//!
//! * a row wins over the same position in a pack, and a later pack over an earlier one;
//! * a batch puts a pack before it removes the rows, and fails if a row is not what was read;
//! * a position that is in a pack stays in that pack: packs are added and rewritten in place, never cut up.
//!
//! The newest message of a topic is always a row.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;

use super::{
    Tables, damaged, decode,
    keys::{self, TopicKey},
    rows::{MessageRow, PackRow, PackedRow},
};
use crate::{Batch, KeyRange, Order, StoreError, VALUE_MAX};

/// Positions in one stretch.
const STRETCH: u32 = 32;
/// A stretch is packed when so many positions behind it are taken.
const TAIL: u32 = 16;
/// A message that takes more bytes stays a row: a pack would hold too few of its kind.
const MESSAGE_BYTES: usize = 1024;
/// Bytes of messages in one pack. The engine's pages hold up to 16 of them and are written anew as a whole;
/// with packs of twice the size its file was a third larger.
const PACK_BYTES: usize = 2600;
// Each message may grow a little when it is erased, for the number of its deletion.
const _: () = assert!(PACK_BYTES + 16 * STRETCH as usize <= VALUE_MAX);
/// Fewer rows than this are left as they are.
const FEWEST: usize = 4;
/// Packs read in one go; most stretches have one or two.
const PAGE: usize = 4;
/// More packs than any stretch has: each holds a position that those before it do not, or had replaced.
const PACKS_MAX: usize = 255;

/// Stretches from before there were packs that are looked at in one batch.
const OLDER: usize = 2;

/// Where the stretch of a position begins.
#[must_use]
pub fn stretch_start(seq: u32) -> u32 {
    seq - seq % STRETCH
}

/// The position behind the stretch of a position.
#[must_use]
pub fn stretch_end(seq: u32) -> u32 {
    stretch_start(seq).saturating_add(STRETCH)
}

fn stretch(seq: u32) -> u32 {
    seq / STRETCH
}

/// A pack as it was read.
struct Pack {
    key: Bytes,
    value: Bytes,
    messages: Vec<PackedRow>,
}

fn read(key: Bytes, value: Bytes) -> Result<Pack, StoreError> {
    let row: PackRow = decode(&key, value.clone())?;
    Ok(Pack {
        messages: row.messages,
        key,
        value,
    })
}

/// Messages of one stretch, by position.
pub(super) struct Packed {
    /// The first position of the stretch, and the one behind its last.
    pub(super) span: (u32, u32),
    rows: BTreeMap<u32, Bytes>,
}

impl Packed {
    /// Their positions, in order.
    pub(super) fn seqs(&self) -> impl DoubleEndedIterator<Item = u32> {
        self.rows.keys().copied()
    }

    /// Takes one out.
    pub(super) fn take(&mut self, topic: TopicKey, seq: u32) -> Result<MessageRow, StoreError> {
        let row = self.rows.remove(&seq).unwrap_or_default();
        decode(&keys::message(topic, seq), row)
    }
}

impl Tables {
    /// The packs of a stretch, in the order in which they were made.
    fn packs(&self, topic: TopicKey, stretch: u32) -> Result<Vec<Pack>, StoreError> {
        let range = keys::packs(topic, (stretch, stretch + 1));
        let page = self.page(&range, Order::Ascending, PACKS_MAX)?;
        page.into_iter()
            .map(|(key, value)| read(key, value))
            .collect()
    }

    /// The message at a position, if it is packed.
    pub(super) fn packed(
        &self,
        topic: TopicKey,
        seq: u32,
    ) -> Result<Option<MessageRow>, StoreError> {
        for pack in self.packs(topic, stretch(seq))?.into_iter().rev() {
            if let Some(found) = pack.messages.into_iter().find(|it| it.seq == seq) {
                return decode(&pack.key, found.row).map(Some);
            }
        }
        Ok(None)
    }

    /// What is packed with `low <= seq < high` in the first stretch that has packs, from the end that `order`
    /// says.
    pub(super) fn packed_next(
        &self,
        topic: TopicKey,
        (low, high): (u32, u32),
        order: Order,
    ) -> Result<Option<Packed>, StoreError> {
        if low >= high {
            return Ok(None);
        }
        let range = keys::packs(topic, (stretch(low), stretch(high - 1) + 1));
        let page = self.page(&range, order, PAGE)?;
        let Some((key, _)) = page.first() else {
            return Ok(None);
        };
        let number = keys::pack_stretch(key).ok_or_else(|| damaged(key))?;
        let of_it = |key: &Bytes| keys::pack_stretch(key) == Some(number);
        let mut packs = match page.last() {
            Some((last, _)) if page.len() == PAGE && of_it(last) => self.packs(topic, number)?,
            _ => page
                .into_iter()
                .filter(|(key, _)| of_it(key))
                .map(|(key, value)| read(key, value))
                .collect::<Result<_, _>>()?,
        };
        packs.sort_by(|a, b| a.key.cmp(&b.key));
        let messages = packs.into_iter().flat_map(|it| it.messages);
        let wanted = messages.filter(|it| low <= it.seq && it.seq < high);
        let start = number.saturating_mul(STRETCH);
        Ok(Some(Packed {
            span: (start, start.saturating_add(STRETCH)),
            rows: wanted.map(|it| (it.seq, it.row)).collect(),
        }))
    }
}

/// A message was put at the end of a topic: notes which stretch may be packed now.
pub(super) fn note_end(batch: &mut Batch, topic: TopicKey, seq: u32, row: &MessageRow) {
    if seq % STRETCH == TAIL && seq > STRETCH {
        // In the order of time the engine gets back whole segments of its file.
        let at = u64::try_from(row.received).unwrap_or(0);
        note_ripe(batch, at, (topic, stretch(seq) - 1), seq);
    }
}

/// A message was put somewhere in the past.
pub(super) fn note_past(batch: &mut Batch, topic: TopicKey, seq: u32) {
    note_ripe(batch, 0, (topic, stretch(seq)), seq);
}

/// `seq` tells one note from another, so that a later one is not taken for one that was dealt with.
fn note_ripe(batch: &mut Batch, at: u64, (topic, stretch): (TopicKey, u32), seq: u32) {
    batch.put(keys::ripe(at, topic, stretch), seq.to_be_bytes().to_vec());
}

/// Whether a row, of so many bytes, might be moved into a pack at any time.
pub(super) fn may_move(row: &[u8]) -> bool {
    row.len() <= MESSAGE_BYTES + 2
}

/// Changes what packs hold of messages of one stretch; the batch fails when a pack has changed meanwhile.
/// What `change` returns takes no more than a few bytes more. Blocks.
pub(super) fn rewrite(
    tables: &Tables,
    batch: &mut Batch,
    (topic, seqs): (TopicKey, &BTreeSet<u32>),
    change: impl Fn(MessageRow) -> Option<MessageRow>,
) -> Result<(), StoreError> {
    let Some(first) = seqs.first() else {
        return Ok(());
    };
    for mut pack in tables.packs(topic, stretch(*first))? {
        let mut changed = false;
        for message in pack.messages.iter_mut().filter(|it| seqs.contains(&it.seq)) {
            if let Some(row) = change(decode(&pack.key, message.row.clone())?) {
                message.row = row.encode_to_vec().into();
                changed = true;
            }
        }
        if changed {
            let row = PackRow {
                messages: pack.messages,
            };
            batch.require_value(pack.key.clone(), pack.value);
            batch.put(pack.key, row.encode_to_vec());
        }
    }
    Ok(())
}

/// Marks a store whose messages were never packed.
pub(super) fn note_unpacked(batch: &mut Batch) {
    batch.put(keys::unpacked(), keys::all_messages());
}

/// Batches that pack some of what may be packed, one stretch each, at most `limit`; none when there is nothing.
/// They may be under way together, and nothing else that packs beside them. When one fails, somebody has
/// changed what it was to move, and the next turn sees it as it is then. Blocks.
pub fn pack_some(tables: &Tables, limit: usize) -> Result<Vec<Batch>, StoreError> {
    let (mut batches, mut places) = (Vec::new(), BTreeSet::new());
    let ripe = KeyRange::prefix(&keys::all_ripe());
    for (key, value) in tables.page(&ripe, Order::Ascending, limit)? {
        let place = keys::ripe_place(&key).ok_or_else(|| damaged(&key))?;
        if !places.insert(place) {
            continue;
        }
        let mut batch = Batch::new();
        // What is not far enough behind is noted again when it is.
        match pack(tables, &mut batch, place) {
            Ok(_) => {}
            // What cannot be read stays as it is, and holds up nothing else.
            Err(StoreError::Corrupt { detail }) => {
                tracing::error!(detail, "messages that are damaged are not packed");
                batch = Batch::new();
            }
            Err(fault) => return Err(fault),
        }
        batch.require_value(key.clone(), value);
        batch.remove(key);
        batches.push(batch);
    }
    if batches.is_empty() {
        batches.extend(pack_older(tables)?);
    }
    Ok(batches)
}

/// The same for messages from before there were packs, one stretch after the other through all topics.
fn pack_older(tables: &Tables) -> Result<Option<Batch>, StoreError> {
    let (progress, mut batch) = (keys::unpacked(), Batch::new());
    let Some(begun) = tables.engine.get(&progress)? else {
        return Ok(None);
    };
    let mut next = begun.to_vec();
    for _ in 0..OLDER {
        let range = KeyRange::prefix(&keys::all_messages()).starting_at(next.clone());
        let page = tables.page(&range, Order::Ascending, 1)?;
        let Some((key, _)) = page.first() else {
            batch.require_value(progress.clone(), begun);
            batch.remove(progress);
            return Ok(Some(batch));
        };
        let (topic, seq) = keys::message_place(key).ok_or_else(|| damaged(key))?;
        next = match pack(tables, &mut batch, (topic, stretch(seq)))? {
            true => keys::message(topic, stretch_start(seq) + STRETCH),
            // This one and all behind it are noted when they are far enough behind.
            false => [keys::message(topic, u32::MAX), vec![0]].concat(),
        };
    }
    batch.require_value(progress.clone(), begun);
    batch.put(progress, next);
    Ok(Some(batch))
}

/// Adds that the rows of a stretch go into packs; false when it is not far enough behind. Blocks.
fn pack(
    tables: &Tables,
    batch: &mut Batch,
    (topic, number): (TopicKey, u32),
) -> Result<bool, StoreError> {
    let start = number.saturating_mul(STRETCH);
    let Some(end) = start.checked_add(STRETCH) else {
        return Ok(false);
    };
    if tables.head(topic)? < end.saturating_add(TAIL - 1) {
        return Ok(false);
    }
    let range = keys::messages(topic, start, end);
    let mut rows = tables.page(&range, Order::Ascending, STRETCH as usize)?;
    rows.retain(|(_, row)| packable(row).is_some());
    if rows.len() < FEWEST {
        return Ok(true);
    }
    let known = tables.packs(topic, number)?.len();
    let portions = portions(&rows)?;
    if known + portions.len() > PACKS_MAX {
        return Ok(true);
    }
    for (pack, messages) in (known..).zip(portions) {
        let key = keys::pack(topic, number, u8::try_from(pack).unwrap_or(u8::MAX));
        batch.require_absent(key.clone());
        batch.put(key, PackRow { messages }.encode_to_vec());
    }
    for (key, row) in rows {
        batch.require_value(key.clone(), row);
        batch.remove(key);
    }
    Ok(true)
}

/// The message in a row, if it is whole there and short enough.
fn packable(row: &Bytes) -> Option<Bytes> {
    let (parts, _) = row.split_first_chunk::<2>()?;
    (*parts == [0, 0] && may_move(row)).then(|| row.slice(2..))
}

/// Rows of one stretch, cut into what goes into one pack each.
fn portions(rows: &[(Bytes, Bytes)]) -> Result<Vec<Vec<PackedRow>>, StoreError> {
    let mut portions = vec![Vec::new()];
    let mut bytes = 0;
    for (key, row) in rows {
        let (_, seq) = keys::message_place(key).ok_or_else(|| damaged(key))?;
        let row = packable(row).ok_or_else(|| damaged(key))?;
        let packed = PackedRow { seq, row };
        let takes = packed.encoded_len();
        if bytes + takes > PACK_BYTES {
            portions.push(Vec::new());
            bytes = 0;
        }
        bytes += takes;
        if let Some(portion) = portions.last_mut() {
            portion.push(packed);
        }
    }
    Ok(portions)
}

#[cfg(test)]
mod tests;
