//! The redo log: every commit group is here, and on the disk, before any of its rows is written to sled.
//!
//! sled brings its own log to the disk twice a second and whenever this one begins a new file. What a crash
//! takes from sled, and a group that it cut short, the next open writes again from here: each row that was
//! changed since ends as the last group left it, whichever of the changes sled had kept.
//!
//! The log is two files, used in turns. In each, records stand one behind the other from the beginning; what
//! follows the last one is left from an earlier turn, or zeros. A record begins with the SHA-256 of that of the
//! record before it in the file and of what follows, so that nothing that happens to stand behind the last record
//! can pass for the next one. Then come
//!
//! * the length of its writes (4 bytes) and the number of its group (8), one more than that of the record before;
//! * the number of the first group that sled might still lack (8): an open replays from there on;
//! * the writes.
//!
//! Before a file is written over, a record in the other one says that none of its groups is needed any more. So
//! a file is either needed and whole, or not needed; one record at most is torn, the newest, and nobody was
//! told that its group is durable.
//!
//! Invariant: no record relies on sled for a group that a durable [`Mark`](super::checkpoint::Mark) does not say
//! it has.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::RangeInclusive,
    path::Path,
};

use bytes::{Buf as _, BufMut as _, Bytes};
use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::engine::batch::{BATCH_BYTES_MAX, BATCH_OPS_MAX, Write};

const NAMES: [&str; 2] = ["redo.0", "redo.1"];
/// Bytes of a file behind which the other one is used; the last group may go beyond. An open replays as much as
/// both hold at most.
const FILE_BYTES: u64 = 4 * 1024 * 1024;
/// A file grows by so much at once: to write where it has been written before costs the file system nothing, and
/// to grow it has to be noted on the disk.
const STEP: u64 = 256 * 1024;
const DIGEST: usize = 32;
const HEADER: usize = DIGEST + size_of::<u32>() + 2 * size_of::<u64>();
/// Bytes of a write beside its key and value: what it is, and two lengths.
const WRITE: usize = 5;
const RECORD_MAX: usize = HEADER + BATCH_BYTES_MAX + BATCH_OPS_MAX * WRITE;
/// Memory that is kept from one group for the next one.
const BUFFER_KEPT: usize = 64 * 1024;

/// What a record says about a write, before its key.
const REMOVE: u8 = 0;
const PUT: u8 = 1;

/// The log of an open store.
pub(super) struct Redo {
    files: [LogFile; 2],
    current: usize,
    /// The first group of the present file.
    first: u64,
    next: u64,
    /// The first group that sled might lack.
    needed: u64,
    buffer: Vec<u8>,
}

struct LogFile {
    file: File,
    /// Of the last record; zeros before the first.
    digest: [u8; DIGEST],
    /// Where the next record goes.
    position: u64,
    /// Where the file would go on by itself.
    cursor: u64,
    /// Bytes that the file has.
    len: u64,
}

/// What a crash may have taken from sled: groups, in order.
pub(super) type Groups = Vec<Vec<Write>>;

/// A record as it was read.
struct Record {
    digest: [u8; DIGEST],
    group: u64,
    needed: u64,
    writes: Bytes,
}

/// Bytes of both files.
pub(super) fn size_on_disk(folder: &Path) -> io::Result<u64> {
    let sizes = NAMES.map(|name| folder.join(name).metadata().map(|it| it.len()));
    sizes.into_iter().sum()
}

/// The records of one file, where the last one ends, and its bytes.
#[derive(Default)]
struct Run {
    records: Vec<Record>,
    end: u64,
    last: Bytes,
}

impl Redo {
    /// Opens the log in a store's folder, and creates it if it is not there. If there are groups that it returns,
    /// they must be durable in sled, and [`Redo::forget`] told so, before anything is appended.
    ///
    /// sled says that it has all groups below `known`. A log that does not reach so far, or one that relies on
    /// more, is not the one of this copy of the store.
    pub(super) fn open(folder: &Path, known: u64) -> Result<(Self, Groups), StoreError> {
        let [first, second] = NAMES.map(|name| folder.join(name));
        let mut files = [LogFile::open(&first)?, LogFile::open(&second)?];
        let runs = [files[0].read()?, files[1].read()?];
        let current = usize::from(runs[1].last() > runs[0].last());
        let (groups, next) = groups(&runs, current, known)?;
        let newest = &runs[current];
        files[current].go_on(newest, !groups.is_empty())?;
        let redo = Self {
            files,
            current,
            first: newest.records.first().map_or(next, |it| it.group),
            next,
            needed: newest.records.last().map_or(next, |it| it.needed),
            buffer: Vec::new(),
        };
        Ok((redo, groups))
    }

