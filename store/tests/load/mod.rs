//! The load under which a store is killed or loses its power: what a process writes from many threads until
//! it ends, and how one sees afterwards that nothing of it is half there.
//!
//! Each producer publishes as a topic does: rows of a message, the head, a dedupe row, and the removal of what
//! is too old. All of it follows from the number of the producer and of the publish, so that the head alone
//! says what must be there.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write, stdout},
    ops::RangeInclusive,
    panic,
    path::Path,
    process, thread,
    time::Duration,
};

use bytes::Bytes;
use freehold_store::{Batch, Config, Engine, KeyRange, Order, Outcome, SledEngine, VALUE_MAX};

/// Producers are numbered below this.
pub(crate) const PRODUCERS_MAX: u64 = 64;
/// How many of its last publishes a producer keeps dedupe rows for.
const DEDUPE_KEPT: u64 = 20;
/// Longer than anybody lets a writer live.
const WRITER_LIFE: Duration = Duration::from_secs(120);

/// How far each producer is known to have come.
pub(crate) type Heads = BTreeMap<u64, u64>;

pub(crate) fn say(line: &str) {
    let mut out = stdout().lock();
    writeln!(out, "{line}").unwrap();
}

/// A small generator (splitmix64) whose numbers a seed repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        range.start() + mix(self.0) % (range.end() - range.start() + 1)
    }
}

fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

// The writer.

/// Publishes from so many threads and prints each acknowledgement. Of each producer's messages the last
/// `kept` stay.
pub(crate) fn write_until_killed(dir: &Path, producers: u64, kept: u64) -> ! {
    end_with_any_thread();
    let engine = open(dir);
    let heads = heads(&engine);
    thread::scope(|scope| {
        for producer in 0..producers {
            let (engine, head) = (&engine, heads.get(&producer).copied().unwrap_or(0));
            scope.spawn(move || publish_for_ever(engine, producer, head, kept));
        }
    });
    unreachable!("producers never return");
}

/// One failed producer is a failed test, whatever the others do.
pub(crate) fn end_with_any_thread() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        report(panicked);
        process::exit(101);
    }));
    // Without its parent there is nobody to kill this process.
    thread::spawn(|| {
        thread::sleep(WRITER_LIFE);
        panic!("nobody has killed this writer");
    });
}

fn publish_for_ever(engine: &SledEngine, producer: u64, mut head: u64, kept: u64) -> ! {
    loop {
        let outcome = engine.commit(publish(producer, head, kept)).wait_blocking();
        assert_eq!(outcome.unwrap(), Outcome::Applied);
        head += 1;
        say(&format!("ack {producer} {head}"));
    }
}

/// A message row, the head and a dedupe row, as a publish writes them, and the removal of what has expired.
fn publish(producer: u64, head: u64, kept: u64) -> Batch {
    let seq = head + 1;
    let mut batch = Batch::new();
    batch.require_absent(row(b'D', producer, seq));
    match head {
        0 => batch.require_absent(table(b'H', producer)),
        _ => batch.require_value(table(b'H', producer), number(head)),
    };
    for (key, part) in message(producer, seq) {
        batch.put(key, part);
    }
    batch.put(table(b'H', producer), number(seq));
    batch.put(row(b'D', producer, seq), number(seq));
    if let Some(expired) = seq.checked_sub(DEDUPE_KEPT) {
        batch.remove(row(b'D', producer, expired));
    }
    if let Some(expired) = seq.checked_sub(kept) {
        for (key, _) in message(producer, expired) {
            batch.remove(key);
        }
    }
    batch
}

// The judge.

/// Reads the lines `ack <producer> <seq>`; the last one may be cut short.
pub(crate) fn read_acknowledgements(lines: impl Read, mut acknowledged: impl FnMut(u64, u64)) {
    let mut heads = Heads::new();
    let mut line = String::new();
    let mut lines = BufReader::new(lines);
    while lines.read_line(&mut line).unwrap() > 0 {
        let words: Vec<_> = line.split_whitespace().collect();
        if let (["ack", producer, seq], true) = (&words[..], line.ends_with('\n')) {
            let (producer, seq) = (producer.parse().unwrap(), seq.parse().unwrap());
            let former = heads.insert(producer, seq);
            assert!(
                former.is_none_or(|former| seq == former + 1),
                "out of order"
            );
            acknowledged(producer, seq);
        }
        line.clear();
    }
}

