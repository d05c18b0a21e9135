//! What administrators and the operator keep: invitations, and the trail of what they did.

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
