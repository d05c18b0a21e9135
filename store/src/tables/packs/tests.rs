//! Packed or not, a topic reads the same; and what was erased is gone from the packs too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use freehold_proto::{GroupId, UserId};
use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use super::*;
use crate::{
    Config, Engine, MemoryEngine, Outcome, SledEngine,
    tables::messages::{erase_messages, fill_message, put_message, replace_message},
};

fn tables() -> Tables {
    Tables::open(Arc::new(MemoryEngine::new())).unwrap()
}

fn topic() -> TopicKey {
    TopicKey::group(&GroupId::from_bytes([1; 16]))
}

fn user() -> UserId {
    UserId::new([1; 8], "a.test".parse().unwrap())
}

/// A message that says its position, so many bytes long.
fn words(seq: u32, length: usize) -> MessageRow {
    let content = format!("secret {seq:09} {}", "x".repeat(length));
    MessageRow {
        author: "usrAAAAAAAAAAA@a.test".to_owned(),
        received: i64::from(seq),
        content: content.into(),
        ..MessageRow::default()
    }
}

fn commit(tables: &Tables, fill: impl FnOnce(&mut Batch)) -> Outcome {
    let mut batch = Batch::new();
    fill(&mut batch);
    tables.commit(batch).wait_blocking().unwrap()
}

fn write(tables: &Tables, fill: impl FnOnce(&mut Batch)) {
    assert_eq!(commit(tables, fill), Outcome::Applied);
}

fn put(tables: &Tables, topic: TopicKey, seq: u32, length: usize) -> Outcome {
    let row = words(seq, length);
    commit(tables, |batch| put_message(batch, topic, seq, &row))
}

fn say(tables: &Tables, seqs: std::ops::RangeInclusive<u32>) {
    for seq in seqs {
        assert_eq!(put(tables, topic(), seq, 100), Outcome::Applied);
    }
}

/// Erases until nobody has changed the messages meanwhile.
fn erase(tables: &Tables, seqs: &[u32], deletion: u32) {
    let again = || {
        let take = |batch: &mut Batch| {
            erase_messages(tables, batch, topic(), seqs, deletion).unwrap();
        };
        commit(tables, take) != Outcome::Applied
    };
    while again() {}
}

/// Packs all there is to pack; returns in how many batches.
fn pack_all(tables: &Tables) -> usize {
    let mut count = 0;
    loop {
        let batches = pack_some(tables, 8).unwrap();
        if batches.is_empty() {
            return count;
        }
        for batch in batches {
            assert!(batch.ops() < 256 && batch.bytes() < 128 * 1024);
            let _redone_if_changed = tables.commit(batch).wait_blocking().unwrap();
            count += 1;
        }
    }
}

fn rows(tables: &Tables, table: &[u8]) -> Vec<(Bytes, Bytes)> {
    let all = KeyRange::prefix(table);
    tables.page(&all, Order::Ascending, usize::MAX).unwrap()
}

fn history(tables: &Tables) -> Vec<(u32, MessageRow)> {
    tables
        .history(topic(), 0, u32::MAX, usize::MAX, usize::MAX)
        .unwrap()
}

// Which messages are packed.

#[test]
fn what_is_far_behind_the_end_goes_into_packs_and_reads_as_before() {
    let tables = tables();
    say(&tables, 1..=1000);
    let before = history(&tables);
    assert!(pack_all(&tables) > 1);
    assert_eq!(history(&tables), before);
    // Less than a stretch and the tail behind it; 31 stretches, the first of which begins at 1.
    let left = rows(&tables, &keys::all_messages()).len();
    assert_eq!(left, 1000 - 30 * 32 - 31 + 32);
    let packs = rows(&tables, b"c");
    assert!((60..=90).contains(&packs.len()), "{} packs", packs.len());
    assert!(packs.iter().all(|(_, pack)| pack.len() <= VALUE_MAX));
    assert!(rows(&tables, &keys::all_ripe()).is_empty());
    assert_eq!(tables.head(topic()).unwrap(), 1000);
    assert_eq!(tables.message(topic(), 7).unwrap(), Some(words(7, 100)));
}

