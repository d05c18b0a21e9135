//! Files that people uploaded: what each is, what refers to it, when to look whether anything does,
//! and how much each person has. The bytes themselves are elsewhere.
//!
//! Files of other domains have no row: what is known of them stands in each reference, under a key that
//! is made of their owner and of their key there. Of some we have copies.
//!
//! Whoever changes references only adds and removes rows without looking, so two who do it at once
//! cannot disagree. Who collects looks at all of them. See `src/files/collect.rs`.

use freehold_proto::{DomainName, Timestamp, UserId};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{
    Tables, damaged, decode,
    keys::{self, TopicKey},
    rows::{CopyRow, FileRow, ReferenceRow, UsageRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

/// Names a file: 128 random bits. Whoever knows it may have the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct FileKey([u8; 16]);

impl FileKey {
    /// From 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Stands for the file `key` of another domain.
    #[must_use]
    pub fn abroad(owner: &DomainName, key: Self) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"freehold/file-abroad/v1\0")
            .chain_update(owner.as_str())
            .chain_update(b"\0")
            .chain_update(key.0)
            .finalize()
            .into();
        Self(first_half(hash))
    }

    /// Takes bytes that were stored; `None` if they are not 16.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

/// Names a copy of a file of another domain: which file, and what was said of its bytes. Who lies about
/// a file cannot spoil the copy of those who do not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct CopyKey([u8; 32]);

impl CopyKey {
    /// The copy of a file as a reference describes it.
    #[must_use]
    pub fn of(file: FileKey, said: &ReferenceRow) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(said.size.to_be_bytes())
            .chain_update(&said.hash)
            .finalize()
            .into();
        let mut key = [0; 32];
        key[..16].copy_from_slice(&file.0);
        key[16..].copy_from_slice(&first_half(hash));
        Self(key)
    }

    /// From the 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What refers to files and so keeps them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Referrer {
    /// A message, by its `seq` in our copy of the topic.
    Message(TopicKey, u32),
    /// The description of a person.
    Account(UserId),
    /// The description of a topic.
    Topic(TopicKey),
}

/// A message, by its topic and `seq`, and what it says of a file.
pub type Mention = ((TopicKey, u32), ReferenceRow);

/// Whose stock of files is counted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stock {
    /// The files of all.
    Domain,
    /// Those of one of our people.
    Person(UserId),
    /// Copies of files of other domains.
    Copies,
}

impl Tables {
    /// What is known of a file.
    pub fn file(&self, file: FileKey) -> Result<Option<FileRow>, StoreError> {
        self.row(&keys::file(file))
    }

    /// Whether anything refers to a file.
    pub fn is_referred(&self, file: FileKey) -> Result<bool, StoreError> {
        let range = KeyRange::prefix(&keys::references_to(file));
        Ok(!self.page(&range, Order::Ascending, 1)?.is_empty())
    }

    /// Whether the description of somebody or something shows a file; and what is said of it there.
    pub fn as_picture(&self, file: FileKey) -> Result<Option<ReferenceRow>, StoreError> {
        for prefix in keys::pictures_of(file) {
            let range = KeyRange::prefix(&prefix);
            if let Some((key, row)) = self.page(&range, Order::Ascending, 1)?.into_iter().next() {
                return decode(&key, row).map(Some);
            }
        }
        Ok(None)
    }

    /// Messages that refer to a file, each with what is said of it, at most `limit`.
    pub fn messages_with(&self, file: FileKey, limit: usize) -> Result<Vec<Mention>, StoreError> {
        let range = KeyRange::prefix(&keys::messages_with(file));
        let read = |(key, row): (bytes::Bytes, bytes::Bytes)| {
            let message = keys::referring_message(&key).ok_or_else(|| damaged(&key))?;
            Ok((message, decode(&key, row)?))
        };
        let rows = self.page(&range, Order::Ascending, limit)?;
        rows.into_iter().map(read).collect()
    }

    /// What is known of a copy.
    pub fn copy(&self, copy: CopyKey) -> Result<Option<CopyRow>, StoreError> {
        self.row(&keys::copy(copy))
    }

    /// The copies of a file, at most `limit`.
    pub fn copies_of(&self, file: FileKey, limit: usize) -> Result<Vec<CopyKey>, StoreError> {
        self.copy_keys(&KeyRange::prefix(&keys::copies_of(file)), limit)
    }

