//! Between the meaning of a topic and its rows.

use freehold_proto::{AccessMode, DomainName, Timestamp, UserId};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        rows::{SubscriptionRow, TopicRow},
        topics::{put_subscription, put_topic},
    },
};

use super::one_to_one::{OneToOne, Person, Standing};

/// Reads a topic, or the beginning of one. Blocks.
pub(crate) fn load(
    tables: &Tables,
    people: &[UserId; 2],
    us: &DomainName,
) -> Result<OneToOne, StoreError> {
    let [a, b] = people;
    let key = TopicKey::one_to_one(a, b);
    let mut topic = OneToOne::new(a.clone(), b.clone(), us);
    topic.created = tables
        .topic(key)?
        .map(|row| Timestamp::from_stored(row.created));
    topic.head = tables.head(key)?;
    for person in &mut topic.people {
        person.standing = tables
            .subscription(&person.id, key)?
            .map(|row| standing(&row));
    }
    if topic.head > 0
        && let Some(last) = tables.message(key, topic.head)?
    {
        topic.touched = Some(Timestamp::from_stored(last.received));
        repair_cursor(&mut topic, &last.author);
    }
    Ok(topic)
}

/// An author has read what he wrote. His cursor is written later than the message, so after a crash
/// it may lag behind.
fn repair_cursor(topic: &mut OneToOne, author: &str) {
    let head = topic.head;
    for person in &mut topic.people {
        if let Some(standing) = &mut person.standing
            && person.local
            && person.id.to_string() == author
        {
            standing.read = standing.read.max(head);
            standing.received = standing.received.max(head);
        }
    }
}

/// Adds what changed since the last write.
pub(crate) fn write(batch: &mut Batch, key: TopicKey, topic: &mut OneToOne, is_stored: &mut bool) {
    topic.urgent = false;
    if !*is_stored && let Some(created) = topic.created {
        let row = TopicRow {
            people: topic.people.iter().map(|it| it.id.to_string()).collect(),
            created: created.as_millis(),
        };
        put_topic(batch, key, &row);
        *is_stored = true;
    }
    let [low, high] = &mut topic.people;
    write_person(batch, key, low, &high.id);
    write_person(batch, key, high, &low.id);
}

fn write_person(batch: &mut Batch, key: TopicKey, person: &mut Person, other: &UserId) {
    if !std::mem::take(&mut person.dirty) {
        return;
    }
    if let Some(standing) = &person.standing {
        put_subscription(batch, &person.id, key, &row(standing, other));
    }
}

/// The meaning of a subscription row.
pub(crate) fn standing(row: &SubscriptionRow) -> Standing {
    // Rows hold modes that were valid when written.
    let mode = |text: &str| text.parse().unwrap_or(AccessMode::NONE);
    Standing {
        want: mode(&row.want),
        want_version: row.want_version,
        given: mode(&row.given),
        given_version: row.given_version,
        private: row.private.clone(),
        read: row.read,
        received: row.received,
        created: Timestamp::from_stored(row.created),
        updated: Timestamp::from_stored(row.updated),
        deleted: (row.deleted != 0).then(|| Timestamp::from_stored(row.deleted)),
        unaccepted_texts: row.unaccepted_texts,
        announced: row.announced,
    }
}

fn row(standing: &Standing, other: &UserId) -> SubscriptionRow {
    SubscriptionRow {
        peer: other.to_string(),
        want: standing.want.to_string(),
        want_version: standing.want_version,
        given: standing.given.to_string(),
        given_version: standing.given_version,
        private: standing.private.clone(),
        read: standing.read,
        received: standing.received,
        created: standing.created.as_millis(),
        updated: standing.updated.as_millis(),
        deleted: standing.deleted.map_or(0, Timestamp::as_millis),
        unaccepted_texts: standing.unaccepted_texts,
        announced: standing.announced,
    }
}
