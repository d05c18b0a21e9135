//! Kill -9 in full load: what was acknowledged is there, and nothing is half there.
//!
//! One test in two roles. As the parent it starts its own binary again as the
//! writer, kills it at a random moment, opens the store itself and checks every
//! row; a dozen times over the same folder. As the writer it commits from many
//! threads and prints what has been acknowledged.
//!
//! A killed process leaves the kernel's page cache behind, so this says nothing
//! about power cuts.

#[cfg(test)]
mod kill9 {
    use std::{
        collections::BTreeMap,
        env,
        hash::{BuildHasher, RandomState},
        io::{BufRead, BufReader, Write, stdout},
        ops::RangeInclusive,
        panic,
        path::Path,
        process::{self, Child, ChildStdout, Command, Stdio},
        thread,
        time::Duration,
    };

    use bytes::Bytes;
    use freehold_store::{Batch, Config, Engine, KeyRange, Order, Outcome, SledEngine, VALUE_MAX};
    use tempfile::TempDir;

    /// What the parent asks its own binary to run.
    const THIS_TEST: &str = "kill9::acknowledged_batches_survive_and_none_is_half_applied";
    /// Names the folder, and thereby makes a process the writer.
    const WRITER_DIR: &str = "FREEHOLD_KILL9_DIR";
    /// Repeats the kills of a former run.
    const SEED: &str = "FREEHOLD_KILL9_SEED";

    const ROUNDS: u64 = 12;
    const PRODUCERS: RangeInclusive<u64> = 16..=64;
    /// From before the store is open to far into the load.
    const LIFE_MS: RangeInclusive<u64> = 5..=500;
    /// How many of its last publishes a producer keeps dedupe rows for.
    const DEDUPE_KEPT: u64 = 20;

    /// How far each producer is known to have come.
    type Heads = BTreeMap<u64, u64>;

    #[test]
    fn acknowledged_batches_survive_and_none_is_half_applied() {
        if let Some(dir) = env::var_os(WRITER_DIR) {
            write_until_killed(Path::new(&dir));
        }
        let seed = env::var(SEED).map_or_else(
            |_| RandomState::new().hash_one(0),
            |text| text.parse().unwrap(),
        );
        say(&format!("{SEED}={seed}"));
        let mut random = Random(seed);
        let dir = TempDir::new().unwrap();
        let mut heads = Heads::new();
        for round in 1..=ROUNDS {
            let producers = random.within(PRODUCERS);
            let life = Duration::from_millis(random.within(LIFE_MS));
            let acknowledged = kill_a_writer(dir.path(), producers, life);
            let before: u64 = heads.values().sum();
            heads = verify(dir.path(), &heads, acknowledged);
            let after: u64 = heads.values().sum();
            say(&format!(
                "round {round}: {producers} producers, {life:?}, {} batches",
                after - before
            ));
        }
        assert!(
            heads.values().sum::<u64>() > 0,
            "no writer lived long enough"
        );
    }

    // The parent.

    /// Lets a writer live for `life` and returns the last acknowledged publish
    /// of each of its producers.
    fn kill_a_writer(dir: &Path, producers: u64, life: Duration) -> Heads {
        let mut writer = spawn_writer(dir, producers);
        let stdout = writer.stdout.take().unwrap();
        let reader = thread::spawn(|| acknowledgements(stdout));
        thread::sleep(life);
        writer.kill().unwrap();
        let status = writer.wait().unwrap();
        assert_eq!(status.code(), None, "the writer ended by itself");
        reader.join().unwrap()
    }

    fn spawn_writer(dir: &Path, producers: u64) -> Child {
        Command::new(env::current_exe().unwrap())
            .args([THIS_TEST, "--exact", "--nocapture"])
            .env(WRITER_DIR, dir)
            .env("PRODUCERS", producers.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Reads the lines `ack <producer> <seq>`; the last one may be cut short.
    fn acknowledgements(stdout: ChildStdout) -> Heads {
        let mut heads = Heads::new();
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        while stdout.read_line(&mut line).unwrap() > 0 {
            let words: Vec<_> = line.split_whitespace().collect();
            if let (["ack", producer, seq], true) = (&words[..], line.ends_with('\n')) {
                let (producer, seq) = (producer.parse().unwrap(), seq.parse().unwrap());
                let former = heads.insert(producer, seq);
                assert!(
                    former.is_none_or(|former| seq == former + 1),
                    "out of order"
                );
            }
            line.clear();
        }
        heads
    }

    /// Checks every row of the store, and returns the heads it found.
    fn verify(dir: &Path, before: &Heads, acknowledged: Heads) -> Heads {
        let mut known = before.clone();
        known.extend(acknowledged);
        let engine = open(dir);
        let heads = heads(&engine);
        for producer in 0..*PRODUCERS.end() {
            let of = |heads: &Heads| heads.get(&producer).copied().unwrap_or(0);
            let (known, head) = (of(&known), of(&heads));
            // One batch was under way, and nobody knows whether it made it.
            assert!(
                (known..=known + 1).contains(&head),
                "producer {producer} was at {known}, is at {head}"
            );
            verify_producer(&engine, producer, head);
        }
        engine.close().unwrap();
        heads
    }

    fn verify_producer(engine: &SledEngine, producer: u64, head: u64) {
        let messages: Vec<_> = (1..=head).flat_map(|seq| message(producer, seq)).collect();
        assert!(
            all(engine, &table(b'M', producer)) == messages,
            "messages of {producer} up to {head}"
        );

        let oldest = head.saturating_sub(DEDUPE_KEPT) + 1;
        let dedupe: Vec<_> = (oldest..=head)
            .map(|seq| (row(b'D', producer, seq), number(seq)))
            .collect();
        assert!(
            all(engine, &table(b'D', producer)) == dedupe,
            "dedupe rows of {producer} up to {head}"
        );
    }

    fn say(line: &str) {
        writeln!(stdout(), "{line}").unwrap();
    }

    /// A small generator (splitmix64) whose numbers a seed repeats.
    struct Random(u64);

    impl Random {
        fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
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

    fn write_until_killed(dir: &Path) -> ! {
        let producers: u64 = env::var("PRODUCERS").unwrap().parse().unwrap();
        // One failed producer is a failed test, whatever the others do.
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            report(panicked);
            process::exit(101);
        }));
        // Without its parent there is nobody to kill this process.
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(60));
            panic!("nobody has killed this writer");
        });
        let engine = open(dir);
        let heads = heads(&engine);
        thread::scope(|scope| {
            for producer in 0..producers {
                let (engine, head) = (&engine, heads.get(&producer).copied().unwrap_or(0));
                scope.spawn(move || publish_for_ever(engine, producer, head));
            }
        });
        unreachable!("producers never return");
    }

    fn publish_for_ever(engine: &SledEngine, producer: u64, mut head: u64) -> ! {
        loop {
            let outcome = engine.commit(publish(producer, head)).wait_blocking();
            assert_eq!(outcome.unwrap(), Outcome::Applied);
            head += 1;
            say(&format!("ack {producer} {head}"));
        }
    }

    /// A message row, the head and a dedupe row, as a publish writes them, and
    /// the removal of a dedupe row that has expired.
    fn publish(producer: u64, head: u64) -> Batch {
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
        batch
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

    /// The rows of a message. Most are short; the long ones, in many parts, make
    /// it likely that a kill falls into the middle of a batch.
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
            let value = pattern.iter().copied().cycle().take(len);
            (key.into(), value.collect())
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
}