    /// The copies that have not been used for longest, at most `limit`.
    pub fn copies_by_use(&self, limit: usize) -> Result<Vec<CopyKey>, StoreError> {
        self.copy_keys(&KeyRange::prefix(&keys::uses()), limit)
    }

    fn copy_keys(&self, range: &KeyRange, limit: usize) -> Result<Vec<CopyKey>, StoreError> {
        let rows = self.page(range, Order::Ascending, limit)?;
        let read = |(key, _): &(bytes::Bytes, bytes::Bytes)| {
            keys::last_copy(key).ok_or_else(|| damaged(key))
        };
        rows.iter().map(read).collect()
    }

    /// The files that something refers to, at most `limit`.
    pub fn files_of(&self, referrer: &Referrer, limit: usize) -> Result<Vec<FileKey>, StoreError> {
        let range = KeyRange::prefix(&keys::references_by(referrer));
        self.file_keys(&range, limit)
    }

    /// The same, each with what is said of it.
    pub fn said_by(
        &self,
        referrer: &Referrer,
        limit: usize,
    ) -> Result<Vec<(FileKey, ReferenceRow)>, StoreError> {
        let mut said = Vec::new();
        for file in self.files_of(referrer, limit)? {
            let row = self.row(&keys::reference_to(file, referrer))?;
            said.extend(row.map(|row| (file, row)));
        }
        Ok(said)
    }

    /// The files that somebody uploaded, from `after` on, at most `limit`.
    pub fn files_by(
        &self,
        owner: &UserId,
        after: Option<FileKey>,
        limit: usize,
    ) -> Result<Vec<FileKey>, StoreError> {
        let whole = KeyRange::prefix(&keys::files_by(owner));
        let range = match after {
            // The smallest key above that of `after`.
            Some(after) => whole.starting_at([keys::file_by(owner, after), vec![0]].concat()),
            None => whole,
        };
        self.file_keys(&range, limit)
    }

    /// Messages of a topic with `low <= seq < high` that refer to files, at most `limit` references.
    pub fn referring_messages(
        &self,
        topic: TopicKey,
        low: u32,
        high: u32,
        limit: usize,
    ) -> Result<Vec<u32>, StoreError> {
        let end = |seq| keys::references_by(&Referrer::Message(topic, seq));
        let range = KeyRange::new(end(low), end(high));
        let mut found = Vec::new();
        for (key, _) in self.page(&range, Order::Ascending, limit)? {
            found.push(keys::referring_seq(&key).ok_or_else(|| damaged(&key))?);
        }
        found.dedup();
        Ok(found)
    }

    /// Files whose time to be looked at has come, the oldest first, with that time.
    pub fn due_files(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, FileKey)>, StoreError> {
        let range = KeyRange::new(keys::due_at(Timestamp::EPOCH), keys::due_after(now));
        let rows = self.page(&range, Order::Ascending, limit)?;
        let read = |(key, _): &(bytes::Bytes, bytes::Bytes)| {
            keys::due_parts(key).ok_or_else(|| damaged(key))
        };
        rows.iter().map(read).collect()
    }

    /// When the file came or last lost a reference.
    pub fn idle_since(&self, file: FileKey) -> Result<Timestamp, StoreError> {
        let key = keys::idle_since(file);
        match self.engine.get(&key)? {
            Some(bytes) => stored_time(&bytes).ok_or_else(|| damaged(&key)),
            None => Ok(Timestamp::EPOCH),
        }
    }

    /// How many files, of how many bytes.
    pub fn usage(&self, stock: &Stock) -> Result<UsageRow, StoreError> {
        Ok(self.row(&keys::usage(stock))?.unwrap_or_default())
    }

    fn file_keys(&self, range: &KeyRange, limit: usize) -> Result<Vec<FileKey>, StoreError> {
        let rows = self.page(range, Order::Ascending, limit)?;
        let read = |(key, _): &(bytes::Bytes, bytes::Bytes)| {
            keys::last_file(key).ok_or_else(|| damaged(key))
        };
        rows.iter().map(read).collect()
    }
}

/// Makes a file known; the batch fails when it is known already.
pub fn put_file(batch: &mut Batch, file: FileKey, owner: Option<&UserId>, row: &FileRow) {
    batch.require_absent(keys::file(file));
    batch.put(keys::file(file), row.encode_to_vec());
    if let Some(owner) = owner {
        batch.put(keys::file_by(owner, file), "");
    }
}

/// Forgets a file that nothing refers to.
pub fn remove_file(batch: &mut Batch, file: FileKey, owner: Option<&UserId>) {
    batch.remove(keys::file(file));
    batch.remove(keys::idle_since(file));
    if let Some(owner) = owner {
        batch.remove(keys::file_by(owner, file));
    }
}