#[test]
fn messages_that_fill_a_pack_alone_stay_rows() {
    let tables = tables();
    for seq in 1..=100 {
        let length = if seq % 2 == 0 { 20_000 } else { 900 };
        assert_eq!(put(&tables, topic(), seq, length), Outcome::Applied);
    }
    let before = history(&tables);
    pack_all(&tables);
    assert_eq!(history(&tables), before);
    let packs = rows(&tables, b"c");
    assert!(packs.len() > 6, "{} packs", packs.len());
    assert!(packs.iter().all(|(_, pack)| pack.len() <= VALUE_MAX));
    assert_eq!(rows(&tables, &keys::all_messages()).len(), 100 - 32);
}

#[test]
fn nothing_is_put_over_a_packed_message() {
    let tables = tables();
    say(&tables, 1..=100);
    pack_all(&tables);
    for seq in [1, 40, 63, 64, 99, 100] {
        assert!(matches!(
            put(&tables, topic(), seq, 1),
            Outcome::GuardFailed { .. }
        ));
    }
    assert_eq!(tables.message(topic(), 40).unwrap(), Some(words(40, 100)));
}

// What changes in the past.

#[test]
fn what_comes_into_a_packed_stretch_later_is_packed_too() {
    let tables = tables();
    for seq in (1..=200).filter(|it| it % 2 == 1 || *it > 150) {
        assert_eq!(put(&tables, topic(), seq, 50), Outcome::Applied);
    }
    pack_all(&tables);
    for seq in (2..=150).step_by(2) {
        let row = words(seq, 60);
        let outcome = commit(&tables, |batch| fill_message(batch, topic(), seq, &row));
        assert_eq!(outcome, Outcome::Applied);
    }
    let (seqs, before) = (tables.seqs(topic(), (0, 999), 999), history(&tables));
    pack_all(&tables);
    assert_eq!(seqs.unwrap(), (1..=200).collect::<Vec<_>>());
    assert_eq!(history(&tables), before);
    assert!(rows(&tables, &keys::all_messages()).len() < 64);
}

#[test]
fn what_is_replaced_is_read_as_the_later_one_packed_or_not() {
    let tables = tables();
    say(&tables, 1..=100);
    pack_all(&tables);
    for seq in 40..=43 {
        let row = words(seq, 3);
        write(&tables, |batch| {
            replace_message(&tables, batch, topic(), seq, &row).unwrap();
        });
    }
    assert_eq!(tables.message(topic(), 40).unwrap(), Some(words(40, 3)));
    pack_all(&tables);
    assert_eq!(rows(&tables, &keys::message(topic(), 40)), []);
    assert_eq!(tables.message(topic(), 40).unwrap(), Some(words(40, 3)));
    assert_eq!(history(&tables).len(), 100);
    erase(&tables, &[40], 1);
    assert_eq!(tables.message(topic(), 40).unwrap().unwrap().deleted, 1);
    assert!(!told(&tables).contains(&40));
}

/// The messages whose words stand anywhere in a store.
fn told(tables: &Tables) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for (_, value) in rows(tables, b"") {
        for said in String::from_utf8_lossy(&value).split("secret ").skip(1) {
            found.extend(said.get(..9).and_then(|it| it.parse::<u32>().ok()));
        }
    }
    found
}

#[test]
fn what_is_erased_while_it_is_to_be_packed_is_gone_whoever_is_first() {
    for erased_first in [true, false] {
        let tables = tables();
        say(&tables, 1..=100);
        let packing = pack_some(&tables, 8).unwrap();
        let mut erasing = Batch::new();
        erase_messages(&tables, &mut erasing, topic(), &[5, 6, 33], 1).unwrap();
        // One of two stretches; nobody changes the other.
        let [packing, _] = <[Batch; 2]>::try_from(packing).unwrap();
        let (first, second) = match erased_first {
            true => (erasing, packing),
            false => (packing, erasing),
        };
        let outcomes = [first, second].map(|it| tables.commit(it).wait_blocking().unwrap());
        assert_eq!(outcomes[0], Outcome::Applied);
        assert!(matches!(outcomes[1], Outcome::GuardFailed { .. }));
        erase(&tables, &[5, 6, 33], 1);
        pack_all(&tables);
        for seq in [5, 6, 33] {
            assert_eq!(tables.message(topic(), seq).unwrap().unwrap().deleted, 1);
            assert!(!told(&tables).contains(&seq));
        }
        assert!(told(&tables).contains(&7));
    }
}

