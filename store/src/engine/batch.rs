//! What is written together, and under which conditions.

use bytes::Bytes;

use super::{KeyRange, StoreError};

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
/// bounds the redo record, which is read as a whole.
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
        /// The key of the first guard that did not hold; of one on a range, the row that is in it.
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

/// A condition on the rows as they are before the batch.
#[derive(Clone, Debug)]
enum Guard {
    /// The value of one row, or `None` for its absence.
    Row { key: Bytes, expected: Option<Bytes> },
    /// There is no row in the range.
    Nothing(KeyRange),
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

    /// Applies the batch only if there is no row in `range`.
    pub fn require_nothing(&mut self, range: KeyRange) -> &mut Self {
        self.guards.push(Guard::Nothing(range));
        self
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
        self.guards.push(Guard::Row { key, expected });
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
            .map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len))
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
            within("value", value.map_or(0, <[u8]>::len), VALUE_MAX)?;
            if is_reserved(key) {
                return Err(StoreError::Reserved {
                    prefix: RESERVED_PREFIX,
                });
            }
        }
        Ok(())
    }

    /// Holds every guard against the rows that `read` finds under a key, and `first` as the first of
    /// a range.
    pub(super) fn judge(
        &self,
        read: impl Fn(&[u8]) -> Result<Option<Bytes>, StoreError>,
        first: impl Fn(&KeyRange) -> Result<Option<Bytes>, StoreError>,
    ) -> Result<Outcome, StoreError> {
        for guard in &self.guards {
            let wrong = match guard {
                Guard::Row { key, expected } => (read(key)? != *expected).then(|| key.clone()),
                Guard::Nothing(range) => first(range)?,
            };
            if let Some(key) = wrong {
                return Ok(Outcome::GuardFailed { key });
            }
        }
        Ok(Outcome::Applied)
    }

    /// Keys and values; a range counts as two keys.
    fn rows(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let guards = self.guards.iter().flat_map(|guard| match guard {
            Guard::Row { key, expected } => [Some((&**key, expected.as_deref())), None],
            Guard::Nothing(range) => range.ends().map(|end| end.map(|it| (it, None))),
        });
        let writes = self.writes.iter();
        let writes = writes.map(|it| (&*it.key, it.value.as_deref()));
        guards.flatten().chain(writes)
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
