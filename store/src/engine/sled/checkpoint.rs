//! How far sled has got on the disk: so far the redo log is not needed.
//!
//! A thread brings sled to the disk while the writer goes on. What the writer has given it before it began is
//! durable when it is done.

use std::{
    fs::File,
    io,
    sync::mpsc::{Receiver, RecvError, Sender, channel},
    thread::{self, JoinHandle},
};

use ::sled::Db;
use bytes::{Buf as _, BufMut as _};

use super::StoreError;
use crate::engine::batch::{RESERVED_PREFIX, Write};

/// A row in sled itself: it has every group below this one. It is durable before the redo log relies on it.
///
/// To programs that know formats up to 2 it is a redo record that lacks most of its chunks, which they leave
/// alone before they refuse the format.
pub(super) struct Mark(pub(super) u64);

impl Mark {
    const KEY: [u8; 5] = [RESERVED_PREFIX, 0, 0, 0, 0];

    pub(super) fn find(db: &Db) -> Result<Option<Self>, StoreError> {
        let value = db.get(Self::KEY)?;
        Ok(value.and_then(|it| Self::read(&Self::KEY, &it)))
    }

    pub(super) fn read(key: &[u8], mut value: &[u8]) -> Option<Self> {
        let group = value.try_get_u64().ok()?;
        let is_mark = key == Self::KEY && value == u32::MAX.to_be_bytes();
        is_mark.then_some(Self(group))
    }

    /// Makes it durable, with everything that sled was given so far; returns up to which group it is.
    pub(super) fn keep(self, db: &Db, file: &File) -> Result<u64, StoreError> {
        self.put(db)?;
        make_durable(db, file)?;
        Ok(self.0)
    }

    pub(super) fn put(&self, db: &Db) -> Result<(), StoreError> {
        let mut value = Vec::new();
        value.put_u64(self.0);
        value.put_u32(u32::MAX);
        db.insert(Self::KEY, value)?;
        Ok(())
    }
}

/// The thread, and what it was asked.
pub(super) struct Checkpoints {
    // `None` once it is to end.
    asked: Option<Sender<u64>>,
    done: Receiver<Result<u64, StoreError>>,
    is_asked: bool,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn spawn(db: Db, file: File) -> io::Result<Self> {
        let (asked, questions) = channel::<u64>();
        let (answers, done) = channel();
        let run = move || {
            for group in questions {
                let durable = make_durable(&db, &file).map(|()| group);
                if answers.send(durable).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("freehold-redo".into());
        Ok(Self {
            asked: Some(asked),
            done,
            is_asked: false,
            thread: Some(thread.spawn(run)?),
        })
    }

    /// Begins to make everything durable that sled was given; all groups below `group` are in it.
    pub(super) fn begin(&mut self, group: u64) -> Result<(), StoreError> {
        let asked = self.asked.as_ref().and_then(|it| it.send(group).ok());
        self.is_asked = asked.is_some();
        asked.ok_or(StoreError::Poisoned)
    }

    /// Below which group all are durable, once what was begun is done.
    pub(super) fn finished(&mut self) -> Result<Option<u64>, StoreError> {
        match self.done.try_recv() {
            Ok(done) => {
                self.is_asked = false;
                done.map(Some)
            }
            Err(_) => Ok(None),
        }
    }

    /// Waits for that.
    pub(super) fn wait(&mut self) -> Result<Option<u64>, StoreError> {
        if !self.is_asked {
            return Ok(None);
        }
        self.is_asked = false;
        let ended = |_: RecvError| StoreError::Poisoned;
        self.done.recv().map_err(ended)?.map(Some)
    }
}

impl Drop for Checkpoints {
    /// Its share of the database goes before the store's folder is free for others.
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing left to say.
            let _panicked = thread.join();
        }
    }
}

/// Writes rows to sled, which brings them to the disk in its own time.
pub(super) fn apply<'a>(
    db: &Db,
    writes: impl IntoIterator<Item = &'a Write>,
) -> Result<(), StoreError> {
    for write in writes {
        match &write.value {
            Some(value) => db.insert(&write.key, &**value)?,
            None => db.remove(&write.key)?,
        };
    }
    Ok(())
}

/// Returns once everything given to sled so far would survive a power cut.
pub(super) fn make_durable(db: &Db, file: &File) -> Result<(), StoreError> {
    db.flush()?;
    // sled syncs its file behind each buffer that it writes (`real-sync`). What it writes by some other way is
    // synced here.
    file.sync_data()?;
    Ok(())
}
