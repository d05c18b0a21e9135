//! A session's search: the topic `fnd` (fact sheet, section 7).

use std::sync::Arc;

use freehold_proto::UserId;
use freehold_store::Batch;
use serde_json::{Value, json, value::to_raw_value};
use tokio_util::sync::CancellationToken;

use super::{
    connection::Connection,
    frames::{Desc, Meta, ServerFrame},
    reply,
    reply::Reply,
    requests::{GetQuery, Set, SetDesc},
};
use crate::{
    accounts::{Caller, put_changed},
    fnd::{self, asked::Outcome},
    topic::parts,
};

/// The mark that clears a query.
const CLEAR: &str = "\u{2421}";
/// Longest query, in bytes.
const QUERY_BYTES_MAX: usize = 8192;

/// The search of one session.
#[derive(Debug, Default)]
pub(super) struct Find {
    query: String,
    /// The search that runs; a newer one takes its place.
    running: CancellationToken,
}

impl Find {
    /// Ends what runs.
    pub(super) fn stop(&self) {
        self.running.cancel();
    }
}

/// The query in a change; nothing when the change leaves it as it is.
fn query_in(value: Option<&Value>) -> Result<Option<String>, Reply> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(query)) if query == CLEAR => Ok(Some(String::new())),
        Some(Value::String(query)) if query.len() > QUERY_BYTES_MAX => Err(reply::TOO_LARGE.into()),
        Some(Value::String(query)) => Ok(Some(query.clone())),
        Some(_) => Err(reply::MALFORMED.into()),
    }
}

impl Connection {
    /// `{set fnd}`: `public` is this session's query, `private` the one that is kept.
    pub(super) async fn set_fnd(&mut self, user: &UserId, set: Set) -> Result<(), Reply> {
        if self.fnd.is_none() {
            return Err(reply::ATTACH_FIRST.into());
        }
        let desc = set.query.desc.ok_or(reply::MALFORMED)?;
        self.change_query(user, &desc).await?;
        self.answer(set.id.as_deref(), Some("fnd"), reply::OK);
        Ok(())
    }

    /// Takes over queries.
    pub(super) async fn change_query(
        &mut self,
        user: &UserId,
        desc: &SetDesc,
    ) -> Result<(), Reply> {
        let public = query_in(desc.public.as_ref())?;
        let private = query_in(desc.private.as_ref())?;
        if public.is_none() && private.is_none() {
            return Err(reply::MALFORMED.into());
        }
        if let Some(query) = private {
            let _turn = self.server.account_turn(user).await;
            let before = self.server.account(user).await?;
            let mut after = before.clone();
            after.standing_query = query;
            let mut batch = Batch::new();
            put_changed(&mut batch, user, &before, &after);
            // A batch without guards is applied.
            let _applied = self.server.tables.commit(batch).await?;
        }
        if let (Some(find), Some(query)) = (&mut self.fnd, public) {
            find.query = query;
        }
        Ok(())
    }

    /// Answers a question to `fnd`. A search may ask other domains, so it runs beside the queue; a
    /// newer one takes its place.
    pub(super) async fn find(
        &mut self,
        caller: &Caller,
        id: Option<String>,
        get: &GetQuery,
    ) -> Result<(), Reply> {
        let Some(find) = &self.fnd else {
            return Err(reply::ATTACH_FIRST.into());
        };
        let kept = self.server.account(&caller.user).await?.standing_query;
        let public = find.query.clone();
        for what in parts(&get.what) {
            let mut meta = Meta::new(id.clone(), "fnd".to_owned(), self.now());
            match what {
                "sub" => {
                    let query = if public.is_empty() { &kept } else { &public };
                    self.search(caller, id.clone(), query.clone());
                    continue;
                }
                "desc" => meta.desc = Some(described(&public, &kept)),
                "tags" => {
                    meta.tags = fnd::alias_owner(&self.server, caller, &public)
                        .await?
                        .map(|owner| vec![owner]);
                }
                // The rest is not for fnd.
                _ => {
                    self.answer(id.as_deref(), Some("fnd"), reply::NOT_ALLOWED);
                    continue;
                }
            }
            self.session
                .send(&match meta.desc.is_some() || meta.tags.is_some() {
                    true => ServerFrame::Meta(Box::new(meta)),
                    false => nothing(what).into_frame(id.clone(), Some("fnd".to_owned()), meta.ts),
                });
        }
        Ok(())
    }

    fn search(&mut self, caller: &Caller, id: Option<String>, query: String) {
        let Some(find) = &mut self.fnd else {
            return;
        };
        find.stop();
        find.running = CancellationToken::new();
        let running = find.running.clone();
        let (server, session, caller) = (
            Arc::clone(&self.server),
            self.session.clone(),
            caller.clone(),
        );
        self.beside(async move {
            let found = tokio::select! {
                // Its client gets the answer to the newer question; this one is told so.
                () = running.cancelled() => Outcome::Rows(Ok(Vec::new())),
                found = fnd::asked::search(&server, &caller, &query) => found,
            };
            let now = server.clock.now();
            let topic = Some("fnd".to_owned());
            session.send(&match found {
                Outcome::Rows(Ok(rows)) if rows.is_empty() => {
                    nothing("sub").into_frame(id, topic, now)
                }
                Outcome::Rows(Ok(rows)) => {
                    let mut meta = Meta::new(id, "fnd".to_owned(), now);
                    meta.sub = Some(rows);
                    ServerFrame::Meta(Box::new(meta))
                }
                Outcome::Rows(Err(refusal)) => refusal.into_frame(id, topic, now),
                Outcome::Refused(code, text) => fnd::asked::refusal(id, (code, text), now),
            });
        });
    }
}

fn nothing(what: &str) -> Reply {
    Reply::with(reply::NO_CONTENT, json!({ "what": what }))
}

fn described(public: &str, private: &str) -> Desc {
    let text = |it: &str| (!it.is_empty()).then(|| to_raw_value(it).ok()).flatten();
    Desc {
        public: text(public),
        private: text(private),
        ..Desc::default()
    }
}