/// Keeps a file for the sake of `referrer`, who says this of it.
pub fn put_reference(batch: &mut Batch, referrer: &Referrer, file: FileKey, said: &ReferenceRow) {
    batch.put(keys::reference_to(file, referrer), said.encode_to_vec());
    batch.put(keys::reference_by(referrer, file), "");
}

/// The file need not be kept for `referrer` any longer.
pub fn remove_reference(batch: &mut Batch, referrer: &Referrer, file: FileKey) {
    batch.remove(keys::reference_to(file, referrer));
    batch.remove(keys::reference_by(referrer, file));
}

/// Notes that a file came, or lost a reference.
pub fn put_idle_since(batch: &mut Batch, file: FileKey, since: Timestamp) {
    batch.put(
        keys::idle_since(file),
        since.as_millis().to_be_bytes().to_vec(),
    );
}

/// Has the file looked at when the time comes.
pub fn put_due(batch: &mut Batch, due: Timestamp, file: FileKey) {
    batch.put(keys::due(due, file), "");
}

/// It has been looked at.
pub fn remove_due(batch: &mut Batch, due: Timestamp, file: FileKey) {
    batch.remove(keys::due(due, file));
}

/// Makes a copy known, or notes that it was used; `before` is what was known. Whoever does this takes
/// turns.
pub fn put_copy(batch: &mut Batch, copy: CopyKey, before: Option<&CopyRow>, row: &CopyRow) {
    if let Some(before) = before {
        batch.remove(keys::used(Timestamp::from_stored(before.used), copy));
    }
    batch.put(keys::copy(copy), row.encode_to_vec());
    batch.put(keys::used(Timestamp::from_stored(row.used), copy), "");
}

/// Forgets a copy. Whoever does this takes turns.
pub fn remove_copy(batch: &mut Batch, copy: CopyKey, row: &CopyRow) {
    batch.remove(keys::copy(copy));
    batch.remove(keys::used(Timestamp::from_stored(row.used), copy));
}

/// Writes how many files there are. Whoever does this takes turns.
pub fn put_usage(batch: &mut Batch, stock: &Stock, row: &UsageRow) {
    if row.files == 0 {
        batch.remove(keys::usage(stock));
    } else {
        batch.put(keys::usage(stock), row.encode_to_vec());
    }
}

