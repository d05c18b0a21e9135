//! The power is cut in full load: what was acknowledged is there, and nothing is half there.
//!
//! A writer commits from many threads to a store on a disk of our own (`disk`), which notes every write,
//! every flush and every acknowledgement in order. After a moment it is killed. Then the disk is put into states
//! that a power cut at moments of the writer's life would have left - all that was flushed, and of the rest all,
//! nothing, some writes, or some sectors - and for each the machine is switched on again, the file system mounted,
//! the store opened and every row checked. The last of these states is where the next writer goes on.
//! One half of the cuts is done to young databases, the other half to one so large and so often overwritten that
//! sled uses segments of its file again.
//!
//! `FREEHOLD_POWER_CUTS=200 cargo test --release -p freehold-store --test power_cut` is the long run;
//! `FREEHOLD_POWER_CUT_SEED` repeats the choices of a former one. It takes root, FUSE and loop devices;
//! where they are missing, the tests are ignored and say so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod disk;
mod fuse;
#[path = "../load/mod.rs"]
mod load;
mod machine;

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::Write,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    disk::{Event, Survivors, acknowledged},
    load::{
        Heads, PRODUCERS_MAX, Random, compare_heads, read_acknowledgements, read_whole, say,
        write_until_killed,
    },
    machine::Machine,
};

/// Cuts in all, if others are wanted than `make test` does.
const CUTS: &str = "FREEHOLD_POWER_CUTS";
const CUTS_USUAL: u64 = 6;
/// Repeats the choices of a former run.
const SEED: &str = "FREEHOLD_POWER_CUT_SEED";

const PRODUCERS: RangeInclusive<u64> = 16..=PRODUCERS_MAX;
/// From before the store is open to far into the load.
const LIFE_MS: RangeInclusive<u64> = 30..=1500;
/// States tried of one life.
const CUTS_OF_A_LIFE: u64 = 4;
/// After so many cuts a young database makes room for a new one.
const CUTS_OF_A_YOUNG_ONE: u64 = 20;
/// How long a database is written before it counts as large.
const GROWS: Duration = Duration::from_secs(10);
/// Messages that a producer keeps: what is older becomes garbage, which sled cleans up.
const KEPT: u64 = 40;
/// Within so many cuts a store that does not sync must have lost something.
const CUTS_UNTIL_LOSS: u64 = 12;
const OPENS_WITHIN: Duration = Duration::from_secs(120);

type Test = (&'static str, fn());

const TESTS: [Test; 2] = [
    (
        "every_acknowledged_batch_survives_a_power_cut",
        every_acknowledged_batch_survives_a_power_cut,
    ),
    (
        "a_store_that_does_not_sync_is_found_out",
        a_store_that_does_not_sync_is_found_out,
    ),
];

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["stage", name] => TESTS.iter().find(|it| it.0 == name).unwrap().1(),
        ["writer", store, producers] => {
            write_until_killed(Path::new(store), producers.parse().unwrap(), KEPT)
        }
        ["checker", store] => print_heads(&read_whole(Path::new(store), KEPT)),
        _ => run(&words),
    }
}

// As cargo's own harness would, but for what cannot be done here.

fn run(arguments: &[&str]) {
    let wanted = arguments.iter().find(|it| !it.starts_with('-'));
    let is_wanted = |test: &&Test| wanted.is_none_or(|it| test.0.contains(it));
    let tests: Vec<_> = TESTS.iter().filter(is_wanted).collect();
    if arguments.contains(&"--list") {
        return tests
            .iter()
            .for_each(|(name, _)| say(&format!("{name}: test")));
    }
    say(&format!("\nrunning {} tests", tests.len()));
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for (name, _) in &tests {
        let verdict = match machine::missing() {
            Some(why) => {
                ignored += 1;
                format!("ignored, {why}")
            }
            None if play(name).success() => {
                passed += 1;
                "ok".to_owned()
            }
            None => {
                failed += 1;
                "FAILED".to_owned()
            }
        };
        say(&format!("test {name} ... {verdict}"));
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let out = TESTS.len() - tests.len();
    say(&format!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {out} filtered out\n"
    ));
    process::exit(if failed == 0 { 0 } else { 101 });
}

