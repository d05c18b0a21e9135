//! One file on its way here: written as it comes, read meanwhile by whoever asked for it.

use std::{fs::File, ops::Range, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use bytes::Bytes;
use freehold_federation::{FileQuery, LinkError};
use freehold_store::tables::rows::FileRow;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Coming, Failure, Source, Wanted,
    copies::{Copies, Half, on_disk},
};
use crate::files::{
    StorageError,
    kind::{HEAD_BYTES, clean_name, mime_of},
};

/// Bytes read from the disk in one go.
const CHUNK: usize = 64 * 1024;
/// A file whose link broke is asked for again so often without a byte in between.
const RESUMES_MAX: u32 = 10;
const RESUME_PAUSE: Duration = Duration::from_secs(1);
/// A file must come within a minute, and as much more as it has bytes, at this rate.
const TIME_MIN: Duration = Duration::from_secs(60);
const BYTES_A_SECOND_MIN: u64 = 32 * 1024;

/// How far a file has come.
#[derive(Clone, Debug, Default)]
struct Stage {
    row: Option<Arc<FileRow>>,
    file: Option<Arc<File>>,
    /// How many bytes may be read.
    readable: u64,
    end: Option<Result<(), Failure>>,
}

/// A file on its way, as those see it who wait for it.
#[derive(Clone, Debug)]
pub(super) struct Flight(watch::Receiver<Stage>);

/// The same, as it comes.
#[derive(Debug)]
pub(super) struct Progress(watch::Sender<Stage>);

impl Progress {
    /// Where the bytes are going to be.
    pub(super) fn opened(&self, file: impl Into<Arc<File>>) {
        let file = file.into();
        self.0.send_modify(|it| it.file = Some(file));
    }

    /// What it is is known.
    pub(super) fn known(&self, row: FileRow) {
        self.0.send_modify(|it| it.row = Some(Arc::new(row)));
    }

    fn written(&self, readable: u64) {
        self.0.send_modify(|it| it.readable = readable);
    }

    /// All of it is here and right.
    pub(super) fn arrived(&self) {
        self.0.send_modify(|it| {
            it.readable = it.row.as_ref().map_or(0, |row| row.size);
            it.end = Some(Ok(()));
        });
    }

    pub(super) fn failed(&self, failure: Failure) {
        self.0.send_modify(|it| it.end = Some(Err(failure)));
    }
}

impl Flight {
    pub(super) fn new() -> (Self, Progress) {
        let (sender, receiver) = watch::channel(Stage::default());
        (Self(receiver), Progress(sender))
    }

    async fn wait(&mut self, until: impl FnMut(&Stage) -> bool) -> Result<Stage, Failure> {
        // Whoever carries it is gone without a word when the domain stops.
        let reached = self.0.wait_for(until).await;
        reached.map(|it| it.clone()).map_err(|_| Failure::Away)
    }

    /// Waits until it is known what it is.
    pub(super) async fn begun(&mut self) -> Result<Arc<FileRow>, Failure> {
        let stage = self.wait(|it| it.row.is_some() || it.end.is_some()).await?;
        match (stage.end, stage.row) {
            (Some(Err(failure)), _) => Err(failure),
            (_, Some(row)) => Ok(row),
            (_, None) => Err(Failure::Ours),
        }
    }

    /// Waits until all of it is here and right.
    pub(super) async fn ended(&mut self) -> Result<(), Failure> {
        let stage = self.wait(|it| it.end.is_some()).await?;
        stage.end.unwrap_or(Err(Failure::Ours))
    }

