//! The bytes: objects in a folder of this machine or in a bucket of an S3-compatible service.
//!
//! `object_store` is behind this file and nowhere else. An object appears under its name whole or not
//! at all, and is durable then.

use std::{fmt, fs, io, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use freehold_config::{FilePlace, Files, S3};
use freehold_federation::Tasks;
use freehold_proto::DomainName;
use freehold_store::tables::files::FileKey;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig,
    aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
};
use tokio::time::timeout;

use super::{key_from_text, key_to_text};

/// The environment variable with the secret of the access key.
const SECRET_VARIABLE: &str = "FREEHOLD_S3_SECRET";
/// Bytes of an upload that are in memory. S3 takes no smaller parts than 5 MiB.
const PART_IN_FOLDER: usize = 256 * 1024;
const PART_IN_BUCKET: usize = 5 * 1024 * 1024;
/// Time for the place to do one thing.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A service that is away is tried again this often; a client waits for it.
const RETRIES_MAX: usize = 3;
const RETRY_PATIENCE: Duration = Duration::from_secs(20);

/// Why bytes cannot be kept or had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operator's fault: the place of the files cannot be used as configured.
    #[error("the files cannot be kept as configured: {0}")]
    Config(String),
    /// The fault of the disk or of the service: full, away, or it refuses us.
    #[error("the place of the files does not do its work: {0}")]
    Place(#[from] object_store::Error),
    /// The operator's fault: the disk has too little free space.
    #[error("only {available} bytes are free on the disk of the files, {needed} are needed")]
    Full {
        /// What the file system says is free.
        available: u64,
        /// What must be free for files to be taken.
        needed: u64,
    },
    /// The same: it does not answer.
    #[error("the place of the files does not answer")]
    Silent,
    /// Another domain's fault, or the network's: a file of another domain does not come to its end.
    #[error("the domain that has the file broke off, or gave another")]
    Broken,
    /// The disk's fault, or somebody's who removed it: known, but not there.
    #[error("the bytes of a file are not there: {0}")]
    Missing(object_store::Error),
}

/// Keeps objects by key.
pub(super) struct Storage {
    place: Arc<dyn ObjectStore>,
    /// What the names of all objects begin with.
    prefix: String,
    part_bytes: usize,
    disk: Option<Disk>,
    tasks: Tasks,
}

/// The disk of a folder, and how much of it must stay free.
#[derive(Clone)]
struct Disk {
    folder: PathBuf,
    free_bytes_min: u64,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)
    }
}

impl Storage {
    pub(super) async fn open(
        us: &DomainName,
        config: &Files,
        tasks: Tasks,
    ) -> Result<Self, StorageError> {
        Ok(match &config.place {
            FilePlace::Folder(folder) => Self {
                place: Arc::new(open_folder(folder.clone()).await?),
                prefix: String::new(),
                part_bytes: PART_IN_FOLDER,
                disk: Some(Disk {
                    folder: folder.clone(),
                    free_bytes_min: config.free_bytes_min,
                }),
                tasks,
            },
            FilePlace::S3(s3) => Self {
                place: Arc::new(open_bucket(s3)?),
                // Domains may share a bucket.
                prefix: format!("{us}/"),
                part_bytes: PART_IN_BUCKET,
                disk: None,
                tasks,
            },
        })
    }

    /// Begins to write an object, which appears when it is complete.
    pub(super) fn write(&self, file: FileKey) -> Writing {
        Writing {
            place: Arc::clone(&self.place),
            path: self.path(file),
            part_bytes: self.part_bytes,
            disk: self.disk.clone(),
            tasks: self.tasks.clone(),
            buffer: BytesMut::new(),
            upload: None,
        }
    }

    pub(super) async fn read(
        &self,
        file: FileKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StorageError>>, StorageError> {
        let options = object_store::GetOptions::new().with_range(Some(range));
        let path = self.path(file);
        let getting = self.place.get_opts(&path, options);
        let found = patiently(getting).await.map_err(|fault| match fault {
            StorageError::Place(fault @ object_store::Error::NotFound { .. }) => {
                StorageError::Missing(fault)
            }
            fault => fault,
        })?;
        Ok(found.into_stream().map_err(StorageError::from).boxed())
    }

    /// Removes an object; one that is not there is as good as removed.
    pub(super) async fn remove(&self, file: FileKey) -> Result<(), StorageError> {
        match patiently(self.place.delete(&self.path(file))).await {
            Err(StorageError::Place(object_store::Error::NotFound { .. })) => Ok(()),
            result => result,
        }
    }

    /// All objects, in no order. What is not named as ours is left out and left alone.
    pub(super) fn list(&self) -> BoxStream<'static, Result<FileKey, StorageError>> {
        let prefix = (!self.prefix.is_empty()).then(|| Path::from(&*self.prefix));
        let key = |it: object_store::ObjectMeta| it.location.filename().and_then(key_from_text);
        let found = self.place.list(prefix.as_ref());
        let keys = found.try_filter_map(move |it| std::future::ready(Ok(key(it))));
        keys.map_err(StorageError::from).boxed()
    }

