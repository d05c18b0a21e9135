//! What administrators and the operator keep: invitations, and the trail of what they did.

use bytes::Bytes;
use prost::Message as _;

use super::{
    Tables, decode, keys,
    rows::{AuditRow, InvitationRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

impl Tables {
    /// An invitation by its code.
    pub fn invitation(&self, code: &str) -> Result<Option<InvitationRow>, StoreError> {
        self.row(&keys::invitation(code))
    }

    /// Invitations, in no order that means anything.
    pub fn invitations(&self, limit: usize) -> Result<Vec<InvitationRow>, StoreError> {
        let range = KeyRange::prefix(&keys::invitations());
        let rows = self.page(&range, Order::Ascending, limit)?;
        rows.into_iter()
            .map(|(key, row)| decode(&key, row))
            .collect()
    }

    /// The latest things administrators did, newest first.
    pub fn audit_trail(&self, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let range = KeyRange::prefix(&keys::audit_trail());
        let rows = self.page(&range, Order::Descending, limit)?;
        rows.into_iter()
            .map(|(key, row)| decode(&key, row))
            .collect()
    }
}

/// Removes what is older than `oldest`, ms, or too much for `entries_max`, oldest first and at most
/// `limit` at once; true when there may be more. Blocks.
pub fn trim_audit(
    tables: &Tables,
    batch: &mut Batch,
    (oldest, entries_max): (i64, usize),
    limit: usize,
) -> Result<bool, StoreError> {
    let mut end = keys::audit(oldest, 0, [0; 4]);
    if let Some(key) = beyond(tables, entries_max)? {
        end = end.max([&*key, &[0]].concat());
    }
    let surplus = KeyRange::new(keys::audit_trail(), end);
    let rows = tables.page(&surplus, Order::Ascending, limit)?;
    let more = rows.len() == limit;
    for (key, _) in rows {
        batch.remove(key);
    }
    Ok(more)
}

/// The newest entry that is one too many.
fn beyond(tables: &Tables, entries_max: usize) -> Result<Option<Bytes>, StoreError> {
    const PAGE: usize = 1000;
    let mut end = KeyRange::prefix(&keys::audit_trail());
    let mut left = entries_max;
    loop {
        let page = tables.page(&end, Order::Descending, PAGE)?;
        if let Some((key, _)) = page.get(left) {
            return Ok(Some(key.clone()));
        }
        left -= page.len();
        match page.last() {
            Some((last, _)) if page.len() == PAGE => {
                end = KeyRange::new(keys::audit_trail(), last.to_vec());
            }
            _ => return Ok(None),
        }
    }
}

/// Writes an invitation.
pub fn put_invitation(batch: &mut Batch, row: &InvitationRow) {
    batch.put(keys::invitation(&row.code), row.encode_to_vec());
}

/// Takes one use of an invitation; the batch fails when it is not as it was read any more.
pub fn use_invitation(batch: &mut Batch, row: &InvitationRow) {
    let mut after = row.clone();
    after.left = row.left.saturating_sub(1);
    after.used = row.used.saturating_add(1);
    batch.require_value(keys::invitation(&row.code), row.encode_to_vec());
    put_invitation(batch, &after);
}

/// Removes an invitation.
pub fn drop_invitation(batch: &mut Batch, code: &str) {
    batch.remove(keys::invitation(code));
}

/// Adds to the trail. Acts of one moment are in the order of `number`; `random` keeps those of two
/// runs of the program apart.
pub fn put_audit(batch: &mut Batch, row: &AuditRow, number: u32, random: [u8; 4]) {
    batch.put(keys::audit(row.at, number, random), row.encode_to_vec());
}
