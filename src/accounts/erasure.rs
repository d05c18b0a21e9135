//! Deleting an account: at once and for good. The account goes in one batch, which leaves its id
//! taken and a mark; its conversations are ended one after the other, again where one fails, and after
//! a restart for as long as the mark stands.

use std::{sync::Arc, time::Duration};

use freehold_config::Change;
use freehold_proto::UserId;
use freehold_store::{
    Batch, StoreError, Tables,
    tables::accounts::{end_erasure, erase_account},
};
use futures_util::{StreamExt as _, stream};
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
/// Deletions that go on at once after a start.
const AT_ONCE: usize = 8;
/// How often a deletion that does not get on is tried again before it waits for the next start.
const TRIES: u32 = 12;
/// How long it rests after it failed; twice as long each time after that.
const REST: Duration = Duration::from_secs(1);
/// But no longer than this.
const REST_MAX: Duration = Duration::from_secs(10 * 60);

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
    let (gone, now, before) = (user.clone(), server.clock.now(), row.clone());
    let gather = move |tables: &Tables| {
        let all = tags::of_account(&row);
        erase_account(tables, &mut batch, &gone, &row, &all, at)?;
        let picture = Referrer::Account(gone);
        files::release(tables, &mut batch, &picture, now)?;
        Ok(batch)
    };
    let batch = server.tables.read(gather).await?;
    server.commit_or(batch, AccountError::Busy).await?;
    server.tell_plugins_account(Change::Delete, user, &before);
    Ok(())
}

/// Ends what was left of deletions when the domain stopped.
pub(crate) async fn resume(server: Arc<Server>) {
    let us = server.us.clone();
    let read = move |tables: &Tables| tables.erasures(&us);
    match server.tables.read(read).await {
        Ok(users) => {
            // One that does not get on does not keep the others waiting.
            let all = stream::iter(&users);
            all.for_each_concurrent(AT_ONCE, |user| finish(&server, user))
                .await;
        }
        Err(fault) => error!(%fault, "deletions under way cannot be read"),
    }
}

/// Ends a deleted person's conversations, then takes the mark away. What fails is tried again; what
/// was done already is done again, which changes nothing.
async fn finish(server: &Arc<Server>, user: &UserId) {
    let stop = server.tasks.stop_token();
    let mut rest = REST;
    for _ in 0..TRIES {
        match finish_once(server, user).await {
            Ok(true) => return,
            Ok(false) => warn!(%user, "a deletion did not get on; it is tried again"),
            Err(fault) => warn!(%user, %fault, "a deletion did not get on; it is tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
        rest = (rest * 2).min(REST_MAX);
    }
    error!(%user, "a deletion goes on at the next start");
}

/// False when a conversation could not be ended.
async fn finish_once(server: &Arc<Server>, user: &UserId) -> Result<bool, StoreError> {
    if !end_conversations(server, user).await? {
        return Ok(false);
    }
    let mut batch = Batch::new();
    end_erasure(&mut batch, user);
    // A batch without guards is applied.
    let _applied = server.tables.commit(batch).await?;
    Ok(true)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        accounts::{
            Level,
            registration::{NewAccount, Permit},
        },
        stage::Stage,
    };

    #[tokio::test(start_paused = true)]
    async fn a_deletion_that_does_not_get_on_is_tried_again_without_a_restart() {
        let stage = Stage::new().await;
        let server = &stage.server;
        let new = NewAccount {
            public: json!({"fn": "Ann"}).to_string().into(),
            level: Level::Anonymous,
            ..NewAccount::default()
        };
        let (ann, _) = server.create_account(new, Permit::Free).await.unwrap();
        erase_row(server, &ann, None).await.unwrap();
        stage.engine.fail_pages(3);
        let before = tokio::time::Instant::now();
        finish(server, &ann).await;
        assert_eq!(stage.engine.pages_to_fail(), 0);
        assert_eq!(before.elapsed(), REST + REST * 2 + REST * 4);
        let us = server.us.clone();
        let left = server.tables.read(move |tables| tables.erasures(&us)).await;
        assert_eq!(left.unwrap(), []);
        stage.close().await;
    }
}