    fn path(&self, file: FileKey) -> Path {
        let name = key_to_text(file);
        // Folders with a million names in them are no pleasure.
        let shelf = name.get(..2).unwrap_or_default();
        Path::from(format!("{}{shelf}/{name}", self.prefix))
    }
}

/// An object on its way. Dropped before it is complete, it is cleared away.
pub(super) struct Writing {
    place: Arc<dyn ObjectStore>,
    path: Path,
    part_bytes: usize,
    disk: Option<Disk>,
    tasks: Tasks,
    buffer: BytesMut,
    // None until there is more than one part of it.
    upload: Option<Box<dyn MultipartUpload>>,
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writing({})", self.path)
    }
}

impl Writing {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() > self.part_bytes {
            let part = self.buffer.split_to(self.part_bytes).freeze();
            self.put_part(part).await?;
        }
        Ok(())
    }

    /// Makes it appear under its name, durable.
    pub(super) async fn complete(&mut self) -> Result<(), StorageError> {
        let last = self.buffer.split().freeze();
        if self.upload.is_none() {
            check_space(self.disk.clone()).await?;
            let putting = self.place.put(&self.path, PutPayload::from_bytes(last));
            patiently(putting).await?;
            return Ok(());
        }
        if !last.is_empty() {
            self.put_part(last).await?;
        }
        if let Some(upload) = &mut self.upload {
            patiently(upload.complete()).await?;
        }
        self.upload = None;
        Ok(())
    }

    async fn put_part(&mut self, part: Bytes) -> Result<(), StorageError> {
        check_space(self.disk.clone()).await?;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(patiently(self.place.put_multipart(&self.path)).await?),
        };
        patiently(upload.put_part(PutPayload::from_bytes(part))).await
    }
}

/// The store cannot even be opened on a disk that files have filled.
async fn check_space(disk: Option<Disk>) -> Result<(), StorageError> {
    let Some(disk) = disk else {
        return Ok(());
    };
    let needed = disk.free_bytes_min;
    let asking = tokio::task::spawn_blocking(move || fs4::available_space(&disk.folder));
    match asking.await.unwrap_or_else(|it| Err(io::Error::other(it))) {
        Ok(available) if available < needed => Err(StorageError::Full { available, needed }),
        // A disk that does not even say how full it is will say what is wrong when it writes.
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            self.tasks.spawn("abort upload", async move {
                if let Err(fault) = patiently(upload.abort()).await {
                    tracing::debug!(%fault, "half a file could not be cleared away");
                }
            });
        }
    }
}

async fn patiently<T>(
    doing: impl Future<Output = object_store::Result<T>>,
) -> Result<T, StorageError> {
    let done = timeout(PATIENCE, doing)
        .await
        .map_err(|_| StorageError::Silent)?;
    Ok(done?)
}

async fn open_folder(folder: PathBuf) -> Result<LocalFileSystem, StorageError> {
    let opening = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&folder)?;
        clear_halves(&folder)?;
        io::Result::Ok(LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true))
    });
    let opened = opening.await.unwrap_or_else(|it| Err(io::Error::other(it)));
    opened.map_err(|it| StorageError::Config(it.to_string()))
}

