//! The cases, written against the trait alone.

use std::{sync::Arc, thread};

use bytes::Bytes;
use freehold_store::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, Batch, Engine, KEY_MAX, KeyRange, Order, Outcome,
    RESERVED_PREFIX, StoreError, VALUE_MAX,
};

use crate::stores::Store;

fn put(key: &'static str, value: &'static str) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

fn commit(engine: &dyn Engine, batch: Batch) -> Result<Outcome, StoreError> {
    engine.commit(batch).wait_blocking()
}

#[track_caller]
fn apply(engine: &dyn Engine, batch: Batch) {
    assert_eq!(commit(engine, batch).unwrap(), Outcome::Applied);
}

fn guard_failed(key: &'static str) -> Outcome {
    Outcome::GuardFailed { key: key.into() }
}

#[track_caller]
fn check_row(engine: &dyn Engine, key: &str, value: Option<&'static str>) {
    let found = engine.get(key.as_bytes()).unwrap();
    assert_eq!(found, value.map(Bytes::from), "the row {key}");
}

#[track_caller]
fn check_page(engine: &dyn Engine, range: &KeyRange, order: Order, limit: usize, keys: &str) {
    let page = engine.page(range, order, limit).unwrap();
    let found: Vec<_> = page
        .iter()
        .map(|(key, value)| {
            assert_eq!(engine.get(key).unwrap().as_ref(), Some(value));
            String::from_utf8_lossy(key)
        })
        .collect();
    assert_eq!(found.join(" "), keys);
}

fn everything() -> KeyRange {
    KeyRange::prefix(b"")
}

pub(crate) fn a_row_is_put_read_and_removed(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    check_row(&*engine, "M1", None);
    apply(&*engine, put("M1", "one"));
    check_row(&*engine, "M1", Some("one"));
    apply(&*engine, put("M1", "two"));
    check_row(&*engine, "M1", Some("two"));

    let mut batch = Batch::new();
    batch.remove("M1").remove("M-never-there");
    apply(&*engine, batch);
    check_row(&*engine, "M1", None);

    apply(&*engine, put("M-empty", ""));
    check_row(&*engine, "M-empty", Some(""));
}

pub(crate) fn the_last_write_of_a_batch_wins(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    let mut batch = Batch::new();
    batch.put("M1", "first").remove("M1").put("M1", "last");
    batch.put("M2", "gone").remove("M2");
    apply(&*engine, batch);
    check_row(&*engine, "M1", Some("last"));
    check_row(&*engine, "M2", None);
}

fn letters(engine: &dyn Engine) {
    let mut batch = Batch::new();
    for key in ["A1", "B1", "B2", "B3", "C1", "M1", "M2"] {
        batch.put(key, format!("value of {key}"));
    }
    apply(engine, batch);
}

pub(crate) fn pages_are_read_from_both_ends(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    letters(&*engine);
    let b = KeyRange::prefix(b"B");
    check_page(&*engine, &b, Order::Ascending, 10, "B1 B2 B3");
    check_page(&*engine, &b, Order::Descending, 10, "B3 B2 B1");
    check_page(&*engine, &b, Order::Ascending, 2, "B1 B2");
    check_page(&*engine, &b, Order::Descending, 2, "B3 B2");
}

pub(crate) fn a_page_keeps_to_its_bounds_and_limit(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    letters(&*engine);
    for order in [Order::Ascending, Order::Descending] {
        check_page(&*engine, &KeyRange::new("B1", "B2"), order, 10, "B1");
        check_page(&*engine, &KeyRange::new("B1", "B1"), order, 10, "");
        check_page(&*engine, &KeyRange::new("B3", "B1"), order, 10, "");
        check_page(&*engine, &KeyRange::new("B10", "B20"), order, 10, "B2");
        check_page(&*engine, &KeyRange::prefix(b"X"), order, 10, "");
        check_page(&*engine, &everything(), order, 0, "");
    }
    let upper = KeyRange::new("B3", vec![u8::MAX; 3]);
    check_page(&*engine, &upper, Order::Ascending, 9, "B3 C1 M1 M2");
}

