//! Deleting an account: at once and for good. The account goes in one batch, which leaves its id
//! taken and a mark; its conversations are ended one after the other, and again after a restart for
//! as long as the mark stands.

use std::sync::Arc;

use freehold_proto::UserId;
use freehold_store::{
    Batch, StoreError, Tables,
    tables::accounts::{end_erasure, erase_account},
};
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{AccountError, tags};
use crate::{
    edge::session::Session,
    files::{self, Referrer},
    server::Server,
    topic::{Command, TopicName, hub::Hub},
};

/// Conversations read in one go.
const PAGE: usize = 500;

/// Deletes an account. `by` is an administrator, if it is not the person; `except` is the session
/// that asks, which its own connection closes after the answer.
pub(crate) async fn erase(
    server: &Arc<Server>,
    user: &UserId,
    by: Option<&UserId>,
    except: Option<&Session>,
) -> Result<(), AccountError> {
    let by = by.map(ToString::to_string);
    erase_row(server, user, by.as_deref()).await?;
    server.sessions.evict(user, except, server.clock.now());
    let (server, user) = (Arc::clone(server), user.clone());
    let tasks = server.tasks.clone();
    tasks.spawn("erasure", async move {
        finish(&server, &user).await;
    });
    Ok(())
}

/// Deletes the account itself, and leaves the mark that its conversations are to be ended.
pub(crate) async fn erase_row(
    server: &Server,
    user: &UserId,
    by: Option<&str>,
) -> Result<(), AccountError> {
    let _turn = server.account_turn(user).await;
    let row = server.account(user).await?;
    let mut batch = Batch::new();
    if let Some(by) = by {
        server.audit(&mut batch, by, Some(user), "delete")?;
    }
    // Strictly later than what other domains know of the person.
    let at = server.clock.now().as_millis().max(row.updated + 1);
    let (gone, now) = (user.clone(), server.clock.now());
    let gather = move |tables: &Tables| {
        let all = tags::of_account(&row);
        erase_account(tables, &mut batch, &gone, &row, &all, at)?;
        let picture = Referrer::Account(gone);
        files::release(tables, &mut batch, &picture, now)?;
        Ok(batch)
    };
    let batch = server.tables.read(gather).await?;
    server.commit_or(batch, AccountError::Busy).await
}

/// Ends what was left of deletions when the domain stopped.
pub(crate) async fn resume(server: Arc<Server>) {
    let us = server.us.clone();
    let read = move |tables: &Tables| tables.erasures(&us);
    match server.tables.read(read).await {
        Ok(users) => {
            for user in users {
                finish(&server, &user).await;
            }
        }
        Err(fault) => error!(%fault, "deletions under way cannot be read"),
    }
}

/// Ends a deleted person's conversations, then takes the mark away.
async fn finish(server: &Arc<Server>, user: &UserId) {
    match end_conversations(server, user).await {
        Ok(true) => {
            let mut batch = Batch::new();
            end_erasure(&mut batch, user);
            if let Err(fault) = server.tables.commit(batch).await {
                error!(%fault, "a deletion cannot be completed; the next start tries again");
            }
        }
        Ok(false) => warn!(%user, "a deletion goes on at the next start"),
        Err(fault) => error!(%fault, "a deletion goes on at the next start"),
    }
}

/// True when all have been ended.
async fn end_conversations(server: &Arc<Server>, user: &UserId) -> Result<bool, StoreError> {
    let mut after = None;
    loop {
        let person = user.clone();
        let read = move |tables: &Tables| tables.subscriptions(&person, after, PAGE);
        let page = server.tables.read(read).await?;
        for (_, row) in &page {
            let Some(name) = TopicName::from_stored(&row.peer, user) else {
                continue;
            };
            let (done, ended) = oneshot::channel();
            let user = user.clone();
            Hub::send(server, &name, Command::Erase { user, done }).await;
            if ended.await.is_err() {
                return Ok(false);
            }
        }
        match page.last() {
            Some((topic, _)) if page.len() == PAGE => after = Some(*topic),
            _ => return Ok(true),
        }
    }
}
