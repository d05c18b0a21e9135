//! What only the sled engine can get wrong: its redo log, its folder, its queue
//! and a disk that fills up or fails.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;
use crate::engine::{BATCH_BYTES_MAX, BATCH_OPS_MAX, KEY_MAX, Outcome, VALUE_MAX, batch::Write};

const CACHE: u64 = 8 * 1024 * 1024;
const FLOOR: u64 = 256 * 1024 * 1024;

fn config(path: &Path) -> Config {
    Config::new(path, CACHE, FLOOR).unwrap()
}

fn open(path: &Path) -> SledEngine {
    SledEngine::open(config(path)).unwrap()
}

fn put(key: &'static str, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

fn write(key: &'static str, value: impl Into<Bytes>) -> Write {
    Write {
        key: key.into(),
        value: Some(value.into()),
    }
}

#[track_caller]
fn apply(store: &SledEngine, batch: Batch) {
    let outcome = store.commit(batch).wait_blocking().unwrap();
    assert_eq!(outcome, Outcome::Applied);
}

/// The database alone, as a crashed writer would leave it.
fn raw(path: &Path, change: impl FnOnce(&Db)) {
    let db = files::open_database(path, CACHE).unwrap();
    change(&db);
    db.flush().unwrap();
}

// The redo log.

/// Groups in the log of a store that is not open, as a writer leaves them that was killed before it gave sled
/// anything of them.
fn log(path: &Path, groups: &[&[Write]]) {
    let mut redo = open_log(path).0;
    for group in groups {
        redo.append(&group.iter().collect::<Vec<_>>()).unwrap();
    }
}

fn open_log(path: &Path) -> (Redo, Vec<Vec<Write>>) {
    let mut known = 0;
    raw(path, |db| {
        known = Mark::find(db).unwrap().map_or(0, |it| it.0);
    });
    Redo::open(path, known).unwrap()
}

fn next_group(path: &Path) -> u64 {
    open_log(path).0.next_group()
}

/// The files of the log, while the store goes on.
fn copy_log(from: &Path, to: &Path) {
    for name in ["redo.0", "redo.1"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn get(store: &SledEngine, key: &str) -> Option<Bytes> {
    store.get(key.as_bytes()).unwrap()
}

#[test]
fn a_group_that_only_the_log_has_is_completed_by_open() {
    let dir = TempDir::new().unwrap();
    let large = Bytes::from(vec![7; VALUE_MAX]);
    apply(&open(dir.path()), put("Mold", "x"));
    let removal = Write {
        key: "Mold".into(),
        value: None,
    };
    log(
        dir.path(),
        &[&[write("M1", large.clone()), write("M2", "x"), removal]],
    );

    let store = open(dir.path());

    assert_eq!(get(&store, "M1"), Some(large));
    assert_eq!(get(&store, "M2"), Some("x".into()));
    assert_eq!(get(&store, "Mold"), None);
}

#[test]
fn a_replayed_group_does_not_return_over_newer_ones() {
    let dir = TempDir::new().unwrap();
    log(
        dir.path(),
        &[&[write("M1", "old")], &[write("M1", "older")]],
    );
    let store = open(dir.path());
    assert_eq!(get(&store, "M1"), Some("older".into()));
    apply(&store, put("M1", "new"));
    drop(store);

    assert_eq!(get(&open(dir.path()), "M1"), Some("new".into()));
}

#[test]
fn nothing_is_replayed_after_an_end_in_good_order() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    apply(&store, put("M1", "x"));
    store.close().unwrap();
    let (_, groups) = open_log(dir.path());
    assert!(groups.is_empty(), "{} groups", groups.len());
}

/// What sled had when `first` was done, and the log as it is after `more` was done and the power went off.
#[track_caller]
fn check_after_loss(first: impl Fn(&Path) -> SledEngine, more: impl Fn(&SledEngine)) {
    let (dir, cut) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = first(dir.path());
    for file in ["db", "conf"] {
        fs::copy(dir.path().join(file), cut.path().join(file)).unwrap();
    }
    more(&store);
    copy_log(dir.path(), cut.path());

    let after = open(cut.path());

    let rows = |store: &SledEngine| {
        let page = store.page(&KeyRange::prefix(b""), Order::Ascending, 10_000);
        page.unwrap()
    };
    assert!(rows(&after) == rows(&store), "the rows differ");
}

#[test]
fn all_that_sled_lost_comes_from_the_log() {
    let first = |path: &Path| {
        let store = open(path);
        apply(&store, put("M1", "before"));
        store
    };
    check_after_loss(first, |store| {
        for value in 0..100_u8 {
            apply(store, put("M1", vec![value; 100]));
            apply(
                store,
                put(["M2", "M3"][usize::from(value % 2)], vec![value]),
            );
        }
    });
}

#[test]
fn a_full_file_at_the_end_of_one_life_is_left_by_the_first_group_of_the_next() {
    let filled = |path: &Path| {
        let store = open(path);
        let value = Bytes::from(vec![1; VALUE_MAX]);
        // The last of them goes beyond the end of the file.
        for row in 0..676_u32 {
            let mut batch = Batch::new();
            batch.put(row.to_be_bytes().to_vec(), value.clone());
            apply(&store, batch);
        }
        drop(store);
        let redo = open_log(path).0;
        assert!(
            redo.is_full() && redo.next_group() == 677,
            "no group more or less"
        );
        open(path)
    };
    check_after_loss(filled, |store| apply(store, put("M1", "x")));
}

#[test]
fn a_young_store_without_its_log_is_refused() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    apply(&store, put("M1", "x"));
    for file in ["db", "conf"] {
        fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    assert!(SledEngine::open(config(copy.path())).is_err());
}

#[test]
fn groups_of_both_files_are_written_again_in_order() {
    let dir = TempDir::new().unwrap();
    let mut redo = open_log(dir.path()).0;
    let mut groups = 0_u32;
    let mut append = |redo: &mut Redo| {
        groups += 1;
        let row = Write {
            key: groups.to_be_bytes().to_vec().into(),
            value: Some(vec![1; VALUE_MAX].into()),
        };
        let last = Write {
            key: "last".into(),
            value: Some(groups.to_be_bytes().to_vec().into()),
        };
        redo.append(&[&row, &last]).unwrap();
    };
    while !redo.is_full() {
        append(&mut redo);
    }
    assert!(redo.may_turn());
    redo.turn().unwrap();
    for _ in 0..3 {
        append(&mut redo);
    }
    drop(redo);

    let store = open(dir.path());

    let rows = store.page(&KeyRange::prefix(&[0]), Order::Ascending, 10_000);
    assert_eq!(rows.unwrap().len(), groups as usize);
    assert_eq!(
        get(&store, "last"),
        Some(groups.to_be_bytes().to_vec().into())
    );
}

#[test]
fn the_log_does_not_grow() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let value = Bytes::from(vec![1; VALUE_MAX]);
    for group in 0..60_u32 {
        let mut batch = Batch::new();
        for row in 0..160_u32 {
            batch.put(
                (group % 3 * 1000 + row).to_be_bytes().to_vec(),
                value.clone(),
            );
        }
        apply(&store, batch);
    }
    let bytes = redo::size_on_disk(dir.path()).unwrap();
    assert!(bytes < 12 * 1024 * 1024, "{bytes} bytes after 56 MiB");
    drop(store);
    assert_eq!(get(&open(dir.path()), "\0\0\0\0"), Some(value));
}

#[test]
fn a_torn_record_is_a_group_that_never_was() {
    let dir = TempDir::new().unwrap();
    log(
        dir.path(),
        &[&[write("M1", "whole")], &[write("M2", "torn")]],
    );
    let file = dir.path().join("redo.0");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(4).rposition(|it| it == b"torn").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();

    let store = open(dir.path());
    assert_eq!(get(&store, "M1"), Some("whole".into()));
    assert_eq!(get(&store, "M2"), None);
    apply(&store, put("M3", "later"));
    drop(store);

    let store = open(dir.path());
    assert_eq!(get(&store, "M2"), None);
    assert_eq!(get(&store, "M3"), Some("later".into()));
}

#[test]
fn what_an_earlier_turn_left_behind_the_end_is_not_taken() {
    let dir = TempDir::new().unwrap();
    let group = |value: &'static str| [write("M1", value)];
    let (mut redo, _) = Redo::open(dir.path(), 0).unwrap();
    // All records have the same length: the old ones begin where the new ones end.
    for value in ["a", "b", "c"] {
        redo.append(&group(value).iter().collect::<Vec<_>>())
            .unwrap();
    }
    for _ in 0..2 {
        redo.forget(redo.next_group());
        redo.turn().unwrap();
    }
    redo.append(&group("d").iter().collect::<Vec<_>>()).unwrap();
    let next = redo.next_group();
    drop(redo);

    let (redo, groups) = Redo::open(dir.path(), next).unwrap();

    assert_eq!(redo.next_group(), next);
    assert_eq!(groups.concat(), group("d"));
}

#[test]
fn a_store_without_its_log_is_refused() {
    let dir = TempDir::new().unwrap();
    apply(&open(dir.path()), put("M1", "x"));
    fs::remove_file(dir.path().join("redo.0")).unwrap();

    let refused = SledEngine::open(config(dir.path()))
        .unwrap_err()
        .to_string();

    assert!(
        refused.contains("left out when the store was copied"),
        "{refused}"
    );
}

#[test]
fn a_log_of_a_newer_copy_is_refused() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    apply(&open(dir.path()), put("M1", "x"));
    for file in ["db", "conf"] {
        fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    for value in ["y", "z"] {
        apply(&open(dir.path()), put("M1", value));
    }
    copy_log(dir.path(), copy.path());

    let refused = SledEngine::open(config(copy.path()))
        .unwrap_err()
        .to_string();

    assert!(
        refused.contains("different copies of the store"),
        "{refused}"
    );
}

// The record in sled, as stores of format 2 have it.

/// What an earlier program would have written of its last group, cut into chunks.
fn record(db: &Db, group: u64, writes: &[Write]) {
    let mut encoded = Vec::new();
    for Write { key, value } in writes {
        let value = value.as_ref().unwrap();
        encoded.push(1);
        for bytes in [key, value] {
            encoded.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
            encoded.extend_from_slice(bytes);
        }
    }
    let mut stream = Sha256::new()
        .chain_update(group.to_be_bytes())
        .chain_update(&encoded)
        .finalize()
        .to_vec();
    stream.append(&mut encoded);
    let chunks = stream.chunks(VALUE_MAX - 12);
    let count = chunks.len() as u32;
    for (index, slice) in (0_u32..).zip(chunks) {
        let key = [&b"J"[..], &index.to_be_bytes()].concat();
        let head = [&group.to_be_bytes()[..], &count.to_be_bytes()];
        db.insert(key, [head.concat(), slice.to_vec()].concat())
            .unwrap();
    }
}

#[test]
fn the_last_group_of_an_older_store_is_completed_once() {
    let dir = TempDir::new().unwrap();
    let large = Bytes::from(vec![7; VALUE_MAX]);
    raw(dir.path(), |db| {
        record(db, 40, &["M1", "M2"].map(|key| write(key, large.clone())));
    });

    let store = open(dir.path());
    assert_eq!(get(&store, "M1"), Some(large.clone()));
    assert_eq!(get(&store, "M2"), Some(large));
    apply(&store, put("M1", "new"));
    drop(store);

    assert_eq!(get(&open(dir.path()), "M1"), Some("new".into()));
    raw(dir.path(), |db| {
        assert_eq!(db.scan_prefix([b'J']).count(), 1, "the mark")
    });
}

#[test]
fn a_record_without_one_of_its_chunks_is_ignored() {
    check_torn(|db, key, _| drop(db.remove(key).unwrap()));
}

#[test]
fn a_record_with_a_damaged_chunk_is_ignored() {
    check_torn(|db, key, chunk| {
        let mut chunk = chunk.to_vec();
        *chunk.last_mut().unwrap() ^= 1;
        drop(db.insert(key, chunk).unwrap());
    });
}

#[test]
fn a_record_with_a_chunk_of_the_group_before_is_ignored() {
    check_torn(|db, _, _| record(db, 39, &[write("M0", "older")]));
}

/// Writes a record of several chunks, tears the first of them, and opens.
#[track_caller]
fn check_torn(tear: impl FnOnce(&Db, IVec, IVec)) {
    let dir = TempDir::new().unwrap();
    raw(dir.path(), |db| {
        let large = Bytes::from(vec![7; VALUE_MAX]);
        let rows = ["M1", "M2", "M3"].map(|key| write(key, large.clone()));
        record(db, 40, &rows);
        let (key, chunk) = db.scan_prefix([b'J']).next().unwrap().unwrap();
        tear(db, key, chunk);
    });

    let store = open(dir.path());

    let rows = store.page(&KeyRange::prefix(b""), Order::Ascending, 10);
    assert_eq!(rows.unwrap(), []);
    apply(&store, put("M4", "later"));
    drop(store);
    assert_eq!(get(&open(dir.path()), "M4"), Some("later".into()));
}

// The folder.

#[test]
fn an_unfinished_snapshot_is_removed() {
    let dir = TempDir::new().unwrap();
    apply(&open(dir.path()), put("M", "kept"));
    let unfinished = dir.path().join("snap.00000000000000FF.generating");
    fs::write(&unfinished, b"cut short").unwrap();

    let store = open(dir.path());

    assert!(!unfinished.exists());
    assert_eq!(store.get(b"M").unwrap(), Some("kept".into()));
}

#[test]
fn the_largest_rows_stay_in_the_file_that_is_synced() {
    const ROWS: usize = 140;
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let key = |row: usize| format!("{row:0<width$}", width = KEY_MAX);
    // Rows come in a scattered order and leave in runs, so that full pages are
    // split, and take in what is left of their neighbours.
    for step in 0..30 {
        let mut batch = Batch::new();
        for row in (0..ROWS).map(|row| row * 37 % ROWS) {
            batch.put(key(1000 + row), vec![step; VALUE_MAX]);
        }
        apply(&store, batch);
        let mut batch = Batch::new();
        let kept = 16 + usize::from(step) % 5;
        for row in (0..ROWS).filter(|row| row % 32 >= kept) {
            batch.remove(key(1000 + row));
        }
        apply(&store, batch);
        let side_files = fs::read_dir(dir.path().join("blobs")).unwrap().count();
        assert_eq!(side_files, 0, "after step {step}");
    }
}

#[test]
fn values_that_cannot_work_are_refused() {
    let too_small = Config::new("store", 1024, FLOOR);
    assert_eq!(too_small, Err(ConfigError::CacheTooSmall(1024)));
    let too_low = Config::new("store", CACHE, 1024);
    assert_eq!(too_low, Err(ConfigError::FloorTooLow(1024)));
}

// The queue. A probe that waits holds the writer back.

/// A store whose writer stands still until the sender is used or dropped.
fn open_held(path: &Path) -> (SledEngine, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let opened = AtomicU64::new(0);
    let probe = move |_: &Path| {
        if opened.fetch_add(1, Ordering::Relaxed) > 0 {
            let _dropped = wait.recv();
        }
        Ok(u64::MAX)
    };
    let store = SledEngine::open_with(config(path), Box::new(probe)).unwrap();
    (store, go)
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let dir = TempDir::new().unwrap();
    let (store, go) = open_held(dir.path());
    let mut taken = Vec::new();
    let refused = loop {
        let mut commit = store.commit(put("M", "x"));
        match commit.try_answer() {
            None => taken.push(commit),
            Some(answer) => break answer,
        }
    };
    assert!(matches!(refused, Err(StoreError::Overloaded)));
    assert!(taken.len() >= QUEUE_MAX);

    drop(go);
    for commit in taken {
        assert_eq!(commit.wait_blocking().unwrap(), Outcome::Applied);
    }
    apply(&store, put("M", "y"));
}

#[test]
fn a_queue_of_large_batches_is_bounded_in_bytes() {
    let dir = TempDir::new().unwrap();
    let (store, go) = open_held(dir.path());
    let value = Bytes::from(vec![1; VALUE_MAX]);
    let mut large = Batch::new();
    for index in 0_u32..(BATCH_BYTES_MAX / (VALUE_MAX + 4)) as u32 {
        large.put(index.to_be_bytes().to_vec(), value.clone());
    }
    let answers: Vec<_> = (0..70)
        .map(|_| store.commit(large.clone()).try_answer())
        .collect();
    let refused = answers.iter().flatten().count();
    drop(go);
    assert!((1..70).contains(&refused), "{refused} of 70");
}

#[test]
fn a_group_is_bounded() {
    let dir = TempDir::new().unwrap();
    let (store, go) = open_held(dir.path());
    let commits: Vec<_> = (0..2 * BATCH_OPS_MAX + 1)
        .map(|_| store.commit(put("M", "x")))
        .collect();
    drop(go);
    for commit in commits {
        assert_eq!(commit.wait_blocking().unwrap(), Outcome::Applied);
    }
    store.close().unwrap();

    // The first group may have been taken before the others were queued; the end has a note.
    let groups = next_group(dir.path()) - 1;
    assert!((3..=4).contains(&groups), "{groups} groups");
}

#[test]
fn closing_commits_what_is_queued() {
    let dir = TempDir::new().unwrap();
    let (store, go) = open_held(dir.path());
    let commits = ["M1", "M2"].map(|key| store.commit(put(key, "x")));
    drop(go);
    store.close().unwrap();

    for commit in commits {
        assert_eq!(commit.wait_blocking().unwrap(), Outcome::Applied);
    }
    let store = open(dir.path());
    assert_eq!(store.get(b"M2").unwrap(), Some("x".into()));
}

// A disk that fills up or fails.

/// A store that believes what the test says about its disk.
fn open_on(path: &Path, disk: impl Fn() -> io::Result<u64> + Send + 'static) -> SledEngine {
    SledEngine::open_with(config(path), Box::new(move |_| disk())).unwrap()
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    let dir = TempDir::new().unwrap();
    let free = Arc::new(AtomicU64::new(FLOOR));
    let store = open_on(dir.path(), {
        let free = Arc::clone(&free);
        move || Ok(free.load(Ordering::Relaxed))
    });
    apply(&store, put("M1", "x"));

    free.store(FLOOR - 1, Ordering::Relaxed);
    let refused = try_until(&store, |answer| answer.is_err()).unwrap_err();
    assert!(matches!(refused, StoreError::Full { available, needed }
        if available == FLOOR - 1 && needed == FLOOR));
    assert!(refused.is_refusal());
    assert_eq!(store.get(b"M1").unwrap(), Some("x".into()));
    assert!(!*store.poisoned().borrow());

    free.store(FLOOR, Ordering::Relaxed);
    assert_eq!(try_until(&store, Result::is_ok).unwrap(), Outcome::Applied);
}

/// Commits until an answer is as expected: the writer looks at the disk only
/// every so many groups.
fn try_until(
    store: &SledEngine,
    expected: impl Fn(&Result<Outcome, StoreError>) -> bool,
) -> Result<Outcome, StoreError> {
    let mut answers = (0..100).map(|_| store.commit(put("M2", "x")).wait_blocking());
    answers.find(expected).expect("an answer as expected")
}

#[test]
fn a_full_disk_refuses_to_open() {
    let dir = TempDir::new().unwrap();
    let probe: Probe = Box::new(|_| Ok(FLOOR - 1));
    let refused = SledEngine::open_with(config(dir.path()), probe).unwrap_err();
    assert!(matches!(refused, StoreError::Full { .. }));
    assert!(!dir.path().join("db").exists());
}

#[test]
fn a_failing_disk_poisons_the_store() {
    let dir = TempDir::new().unwrap();
    let looks = AtomicU64::new(0);
    let store = open_on(dir.path(), move || {
        match looks.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(u64::MAX),
            _ => Err(io::Error::other("the disk is gone")),
        }
    });
    let poisoned = store.poisoned();

    let failed = store.commit(put("M", "x")).wait_blocking().unwrap_err();
    assert!(matches!(failed, StoreError::Io(_)) && !failed.is_refusal());
    assert!(*poisoned.borrow());

    let later = store.commit(put("M", "x")).wait_blocking().unwrap_err();
    assert!(matches!(later, StoreError::Poisoned));
    assert_eq!(store.get(b"M").unwrap(), None);
    assert!(matches!(store.close(), Err(StoreError::Poisoned)));
    store.close().unwrap();
}

#[test]
fn a_panic_of_the_writer_answers_everybody() {
    let dir = TempDir::new().unwrap();
    let looks = AtomicU64::new(0);
    let store = open_on(dir.path(), move || {
        assert_eq!(
            looks.fetch_add(1, Ordering::Relaxed),
            0,
            "a bug in the writer"
        );
        Ok(u64::MAX)
    });
    let mut poisoned = store.poisoned();

    let commits = ["M1", "M2", "M3"].map(|key| store.commit(put(key, "x")));

    for commit in commits {
        let failed = commit.wait_blocking().unwrap_err();
        assert!(matches!(failed, StoreError::Poisoned));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let wait = poisoned.wait_for(|&poisoned| poisoned);
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .unwrap()
            .unwrap();
    });
}
