//! The outbox of alpha.test towards beta.test: Alice and Ann write to Bob.

use std::time::Duration;

use freehold_federation::Outbox as _;
use freehold_keys::KeyRing;
use freehold_proto::{GroupId, Refusal, RefusalCode, wire};
use freehold_store::{
    Engine, MemoryEngine, Outcome,
    tables::{
        accounts::put_account,
        deletions,
        log::{extend_log, put_follower, put_log_entry},
        messages::put_message,
        outbox::RELATION,
        rows::{
            AccountRow, DeletionRow, FollowerRow, LogRow, MessageRow, RoomRow, SpanRow,
            SubscriptionRow,
        },
        topics::put_subscription,
    },
};

use super::*;
use crate::topic::message;

const LATER: Verdict = Verdict::Later {
    code: RefusalCode::AwaitingConsent,
    retry_after: Duration::from_secs(3600),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_767_323_045_000 + second * 1000).unwrap()
}

fn user(number: u8, domain: &str) -> UserId {
    UserId::new([number; 8], domain.parse().unwrap())
}

fn alice() -> UserId {
    user(1, "alpha.test")
}

fn ann() -> UserId {
    user(2, "alpha.test")
}

fn bob() -> UserId {
    user(3, "beta.test")
}

fn beta() -> DomainName {
    "beta.test".parse().unwrap()
}

fn with_bob(author: &UserId) -> TopicKey {
    TopicKey::one_to_one(author, &bob())
}

struct Stage {
    tables: Tables,
    signer: Signer,
    outbox: Outbox,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let alpha = "alpha.test".parse().unwrap();
        let (ring, _) = KeyRing::create(&dir.path().join("keys"), &alpha, at(0)).unwrap();
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let opening = tokio::task::spawn_blocking(move || Tables::open(engine));
        let tables = opening.await.unwrap().unwrap();
        let outbox = Outbox::new(tables.clone(), ring.signer());
        outbox.prepare(&beta()).await.unwrap();
        Self {
            tables,
            signer: ring.signer(),
            outbox,
        }
    }

    /// The process ends and starts again.
    async fn restart(&mut self) {
        self.outbox = Outbox::new(self.tables.clone(), self.signer.clone());
        self.outbox.prepare(&beta()).await.unwrap();
    }

    /// The epoch that goes with the next batch.
    async fn epoch(&self) -> u64 {
        self.outbox.offering(&beta(), 0).await.unwrap()
    }

    async fn commit(&self, batch: Batch) {
        assert_eq!(self.tables.commit(batch).await.unwrap(), Outcome::Applied);
    }

    /// `author` writes message number `seq` to Bob; its id says which it is.
    async fn says(&self, author: &UserId, seq: u32) {
        let id = MessageId::from_bytes([u8::try_from(seq).unwrap(); 16]);
        let payload = wire::payload::Kind::DirectMessage(wire::DirectMessage {
            author: author.to_string(),
            ..Default::default()
        });
        let envelope = self
            .signer
            .seal(Destination::Domain(beta()), id, at(0), payload)
            .unwrap();
        let row = MessageRow {
            author: author.to_string(),
            message_id: id.as_bytes().to_vec().into(),
            envelope: Some(message::envelope_row(&envelope)),
            ..MessageRow::default()
        };
        let mut batch = Batch::new();
        put_message(&mut batch, with_bob(author), seq, &row);
        self.outbox
            .put_message(&mut batch, &beta(), (with_bob(author), author), seq, at(0));
        self.commit(batch).await;
    }

    /// Who wrote which message of the next batch, with the positions.
    async fn offered(&self, now: Timestamp) -> Vec<(u64, UserId, u8)> {
        let items = self
            .outbox
            .next(&beta(), now, 100, usize::MAX)
            .await
            .unwrap();
        let read = |item: Outgoing| {
            let header = freehold_proto::Header::decode(&item.envelope.header).unwrap();
            let payload = <wire::Payload as prost::Message>::decode(item.envelope.payload).unwrap();
            let author = match payload.kind.unwrap() {
                wire::payload::Kind::DirectMessage(it) => it.author,
                wire::payload::Kind::Relation(it) => it.user,
                wire::payload::Kind::Cursor(it) => it.reader,
                wire::payload::Kind::GroupMessage(it) => it.author,
                other => panic!("nobody queued {other:?}"),
            };
            (
                item.position,
                author.parse().unwrap(),
                header.message_id.as_bytes()[0],
            )
        };
        items.into_iter().map(read).collect()
    }

    /// The next batch is as expected, and the peer answers it so.
    async fn settles(&self, now: Timestamp, expected: &[(UserId, u8, Verdict)]) {
        let offered = self.offered(now).await;
        let found: Vec<_> = offered
            .iter()
            .map(|(_, author, id)| (author.clone(), *id))
            .collect();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(author, id, _)| (author.clone(), *id))
            .collect();
        assert_eq!(found, wanted);
        let last = offered.last().map_or(0, |it| it.0);
        self.outbox.offering(&beta(), last).await.unwrap();
        let verdicts = offered
            .iter()
            .zip(expected)
            .map(|(it, (_, _, verdict))| (it.0, verdict.clone()));
        self.outbox
            .settle(&beta(), now, verdicts.collect())
            .await
            .unwrap();
    }

    /// Alice has an account and stands in her topic with Bob.
    async fn knows_alice(&self) {
        let mut batch = Batch::new();
        put_account(&mut batch, &alice(), &AccountRow::default());
        let row = SubscriptionRow {
            peer: bob().to_string(),
            ..SubscriptionRow::default()
        };
        put_subscription(&mut batch, &alice(), with_bob(&alice()), &row);
        self.commit(batch).await;
    }

    async fn relates(&self) {
        let mut batch = Batch::new();
        let cell = (with_bob(&alice()), &alice());
        self.outbox
            .put_cell(&mut batch, &beta(), RELATION, cell, at(0))
            .await
            .unwrap();
        self.commit(batch).await;
    }
}

