//! Files that people upload: the bytes in a folder or a bucket, what is known of them in the store.
//!
//! A file is known once its row is durable, and its bytes are durable before its row is. It stays as
//! long as something refers to it, and an hour beyond (`collect`). Nothing here knows HTTP.

mod abroad;
mod address;
mod attached;
mod card;
mod collect;
mod held;
mod incoming;
mod kind;
mod quota;
mod storage;

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_config as config;
use freehold_federation::Tasks;
use freehold_proto::{Clock, DomainName, UserId};
use freehold_store::{
    Batch, StoreError, Tables,
    tables::{files::FileKey, rows::FileRow},
};
use futures_util::stream::BoxStream;
use parking_lot::Mutex;

pub use abroad::Copied;
pub use address::FileAddress;
pub use attached::{Attached, attachments_of};
pub use card::files_of_card;
pub use freehold_store::tables::files::Referrer;
pub use held::{HELD_MAX, Held, release, release_messages, replace};
pub use incoming::{Declared, Incoming, Stored};
pub use kind::{is_shown, mime_of};
pub use quota::Seat;
pub use storage::StorageError;

use abroad::{Abroad, Copies};
use held::Pins;
use quota::Arriving;
use storage::Storage;

/// Messages looked at for one that took a file into an envelope.
const SHARED_MESSAGES_MAX: usize = 1024;
/// How long a file is kept that nothing refers to.
pub const KEPT: Duration = Duration::from_secs(60 * 60);

/// Why a file is not taken or not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The caller's fault: larger than a file may be.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// How large it may be.
        limit: u64,
    },
    /// The caller's fault: this person has as much as one may have.
    #[error("the person's files would take more than {limit} bytes")]
    Quota {
        /// How much that is.
        limit: u64,
    },
    /// Another domain's fault, or the network's: it has the file and does not give it, or not in time.
    #[error("the domain that has the file does not give it now")]
    Away,
    /// Nobody's fault: too many are on their way. They may try again later.
    #[error("too many files are on their way")]
    Busy,
    /// The operator's fault: the domain has as much as it may have.
    #[error("the files of all would take more than {limit} bytes")]
    Full {
        /// How much that is.
        limit: u64,
    },
    /// The fault of the disk or of the service with the bucket.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own fault.
    #[error("{0}")]
    Internal(&'static str),
}

/// How much may be kept.
#[derive(Clone, Debug)]
struct Limits {
    file: u64,
    person: u64,
    total: u64,
    collect_every: Duration,
}

/// The files of one domain.
pub struct Files {
    us: DomainName,
    tables: Tables,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    storage: Storage,
    limits: Limits,
    pins: Mutex<Pins>,
    arriving: Mutex<Arriving>,
    /// Turns at making files known and forgetting them: both count what there is.
    turn: tokio::sync::Mutex<()>,
    /// Those of other domains.
    abroad: Abroad,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({}, {:?})", self.us, self.storage)
    }
}

impl Files {
    /// Finds the place of the bytes, and clears away what a killed process left half written there.
    pub async fn open(
        us: DomainName,
        tables: Tables,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        config: &config::Files,
    ) -> Result<Arc<Self>, StorageError> {
        let (copies, free) = (config.copies.clone(), config.free_bytes_min);
        let copies = Copies::open(copies, free, tables.clone(), Arc::clone(&clock));
        let copies = copies.await.map_err(StorageError::Config)?;
        Ok(Arc::new(Self {
            abroad: Abroad::new(copies),
            storage: Storage::open(&us, config, tasks.clone()).await?,
            us,
            tables,
            clock,
            tasks,
            limits: Limits {
                file: config.file_bytes_max,
                person: config.person_bytes_max,
                total: config.total_bytes_max,
                collect_every: config.collect_every,
            },
            pins: Mutex::default(),
            arriving: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Begins to collect what nothing refers to.
    pub fn start(self: &Arc<Self>) {
        self.tasks.spawn("files", collect::run(Arc::clone(self)));
    }

    /// The largest file taken, in bytes.
    #[must_use]
    pub fn file_bytes_max(&self) -> u64 {
        self.limits.file
    }

    /// The file that an address names, if it is ours and there is one.
    pub async fn find(&self, address: &FileAddress) -> Result<Option<FileRow>, StoreError> {
        if address.domain != self.us {
            return Ok(None);
        }
        let key = address.key;
        let row = self.tables.read(move |tables| tables.file(key)).await?;
        Ok(row.filter(|it| it.extension == address.extension))
    }

    /// A file of ours that another domain may have: one that went into an envelope, or stands in a group
    /// that spans domains, and of which the domain knows the SHA-256; or one that a description shows as a picture. Whoever else may have it is not
    /// asked: key and SHA-256 are what one must know (docs/decisions/0041).
    pub async fn shared(
        &self,
        key: FileKey,
        sha256: Option<[u8; 32]>,
    ) -> Result<Option<FileRow>, StoreError> {
        let find = move |tables: &Tables| {
            let Some(row) = tables.file(key)? else {
                return Ok(None);
            };
            if sha256.is_some_and(|it| it != *row.hash) {
                return Ok(None);
            }
            let sealed = || -> Result<bool, StoreError> {
                let messages = match sha256 {
                    Some(_) => tables.messages_with(key, SHARED_MESSAGES_MAX)?,
                    None => Vec::new(),
                };
                for ((topic, _), said) in messages {
                    // What was written before the group spanned domains is shown to them too.
                    // So it is to who reads its channel elsewhere.
                    let spans = || -> Result<bool, StoreError> {
                        let fed = tables.log_tip(topic.feed())?;
                        Ok(fed.is_some() || tables.log_head(topic)?.is_some())
                    };
                    if said.sealed || spans()? {
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            let shared = tables.as_picture(key)?.is_some() || sealed()?;
            Ok(shared.then_some(row))
        };
        self.tables.read(find).await
    }

    /// Rows that make `referrer` refer to what its new description shows, and to nothing else any more;
    /// of a picture only if `shows` its domain. The second is to be kept until they are committed.
    pub async fn show(
        self: &Arc<Self>,
        referrer: Referrer,
        public: &[u8],
        shows: impl Fn(&DomainName) -> bool + Send,
    ) -> Result<(Batch, Held), StoreError> {
        let held = self.hold_pictures(&files_of_card(public), shows).await?;
        let now = self.clock.now();
        let rows = move |tables: &Tables| {
            let mut batch = Batch::new();
            replace(tables, &mut batch, &referrer, &held, now)?;
            Ok((batch, held))
        };
        self.tables.read(rows).await
    }

    /// A part of a file's bytes as they come from where they are kept. The range must not be empty.
    pub async fn read(
        &self,
        file: FileKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StorageError>>, StorageError> {
        self.storage.read(file, range).await
    }
}

/// The owner in a row.
fn owner_of(row: &FileRow, us: &DomainName) -> Option<UserId> {
    let local = <[u8; 8]>::try_from(&*row.owner).ok()?;
    Some(UserId::new(local, us.clone()))
}

/// A file's key as it stands in URLs and names of objects: 22 characters.
fn key_to_text(file: FileKey) -> String {
    URL_SAFE_NO_PAD.encode(file.as_bytes())
}

fn key_from_text(text: &str) -> Option<FileKey> {
    FileKey::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?)
}

#[cfg(test)]
mod tests;
