//! What can go wrong in a store, and whose fault it is.

use std::{io, path::PathBuf, sync::Arc};

/// Why a store did not do what it was asked.
///
/// Clones are cheap: one failed sync answers every batch of its group.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk's fault. A batch answered with this may or may not be there
    /// after a restart: tell the caller "unknown", never "not stored".
    #[error("the disk failed and the outcome is unknown: {0}")]
    Io(#[source] Arc<io::Error>),
    /// The disk's or the database's fault: what it holds makes no sense.
    #[error("the database is damaged: {detail}")]
    Corrupt {
        /// What was found, for the operator.
        detail: String,
    },
    /// A former failure stopped this store until the process restarts. The
    /// batch may have been in the hands of the writer when it failed, so its
    /// outcome is unknown too.
    #[error("the store stopped after a failure; the process must restart")]
    Poisoned,
    /// The operator's fault: free space is below what must stay free. Refused
    /// before anything was written.
    #[error("only {available} bytes are free on the store's disk, {needed} are needed")]
    Full {
        /// What the file system says is free.
        available: u64,
        /// What must be free for the store to write.
        needed: u64,
    },
    /// The operator's fault: another process, or this one, has the store open.
    #[error("the store in {} is in use by another process", path.display())]
    Locked {
        /// The folder that is locked.
        path: PathBuf,
    },
    /// The caller's fault, or a shutdown in progress: the store was closed
    /// before this call. Nothing was written.
    #[error("the store is closed")]
    Closed,
    /// Nobody's fault: more batches are waiting than the store will hold. Nothing
    /// was written; the caller may try again later.
    #[error("the store's queue is full")]
    Overloaded,
    /// The caller's fault: larger than the engine takes. Nothing was written.
    #[error("a {what} of {size} is over the limit of {limit}")]
    TooLarge {
        /// What is too large: a key, a value, or a batch in bytes or operations.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The caller's fault: the engine keeps keys with this prefix for itself.
    /// Nothing was written.
    #[error("keys that begin with the byte {prefix:#04x} are reserved for the engine")]
    Reserved {
        /// The first byte of the refused key.
        prefix: u8,
    },
}

impl StoreError {
    /// Whether a batch answered with this error is certain not to be stored.
    ///
    /// If not, the outcome is unknown and the store is poisoned.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Corrupt { .. } | Self::Poisoned)
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
