//! What refers to files, and how a file that is about to be referred to is kept until it is.
//!
//! **The race with the collector.** Somebody publishes a message with a file whose hour has just
//! passed. `hold` pins the file under the same lock under which the collector condemns it, so one of
//! the two comes first: a pinned file is not condemned, and a condemned one cannot be held, just as if
//! it had been collected a moment before. The collector looks for references only after it has
//! condemned a file, when everybody who held it has let go; and they let go after the commit of their
//! references has completed. So it sees every reference that there is or will be.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use freehold_proto::Timestamp;
use freehold_store::{
    Batch, StoreError, Tables,
    tables::{
        files::{FileKey, Referrer, put_due, put_idle_since, put_reference, remove_reference},
        keys::TopicKey,
        rows::FileRow,
    },
};

use super::{FileAddress, Files, KEPT};

/// Files that one message or description may refer to. More would not fit into one batch with what
/// else is written.
pub const HELD_MAX: usize = 128;

/// Who may not be collected, and who is being collected.
#[derive(Debug, Default)]
pub(super) struct Pins {
    held: HashMap<FileKey, usize>,
    condemned: HashSet<FileKey>,
}

#[cfg(test)]
impl Pins {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.condemned.is_empty()
    }
}

/// Keeps one file from being collected while it lives.
#[derive(Debug)]
pub(super) struct Pin {
    files: Arc<Files>,
    key: FileKey,
}

impl Pin {
    pub(super) fn key(&self) -> FileKey {
        self.key
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.files.pins.lock();
        if let Some(count) = pins.held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                pins.held.remove(&self.key);
            }
        }
    }
}

/// Files that are about to be referred to. **Keep it until the commit of the batch has completed.**
#[derive(Debug)]
#[must_use = "the files are kept only while this lives"]
pub struct Held {
    files: Vec<(Pin, FileRow)>,
}

impl Held {
    /// Adds the references to a batch.
    pub fn refer(&self, batch: &mut Batch, referrer: &Referrer) {
        for (pin, _) in &self.files {
            put_reference(batch, referrer, pin.key);
        }
    }

    /// What is known of them, for whoever seals them into an envelope (rules.md 23).
    pub fn files(&self) -> impl Iterator<Item = (FileKey, &FileRow)> {
        self.files.iter().map(|(pin, row)| (pin.key, row))
    }

    /// True when there is nothing to refer to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn has(&self, file: FileKey) -> bool {
        self.files.iter().any(|(pin, _)| pin.key == file)
    }
}

impl Files {
    /// Keeps the files among these URLs from being collected until they are referred to. What is no
    /// relative URL of a file of ours is passed over. Too many of them are refused before anything
    /// happens (`StoreError::TooLarge`, the caller's fault).
    pub async fn hold(self: &Arc<Self>, urls: &[String]) -> Result<Held, StoreError> {
        let read = |url: &String| url.split('?').next()?.parse::<FileAddress>().ok();
        let ours = urls
            .iter()
            .filter_map(read)
            .filter(|it| it.domain == self.us);
        let keys: HashSet<FileKey> = ours.map(|it| it.key).collect();
        if keys.len() > HELD_MAX {
            return Err(StoreError::TooLarge {
                what: "list of files",
                size: keys.len(),
                limit: HELD_MAX,
            });
        }
        let pins: Vec<Pin> = keys.into_iter().filter_map(|it| self.try_pin(it)).collect();
        if pins.is_empty() {
            return Ok(Held { files: Vec::new() });
        }
        let pinned: Vec<FileKey> = pins.iter().map(|it| it.key).collect();
        let rows = move |tables: &Tables| -> Result<Vec<_>, StoreError> {
            pinned.into_iter().map(|it| tables.file(it)).collect()
        };
        let rows = self.tables.read(rows).await?;
        let known = |(pin, row): (Pin, Option<FileRow>)| Some((pin, row?));
        Ok(Held {
            files: pins.into_iter().zip(rows).filter_map(known).collect(),
        })
    }

    /// Pins a file that nobody else knows of yet.
    pub(super) fn pin(self: &Arc<Self>, key: FileKey) -> Pin {
        *self.pins.lock().held.entry(key).or_default() += 1;
        Pin {
            files: Arc::clone(self),
            key,
        }
    }

    fn try_pin(self: &Arc<Self>, key: FileKey) -> Option<Pin> {
        let mut pins = self.pins.lock();
        if pins.condemned.contains(&key) {
            return None;
        }
        *pins.held.entry(key).or_default() += 1;
        Some(Pin {
            files: Arc::clone(self),
            key,
        })
    }

    pub(super) fn is_pinned(&self, key: FileKey) -> bool {
        self.pins.lock().held.contains_key(&key)
    }

    /// Makes sure that nobody can hold the file any more; false when somebody does.
    pub(super) fn condemn(&self, key: FileKey) -> bool {
        let mut pins = self.pins.lock();
        !pins.held.contains_key(&key) && pins.condemned.insert(key)
    }

    pub(super) fn pardon(&self, key: FileKey) {
        self.pins.lock().condemned.remove(&key);
    }
}

/// Takes back all references of `referrer`. Blocks: it belongs into `Tables::read`.
pub fn release(
    tables: &Tables,
    batch: &mut Batch,
    referrer: &Referrer,
    now: Timestamp,
) -> Result<(), StoreError> {
    for file in tables.files_of(referrer, HELD_MAX)? {
        drop_reference(batch, referrer, file, now);
    }
    Ok(())
}

/// Takes back the references of the messages of a topic with `low <= seq < high`, as far as they fit
/// into a batch. Returns where to go on in another batch, if there is more. Blocks.
pub fn release_messages(
    tables: &Tables,
    batch: &mut Batch,
    topic: TopicKey,
    (low, high): (u32, u32),
    now: Timestamp,
) -> Result<Option<u32>, StoreError> {
    let messages = tables.referring_messages(topic, low, high, HELD_MAX + 1)?;
    let mut left = HELD_MAX;
    for seq in messages {
        let referrer = Referrer::Message(topic, seq);
        let files = tables.files_of(&referrer, HELD_MAX)?;
        let Some(rest) = left.checked_sub(files.len()) else {
            return Ok(Some(seq));
        };
        left = rest;
        for file in files {
            drop_reference(batch, &referrer, file, now);
        }
    }
    Ok(None)
}

/// Refers to what is held and to nothing else any more: for descriptions. Blocks.
pub fn replace(
    tables: &Tables,
    batch: &mut Batch,
    referrer: &Referrer,
    held: &Held,
    now: Timestamp,
) -> Result<(), StoreError> {
    for file in tables.files_of(referrer, HELD_MAX)? {
        if !held.has(file) {
            drop_reference(batch, referrer, file, now);
        }
    }
    held.refer(batch, referrer);
    Ok(())
}

/// Has the collector look at the file in an hour. It does so for each lost reference, because whoever
/// takes one back cannot know whether another batch under way takes back the last other one.
fn drop_reference(batch: &mut Batch, referrer: &Referrer, file: FileKey, now: Timestamp) {
    remove_reference(batch, referrer, file);
    put_idle_since(batch, file, now);
    put_due(batch, now.plus(KEPT), file);
}
