//! The one thread that writes.
//!
//! It takes whatever is queued as one commit group, without waiting for more:
//! while a group is being synced the next one gathers by itself, so the group
//! grows with the load. A group is durable when the redo log has it; sled gets
//! its rows after that, so that no row is ever seen that a crash could take.

use std::{
    collections::BTreeMap,
    fs::File,
    io, iter,
    thread::{self, JoinHandle},
};

use ::sled::Db;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::{
    StoreError, bytes,
    checkpoint::{Checkpoints, Mark, apply},
    poisoning,
    redo::Redo,
    rows,
    space::Space,
};
use crate::engine::{
    Batch, Commit, KeyRange, Order, Outcome,
    batch::{BATCH_BYTES_MAX, BATCH_OPS_MAX, Write},
    commit::Answer,
};

/// A batch on its way to the writer.
pub(super) struct Queued {
    batch: Batch,
    answer: oneshot::Sender<Answer>,
    // The batch's share of the queue, given back when it has been answered.
    _room: OwnedSemaphorePermit,
}

impl Queued {
    pub(super) fn new(batch: Batch, room: OwnedSemaphorePermit) -> (Self, Commit) {
        let (answer, commit) = Commit::pending();
        let queued = Self {
            batch,
            answer,
            _room: room,
        };
        (queued, commit)
    }
}

/// Owns all writes to the database.
pub(super) struct Writer {
    // First, so that a panic has poisoned the store before the queue closes.
    poison: PoisonOnPanic,
    queue: mpsc::Receiver<Queued>,
    // Taken from the queue, but one too many for its group.
    held: Option<Queued>,
    db: Db,
    file: File,
    redo: Redo,
    checkpoints: Checkpoints,
    // Whether this process has written anything.
    has_written: bool,
    // Whether the redo log has begun a file in which there is no group yet.
    has_turned: bool,
    space: Space,
}

impl Writer {
    pub(super) fn new(
        queue: mpsc::Receiver<Queued>,
        (db, file): (Db, File),
        redo: Redo,
        space: Space,
        poison: watch::Sender<bool>,
    ) -> io::Result<Self> {
        let checkpoints = Checkpoints::spawn(db.clone(), file.try_clone()?)?;
        Ok(Self {
            poison: PoisonOnPanic(poison),
            queue,
            held: None,
            db,
            file,
            redo,
            checkpoints,
            has_written: false,
            has_turned: false,
            space,
        })
    }

    pub(super) fn spawn(self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new()
            .name("freehold-store".into())
            .spawn(move || self.run())
    }

    /// Commits group after group until the queue is closed and empty.
    fn run(mut self) {
        while let Some(group) = self.next_group() {
            match self.commit_group(&group) {
                Ok(outcomes) => answer(group, outcomes.into_iter().map(Ok)),
                Err(error) => {
                    let error = poisoning(error, &self.poison.0);
                    answer(group, iter::repeat_with(|| Err(error.clone())));
                }
            }
        }
        if let Err(error) = self.end() {
            poisoning(error, &self.poison.0);
        }
    }

    fn next_group(&mut self) -> Option<Vec<Queued>> {
        let first = self.held.take().or_else(|| self.queue.blocking_recv())?;
        // A batch without any operation counts too: it takes up room here.
        let (mut ops, mut bytes) = (first.batch.ops().max(1), first.batch.bytes());
        let mut group = vec![first];
        while let Ok(queued) = self.queue.try_recv() {
            ops += queued.batch.ops().max(1);
            bytes += queued.batch.bytes();
            if ops > BATCH_OPS_MAX || bytes > BATCH_BYTES_MAX {
                self.held = Some(queued);
                break;
            }
            group.push(queued);
        }
        Some(group)
    }

    fn commit_group(&mut self, group: &[Queued]) -> Result<Vec<Outcome>, StoreError> {
        if *self.poison.0.borrow() {
            return Err(StoreError::Poisoned);
        }
        self.space.admit_group()?;
        let (outcomes, writes) = judge(&self.db, group)?;
        if !writes.is_empty() {
            self.make_room()?;
            self.redo.append(&writes)?;
            apply(&self.db, writes.iter().copied())?;
            self.keep_up()?;
        }
        Ok(outcomes)
    }

