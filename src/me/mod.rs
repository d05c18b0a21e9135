//! The topic `me`: one's own account, the list of contacts, and who of them is here (fact sheet,
//! sections 2.2 and 4).

mod contacts;
mod presence;
mod profile;
mod tags;

use std::sync::Arc;

use serde_json::json;

pub(crate) use presence::{
    announce, came_abroad, come_forward, enter, leave, meet, set_own_mode, tell_agent,
};
pub(crate) use profile::{account, description, set_description};
pub(crate) use tags::{set_tags, tell_tags};

use crate::{
    accounts::Caller,
    edge::{
        frames::{Meta, ServerFrame},
        reply::{self, Reply},
        requests::GetQuery,
    },
    server::Server,
    topic::{in_frames, parts},
};

/// Answers `{get me}`.
pub(crate) async fn query(
    server: &Arc<Server>,
    caller: &Caller,
    id: &Option<String>,
    get: &GetQuery,
) -> Result<Vec<ServerFrame>, Reply> {
    let user = &caller.user;
    let parts = parts(&get.what);
    if parts.is_empty() {
        return Err(reply::MALFORMED.into());
    }
    let now = server.clock.now();
    let name = || Some("me".to_owned());
    let none = |what: &str| {
        Reply::with(reply::NO_CONTENT, json!({ "what": what })).into_frame(id.clone(), name(), now)
    };
    let meta = || Box::new(Meta::new(id.clone(), "me".to_owned(), now));
    let mut frames = Vec::new();
    for part in parts {
        match part {
            "desc" => {
                let mut meta = meta();
                meta.desc = Some(profile::describe(server, caller, &get.desc).await?);
                frames.push(ServerFrame::Meta(meta));
            }
            "sub" => match contacts::list(server, user, &get.sub).await? {
                rows if rows.is_empty() => frames.push(none("sub")),
                rows => {
                    for rows in in_frames(rows) {
                        let mut meta = meta();
                        meta.sub = Some(rows);
                        frames.push(ServerFrame::Meta(meta));
                    }
                }
            },
            "tags" => match crate::accounts::tags::of_account(&account(server, user).await?) {
                tags if tags.is_empty() => frames.push(none("tags")),
                tags => {
                    let mut meta = meta();
                    meta.tags = Some(tags);
                    frames.push(ServerFrame::Meta(meta));
                }
            },
            "cred" => match profile::credentials(server, user).await? {
                creds if creds.is_empty() => frames.push(none("creds")),
                creds => {
                    let mut meta = meta();
                    meta.cred = Some(creds);
                    frames.push(ServerFrame::Meta(meta));
                }
            },
            // "data", "del" and "aux" are not for me.
            _ => frames.push(Reply::from(reply::NOT_ALLOWED).into_frame(id.clone(), name(), now)),
        }
    }
    Ok(frames)
}
