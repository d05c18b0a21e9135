//! The tables over the in-memory engine; the engines have a suite of their own.

use std::sync::Arc;

use freehold_proto::{DomainName, MessageId, UserId};
use proptest::prelude::*;

use super::{
    accounts, credentials,
    keys::TopicKey,
    log::{
        erase_from_feed, extend_log, put_follower, put_log_entry, put_log_tip, put_place,
        put_reading_domain, put_told, remove_follower,
    },
    messages,
    outbox::{self, CURSOR, MESSAGE},
    rows::{
        AccountRow, CredentialRow, DeletionRow, EnvelopeRow, FollowerRow, LogRow, LoginRow,
        MessageRow, OutboxRow, PlaceRow, RoomRow, SeenRow, SpanRow, SubscriptionRow,
    },
    tags::{self, TagOwner},
    topics, *,
};
use crate::{MemoryEngine, Outcome};

fn tables() -> Tables {
    Tables::open(Arc::new(MemoryEngine::new())).unwrap()
}

fn user(number: u8, domain: &str) -> UserId {
    UserId::new([number; 8], domain.parse().unwrap())
}

fn topic() -> TopicKey {
    TopicKey::one_to_one(&user(1, "a.test"), &user(2, "b.test"))
}

fn commit(tables: &Tables, fill: impl FnOnce(&mut Batch)) -> Outcome {
    let mut batch = Batch::new();
    fill(&mut batch);
    tables.commit(batch).wait_blocking().unwrap()
}

fn write(tables: &Tables, fill: impl FnOnce(&mut Batch)) {
    assert_eq!(commit(tables, fill), Outcome::Applied);
}

#[test]
fn data_of_another_format_is_refused() {
    let engine = Arc::new(MemoryEngine::new());
    let mut batch = Batch::new();
    batch.put(keys::schema(), b"freehold 99".as_slice());
    assert_eq!(
        engine.commit(batch).wait_blocking().unwrap(),
        Outcome::Applied
    );
    assert!(matches!(
        Tables::open(engine),
        Err(StoreError::Corrupt { .. })
    ));
}

#[test]
fn a_topic_has_one_key_whoever_comes_first() {
    let (a, b) = (user(1, "a.test"), user(2, "b.test"));
    assert_eq!(TopicKey::one_to_one(&a, &b), TopicKey::one_to_one(&b, &a));
    assert_ne!(
        TopicKey::one_to_one(&a, &b),
        TopicKey::one_to_one(&a, &user(2, "a.test"))
    );
}

#[test]
fn a_message_longer_than_a_row_comes_back_whole() {
    let tables = tables();
    for (seq, length) in (1..).zip([0, 1, 6_000, 6_142, 6_143, 200_000]) {
        let row = MessageRow {
            content: vec![b'x'; length].into(),
            ..Default::default()
        };
        write(&tables, |batch| {
            messages::put_message(batch, topic(), seq, &row)
        });
        assert_eq!(tables.message(topic(), seq).unwrap(), Some(row));
    }
    assert_eq!(tables.head(topic()).unwrap(), 6);
}

#[test]
fn a_position_is_never_written_twice() {
    let tables = tables();
    let put = |content: &'static str| {
        let row = MessageRow {
            content: content.into(),
            ..Default::default()
        };
        commit(&tables, |batch| {
            messages::put_message(batch, topic(), 1, &row)
        })
    };
    assert_eq!(put("first"), Outcome::Applied);
    assert!(matches!(put("second"), Outcome::GuardFailed { .. }));
    assert_eq!(
        tables.message(topic(), 1).unwrap().unwrap().content,
        "first"
    );
}

#[test]
fn history_is_newest_first_and_bounded_by_count_and_bytes() {
    let tables = tables();
    for seq in 1..=10 {
        let row = MessageRow {
            content: vec![b'x'; 1000].into(),
            ..Default::default()
        };
        write(&tables, |batch| {
            messages::put_message(batch, topic(), seq, &row)
        });
    }
    let seqs = |low, high, limit, bytes| -> Vec<u32> {
        let page = tables.history(topic(), low, high, limit, bytes).unwrap();
        page.into_iter().map(|(seq, _)| seq).collect()
    };
    assert_eq!(seqs(3, 8, 3, usize::MAX), [7, 6, 5]);
    assert_eq!(seqs(0, u32::MAX, 100, 2_500), [10, 9]);
    assert_eq!(seqs(0, u32::MAX, 100, 1), [10]);
}

