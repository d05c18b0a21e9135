//! Files that other domains have: brought when one of our people asks for them, handed on while they
//! come, and kept as copies for a while.
//!
//! **No open proxy.** Another domain is asked for a file only if a message that the asker can read
//! refers to it, or a description that is known here shows it as a picture (`reading`). **Invariant:**
//! a copy that is known has the bytes that were meant: their number and SHA-256 are checked before its
//! row is written, and the last byte is given to nobody before that.

mod copies;
mod flight;
mod reading;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use freehold_federation::{Federation, FileHead, FileQuery, LinkError, RemoteFile};
use freehold_proto::{DomainName, UserId};
use freehold_store::tables::{
    files::{CopyKey, FileKey},
    rows::{FileRow, ReferenceRow},
};
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{FileAddress, FileError, Files, StorageError};
pub(super) use copies::Copies;
use flight::{Flight, Progress};

pub(super) use reading::said_to;

/// Files on their way here at once.
const FLIGHTS_MAX: usize = 64;
/// For so long a domain that gave a wrong file, or none, is not asked for it again.
const REFUSED: Duration = Duration::from_secs(60);
/// Files of which that is remembered.
const REFUSED_MAX: usize = 4096;

/// From where files of other domains come.
#[async_trait]
pub(crate) trait Source: Send + Sync + 'static {
    /// Asks the domain that has a file for it. `None`: it gives us no such file.
    async fn bring(
        &self,
        owner: &DomainName,
        query: FileQuery,
    ) -> Result<Option<Box<dyn Coming>>, LinkError>;
}

/// A file on its way.
#[async_trait]
pub(crate) trait Coming: Send {
    fn head(&self) -> &FileHead;

    /// The next bytes; `None` when all have come.
    async fn next(&mut self) -> Result<Option<Bytes>, LinkError>;
}

#[async_trait]
impl Source for Federation {
    async fn bring(
        &self,
        owner: &DomainName,
        query: FileQuery,
    ) -> Result<Option<Box<dyn Coming>>, LinkError> {
        let file = self.read_file(owner, query).await?;
        Ok(file.map(|it| Box::new(it) as Box<dyn Coming>))
    }
}

#[async_trait]
impl Coming for RemoteFile {
    fn head(&self) -> &FileHead {
        self.head()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        self.next().await
    }
}

/// Why a file does not come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// Its owner gives us no such file.
    Missing,
    /// Its owner gave something else.
    Wrong,
    /// Its owner cannot be reached, or broke off.
    Away,
    /// Too many are on their way.
    Busy,
    /// More than all copies may take.
    TooLarge(u64),
    /// The disk is full or does not work, or the store.
    Ours,
}

impl Failure {
    fn told(self) -> FileError {
        match self {
            // What there is not is answered with a `None` before this.
            Self::Missing | Self::Away | Self::Wrong => FileError::Away,
            Self::Busy => FileError::Busy,
            Self::TooLarge(limit) => FileError::TooLarge { limit },
            Self::Ours => FileError::Internal("a copy of a file cannot be kept"),
        }
    }
}

/// What is under way, and what was in vain.
#[derive(Debug)]
pub(super) struct Abroad {
    copies: Copies,
    flights: Mutex<HashMap<CopyKey, Flight>>,
    refused: Mutex<HashMap<CopyKey, (Failure, Instant)>>,
    places: Arc<Semaphore>,
}

impl Abroad {
    pub(super) fn new(copies: Copies) -> Self {
        Self {
            copies,
            flights: Mutex::default(),
            refused: Mutex::default(),
            places: Arc::new(Semaphore::new(FLIGHTS_MAX)),
        }
    }

    fn refusal(&self, copy: CopyKey) -> Option<Failure> {
        let refused = self.refused.lock();
        let known = refused.get(&copy).copied();
        known
            .filter(|(_, since)| since.elapsed() < REFUSED)
            .map(|(failure, _)| failure)
    }

    fn note(&self, copy: CopyKey, failure: Failure) {
        if !matches!(failure, Failure::Missing | Failure::Wrong) {
            return;
        }
        let mut refused = self.refused.lock();
        if refused.len() >= REFUSED_MAX {
            refused.retain(|_, (_, since)| since.elapsed() < REFUSED);
        }
        if refused.len() < REFUSED_MAX {
            refused.insert(copy, (failure, Instant::now()));
        }
    }
}

/// Which file, and what is said of it here.
#[derive(Clone, Debug)]
struct Wanted {
    owner: DomainName,
    key: FileKey,
    said: ReferenceRow,
    copy: CopyKey,
}

/// A file of another domain that can be read here: all of it, or what has come so far.
#[derive(Debug)]
pub struct Copied {
    row: Arc<FileRow>,
    flight: Flight,
    deadline: Instant,
}