/// Plays a test where its mounts are nobody else's and end with it.
fn play(name: &str) -> ExitStatus {
    let mut stage = Command::new("unshare");
    stage.args(["--mount", "--propagation", "private"]);
    stage.arg(env::current_exe().unwrap()).args(["stage", name]);
    stage.status().unwrap()
}

// The tests.

fn every_acknowledged_batch_survives_a_power_cut() {
    let mut random = Random(seed());
    let cuts = env::var(CUTS).map_or(CUTS_USUAL, |it| it.parse().unwrap());
    let mut left = cuts / 2;
    while left > 0 {
        let mut stage = Stage::new(Sync::Real);
        let here = left.min(CUTS_OF_A_YOUNG_ONE);
        stage.cut(here, &mut random, "a young database").unwrap();
        left -= here;
    }
    let mut stage = Stage::new(Sync::Real);
    stage.grow();
    let left = cuts - cuts / 2;
    stage.cut(left, &mut random, "a large database").unwrap();
}

/// What these cuts are worth: without the store's own sync they find a loss.
fn a_store_that_does_not_sync_is_found_out() {
    let mut random = Random(seed());
    let no_sync = TempDir::new().unwrap();
    let mut stage = Stage::new(Sync::LeftOut(library_without_sync(no_sync.path())));
    let loss = stage.cut(CUTS_UNTIL_LOSS, &mut random, "a database");
    let loss = loss.expect_err("something must be lost");
    say(&format!("as it must be: {loss}"));
}

fn seed() -> u64 {
    let any = |_| RandomState::new().hash_one(0);
    let seed = env::var(SEED).map_or_else(any, |text| text.parse().unwrap());
    say(&format!("{SEED}={seed}"));
    seed
}

/// In a process that loads this first, `File::sync_data` does nothing.
fn library_without_sync(folder: &Path) -> PathBuf {
    let library = folder.join("no_sync.so");
    let mut compiler = Command::new("gcc")
        .args(["-shared", "-fPIC", "-x", "c", "-", "-o"])
        .arg(&library)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let source = b"int fdatasync(int file) { return 0; }";
    compiler.stdin.take().unwrap().write_all(source).unwrap();
    assert!(compiler.wait().unwrap().success(), "gcc");
    library
}

// What they play with.

/// Whether the writer's syncs reach the disk.
enum Sync {
    Real,
    LeftOut(PathBuf),
}

/// A machine with a store, and what is known to be in it.
struct Stage {
    machine: Machine,
    sync: Sync,
    heads: Heads,
    /// Of the database's file when it was looked at last, in bytes.
    size: u64,
}

impl Stage {
    fn new(sync: Sync) -> Self {
        Self {
            machine: Machine::new().unwrap(),
            sync,
            heads: Heads::new(),
            size: 0,
        }
    }

    /// Lets the database grow, without any cut.
    fn grow(&mut self) {
        self.heads = self.write(*PRODUCERS.end(), GROWS);
        self.machine.disk.lock().settle();
    }

    /// Cuts the power so many times. Says what a cut has destroyed.
    fn cut(&mut self, cuts: u64, random: &mut Random, what: &str) -> Result<(), String> {
        let mut tally = Tally::default();
        while tally.cuts < cuts {
            let left = (cuts - tally.cuts).min(CUTS_OF_A_LIFE);
            let lived = self.live(random, left, &mut tally);
            lived.map_err(|loss| format!("cut {}: {}", tally.cuts, loss.trim()))?;
        }
        tally.written = self.machine.disk.lock().written;
        tally.batches = self.heads.values().sum();
        tally.say(self, what);
        Ok(())
    }

    /// A writer's life, and so many cuts in it.
    fn live(&mut self, random: &mut Random, cuts: u64, tally: &mut Tally) -> Result<(), String> {
        let producers = random.within(PRODUCERS);
        let life = Duration::from_millis(random.within(LIFE_MS));
        self.machine.disk.lock().begin();
        let mut at_last = self.heads.clone();
        at_last.extend(self.write(producers, life));
        let noted = self.machine.disk.lock().take_noted();
        for number in 1..=cuts {
            let events = &noted[..moment(&noted, random)];
            let survivors = self.machine.disk.lock().cut(events, random);
            tally.cuts += 1;
            *tally.survivors.entry(survivors).or_default() += 1;
            let known = acknowledged(events, &self.heads);
            let judge = |found: Heads| compare_heads(&found, &known, &at_last).map(|()| found);
            let found = self.check().and_then(judge);
            let found = found.map_err(|loss| format!("{survivors:?} survived: {loss}"))?;
            if number == cuts {
                self.machine.disk.lock().settle();
                self.heads = found;
            }
        }
        Ok(())
    }

