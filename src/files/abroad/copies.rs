//! Copies of files of other domains: bytes in a folder of their own, rows in the store.
//!
//! Bytes are durable before their row is, and go after it has gone. What a crash leaves without a row is
//! cleared away at the start; a row without bytes is forgotten when somebody asks for it.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_config as config;
use freehold_proto::Clock;
use freehold_store::{
    Batch, StoreError, Tables,
    tables::{
        files::{CopyKey, FileKey, Stock, put_copy, put_usage, remove_copy},
        rows::{CopyRow, FileRow, UsageRow},
    },
};
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::Failure;

/// That a copy was used is written when it was last written so long ago.
const USE_GRAIN: Duration = Duration::from_secs(60 * 60);
/// Copies looked at in one go.
const PAGE: usize = 64;
/// What the names of files on their way end with.
const HALF: &str = ".part";

/// All copies.
pub(in crate::files) struct Copies {
    config: config::Copies,
    free_bytes_min: u64,
    tables: Tables,
    clock: Arc<dyn Clock>,
    /// Turns at making copies known and forgetting them: both count what there is.
    turn: tokio::sync::Mutex<()>,
    /// Bytes for which room was made and that are not counted in the store yet.
    promised: Arc<Mutex<u64>>,
}

impl std::fmt::Debug for Copies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copies({})", self.config.folder.display())
    }
}

/// Room for one copy. Dropped before it is used, it is free again.
#[derive(Debug)]
pub(super) struct Room {
    promised: Arc<Mutex<u64>>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        *self.promised.lock() -= self.bytes;
    }
}

/// Runs something that waits for the disk.
pub(super) async fn on_disk<T: Send + 'static>(
    doing: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(doing).await;
    let done = done.unwrap_or_else(|it| Err(io::Error::other(it)));
    done.map_err(|fault| {
        error!(%fault, fault_of = "ours", "a copy of a file cannot be written or read");
        Failure::Ours
    })
}

impl From<StoreError> for Failure {
    fn from(fault: StoreError) -> Self {
        error!(%fault, "copies of files cannot be counted");
        Self::Ours
    }
}