    /// Bytes as they come.
    pub(super) fn read(self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, StorageError>> {
        let parts = stream::try_unfold((self, range), |(mut flight, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let start = range.start;
            let ready = |it: &Stage| it.readable > start || matches!(it.end, Some(Err(_)));
            let stage = flight.wait(ready).await.map_err(|_| StorageError::Broken)?;
            let file = match (stage.end, stage.file) {
                // What failed in the end is given no further, whatever has come of it.
                (Some(Err(_)), _) | (_, None) => return Err(StorageError::Broken),
                (_, Some(file)) => file,
            };
            let end = range.end.min(stage.readable).min(start + CHUNK as u64);
            let bytes = read_at(file, start..end).await?;
            Ok(Some((bytes, (flight, end..range.end))))
        });
        parts.boxed()
    }
}

async fn read_at(file: Arc<File>, range: Range<u64>) -> Result<Bytes, StorageError> {
    let length = usize::try_from(range.end - range.start).unwrap_or(CHUNK);
    let read = on_disk(move || {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(Bytes::from(bytes))
    });
    read.await.map_err(|_| StorageError::Broken)
}

/// Brings a file and keeps the copy.
pub(super) async fn bring(
    copies: &Copies,
    source: &dyn Source,
    wanted: &Wanted,
    progress: &Progress,
) -> Result<(), Failure> {
    // Of what is too large not even the first byte is asked for.
    if wanted.said.size > copies.bytes_max() {
        return Err(Failure::TooLarge(copies.bytes_max()));
    }
    let mut coming = match source.bring(&wanted.owner, query(wanted, 0)).await {
        Ok(Some(coming)) => coming,
        Ok(None) => return Err(Failure::Missing),
        Err(fault) => return Err(blame(wanted, &fault)),
    };
    let head = coming.head().clone();
    if !wanted.said.hash.is_empty() && head.size != wanted.said.size {
        tracing::warn!(peer = %wanted.owner, size = head.size, fault = "peer", "a file has another size than was signed");
        return Err(Failure::Wrong);
    }
    let room = copies.make_room(head.size).await?;
    let half = copies.begin(wanted.copy).await?;
    progress.opened(half.file());
    let mut arrival = Arrival {
        half,
        hash: Sha256::new(),
        first: Vec::new(),
        received: 0,
        row: FileRow {
            size: head.size,
            name: clean_name(&head.name),
            hash: Bytes::copy_from_slice(&head.sha256),
            ..FileRow::default()
        },
        declared: head.mime.clone(),
    };
    let most = TIME_MIN + Duration::from_secs(head.size / BYTES_A_SECOND_MIN);
    let all = arrival.take_all(source, wanted, &mut coming, progress);
    let taken = timeout(most, all).await;
    taken.unwrap_or_else(|_| {
        tracing::warn!(peer = %wanted.owner, fault = "peer", "a file comes too slowly");
        Err(Failure::Away)
    })?;
    if *arrival.hash.finalize() != *arrival.row.hash {
        tracing::warn!(peer = %wanted.owner, fault = "peer", "a file has another SHA-256 than was said");
        return Err(Failure::Wrong);
    }
    copies
        .keep(wanted.copy, arrival.half, &arrival.row, room)
        .await
}

fn query(wanted: &Wanted, offset: u64) -> FileQuery {
    FileQuery {
        key: *wanted.key.as_bytes(),
        sha256: (&*wanted.said.hash).try_into().ok(),
        offset,
    }
}

fn blame(wanted: &Wanted, fault: &LinkError) -> Failure {
    tracing::info!(peer = %wanted.owner, %fault, "a file does not come");
    match fault {
        LinkError::Misbehaved { .. } => Failure::Wrong,
        _ => Failure::Away,
    }
}

/// What has come of a file.
struct Arrival {
    half: Half,
    hash: Sha256,
    /// The first bytes, which tell what it is.
    first: Vec<u8>,
    received: u64,
    row: FileRow,
    declared: String,
}

impl Arrival {
    /// Takes all bytes. When the link breaks it goes on where it was.
    async fn take_all(
        &mut self,
        source: &dyn Source,
        wanted: &Wanted,
        coming: &mut Box<dyn Coming>,
        progress: &Progress,
    ) -> Result<(), Failure> {
        self.tell(progress);
        let mut resumes = 0;
        loop {
            let fault = match coming.next().await {
                Ok(None) if self.received == self.row.size => return Ok(()),
                // The link counts; this cannot be.
                Ok(None) => return Err(Failure::Wrong),
                Ok(Some(bytes)) => {
                    resumes = 0;
                    self.take(bytes).await?;
                    self.tell(progress);
                    continue;
                }
                Err(fault) => fault,
            };
            let mut failure = blame(wanted, &fault);
            *coming = loop {
                if failure != Failure::Away || resumes == RESUMES_MAX {
                    return Err(failure);
                }
                resumes += 1;
                sleep(RESUME_PAUSE).await;
                let again = source.bring(&wanted.owner, query(wanted, self.received));
                match again.await {
                    Ok(Some(again)) if self.goes_on(&*again) => break again,
                    Ok(Some(_)) => return Err(Failure::Wrong),
                    Ok(None) => return Err(Failure::Missing),
                    Err(fault) => failure = blame(wanted, &fault),
                }
            };
        }
    }

    fn goes_on(&self, again: &dyn Coming) -> bool {
        let head = again.head();
        head.size == self.row.size && head.sha256 == *self.row.hash
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let start = self.received;
        self.received += bytes.len() as u64;
        if self.received > self.row.size {
            return Err(Failure::Wrong);
        }
        let missing = HEAD_BYTES.saturating_sub(self.first.len());
        self.first.extend(bytes.iter().take(missing));
        let (file, mut hash) = (self.half.file(), std::mem::take(&mut self.hash));
        self.hash = on_disk(move || {
            hash.update(&bytes);
            file.write_all_at(&bytes, start)?;
            Ok(hash)
        })
        .await?;
        Ok(())
    }

    /// Lets those who wait know what it is, and what they may read: all but the last byte, so that
    /// nobody takes it for whole before its SHA-256 is checked.
    fn tell(&mut self, progress: &Progress) {
        let enough = HEAD_BYTES.min(usize::try_from(self.row.size).unwrap_or(HEAD_BYTES));
        if self.row.mime.is_empty() && self.first.len() >= enough {
            self.row.mime = mime_of(&self.first, Some(&self.declared));
            progress.known(self.row.clone());
        }
        progress.written(self.received.min(self.row.size.saturating_sub(1)));
    }
}