pub(crate) fn a_page_steps_over_the_engine_keys(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    letters(&*engine);
    check_page(
        &*engine,
        &everything(),
        Order::Ascending,
        6,
        "A1 B1 B2 B3 C1 M1",
    );
    check_page(&*engine, &everything(), Order::Descending, 4, "M2 M1 C1 B3");
    check_page(
        &*engine,
        &KeyRange::new("C", "M2"),
        Order::Descending,
        9,
        "M1 C1",
    );
    check_page(&*engine, &KeyRange::new("I", "Jz"), Order::Ascending, 9, "");
    check_page(
        &*engine,
        &KeyRange::new("Jz", "M2"),
        Order::Ascending,
        9,
        "M1",
    );
    check_page(&*engine, &KeyRange::prefix(b"J"), Order::Ascending, 9, "");
}

pub(crate) fn guards_see_the_batches_before_them(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    let mut once = put("M1", "one");
    once.require_absent("M1");
    let mut next = put("M1", "two");
    next.require_value("M1", "one");
    let mut gone = Batch::new();
    gone.require_value("M1", "two").remove("M1");
    let queue = [once.clone(), once.clone(), next, gone, once];

    // Queued together, so that the sled engine makes few groups of them.
    let commits = queue.map(|batch| engine.commit(batch));

    let outcomes = commits.map(|commit| commit.wait_blocking().unwrap());
    let mut expected = [const { Outcome::Applied }; 5];
    expected[1] = guard_failed("M1");
    assert_eq!(outcomes, expected);
    check_row(&*engine, "M1", Some("one"));
}

pub(crate) fn a_failed_guard_changes_nothing_and_disturbs_nobody(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    apply(&*engine, put("M1", "one"));
    let mut fails = put("M1", "changed");
    fails.put("M2", "written").remove("M3");
    fails.require_absent("M9").require_value("M1", "other");

    let commits = [put("M3", "kept"), fails, put("M4", "kept")].map(|it| engine.commit(it));

    let outcomes = commits.map(|commit| commit.wait_blocking().unwrap());
    assert_eq!(
        outcomes,
        [Outcome::Applied, guard_failed("M1"), Outcome::Applied]
    );
    check_row(&*engine, "M1", Some("one"));
    check_row(&*engine, "M2", None);
    check_row(&*engine, "M3", Some("kept"));
    check_row(&*engine, "M4", Some("kept"));
}

pub(crate) fn a_guard_looks_at_the_rows_before_its_batch(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    let mut batch = put("M1", "one");
    batch.require_absent("M1");
    apply(&*engine, batch);

    let mut missing = put("M2", "two");
    missing.require_value("M2", "two");
    assert_eq!(commit(&*engine, missing).unwrap(), guard_failed("M2"));
}

pub(crate) fn a_guard_on_a_range_sees_what_the_batches_before_it_put_and_removed(
    store: &mut dyn Store,
) {
    let engine = store.open().unwrap();
    apply(&*engine, put("M1", "kept"));
    apply(&*engine, put("M5", "kept"));
    let behind = |start: &str, end: &str, key: &'static str| {
        let mut batch = put(key, "new");
        batch.require_nothing(KeyRange::new(start, end));
        batch
    };
    let mut removal = Batch::new();
    removal.remove("M5");
    let commits = [
        behind("M2", "M9", "M2"),
        removal,
        behind("M2", "M9", "M4"),
        behind("M2", "M9", "M6"),
        behind("M5", "M9", "M5"),
        behind("M9", "M2", "M7"),
    ]
    .map(|batch| engine.commit(batch));
    let outcomes = commits.map(|commit| commit.wait_blocking().unwrap());
    assert_eq!(outcomes[0], guard_failed("M5"));
    assert_eq!(outcomes[1..3], [Outcome::Applied, Outcome::Applied]);
    assert_eq!(outcomes[3], guard_failed("M4"));
    assert_eq!(outcomes[4..], [Outcome::Applied, Outcome::Applied]);
    check_page(&*engine, &everything(), Order::Ascending, 9, "M1 M4 M5 M7");
}