/// Removes what a killed process had half written: `object_store` calls it by the name it is going to
/// have, `#` and a number, and never lists it.
fn clear_halves(folder: &std::path::Path) -> io::Result<()> {
    for shelf in fs::read_dir(folder)? {
        let shelf = shelf?;
        if !shelf.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(shelf.path())? {
            let file = file?;
            let name = file.file_name();
            let half = name.to_str().and_then(|it| it.split_once('#'));
            if half.is_some_and(|(key, _)| key_from_text(key).is_some()) {
                fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
}

fn open_bucket(s3: &S3) -> Result<object_store::aws::AmazonS3, StorageError> {
    let options = ClientOptions::new()
        // Each step has its own time-out; a large file may take its time.
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_PATIENCE);
    let mut bucket = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(&s3.region)
        .with_access_key_id(&s3.access_key)
        .with_secret_access_key(secret(s3)?)
        .with_retry(RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_PATIENCE,
            ..RetryConfig::default()
        })
        .with_client_options(options);
    if let Some(endpoint) = &s3.endpoint {
        let plain = endpoint.starts_with("http://");
        bucket = bucket.with_endpoint(endpoint).with_allow_http(plain);
    }
    Ok(bucket.build()?)
}

fn secret(s3: &S3) -> Result<String, StorageError> {
    let read = match &s3.secret_file {
        Some(path) => fs::read_to_string(path).map_err(|it| format!("{}: {it}", path.display())),
        None => std::env::var(SECRET_VARIABLE).map_err(|it| format!("{SECRET_VARIABLE}: {it}")),
    };
    let secret = read.map_err(|it| StorageError::Config(format!("the secret, {it}")))?;
    Ok(secret.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u8) -> FileKey {
        FileKey::from_bytes([number; 16])
    }

    async fn open(folder: &std::path::Path, free_bytes_min: u64) -> Storage {
        let config = Files {
            place: FilePlace::Folder(folder.join("files")),
            file_bytes_max: u64::MAX,
            person_bytes_max: u64::MAX,
            total_bytes_max: u64::MAX,
            free_bytes_min,
            collect_every: PATIENCE,
            copies: freehold_config::Copies {
                folder: folder.join("files_of_others"),
                bytes_max: u64::MAX,
                keep: PATIENCE,
            },
        };
        let us = "a.test".parse().unwrap();
        let opening = Storage::open(&us, &config, Tasks::default());
        opening.await.unwrap()
    }

    async fn folder() -> (tempfile::TempDir, Storage) {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path(), 0).await;
        (folder, storage)
    }

    #[tokio::test]
    async fn a_disk_that_is_nearly_full_takes_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path(), u64::MAX).await;
        let mut small = storage.write(file(1));
        small.write(b"small").await.unwrap();
        let refused = small.complete().await;
        assert!(matches!(refused, Err(StorageError::Full { .. })));
        let mut large = storage.write(file(2));
        let refused = large.write(&vec![0; 2 * PART_IN_FOLDER]).await;
        assert!(matches!(refused, Err(StorageError::Full { .. })));
        drop((small, large));
        assert_eq!(storage.tasks.drain(PATIENCE).await, 0);
        assert_eq!(all_names(folder.path()), [""; 0]);
    }

    async fn bytes_of(storage: &Storage, file: FileKey, range: Range<u64>) -> Vec<u8> {
        let stream = storage.read(file, range).await.unwrap();
        let parts: Vec<Bytes> = stream.try_collect().await.unwrap();
        parts.concat()
    }

    fn all_names(folder: &std::path::Path) -> Vec<String> {
        let mut names = Vec::new();
        for shelf in fs::read_dir(folder.join("files")).unwrap() {
            for file in fs::read_dir(shelf.unwrap().path()).unwrap() {
                names.push(file.unwrap().file_name().into_string().unwrap());
            }
        }
        names
    }

    #[tokio::test]
    async fn bytes_come_back_whole_and_in_parts_whatever_their_number() {
        let (_folder, storage) = folder().await;
        let sizes = [0, 1, PART_IN_FOLDER, PART_IN_FOLDER + 1, 3 * PART_IN_FOLDER];
        for (number, size) in (1..).zip(sizes) {
            let bytes: Vec<u8> = (0..size).map(|it| (it % 251) as u8).collect();
            let mut writing = storage.write(file(number));
            for chunk in bytes.chunks(10_000) {
                writing.write(chunk).await.unwrap();
            }
            writing.complete().await.unwrap();
            let end = size as u64;
            if size > 0 {
                assert_eq!(bytes_of(&storage, file(number), 0..end).await, bytes);
                let last = bytes_of(&storage, file(number), end - 1..end).await;
                assert_eq!(last, bytes[size - 1..]);
            }
        }
        let listed: Vec<FileKey> = storage.list().try_collect().await.unwrap();
        assert_eq!(listed.len(), sizes.len());
        storage.remove(file(1)).await.unwrap();
        storage.remove(file(1)).await.unwrap();
        assert!(matches!(
            storage.read(file(1), 0..1).await.err(),
            Some(StorageError::Missing(_))
        ));
    }

    #[tokio::test]
    async fn what_is_given_up_leaves_nothing_behind() {
        let (folder, storage) = folder().await;
        let mut writing = storage.write(file(1));
        let bytes = vec![0; 2 * PART_IN_FOLDER];
        writing.write(&bytes).await.unwrap();
        assert_eq!(all_names(folder.path()).len(), 1);
        drop(writing);
        assert_eq!(storage.tasks.drain(PATIENCE).await, 0);
        assert_eq!(all_names(folder.path()), [""; 0]);
    }

    #[tokio::test]
    async fn what_a_killed_process_left_half_written_is_cleared_away() {
        let (folder, storage) = folder().await;
        let mut writing = storage.write(file(1));
        writing.write(b"whole").await.unwrap();
        writing.complete().await.unwrap();
        let name = key_to_text(file(1));
        let shelf = folder.path().join("files").join(&name[..2]);
        fs::write(shelf.join(format!("{name}#1")), "half").unwrap();
        fs::write(shelf.join("notes#1"), "not ours").unwrap();
        open(folder.path(), 0).await;
        let mut names = all_names(folder.path());
        names.sort();
        assert_eq!(names, [name, "notes#1".to_owned()]);
    }
}
