//! Topics, who stands where in them, and what we know of people elsewhere.

use freehold_proto::UserId;
use prost::Message as _;

use super::{
    Tables, blob, damaged, decode,
    keys::{self, TopicKey},
    rows::{ForeignPersonRow, SubscriptionRow, TopicRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

impl Tables {
    /// A topic.
    pub fn topic(&self, topic: TopicKey) -> Result<Option<TopicRow>, StoreError> {
        self.row(&keys::topic(topic))
    }

    /// A page of the topics between two people, from behind `after` on.
    pub fn topics(
        &self,
        after: Option<TopicKey>,
        limit: usize,
    ) -> Result<Vec<(TopicKey, TopicRow)>, StoreError> {
        let whole = KeyRange::prefix(&keys::topics());
        let range = match after {
            Some(after) => whole.starting_at([keys::topic(after), vec![0]].concat()),
            None => whole,
        };
        self.page(&range, Order::Ascending, limit)?
            .into_iter()
            .map(|(key, row)| {
                let topic = keys::last_topic(&key).ok_or_else(|| damaged(&key))?;
                Ok((topic, decode(&key, row)?))
            })
            .collect()
    }

    /// One person's standing in a topic.
    pub fn subscription(
        &self,
        user: &UserId,
        topic: TopicKey,
    ) -> Result<Option<SubscriptionRow>, StoreError> {
        let key = keys::subscription(user, topic);
        blob::get(self, &key)?
            .map(|bytes| decode(&key, bytes))
            .transpose()
    }

    /// A page of a person's topics, from `after` on, in no order that means anything.
    pub fn subscriptions(
        &self,
        user: &UserId,
        after: Option<TopicKey>,
        limit: usize,
    ) -> Result<Vec<(TopicKey, SubscriptionRow)>, StoreError> {
        let prefix = keys::subscriptions(user);
        let whole = KeyRange::prefix(&prefix);
        let range = match after {
            // The smallest key above that of `after`.
            Some(after) => whole.starting_at([keys::subscription(user, after), vec![0]].concat()),
            None => whole,
        };
        let mut found = Vec::new();
        for (key, row) in self.page(&range, Order::Ascending, limit)? {
            let topic = key
                .strip_prefix(prefix.as_slice())
                .and_then(TopicKey::from_slice)
                .ok_or_else(|| damaged(&key))?;
            let row = blob::complete(self, &key, &row)?;
            found.push((topic, decode(&key, row)?));
        }
        Ok(found)
    }

    /// What another domain said about one of its people.
    pub fn foreign_person(&self, user: &UserId) -> Result<Option<ForeignPersonRow>, StoreError> {
        let key = keys::foreign_person(user);
        blob::get(self, &key)?
            .map(|bytes| decode(&key, bytes))
            .transpose()
    }
}

/// Writes a topic.
pub fn put_topic(batch: &mut Batch, topic: TopicKey, row: &TopicRow) {
    batch.put(keys::topic(topic), row.encode_to_vec());
}

/// Writes a person's standing in a topic.
pub fn put_subscription(batch: &mut Batch, user: &UserId, topic: TopicKey, row: &SubscriptionRow) {
    blob::put(
        batch,
        keys::subscription(user, topic),
        &row.encode_to_vec().into(),
    );
}

/// Writes what another domain said about one of its people.
pub fn put_foreign_person(batch: &mut Batch, user: &UserId, row: &ForeignPersonRow) {
    blob::put(
        batch,
        keys::foreign_person(user),
        &row.encode_to_vec().into(),
    );
}