pub(crate) fn batches_without_writes_are_answered(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    assert!(Batch::new().is_empty());
    apply(&*engine, Batch::new());
    let mut question = Batch::new();
    question.require_value("M1", "one");
    assert!(!question.is_empty());
    assert_eq!(
        commit(&*engine, question.clone()).unwrap(),
        guard_failed("M1")
    );
    apply(&*engine, put("M1", "one"));
    apply(&*engine, question);
}

pub(crate) fn what_is_too_large_is_refused_alone(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    let mut value = Batch::new();
    value.put("M2", vec![0; VALUE_MAX + 1]).put("M3", "beside");
    let mut key = Batch::new();
    key.put(vec![b'M'; KEY_MAX + 1], "");
    let mut ops = Batch::new();
    let mut bytes = Batch::new();
    for index in 0..=BATCH_OPS_MAX {
        ops.remove(format!("M{index}"));
        if index <= BATCH_BYTES_MAX / VALUE_MAX {
            bytes.put(format!("M{index}"), vec![0; VALUE_MAX]);
        }
    }

    let batches = [
        put("M1", "before"),
        value,
        key,
        ops,
        bytes,
        put("M4", "after"),
    ];
    let commits = batches.map(|batch| engine.commit(batch));

    let [before, refused @ .., after] = commits.map(|commit| commit.wait_blocking());
    assert_eq!(
        [before.unwrap(), after.unwrap()],
        [Outcome::Applied, Outcome::Applied]
    );
    for answer in refused {
        let refusal = answer.unwrap_err();
        assert!(matches!(refusal, StoreError::TooLarge { .. }), "{refusal}");
        assert!(refusal.is_refusal());
    }
    check_page(&*engine, &everything(), Order::Ascending, 9, "M1 M4");
}

pub(crate) fn the_largest_batch_is_taken(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    let mut bytes = Batch::new();
    let row = KEY_MAX + VALUE_MAX;
    for index in 0..BATCH_BYTES_MAX / row {
        bytes.put(
            format!("M{index:0>width$}", width = KEY_MAX - 1),
            vec![1; VALUE_MAX],
        );
    }
    let mut ops = Batch::new();
    for index in 0..BATCH_OPS_MAX {
        ops.put(format!("N{index:04}"), "");
    }

    let commits = [bytes, ops].map(|batch| engine.commit(batch));

    assert!(
        commits
            .map(|commit| commit.wait_blocking().unwrap())
            .iter()
            .all(|it| *it == Outcome::Applied)
    );
    let count = |prefix: &[u8]| {
        let range = KeyRange::prefix(prefix);
        engine.page(&range, Order::Ascending, 10_000).unwrap().len()
    };
    assert_eq!(count(b"M"), BATCH_BYTES_MAX / row);
    assert_eq!(count(b"N"), BATCH_OPS_MAX);
}

pub(crate) fn reserved_keys_are_refused_and_never_found(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    apply(&*engine, put("M1", "one"));
    let mut written = Batch::new();
    written.put("J1", "x").put("M2", "x");
    let mut removed = Batch::new();
    removed.remove("J");
    let mut guarded = put("M2", "x");
    guarded.require_absent("J\0\0\0\0");
    for batch in [written, removed, guarded] {
        let refusal = commit(&*engine, batch).unwrap_err();
        assert!(matches!(
            refusal,
            StoreError::Reserved {
                prefix: RESERVED_PREFIX
            }
        ));
    }
    check_row(&*engine, "M2", None);
    check_row(&*engine, "J\0\0\0\0", None);
}