// Stores from before there were packs.

/// What an earlier program would have left.
fn as_before(tables: &Tables) {
    write(tables, |batch| {
        batch.put(keys::schema(), b"freehold 1".as_slice());
        for (key, _) in rows(tables, &keys::all_ripe()) {
            batch.remove(key);
        }
    });
}

#[test]
fn an_older_store_is_packed_little_by_little_across_restarts() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let older = Tables::open(Arc::clone(&engine)).unwrap();
    let other = TopicKey::feed(topic());
    for seq in 1..=700 {
        assert_eq!(put(&older, topic(), seq, 20), Outcome::Applied);
        assert_eq!(put(&older, other, seq * 3, 20), Outcome::Applied);
    }
    as_before(&older);
    let before = (history(&older), older.seqs(other, (0, 9999), 9999).unwrap());
    let mut turns = 0;
    loop {
        let tables = Tables::open(Arc::clone(&engine)).unwrap();
        let Some(batch) = pack_some(&tables, 1).unwrap().pop() else {
            break;
        };
        let outcome = tables.commit(batch).wait_blocking().unwrap();
        assert_eq!(outcome, Outcome::Applied);
        turns += 1;
    }
    assert!(turns > 5, "{turns} turns");
    assert_eq!(
        engine.get(&keys::schema()).unwrap(),
        Some(Bytes::from("freehold 3"))
    );
    assert_eq!(history(&older), before.0);
    assert_eq!(older.seqs(other, (0, 9999), 9999).unwrap(), before.1);
    assert!(rows(&older, &keys::all_messages()).len() < 100);
}

// All of it at random.

#[derive(Clone, Debug)]
enum Step {
    Say(u32, usize),
    Leap(u32),
    Fill(u32, usize),
    Replace(u32, usize),
    Erase(Vec<u32>),
    Pack(usize),
    Page((u32, u32), usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![6 => 0_usize..200, 1 => 800_usize..1200, 1 => Just(9000_usize)];
    let bytes = prop_oneof![Just(usize::MAX), 0_usize..9000];
    prop_oneof![
        8 => (1_u32..80, length()).prop_map(|(count, length)| Step::Say(count, length)),
        1 => (1_u32..200).prop_map(Step::Leap),
        3 => (0_u32..600, length()).prop_map(|(seq, length)| Step::Fill(seq, length)),
        2 => (0_u32..600, length()).prop_map(|(seq, length)| Step::Replace(seq, length)),
        3 => vec(0_u32..600, 1..40).prop_map(Step::Erase),
        5 => (1_usize..9).prop_map(Step::Pack),
        6 => ((0_u32..600, 0_u32..700), 0_usize..90, bytes)
            .prop_map(|(span, limit, bytes)| Step::Page(span, limit, bytes)),
    ]
}

/// Two stores to which the same is done, but that messages are packed in one only.
struct Twins {
    plain: Tables,
    packed: Tables,
    head: u32,
    deletions: u32,
}

impl Twins {
    fn both(&self, change: impl Fn(&Tables) -> Outcome) {
        assert_eq!(change(&self.plain), Outcome::Applied);
        assert_eq!(change(&self.packed), Outcome::Applied);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Say(count, length) => {
                for seq in self.head + 1..=self.head + count {
                    self.both(|it| put(it, topic(), seq, *length));
                }
                self.head += count;
            }
            Step::Leap(over) => {
                self.head += over;
                let seq = self.head;
                self.both(|it| put(it, topic(), seq, 0));
            }
            Step::Fill(seq, length) => {
                let free = self.plain.message(topic(), *seq).unwrap().is_none();
                if free && *seq < self.head {
                    let row = words(*seq, *length);
                    self.both(|it| commit(it, |batch| fill_message(batch, topic(), *seq, &row)));
                }
            }
            Step::Replace(seq, length) => {
                if self.plain.message(topic(), *seq).unwrap().is_some() {
                    let row = words(*seq, *length);
                    self.both(|it| {
                        commit(it, |batch| {
                            replace_message(it, batch, topic(), *seq, &row).unwrap();
                        })
                    });
                }
            }
            Step::Erase(seqs) => {
                self.deletions += 1;
                let id = self.deletions;
                self.both(|it| {
                    commit(it, |batch| {
                        erase_messages(it, batch, topic(), seqs, id).unwrap();
                    })
                });
            }
            Step::Pack(turns) => {
                for _ in 0..*turns {
                    for batch in pack_some(&self.packed, 3).unwrap() {
                        let outcome = self.packed.commit(batch).wait_blocking().unwrap();
                        assert_eq!(outcome, Outcome::Applied);
                    }
                }
            }
            Step::Page(span, limit, bytes) => self.compare(*span, *limit, *bytes),
        }
    }

