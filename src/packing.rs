//! Packs older messages in the background ([`packs`]): a stretch at a time, with a rest of some times what the store
//! took for it, so that whoever writes hardly waits. As long as more waits, a few more stretches go at once. While
//! people write faster than that it stays behind, and catches up when they write less.

use std::{sync::Arc, time::Duration};

use freehold_store::{Config, Outcome, StoreError, Tables, tables::packs};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, warn};

use crate::server::Server;

/// When it is looked again whether there is anything to pack; longer and longer while there is not.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(30);
/// How long to wait when the store does not take anything, or has no room for it.
const AGAIN: Duration = Duration::from_secs(30);
/// Stretches that go at once at most: an eighth of what one commit group takes.
const AT_ONCE: usize = 8;
/// How many times as long as it took it rests: a fifth of the store's time is the most that packing takes.
const RESTS: u32 = 4;

/// Packs until the domain stops. What is under way then is complete or was never begun.
pub(crate) async fn run(server: Arc<Server>, store: Config) {
    let (mut limit, mut look) = (1, SOON);
    loop {
        let begun = Instant::now();
        let rest = match packed(&server.tables, &store, limit).await {
            Some(0) => {
                (limit, look) = (1, LATER.min(look * 2));
                look
            }
            Some(count) => {
                let more = if count < limit { count } else { limit * 2 };
                (limit, look) = (more.min(AT_ONCE), SOON);
                begun.elapsed() * RESTS
            }
            None => AGAIN,
        };
        tokio::select! {
            () = server.tasks.stopped() => return,
            () = sleep(rest) => {}
        }
    }
}

/// In how many batches some was packed; `None` when nothing can be packed now.
async fn packed(tables: &Tables, store: &Config, limit: usize) -> Option<usize> {
    if !has_room(store).await {
        warn!("there is too little room on the disk for packing older messages");
        return None;
    }
    match turn(tables, limit).await {
        Ok(count) => Some(count),
        Err(fault) => {
            error!(%fault, "older messages cannot be packed now");
            None
        }
    }
}

/// Packing takes room before it gives any back, and must not be what stops all others from writing.
async fn has_room(store: &Config) -> bool {
    let store = store.clone();
    let looked = tokio::task::spawn_blocking(move || store.free_space()).await;
    match looked {
        Ok(Ok((available, floor))) => available / 2 >= floor,
        // The store itself looks too, before it writes.
        _ => true,
    }
}

/// Packs some; returns in how many batches.
async fn turn(tables: &Tables, limit: usize) -> Result<usize, StoreError> {
    let find = move |tables: &Tables| packs::pack_some(tables, limit);
    let batches = tables.read(find).await?;
    let commits: Vec<_> = batches.into_iter().map(|it| tables.commit(it)).collect();
    let count = commits.len();
    for outcome in join_all(commits).await {
        if let Outcome::GuardFailed { .. } = outcome? {
            debug!("messages changed while they were to be packed");
        }
    }
    Ok(count)
}
