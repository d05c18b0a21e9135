//! Accounts of this domain and their log-in names.

use freehold_proto::UserId;
use prost::Message as _;

use super::{
    Tables, blob, decode, keys,
    rows::{AccountRow, LoginRow},
};
use crate::{Batch, StoreError};

impl Tables {
    /// The account of one of our people.
    pub fn account(&self, user: &UserId) -> Result<Option<AccountRow>, StoreError> {
        let key = keys::account(user);
        blob::get(self, &key)?
            .map(|bytes| decode(&key, bytes))
            .transpose()
    }

    /// The way in under a log-in name.
    pub fn login(&self, login: &str) -> Result<Option<LoginRow>, StoreError> {
        self.row(&keys::login(login))
    }
}

/// Writes an account.
pub fn put_account(batch: &mut Batch, user: &UserId, row: &AccountRow) {
    blob::put(batch, keys::account(user), &row.encode_to_vec().into());
}

/// Makes an account under a log-in name; the batch fails when either is taken.
pub fn create_account(batch: &mut Batch, user: &UserId, row: &AccountRow, login: &LoginRow) {
    batch.require_absent(keys::login(&row.login));
    batch.require_absent(keys::account(user));
    batch.put(keys::login(&row.login), login.encode_to_vec());
    put_account(batch, user, row);
}
