//! An engine without a disk: the reference for the others, and quick for tests.
//!
//! It keeps the promises of [`Engine`] with the simplest code that can, except
//! that nothing survives the process.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{Batch, Commit, Engine, KeyRange, Order, Outcome, StoreError, commit::Answer};

/// Rows in a sorted map under one lock.
pub struct MemoryEngine {
    state: RwLock<State>,
    poison: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<Bytes, Bytes>,
    closed: bool,
    next_failure: Option<Failure>,
}

/// What a disk may have done by the time it reports an error.
#[derive(Clone, Copy)]
enum Failure {
    BeforeWriting,
    AfterWriting,
}

impl MemoryEngine {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::over(BTreeMap::new())
    }

    /// Makes the next commit fail as a broken disk would, with nothing written,
    /// and poisons the store.
    pub fn fail_next_commit(&self) {
        self.state.write().next_failure = Some(Failure::BeforeWriting);
    }

    /// Like [`fail_next_commit`](Self::fail_next_commit), but the batch is
    /// written: the two sides of "the outcome is unknown".
    pub fn fail_next_commit_after_writing(&self) {
        self.state.write().next_failure = Some(Failure::AfterWriting);
    }

    /// What a restarted process would find: a healthy store with the same rows.
    ///
    /// Takes the rows out of this one, which must have been closed.
    pub fn reopen(&self) -> Result<Self, StoreError> {
        let mut state = self.state.write();
        if !state.closed {
            let path = PathBuf::from("memory");
            return Err(StoreError::Locked { path });
        }
        Ok(Self::over(std::mem::take(&mut state.rows)))
    }

    fn over(rows: BTreeMap<Bytes, Bytes>) -> Self {
        let state = State {
            rows,
            ..State::default()
        };
        Self {
            state: RwLock::new(state),
            poison: watch::Sender::new(false),
        }
    }

    fn settle(&self, batch: &Batch) -> Answer {
        batch.check()?;
        let mut state = self.state.write();
        state.ensure_open()?;
        if *self.poison.borrow() {
            return Err(StoreError::Poisoned);
        }
        let failure = state.next_failure.take();
        if !matches!(failure, Some(Failure::BeforeWriting)) {
            let outcome = state.apply(batch)?;
            if failure.is_none() {
                return Ok(outcome);
            }
        }
        self.poison.send_replace(true);
        Err(std::io::Error::other("injected by a test").into())
    }
}

impl State {
    fn ensure_open(&self) -> Result<(), StoreError> {
        if self.closed {
            return Err(StoreError::Closed);
        }
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Answer {
        let first = |range: &KeyRange| {
            if range.is_empty() {
                return Ok(None);
            }
            let mut rows = self.rows.range::<[u8], _>(range.bounds());
            Ok(rows.next().map(|(key, _)| key.clone()))
        };
        let outcome = batch.judge(|key| Ok(self.rows.get(key).cloned()), first)?;
        if outcome == Outcome::Applied {
            for write in batch.writes() {
                match &write.value {
                    Some(value) => self.rows.insert(write.key.clone(), value.clone()),
                    None => self.rows.remove(&write.key),
                };
            }
        }
        Ok(outcome)
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let state = self.state.read();
        state.ensure_open()?;
        Ok(state.rows.get(key).cloned())
    }

    fn page(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let state = self.state.read();
        state.ensure_open()?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let rows = state.rows.range::<[u8], _>(range.bounds());
        let rows = rows.map(|(key, value)| (key.clone(), value.clone()));
        Ok(match order {
            Order::Ascending => rows.take(limit).collect(),
            Order::Descending => rows.rev().take(limit).collect(),
        })
    }

    fn commit(&self, batch: Batch) -> Commit {
        Commit::ready(self.settle(&batch))
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        let state = self.state.read();
        state.ensure_open()?;
        let bytes: usize = state
            .rows
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        Ok(bytes as u64)
    }

    fn poisoned(&self) -> watch::Receiver<bool> {
        self.poison.subscribe()
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut state = self.state.write();
        let was_closed = std::mem::replace(&mut state.closed, true);
        if !was_closed && *self.poison.borrow() {
            return Err(StoreError::Poisoned);
        }
        Ok(())
    }
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.state.read().rows.len();
        formatter
            .debug_struct("MemoryEngine")
            .field("rows", &rows)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits a row to a store that fails, and returns what a restart finds.
    fn row_after_failure(fail: impl FnOnce(&MemoryEngine)) -> Option<Bytes> {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        batch.put("M1", "one");
        fail(&engine);

        let failed = engine.commit(batch.clone()).wait_blocking().unwrap_err();
        assert!(matches!(failed, StoreError::Io(_)));
        assert!(*engine.poisoned().borrow());
        let later = engine.commit(batch).wait_blocking().unwrap_err();
        assert!(matches!(later, StoreError::Poisoned));

        assert!(matches!(engine.reopen(), Err(StoreError::Locked { .. })));
        assert!(matches!(engine.close(), Err(StoreError::Poisoned)));
        let engine = engine.reopen().unwrap();
        assert!(!*engine.poisoned().borrow());
        engine.get(b"M1").unwrap()
    }

    #[test]
    fn an_injected_failure_poisons_and_leaves_either_outcome() {
        assert_eq!(row_after_failure(MemoryEngine::fail_next_commit), None);
        let written = row_after_failure(MemoryEngine::fail_next_commit_after_writing);
        assert_eq!(written, Some("one".into()));
    }
}