#[test]
fn an_id_is_seen_once() {
    let tables = tables();
    let origin: DomainName = "b.test".parse().unwrap();
    let id = MessageId::from_bytes([3; 16]);
    let see = || {
        commit(&tables, |batch| {
            messages::put_seen(batch, &origin, id, &SeenRow::default())
        })
    };
    assert_eq!(see(), Outcome::Applied);
    assert!(matches!(see(), Outcome::GuardFailed { .. }));
    assert!(
        tables
            .seen(&"c.test".parse().unwrap(), id)
            .unwrap()
            .is_none()
    );
}

#[test]
fn subscriptions_are_paged_one_person_at_a_time() {
    let tables = tables();
    let me = user(1, "a.test");
    for number in 2..9 {
        let peer = user(number, "b.test");
        let row = SubscriptionRow {
            peer: peer.to_string(),
            ..Default::default()
        };
        let topic = TopicKey::one_to_one(&me, &peer);
        write(&tables, |batch| {
            topics::put_subscription(batch, &me, topic, &row);
            topics::put_subscription(batch, &peer, topic, &SubscriptionRow::default());
        });
    }
    let first = tables.subscriptions(&me, None, 4).unwrap();
    let rest = tables
        .subscriptions(&me, first.last().map(|it| it.0), 100)
        .unwrap();
    assert_eq!((first.len(), rest.len()), (4, 3));
}

#[test]
fn the_outbox_keeps_order_and_a_cell_has_one_position() {
    let tables = tables();
    let peer: DomainName = "b.test".parse().unwrap();
    let me = user(1, "a.test");
    let item = |kind: u8| OutboxRow {
        kind: kind.into(),
        ..Default::default()
    };
    write(&tables, |batch| {
        outbox::put_item(batch, &peer, 1, &item(MESSAGE))
    });
    for position in [2, 3] {
        let former = tables.outbox_cell(&peer, CURSOR, topic(), &me).unwrap();
        write(&tables, |batch| {
            outbox::put_cell(
                batch,
                &peer,
                (topic(), &me),
                former,
                position,
                &item(CURSOR),
            );
        });
    }
    let waiting: Vec<u64> = tables
        .outbox(&peer, 0, 10)
        .unwrap()
        .iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(waiting, [1, 3]);
    assert_eq!(
        tables.outbox_cell(&peer, CURSOR, topic(), &me).unwrap(),
        Some(3)
    );
    assert_eq!(tables.outbox_head(&peer).unwrap(), 3);
    assert!(tables.outbox(&peer, 3, 10).unwrap().is_empty());
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|it| (*it).to_owned()).collect()
}

#[test]
fn a_tag_leads_to_all_who_carry_it_and_an_alias_to_one() {
    let tables = tables();
    let (ann, amy) = (TagOwner::User([1; 8]), TagOwner::User([2; 8]));
    let club = TagOwner::Group(freehold_proto::GroupId::from_bytes([3; 16]));
    let set = |owner, old: &[&str], new: &[&str]| {
        commit(&tables, |batch| {
            tags::replace(batch, owner, &texts(old), &texts(new));
        })
    };
    assert_eq!(set(ann, &[], &["travel", "alias:ann"]), Outcome::Applied);
    assert_eq!(set(club, &[], &["travel", "alias:club"]), Outcome::Applied);
    assert!(matches!(
        set(amy, &[], &["travel", "alias:ann"]),
        Outcome::GuardFailed { .. }
    ));
    assert_eq!(tables.tagged("travel", 10).unwrap(), [ann, club]);
    assert_eq!(tables.unique_tag("alias:club").unwrap(), Some(club));
    assert_eq!(
        set(ann, &["travel", "alias:ann"], &["travel"]),
        Outcome::Applied
    );
    assert_eq!(set(amy, &[], &["alias:ann"]), Outcome::Applied);
    assert_eq!(tables.unique_tag("alias:ann").unwrap(), Some(amy));
    assert_eq!(tables.tagged("alias:ann", 10).unwrap(), [amy]);
}