    /// Lets a writer live and returns the last acknowledged publish of each of its producers.
    fn write(&self, producers: u64, life: Duration) -> Heads {
        let mounted = self.machine.mount().unwrap();
        let mut writer = Command::new(env::current_exe().unwrap());
        writer.arg("writer").arg(mounted.store());
        writer.arg(producers.to_string());
        if let Sync::LeftOut(library) = &self.sync {
            writer.env("LD_PRELOAD", library);
        }
        let mut writer = Killed(writer.stdout(Stdio::piped()).spawn().unwrap());
        let stdout = writer.0.stdout.take().unwrap();
        let disk = Arc::clone(&self.machine.disk);
        let reader = thread::spawn(move || {
            let mut heads = Heads::new();
            read_acknowledgements(stdout, |producer, seq| {
                heads.insert(producer, seq);
                disk.lock().acknowledged(producer, seq);
            });
            heads
        });
        thread::sleep(life);
        self.machine.disk.lock().end();
        writer.0.kill().unwrap();
        let status = writer.0.wait().unwrap();
        assert_eq!(status.code(), None, "the writer ended by itself");
        reader.join().unwrap()
    }

    /// Switches the machine on and reads the whole store. Says what is wrong with it.
    fn check(&mut self) -> Result<Heads, String> {
        let mounted = self.machine.mount().map_err(|error| error.to_string())?;
        let said = TempDir::new().unwrap();
        let (found, wrong) = (said.path().join("found"), said.path().join("wrong"));
        let mut checker = Command::new(env::current_exe().unwrap());
        checker.arg("checker").arg(mounted.store());
        checker.stdout(File::create(&found).unwrap());
        checker.stderr(File::create(&wrong).unwrap());
        let checker = Killed(checker.spawn().unwrap());
        match checker.ends_within(OPENS_WITHIN) {
            None => Err("the store does not open".to_owned()),
            Some(status) if !status.success() => Err(fs::read_to_string(wrong).unwrap()),
            Some(_) => {
                let file = fs::metadata(mounted.store().join("db"));
                self.size = file.unwrap().len();
                Ok(heads_in(&fs::read_to_string(found).unwrap()))
            }
        }
    }
}

/// The moment of a cut, by the number of events before it. Half of them are right behind an acknowledgement.
fn moment(events: &[Event], random: &mut Random) -> usize {
    let any = random.within(0..=events.len() as u64) as usize;
    let is_acknowledgement = |it: &Event| matches!(it, Event::Acknowledged(..));
    let next = events[any..].iter().position(is_acknowledgement);
    match next {
        Some(next) if random.within(0..=1) == 0 => any + next + 1,
        _ => any,
    }
}

fn print_heads(heads: &Heads) {
    for (producer, head) in heads {
        say(&format!("{producer} {head}"));
    }
}

fn heads_in(lines: &str) -> Heads {
    let pair = |line: &str| {
        let (producer, head) = line.split_once(' ').unwrap();
        (producer.parse().unwrap(), head.parse().unwrap())
    };
    lines.lines().map(pair).collect()
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Killed {
    fn ends_within(mut self, time: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + time;
        loop {
            match self.0.try_wait().unwrap() {
                None if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
                ended => return ended,
            }
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// What was done, for people.
#[derive(Default)]
struct Tally {
    cuts: u64,
    batches: u64,
    written: u64,
    survivors: BTreeMap<Survivors, u64>,
}

impl Tally {
    fn say(&self, machine: &Stage, what: &str) {
        let mib = |bytes: u64| bytes >> 20;
        say(&format!(
            "{what}: {} cuts, {} batches acknowledged, {} MiB written, at last in a file of {} MiB; \
             of what was not flushed survived {:?}",
            self.cuts,
            self.batches,
            mib(self.written),
            mib(machine.size),
            self.survivors
        ));
    }
}
