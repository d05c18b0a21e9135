//! Packs older messages in the background ([`packs`]), a little at a time: one batch or, when much waits, a few
//! are under way, and after them comes a rest as long as the store took. When it is as far behind as a turn can
//! tell there is no rest: what stays behind costs for ever, since the engine's file never becomes smaller, and
//! neither does what it keeps in memory for each page that it ever had.

use std::{sync::Arc, time::Duration};

use freehold_store::{Config, Outcome, StoreError, Tables, tables::packs};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, warn};

use crate::server::Server;

/// How often it is looked whether there is anything to pack.
const LOOK: Duration = Duration::from_secs(2);
/// How long to wait when the store does not take anything, or has no room for it.
const AGAIN: Duration = Duration::from_secs(30);

/// Packs until the domain stops. What is under way then is complete or was never begun.
pub(crate) async fn run(server: Arc<Server>, store: Config) {
    loop {
        let begun = Instant::now();
        let rest = match has_room(&store).await {
            true => match turn(&server.tables).await {
                Ok(0) => LOOK,
                Ok(packs::BATCHES_MAX) => Duration::ZERO,
                Ok(_) => begun.elapsed(),
                Err(fault) => {
                    error!(%fault, "older messages cannot be packed now");
                    AGAIN
                }
            },
            false => {
                warn!("there is too little room on the disk for packing older messages");
                AGAIN
            }
        };
        tokio::select! {
            () = server.tasks.stopped() => return,
            () = sleep(rest) => {}
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
pub(crate) async fn turn(tables: &Tables) -> Result<usize, StoreError> {
    let batches = tables.read(packs::pack_some).await?;
    let commits: Vec<_> = batches.into_iter().map(|it| tables.commit(it)).collect();
    let turns = commits.len();
    for outcome in join_all(commits).await {
        if let Outcome::GuardFailed { .. } = outcome? {
            debug!("messages changed while they were to be packed");
        }
    }
    Ok(turns)
}
