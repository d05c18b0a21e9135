//! An ordered space of byte keys with atomic, durable batches.
//!
//! A handful of methods and no iterators, closures or transaction handles, so
//! that a shared database can stand behind the same trait later. Every engine
//! keeps three promises:
//!
//! * a batch is applied whole or not at all;
//! * a [`Commit`] that completes with [`Outcome::Applied`] survives a power cut;
//! * guards see every batch queued before theirs, durable or not.
//!
//! Reads may see rows whose commit has not completed yet. Whoever shows data to
//! a client does so after the commit has completed, never because a read found it.

mod batch;
mod commit;
mod error;
mod memory;
mod range;
pub mod sled;

use bytes::Bytes;
use tokio::sync::watch;

pub use batch::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, Batch, KEY_MAX, Outcome, RESERVED_PREFIX, VALUE_MAX,
};
pub use commit::Commit;
pub use error::StoreError;
pub use memory::MemoryEngine;
pub use range::{KeyRange, Order};

/// What the tables need from a database.
///
/// Only [`commit`](Engine::commit) and [`poisoned`](Engine::poisoned) are meant
/// for async workers; the other methods may wait for the disk.
pub trait Engine: Send + Sync + std::fmt::Debug + 'static {
    /// The value under `key`; blocks on the disk at worst.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// At most `limit` rows of `range`, from its low or its high end.
    fn page(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Queues one atomic batch and returns at once.
    ///
    /// Batches are judged and applied in the order of the calls. Dropping the
    /// [`Commit`] does not withdraw the batch.
    fn commit(&self, batch: Batch) -> Commit;

    /// Bytes this store occupies.
    fn size_on_disk(&self) -> Result<u64, StoreError>;

    /// Turns true, and stays true, once the store can no longer be trusted with
    /// writes. The process should then exit and let its supervisor restart it.
    fn poisoned(&self) -> watch::Receiver<bool>;

    /// Commits what is queued, stops the writer and lets go of the files.
    ///
    /// Later calls of the other methods answer [`StoreError::Closed`]; closing
    /// again does nothing. A poisoned store closes too, but says so.
    fn close(&self) -> Result<(), StoreError>;
}