impl Copies {
    /// Opens the folder and removes what a killed process left half written.
    pub(in crate::files) async fn open(
        config: config::Copies,
        free_bytes_min: u64,
        tables: Tables,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let folder = config.folder.clone();
        let opening = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&folder)?;
            for name in names_in(&folder)? {
                if name.ends_with(HALF) {
                    fs::remove_file(folder.join(name))?;
                }
            }
            io::Result::Ok(())
        });
        let opened = opening.await.unwrap_or_else(|it| Err(io::Error::other(it)));
        opened.map_err(|it| format!("{}: {it}", config.folder.display()))?;
        Ok(Self {
            config,
            free_bytes_min,
            tables,
            clock,
            turn: tokio::sync::Mutex::default(),
            promised: Arc::default(),
        })
    }

    /// The most that one copy may have.
    pub(super) fn bytes_max(&self) -> u64 {
        self.config.bytes_max
    }

    fn path(&self, copy: CopyKey) -> PathBuf {
        self.config.folder.join(name_of(copy))
    }

    fn half_path(&self, copy: CopyKey) -> PathBuf {
        self.config.folder.join(name_of(copy) + HALF)
    }

    /// A copy, if there is one, and that it was used.
    pub(super) async fn find(&self, copy: CopyKey) -> Result<Option<(FileRow, File)>, Failure> {
        let read = move |tables: &Tables| tables.copy(copy);
        let Some(row) = self.tables.read(read).await? else {
            return Ok(None);
        };
        let path = self.path(copy);
        let opened = tokio::task::spawn_blocking(move || File::open(path)).await;
        match opened.unwrap_or_else(|it| Err(io::Error::other(it))) {
            Ok(file) => {
                self.note_use(copy).await?;
                Ok(Some((as_file(&row), file)))
            }
            Err(fault) => {
                warn!(%fault, "a copy of a file is lost and is brought once more");
                let _turn = self.turn.lock().await;
                self.forget(vec![copy]).await?;
                Ok(None)
            }
        }
    }

    async fn note_use(&self, copy: CopyKey) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        let now = self.clock.now();
        let read = move |tables: &Tables| tables.copy(copy);
        let Some(before) = self.tables.read(read).await? else {
            return Ok(());
        };
        if freehold_proto::Timestamp::from_stored(before.used).plus(USE_GRAIN) > now {
            return Ok(());
        }
        let mut batch = Batch::new();
        let row = CopyRow {
            used: now.as_millis(),
            ..before.clone()
        };
        put_copy(&mut batch, copy, Some(&before), &row);
        // A batch without guards is applied.
        let _applied = self.tables.commit(batch).await?;
        Ok(())
    }

    /// Makes room for a copy of so many bytes, at the cost of those that were not used for longest.
    pub(super) async fn make_room(&self, bytes: u64) -> Result<Room, Failure> {
        let limit = self.config.bytes_max;
        if bytes > limit {
            return Err(Failure::TooLarge(limit));
        }
        self.check_space(bytes).await?;
        let _turn = self.turn.lock().await;
        loop {
            let used = self
                .tables
                .read(|tables| tables.usage(&Stock::Copies))
                .await?;
            let promised = *self.promised.lock();
            let taken = used.bytes.saturating_add(promised);
            if taken.saturating_add(bytes) <= limit {
                *self.promised.lock() += bytes;
                return Ok(Room {
                    promised: Arc::clone(&self.promised),
                    bytes,
                });
            }
            let oldest = self.tables.read(|tables| tables.copies_by_use(1)).await?;
            if oldest.is_empty() {
                // All room is promised to files that are on their way.
                return Err(Failure::Busy);
            }
            self.forget(oldest).await?;
        }
    }

    async fn check_space(&self, bytes: u64) -> Result<(), Failure> {
        let folder = self.config.folder.clone();
        let available = on_disk(move || fs4::available_space(&folder)).await?;
        if available < self.free_bytes_min.saturating_add(bytes) {
            warn!(available, "the disk is too full for copies of files");
            return Err(Failure::Ours);
        }
        Ok(())
    }

    /// A new file for a copy that is on its way.
    pub(super) async fn begin(&self, copy: CopyKey) -> Result<Half, Failure> {
        let path = self.half_path(copy);
        on_disk(move || {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            let file = Arc::new(options.open(&path)?);
            Ok(Half { path, file })
        })
        .await
    }

    /// Makes a copy known whose bytes are right.
    pub(super) async fn keep(
        &self,
        copy: CopyKey,
        half: Half,
        row: &FileRow,
        room: Room,
    ) -> Result<(), Failure> {
        let (file, from, to) = (Arc::clone(&half.file), half.path.clone(), self.path(copy));
        // Before its row is there, only the turn tells it from what a crash left behind.
        let _turn = self.turn.lock().await;
        on_disk(move || {
            file.sync_data()?;
            fs::rename(from, to)
        })
        .await?;
        let used = self
            .tables
            .read(|tables| tables.usage(&Stock::Copies))
            .await?;
        let mut batch = Batch::new();
        let row = CopyRow {
            size: row.size,
            mime: row.mime.clone(),
            name: row.name.clone(),
            hash: row.hash.clone(),
            used: self.clock.now().as_millis(),
        };
        put_copy(&mut batch, copy, None, &row);
        let usage = UsageRow {
            files: used.files + 1,
            bytes: used.bytes.saturating_add(row.size),
        };
        put_usage(&mut batch, &Stock::Copies, &usage);
        let _applied = self.tables.commit(batch).await?;
        drop(room);
        Ok(())
    }

    /// Forgets copies, durably, and removes their bytes. The caller has the turn.
    async fn forget(&self, copies: Vec<CopyKey>) -> Result<(), Failure> {
        let known = copies.clone();
        let read = move |tables: &Tables| {
            let rows: Result<Vec<_>, StoreError> = known
                .into_iter()
                .map(|it| Ok((it, tables.copy(it)?)))
                .collect();
            Ok((rows?, tables.usage(&Stock::Copies)?))
        };
        let (rows, mut usage) = self.tables.read(read).await?;
        let mut batch = Batch::new();
        for (copy, row) in rows {
            let Some(row) = row else { continue };
            remove_copy(&mut batch, copy, &row);
            usage.files = usage.files.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(row.size);
        }
        put_usage(&mut batch, &Stock::Copies, &usage);
        let _applied = self.tables.commit(batch).await?;
        let paths: Vec<_> = copies.into_iter().map(|it| self.path(it)).collect();
        on_disk(move || {
            for path in paths {
                match fs::remove_file(path) {
                    Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// Removes the copies that nobody has asked for in a long time.
    pub(super) async fn expire(&self) {
        let oldest = self.clock.now().minus(self.config.keep).as_millis();
        loop {
            let _turn = self.turn.lock().await;
            let find = move |tables: &Tables| {
                let mut expired = Vec::new();
                for copy in tables.copies_by_use(PAGE)? {
                    if tables.copy(copy)?.is_none_or(|it| it.used <= oldest) {
                        expired.push(copy);
                    }
                }
                Ok(expired)
            };
            let expired = match self.tables.read(find).await {
                Ok(expired) if expired.is_empty() => return,
                Ok(expired) => expired,
                Err(fault) => return error!(%fault, "copies of files cannot be looked at"),
            };
            info!(
                copies = expired.len(),
                "copies of files that nobody asked for are removed"
            );
            if self.forget(expired).await.is_err() {
                return;
            }
        }
    }

    /// Removes the copies of a file.
    pub(super) async fn drop_of(&self, file: FileKey) {
        let _turn = self.turn.lock().await;
        let copies = self.tables.read(move |it| it.copies_of(file, PAGE)).await;
        match copies {
            Ok(copies) if copies.is_empty() => {}
            // What fails is said there, and is left to expire.
            Ok(copies) => drop(self.forget(copies).await),
            Err(fault) => error!(%fault, "copies of files cannot be looked at"),
        }
    }

    /// Removes bytes that no row knows.
    pub(super) async fn sweep(&self) {
        let _turn = self.turn.lock().await;
        let (folder, tables) = (self.config.folder.clone(), self.tables.clone());
        let swept = tokio::task::spawn_blocking(move || {
            for name in names_in(&folder)? {
                let Some(copy) = copy_of(&name) else { continue };
                let row = tables.copy(copy).map_err(io::Error::other)?;
                if row.is_none() {
                    fs::remove_file(folder.join(name))?;
                }
            }
            io::Result::Ok(())
        });
        let swept = swept.await.unwrap_or_else(|it| Err(io::Error::other(it)));
        if let Err(fault) = swept {
            warn!(%fault, "left-over copies of files are not all removed");
        }
    }
}

/// A copy on its way. Dropped before it is kept, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Half {
    path: PathBuf,
    file: Arc<File>,
}

impl Half {
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // When it was kept it has another name by now. One call, and quick.
        match fs::remove_file(&self.path) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                warn!(%fault, "half a copy of a file is removed at the next start");
            }
            _ => {}
        }
    }
}

fn name_of(copy: CopyKey) -> String {
    URL_SAFE_NO_PAD.encode(copy.as_bytes())
}

fn copy_of(name: &str) -> Option<CopyKey> {
    let bytes = URL_SAFE_NO_PAD.decode(name).ok()?;
    Some(CopyKey::from_bytes(bytes.try_into().ok()?))
}

fn names_in(folder: &std::path::Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|it| Ok(it?.file_name().into_string().ok()));
    let names: io::Result<Vec<_>> = names.collect();
    Ok(names?.into_iter().flatten().collect())
}

/// What is shown of a copy is what is shown of a file.
fn as_file(row: &CopyRow) -> FileRow {
    FileRow {
        owner: Bytes::new(),
        size: row.size,
        mime: row.mime.clone(),
        extension: String::new(),
        name: row.name.clone(),
        hash: row.hash.clone(),
        created: row.used,
    }
}
