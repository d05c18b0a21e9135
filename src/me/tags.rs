//! One's own tags as their owner changes them (fact sheet, section 6.5).

use std::sync::Arc;

use freehold_config::Change;
use freehold_proto::UserId;
use freehold_store::Batch;
use serde_json::json;

use crate::{
    accounts::{AccountError, put_changed, tags, tags::TagFault},
    edge::{
        frames::{Pres, ServerFrame},
        reply::{self, Reply},
        session::Session,
    },
    server::Server,
};

/// Answers `{set me tags}`: the list takes the place of the one before.
pub(crate) async fn set_tags(
    server: &Arc<Server>,
    user: &UserId,
    session: &Session,
    typed: &[String],
) -> Result<Reply, Reply> {
    if typed.is_empty() {
        return Ok(reply::NOT_MODIFIED.into());
    }
    let _turn = server.account_turn(user).await;
    let before = server.account(user).await?;
    let mut after = before.clone();
    after.tags = tags::changed(&before, typed).map_err(AccountError::from)?;
    let count =
        |one: &[String], other: &[String]| one.iter().filter(|it| !other.contains(it)).count();
    let added = count(&after.tags, &before.tags);
    let removed = count(&before.tags, &after.tags);
    if added == 0 && removed == 0 {
        return Ok(reply::NOT_MODIFIED.into());
    }
    let mut batch = Batch::new();
    put_changed(&mut batch, user, &before, &after);
    // The one guard is that nobody else has the alias.
    server.commit_or(batch, TagFault::Taken.into()).await?;
    server.tell_plugins_account(Change::Update, user, &after);
    tell_tags(server, user, session);
    Ok(Reply::with(
        reply::OK,
        json!({"added": added, "removed": removed}),
    ))
}

/// Tells a person's other sessions that the tags changed.
pub(crate) fn tell_tags(server: &Server, user: &UserId, session: &Session) {
    let pres = Pres {
        topic: "me".to_owned(),
        what: "tags",
        ..Pres::default()
    };
    server
        .online
        .tell(user, &ServerFrame::Pres(pres), |it| it != session);
}
