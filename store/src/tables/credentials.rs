//! Confirmed credentials, each of one account only, and the codes that are sent to confirm them.

use freehold_proto::UserId;
use prost::Message as _;

use super::{
    Tables, keys,
    rows::{CodeRow, OwnerRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

/// What a code is for: to confirm a credential.
pub const CONFIRM: u8 = 1;
/// What a code is for: to set a new password.
pub const RESET: u8 = 2;

/// Codes of one account that are removed with it.
const CODES_MAX: usize = 64;

impl Tables {
    /// Whose a confirmed credential is: the random part of the user id.
    pub fn credential(&self, method: &str, value: &str) -> Result<Option<[u8; 8]>, StoreError> {
        let row: Option<OwnerRow> = self.row(&keys::credential(method, value))?;
        Ok(row.and_then(|it| (*it.owner).try_into().ok()))
    }

    /// A code that was sent to somebody.
    pub fn code(
        &self,
        user: &UserId,
        purpose: u8,
        method: &str,
    ) -> Result<Option<CodeRow>, StoreError> {
        self.row(&keys::code(user, purpose, method))
    }
}

/// Makes a credential an account's own; the batch fails when it is another's.
pub fn claim(batch: &mut Batch, method: &str, value: &str, user: &UserId) {
    let key = keys::credential(method, value);
    let row = OwnerRow {
        owner: user.local_bytes().to_vec().into(),
    };
    batch.require_absent(key.clone());
    batch.put(key, row.encode_to_vec());
}

/// Gives a credential free.
pub fn release(batch: &mut Batch, method: &str, value: &str) {
    batch.remove(keys::credential(method, value));
}

/// Writes a code, in place of an older one for the same purpose and method.
pub fn put_code(batch: &mut Batch, user: &UserId, purpose: u8, row: &CodeRow) {
    batch.put(keys::code(user, purpose, &row.method), row.encode_to_vec());
}

/// Removes a code.
pub fn drop_code(batch: &mut Batch, user: &UserId, purpose: u8, method: &str) {
    batch.remove(keys::code(user, purpose, method));
}

/// Removes all codes of an account. Blocks.
pub(super) fn drop_codes(
    tables: &Tables,
    batch: &mut Batch,
    user: &UserId,
) -> Result<(), StoreError> {
    let range = KeyRange::prefix(&keys::codes(user));
    for (key, _) in tables.page(&range, Order::Ascending, CODES_MAX)? {
        batch.remove(key);
    }
    Ok(())
}