#[tokio::test]
async fn a_deleted_message_is_not_offered_even_before_it_is_erased() {
    let stage = Stage::new().await;
    for seq in 1..=3 {
        stage.says(&alice(), seq).await;
    }
    let topic = with_bob(&alice());
    let deletes = move |tables: &Tables| {
        let mut batch = Batch::new();
        let for_both = DeletionRow {
            spans: vec![SpanRow { low: 2, high: 3 }],
            ..DeletionRow::default()
        };
        deletions::delete(tables, &mut batch, (topic, None), 1, for_both)?;
        let for_oneself = DeletionRow {
            spans: vec![SpanRow { low: 3, high: 4 }],
            ..DeletionRow::default()
        };
        deletions::delete(tables, &mut batch, (topic, Some(&alice())), 2, for_oneself)?;
        Ok(batch)
    };
    stage
        .commit(stage.tables.read(deletes).await.unwrap())
        .await;
    let offered = stage.offered(at(0)).await;
    let ids: Vec<_> = offered.iter().map(|it| it.2).collect();
    assert_eq!(ids, [1, 3]);
}

#[tokio::test]
async fn messages_are_offered_in_order_until_they_are_decided() {
    let stage = Stage::new().await;
    for seq in 1..=3 {
        stage.says(&alice(), seq).await;
    }
    let ids = |offered: Vec<(u64, UserId, u8)>| offered.iter().map(|it| it.2).collect::<Vec<_>>();
    assert_eq!(ids(stage.offered(at(0)).await), [1, 2, 3]);
    assert_eq!(
        ids(stage.offered(at(0)).await),
        [1, 2, 3],
        "nothing was decided"
    );
    stage
        .settles(
            at(0),
            &[
                (alice(), 1, Verdict::Ok),
                (alice(), 2, Verdict::Duplicate),
                (alice(), 3, Verdict::Ok),
            ],
        )
        .await;
    assert!(stage.offered(at(0)).await.is_empty());
}

#[tokio::test]
async fn a_refused_message_stays_until_its_author_has_been_told() {
    let stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    let offered = stage.offered(at(0)).await;
    let refused = Verdict::Refused(Refusal::new(RefusalCode::Malformed, "no"));
    let settled = stage
        .outbox
        .settle(&beta(), at(0), vec![(offered[0].0, refused)])
        .await;
    assert!(
        settled.is_err(),
        "there is no topic here that could tell her"
    );
    assert_eq!(stage.offered(at(0)).await.len(), 1);
}

#[tokio::test]
async fn positions_rise_over_restarts_and_the_epoch_stays() {
    let mut stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    let epoch = stage.epoch().await;
    stage.settles(at(0), &[(alice(), 1, Verdict::Ok)]).await;
    stage.restart().await;
    stage.says(&alice(), 2).await;
    assert_eq!(stage.epoch().await, epoch);
    let offered = stage.offered(at(0)).await;
    assert!(offered[0].0 > 1 && offered[0].2 == 2, "{offered:?}");
}

