//! What an operator decides about a store.

use std::{io, path::PathBuf};

/// The least cache worth having; sled keeps its index in memory beside it.
const CACHE_MIN: u64 = 1024 * 1024;

/// The least free space to insist on. Between two looks at the disk the writer
/// may commit 32 groups of 1 MiB, each written twice (redo record and rows) and
/// up to fourfold by sled's pages.
const FLOOR_MIN: u64 = 256 * 1024 * 1024;

/// Where a store lives and what it may use. Its values are checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub(super) path: PathBuf,
    // Invariant: at least CACHE_MIN.
    pub(super) cache_capacity: u64,
    // Invariant: at least FLOOR_MIN.
    pub(super) free_space_floor: u64,
}

/// Values that cannot form a [`Config`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Every read would go to the disk.
    #[error("a cache of {0} bytes is too small, the least is {CACHE_MIN}")]
    CacheTooSmall(u64),
    /// The disk could fill up before the writer looks again.
    #[error("a free space floor of {0} bytes is too low, the least is {FLOOR_MIN}")]
    FloorTooLow(u64),
}

impl Config {
    /// A store in the folder `path`, which is created if it is not there.
    ///
    /// `cache_capacity` is a hint in bytes: the process takes two to three times
    /// as much, and about 36 bytes for every key. Below `free_space_floor` bytes
    /// of free disk the store refuses to open and to write.
    pub fn new(
        path: impl Into<PathBuf>,
        cache_capacity: u64,
        free_space_floor: u64,
    ) -> Result<Self, ConfigError> {
        if cache_capacity < CACHE_MIN {
            return Err(ConfigError::CacheTooSmall(cache_capacity));
        }
        if free_space_floor < FLOOR_MIN {
            return Err(ConfigError::FloorTooLow(free_space_floor));
        }
        Ok(Self {
            path: path.into(),
            cache_capacity,
            free_space_floor,
        })
    }

    /// Bytes of free disk below which nothing is written.
    #[must_use]
    pub fn free_space_floor(&self) -> u64 {
        self.free_space_floor
    }

    /// Bytes free where the store is, or will be, and how many of them must stay free for it to
    /// write.
    pub fn free_space(&self) -> io::Result<(u64, u64)> {
        let exists = self.path.ancestors().find(|it| it.exists());
        let available = fs4::available_space(exists.unwrap_or(&self.path))?;
        Ok((available, self.free_space_floor))
    }
}
