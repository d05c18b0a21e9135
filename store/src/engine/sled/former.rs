//! The redo record of stores of format 2 and before: a copy of the last commit group in sled itself, under keys
//! with the reserved prefix. It was written before the group's rows, which may be there in part.
//!
//! A record is a stream of bytes (SHA-256 of the rest, then the writes) cut into chunks, each under a key of its
//! own.

use std::collections::BTreeMap;

use ::sled::{Db, IVec};
use bytes::{Buf as _, BufMut as _, BytesMut};
use sha2::{Digest as _, Sha256};

use super::{StoreError, checkpoint::Mark, redo};
use crate::engine::batch::{RESERVED_PREFIX, Write};

/// In front of every chunk: group number and number of chunks.
const HEADER: usize = size_of::<u64>() + size_of::<u32>();
const DIGEST: usize = 32;

/// The writes of the last group, unless it was never begun, and the keys that its record has.
pub(super) struct Former {
    pub(super) writes: Vec<Write>,
    pub(super) keys: Vec<IVec>,
}

/// Reads the record, if a store has one.
pub(super) fn read(db: &Db) -> Result<Option<Former>, StoreError> {
    let (mut newest, mut keys): (Option<Record>, _) = (None, Vec::new());
    for row in db.scan_prefix([RESERVED_PREFIX]) {
        let (key, chunk) = row?;
        if Mark::read(&key, &chunk).is_some() {
            continue;
        }
        let (index, group, count) = parse_header(&key, &chunk)?;
        keys.push(key);
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
    let Some(record) = newest else {
        return Ok(None);
    };
    let writes = record.writes()?.unwrap_or_default();
    Ok(Some(Former { writes, keys }))
}

/// The chunks found of the group with the highest number.
struct Record {
    group: u64,
    count: u32,
    chunks: BTreeMap<u32, IVec>,
}

impl Record {
    /// The group's writes, or `None` if the record is torn: then no row was begun.
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
        let digest = Sha256::new()
            .chain_update(self.group.to_be_bytes())
            .chain_update(&writes[DIGEST..]);
        if *writes.split_to(DIGEST) != digest.finalize()[..] {
            return Ok(None);
        }
        redo::decode(writes)
            .map(Some)
            .ok_or_else(|| damaged("does not parse"))
    }
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

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt {
        detail: format!("the redo record {what}"),
    }
}