#[test]
fn an_erased_account_leaves_nothing_but_its_id_taken() {
    let tables = tables();
    let ann = user(1, "a.test");
    let row = AccountRow {
        login: "ann".to_owned(),
        public: vec![b'x'; 20_000].into(),
        credentials: vec![CredentialRow {
            method: "email".to_owned(),
            value: "ann@b.test".to_owned(),
            done: true,
        }],
        ..Default::default()
    };
    let all = texts(&["basic:ann", "email:ann@b.test"]);
    let make = || {
        commit(&tables, |batch| {
            accounts::create_account(batch, &ann, &row, Some(&LoginRow::default()));
            tags::replace(batch, TagOwner::User([1; 8]), &[], &all);
            credentials::claim(batch, "email", "ann@b.test", &ann);
        })
    };
    assert_eq!(make(), Outcome::Applied);
    write(&tables, |batch| {
        accounts::erase_account(&tables, batch, &ann, &row, &all, 5).unwrap();
    });
    assert_eq!(tables.account(&ann).unwrap(), None);
    assert_eq!(tables.login("ann").unwrap(), None);
    assert!(tables.tagged("basic:ann", 10).unwrap().is_empty());
    assert_eq!(tables.credential("email", "ann@b.test").unwrap(), None);
    assert_eq!(tables.tombstone(&ann).unwrap().unwrap().at, 5);
    let left = tables.erasures(ann.domain()).unwrap();
    assert_eq!(left, std::slice::from_ref(&ann));
    assert!(
        matches!(make(), Outcome::GuardFailed { .. }),
        "the id came back"
    );
}

#[test]
fn an_erased_message_keeps_its_place_and_its_header_only() {
    let tables = tables();
    let row = MessageRow {
        author: "somebody".to_owned(),
        content: vec![b'x'; 20_000].into(),
        envelope: Some(EnvelopeRow {
            header: "header".into(),
            payload: vec![b'y'; 20_000].into(),
            ..EnvelopeRow::default()
        }),
        ..MessageRow::default()
    };
    write(&tables, |batch| {
        messages::put_message(batch, topic(), 1, &row)
    });
    write(&tables, |batch| {
        messages::erase_messages(&tables, batch, topic(), &[1], 7).unwrap()
    });
    let left = tables.message(topic(), 1).unwrap().unwrap();
    assert_eq!((left.author.as_str(), left.deleted), ("somebody", 7));
    assert!(left.content.is_empty());
    let envelope = left.envelope.unwrap();
    assert_eq!(
        (&*envelope.header, &*envelope.payload),
        (&b"header"[..], &b""[..])
    );
    let parts = KeyRange::prefix(b"B");
    assert_eq!(tables.page(&parts, Order::Ascending, 100).unwrap(), []);
    assert_eq!(tables.head(topic()).unwrap(), 1);
}

#[test]
fn a_room_leads_to_its_members_page_by_page() {
    let tables = tables();
    let people: Vec<_> = (1..=5).map(|it| user(it, "a.test")).collect();
    let row = RoomRow {
        public: vec![b'x'; 30_000].into(),
        ..RoomRow::default()
    };
    write(&tables, |batch| {
        rooms::create_room(batch, topic(), &row);
        people
            .iter()
            .for_each(|it| rooms::put_member(batch, topic(), it));
    });
    assert!(matches!(
        commit(&tables, |batch| rooms::create_room(batch, topic(), &row)),
        Outcome::GuardFailed { .. }
    ));
    assert_eq!(tables.room(topic()).unwrap(), Some(row));
    let first = tables.members(topic(), None, 2).unwrap();
    let rest = tables.members(topic(), first.last(), 10).unwrap();
    assert_eq!([first, rest].concat(), people);
}