pub(crate) fn reopening_keeps_everything(store: &mut dyn Store) {
    for round in 0_u8..4 {
        let engine = store.open().unwrap();
        let rows = engine.page(&everything(), Order::Ascending, 1000).unwrap();
        let expected: Vec<_> = (0..round * 20)
            .filter(|index| index % 10 != 9)
            .map(|index| {
                (
                    Bytes::from(vec![b'M', index]),
                    Bytes::from(vec![index; 300]),
                )
            })
            .collect();
        assert_eq!(rows, expected);
        for index in round * 20..(round + 1) * 20 {
            let mut batch = Batch::new();
            batch.put(vec![b'M', index], vec![index; 300]);
            if index % 10 == 9 {
                batch.remove(vec![b'M', index]);
            }
            apply(&*engine, batch);
        }
        engine.close().unwrap();
    }
}

pub(crate) fn a_store_is_opened_once(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    apply(&*engine, put("M1", "one"));
    assert!(matches!(store.open(), Err(StoreError::Locked { .. })));
    check_row(&*engine, "M1", Some("one"));

    engine.close().unwrap();
    check_row(&*store.open().unwrap(), "M1", Some("one"));
}

pub(crate) fn a_closed_store_answers_closed(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    engine.close().unwrap();
    engine.close().unwrap();
    let answers = [
        engine.get(b"M1").err(),
        engine.page(&everything(), Order::Ascending, 1).err(),
        commit(&*engine, put("M1", "one")).err(),
        engine.size_on_disk().err(),
    ];
    for answer in answers {
        assert!(matches!(answer, Some(StoreError::Closed)), "{answer:?}");
    }
    assert!(!*engine.poisoned().borrow());
}

pub(crate) fn many_producers_lose_nothing(store: &mut dyn Store) {
    const PRODUCERS: u32 = 32;
    const EACH: u32 = 25;
    let engine = store.open().unwrap();
    let produce = |producer: u32| {
        for seq in 0..EACH {
            let mut batch = Batch::new();
            batch.put(format!("M{producer:02}-{seq:02}"), "text");
            // All of them contend for one row; exactly one wins each number.
            let claim = format!("N{seq:02}");
            batch
                .put(claim.clone(), format!("{producer}"))
                .require_absent(claim);
            if commit(&*engine, batch).unwrap() != Outcome::Applied {
                let mut alone = Batch::new();
                alone.put(format!("M{producer:02}-{seq:02}"), "text");
                apply(&*engine, alone);
            }
        }
    };
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            scope.spawn(move || produce(producer));
        }
    });
    let count = |prefix: &[u8]| {
        let range = KeyRange::prefix(prefix);
        engine.page(&range, Order::Ascending, 10_000).unwrap().len()
    };
    assert_eq!(count(b"M"), (PRODUCERS * EACH) as usize);
    assert_eq!(count(b"N"), EACH as usize);
}

pub(crate) fn a_commit_can_be_awaited(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let outcome = runtime.block_on(engine.commit(put("M1", "one")));
    assert_eq!(outcome.unwrap(), Outcome::Applied);
    check_row(&*engine, "M1", Some("one"));
}

pub(crate) fn a_dropped_commit_is_still_written(store: &mut dyn Store) {
    let engine = store.open().unwrap();
    drop(engine.commit(put("M1", "one")));
    engine.close().unwrap();
    check_row(&*store.open().unwrap(), "M1", Some("one"));
}

pub(crate) fn size_on_disk_counts_the_rows(store: &mut dyn Store) {
    let engine: Arc<dyn Engine> = store.open().unwrap();
    for index in 0_u8..10 {
        let mut batch = Batch::new();
        batch.put(vec![b'M', index], vec![index; VALUE_MAX]);
        apply(&*engine, batch);
    }
    let bytes = engine.size_on_disk().unwrap();
    assert!(bytes >= 10 * VALUE_MAX as u64, "{bytes}");
}
