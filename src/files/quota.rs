//! How much may come in at once. What is there already is counted in the store; what is on its way is
//! counted here.

use std::{collections::HashMap, sync::Arc};

use freehold_proto::UserId;
use freehold_store::{
    StoreError,
    tables::{files::Stock, rows::UsageRow},
};

use super::{FileError, Files};

/// Uploads at once, of all and of one person. Those of nobody are for accounts in the making.
const UPLOADS_MAX: usize = 64;
const UPLOADS_OF_ONE: usize = 8;

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    total: Share,
    // Invariant: only those with an upload under way.
    people: HashMap<Option<UserId>, Share>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    uploads: usize,
    bytes: u64,
}

/// The right to upload one file, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    files: Arc<Files>,
    person: Option<UserId>,
    bytes: u64,
    /// What was there when the upload began.
    stored: [UsageRow; 2],
}

impl Files {
    /// Admits one more upload of a person, or of somebody who has no account yet.
    pub async fn admit(self: &Arc<Self>, person: Option<UserId>) -> Result<Seat, FileError> {
        let mut seat = self.seat(person)?;
        seat.stored = self.stored(seat.person.clone()).await?;
        seat.check()?;
        Ok(seat)
    }

    fn seat(self: &Arc<Self>, person: Option<UserId>) -> Result<Seat, FileError> {
        let mut guard = self.arriving.lock();
        let arriving = &mut *guard;
        let known = arriving.people.get(&person).map_or(0, |it| it.uploads);
        if arriving.total.uploads >= UPLOADS_MAX || known >= UPLOADS_OF_ONE {
            return Err(FileError::Busy);
        }
        arriving.total.uploads += 1;
        arriving.people.entry(person.clone()).or_default().uploads += 1;
        Ok(Seat {
            files: Arc::clone(self),
            person,
            bytes: 0,
            stored: Default::default(),
        })
    }

    /// What all have, and what the person has.
    pub(super) async fn stored(&self, person: Option<UserId>) -> Result<[UsageRow; 2], StoreError> {
        let read = move |tables: &freehold_store::Tables| {
            let own = person.map(|it| tables.usage(&Stock::Person(it)));
            Ok([
                tables.usage(&Stock::Domain)?,
                own.transpose()?.unwrap_or_default(),
            ])
        };
        self.tables.read(read).await
    }

    /// Whether so many bytes are too many, of all and of one person.
    pub(super) fn fits(&self, [all, own]: [u64; 2]) -> Result<(), FileError> {
        let (total, person) = (self.limits.total, self.limits.person);
        if own > person {
            Err(FileError::Quota { limit: person })
        } else if all > total {
            Err(FileError::Full { limit: total })
        } else {
            Ok(())
        }
    }
}

impl Seat {
    /// Counts bytes that arrive; refuses them when they would be too many.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), FileError> {
        self.bytes += bytes;
        {
            let mut arriving = self.files.arriving.lock();
            arriving.total.bytes += bytes;
            arriving
                .people
                .entry(self.person.clone())
                .or_default()
                .bytes += bytes;
        }
        self.check()
    }

    fn check(&self) -> Result<(), FileError> {
        let arriving = self.files.arriving.lock();
        let own = arriving.people.get(&self.person).copied();
        // What people have who are nobody yet is bounded by the bounds of all.
        let own = own.filter(|_| self.person.is_some()).unwrap_or_default();
        self.files.fits([
            self.stored[0].bytes.saturating_add(arriving.total.bytes),
            self.stored[1].bytes.saturating_add(own.bytes),
        ])
    }

    pub(super) fn files(&self) -> &Arc<Files> {
        &self.files
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut guard = self.files.arriving.lock();
        let arriving = &mut *guard;
        arriving.total.uploads -= 1;
        arriving.total.bytes -= self.bytes;
        if let Some(share) = arriving.people.get_mut(&self.person) {
            share.uploads -= 1;
            share.bytes -= self.bytes;
            if share.uploads == 0 {
                arriving.people.remove(&self.person);
            }
        }
    }
}