#[test]
fn the_words_of_a_message_go_from_a_feed_and_its_header_stays() {
    let (tables, feed) = (tables(), topic().feed());
    let entry = LogRow {
        position: vec![1].into(),
        seq: 9,
        envelope: Some(EnvelopeRow {
            header: vec![2].into(),
            salt: vec![3; 16].into(),
            payload: vec![4; 20_000].into(),
            ..EnvelopeRow::default()
        }),
        ..LogRow::default()
    };
    let place = PlaceRow {
        order: 5,
        seq: 9,
        index: 1,
    };
    write(&tables, |batch| {
        put_log_entry(batch, feed, 1, &entry);
        put_place(batch, feed, place);
        extend_log(batch, feed, 0, 1);
    });
    assert_eq!(tables.log_tip(feed).unwrap(), Some(1));
    assert_eq!(tables.log_tip(topic()).unwrap(), None);
    // Another message, which is not in it.
    write(&tables, |batch| {
        erase_from_feed(&tables, batch, feed, 10).unwrap()
    });
    assert_eq!(tables.log_entry(feed, 1).unwrap(), Some(entry));
    write(&tables, |batch| {
        erase_from_feed(&tables, batch, feed, 9).unwrap()
    });
    let left = tables.log_entry(feed, 1).unwrap().unwrap();
    let envelope = left.envelope.unwrap();
    assert_eq!((left.seq, &*envelope.header), (9, [2].as_slice()));
    assert!(envelope.payload.is_empty() && envelope.salt.is_empty());
}

#[test]
fn domains_that_read_a_channel_are_known_until_nobody_there_does() {
    let tables = tables();
    let peer = |name: &str| -> DomainName { name.parse().unwrap() };
    write(&tables, |batch| {
        put_reading_domain(batch, topic(), &peer("a.test"), 1);
        put_reading_domain(batch, topic(), &peer("b.test"), 7);
        put_reading_domain(batch, topic().feed(), &peer("c.test"), 2);
    });
    let all = tables.reading_domains(topic(), None, 9).unwrap();
    assert_eq!(all, [(peer("a.test"), 1), (peer("b.test"), 7)]);
    let page = tables.reading_domains(topic(), Some(&peer("a.test")), 9);
    assert_eq!(page.unwrap(), [(peer("b.test"), 7)]);
    write(&tables, |batch| {
        put_reading_domain(batch, topic(), &peer("b.test"), 0)
    });
    let left = tables.reading_domains(topic(), None, 9).unwrap();
    assert_eq!(left, [(peer("a.test"), 1)]);
}

#[test]
fn a_log_is_read_from_anywhere_and_its_messages_are_found_by_order_and_by_position() {
    let tables = tables();
    let entry = |seq| LogRow {
        position: vec![1].into(),
        seq,
        ..LogRow::default()
    };
    assert_eq!(tables.log_head(topic()).unwrap(), None);
    write(&tables, |batch| put_log_tip(batch, topic(), 3));
    write(&tables, |batch| {
        extend_log(batch, topic(), 3, 7);
        for (index, order, seq) in [(4, 10, 30), (5, 0, 0), (6, 11, 32), (7, 12, 31)] {
            put_log_entry(batch, topic(), index, &entry(seq));
            if order > 0 {
                put_place(batch, topic(), PlaceRow { order, seq, index });
            }
        }
    });
    for (before, last) in [(3, 4), (6, 7), (8, 9), (0, 1)] {
        let outcome = commit(&tables, |batch| extend_log(batch, topic(), before, last));
        assert!(matches!(outcome, Outcome::GuardFailed { .. }), "{before}");
    }
    assert_eq!(tables.log_head(topic()).unwrap(), Some((7, entry(31))));
    let after = tables.log_after(topic(), 4, 2).unwrap();
    assert_eq!(after, [(5, entry(0)), (6, entry(32))]);
    assert_eq!(
        tables.place(topic(), 11).unwrap().map(|it| it.index),
        Some(6)
    );
    assert_eq!(tables.seq_at(topic(), 11).unwrap(), Some((11, 32)));
    assert_eq!(tables.seq_at(topic(), 99).unwrap(), Some((12, 31)));
    assert_eq!(tables.seq_at(topic(), 9).unwrap(), None);
    assert_eq!(tables.order_at(topic(), 32).unwrap(), Some((32, 11)));
    let page = tables.seqs_between(topic(), (10, 12), 10).unwrap();
    assert_eq!(page, [(10, 30), (11, 32)]);
}

