//! Simulations: the real decisions of a domain over stores in memory, and between them a network that loses,
//! doubles and reorders, disks that die, and restarts; all of it chosen by a seed. Nothing listens and nothing is
//! signed in vain.
//!
//! `FREEHOLD_SIMULATION_SEED` repeats one run, and `FREEHOLD_SIMULATIONS` says how many runs there are.

mod homes;
mod letters;
mod logs;
mod takeovers;

use std::{
    env, fs,
    hash::{BuildHasher, RandomState},
    io::Write as _,
    ops::RangeInclusive,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use freehold_keys::KeyRing;
use freehold_proto::{DomainName, ManualClock, Timestamp};
use freehold_store::{Batch, Commit, Engine, KeyRange, MemoryEngine, Order, Outcome, StoreError};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{runtime::Builder, sync::watch};

use crate::{Domain, server::Server};

const SEED: &str = "FREEHOLD_SIMULATION_SEED";
const RUNS: &str = "FREEHOLD_SIMULATIONS";

/// Plays a simulation with one seed after the other, and names the one that fails.
fn play<F: Future<Output = ()>>(usual: u64, run: impl Fn(Random) -> F) {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    let (first, runs) = match number(SEED) {
        Some(seed) => (seed, 1),
        None => {
            let any = RandomState::new().hash_one(0) >> 1;
            (any, number(RUNS).unwrap_or(usual))
        }
    };
    for seed in first..first + runs {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let run = || runtime.block_on(run(Random(seed)));
        let played = panic::catch_unwind(AssertUnwindSafe(run));
        if let Err(panicked) = played {
            let mut err = std::io::stderr();
            writeln!(err, "{SEED}={seed} repeats it").unwrap();
            panic::resume_unwind(panicked);
        }
    }
}

/// A small generator (splitmix64) whose numbers a seed repeats.
struct Random(u64);

impl Random {
    fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^= number >> 31;
        range.start() + number % (range.end() - range.start() + 1)
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.within(1..=many) == 1
    }

    fn index(&mut self, len: usize) -> usize {
        self.within(0..=len as u64 - 1) as usize
    }
}

fn start() -> Timestamp {
    Timestamp::from_millis(1_767_323_045_678).unwrap()
}

/// A domain that can be ended and started again over the same rows.
struct Side {
    name: DomainName,
    clock: Arc<ManualClock>,
    disk: Arc<MemoryEngine>,
    handle: Arc<Handle>,
    domain: Option<Domain>,
}

/// The folder of a domain: nothing but its keys lasts there, so that all runs share it.
fn folder(name: &DomainName) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    folder.path().join(name.as_str())
}

fn keys(name: &DomainName) -> KeyRing {
    static MADE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MADE.lock();
    let keys = folder(name).join("keys");
    if !KeyRing::exists(&keys) {
        fs::create_dir_all(folder(name)).unwrap();
        KeyRing::create(&keys, name, start()).unwrap();
    }
    KeyRing::load(&keys, name, start()).unwrap()
}

impl Side {
    async fn new(name: &str, clock: &Arc<ManualClock>) -> Self {
        let disk = Arc::new(MemoryEngine::new());
        let mut side = Self {
            name: name.parse().unwrap(),
            clock: Arc::clone(clock),
            handle: Handle::new(&disk),
            disk,
            domain: None,
        };
        side.start().await;
        side
    }

    async fn start(&mut self) {
        let text = format!(
            "domain = \"{}\"\n[clients]\nlisten = \"127.0.0.1:0\"\n[federation]\nlisten = \"127.0.0.1:0\"\n",
            self.name
        );
        let config = freehold_config::from_toml(&text, &folder(&self.name)).unwrap();
        let keys = self.keys();
        self.handle = Handle::new(&self.disk);
        let disk = Arc::clone(&self.handle) as Arc<dyn Engine>;
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        let domain = Domain::build_on(move || Ok(disk), config, keys, clock);
        self.domain = Some(domain.await.unwrap());
    }

    /// The process ends, or its disk has died, and it is started again.
    async fn restart(&mut self) {
        if let Some(domain) = self.domain.take() {
            domain.close().await;
        }
        // Whatever of it still runs writes nothing any more.
        self.dies_after(0);
        self.start().await;
    }

    fn keys(&self) -> KeyRing {
        keys(&self.name)
    }

    fn server(&self) -> &Arc<Server> {
        self.domain.as_ref().unwrap().server()
    }

    async fn commit(&self, batch: Batch) {
        let outcome = self.server().tables.commit(batch).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    }

    /// After so many more commits the disk takes nothing any more, until the next start.
    fn dies_after(&self, commits: u64) {
        self.handle.left.store(commits, Ordering::Relaxed);
    }
}

/// What one process has of its disk, whose rows outlive it.
#[derive(Debug)]
struct Handle {
    disk: Arc<MemoryEngine>,
    /// Answers for the disk when that has died.
    dead: MemoryEngine,
    /// Commits until then.
    left: AtomicU64,
}

impl Handle {
    fn new(disk: &Arc<MemoryEngine>) -> Arc<Self> {
        let dead = MemoryEngine::new();
        dead.close().unwrap();
        Arc::new(Self {
            disk: Arc::clone(disk),
            dead,
            left: AtomicU64::new(u64::MAX),
        })
    }
}

impl Engine for Handle {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.disk.get(key)
    }

    fn page(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.disk.page(range, order, limit)
    }

    fn commit(&self, batch: Batch) -> Commit {
        let one_less =
            |left: u64| (left > 0).then(|| left.saturating_sub(u64::from(left < u64::MAX)));
        let order = Ordering::Relaxed;
        match self.left.fetch_update(order, order, one_less) {
            Ok(_) => self.disk.commit(batch),
            Err(_) => self.dead.commit(batch),
        }
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.disk.size_on_disk()
    }

    fn poisoned(&self) -> watch::Receiver<bool> {
        self.disk.poisoned()
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