    /// Begins the other file of the redo log when the present one is full.
    fn make_room(&mut self) -> Result<(), StoreError> {
        if let Some(durable) = self.checkpoints.finished()? {
            self.redo.forget(durable);
        }
        if self.redo.is_full() {
            // What the other file holds must be in sled before it is written over.
            if let Some(durable) = self.checkpoints.wait()? {
                self.redo.forget(durable);
            }
            if !self.redo.may_turn() {
                self.checkpoint()?;
            }
            self.redo.turn()?;
            self.has_turned = true;
        }
        Ok(())
    }

    /// Has sled's side of it follow: behind the first group of the process, by which it is seen that sled's own
    /// syncs reach the disk in this program; and behind the first group of a file.
    fn keep_up(&mut self) -> Result<(), StoreError> {
        if !self.has_written {
            self.has_written = true;
            self.checkpoint()?;
            require_real_sync()?;
        } else if self.has_turned {
            let next = self.redo.next_group();
            Mark(next).put(&self.db)?;
            self.checkpoints.begin(next)?;
        }
        self.has_turned = false;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let mark = Mark(self.redo.next_group());
        self.redo.forget(mark.keep(&self.db, &self.file)?);
        Ok(())
    }

    /// Leaves nothing for the next open to write again.
    fn end(&mut self) -> Result<(), StoreError> {
        if *self.poison.0.borrow() || !self.has_written {
            return Ok(());
        }
        self.checkpoints.wait()?;
        self.checkpoint()?;
        self.redo.note_needed()
    }
}

/// What the batches of a group write before it is written: rows, or their absence.
type Overlay<'a> = BTreeMap<&'a [u8], Option<&'a Bytes>>;

/// Holds the guards of every batch against the database and the batches before
/// it, and gathers the writes of those that pass.
fn judge<'a>(db: &Db, group: &'a [Queued]) -> Result<(Vec<Outcome>, Vec<&'a Write>), StoreError> {
    let mut outcomes = Vec::with_capacity(group.len());
    let mut writes = Vec::new();
    let mut overlay = Overlay::new();
    for Queued { batch, .. } in group {
        let read = |key: &[u8]| match overlay.get(key) {
            Some(value) => Ok(value.cloned()),
            None => Ok(db.get(key)?.as_ref().map(bytes)),
        };
        let outcome = batch.judge(read, |range| first(db, &overlay, range))?;
        if outcome == Outcome::Applied {
            writes.extend(batch.writes());
            let written = batch.writes().iter();
            overlay.extend(written.map(|it| (&*it.key, it.value.as_ref())));
        }
        outcomes.push(outcome);
    }
    Ok((outcomes, writes))
}

/// The first key in a range, as the group so far leaves it.
fn first(db: &Db, overlay: &Overlay<'_>, range: &KeyRange) -> Result<Option<Bytes>, StoreError> {
    for part in range.around_reserved().iter().filter(|it| !it.is_empty()) {
        let mut written = overlay.range::<[u8], _>(part.bounds());
        let written = written.find(|(_, value)| value.is_some()).map(|it| *it.0);
        for row in rows(db, part, Order::Ascending) {
            let (key, _) = row?;
            if written.is_some_and(|it| *it <= *key) {
                break;
            }
            if !overlay.contains_key(&*key) {
                return Ok(Some(bytes(&key)));
            }
        }
        if let Some(key) = written {
            return Ok(Some(Bytes::copy_from_slice(key)));
        }
    }
    Ok(None)
}

/// Refuses to go on in a program in which sled's own syncs reach no disk. To be
/// called after something was written.
fn require_real_sync() -> Result<(), StoreError> {
    if freehold_real_sync::waits() == 0 {
        let what = "sled does not wait for the disk: this program is linked without real-sync";
        return Err(io::Error::other(what).into());
    }
    Ok(())
}

/// Tells every waiter how its batch ended.
///
/// Also failed guards are told only now that the group is durable: they may
/// speak of a row that the same group has written.
fn answer(group: Vec<Queued>, answers: impl Iterator<Item = Answer>) {
    for (queued, answer) in group.into_iter().zip(answers) {
        // A waiter that has gone away does not want to know.
        let _gone = queued.answer.send(answer);
    }
}

/// Poisons the store if the writer panics; it would otherwise only fall silent.
struct PoisonOnPanic(watch::Sender<bool>);

impl Drop for PoisonOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.send_replace(true);
        }
    }
}
