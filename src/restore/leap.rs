//! After a restore no number that a client may know is given to anything else: in every topic positions
//! and deletions go on far behind the ones in the backup, and what lies between counts as deleted, so
//! that clients let go of messages that are not here any more. What our people want, and let others do,
//! gets versions above all that other domains may have heard (rules.md 14).

use bytes::Bytes;
use freehold_proto::{Timestamp, UserId};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        deletions,
        messages::put_message,
        rooms::put_room,
        rows::{
            ClearedRow, DeletionRow, LogStartRow, MessageRow, RoomRow, SpanRow, SubscriptionRow,
            TopicRow,
        },
        topics::{put_subscription, put_topic},
    },
};
use prost::Message as _;

use crate::topic::{log::Log, storage};

/// How far everything leaps. More than is written to a topic between a backup and its return.
pub(super) const LEAP: u32 = 1_000_000;

/// How far deletions have come once the topic has leapt, to the deletion that says so.
fn cleared_after(before: ClearedRow) -> ClearedRow {
    let last = before.last.saturating_add(LEAP);
    let is_clean = before.erased >= before.last_hard;
    ClearedRow {
        last,
        last_hard: last,
        // There is nothing between to be erased.
        erased: if is_clean { last } else { before.erased },
    }
}

/// How somebody of ours stands once a topic has leapt: with as many unread messages as before, with a
/// version that nobody has seen, and as news to their devices.
pub(super) fn standing_after(before: SubscriptionRow, now: Timestamp) -> SubscriptionRow {
    SubscriptionRow {
        updated: now.as_millis(),
        read: before.read.saturating_add(LEAP),
        received: before.received.saturating_add(LEAP),
        want_version: before.want_version + u64::from(LEAP),
        ..before
    }
}

/// Adds to a batch that the positions of a topic go on far behind `head`. Blocks.
fn leap(
    tables: &Tables,
    batch: &mut Batch,
    (key, head): (TopicKey, u32),
    (made, now): (i64, Timestamp),
    cleared: Option<ClearedRow>,
) -> Result<ClearedRow, StoreError> {
    let cleared = cleared_after(cleared.unwrap_or_default());
    let last = tables.message(key, head)?;
    let to = head.saturating_add(LEAP);
    // Takes the position, and nothing else: nobody is ever shown it.
    let marker = MessageRow {
        received: last.map_or(made, |it| it.received),
        deleted: cleared.last,
        ..MessageRow::default()
    };
    put_message(batch, key, to, &marker);
    let row = DeletionRow {
        spans: vec![SpanRow {
            low: head.saturating_add(1),
            high: to.saturating_add(1),
        }],
        at: now.as_millis(),
        by: String::new(),
    };
    let left = deletions::delete(tables, batch, (key, None), cleared.last, row)?;
    debug_assert!(left.is_empty(), "one hole at the end fits into one batch");
    Ok(cleared)
}

/// A topic between two people leaps. Blocks.
pub(super) fn pair(
    tables: &Tables,
    key: TopicKey,
    row: TopicRow,
    ours: impl Fn(&UserId) -> bool,
    now: Timestamp,
) -> Result<Batch, StoreError> {
    let mut batch = Batch::new();
    let place = (key, tables.head(key)?);
    let cleared = leap(tables, &mut batch, place, (row.created, now), row.cleared)?;
    let people: Vec<UserId> = row.people.iter().filter_map(|it| it.parse().ok()).collect();
    for user in people.iter().filter(|it| !ours(it)) {
        // What somebody elsewhere may do is for our person to say, so its version is ours to count.
        if let Some(before) = tables.subscription(user, key)? {
            let after = SubscriptionRow {
                given_version: before.given_version + u64::from(LEAP),
                ..before
            };
            put_subscription(&mut batch, user, key, &after);
        }
    }
    let row = TopicRow {
        cleared: Some(cleared),
        ..row
    };
    put_topic(&mut batch, key, &row);
    Ok(batch)
}

/// Whether a room leaps: not one that we were only asked into.
pub(super) fn leaps(row: &RoomRow) -> bool {
    row.home.is_empty() || row.epoch > 0
}

/// A home whose positions leap numbers otherwise than its log from now on, as one that was a copy does;
/// and what it signs from now on is of another epoch than what it may have signed and lost.
fn home_after(
    tables: &Tables,
    key: TopicKey,
    row: RoomRow,
    heads: (u32, u32),
) -> Result<RoomRow, StoreError> {
    let (before, after) = heads;
    let log = match tables.log_head(key)? {
        Some((_, last)) => storage::log_behind(&last),
        None => Some(Log::opened(before)),
    };
    let begun = log.map(|log| LogStartRow {
        index: log.index,
        order: log.order,
        hash: Bytes::copy_from_slice(&log.hash),
    });
    let is_first = row.begun.is_none();
    Ok(RoomRow {
        epoch: row.epoch + 1,
        begun: if is_first { begun } else { row.begun },
        base: if is_first { after } else { row.base },
        // All that was written before is here.
        fetched: if is_first { 1 } else { row.fetched },
        ..row
    })
}

