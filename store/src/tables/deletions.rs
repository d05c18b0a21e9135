//! What was deleted from a topic: for everybody, or from one person's view.
//!
//! Each deletion has a number and a row that says what it took away. Beside these stand the holes
//! that all of them together leave, merged, so that a page of history can step over them.

use freehold_proto::UserId;
use prost::Message as _;

use super::{
    Tables, blob, damaged, decode,
    keys::{self, TopicKey},
    rows::{DeletionRow, SpanRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

/// Holes read in one go while they are merged.
const PAGE: usize = 64;
/// Holes written or removed by one deletion.
const HOLES_MAX: usize = 1800;

impl Tables {
    /// Deletions with `low <= id < high`, in order, at most `limit`. `user` is whose view, or nobody
    /// for those that count for all.
    pub fn deletions(
        &self,
        topic: TopicKey,
        user: Option<&UserId>,
        (low, high): (u32, u32),
        limit: usize,
    ) -> Result<Vec<(u32, DeletionRow)>, StoreError> {
        let range = keys::deletions(topic, user, low, high);
        let mut found = Vec::new();
        for (key, row) in self.page(&range, Order::Ascending, limit)? {
            let id = keys::last_short(&key).ok_or_else(|| damaged(&key))?;
            let row = blob::complete(self, &key, &row)?;
            found.push((id, decode(&key, row)?));
        }
        Ok(found)
    }

    /// The uppermost stretch of `low <= seq < high` that holds no message hidden from `user`.
    pub fn last_visible(
        &self,
        topic: TopicKey,
        user: &UserId,
        (low, mut high): (u32, u32),
    ) -> Result<Option<(u32, u32)>, StoreError> {
        loop {
            if high <= low {
                return Ok(None);
            }
            let (mut start, mut covered) = (low, false);
            for scope in [None, Some(user)] {
                let Some(hole) = self.last_hole(topic, scope, high)? else {
                    continue;
                };
                if hole.high >= high {
                    (high, covered) = (hole.low, true);
                    break;
                }
                start = start.max(hole.high);
            }
            if !covered {
                return Ok(Some((start, high)));
            }
        }
    }

    /// Topics with deleted content on disk, from behind `after` on, each with the name it was noted
    /// under.
    pub fn half_erased(
        &self,
        after: Option<TopicKey>,
        limit: usize,
    ) -> Result<Vec<(TopicKey, String)>, StoreError> {
        let whole = KeyRange::prefix(&keys::half_erased_all());
        let range = match after {
            Some(after) => whole.starting_at([keys::half_erased(after), vec![0]].concat()),
            None => whole,
        };
        let mut found = Vec::new();
        for (key, name) in self.page(&range, Order::Ascending, limit)? {
            let topic = key.get(1..).and_then(TopicKey::from_slice);
            let name = String::from_utf8(name.to_vec()).map_err(|_| damaged(&key))?;
            found.push((topic.ok_or_else(|| damaged(&key))?, name));
        }
        Ok(found)
    }

    /// Whether a message was deleted for everybody, even if its content is still on disk.
    pub fn is_deleted(&self, topic: TopicKey, seq: u32) -> Result<bool, StoreError> {
        let hole = self.last_hole(topic, None, seq.saturating_add(1))?;
        Ok(hole.is_some_and(|it| it.high > seq))
    }

    /// The last hole that begins below `high`.
    fn last_hole(
        &self,
        topic: TopicKey,
        user: Option<&UserId>,
        high: u32,
    ) -> Result<Option<SpanRow>, StoreError> {
        let range = keys::holes(topic, user, high);
        let page = self.page(&range, Order::Descending, 1)?;
        page.first().map(|(key, row)| hole(key, row)).transpose()
    }
}

fn hole(key: &[u8], row: &[u8]) -> Result<SpanRow, StoreError> {
    let low = keys::last_short(key).ok_or_else(|| damaged(key))?;
    let high = row.try_into().map_err(|_| damaged(key))?;
    Ok(SpanRow {
        low,
        high: u32::from_be_bytes(high),
    })
}

/// Adds a deletion to a batch: its own row, and the holes as they are with it. No other deletion of
/// the topic may be under way. Blocks.
///
/// Returns what is left to delete under a further number: one batch holds only so many rows, and what
/// it covers is complete in itself.
pub fn delete(
    tables: &Tables,
    batch: &mut Batch,
    (topic, user): (TopicKey, Option<&UserId>),
    id: u32,
    deletion: DeletionRow,
) -> Result<Vec<SpanRow>, StoreError> {
    let mut left = merged(deletion.spans.clone());
    let mut done = Vec::new();
    let (mut above, mut room) = (None, HOLES_MAX);
    while let Some(span) = left.pop() {
        let low = widen(tables, batch, (topic, user), span, (&mut above, &mut room))?;
        done.push(SpanRow { low, ..span });
        if low > span.low {
            left.push(SpanRow { high: low, ..span });
        }
        if room == 0 {
            break;
        }
    }
    done.reverse();
    let row = DeletionRow {
        spans: done,
        ..deletion
    };
    let key = keys::deletion(topic, user, id);
    blob::put(batch, key, &row.encode_to_vec().into());
    Ok(left)
}

/// Writes the hole that `span` makes with all those it touches, from its upper end down as far as
/// there is room; returns how far that is. `above` is the hole written last, which may touch too.
fn widen(
    tables: &Tables,
    batch: &mut Batch,
    (topic, user): (TopicKey, Option<&UserId>),
    span: SpanRow,
    (above, room): (&mut Option<SpanRow>, &mut usize),
) -> Result<u32, StoreError> {
    let (mut wide, mut below) = (span, span.high.saturating_add(1));
    *room = room.saturating_sub(1);
    let mut low = span.low;
    'pages: loop {
        let range = keys::holes(topic, user, below);
        let page = tables.page(&range, Order::Descending, PAGE)?;
        for (key, value) in &page {
            let known = hole(key, value)?;
            if known.high < span.low {
                break 'pages;
            }
            wide.low = wide.low.min(known.low);
            wide.high = wide.high.max(known.high);
            batch.remove(key.clone());
            below = known.low;
            *room = room.saturating_sub(1);
            if *room == 0 && known.low > span.low {
                (wide.low, low) = (known.low, known.low);
                break 'pages;
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    if let Some(above) = above.filter(|it| it.low <= wide.high) {
        batch.remove(keys::hole(topic, user, above.low));
        *room = room.saturating_sub(1);
        wide.high = wide.high.max(above.high);
    }
    batch.put(
        keys::hole(topic, user, wide.low),
        wide.high.to_be_bytes().to_vec(),
    );
    *above = Some(wide);
    Ok(low)
}

/// Notes under `name` that a topic has deleted content on disk, so that a restart goes on erasing it.
pub fn put_half_erased(batch: &mut Batch, topic: TopicKey, name: &str) {
    batch.put(keys::half_erased(topic), name.as_bytes().to_vec());
}

/// Notes that nothing deleted is left on disk.
pub fn remove_half_erased(batch: &mut Batch, topic: TopicKey) {
    batch.remove(keys::half_erased(topic));
}

/// Spans in order, those that touch as one.
#[must_use]
pub fn merged(mut spans: Vec<SpanRow>) -> Vec<SpanRow> {
    spans.sort_unstable_by_key(|it| (it.low, it.high));
    let mut joined: Vec<SpanRow> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.low <= last.high => last.high = last.high.max(span.high),
            _ => joined.push(span),
        }
    }
    joined
}
