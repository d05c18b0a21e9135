//! The default engine: one sled database with a single writer thread.
//!
//! Left to itself sled loses acknowledged rows on a power cut, so all writes go
//! through one writer, which keeps this order for every commit group: redo log,
//! sync, rows, answers. Whatever is acknowledged is on the disk; a group cut short
//! by a crash is completed from the redo log by the next open, or was never begun.
//!
//! Invariant: nothing but the writer thread, and `replay` before it starts,
//! writes rows.

mod checkpoint;
mod config;
mod files;
mod former;
mod redo;
mod space;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use ::sled::{Db, IVec};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{
    Semaphore,
    mpsc::{self, error::TrySendError},
    watch,
};

pub use config::{Config, ConfigError};

use self::{
    checkpoint::{Mark, apply, make_durable},
    redo::Redo,
    space::{Probe, Space},
    writer::{Queued, Writer},
};
use super::{Batch, Commit, Engine, KeyRange, Order, StoreError, batch::is_reserved};

/// How many batches may wait for the writer: about a second of its work at full
/// load, after which callers are better told to come back later.
const QUEUE_MAX: usize = 16_384;

/// How much memory the batches that wait may take up; the longest queue of the
/// largest batches would take 18 GiB.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A store in a folder of its own, held by one process at a time.
pub struct SledEngine {
    // `None` once closed.
    open: RwLock<Option<Open>>,
    // Held by `close` throughout, so that no caller returns from it early.
    closing: Mutex<()>,
    poison: watch::Sender<bool>,
    path: PathBuf,
}

/// What exists only while the store is open, in the order in which it ends.
struct Open {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    writer: JoinHandle<()>,
    db: Db,
    lock: File,
}

impl SledEngine {
    /// Opens the store, creating it if it is not there, and completes what a
    /// crash has left half done. May take seconds on a large store.
    pub fn open(config: Config) -> Result<Self, StoreError> {
        Self::open_with(config, Box::new(|path| fs4::available_space(path)))
    }

    fn open_with(config: Config, probe: Probe) -> Result<Self, StoreError> {
        let Config {
            path,
            cache_capacity,
            free_space_floor,
        } = config;
        let lock = files::lock(&path)?;
        files::remove_unfinished_snapshots(&path)?;
        let mut space = Space::new(path.clone(), free_space_floor, probe);
        space.require(files::snapshot_reserve(&path)?)?;

        let db = files::open_database(&path, cache_capacity)?;
        let file = files::database_file(&path)?;
        let redo = replay(&path, &db, &file)?;
        files::sync_new_files(&path)?;

        let poison = watch::Sender::new(false);
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let writer = Writer::new(queued, (db.clone(), file), redo, space, poison.clone())?;
        let open = Open {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            writer: writer.spawn()?,
            db,
            lock,
        };
        Ok(Self {
            open: RwLock::new(Some(open)),
            closing: Mutex::new(()),
            poison,
            path,
        })
    }

    fn enqueue(&self, batch: Batch) -> Result<Commit, StoreError> {
        batch.check()?;
        let open = self.open.read();
        let open = open.as_ref().ok_or(StoreError::Closed)?;
        if *self.poison.borrow() {
            return Err(StoreError::Poisoned);
        }
        let footprint = u32::try_from(batch.footprint()).expect("`check` bounds every batch");
        let room = Arc::clone(&open.room)
            .try_acquire_many_owned(footprint)
            .map_err(|_full| StoreError::Overloaded)?;
        let (queued, commit) = Queued::new(batch, room);
        match open.queue.try_send(queued) {
            Ok(()) => Ok(commit),
            Err(TrySendError::Full(_)) => Err(StoreError::Overloaded),
            // While the store is open, only a panic ends the writer.
            Err(TrySendError::Closed(_)) => Err(StoreError::Poisoned),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Db) -> ::sled::Result<T>) -> Result<T, StoreError> {
        let open = self.open.read();
        let open = open.as_ref().ok_or(StoreError::Closed)?;
        read(&open.db).map_err(|error| poisoning(error.into(), &self.poison))
    }
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.read(|db| {
            if is_reserved(key) {
                Ok(None)
            } else {
                db.get(key)
            }
        })?;
        Ok(found.as_ref().map(bytes))
    }

    fn page(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut parts = range.around_reserved();
        if order == Order::Descending {
            parts.reverse();
        }
        self.read(|db| {
            let rows = parts
                .iter()
                .filter(|part| !part.is_empty())
                .flat_map(|part| rows(db, part, order));
            rows.take(limit)
                .map(|row| row.map(|(key, value)| (bytes(&key), bytes(&value))))
                .collect()
        })
    }

    fn commit(&self, batch: Batch) -> Commit {
        match self.enqueue(batch) {
            Ok(commit) => commit,
            Err(refusal) => Commit::ready(Err(refusal)),
        }
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        let redo = redo::size_on_disk(&self.path)?;
        self.read(|db| db.size_on_disk()).map(|it| it + redo)
    }

    fn poisoned(&self) -> watch::Receiver<bool> {
        self.poison.subscribe()
    }

    fn close(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.closing.lock();
        let Some(open) = self.open.write().take() else {
            return Ok(());
        };
        let Open {
            queue,
            room: _,
            writer,
            db,
            lock,
        } = open;
        // Without a sender the writer stops, after what is queued.
        drop(queue);
        let panicked = writer.join().is_err();
        drop(db);
        drop(lock);
        if panicked || *self.poison.borrow() {
            return Err(StoreError::Poisoned);
        }
        Ok(())
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, path = %self.path.display(), "store did not close cleanly");
        }
    }
}

impl std::fmt::Debug for SledEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SledEngine")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Writes again what a crash has taken from sled, or cut short.
fn replay(path: &Path, db: &Db, file: &File) -> Result<Redo, StoreError> {
    if let Some(former) = former::read(db)? {
        apply(db, &former.writes)?;
        make_durable(db, file)?;
        for key in former.keys {
            db.remove(key)?;
        }
        make_durable(db, file)?;
    }
    let known = Mark::find(db)?.map_or(0, |it| it.0);
    let (mut redo, groups) = Redo::open(path, known)?;
    if !groups.is_empty() {
        tracing::debug!(groups = groups.len(), "writing again what the redo log has");
        apply(db, groups.iter().flatten())?;
        redo.forget(Mark(redo.next_group()).keep(db, file)?);
        redo.note_needed()?;
    }
    Ok(redo)
}

/// Walks one range from the end that `order` says.
fn rows(
    db: &Db,
    range: &KeyRange,
    order: Order,
) -> Box<dyn Iterator<Item = ::sled::Result<(IVec, IVec)>>> {
    let rows = db.range::<&[u8], _>(range.bounds());
    match order {
        Order::Ascending => Box::new(rows),
        Order::Descending => Box::new(rows.rev()),
    }
}

fn bytes(value: &IVec) -> Bytes {
    Bytes::copy_from_slice(value)
}

/// Passes an error on, poisoning the store unless it is a mere refusal.
fn poisoning(error: StoreError, poison: &watch::Sender<bool>) -> StoreError {
    if !error.is_refusal() && !poison.send_replace(true) {
        tracing::error!(%error, "store poisoned");
    }
    error
}

impl From<::sled::Error> for StoreError {
    fn from(error: ::sled::Error) -> Self {
        match error {
            ::sled::Error::Io(error) => error.into(),
            other => Self::Corrupt {
                detail: other.to_string(),
            },
        }
    }
}