/// Opens the store, checks every row of it, and returns the heads it found.
pub(crate) fn read_whole(dir: &Path, kept: u64) -> Heads {
    let engine = open(dir);
    let heads = heads(&engine);
    for producer in 0..PRODUCERS_MAX {
        let head = heads.get(&producer).copied().unwrap_or(0);
        verify_producer(&engine, producer, head, kept);
    }
    engine.close().unwrap();
    heads
}

/// Whether nothing acknowledged is missing, and nothing is there that nobody wrote: between what is `known` to
/// have been acknowledged and one batch behind what was acknowledged `at_last`. Says what is wrong.
pub(crate) fn compare_heads(found: &Heads, known: &Heads, at_last: &Heads) -> Result<(), String> {
    for producer in 0..PRODUCERS_MAX {
        let of = |heads: &Heads| heads.get(&producer).copied().unwrap_or(0);
        let (known, head) = (of(known), of(found));
        // One batch was under way, and nobody knows whether it made it.
        if !(known..=of(at_last) + 1).contains(&head) {
            return Err(format!("producer {producer} was at {known}, is at {head}"));
        }
    }
    Ok(())
}

fn verify_producer(engine: &SledEngine, producer: u64, head: u64, kept: u64) {
    let oldest = |kept: u64| head.saturating_sub(kept) + 1;
    let messages = (oldest(kept)..=head).flat_map(|seq| message(producer, seq));
    assert!(
        all(engine, &table(b'M', producer)) == messages.collect::<Vec<_>>(),
        "messages of {producer} up to {head}"
    );
    let dedupe = (oldest(DEDUPE_KEPT)..=head).map(|seq| (row(b'D', producer, seq), number(seq)));
    assert!(
        all(engine, &table(b'D', producer)) == dedupe.collect::<Vec<_>>(),
        "dedupe rows of {producer} up to {head}"
    );
}

// What both know.

fn open(dir: &Path) -> SledEngine {
    let config = Config::new(dir, 8 << 20, 256 << 20).unwrap();
    SledEngine::open(config).unwrap()
}

fn table(name: u8, producer: u64) -> Bytes {
    [&[name], &producer.to_be_bytes()[..]].concat().into()
}

fn row(name: u8, producer: u64, seq: u64) -> Bytes {
    [&table(name, producer)[..], &seq.to_be_bytes()]
        .concat()
        .into()
}

fn number(number: u64) -> Bytes {
    number.to_be_bytes().to_vec().into()
}

/// The rows of a message. Most are short; the long ones, in many parts, make it likely that the end falls into
/// the middle of a batch.
fn message(producer: u64, seq: u64) -> impl Iterator<Item = (Bytes, Bytes)> {
    let mut random = Random(mix(producer) ^ seq);
    let is_long = random.within(0..=3) == 0;
    let (parts, len) = match is_long {
        true => (random.within(2..=16), VALUE_MAX),
        false => (1, random.within(16..=500) as usize),
    };
    (0..parts).map(move |part| {
        let key = [&row(b'M', producer, seq)[..], &part.to_be_bytes()].concat();
        let pattern = random.within(0..=u64::MAX - 1).to_be_bytes();
        let mut value = pattern.repeat(len / pattern.len() + 1);
        value.truncate(len);
        (key.into(), value.into())
    })
}

fn heads(engine: &SledEngine) -> Heads {
    let rows = all(engine, b"H");
    rows.into_iter()
        .map(|(key, value)| (read_number(&key[1..]), read_number(&value)))
        .collect()
}

fn read_number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

fn all(engine: &SledEngine, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
    let range = KeyRange::prefix(prefix);
    engine.page(&range, Order::Ascending, usize::MAX).unwrap()
}
