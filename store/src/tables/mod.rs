//! Typed rows above the engine: what a domain remembers.
//!
//! Reads block on the disk at worst, so async code makes them through [`Tables::read`]. Writes are
//! functions that add to a [`Batch`]; whoever decides puts all effects of one decision, and the
//! outbox rows that it causes, into one batch.

pub mod accounts;
pub mod admin;
pub mod credentials;
pub mod deletions;
pub mod devices;
pub mod files;
pub mod kept;
pub mod keys;
pub mod log;
pub mod messages;
pub mod outbox;
pub mod packs;
pub mod peers;
pub mod rooms;
pub mod rows;
pub mod tags;
pub mod topics;

mod blob;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::{Batch, Commit, Engine, KeyRange, Order, StoreError};

/// The version of keys and rows this program writes.
const SCHEMA: &[u8] = b"freehold 3";
/// The same rows, from before sled's redo log had files of its own.
const REDO_IN_SLED: &[u8] = b"freehold 2";
/// The one before that, in which every message was a row of its own. It becomes the present one at once, and its
/// messages are packed little by little.
const UNPACKED: &[u8] = b"freehold 1";

/// Typed access to one engine. Clones share it.
#[derive(Clone, Debug)]
pub struct Tables {
    engine: Arc<dyn Engine>,
}

impl Tables {
    /// Takes an open engine; refuses one that was written by a newer or a foreign program. Blocks.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, StoreError> {
        let key = keys::schema();
        let found = engine.get(&key)?;
        let mut batch = Batch::new();
        match found.as_deref() {
            Some(SCHEMA) => return Ok(Self { engine }),
            Some(UNPACKED) => packs::note_unpacked(&mut batch),
            Some(REDO_IN_SLED) | None => {}
            Some(found) => {
                return Err(StoreError::Corrupt {
                    detail: format!(
                        "the data has format {:?}, this program reads {:?}",
                        String::from_utf8_lossy(found),
                        String::from_utf8_lossy(SCHEMA)
                    ),
                });
            }
        }
        batch.put(key, SCHEMA);
        // A batch without guards is applied.
        let _applied = engine.commit(batch).wait_blocking()?;
        Ok(Self { engine })
    }

    /// The engine, for its size and health.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Queues a batch. See [`Engine::commit`].
    pub fn commit(&self, batch: Batch) -> Commit {
        self.engine.commit(batch)
    }

    /// Runs reads away from the async workers.
    pub async fn read<T, F>(&self, reads: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    {
        let tables = self.clone();
        tokio::task::spawn_blocking(move || reads(&tables))
            .await
            .unwrap_or(Err(StoreError::Closed))
    }

    fn row<R: Message + Default>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.engine
            .get(key)?
            .map(|bytes| decode(key, bytes))
            .transpose()
    }

    fn page(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.engine.page(range, order, limit)
    }
}

/// Reads a row; one that cannot be read is damage, never "absent".
fn decode<R: Message + Default>(key: &[u8], bytes: Bytes) -> Result<R, StoreError> {
    R::decode(bytes).map_err(|_| damaged(key))
}

fn damaged(key: &[u8]) -> StoreError {
    StoreError::Corrupt {
        detail: format!("the row under {} cannot be read", key.escape_ascii()),
    }
}

#[cfg(test)]
mod tests;