#[test]
fn a_follower_is_forgotten_only_as_it_was_seen() {
    let tables = tables();
    let beta = "beta.test".parse().unwrap();
    let part = |until| FollowerRow { since: 3, until };
    write(&tables, |batch| {
        put_follower(batch, &beta, topic(), &part(9));
        put_told(batch, &beta, topic(), 9);
    });
    assert_eq!(
        tables.followed_by(&beta, None, 10).unwrap(),
        [(topic(), part(9))]
    );
    assert_eq!(tables.followed_by(&beta, Some(topic()), 10).unwrap(), []);
    // It has come back meanwhile.
    write(&tables, |batch| {
        put_follower(batch, &beta, topic(), &part(0))
    });
    let stale = commit(&tables, |batch| {
        remove_follower(batch, &beta, topic(), &part(9))
    });
    assert!(matches!(stale, Outcome::GuardFailed { .. }));
    assert_eq!(tables.told(&beta, topic()).unwrap(), 9);
    write(&tables, |batch| {
        remove_follower(batch, &beta, topic(), &part(0))
    });
    assert_eq!(tables.follower(&beta, topic()).unwrap(), None);
    assert_eq!(tables.told(&beta, topic()).unwrap(), 0);
}

#[test]
fn a_deletion_that_is_too_much_for_one_batch_goes_on_in_the_next() {
    let (tables, me) = (tables(), user(1, "a.test"));
    let span = |low, high| SpanRow { low, high };
    let delete = |id, spans| {
        let row = DeletionRow {
            spans,
            ..DeletionRow::default()
        };
        let mut left = Vec::new();
        write(&tables, |batch| {
            left = deletions::delete(&tables, batch, (topic(), Some(&me)), id, row).unwrap();
        });
        left
    };
    for (id, first) in (1..).zip([1, 1001, 2001]) {
        let single = (first..first + 1000).step_by(2).map(|it| span(it, it + 1));
        assert_eq!(delete(id, single.collect()), []);
    }
    let mut single: Vec<_> = (3001..5001).step_by(2).map(|it| span(it, it + 1)).collect();
    single.truncate(500);
    assert_eq!(delete(4, single), []);
    let left = delete(5, vec![span(1, 4001)]);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].low, 1);
    assert_eq!(delete(6, left), []);
    assert_eq!(tables.last_visible(topic(), &me, (1, 4001)).unwrap(), None);
    assert_eq!(
        tables
            .deletions(topic(), Some(&me), (0, 100), 100)
            .unwrap()
            .len(),
        6
    );
}

proptest! {
    /// Whatever is deleted, by whom and in which order: what is left to see is what nobody deleted.
    #[test]
    fn history_steps_over_every_hole(
        deletions in prop::collection::vec(
            (any::<bool>(), prop::collection::vec((1u32..40, 1u32..8), 1..4)),
            0..12,
        )
    ) {
        let tables = tables();
        let me = user(1, "a.test");
        for seq in 1..40 {
            write(&tables, |batch| {
                messages::put_message(batch, topic(), seq, &MessageRow::default());
            });
        }
        let mut visible: std::collections::BTreeSet<u32> = (1..40).collect();
        for (id, (own, spans)) in (1..).zip(deletions) {
            let spans: Vec<_> = spans
                .iter()
                .map(|&(low, length)| SpanRow { low, high: low + length })
                .collect();
            for span in &spans {
                visible.retain(|seq| !(span.low..span.high).contains(seq));
            }
            let row = DeletionRow { spans, ..DeletionRow::default() };
            write(&tables, |batch| {
                let scope = (topic(), own.then_some(&me));
                let left = deletions::delete(&tables, batch, scope, id, row).unwrap();
                assert_eq!(left, []);
            });
        }
        let page = |low, high, limit| -> Vec<u32> {
            let found = tables.visible_history(topic(), &me, (low, high), limit, usize::MAX);
            found.unwrap().into_iter().map(|(seq, _)| seq).collect()
        };
        let all: Vec<_> = visible.iter().rev().copied().collect();
        prop_assert_eq!(page(0, u32::MAX, 1000), &all[..]);
        let some: Vec<_> = all.iter().copied().filter(|it| (10..30).contains(it)).collect();
        prop_assert_eq!(page(10, 30, 5), &some[..some.len().min(5)]);
    }
}
