//! Kill -9 in full load: what was acknowledged is there, and nothing is half there.
//!
//! One test in two roles. As the parent it starts its own binary again as the
//! writer, kills it at a random moment, opens the store itself and checks every
//! row; a dozen times over the same folder. As the writer it commits from many
//! threads and prints what has been acknowledged.
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
        thread,
        time::Duration,
    };

    use tempfile::TempDir;

    use crate::load::{
        Heads, PRODUCERS_MAX, Random, compare_heads, read_acknowledgements, read_whole, say,
        write_until_killed,
    };

    /// What the parent asks its own binary to run.
    const THIS_TEST: &str = "kill9::acknowledged_batches_survive_and_none_is_half_applied";
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
            let mut known = heads.clone();
            known.extend(kill_a_writer(dir.path(), producers, life));
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

    /// Lets a writer live for `life` and returns the last acknowledged publish
    /// of each of its producers.
    fn kill_a_writer(dir: &Path, producers: u64, life: Duration) -> Heads {
        let mut writer = spawn_writer(dir, producers);
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
}