    /// The number that the next group will have.
    pub(super) fn next_group(&self) -> u64 {
        self.next
    }

    /// Makes a group durable.
    pub(super) fn append(&mut self, writes: &[&Write]) -> Result<(), StoreError> {
        let file = &mut self.files[self.current];
        encode(&mut self.buffer, (self.next, self.needed), writes);
        file.append(&mut self.buffer)?;
        self.next += 1;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(())
    }

    /// Whether the other file may be written over.
    pub(super) fn may_turn(&self) -> bool {
        self.needed >= self.first
    }

    /// Whether it is time for the other file.
    pub(super) fn is_full(&self) -> bool {
        self.files[self.current].position >= FILE_BYTES
    }

    /// sled has every group below this one on the disk, and says so there.
    pub(super) fn forget(&mut self, below: u64) {
        self.needed = self.needed.max(below);
    }

    /// Begins the other file, if it [may be](Redo::may_turn).
    pub(super) fn turn(&mut self) -> Result<(), StoreError> {
        self.note_needed()?;
        self.current = 1 - self.current;
        self.first = self.next;
        self.files[self.current].begin();
        Ok(())
    }

    /// Notes durably which groups an open has to replay, in a record without writes.
    pub(super) fn note_needed(&mut self) -> Result<(), StoreError> {
        self.append(&[])
    }
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok(Self {
            len: file.metadata()?.len(),
            file,
            digest: [0; DIGEST],
            position: 0,
            cursor: 0,
        })
    }

    /// Goes on behind what was read. With `again` the last record is written and synced once more: a process
    /// that was killed may have left it in the system's memory only, and a disk that failed in none.
    fn go_on(&mut self, run: &Run, again: bool) -> io::Result<()> {
        self.position = run.end;
        self.digest = run.records.last().map_or([0; DIGEST], |it| it.digest);
        if again {
            let start = run.end - run.last.len() as u64;
            self.file.seek(SeekFrom::Start(start))?;
            self.file.write_all(&run.last)?;
            self.file.sync_data()?;
            self.cursor = run.end;
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.position = 0;
        self.digest = [0; DIGEST];
    }

    fn read(&mut self) -> io::Result<Run> {
        let mut bytes = Vec::new();
        // A group, and a note behind it, may go beyond the end.
        let most = FILE_BYTES + 2 * RECORD_MAX as u64;
        self.file.seek(SeekFrom::Start(0))?;
        let read = (&self.file).take(most).read_to_end(&mut bytes)?;
        self.cursor = read as u64;
        Ok(Run::read(bytes.into()))
    }

    /// Writes a record behind those that are there, and waits for the disk.
    fn append(&mut self, record: &mut Vec<u8>) -> io::Result<()> {
        self.digest = digest(&self.digest, &record[DIGEST..]);
        record[..DIGEST].copy_from_slice(&self.digest);
        let end = self.position + record.len() as u64;
        if end > self.len {
            self.len = end.next_multiple_of(STEP);
            let zeros = usize::try_from(self.len - end).unwrap_or(0);
            record.resize(record.len() + zeros, 0);
        }
        if self.cursor != self.position {
            self.file.seek(SeekFrom::Start(self.position))?;
        }
        self.file.write_all(record)?;
        self.file.sync_data()?;
        self.cursor = self.position + record.len() as u64;
        self.position = end;
        Ok(())
    }
}

impl Run {
    fn read(mut bytes: Bytes) -> Self {
        let (mut run, whole, mut before) = (Self::default(), bytes.clone(), [0; DIGEST]);
        while let Some(record) = Record::read(&mut bytes, &before) {
            if run.last().is_some_and(|last| record.group != last + 1) {
                break;
            }
            let end = whole.len() - bytes.len();
            run.last = whole.slice(usize::try_from(run.end).unwrap_or(0)..end);
            run.end = end as u64;
            before = record.digest;
            run.records.push(record);
        }
        run
    }

    fn last(&self) -> Option<u64> {
        self.records.last().map(|it| it.group)
    }

    fn find(&self, group: u64) -> Option<&Record> {
        let first = self.records.first()?.group;
        let index = usize::try_from(group.checked_sub(first)?).ok()?;
        self.records.get(index)
    }
}