    fn compare(&self, (low, high): (u32, u32), limit: usize, bytes: usize) {
        let read = |it: &Tables| {
            (
                it.history(topic(), low, high, limit, bytes).unwrap(),
                it.seqs(topic(), (low, high), limit).unwrap(),
                it.message(topic(), low).unwrap(),
                it.head(topic()).unwrap(),
                it.visible_history(topic(), &user(), (low, high), limit, bytes)
                    .unwrap(),
            )
        };
        assert_eq!(read(&self.packed), read(&self.plain));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packed_store_does_what_a_plain_one_does(steps in vec(step(), 1..40)) {
        let mut twins = Twins { plain: tables(), packed: tables(), head: 0, deletions: 0 };
        steps.iter().for_each(|it| twins.take(it));
        pack_all(&twins.packed);
        twins.compare((0, u32::MAX), usize::MAX, usize::MAX);
        prop_assert_eq!(told(&twins.packed), told(&twins.plain));
    }
}

// Beside readers. Only the real engine lets them see a batch half done.

const CROWD: u32 = 3000;

#[test]
fn who_reads_while_messages_are_packed_and_erased_sees_each_of_them_once() {
    let dir = TempDir::new().unwrap();
    let config = Config::new(dir.path(), 8 << 20, 256 << 20).unwrap();
    let engine: Arc<dyn Engine> = Arc::new(SledEngine::open(config).unwrap());
    let tables = Tables::open(engine).unwrap();
    let rows = (1..=CROWD).map(|seq| {
        let mut batch = Batch::new();
        put_message(&mut batch, topic(), seq, &words(seq, 100));
        tables.commit(batch)
    });
    for commit in rows.collect::<Vec<_>>() {
        assert_eq!(commit.wait_blocking().unwrap(), Outcome::Applied);
    }
    let done = AtomicBool::new(false);
    let reads: u32 = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| read_while(&tables, &done)))
            .collect();
        let erasing = scope.spawn(|| {
            for seq in (1..CROWD).step_by(7) {
                erase(&tables, &[seq], 1);
            }
        });
        while !erasing.is_finished() {
            pack_all(&tables);
        }
        erasing.join().unwrap();
        pack_all(&tables);
        done.store(true, Ordering::Release);
        readers.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert!(reads > 0, "nobody read anything");
    for seq in 1..CROWD {
        let is_erased = seq % 7 == 1;
        assert_eq!(found_in(&tables, seq), !is_erased, "message {seq}");
    }
    assert!(rows_left(&tables) < 64);
}

fn read_while(tables: &Tables, done: &AtomicBool) -> u32 {
    let mut reads = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        let seqs = tables.seqs(topic(), (0, u32::MAX), usize::MAX).unwrap();
        assert!(seqs.into_iter().eq(1..=CROWD));
        let page = history(tables);
        assert!(page.iter().map(|(seq, _)| *seq).eq((1..=CROWD).rev()));
        assert!(
            page.iter()
                .all(|(seq, row)| row.received == i64::from(*seq))
        );
        for seq in (1..=CROWD).step_by(11) {
            let row = tables.message(topic(), seq).unwrap();
            assert_eq!(row.unwrap().received, i64::from(seq));
        }
        reads += 1;
        if last {
            return reads;
        }
    }
}

fn found_in(tables: &Tables, seq: u32) -> bool {
    let row = tables.message(topic(), seq).unwrap().unwrap();
    row.deleted == 0 && !row.content.is_empty()
}

fn rows_left(tables: &Tables) -> usize {
    rows(tables, &keys::all_messages()).len()
}
