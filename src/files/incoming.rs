//! A file on its way in: counted, hashed, written, and made known at the end.

use std::sync::Arc;

use bytes::Bytes;
use freehold_proto::{Timestamp, UserId};
use freehold_store::{
    Batch, Outcome, StoreError,
    tables::{
        files::{self, FileKey, Stock},
        rows::{FileRow, UsageRow},
    },
};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::{
    FileAddress, FileError, Files, KEPT, Seat,
    held::Pin,
    kind::{HEAD_BYTES, clean_name, extension_of, mime_of},
    storage::Writing,
};

/// What its sender says of a file.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// What it is called; empty for nothing.
    pub name: String,
    /// What it is, a MIME type.
    pub mime: Option<String>,
}

/// A file that is durable.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it can be had.
    pub address: FileAddress,
    /// How long it is kept if nothing comes to refer to it.
    pub expires: Timestamp,
}

/// A file on its way. Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    // The order counts: what is written is given up before its seat and its pin.
    writing: Writing,
    seat: Seat,
    pin: Pin,
    hash: Sha256,
    size: u64,
    size_max: u64,
    head: Vec<u8>,
}

impl Seat {
    /// Begins a file of at most `size_max` bytes.
    pub fn begin(self, size_max: u64) -> Result<Incoming, FileError> {
        let files = Arc::clone(self.files());
        let random = freehold_keys::random()
            .map_err(|_| FileError::Internal("the system gives no random bytes"))?;
        let key = FileKey::from_bytes(random);
        Ok(Incoming {
            writing: files.storage.write(key),
            // Until its row is there, only the pin tells it from what a crash left behind.
            pin: files.pin(key),
            size_max: size_max.min(files.limits.file),
            seat: self,
            hash: Sha256::new(),
            size: 0,
            head: Vec::new(),
        })
    }
}

impl Incoming {
    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &Bytes) -> Result<(), FileError> {
        self.size += bytes.len() as u64;
        if self.size > self.size_max {
            let limit = self.size_max;
            return Err(FileError::TooLarge { limit });
        }
        self.seat.take(bytes.len() as u64)?;
        let missing = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend(bytes.iter().take(missing));
        self.hash.update(bytes);
        Ok(self.writing.write(bytes).await?)
    }

    /// Makes the file known. It goes to its end even if nobody waits for it any more.
    pub async fn finish(
        self,
        owner: Option<UserId>,
        declared: Declared,
    ) -> Result<Stored, FileError> {
        let (told, result) = oneshot::channel();
        let files = Arc::clone(self.seat.files());
        let tasks = files.tasks.clone();
        tasks.spawn("store file", async move {
            let stored = self.store(&files, owner, declared).await;
            // Whoever waited may have left.
            let _left = told.send(stored);
        });
        let cut_off = FileError::Internal("the storing of a file was cut off");
        result.await.unwrap_or(Err(cut_off))
    }

    async fn store(
        mut self,
        files: &Files,
        owner: Option<UserId>,
        declared: Declared,
    ) -> Result<Stored, FileError> {
        self.writing.complete().await?;
        let key = self.pin.key();
        let row = self.row(owner.as_ref(), files.clock.now(), declared);
        match files.register(key, owner, &row).await {
            Ok(stored) => Ok(stored),
            Err(fault) => {
                // After a failure of unknown outcome the row may be there: then the bytes must be.
                if !matches!(&fault, FileError::Store(fault) if !fault.is_refusal()) {
                    files.discard(key).await;
                }
                Err(fault)
            }
        }
    }

    fn row(&mut self, owner: Option<&UserId>, now: Timestamp, declared: Declared) -> FileRow {
        let name = clean_name(&declared.name);
        let mime = mime_of(&self.head, declared.mime.as_deref());
        FileRow {
            owner: owner.map_or_else(Bytes::new, |it| Bytes::copy_from_slice(&it.local_bytes())),
            size: self.size,
            extension: extension_of(&mime, &self.head, &name),
            mime,
            name,
            hash: Bytes::copy_from_slice(&self.hash.finalize_reset()),
            created: now.as_millis(),
        }
    }
}

impl Files {
    /// Writes the rows of a file whose bytes are durable.
    async fn register(
        &self,
        key: FileKey,
        owner: Option<UserId>,
        row: &FileRow,
    ) -> Result<Stored, FileError> {
        let _turn = self.turn.lock().await;
        let [all, own] = self.stored(owner.clone()).await?;
        let (all, own) = (with(&all, row.size), with(&own, row.size));
        let own_bytes = owner.as_ref().map_or(0, |_| own.bytes);
        self.fits([all.bytes, own_bytes])?;
        let now = Timestamp::from_stored(row.created);
        let expires = now.plus(KEPT);
        let mut batch = Batch::new();
        files::put_file(&mut batch, key, owner.as_ref(), row);
        files::put_idle_since(&mut batch, key, now);
        files::put_due(&mut batch, expires, key);
        files::put_usage(&mut batch, &Stock::Domain, &all);
        if let Some(owner) = owner {
            files::put_usage(&mut batch, &Stock::Person(owner), &own);
        }
        match self.tables.commit(batch).await? {
            Outcome::Applied => {}
            // Its bytes have been written over, so neither may be given out.
            Outcome::GuardFailed { .. } => {
                return Err(FileError::Store(StoreError::Corrupt {
                    detail: "128 random bits came twice".to_owned(),
                }));
            }
        }
        let address = FileAddress {
            domain: self.us.clone(),
            key,
            extension: row.extension.clone(),
        };
        Ok(Stored { address, expires })
    }

    /// Removes bytes that no row knows.
    pub(super) async fn discard(&self, key: FileKey) {
        if let Err(fault) = self.storage.remove(key).await {
            tracing::warn!(%fault, "bytes that nobody needs are removed at the next start");
        }
    }
}

fn with(usage: &UsageRow, bytes: u64) -> UsageRow {
    UsageRow {
        files: usage.files + 1,
        bytes: usage.bytes.saturating_add(bytes),
    }
}
