//! What only the sled engine can get wrong: redo records, its folder, its queue
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

fn record(db: &Db, group: u64, writes: &[Write]) {
    redo::write(db, group, &writes.iter().collect::<Vec<_>>()).unwrap();
}

fn record_rows(path: &Path) -> Vec<(IVec, IVec)> {
    let mut rows = Vec::new();
    raw(path, |db| {
        rows.extend(db.scan_prefix([b'J']).map(Result::unwrap))
    });
    rows
}

fn group_of(chunk: &[u8]) -> u64 {
    u64::from_be_bytes(chunk[..8].try_into().unwrap())
}

// Redo records.

#[test]
fn a_group_with_only_its_record_written_is_completed_by_open() {
    let dir = TempDir::new().unwrap();
    let large = Bytes::from(vec![7; VALUE_MAX]);
    apply(&open(dir.path()), put("Mold", "x"));
    raw(dir.path(), |db| {
        let removal = Write {
            key: "Mold".into(),
            value: None,
        };
        let writes = [
            write("M1", large.clone()),
            write("M2", large.clone()),
            removal,
        ];
        record(db, 40, &writes);
    });

    let store = open(dir.path());

    assert_eq!(store.get(b"M1").unwrap(), Some(large.clone()));
    assert_eq!(store.get(b"M2").unwrap(), Some(large));
    assert_eq!(store.get(b"Mold").unwrap(), None);
}

#[test]
fn a_replayed_group_does_not_return_over_newer_ones() {
    let dir = TempDir::new().unwrap();
    raw(dir.path(), |db| record(db, 40, &[write("M1", "old")]));

    apply(&open(dir.path()), put("M1", "new"));

    assert_eq!(open(dir.path()).get(b"M1").unwrap(), Some("new".into()));
    assert_eq!(group_of(&record_rows(dir.path())[0].1), 41);
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
        record(
            db,
            40,
            &["M1", "M2", "M3"].map(|key| write(key, large.clone())),
        );
        let (key, chunk) = db.scan_prefix([b'J']).next().unwrap().unwrap();
        tear(db, key, chunk);
    });

    let store = open(dir.path());

    let rows = store.page(&KeyRange::prefix(b""), Order::Ascending, 10);
    assert_eq!(rows.unwrap(), []);
    apply(&store, put("M4", "later"));
    store.close().unwrap();
    assert_eq!(group_of(&record_rows(dir.path())[0].1), 41);
}

#[test]
fn chunks_left_by_a_longer_record_do_not_matter() {
    let dir = TempDir::new().unwrap();
    let large = Bytes::from(vec![7; VALUE_MAX]);
    raw(dir.path(), |db| {
        record(
            db,
            1,
            &["M1", "M2", "M3"].map(|key| write(key, large.clone())),
        );
        record(db, 2, &[write("M1", "short")]);
    });

    let store = open(dir.path());

    let rows = store
        .page(&KeyRange::prefix(b"M"), Order::Ascending, 10)
        .unwrap();
    assert_eq!(rows, [("M1".into(), "short".into())]);
}

#[test]
fn the_record_is_rewritten_in_place() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    for _ in 0..20 {
        apply(&store, put("M", vec![1; VALUE_MAX]));
    }
    store.close().unwrap();

    let rows = record_rows(dir.path());

    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|(_, chunk)| chunk.len() <= VALUE_MAX));
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

    // The first group may have been taken before the others were queued.
    let groups = group_of(&record_rows(dir.path())[0].1) + 1;
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
