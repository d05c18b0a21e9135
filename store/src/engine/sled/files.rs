//! The store's folder: who holds it, and what must be done to it around sled's
//! own opening.

use std::{
    fs::{self, DirEntry, File, OpenOptions, TryLockError},
    io,
    path::Path,
    thread,
    time::Duration,
};

use ::sled::Db;

use super::StoreError;

/// How long to wait for a database that this process has just closed: sled
/// frees its last buffers, and with them its own lock, some time after the drop.
const RELEASE_WAIT: Duration = Duration::from_millis(10);
const RELEASE_TRIES: u32 = 500;

/// Takes the store for this process, until the file is dropped.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    fs::create_dir_all(path)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("LOCK"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Removes snapshots that a crash has cut short: sled takes them for whole ones
/// and then refuses to open.
pub(super) fn remove_unfinished_snapshots(path: &Path) -> Result<(), StoreError> {
    for entry in snapshots(path)? {
        if entry
            .file_name()
            .as_encoded_bytes()
            .ends_with(b".generating")
        {
            fs::remove_file(entry.path())?;
            tracing::info!(file = %entry.path().display(), "removed an unfinished snapshot");
        }
    }
    Ok(())
}

/// What opening may write: sled lays a new snapshot beside the old one, and the
/// log it has to read since then makes the new one larger.
pub(super) fn snapshot_reserve(path: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for entry in snapshots(path)? {
        bytes += entry.metadata()?.len();
    }
    Ok(bytes * 2)
}

/// Opens the database itself. The caller holds the lock of the folder.
pub(super) fn open_database(path: &Path, cache_capacity: u64) -> Result<Db, StoreError> {
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(cache_capacity)
        // Never `None`: sled collects its garbage in the thread that flushes.
        .flush_every_ms(Some(500));
    let mut tries = 1;
    loop {
        match config.open() {
            Err(error) if is_held(&error) && tries < RELEASE_TRIES => thread::sleep(RELEASE_WAIT),
            Err(error) if is_held(&error) => {
                return Err(StoreError::Locked {
                    path: path.to_owned(),
                });
            }
            result => return Ok(result?),
        }
        tries += 1;
    }
}

/// The file that holds the rows, for syncing it.
pub(super) fn database_file(path: &Path) -> Result<File, StoreError> {
    Ok(File::open(path.join("db"))?)
}

/// Makes the files that opening has created durable, their names included.
pub(super) fn sync_new_files(path: &Path) -> Result<(), StoreError> {
    // sled never syncs its settings.
    File::open(path.join("conf"))?.sync_all()?;
    File::open(path)?.sync_all()?;
    let absolute = std::path::absolute(path)?;
    if let Some(parent) = absolute.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn snapshots(path: &Path) -> io::Result<Vec<DirEntry>> {
    let is_snapshot = |entry: &DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"snap.");
    fs::read_dir(path)?
        .filter(|entry| entry.as_ref().map_or(true, is_snapshot))
        .collect()
}

/// sled reports a lock that is held as text only.
fn is_held(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}
