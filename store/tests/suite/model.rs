//! Random histories: the sled engine does what the memory engine does.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use freehold_store::{Batch, Engine, KeyRange, Order};
use proptest::{collection::vec, prelude::*};

use crate::stores::{Memory, Sled, Store};

#[derive(Clone, Debug)]
enum Step {
    /// Batches queued together, before any answer is awaited.
    Commit(Vec<Vec<Op>>),
    Page(KeyRange, Order, usize),
    Reopen,
}

#[derive(Clone, Debug)]
enum Op {
    Put(Bytes, Bytes),
    Remove(Bytes),
    RequireAbsent(Bytes),
    RequireValue(Bytes, Bytes),
    RequireNothing(KeyRange),
}

/// Few keys, so that steps meet; some on either side of the engine's own, some
/// of them refused.
fn key() -> impl Strategy<Value = Bytes> {
    let table = prop_oneof![8 => Just(b'A'), 8 => Just(b'M'), 2 => Just(0xff), 1 => Just(b'J')];
    (table, vec(0_u8..4, 0..3)).prop_map(|(table, rest)| {
        let mut key = vec![table];
        key.extend(rest);
        key.into()
    })
}

/// Few values, so that guards hold often; some long ones fill redo chunks.
fn value() -> impl Strategy<Value = Bytes> {
    let len = prop_oneof![10 => Just(1_usize), 2 => 0_usize..300, 1 => 6100_usize..6150];
    (0_u8..3, len).prop_map(|(byte, len)| vec![byte; len].into())
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| Op::Put(key, value)),
        3 => key().prop_map(Op::Remove),
        1 => key().prop_map(Op::RequireAbsent),
        1 => (key(), value()).prop_map(|(key, value)| Op::RequireValue(key, value)),
        1 => (key(), key()).prop_map(|(start, end)| Op::RequireNothing(KeyRange::new(start, end))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![Just(Order::Ascending), Just(Order::Descending)];
    let range = prop_oneof![
        (key(), key()).prop_map(|(start, end)| KeyRange::new(start, end)),
        vec(prop_oneof![Just(b'A'), Just(b'M'), Just(0xff)], 0..2)
            .prop_map(|prefix| KeyRange::prefix(&prefix)),
    ];
    prop_oneof![
        12 => vec(vec(op(), 0..5), 1..6).prop_map(Step::Commit),
        6 => (range, order, 0_usize..20).prop_map(|(range, order, limit)| Step::Page(range, order, limit)),
        1 => Just(Step::Reopen),
    ]
}

fn batch(ops: &[Op]) -> Batch {
    let mut batch = Batch::new();
    for op in ops.iter().cloned() {
        match op {
            Op::Put(key, value) => batch.put(key, value),
            Op::Remove(key) => batch.remove(key),
            Op::RequireAbsent(key) => batch.require_absent(key),
            Op::RequireValue(key, value) => batch.require_value(key, value),
            Op::RequireNothing(range) => batch.require_nothing(range),
        };
    }
    batch
}

/// What an engine answers to one step, as text, errors included.
fn answer(engine: &dyn Engine, step: &Step) -> String {
    match step {
        Step::Commit(batches) => {
            let commits: Vec<_> = batches
                .iter()
                .map(|ops| engine.commit(batch(ops)))
                .collect();
            let answers = commits.into_iter().map(|commit| commit.wait_blocking());
            format!("{:?}", answers.collect::<Vec<_>>())
        }
        Step::Page(range, order, limit) => format!("{:?}", engine.page(range, *order, *limit)),
        Step::Reopen => unreachable!("needs the store, not the engine"),
    }
}

fn run(store: &mut dyn Store, steps: &[Step]) -> Vec<String> {
    let mut engine: Arc<dyn Engine> = store.open().unwrap();
    let mut answers = Vec::new();
    for step in steps {
        if matches!(step, Step::Reopen) {
            engine.close().unwrap();
            engine = store.open().unwrap();
        } else {
            answers.push(answer(&*engine, step));
        }
    }
    let all = Step::Page(KeyRange::prefix(b""), Order::Ascending, usize::MAX);
    answers.push(answer(&*engine, &all));
    answers
}

const STEPS: Range<usize> = 1..40;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sled_does_what_memory_does(steps in vec(step(), STEPS)) {
        let expected = run(&mut Memory::new(), &steps);
        let found = run(&mut Sled::new(), &steps);
        prop_assert_eq!(found, expected);
    }
}