#[tokio::test]
async fn what_a_peer_has_lost_is_offered_again_in_order_before_what_is_new() {
    let mut stage = Stage::new().await;
    for seq in 1..=3 {
        stage.says(&alice(), seq).await;
    }
    let done = |seq| (alice(), seq, Verdict::Ok);
    stage.settles(at(0), &[done(1), done(2), done(3)]).await;
    stage.says(&alice(), 4).await;
    let epoch = stage.epoch().await;
    let word = |position| StreamPosition { epoch, position };
    assert!(!stage.outbox.has_lost(&beta(), word(3)).await.unwrap());
    assert!(stage.outbox.has_lost(&beta(), word(1)).await.unwrap());

    stage.outbox.take_word(&beta(), word(1)).await.unwrap();
    // The peer is not asked to remember that it has been told.
    stage.restart().await;
    stage.outbox.take_word(&beta(), word(1)).await.unwrap();
    assert_eq!(stage.epoch().await, epoch);
    stage.settles(at(1), &[done(2), done(3), done(4)]).await;
    assert!(stage.offered(at(1)).await.is_empty());
}

#[tokio::test]
async fn what_a_peer_decided_is_kept_for_a_week_and_offered_again_three_times() {
    let stage = Stage::new().await;
    let lost = StreamPosition::default();
    stage.says(&alice(), 1).await;
    stage.settles(at(0), &[(alice(), 1, Verdict::Ok)]).await;
    for _ in 0..3 {
        stage.outbox.take_word(&beta(), lost).await.unwrap();
        stage
            .settles(at(1), &[(alice(), 1, Verdict::Duplicate)])
            .await;
    }
    stage.outbox.take_word(&beta(), lost).await.unwrap();
    assert!(
        stage.offered(at(1)).await.is_empty(),
        "whoever says for ever that he has lost it gets it for ever"
    );

    stage.says(&alice(), 2).await;
    stage.settles(at(2), &[(alice(), 2, Verdict::Ok)]).await;
    let week = 7 * 24 * 60 * 60;
    assert!(stage.offered(at(2 + week)).await.is_empty());
    let kept = |tables: &Tables| tables.kept(&beta(), 0, 10);
    assert_eq!(stage.tables.read(kept).await.unwrap().len(), 1);
    assert!(stage.offered(at(2 + week + 3601)).await.is_empty());
    assert!(stage.tables.read(kept).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_relation_that_a_peer_has_lost_is_said_again_as_it_is_now() {
    let stage = Stage::new().await;
    stage.knows_alice().await;
    stage.relates().await;
    let relation = |offered: Vec<(u64, UserId, u8)>| offered.into_iter().map(|it| it.1);
    let offered = stage.offered(at(0)).await;
    let verdicts = vec![(offered[0].0, Verdict::Ok)];
    stage.outbox.settle(&beta(), at(0), verdicts).await.unwrap();
    assert!(stage.offered(at(0)).await.is_empty());
    let lost = StreamPosition::default();
    stage.outbox.take_word(&beta(), lost).await.unwrap();
    let again: Vec<_> = relation(stage.offered(at(0)).await).collect();
    assert_eq!(again, [alice()]);
}

#[tokio::test]
async fn a_peer_that_has_more_than_was_offered_makes_the_stream_go_on_behind_it() {
    let mut stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    stage.settles(at(0), &[(alice(), 1, Verdict::Ok)]).await;
    let epoch = stage.epoch().await;
    let position = 1_000_000;
    let word = StreamPosition { epoch, position };
    stage.outbox.take_word(&beta(), word).await.unwrap();
    stage.restart().await;
    stage.says(&alice(), 2).await;
    assert_ne!(stage.epoch().await, epoch);
    assert!(stage.offered(at(0)).await[0].0 > position);
}

#[tokio::test]
async fn one_author_who_must_wait_holds_up_nobody_else_and_keeps_the_order() {
    let stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    stage.says(&ann(), 2).await;
    stage
        .settles(at(0), &[(alice(), 1, LATER), (ann(), 2, Verdict::Ok)])
        .await;
    stage.says(&alice(), 3).await;
    stage.says(&ann(), 4).await;
    stage.settles(at(1), &[(ann(), 4, Verdict::Ok)]).await;
    assert_eq!(
        stage.outbox.next_due(&beta()).await.unwrap(),
        Some(at(3600))
    );
    stage
        .settles(
            at(3600),
            &[(alice(), 1, Verdict::Ok), (alice(), 3, Verdict::Ok)],
        )
        .await;
    assert_eq!(stage.outbox.next_due(&beta()).await.unwrap(), None);
    stage.says(&alice(), 5).await;
    stage.settles(at(3601), &[(alice(), 5, Verdict::Ok)]).await;
}

#[tokio::test]
async fn consent_lets_parked_messages_go_at_once() {
    let stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    stage.settles(at(0), &[(alice(), 1, LATER)]).await;
    stage.settles(at(1), &[]).await;
    stage.outbox.release(&beta(), with_bob(&alice()), &alice());
    stage.settles(at(1), &[(alice(), 1, Verdict::Ok)]).await;
}

#[tokio::test]
async fn consent_that_comes_before_the_answer_to_the_batch_counts_too() {
    let stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    let offered = stage.offered(at(0)).await;
    stage.outbox.release(&beta(), with_bob(&alice()), &alice());
    stage
        .outbox
        .settle(&beta(), at(0), vec![(offered[0].0, LATER)])
        .await
        .unwrap();
    stage.settles(at(0), &[(alice(), 1, Verdict::Ok)]).await;
}

#[tokio::test]
async fn parked_messages_survive_a_restart_and_are_offered_once_more() {
    let mut stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    stage.says(&alice(), 2).await;
    stage
        .settles(at(0), &[(alice(), 1, LATER), (alice(), 2, LATER)])
        .await;
    stage.restart().await;
    stage.says(&alice(), 3).await;
    stage
        .settles(
            at(1),
            &[
                (alice(), 1, Verdict::Ok),
                (alice(), 2, Verdict::Ok),
                (alice(), 3, Verdict::Ok),
            ],
        )
        .await;
}

#[tokio::test]
async fn a_newer_relation_takes_the_place_of_an_older_one() {
    let stage = Stage::new().await;
    stage.knows_alice().await;
    stage.relates().await;
    stage.relates().await;
    let offered = stage.offered(at(0)).await;
    assert_eq!(offered.iter().map(|it| it.0).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_relation_that_changes_while_it_is_under_way_is_sent_again() {
    let stage = Stage::new().await;
    stage.knows_alice().await;
    stage.relates().await;
    let offered = stage.offered(at(0)).await;
    stage.relates().await;
    stage
        .outbox
        .settle(&beta(), at(0), vec![(offered[0].0, Verdict::Ok)])
        .await
        .unwrap();
    assert_eq!(stage.offered(at(0)).await.len(), 1);
}

#[tokio::test]
async fn a_relation_that_must_wait_waits_without_spinning() {
    let stage = Stage::new().await;
    stage.knows_alice().await;
    stage.relates().await;
    let offered = stage.offered(at(0)).await;
    stage
        .outbox
        .settle(&beta(), at(0), vec![(offered[0].0, LATER)])
        .await
        .unwrap();
    assert!(stage.offered(at(1)).await.is_empty());
    assert_eq!(
        stage.outbox.next_due(&beta()).await.unwrap(),
        Some(at(3600))
    );
    assert_eq!(stage.offered(at(3600)).await.len(), 1);
    assert_eq!(stage.outbox.next_due(&beta()).await.unwrap(), None);
}

#[tokio::test]
async fn a_queue_has_an_end() {
    let stage = Stage::new().await;
    assert!(stage.outbox.has_room(&beta()));
    stage
        .outbox
        .stream_to(&beta())
        .await
        .unwrap()
        .lock()
        .waiting = Waiting::default().items_max;
    assert!(!stage.outbox.has_room(&beta()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_written_yet_has_its_place_in_the_queue() {
    let stage = Stage::new().await;
    stage.knows_alice().await;
    let stream = stage.outbox.stream_to(&beta()).await.unwrap();
    let mut batch = Batch::new();
    let alice = alice();
    stage
        .outbox
        .put_message(&mut batch, &beta(), (club(), &alice), 1, at(0));
    assert!(stage.offered(at(0)).await.is_empty(), "it is not written");
    assert_eq!(stream.lock().waiting, 1, "and will be");

    // What was never written does not take its place for ever.
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(stage.offered(at(61)).await.is_empty());
    assert_eq!(stream.lock().waiting, 0);
}

impl Stage {
    /// What comes behind that which was handed out.
    async fn comes_behind(&self, now: Timestamp) -> Vec<u64> {
        let outbox: &dyn freehold_federation::Outbox = &self.outbox;
        let items = outbox.behind(&beta(), now, 100, usize::MAX).await;
        items.unwrap().iter().map(|it| it.position).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_batch_is_known_before_it_is_settled() {
    let stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    let first = stage.offered(at(0)).await[0].0;
    stage.says(&alice(), 2).await;
    stage.says(&ann(), 3).await;
    let behind = stage.comes_behind(at(0)).await;
    assert_eq!(behind, [first + 1, first + 2]);
    let taken = |position: &u64| (*position, Verdict::Ok);
    let all = [vec![first], behind].concat();
    for part in [&all[..1], &all[1..]] {
        let verdicts = part.iter().map(taken).collect();
        stage.outbox.settle(&beta(), at(0), verdicts).await.unwrap();
    }
    assert!(stage.offered(at(0)).await.is_empty());
    let stream = stage.outbox.stream_to(&beta()).await.unwrap();
    assert_eq!(stream.lock().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn all_that_waits_is_looked_at_once_in_a_while() {
    let stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    assert_eq!(stage.offered(at(0)).await.len(), 1);
    stage.says(&alice(), 2).await;
    assert_eq!(stage.comes_behind(at(0)).await.len(), 1);
    stage.says(&alice(), 3).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(stage.comes_behind(at(0)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_consent_does_not_slip_by_behind_a_batch() {
    let stage = Stage::new().await;
    stage.says(&alice(), 1).await;
    stage.settles(at(0), &[(alice(), 1, LATER)]).await;
    assert!(stage.offered(at(1)).await.is_empty());
    stage.says(&alice(), 2).await;
    stage.says(&ann(), 3).await;
    let behind = stage.comes_behind(at(1)).await;
    let offered = stage.offered(at(1)).await;
    assert_eq!(behind, [offered[0].0], "Ann's alone");
    assert_eq!(offered[0].1, ann());
    assert!(
        stage.comes_behind(at(3600)).await.is_empty(),
        "Alice's time has come: that needs a look at all"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_written_late_is_not_overtaken_by_what_its_author_wrote_after_it() {
    let stage = Stage::new().await;
    // Alice's first message has its position, and is written after Ann's.
    let mut late = Batch::new();
    let topic = with_bob(&alice());
    stage
        .outbox
        .put_message(&mut late, &beta(), (topic, &alice()), 1, at(0));
    stage.says(&ann(), 2).await;
    let first = stage.offered(at(0)).await;
    assert_eq!(first.len(), 1);
    stage.commit(late).await;
    stage.says(&alice(), 3).await;
    let message = move |tables: &Tables| tables.message(topic, 3);
    let row = stage.tables.read(message).await.unwrap().unwrap();
    let mut batch = Batch::new();
    freehold_store::tables::messages::fill_message(&mut batch, topic, 1, &row);
    stage.commit(batch).await;
    let behind = stage.comes_behind(at(0)).await;
    assert_eq!(behind, [first[0].0 - 1, first[0].0 + 1]);
}

#[test]
fn what_a_second_look_finds_counts_where_its_pair_wrote_something_later_before_the_first() {
    let item = |position: u64, author: UserId| {
        let row = row(MESSAGE, with_bob(&author), &author, 0, at(0));
        (position, row)
    };
    let first = [item(3, alice()), item(5, ann()), item(7, alice())];
    let mut page = vec![
        item(2, alice()),
        item(3, alice()),
        item(4, bob()),
        item(5, ann()),
        item(6, ann()),
        item(7, alice()),
    ];
    keep_durable(&mut page, &first);
    let kept: Vec<_> = page.iter().map(|it| it.0).collect();
    assert_eq!(kept, [2, 3, 5, 7]);
}

fn club() -> TopicKey {
    TopicKey::group(&GroupId::from_bytes([9; 16]))
}

impl Stage {
    /// An entry of the group's log: its place says which it is.
    async fn places(&self, index: u64) {
        let number = u8::try_from(index).unwrap();
        let id = MessageId::from_bytes([number; 16]);
        let payload = wire::payload::Kind::GroupMessage(wire::GroupMessage {
            author: alice().to_string(),
            ..Default::default()
        });
        let to = Destination::Group(GroupId::from_bytes([9; 16]));
        let envelope = self.signer.seal(to, id, at(0), payload).unwrap();
        let row = LogRow {
            position: vec![number].into(),
            signature: vec![0; 64].into(),
            envelope: Some(message::envelope_row(&envelope)),
            ..LogRow::default()
        };
        let mut batch = Batch::new();
        put_log_entry(&mut batch, club(), index, &row);
        extend_log(&mut batch, club(), index - 1, index);
        self.commit(batch).await;
        self.outbox.moved(&beta(), club());
    }

    async fn follows(&self, since: u64, until: u64) {
        let mut batch = Batch::new();
        let row = FollowerRow { since, until };
        put_follower(&mut batch, &beta(), club(), &row);
        self.commit(batch).await;
        self.outbox.moved(&beta(), club());
    }

    /// The entries of the next batch, which the peer answers so.
    async fn tells(&self, verdict: &Verdict) -> Vec<u8> {
        let items = self
            .outbox
            .next(&beta(), at(0), 3, usize::MAX)
            .await
            .unwrap();
        let verdicts = items.iter().map(|it| (it.position, verdict.clone()));
        self.outbox
            .settle(&beta(), at(0), verdicts.collect())
            .await
            .unwrap();
        items
            .into_iter()
            .map(|it| it.placed.unwrap().position[0])
            .collect()
    }
}

#[tokio::test]
async fn a_log_is_told_in_order_from_where_the_peer_came_in_and_once() {
    let mut stage = Stage::new().await;
    for index in 1..=3 {
        stage.places(index).await;
    }
    assert!(
        stage.tells(&Verdict::Ok).await.is_empty(),
        "beta has no part yet"
    );
    stage.follows(2, 0).await;
    stage.places(4).await;
    assert_eq!(stage.tells(&Verdict::Ok).await, [3, 4]);
    assert!(stage.tells(&Verdict::Ok).await.is_empty());
    stage.places(5).await;
    stage.places(6).await;
    assert_eq!(stage.tells(&Verdict::Ok).await, [5, 6]);
    stage.places(7).await;
    stage.restart().await;
    assert_eq!(stage.tells(&Verdict::Duplicate).await, [7]);
    assert!(stage.tells(&Verdict::Ok).await.is_empty());
}

#[tokio::test]
async fn what_the_peer_wants_later_comes_again_and_at_the_end_it_is_forgotten() {
    let stage = Stage::new().await;
    stage.follows(0, 0).await;
    for index in 1..=5 {
        stage.places(index).await;
    }
    let later = Verdict::Later {
        code: RefusalCode::EntriesMissing,
        retry_after: Duration::ZERO,
    };
    assert_eq!(stage.tells(&later).await, [1, 2, 3]);
    assert_eq!(stage.tells(&Verdict::Ok).await, [1, 2, 3]);
    // It has no part any more behind the fourth.
    stage.follows(0, 4).await;
    assert_eq!(stage.tells(&Verdict::Ok).await, [4]);
    assert!(stage.tells(&Verdict::Ok).await.is_empty());
    let left = stage.tables.read(|it| it.follower(&beta(), club())).await;
    assert_eq!(left.unwrap(), None);
}

#[tokio::test]
async fn a_refused_entry_holds_its_log_back_and_nothing_else() {
    let stage = Stage::new().await;
    stage.follows(0, 0).await;
    stage.places(1).await;
    let refusal = Refusal::new(RefusalCode::LogForked, "another log");
    assert_eq!(stage.tells(&Verdict::Refused(refusal)).await, [1]);
    assert!(stage.tells(&Verdict::Ok).await.is_empty());
    stage.says(&alice(), 1).await;
    stage.settles(at(0), &[(alice(), 1, Verdict::Ok)]).await;
}

impl Stage {
    async fn reads(&self, user: &UserId, read: u32) {
        let mut batch = Batch::new();
        let mark = [(user.clone(), (read, read))];
        self.outbox
            .put_marks(&mut batch, &beta(), club(), &mark, at(0));
        if !batch.is_empty() {
            self.commit(batch).await;
        }
    }

    /// Marks of the next batch, with its positions: who has read how far.
    async fn marks(&self) -> (Vec<u64>, Vec<(UserId, u32)>) {
        let items = self
            .outbox
            .next(&beta(), at(0), 9, usize::MAX)
            .await
            .unwrap();
        let positions = items.iter().map(|it| it.position).collect();
        let mut marks = Vec::new();
        for item in items {
            let payload = <wire::Payload as prost::Message>::decode(item.envelope.payload);
            let Some(wire::payload::Kind::GroupCursors(it)) = payload.unwrap().kind else {
                panic!("nobody queued anything else");
            };
            let mark = |it: wire::GroupCursor| (it.user.parse().unwrap(), it.read);
            marks.extend(it.cursors.into_iter().map(mark));
        }
        marks.sort();
        (positions, marks)
    }

    async fn answers(&self, positions: &[u64], verdict: &Verdict) {
        let verdicts = positions.iter().map(|it| (*it, verdict.clone()));
        let verdicts = verdicts.collect();
        self.outbox.settle(&beta(), at(0), verdicts).await.unwrap();
    }
}

#[tokio::test]
async fn marks_of_a_group_are_gathered_into_one_item_until_the_peer_has_them() {
    let mut stage = Stage::new().await;
    let mut batch = Batch::new();
    let room = RoomRow {
        kind: 1,
        ..RoomRow::default()
    };
    freehold_store::tables::rooms::create_room(&mut batch, club(), &room);
    stage.commit(batch).await;
    tokio::time::pause();
    let soon = Duration::from_millis(1100);
    stage.reads(&alice(), 3).await;
    stage.reads(&ann(), 4).await;
    stage.reads(&alice(), 5).await;
    assert!(stage.marks().await.1.is_empty(), "they are gathered first");
    tokio::time::advance(soon).await;
    let (positions, told) = stage.marks().await;
    assert_eq!(told, [(alice(), 5), (ann(), 4)]);
    // What is read while they are on their way goes next, and only that.
    stage.reads(&alice(), 6).await;
    stage.answers(&positions, &Verdict::Ok).await;
    tokio::time::advance(soon).await;
    let (positions, told) = stage.marks().await;
    assert_eq!(told, [(alice(), 6)]);
    // A restart forgets who it was, not that somebody did: all members are told of.
    stage.restart().await;
    let (_, told) = stage.marks().await;
    assert_eq!(
        (positions.len(), told),
        (1, Vec::new()),
        "there are no members"
    );
    let (positions, _) = stage.marks().await;
    stage.answers(&positions, &Verdict::Ok).await;
    tokio::time::advance(soon).await;
    assert!(stage.marks().await.0.is_empty());
}

#[tokio::test]
async fn how_many_read_a_channel_is_told_its_home_as_it_is_when_it_goes() {
    let stage = Stage::new().await;
    let store = async |readers: u32| {
        let mut batch = Batch::new();
        let room = RoomRow {
            kind: 2,
            readers,
            home: beta().to_string(),
            ..RoomRow::default()
        };
        freehold_store::tables::rooms::put_room(&mut batch, club(), &room, 0);
        stage.outbox.put_readers(&mut batch, &beta(), club(), at(0));
        stage.commit(batch).await;
    };
    let told = async || {
        let next = stage.outbox.next(&beta(), at(0), 9, usize::MAX).await;
        let mut told = Vec::new();
        for item in next.unwrap() {
            let payload = <wire::Payload as prost::Message>::decode(item.envelope.payload);
            if let Some(wire::payload::Kind::GroupCursors(it)) = payload.unwrap().kind {
                assert!(it.cursors.is_empty());
                told.push((item.position, it.readers));
            }
        }
        told
    };
    tokio::time::pause();
    let soon = Duration::from_millis(1100);
    store(1).await;
    store(2).await;
    assert!(told().await.is_empty(), "it is gathered first");
    tokio::time::advance(soon).await;
    let first = told().await;
    assert_eq!(first.iter().map(|it| it.1).collect::<Vec<_>>(), [Some(2)]);
    // Who leaves while it is on its way is told next.
    store(0).await;
    stage.answers(&[first[0].0], &Verdict::Ok).await;
    tokio::time::advance(soon).await;
    let last = told().await;
    assert_eq!(last.iter().map(|it| it.1).collect::<Vec<_>>(), [Some(0)]);
    stage.answers(&[last[0].0], &Verdict::Ok).await;
    tokio::time::advance(soon).await;
    assert!(told().await.is_empty());
}
