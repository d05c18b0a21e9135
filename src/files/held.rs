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

use bytes::Bytes;
use freehold_proto::{DomainName, Timestamp, UserId, wire};
use freehold_store::{
    Batch, StoreError, Tables,
    tables::{
        files::{FileKey, Referrer, put_due, put_idle_since, put_reference, remove_reference},
        keys::TopicKey,
        rows::{FileRow, ReferenceRow},
    },
};

use super::{Attached, FileAddress, Files, KEPT, abroad::said_to};

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
#[derive(Debug, Default)]
#[must_use = "the files are kept only while this lives"]
pub struct Held {
    files: Vec<(Pin, FileRow)>,
    /// Files of other domains, of which there is nothing to keep: what is said of them.
    abroad: Vec<(FileKey, ReferenceRow)>,
}

impl Held {
    /// Adds the references to a batch. With `sealed` the referrer is a message that is in an envelope,
    /// so that other domains may ask for the files.
    pub fn refer(&self, batch: &mut Batch, referrer: &Referrer, sealed: bool) {
        for (pin, _) in &self.files {
            let said = ReferenceRow {
                sealed,
                ..ReferenceRow::default()
            };
            put_reference(batch, referrer, pin.key, &said);
        }
        for (file, said) in &self.abroad {
            put_reference(batch, referrer, *file, said);
        }
    }

    /// What is known of them, for whoever seals them into an envelope (rules.md 23).
    pub fn attachments(&self, us: &DomainName) -> Vec<wire::Attachment> {
        let own = self.files.iter().map(|(pin, row)| wire::Attachment {
            owner: us.to_string(),
            key: pin.key.as_bytes().to_vec().into(),
            size: row.size,
            sha256: row.hash.clone(),
        });
        let abroad = self.abroad.iter().map(|(_, said)| wire::Attachment {
            owner: said.owner.clone(),
            key: said.key.clone(),
            size: said.size,
            sha256: said.hash.clone(),
        });
        own.chain(abroad).collect()
    }

    /// True when there is nothing to refer to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.abroad.is_empty()
    }

    fn has(&self, file: FileKey) -> bool {
        let own = self.files.iter().any(|(pin, _)| pin.key == file);
        own || self.abroad.iter().any(|it| it.0 == file)
    }
}

impl Files {
    /// Keeps the files among these URLs from being collected until they are referred to. Of files of
    /// other domains those count that `by`, one of our people, can read here. What is no relative URL of
    /// a file is passed over. Too many of them are refused before anything happens
    /// (`StoreError::TooLarge`, the caller's fault).
    pub async fn hold(self: &Arc<Self>, urls: &[String], by: &UserId) -> Result<Held, StoreError> {
        if urls.is_empty() {
            return Ok(Held::default());
        }
        let (own, abroad) = self.split(addresses(urls))?;
        let by = by.clone();
        let find = move |tables: &Tables| {
            let mut found = Vec::new();
            for it in abroad {
                let file = FileKey::abroad(&it.domain, it.key);
                let said = said_to(tables, &by, file)?.into_iter();
                // Of a picture nothing is known that could be signed.
                let said = said.filter(|it| !it.hash.is_empty());
                found.extend(said.max_by_key(|it| it.by_owner).map(|it| (file, it)));
            }
            Ok(found)
        };
        self.held(own, find).await
    }

    /// The same for files that came in an envelope of the domain `from`. One of ours must be the one that
    /// is meant.
    pub async fn hold_attached(
        self: &Arc<Self>,
        attached: &[Attached],
        from: &DomainName,
    ) -> Result<Held, StoreError> {
        if attached.is_empty() {
            return Ok(Held::default());
        }
        let (own, abroad): (Vec<_>, Vec<_>) = attached.iter().partition(|it| it.owner == self.us);
        let abroad = abroad
            .into_iter()
            .map(|it| (FileKey::abroad(&it.owner, it.key), it.row(from)))
            .collect();
        let keys = own.iter().map(|it| it.key).collect();
        let mut held = self.held(keys, |_| Ok(abroad)).await?;
        held.files.retain(|(pin, row)| {
            let meant = own.iter().find(|it| it.key == pin.key);
            meant.is_some_and(|it| it.sha256 == *row.hash)
        });
        Ok(held)
    }

    /// The same for pictures in a description, of domains that it `shows`.
    pub(super) async fn hold_pictures(
        self: &Arc<Self>,
        urls: &[String],
        shows: impl Fn(&DomainName) -> bool,
    ) -> Result<Held, StoreError> {
        let shown = addresses(urls).filter(|it| shows(&it.domain));
        let (own, abroad) = self.split(shown)?;
        let picture = |it: FileAddress| {
            let said = ReferenceRow {
                owner: it.domain.to_string(),
                key: Bytes::copy_from_slice(it.key.as_bytes()),
                by_owner: true,
                ..ReferenceRow::default()
            };
            (FileKey::abroad(&it.domain, it.key), said)
        };
        let abroad = abroad.into_iter().map(picture).collect();
        self.held(own, |_| Ok(abroad)).await
    }

    /// Files of ours, and others, each once and not too many.
    fn split(
        &self,
        addresses: impl Iterator<Item = FileAddress>,
    ) -> Result<(HashSet<FileKey>, Vec<FileAddress>), StoreError> {
        let (mut own, mut abroad) = (HashSet::new(), Vec::new());
        for it in addresses {
            if it.domain == self.us {
                own.insert(it.key);
            } else if !abroad.contains(&it) {
                abroad.push(it);
            }
        }
        let size = own.len() + abroad.len();
        if size > HELD_MAX {
            return Err(StoreError::TooLarge {
                what: "list of files",
                size,
                limit: HELD_MAX,
            });
        }
        Ok((own, abroad))
    }

    async fn held(
        self: &Arc<Self>,
        own: HashSet<FileKey>,
        abroad: impl FnOnce(&Tables) -> Result<Vec<(FileKey, ReferenceRow)>, StoreError>
        + Send
        + 'static,
    ) -> Result<Held, StoreError> {
        let pins: Vec<Pin> = own.into_iter().filter_map(|it| self.try_pin(it)).collect();
        let pinned: Vec<FileKey> = pins.iter().map(|it| it.key).collect();
        let read = move |tables: &Tables| {
            let rows: Result<Vec<_>, StoreError> =
                pinned.into_iter().map(|it| tables.file(it)).collect();
            Ok((rows?, abroad(tables)?))
        };
        let (rows, abroad) = self.tables.read(read).await?;
        let known = |(pin, row): (Pin, Option<FileRow>)| Some((pin, row?));
        Ok(Held {
            files: pins.into_iter().zip(rows).filter_map(known).collect(),
            abroad,
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

/// The files among these URLs.
fn addresses(urls: &[String]) -> impl Iterator<Item = FileAddress> {
    let read = |url: &String| url.split('?').next()?.parse::<FileAddress>().ok();
    urls.iter().filter_map(read)
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
    held.refer(batch, referrer, false);
    Ok(())
}

/// Has the collector look at the file in an hour. It does so for each lost reference, because whoever
/// takes one back cannot know whether another batch under way takes back the last other one.
fn drop_reference(batch: &mut Batch, referrer: &Referrer, file: FileKey, now: Timestamp) {
    remove_reference(batch, referrer, file);
    put_idle_since(batch, file, now);
    put_due(batch, now.plus(KEPT), file);
}
