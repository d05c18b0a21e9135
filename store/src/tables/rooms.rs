//! Groups, and who belongs to them. A member's standing is a subscription as in any topic; here is
//! what leads from the group to its members.

use freehold_proto::UserId;
use prost::Message as _;

use super::{
    Tables, blob, damaged, decode,
    keys::{self, TopicKey},
    rows::RoomRow,
};
use crate::{Batch, KeyRange, Order, StoreError};

impl Tables {
    /// A group, or another topic that is not between two people.
    pub fn room(&self, topic: TopicKey) -> Result<Option<RoomRow>, StoreError> {
        let key = keys::room(topic);
        blob::get(self, &key)?
            .map(|bytes| decode(&key, bytes))
            .transpose()
    }

    /// A page of the groups and other rooms, from behind `after` on.
    pub fn rooms(
        &self,
        after: Option<TopicKey>,
        limit: usize,
    ) -> Result<Vec<(TopicKey, RoomRow)>, StoreError> {
        let whole = KeyRange::prefix(&keys::rooms());
        let range = match after {
            Some(after) => whole.starting_at([keys::room(after), vec![0]].concat()),
            None => whole,
        };
        let mut found = Vec::new();
        for (key, row) in self.page(&range, Order::Ascending, limit)? {
            let topic = keys::last_topic(&key).ok_or_else(|| damaged(&key))?;
            let row = blob::complete(self, &key, &row)?;
            found.push((topic, decode(&key, row)?));
        }
        Ok(found)
    }

    /// A page of the people who are or were members, from behind `after` on.
    pub fn members(
        &self,
        topic: TopicKey,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, StoreError> {
        let prefix = keys::members(topic);
        let whole = KeyRange::prefix(&prefix);
        let range = match after {
            // The smallest key above that of `after`.
            Some(after) => whole.starting_at([keys::member(topic, after), vec![0]].concat()),
            None => whole,
        };
        let mut found = Vec::new();
        for (key, _) in self.page(&range, Order::Ascending, limit)? {
            let name = key
                .strip_prefix(prefix.as_slice())
                .and_then(|it| std::str::from_utf8(it).ok());
            let user = name.and_then(|it| it.parse().ok());
            found.push(user.ok_or_else(|| damaged(&key))?);
        }
        Ok(found)
    }
}

/// Writes a room over an older row of that many bytes; returns how many it has now.
pub fn put_room(batch: &mut Batch, topic: TopicKey, row: &RoomRow, older: usize) -> usize {
    let value = row.encode_to_vec();
    let bytes = value.len();
    blob::put_over(batch, keys::room(topic), &value.into(), older);
    bytes
}

/// Makes a room; the batch fails when there is one.
pub fn create_room(batch: &mut Batch, topic: TopicKey, row: &RoomRow) {
    let key = keys::room(topic);
    batch.require_absent(key.clone());
    blob::put(batch, key, &row.encode_to_vec().into());
}

/// Notes that somebody is or was a member.
pub fn put_member(batch: &mut Batch, topic: TopicKey, user: &UserId) {
    batch.put(keys::member(topic, user), Vec::new());
}
