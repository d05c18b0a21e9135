//! Values of any length over rows of a bounded one: the head in the row itself, the rest in rows of
//! another table under the same key.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tables, damaged, keys};
use crate::{Batch, Order, StoreError, VALUE_MAX};

/// Bytes of the value in one row; two go to the count of parts.
const PART_BYTES: usize = VALUE_MAX - 2;
/// More parts than any value has.
const PARTS_MAX: usize = 1024;

/// Adds the rows of `value` to a batch.
pub(super) fn put(batch: &mut Batch, key: Vec<u8>, value: &Bytes) {
    let mut parts = value.chunks(PART_BYTES);
    let head = parts.next().unwrap_or_default();
    let mut rest: u16 = 0;
    for part in parts {
        batch.put(keys::blob_part(&key, rest), Bytes::copy_from_slice(part));
        rest += 1;
    }
    let mut row = BytesMut::with_capacity(2 + head.len());
    row.put_u16(rest);
    row.put_slice(head);
    batch.put(key, row.freeze());
}

/// Adds the rows of `value` in place of an older value, of which nothing is left. Blocks.
pub(super) fn replace(
    tables: &Tables,
    batch: &mut Batch,
    key: Vec<u8>,
    value: &Bytes,
) -> Result<(), StoreError> {
    if let Some(old) = tables.engine.get(&key)? {
        let (count, _) = old.split_first_chunk::<2>().ok_or_else(|| damaged(&key))?;
        (0..u16::from_be_bytes(*count)).for_each(|part| {
            batch.remove(keys::blob_part(&key, part));
        });
    }
    put(batch, key, value);
    Ok(())
}

/// The same where the length of the older value is known.
pub(super) fn put_over(batch: &mut Batch, key: Vec<u8>, value: &Bytes, older: usize) {
    let parts = |bytes: usize| bytes.saturating_sub(1) / PART_BYTES;
    for part in parts(value.len())..parts(older) {
        batch.remove(keys::blob_part(
            &key,
            u16::try_from(part).unwrap_or(u16::MAX),
        ));
    }
    put(batch, key, value);
}

/// Puts the value together again from its first row.
pub(super) fn complete(tables: &Tables, key: &[u8], row: &Bytes) -> Result<Bytes, StoreError> {
    let (count, head) = row.split_first_chunk::<2>().ok_or_else(|| damaged(key))?;
    let count = usize::from(u16::from_be_bytes(*count));
    if count == 0 {
        return Ok(row.slice(2..));
    }
    let parts = tables.page(&keys::blob_parts(key), Order::Ascending, count)?;
    if parts.len() != count {
        return Err(damaged(key));
    }
    let mut value = BytesMut::from(head);
    parts.iter().for_each(|(_, part)| value.put_slice(part));
    Ok(value.freeze())
}

/// Reads a whole value.
pub(super) fn get(tables: &Tables, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    match tables.engine.get(key)? {
        Some(row) => complete(tables, key, &row).map(Some),
        None => Ok(None),
    }
}

/// Removes a value with all its parts. Blocks.
pub(super) fn remove(tables: &Tables, batch: &mut Batch, key: &[u8]) -> Result<(), StoreError> {
    // A value that was longer once may have left parts behind.
    let parts = tables.page(&keys::blob_parts(key), Order::Ascending, PARTS_MAX)?;
    for (part, _) in parts {
        batch.remove(part);
    }
    batch.remove(key.to_vec());
    Ok(())
}
