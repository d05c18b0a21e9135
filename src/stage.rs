//! A whole domain on a store in memory that fails when told to: for tests of parts that need the
//! rest around them.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use freehold_keys::KeyRing;
use freehold_proto::{Clock, ManualClock, Timestamp};
use freehold_store::{Batch, Commit, Engine, KEY_MAX, KeyRange, MemoryEngine, Order, StoreError};
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{Domain, server::Server};

/// The domain `alpha.test`, built and not serving.
pub(crate) struct Stage {
    pub(crate) server: Arc<Server>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) engine: Arc<Failing>,
    domain: Domain,
    _folder: TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines of configuration.
    pub(crate) async fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let engine = Arc::new(Failing::default());
        let domain = build(folder.path(), more, &clock, &engine).await;
        Self {
            server: Arc::clone(domain.server()),
            clock,
            engine,
            domain,
            _folder: folder,
        }
    }

    pub(crate) async fn close(self) {
        self.domain.close().await;
    }
}

async fn build(
    folder: &Path,
    more: &str,
    clock: &Arc<ManualClock>,
    engine: &Arc<Failing>,
) -> Domain {
    let name = "alpha.test".parse().unwrap();
    let text = format!(
        "domain = \"{name}\"\n{more}\n\
         [clients]\nlisten = \"127.0.0.1:0\"\n\
         [federation]\nlisten = \"127.0.0.1:0\"\n"
    );
    let config = freehold_config::from_toml(&text, folder).unwrap();
    let (keys, _) = KeyRing::create(&config.keys_dir, &name, clock.now()).unwrap();
    let engine = Arc::clone(engine) as Arc<dyn Engine>;
    let clock: Arc<ManualClock> = Arc::clone(clock);
    Domain::build_on(move || Ok(engine), config, keys, clock)
        .await
        .unwrap()
}

/// Pages stand still no longer than that, so that a test that fails comes to its end.
const STILL_MAX: Duration = Duration::from_secs(30);

/// A store in memory of which pages cannot be read for a while, or slowly, and which takes nothing for a
/// while.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    memory: MemoryEngine,
    pages: AtomicUsize,
    /// Of the next pages so many stand still once they have been read.
    to_hold: Mutex<usize>,
    go: Condvar,
    /// How many do.
    still: watch::Sender<usize>,
    /// So many more batches are taken, if not all.
    taken: Mutex<Option<usize>>,
    refused: watch::Sender<usize>,
}

impl Failing {
    /// As many pages as this cannot be read from now on.
    pub(crate) fn fail_pages(&self, count: usize) {
        self.pages.store(count, Ordering::Release);
    }

    pub(crate) fn pages_to_fail(&self) -> usize {
        self.pages.load(Ordering::Acquire)
    }

    /// So many of the next pages are read and stand still.
    pub(crate) fn hold_pages(&self, count: usize) {
        *self.to_hold.lock() = count;
    }

    /// All go on.
    pub(crate) fn let_pages_go(&self) {
        *self.to_hold.lock() = 0;
        self.go.notify_all();
    }

    /// How many pages stand still, as it changes.
    pub(crate) fn still(&self) -> watch::Receiver<usize> {
        self.still.subscribe()
    }

    /// After so many batches no more is taken, as on a full disk; all are if none is said.
    pub(crate) fn take(&self, count: Option<usize>) {
        *self.taken.lock() = count;
    }

    /// How many batches were refused, as it changes.
    pub(crate) fn refused(&self) -> watch::Receiver<usize> {
        self.refused.subscribe()
    }

    fn stand_still(&self) {
        let mut to_hold = self.to_hold.lock();
        let Some(rest) = to_hold.checked_sub(1) else {
            return;
        };
        *to_hold = rest;
        self.still.send_modify(|it| *it += 1);
        self.go.wait_for(&mut to_hold, STILL_MAX);
        self.still.send_modify(|it| *it -= 1);
    }
}

impl Engine for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.memory.get(key)
    }

    fn page(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let one_less = |left: usize| left.checked_sub(1);
        let failed = self
            .pages
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
        if failed.is_ok() {
            return Err(StoreError::Overloaded);
        }
        let page = self.memory.page(range, order, limit);
        self.stand_still();
        page
    }

    fn commit(&self, batch: Batch) -> Commit {
        let mut taken = self.taken.lock();
        match taken.as_mut() {
            Some(0) => {
                self.refused.send_modify(|it| *it += 1);
                // What no store takes is refused without a trace.
                let mut none = Batch::new();
                none.put(vec![b'M'; KEY_MAX + 1], "");
                return self.memory.commit(none);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.memory.commit(batch)
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.memory.size_on_disk()
    }

    fn poisoned(&self) -> watch::Receiver<bool> {
        self.memory.poisoned()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.memory.close()
    }
}
