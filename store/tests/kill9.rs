//! Kill -9 in full load: what was acknowledged is there, and nothing is half there.
//!
//! Each test in two roles. As the parent it starts its own binary again as the
//! writer, kills it at a random moment, opens the store itself and checks every
//! row; a dozen times over the same folder. As the writer it commits from many
//! threads and prints what has been acknowledged; one of them while older
//! messages are packed.
//!
//! A killed process leaves the kernel's page cache behind, so this says nothing
//! about power cuts; `power_cut` does.

#[cfg(test)]
mod load;

#[cfg(test)]
mod kill9 {
    use std::{
        env,
        hash::{BuildHasher, RandomState},
        ops::RangeInclusive,
        path::Path,
        process::{Child, Command, Stdio},
        sync::Arc,
        thread,
        time::Duration,
    };

    use freehold_proto::GroupId;
    use freehold_store::{
        Batch, Config, KeyRange, Order, Outcome, SledEngine, Tables, TopicKey,
        tables::{messages::put_message, packs::pack_some, rows::MessageRow},
    };
    use tempfile::TempDir;

    use crate::load::{
        Heads, PRODUCERS_MAX, Random, compare_heads, end_with_any_thread, read_acknowledgements,
        read_whole, say, write_until_killed,
    };

    /// What the parent asks its own binary to run.
    const BATCHES: &str = "kill9::acknowledged_batches_survive_and_none_is_half_applied";
    const PACKED: &str = "kill9::messages_survive_whole_while_older_ones_are_packed";
    /// Names the folder, and thereby makes a process the writer.
    const WRITER_DIR: &str = "FREEHOLD_KILL9_DIR";
    /// Repeats the kills of a former run.
    const SEED: &str = "FREEHOLD_KILL9_SEED";

    const ROUNDS: u64 = 12;
    const PRODUCERS: RangeInclusive<u64> = 16..=PRODUCERS_MAX;
    /// From before the store is open to far into the load.
    const LIFE_MS: RangeInclusive<u64> = 5..=500;
    /// All messages stay.
    const KEPT: u64 = u64::MAX;