fn stored_time(bytes: &[u8]) -> Option<Timestamp> {
    let millis = i64::from_be_bytes(bytes.try_into().ok()?);
    Some(Timestamp::from_stored(millis))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{MemoryEngine, Outcome};

    fn tables() -> Tables {
        Tables::open(Arc::new(MemoryEngine::new())).unwrap()
    }

    fn write(tables: &Tables, fill: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        fill(&mut batch);
        let outcome = tables.commit(batch).wait_blocking().unwrap();
        assert_eq!(outcome, Outcome::Applied);
    }

    fn person(number: u8) -> UserId {
        UserId::new([number; 8], "a.test".parse().unwrap())
    }

    fn file(number: u8) -> FileKey {
        FileKey::from_bytes([number; 16])
    }

    fn moment(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    #[test]
    fn references_are_found_from_both_ends() {
        let tables = tables();
        let topic = TopicKey::one_to_one(&person(1), &person(2));
        let referrers = [
            Referrer::Message(topic, 7),
            Referrer::Message(topic, 8),
            Referrer::Account(person(1)),
            Referrer::Topic(topic),
        ];
        write(&tables, |batch| {
            for referrer in &referrers {
                put_reference(batch, referrer, file(1), &ReferenceRow::default());
                put_reference(batch, referrer, file(0xff), &ReferenceRow::default());
            }
        });
        for referrer in &referrers {
            assert!(tables.is_referred(file(1)).unwrap());
            let files = tables.files_of(referrer, 9).unwrap();
            assert_eq!(files, [file(1), file(0xff)]);
            write(&tables, |batch| remove_reference(batch, referrer, file(1)));
            assert_eq!(tables.files_of(referrer, 9).unwrap(), [file(0xff)]);
        }
        assert!(!tables.is_referred(file(1)).unwrap());
        let messages = |low, high| tables.referring_messages(topic, low, high, 9).unwrap();
        assert_eq!(messages(0, u32::MAX), [7, 8]);
        assert_eq!(messages(8, 9), [8]);
        assert_eq!(messages(0, 7), [0; 0]);
    }

    #[test]
    fn what_is_said_of_a_file_is_found_with_who_says_it() {
        let tables = tables();
        let topic = TopicKey::one_to_one(&person(1), &person(2));
        let said = |size| ReferenceRow {
            size,
            ..Default::default()
        };
        write(&tables, |batch| {
            put_reference(batch, &Referrer::Message(topic, 7), file(1), &said(70));
            put_reference(batch, &Referrer::Message(topic, 9), file(1), &said(90));
            put_reference(batch, &Referrer::Topic(topic), file(2), &said(2));
            put_reference(batch, &Referrer::Account(person(1)), file(3), &said(3));
        });
        let messages = tables.messages_with(file(1), 9).unwrap();
        assert_eq!(messages, [((topic, 7), said(70)), ((topic, 9), said(90))]);
        assert_eq!(tables.messages_with(file(2), 9).unwrap(), []);
        let by = Referrer::Message(topic, 9);
        assert_eq!(tables.said_by(&by, 9).unwrap(), [(file(1), said(90))]);
        assert_eq!(tables.as_picture(file(1)).unwrap(), None);
        assert_eq!(tables.as_picture(file(2)).unwrap(), Some(said(2)));
        assert_eq!(tables.as_picture(file(3)).unwrap(), Some(said(3)));
    }

    #[test]
    fn copies_are_found_by_their_file_and_by_when_they_were_used() {
        let tables = tables();
        let copy = |number, size| {
            let said = ReferenceRow {
                size,
                ..Default::default()
            };
            CopyKey::of(file(number), &said)
        };
        let row = |used| CopyRow {
            used,
            ..Default::default()
        };
        let (one, two, other) = (copy(1, 1), copy(1, 2), copy(2, 1));
        write(&tables, |batch| {
            put_copy(batch, one, None, &row(300));
            put_copy(batch, two, None, &row(200));
            put_copy(batch, other, None, &row(100));
        });
        assert_eq!(tables.copies_by_use(9).unwrap(), [other, two, one]);
        write(&tables, |batch| {
            put_copy(batch, other, Some(&row(100)), &row(400));
            remove_copy(batch, two, &row(200));
        });
        assert_eq!(tables.copies_by_use(9).unwrap(), [one, other]);
        assert_eq!(tables.copies_of(file(1), 9).unwrap(), [one]);
        assert_eq!(tables.copy(other).unwrap(), Some(row(400)));
        assert_eq!(tables.copy(two).unwrap(), None);
        let (alpha, beta) = ("a.test".parse().unwrap(), "b.test".parse().unwrap());
        assert_ne!(
            FileKey::abroad(&alpha, file(1)),
            FileKey::abroad(&beta, file(1))
        );
    }

    #[test]
    fn files_are_looked_at_in_the_order_of_their_time() {
        let tables = tables();
        write(&tables, |batch| {
            put_due(batch, moment(3000), file(1));
            put_due(batch, moment(1000), file(2));
            put_due(batch, moment(2000), file(3));
            put_idle_since(batch, file(2), moment(500));
        });
        let due = tables.due_files(moment(2000), 9).unwrap();
        assert_eq!(due, [(moment(1000), file(2)), (moment(2000), file(3))]);
        assert_eq!(tables.idle_since(file(2)).unwrap(), moment(500));
        assert_eq!(tables.idle_since(file(3)).unwrap(), Timestamp::EPOCH);
    }

    #[test]
    fn what_somebody_uploaded_is_found_and_counted_apart() {
        let tables = tables();
        let row = FileRow::default();
        let usage = |files| UsageRow { files, bytes: 5 };
        let (ann, amy) = (Stock::Person(person(1)), Stock::Person(person(2)));
        write(&tables, |batch| {
            for number in 1..=3 {
                put_file(batch, file(number), Some(&person(1)), &row);
            }
            put_file(batch, file(9), None, &row);
            put_usage(batch, &ann, &usage(3));
            put_usage(batch, &Stock::Domain, &usage(4));
        });
        assert_eq!(
            tables.files_by(&person(1), Some(file(1)), 9).unwrap(),
            [file(2), file(3)]
        );
        assert_eq!(tables.files_by(&person(2), None, 9).unwrap(), []);
        assert_eq!(tables.usage(&ann).unwrap(), usage(3));
        assert_eq!(tables.usage(&amy).unwrap(), UsageRow::default());
        assert_eq!(tables.usage(&Stock::Domain).unwrap(), usage(4));
    }
}