/// A group, or another room, leaps. Blocks.
pub(super) fn room(
    tables: &Tables,
    key: TopicKey,
    row: RoomRow,
    now: Timestamp,
) -> Result<Batch, StoreError> {
    let mut batch = Batch::new();
    let older = row.encoded_len();
    // A copy stands at its base before it has messages.
    let place = (key, tables.head(key)?.max(row.base));
    let cleared = leap(tables, &mut batch, place, (row.created, now), row.cleared)?;
    let row = RoomRow {
        cleared: Some(cleared),
        ..row
    };
    let row = match row.home.is_empty() && row.epoch > 0 {
        true => home_after(tables, key, row, (place.1, place.1.saturating_add(LEAP)))?,
        false => row,
    };
    put_room(&mut batch, key, &row, older);
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use freehold_proto::GroupId;
    use freehold_store::{MemoryEngine, Outcome};

    use super::*;
    use crate::topic::{TopicName, conversation::Conversation};

    const NOW: Timestamp = Timestamp::EPOCH;

    fn topic() -> TopicKey {
        TopicKey::from_slice(&[5; 16]).unwrap()
    }

    fn apply(tables: &Tables, batch: Batch) {
        let outcome = tables.commit(batch).wait_blocking().unwrap();
        assert_eq!(outcome, Outcome::Applied);
    }

    #[test]
    fn deletions_go_on_far_behind_and_what_is_not_erased_yet_still_will_be() {
        let row = |last, last_hard, erased| ClearedRow {
            last,
            last_hard,
            erased,
        };
        let to = 7 + LEAP;
        assert_eq!(cleared_after(row(7, 5, 5)), row(to, to, to));
        assert_eq!(cleared_after(row(7, 5, 3)), row(to, to, 3));
        assert_eq!(cleared_after(row(0, 0, 0)), row(LEAP, LEAP, LEAP));
    }

    #[test]
    fn a_topic_goes_on_far_behind_and_what_lies_between_is_deleted() {
        let tables = Tables::open(Arc::new(MemoryEngine::new())).unwrap();
        let user = |number: u8| UserId::new([number; 8], "alpha.test".parse().unwrap());
        let row = TopicRow {
            people: vec![user(1).to_string(), user(2).to_string()],
            ..TopicRow::default()
        };
        let mut batch = Batch::new();
        for seq in 1..=3 {
            let row = MessageRow {
                received: i64::from(seq),
                ..MessageRow::default()
            };
            put_message(&mut batch, topic(), seq, &row);
        }
        apply(&tables, batch);
        let batch = pair(&tables, topic(), row, |_| true, NOW).unwrap();
        apply(&tables, batch);

        assert_eq!(tables.head(topic()).unwrap(), 3 + LEAP);
        let stored = tables.topic(topic()).unwrap().unwrap();
        let before = (stored.cleared.unwrap().last, stored.clone());
        assert_eq!(before.0, LEAP);
        // A page of history steps over the hole.
        let page = tables.visible_history(topic(), &user(1), (1, u32::MAX), 10, usize::MAX);
        let seqs: Vec<u32> = page.unwrap().iter().map(|it| it.0).collect();
        assert_eq!(seqs, [3, 2, 1]);
        // Clients that ask what was deleted since are told of it.
        let told = tables.deletions(topic(), None, (1, u32::MAX), 10).unwrap();
        let span = SpanRow {
            low: 4,
            high: 4 + LEAP,
        };
        assert_eq!(told[0].1.spans, [span]);
        // A second restore leaps again.
        let batch = pair(&tables, topic(), before.1, |_| true, NOW).unwrap();
        apply(&tables, batch);
        assert_eq!(tables.head(topic()).unwrap(), 3 + 2 * LEAP);
    }

    #[test]
    fn the_home_of_a_group_goes_on_in_its_log_and_far_behind_in_its_numbers() {
        let tables = Tables::open(Arc::new(MemoryEngine::new())).unwrap();
        let name = TopicName::Group(GroupId::from_bytes([5; 16]));
        let us = "alpha.test".parse().unwrap();
        let mut batch = Batch::new();
        for seq in 1..=3 {
            put_message(&mut batch, topic(), seq, &MessageRow::default());
        }
        apply(&tables, batch);
        let load = || storage::load(&tables, &name, (&us, false), NOW).unwrap().0;
        let row = RoomRow {
            epoch: 1,
            opened: 3,
            ..RoomRow::default()
        };
        let mut expected = Log::opened(3);
        for times in 1..=2 {
            let row = tables.room(topic()).unwrap().unwrap_or_else(|| row.clone());
            apply(&tables, room(&tables, topic(), row, NOW).unwrap());
            expected.epoch += 1;
            let loaded = load();
            let Conversation::Room(loaded) = loaded else {
                panic!("a room was stored");
            };
            assert_eq!(loaded.log, Some(expected));
            assert_eq!(loaded.head, 3 + times * LEAP);
            assert!(loaded.is_renumbered() && loaded.home.is_none());
        }
    }

    #[test]
    fn a_room_that_we_were_only_asked_into_stays_as_it_is() {
        let of = |home: &str, epoch| RoomRow {
            home: home.to_owned(),
            epoch,
            ..RoomRow::default()
        };
        assert!(leaps(&of("", 0)) && leaps(&of("", 2)) && leaps(&of("beta.test", 1)));
        assert!(!leaps(&of("beta.test", 0)));
    }

    #[test]
    fn nobody_has_more_or_less_to_read_than_before() {
        let before = SubscriptionRow {
            read: 8,
            received: 9,
            want_version: 2,
            ..SubscriptionRow::default()
        };
        let after = standing_after(before, NOW);
        assert_eq!((after.read, after.received), (8 + LEAP, 9 + LEAP));
        assert_eq!(after.want_version, 2 + u64::from(LEAP));
    }
}
