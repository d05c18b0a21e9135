//! Removes files that nothing refers to, an hour after they came or lost their last reference; and, at
//! the start, bytes that no row knows.
//!
//! A file's row goes first, durably, its bytes afterwards: a crash between the two leaves bytes
//! without a row, which the next start finds, and never a row without bytes. Every file that nothing
//! refers to has a row in the index by due time, so nothing is searched for.

use std::sync::Arc;

use freehold_proto::Timestamp;
use freehold_store::{
    Batch, Outcome, StoreError, Tables,
    tables::{
        files::{self, FileKey, Stock},
        rows::{FileRow, UsageRow},
    },
};
use futures_util::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

use super::{Files, KEPT, owner_of};

/// Files looked at in one go.
const PAGE: usize = 128;

/// Collects until the domain stops. What it has begun it brings to an end.
pub(super) async fn run(files: Arc<Files>) {
    let mut tick = interval(files.limits.collect_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = files.tasks.stop_token();
    sweep(&files).await;
    files.sweep_copies().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        files.expire_copies().await;
        match round(&files).await {
            Ok(0) => {}
            Ok(collected) => info!(collected, "files that nothing referred to are removed"),
            Err(fault) => error!(%fault, "files cannot be collected"),
        }
    }
}

/// Looks at all whose time has come; returns how many went.
pub(super) async fn round(files: &Files) -> Result<usize, StoreError> {
    let mut collected = 0;
    loop {
        let now = files.clock.now();
        let page = move |tables: &Tables| tables.due_files(now, PAGE);
        let due = files.tables.read(page).await?;
        for &(when, file) in &due {
            if files.tasks.is_stopping() {
                return Ok(collected);
            }
            collected += usize::from(look_at(files, when, file, now).await?);
        }
        if due.len() < PAGE {
            return Ok(collected);
        }
    }
}

/// What there is to say for and against a file.
struct Case {
    row: Option<FileRow>,
    referred: bool,
    idle_since: Timestamp,
}

/// True when the file is gone.
pub(super) async fn look_at(
    files: &Files,
    due: Timestamp,
    file: FileKey,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if !files.condemn(file) {
        // Somebody is about to refer to it. Nobody may remember to look again, so we do.
        let mut batch = Batch::new();
        files::remove_due(&mut batch, due, file);
        files::put_due(&mut batch, now.plus(KEPT), file);
        // A batch without guards is applied.
        let _applied = files.tables.commit(batch).await?;
        return Ok(false);
    }
    let result = judge(files, due, file, now).await;
    // After a failure of unknown outcome the store is done for, so it does not matter.
    files.pardon(file);
    result
}

async fn judge(
    files: &Files,
    due: Timestamp,
    file: FileKey,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let read = move |tables: &Tables| {
        Ok(Case {
            row: tables.file(file)?,
            referred: tables.is_referred(file)?,
            idle_since: tables.idle_since(file)?,
        })
    };
    let case = files.tables.read(read).await?;
    let mut batch = Batch::new();
    files::remove_due(&mut batch, due, file);
    // It lost a reference after this look at it was planned, and that planned another look.
    let too_early = case.idle_since.plus(KEPT) > now;
    match case.row {
        Some(row) if !case.referred && !too_early => {
            forget(files, batch, file, &row).await?;
            files.discard(file).await;
            return Ok(true);
        }
        Some(_) => {}
        None => {
            files::remove_file(&mut batch, file, None);
            if !case.referred {
                // It may be one of another domain.
                files.drop_copies(file).await;
            }
        }
    }
    let _applied = files.tables.commit(batch).await?;
    Ok(false)
}

/// Removes a file's rows, durably.
async fn forget(
    files: &Files,
    mut batch: Batch,
    file: FileKey,
    row: &FileRow,
) -> Result<(), StoreError> {
    let owner = owner_of(row, &files.us);
    let _turn = files.turn.lock().await;
    let [all, own] = files.stored(owner.clone()).await?;
    files::remove_file(&mut batch, file, owner.as_ref());
    files::put_usage(&mut batch, &Stock::Domain, &without(&all, row.size));
    if let Some(owner) = owner {
        let own = without(&own, row.size);
        files::put_usage(&mut batch, &Stock::Person(owner), &own);
    }
    match files.tables.commit(batch).await? {
        Outcome::Applied => Ok(()),
        Outcome::GuardFailed { .. } => Ok(()),
    }
}

fn without(usage: &UsageRow, bytes: u64) -> UsageRow {
    UsageRow {
        files: usage.files.saturating_sub(1),
        bytes: usage.bytes.saturating_sub(bytes),
    }
}

/// Removes bytes that no row knows: of uploads and removals that a crash cut off.
pub(super) async fn sweep(files: &Files) {
    let all = files.tables.read(|tables| tables.usage(&Stock::Domain));
    let known = match all.await {
        Ok(usage) => usage.files,
        Err(fault) => return error!(%fault, "left-over bytes of files are not looked for"),
    };
    let mut objects = files.storage.list();
    let mut removed = 0_u64;
    while let Some(object) = objects.next().await {
        let key = match object {
            Ok(key) => key,
            Err(fault) => return warn!(%fault, "left-over bytes of files are not looked for"),
        };
        if files.tasks.is_stopping() {
            return;
        }
        match is_left_over(files, key).await {
            Ok(false) => {}
            Ok(true) if known == 0 => {
                // Rather the wrong store or the wrong folder than a domain of crashes.
                return warn!("the store knows no files, but there are some: they stay");
            }
            Ok(true) => {
                files.discard(key).await;
                removed += 1;
            }
            Err(fault) => return error!(%fault, "left-over bytes of files are not looked for"),
        }
    }
    debug!(removed, "bytes of files that no row knows are removed");
}

async fn is_left_over(files: &Files, key: FileKey) -> Result<bool, StoreError> {
    // The order counts: an upload lets go of its pin when its row is there.
    if files.is_pinned(key) {
        return Ok(false);
    }
    let row = files.tables.read(move |tables| tables.file(key)).await?;
    Ok(row.is_none())
}