impl Record {
    /// The first record, if it is one behind a record with the digest `before`.
    fn read(bytes: &mut Bytes, before: &[u8; DIGEST]) -> Option<Self> {
        let mut rest = bytes.clone();
        let found = (rest.len() >= HEADER).then(|| rest.split_to(DIGEST))?;
        let covered = rest.clone();
        let len = usize::try_from(rest.get_u32()).ok()?;
        let (group, needed) = (rest.get_u64(), rest.get_u64());
        let writes = (len <= rest.len()).then(|| rest.split_to(len))?;
        let covered = covered.slice(..covered.len() - rest.len());
        let digest = digest(before, &covered);
        if digest != *found {
            return None;
        }
        *bytes = rest;
        Some(Self {
            digest,
            group,
            needed,
            writes,
        })
    }
}

/// What of two runs is to be written again, and the number of the next group; the newest record is in the run
/// `newest`.
fn groups(runs: &[Run; 2], newest: usize, known: u64) -> Result<(Groups, u64), StoreError> {
    let last = runs[newest].records.last();
    let next = last.map_or(0, |it| it.group + 1);
    if next < known {
        return Err(missing(next..=known - 1));
    }
    let needed = last.map_or(0, |it| it.needed);
    if needed > known {
        return Err(StoreError::Corrupt {
            detail: format!(
                "the database has groups up to {known}, and its redo log ({} and {}) begins at {needed}: they \
                 are of different copies of the store",
                NAMES[0], NAMES[1]
            ),
        });
    }
    let groups = (needed..next).map(|group| {
        let found = runs[newest]
            .find(group)
            .or_else(|| runs[1 - newest].find(group));
        let record = found.ok_or_else(|| missing(group..=group))?;
        decode(record.writes.clone()).ok_or_else(|| StoreError::Corrupt {
            detail: format!("group {group} of the redo log does not parse"),
        })
    });
    let groups: Groups = groups.collect::<Result<_, _>>()?;
    // Notes alone are nothing to write.
    let is_nothing = groups.iter().all(Vec::is_empty);
    Ok((if is_nothing { Groups::new() } else { groups }, next))
}

fn missing(groups: RangeInclusive<u64>) -> StoreError {
    let (first, last) = groups.into_inner();
    StoreError::Corrupt {
        detail: format!(
            "the redo log ({} and {} in the store's folder) lacks groups {first} to {last}: was a file left \
             out when the store was copied?",
            NAMES[0], NAMES[1]
        ),
    }
}

/// Makes the record of a group, but for its digest.
fn encode(record: &mut Vec<u8>, (group, needed): (u64, u64), writes: &[&Write]) {
    record.clear();
    record.resize(DIGEST + size_of::<u32>(), 0);
    record.put_u64(group);
    record.put_u64(needed);
    for write in writes {
        record.put_u8(if write.value.is_some() { PUT } else { REMOVE });
        put_bytes(record, &write.key);
        if let Some(value) = &write.value {
            put_bytes(record, value);
        }
    }
    let len = u32::try_from(record.len() - HEADER).expect("a group is bounded to about 1 MiB");
    record[DIGEST..DIGEST + size_of::<u32>()].copy_from_slice(&len.to_be_bytes());
}

fn digest(before: &[u8; DIGEST], covered: &[u8]) -> [u8; DIGEST] {
    let digest = Sha256::new().chain_update(before).chain_update(covered);
    digest.finalize().into()
}

/// The writes of a record.
pub(super) fn decode(mut encoded: Bytes) -> Option<Vec<Write>> {
    let mut writes = Vec::new();
    while encoded.has_remaining() {
        let kind = encoded.get_u8();
        let key = get_bytes(&mut encoded)?;
        let value = match kind {
            PUT => Some(get_bytes(&mut encoded)?),
            REMOVE => None,
            _ => return None,
        };
        writes.push(Write { key, value });
    }
    Some(writes)
}

fn put_bytes(encoded: &mut Vec<u8>, bytes: &Bytes) {
    let len = u16::try_from(bytes.len()).expect("keys and values are at most VALUE_MAX long");
    encoded.put_u16(len);
    encoded.put_slice(bytes);
}

fn get_bytes(encoded: &mut Bytes) -> Option<Bytes> {
    let len = usize::from(encoded.try_get_u16().ok()?);
    (len <= encoded.len()).then(|| encoded.split_to(len))
}