impl Files {
    /// Clears away copies that nobody knows of.
    pub(super) async fn sweep_copies(&self) {
        self.abroad.copies.sweep().await;
    }

    /// Removes copies that nobody has asked for in a long time.
    pub(super) async fn expire_copies(&self) {
        self.abroad.copies.expire().await;
    }

    /// Removes the copies of a file that nothing here refers to any more.
    pub(super) async fn drop_copies(&self, file: FileKey) {
        self.abroad.copies.drop_of(file).await;
    }

    /// A file of another domain for one of our people: the copy, or else what its owner sends. `None`
    /// if nothing that the person can read refers to it; then nobody is asked. Waits for the first
    /// bytes at most for `within`; a file that takes longer stays on its way.
    pub(crate) async fn find_abroad(
        self: &Arc<Self>,
        source: Arc<dyn Source>,
        user: &UserId,
        address: &FileAddress,
        within: Duration,
    ) -> Result<Option<Copied>, FileError> {
        let deadline = Instant::now() + within;
        let (owner, key, reader) = (address.domain.clone(), address.key, user.clone());
        let read = move |tables: &freehold_store::Tables| {
            said_to(tables, &reader, FileKey::abroad(&owner, key))
        };
        let said = self.tables.read(read).await?;
        let Some(wanted) = self.choose(address, said) else {
            return Ok(None);
        };
        if let Some(failure) = self.abroad.refusal(wanted.copy) {
            return match failure {
                Failure::Missing => Ok(None),
                failure => Err(failure.told()),
            };
        }
        let mut flight = self.flight(source, wanted);
        let begun = timeout_at(deadline, flight.begun());
        match begun.await.map_err(|_| FileError::Away)? {
            Ok(row) => Ok(Some(Copied {
                row,
                flight,
                deadline,
            })),
            Err(Failure::Missing) => Ok(None),
            Err(failure) => Err(failure.told()),
        }
    }

    /// Of what different messages say of one file: what its owner says counts most, and what was in vain
    /// a moment ago least.
    fn choose(&self, address: &FileAddress, said: Vec<ReferenceRow>) -> Option<Wanted> {
        let file = FileKey::abroad(&address.domain, address.key);
        let wanted = said.into_iter().map(|said| Wanted {
            owner: address.domain.clone(),
            key: address.key,
            copy: CopyKey::of(file, &said),
            said,
        });
        wanted.max_by_key(|it| (self.abroad.refusal(it.copy).is_none(), it.said.by_owner))
    }

    /// The one way on which a file comes, however many wait for it.
    fn flight(self: &Arc<Self>, source: Arc<dyn Source>, wanted: Wanted) -> Flight {
        let mut flights = self.abroad.flights.lock();
        if let Some(flight) = flights.get(&wanted.copy) {
            return flight.clone();
        }
        let (flight, progress) = Flight::new();
        flights.insert(wanted.copy, flight.clone());
        drop(flights);
        let files = Arc::clone(self);
        self.tasks.spawn("file in", async move {
            let copy = wanted.copy;
            tokio::select! {
                () = files.tasks.stopped() => {}
                () = files.fly(&*source, wanted, &progress) => {}
            }
            files.abroad.flights.lock().remove(&copy);
        });
        flight
    }

    async fn fly(&self, source: &dyn Source, wanted: Wanted, progress: &Progress) {
        let copy = wanted.copy;
        match self.bring(source, wanted, progress).await {
            Ok(()) => progress.arrived(),
            Err(failure) => {
                self.abroad.note(copy, failure);
                progress.failed(failure);
            }
        }
    }

    async fn bring(
        &self,
        source: &dyn Source,
        wanted: Wanted,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let copies = &self.abroad.copies;
        if let Some((row, file)) = copies.find(wanted.copy).await? {
            progress.opened(file);
            progress.known(row);
            return Ok(());
        }
        let place = self.abroad.places.try_acquire();
        let _place = place.map_err(|_| Failure::Busy)?;
        flight::bring(copies, source, &wanted, progress).await
    }
}

impl Copied {
    /// What it is, as far as we can tell.
    #[must_use]
    pub fn row(&self) -> &FileRow {
        &self.row
    }

    /// A part of its bytes, as they come. The range must not be empty. A part that ends before the file
    /// does is given only of a file that has come whole, since only then it is known to be right.
    pub async fn read(
        mut self,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StorageError>>, FileError> {
        if range.end < self.row.size {
            let arrived = timeout_at(self.deadline, self.flight.ended());
            let arrived = arrived.await.map_err(|_| FileError::Away)?;
            arrived.map_err(Failure::told)?;
        }
        Ok(self.flight.read(range))
    }
}
