//! Accounts of this domain and their log-in names.

use freehold_proto::{DomainName, UserId};
use prost::Message as _;

use super::{
    Tables, blob, credentials, damaged, decode, devices, keys,
    rows::{AccountRow, LoginRow, OwnerRow, TombstoneRow},
    tags::{self, TagOwner},
};
use crate::{Batch, KeyRange, Order, StoreError};

/// Rows of one erasure and of its account that are removed in one batch.
const ERASURES_PAGE: usize = 100;

impl Tables {
    /// The account of one of our people.
    pub fn account(&self, user: &UserId) -> Result<Option<AccountRow>, StoreError> {
        let key = keys::account(user);
        blob::get(self, &key)?
            .map(|bytes| decode(&key, bytes))
            .transpose()
    }

    /// A page of our people, from behind `after` on.
    pub fn accounts(
        &self,
        us: &DomainName,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, StoreError> {
        let prefix = keys::accounts();
        let whole = KeyRange::prefix(&prefix);
        let range = match after {
            Some(after) => whole.starting_at([keys::account(after), vec![0]].concat()),
            None => whole,
        };
        let user = |key: &[u8]| {
            let local = key.strip_prefix(prefix.as_slice())?;
            Some(UserId::new(local.try_into().ok()?, us.clone()))
        };
        self.page(&range, Order::Ascending, limit)?
            .iter()
            .map(|(key, _)| user(key).ok_or_else(|| damaged(key)))
            .collect()
    }

    /// The way in under a log-in name.
    pub fn login(&self, login: &str) -> Result<Option<LoginRow>, StoreError> {
        self.row(&keys::login(login))
    }

    /// Whose a name at an outside service is: the random part of the user id.
    pub fn external(&self, name: &str) -> Result<Option<[u8; 8]>, StoreError> {
        let row: Option<OwnerRow> = self.row(&keys::external(name))?;
        Ok(row.and_then(|it| (*it.owner).try_into().ok()))
    }

    /// What is left of a deleted account.
    pub fn tombstone(&self, user: &UserId) -> Result<Option<TombstoneRow>, StoreError> {
        self.row(&keys::tombstone(user))
    }

    /// Deleted accounts whose conversations are still to be ended.
    pub fn erasures(&self, us: &DomainName) -> Result<Vec<UserId>, StoreError> {
        let prefix = keys::erasures();
        let rows = self.page(&KeyRange::prefix(&prefix), Order::Ascending, ERASURES_PAGE)?;
        let user = |key: &[u8]| {
            let local = key.strip_prefix(prefix.as_slice())?;
            Some(UserId::new(local.try_into().ok()?, us.clone()))
        };
        rows.iter()
            .map(|(key, _)| user(key).ok_or_else(|| damaged(key)))
            .collect()
    }
}

/// Writes an account.
pub fn put_account(batch: &mut Batch, user: &UserId, row: &AccountRow) {
    blob::put(batch, keys::account(user), &row.encode_to_vec().into());
}

/// Makes an account; the batch fails when its id was ever given, or its log-in name is taken. An
/// account without a name has no way in of its own.
pub fn create_account(
    batch: &mut Batch,
    user: &UserId,
    row: &AccountRow,
    login: Option<&LoginRow>,
) {
    if let Some(login) = login {
        take_login(batch, &row.login, login);
    }
    if !row.external.is_empty() {
        let owner = OwnerRow {
            owner: user.local_bytes().to_vec().into(),
        };
        batch.require_absent(keys::external(&row.external));
        batch.put(keys::external(&row.external), owner.encode_to_vec());
    }
    batch.require_absent(keys::account(user));
    batch.require_absent(keys::tombstone(user));
    put_account(batch, user, row);
}

/// Takes a log-in name; the batch fails when somebody has it.
pub fn take_login(batch: &mut Batch, name: &str, row: &LoginRow) {
    batch.require_absent(keys::login(name));
    put_login(batch, name, row);
}

/// Writes the way in under a name that is one's own already.
pub fn put_login(batch: &mut Batch, name: &str, row: &LoginRow) {
    batch.put(keys::login(name), row.encode_to_vec());
}

/// Gives a log-in name free.
pub fn drop_login(batch: &mut Batch, name: &str) {
    batch.remove(keys::login(name));
}

/// Removes an account with everything that leads to it; its id stays taken, and its conversations
/// are marked to be ended. Blocks.
pub fn erase_account(
    tables: &Tables,
    batch: &mut Batch,
    user: &UserId,
    row: &AccountRow,
    all_tags: &[String],
    at: i64,
) -> Result<(), StoreError> {
    blob::remove(tables, batch, &keys::account(user))?;
    drop_login(batch, &row.login);
    if !row.external.is_empty() {
        batch.remove(keys::external(&row.external));
    }
    let owner = TagOwner::User(user.local_bytes());
    tags::replace(batch, owner, all_tags, &[]);
    for credential in row.credentials.iter().filter(|it| it.done) {
        credentials::release(batch, &credential.method, &credential.value);
    }
    credentials::drop_codes(tables, batch, user)?;
    devices::drop_devices(tables, batch, user)?;
    let stone = TombstoneRow { at };
    batch.put(keys::tombstone(user), stone.encode_to_vec());
    batch.put(keys::erasure(user), b"".as_slice());
    Ok(())
}

/// Notes that a deleted account's conversations have been ended.
pub fn end_erasure(batch: &mut Batch, user: &UserId) {
    batch.remove(keys::erasure(user));
}
