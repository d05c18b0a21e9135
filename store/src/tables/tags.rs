//! Which account or group carries which tag. The rows are written in the same batch as their owner.

use freehold_proto::GroupId;
use prost::Message as _;

use super::{Tables, damaged, keys, rows::OwnerRow};
use crate::{Batch, KeyRange, Order, StoreError};

/// Tags that only one owner may have begin with this.
pub const UNIQUE_PREFIX: &str = "alias:";

/// Who carries a tag.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TagOwner {
    /// A person of this domain, by the random part of the id.
    User([u8; 8]),
    /// A group.
    Group(GroupId),
}

impl TagOwner {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::User(local) => local.to_vec(),
            Self::Group(group) => group.as_bytes().to_vec(),
        }
    }

    fn from_slice(bytes: &[u8]) -> Option<Self> {
        if let Ok(local) = bytes.try_into() {
            return Some(Self::User(local));
        }
        let group: [u8; 16] = bytes.try_into().ok()?;
        Some(Self::Group(GroupId::from_bytes(group)))
    }
}

impl Tables {
    /// Those who carry a tag, in no order that means anything.
    pub fn tagged(&self, tag: &str, limit: usize) -> Result<Vec<TagOwner>, StoreError> {
        let prefix = keys::tagged(tag);
        let rows = self.page(&KeyRange::prefix(&prefix), Order::Ascending, limit)?;
        rows.iter()
            .map(|(key, _)| {
                key.strip_prefix(prefix.as_slice())
                    .and_then(TagOwner::from_slice)
                    .ok_or_else(|| damaged(key))
            })
            .collect()
    }

    /// The owner of a tag that only one may have.
    pub fn unique_tag(&self, tag: &str) -> Result<Option<TagOwner>, StoreError> {
        let key = keys::unique_tag(tag);
        let row: Option<OwnerRow> = self.row(&key)?;
        row.map(|it| TagOwner::from_slice(&it.owner).ok_or_else(|| damaged(&key)))
            .transpose()
    }
}

/// Changes the tags of an owner. The batch fails when one of the new ones may have one owner only
/// and has another.
pub fn replace(batch: &mut Batch, owner: TagOwner, old: &[String], new: &[String]) {
    let bytes = owner.bytes();
    for tag in old.iter().filter(|it| !new.contains(it)) {
        batch.remove(keys::tag_of(tag, &bytes));
        if tag.starts_with(UNIQUE_PREFIX) {
            batch.remove(keys::unique_tag(tag));
        }
    }
    for tag in new.iter().filter(|it| !old.contains(it)) {
        batch.put(keys::tag_of(tag, &bytes), b"".as_slice());
        if tag.starts_with(UNIQUE_PREFIX) {
            let row = OwnerRow {
                owner: bytes.clone().into(),
            };
            batch.require_absent(keys::unique_tag(tag));
            batch.put(keys::unique_tag(tag), row.encode_to_vec());
        }
    }
}