    #[test]
    fn acknowledged_batches_survive_and_none_is_half_applied() {
        if let Some(dir) = env::var_os(WRITER_DIR) {
            let producers = env::var("PRODUCERS").unwrap().parse().unwrap();
            write_until_killed(Path::new(&dir), producers, KEPT);
        }
        let mut random = random();
        let dir = TempDir::new().unwrap();
        let mut heads = Heads::new();
        for round in 1..=ROUNDS {
            let producers = random.within(PRODUCERS);
            let life = Duration::from_millis(random.within(LIFE_MS));
            let mut known = heads.clone();
            known.extend(kill_a_writer(BATCHES, dir.path(), producers, life));
            let before: u64 = heads.values().sum();
            heads = read_whole(dir.path(), KEPT);
            compare_heads(&heads, &known, &known).unwrap();
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

    #[test]
    fn messages_survive_whole_while_older_ones_are_packed() {
        if let Some(dir) = env::var_os(WRITER_DIR) {
            publish_and_pack(&tables(Path::new(&dir)));
        }
        let mut random = random();
        let dir = TempDir::new().unwrap();
        // However short the writers live, there is something to pack.
        (0..TOPICS).for_each(|topic| publish(&tables(dir.path()), topic, 1..=200));
        for round in 1..=ROUNDS {
            let life = Duration::from_millis(random.within(LIFE_MS));
            let known = kill_a_writer(PACKED, dir.path(), TOPICS.into(), life);
            let tables = tables(dir.path());
            for topic in 0..TOPICS {
                let acknowledged = known.get(&topic.into()).copied().unwrap_or(0);
                read_topic(&tables, topic, acknowledged);
            }
            say(&format!("round {round}: {life:?}"));
        }
        let tables = tables(dir.path());
        while pack(&tables) {}
        (0..TOPICS).for_each(|topic| read_topic(&tables, topic, 200));
        let packs = KeyRange::prefix(b"c");
        let packs = tables.engine().page(&packs, Order::Ascending, 100);
        assert!(packs.unwrap().len() >= 8 * 5);
    }

    /// Few, so that each soon has much to pack.
    const TOPICS: u8 = 8;

    fn tables(dir: &Path) -> Tables {
        let config = Config::new(dir, 8 << 20, 256 << 20).unwrap();
        Tables::open(Arc::new(SledEngine::open(config).unwrap())).unwrap()
    }

    fn topic_of(number: u8) -> TopicKey {
        TopicKey::group(&GroupId::from_bytes([number; 16]))
    }

    /// Long and short ones, so that packs are filled differently.
    fn words(topic: u8, seq: u32) -> MessageRow {
        MessageRow {
            received: seq.into(),
            content: vec![topic; seq as usize % 7 * 100].into(),
            ..MessageRow::default()
        }
    }

    fn publish_and_pack(tables: &Tables) -> ! {
        end_with_any_thread();
        thread::scope(|scope| {
            for topic in 0..TOPICS {
                scope.spawn(move || {
                    let head = tables.head(topic_of(topic)).unwrap();
                    publish(tables, topic, head + 1..=u32::MAX);
                });
            }
            loop {
                pack(tables);
            }
        })
    }

    fn publish(tables: &Tables, topic: u8, seqs: RangeInclusive<u32>) {
        for seq in seqs {
            let mut batch = Batch::new();
            put_message(&mut batch, topic_of(topic), seq, &words(topic, seq));
            let outcome = tables.commit(batch).wait_blocking().unwrap();
            assert_eq!(outcome, Outcome::Applied);
            say(&format!("ack {topic} {seq}"));
        }
    }

    fn pack(tables: &Tables) -> bool {
        let batches = pack_some(tables, 8).unwrap();
        let commits: Vec<_> = batches.into_iter().map(|it| tables.commit(it)).collect();
        let some = !commits.is_empty();
        for commit in commits {
            assert_eq!(commit.wait_blocking().unwrap(), Outcome::Applied);
        }
        some
    }

    /// Every message is there once, as it was written.
    fn read_topic(tables: &Tables, number: u8, acknowledged: u64) {
        let topic = topic_of(number);
        let head = tables.head(topic).unwrap();
        assert!(
            u64::from(head) >= acknowledged,
            "topic {number}: {head} of {acknowledged}"
        );
        let history = tables.history(topic, 0, u32::MAX, usize::MAX, usize::MAX);
        let expected = (1..=head).rev().map(|seq| (seq, words(number, seq)));
        assert!(history.unwrap().into_iter().eq(expected), "topic {number}");
        let seqs = tables.seqs(topic, (0, u32::MAX), usize::MAX).unwrap();
        assert!(seqs.into_iter().eq(1..=head), "topic {number}");
    }

    fn random() -> Random {
        let seed = env::var(SEED).map_or_else(
            |_| RandomState::new().hash_one(0),
            |text| text.parse().unwrap(),
        );
        say(&format!("{SEED}={seed}"));
        Random(seed)
    }

    /// Lets a writer live for `life` and returns the last acknowledged publish
    /// of each of its producers.
    fn kill_a_writer(test: &str, dir: &Path, producers: u64, life: Duration) -> Heads {
        let mut writer = spawn_writer(test, dir, producers);
        let stdout = writer.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut heads = Heads::new();
            read_acknowledgements(stdout, |producer, seq| {
                heads.insert(producer, seq);
            });
            heads
        });
        thread::sleep(life);
        writer.kill().unwrap();
        let status = writer.wait().unwrap();
        assert_eq!(status.code(), None, "the writer ended by itself");
        reader.join().unwrap()
    }

    fn spawn_writer(test: &str, dir: &Path, producers: u64) -> Child {
        Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(WRITER_DIR, dir)
            .env("PRODUCERS", producers.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
}
