//! Devices of our people to which pushes go. A device is one person's: of whoever logged in with it last.

use freehold_proto::{DomainName, UserId};
use prost::Message as _;

use super::{
    Tables, keys,
    rows::{DeviceRow, OwnerRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

/// Devices of one person that are kept.
pub const DEVICES_MAX: usize = 16;
/// Rows of one person that are looked at: those that are another's now are among them.
const ROWS_MAX: usize = 4 * DEVICES_MAX;

impl Tables {
    /// The devices of one of our people, the one seen last first.
    pub fn devices(&self, user: &UserId) -> Result<Vec<DeviceRow>, StoreError> {
        let mut devices = self.device_rows(user)?;
        let mut theirs = Vec::new();
        for row in devices.drain(..) {
            if self.has_device(user, &row.token)? {
                theirs.push(row);
            }
        }
        Ok(theirs)
    }

    /// Of our people those with devices, a page from `first` on, in the order of the local parts of their ids. Some
    /// may be among them whose devices have all come to be others'. Blocks.
    pub fn people_with_devices(
        &self,
        us: &DomainName,
        first: [u8; 8],
        limit: usize,
    ) -> Result<Vec<[u8; 8]>, StoreError> {
        let rows_of = |local| keys::devices(&UserId::new(local, us.clone()));
        let start = rows_of(first);
        let prefix = &start[..start.len() - first.len()];
        let (mut people, mut from) = (Vec::new(), Some(first));
        while let Some(next) = from.filter(|_| people.len() < limit) {
            let range = KeyRange::prefix(prefix).starting_at(rows_of(next));
            let page = self.page(&range, Order::Ascending, 1)?;
            let Some((key, _)) = page.first() else {
                break;
            };
            let local = key.get(prefix.len()..start.len());
            let local = local.and_then(|it| <[u8; 8]>::try_from(it).ok());
            let local = local.ok_or_else(|| super::damaged(key))?;
            people.push(local);
            from = following(local);
        }
        Ok(people)
    }

    /// Everything under a person, the one seen last first.
    fn device_rows(&self, user: &UserId) -> Result<Vec<DeviceRow>, StoreError> {
        let range = KeyRange::prefix(&keys::devices(user));
        let rows = self.page(&range, Order::Ascending, ROWS_MAX)?;
        let rows = rows.into_iter().map(|(key, row)| super::decode(&key, row));
        let mut rows: Vec<DeviceRow> = rows.collect::<Result<_, _>>()?;
        rows.sort_by_key(|it| std::cmp::Reverse(it.seen));
        Ok(rows)
    }

    /// Whether a device is this person's.
    pub fn has_device(&self, user: &UserId, token: &str) -> Result<bool, StoreError> {
        let row: Option<OwnerRow> = self.row(&keys::device_owner(token))?;
        Ok(row.is_some_and(|it| *it.owner == user.local_bytes()))
    }
}

/// The local part after this one.
#[must_use]
pub fn following(local: [u8; 8]) -> Option<[u8; 8]> {
    let next = u64::from_be_bytes(local).checked_add(1);
    next.map(u64::to_be_bytes)
}

/// Makes a device this person's, whosever it was; what is more than [`DEVICES_MAX`] goes, the one not seen for
/// longest first. Blocks.
pub fn put_device(
    tables: &Tables,
    batch: &mut Batch,
    user: &UserId,
    row: &DeviceRow,
) -> Result<(), StoreError> {
    let owner = keys::device_owner(&row.token);
    if let Some(before) = tables.row::<OwnerRow>(&owner)? {
        batch.remove(keys::device_of(&before.owner, &row.token));
    }
    let others = tables.device_rows(user)?;
    let others = others.iter().filter(|it| it.token != row.token);
    for oldest in others.skip(DEVICES_MAX - 1) {
        drop_device(tables, batch, user, &oldest.token)?;
    }
    let now = OwnerRow {
        owner: user.local_bytes().to_vec().into(),
    };
    batch.put(owner, now.encode_to_vec());
    batch.put(keys::device(user, &row.token), row.encode_to_vec());
    Ok(())
}

/// Forgets a device of a person, if it is theirs. Blocks.
pub fn drop_device(
    tables: &Tables,
    batch: &mut Batch,
    user: &UserId,
    token: &str,
) -> Result<(), StoreError> {
    batch.remove(keys::device(user, token));
    if tables.has_device(user, token)? {
        batch.remove(keys::device_owner(token));
    }
    Ok(())
}

/// Forgets all devices of a person. Blocks.
pub fn drop_devices(tables: &Tables, batch: &mut Batch, user: &UserId) -> Result<(), StoreError> {
    for row in tables.device_rows(user)? {
        drop_device(tables, batch, user, &row.token)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::{accounts::erase_account, rows::AccountRow},
        *,
    };
    use crate::MemoryEngine;

    fn user(number: u8) -> UserId {
        UserId::new([number; 8], "alpha.test".parse().unwrap())
    }

    fn put(tables: &Tables, user: &UserId, token: &str, seen: i64) {
        let row = DeviceRow {
            token: token.to_owned(),
            seen,
        };
        let mut batch = Batch::new();
        put_device(tables, &mut batch, user, &row).unwrap();
        let _applied = tables.commit(batch).wait_blocking().unwrap();
    }

    fn tokens(tables: &Tables, user: &UserId) -> Vec<String> {
        let devices = tables.devices(user).unwrap();
        devices.into_iter().map(|it| it.token).collect()
    }

    #[test]
    fn a_device_is_of_whoever_came_with_it_last_and_the_oldest_of_too_many_goes() {
        let tables = Tables::open(Arc::new(MemoryEngine::default())).unwrap();
        let (ann, bob) = (user(1), user(2));
        put(&tables, &ann, "a", 1);
        put(&tables, &ann, "b", 2);
        put(&tables, &ann, "a", 3);
        assert_eq!(tokens(&tables, &ann), ["a", "b"]);
        put(&tables, &bob, "a", 4);
        assert_eq!(
            (tokens(&tables, &ann), tokens(&tables, &bob)),
            (vec!["b".to_owned()], vec!["a".to_owned()])
        );
        for number in 0..i64::try_from(DEVICES_MAX).unwrap() {
            put(&tables, &ann, &format!("n{number}"), 10 + number);
        }
        let kept = tokens(&tables, &ann);
        assert_eq!(kept.len(), DEVICES_MAX);
        assert!(!kept.contains(&"b".to_owned()), "{kept:?}");
        assert!(!tables.has_device(&ann, "b").unwrap());

        let us = ann.domain();
        let people = |first, limit| tables.people_with_devices(us, first, limit).unwrap();
        assert_eq!(people([0; 8], 9), [[1; 8], [2; 8]]);
        assert_eq!(people([0; 8], 1), [[1; 8]]);
        assert_eq!(people(following([1; 8]).unwrap(), 9), [[2; 8]]);
        assert!(people([3; 8], 9).is_empty() && following([255; 8]).is_none());

        let mut batch = Batch::new();
        // It is somebody else's, so nothing happens.
        drop_device(&tables, &mut batch, &ann, "a").unwrap();
        drop_devices(&tables, &mut batch, &ann).unwrap();
        let _applied = tables.commit(batch).wait_blocking().unwrap();
        assert!(tokens(&tables, &ann).is_empty());
        assert!(!tables.has_device(&ann, "n3").unwrap());
        assert_eq!(tokens(&tables, &bob), ["a"]);
    }
    #[test]
    fn devices_go_with_the_account() {
        let tables = Tables::open(Arc::new(MemoryEngine::default())).unwrap();
        let (ann, bob) = (user(1), user(2));
        put(&tables, &ann, "a", 1);
        put(&tables, &bob, "b", 1);
        let mut batch = Batch::new();
        erase_account(&tables, &mut batch, &ann, &AccountRow::default(), &[], 1).unwrap();
        let _applied = tables.commit(batch).wait_blocking().unwrap();
        assert!(tokens(&tables, &ann).is_empty());
        assert!(!tables.has_device(&ann, "a").unwrap());
        assert_eq!(tokens(&tables, &bob), ["b"]);
    }
}
