//! The redo record: a copy of one commit group, written before its rows.
//!
//! What sled recovers after a crash is a prefix of what was written. So if any
//! row of a group is there its whole record is there too, and writing the rows
//! again completes the group; if the record is torn, no row was begun.
//!
//! A record is a stream of bytes (SHA-256 of the rest, then the writes) cut into
//! chunks, each under a key of its own. Every group overwrites the chunks of the
//! one before, which is durable by then, so the record takes no more space than
//! the largest group ever did.
//!
//! Invariant: every group that writes rows writes a record, however small it is.
//! Otherwise the next open would replay an older group over it.

use std::{collections::BTreeMap, fs::File};

use ::sled::{Db, IVec};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::StoreError;
use crate::engine::batch::{RESERVED_PREFIX, VALUE_MAX, Write};

/// In front of every chunk: group number and number of chunks.
const HEADER: usize = size_of::<u64>() + size_of::<u32>();
const CHUNK_MAX: usize = VALUE_MAX - HEADER;
const DIGEST: usize = 32;

/// What a record says about a write, before its key.
const REMOVE: u8 = 0;
const PUT: u8 = 1;

/// Writes the record of a group, without making it durable.
pub(super) fn write(db: &Db, group: u64, writes: &[&Write]) -> Result<(), StoreError> {
    for (index, chunk) in (0..).zip(chunks(group, writes)) {
        db.insert(chunk_key(index), &*chunk)?;
    }
    Ok(())
}

/// Completes the last group from its record, durably, and returns the number
/// for the next one.
pub(super) fn replay(db: &Db, file: &File) -> Result<u64, StoreError> {
    let Some(record) = newest(db)? else {
        return Ok(0);
    };
    let group = record.group;
    if let Some(writes) = record.writes()? {
        let waited = freehold_real_sync::waits();
        apply(db, &writes)?;
        make_durable(db, file, waited)?;
        tracing::debug!(
            group,
            writes = writes.len(),
            "replayed the last commit group"
        );
    } else {
        tracing::info!(group, "the last commit group was never begun");
    }
    Ok(group + 1)
}

/// Writes rows, without making them durable.
pub(super) fn apply<'a>(
    db: &Db,
    writes: impl IntoIterator<Item = &'a Write>,
) -> Result<(), StoreError> {
    for write in writes {
        match &write.value {
            Some(value) => db.insert(&write.key, &**value)?,
            None => db.remove(&write.key)?,
        };
    }
    Ok(())
}

/// Returns once everything written so far would survive a power cut. `waited` is how often sled had waited
/// for the disk before it was written.
pub(super) fn make_durable(db: &Db, file: &File, waited: u64) -> Result<(), StoreError> {
    db.flush()?;
    // sled syncs its file behind each buffer that it writes (`real-sync`); to do that again would cost
    // another flush of the disk. What it writes by some other way is synced here.
    if freehold_real_sync::waits() == waited {
        file.sync_data()?;
    }
    Ok(())
}

/// The chunks found of the group with the highest number.
struct Record {
    group: u64,
    count: u32,
    chunks: BTreeMap<u32, IVec>,
}

fn newest(db: &Db) -> Result<Option<Record>, StoreError> {
    let mut newest: Option<Record> = None;
    for row in db.scan_prefix([RESERVED_PREFIX]) {
        let (key, chunk) = row?;
        let (index, group, count) = parse_header(&key, &chunk)?;
        let record = match &mut newest {
            Some(record) if record.group > group => continue,
            Some(record) if record.group == group => record,
            _ => newest.insert(Record {
                group,
                count,
                chunks: BTreeMap::new(),
            }),
        };
        record.chunks.insert(index, chunk);
    }
    Ok(newest)
}

impl Record {
    /// The group's writes, or `None` if the record is torn.
    fn writes(&self) -> Result<Option<Vec<Write>>, StoreError> {
        if !self.chunks.keys().copied().eq(0..self.count) {
            return Ok(None);
        }
        let mut stream = BytesMut::new();
        for chunk in self.chunks.values() {
            stream.put_slice(&chunk[HEADER..]);
        }
        let mut writes = stream.freeze();
        if writes.len() < DIGEST {
            return Ok(None);
        }
        if writes.split_to(DIGEST) != digest(self.group, &writes)[..] {
            return Ok(None);
        }
        decode(writes)
            .map(Some)
            .ok_or_else(|| damaged("does not parse"))
    }
}

fn chunks(group: u64, writes: &[&Write]) -> Vec<Vec<u8>> {
    let encoded = encode(writes);
    let mut stream = digest(group, &encoded).to_vec();
    stream.extend_from_slice(&encoded);
    let slices = stream.chunks(CHUNK_MAX);
    let count = u32::try_from(slices.len()).expect("a group is bounded to about 1 MiB");
    let framed = slices.map(|slice| {
        let mut chunk = Vec::with_capacity(HEADER + slice.len());
        chunk.put_u64(group);
        chunk.put_u32(count);
        chunk.put_slice(slice);
        chunk
    });
    framed.collect()
}

fn chunk_key(index: u32) -> [u8; 5] {
    let mut key = [RESERVED_PREFIX; 5];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn parse_header(key: &[u8], chunk: &[u8]) -> Result<(u32, u64, u32), StoreError> {
    let (mut index, mut header) = (&key[1..], chunk);
    let header = (|| {
        Some((
            index.try_get_u32().ok()?,
            header.try_get_u64().ok()?,
            header.try_get_u32().ok()?,
        ))
    })();
    header.ok_or_else(|| damaged("has a chunk without a header"))
}

fn encode(writes: &[&Write]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for write in writes {
        encoded.put_u8(if write.value.is_some() { PUT } else { REMOVE });
        put_bytes(&mut encoded, &write.key);
        if let Some(value) = &write.value {
            put_bytes(&mut encoded, value);
        }
    }
    encoded
}

fn decode(mut encoded: Bytes) -> Option<Vec<Write>> {
    let mut writes = Vec::new();
    while encoded.has_remaining() {
        let kind = encoded.get_u8();
        let key = get_bytes(&mut encoded)?;
        let value = match kind {
            PUT => Some(get_bytes(&mut encoded)?),
            REMOVE => None,
            _ => return None,
        };
        writes.push(Write { key, value });
    }
    Some(writes)
}

fn put_bytes(encoded: &mut Vec<u8>, bytes: &Bytes) {
    let len = u16::try_from(bytes.len()).expect("keys and values are at most VALUE_MAX long");
    encoded.put_u16(len);
    encoded.put_slice(bytes);
}

fn get_bytes(encoded: &mut Bytes) -> Option<Bytes> {
    let len = usize::from(encoded.try_get_u16().ok()?);
    (len <= encoded.len()).then(|| encoded.split_to(len))
}

/// Covers the group's number too, so that chunks of two groups never pass for one.
fn digest(group: u64, encoded: &[u8]) -> [u8; DIGEST] {
    let digest = Sha256::new()
        .chain_update(group.to_be_bytes())
        .chain_update(encoded);
    digest.finalize().into()
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt {
        detail: format!("the redo record {what}"),
    }
}
