//! What is written together, and under which conditions.

use bytes::Bytes;

use super::StoreError;

/// The longest key.
///
/// sled moves pages over 128 KiB to side files that it never syncs. Its largest
/// page holds 20 rows (17 before a split, 3 more from a merge), so that key and
/// value together must stay under 6.5 KiB.
pub const KEY_MAX: usize = 320;

/// The longest value; tables split what is longer. See [`KEY_MAX`] for the reason.
pub const VALUE_MAX: usize = 6144;

/// The most guards and writes in one batch, and in one commit group: bounds how
/// long the batches behind it wait.
pub const BATCH_OPS_MAX: usize = 2048;

/// The most bytes of keys and values in one batch, and in one commit group:
/// bounds the redo record, which is rewritten with every group.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Keys that begin with this byte belong to the engine: batches with such a key
/// are refused and reads find nothing there.
pub const RESERVED_PREFIX: u8 = b'J';

/// How a batch ended that the store took in good health.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a failed guard means that nothing was written"]
pub enum Outcome {
    /// Every write of the batch is durable.
    Applied,
    /// A guard did not hold, so nothing of the batch was written.
    GuardFailed {
        /// The key of the first guard that did not hold.
        key: Bytes,
    },
}

/// Writes that happen together or, if a guard does not hold, not at all.
///
/// Guards look at the rows as they are before the batch. Writes happen in the
/// order they were added, so the last one to a key wins.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    guards: Vec<Guard>,
    writes: Vec<Write>,
}

/// A condition on one row: its value, or `None` for its absence.
#[derive(Clone, Debug)]
struct Guard {
    key: Bytes,
    expected: Option<Bytes>,
}

/// A change of one row: its new value, or `None` to remove it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Write {
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
}

impl Batch {
    /// A batch without guards or writes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the row under `key`.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> &mut Self {
        self.write(key.into(), Some(value.into()))
    }

    /// Removes the row under `key`, if there is one.
    pub fn remove(&mut self, key: impl Into<Bytes>) -> &mut Self {
        self.write(key.into(), None)
    }

    /// Applies the batch only if there is no row under `key`.
    pub fn require_absent(&mut self, key: impl Into<Bytes>) -> &mut Self {
        self.guard(key.into(), None)
    }

    /// Applies the batch only if the row under `key` has this value.
    pub fn require_value(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> &mut Self {
        self.guard(key.into(), Some(value.into()))
    }

    /// Adds everything of another batch behind what is in this one.
    pub fn append(&mut self, mut other: Self) -> &mut Self {
        self.guards.append(&mut other.guards);
        self.writes.append(&mut other.writes);
        self
    }

    /// Whether there is nothing to judge and nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.writes.is_empty()
    }

    fn write(&mut self, key: Bytes, value: Option<Bytes>) -> &mut Self {
        self.writes.push(Write { key, value });
        self
    }

    fn guard(&mut self, key: Bytes, expected: Option<Bytes>) -> &mut Self {
        self.guards.push(Guard { key, expected });
        self
    }

    pub(super) fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Guards and writes together.
    #[must_use]
    pub fn ops(&self) -> usize {
        self.guards.len() + self.writes.len()
    }

    /// Bytes of keys and values, those of the guards included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows()
            .map(|(key, value)| key.len() + value.map_or(0, Bytes::len))
            .sum()
    }

    /// Roughly what the batch takes up in memory.
    pub(super) fn footprint(&self) -> usize {
        self.bytes() + self.ops() * size_of::<Write>()
    }

    /// Refuses what no engine takes, before it is queued.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        within("batch (in operations)", self.ops(), BATCH_OPS_MAX)?;
        within("batch (in bytes)", self.bytes(), BATCH_BYTES_MAX)?;
        for (key, value) in self.rows() {
            within("key", key.len(), KEY_MAX)?;
            within("value", value.map_or(0, Bytes::len), VALUE_MAX)?;
            if is_reserved(key) {
                return Err(StoreError::Reserved {
                    prefix: RESERVED_PREFIX,
                });
            }
        }
        Ok(())
    }

    /// Holds every guard against the rows that `read` finds.
    pub(super) fn judge(
        &self,
        read: impl Fn(&[u8]) -> Result<Option<Bytes>, StoreError>,
    ) -> Result<Outcome, StoreError> {
        for guard in &self.guards {
            if read(&guard.key)? != guard.expected {
                let key = guard.key.clone();
                return Ok(Outcome::GuardFailed { key });
            }
        }
        Ok(Outcome::Applied)
    }

    fn rows(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        let guards = self.guards.iter().map(|it| (&it.key, it.expected.as_ref()));
        let writes = self.writes.iter().map(|it| (&it.key, it.value.as_ref()));
        guards.chain(writes)
    }
}

/// Whether `key` is one of the engine's own.
pub(super) fn is_reserved(key: &[u8]) -> bool {
    key.first() == Some(&RESERVED_PREFIX)
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit {
        return Err(StoreError::TooLarge { what, size, limit });
    }
    Ok(())
}
