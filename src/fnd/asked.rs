//! Searches about which plugins are asked first (decisions/0031).

use std::{borrow::Cow, sync::Arc};

use freehold_proto::{AccessMode, GroupId, Timestamp, pbx};

use super::ROWS_MAX;
use crate::{
    accounts::Caller,
    edge::{
        frames::{Access, Ctrl, ServerFrame, Sub, raw},
        reply::Reply,
    },
    plugins::Found,
    server::Server,
};

/// What came of a search.
pub(crate) enum Outcome {
    /// These rows, or a refusal of ours.
    Rows(Result<Vec<Sub>, Reply>),
    /// A plugin without which nobody searches does not answer: code and text.
    Refused(u16, String),
}

/// The rows a query finds, by the word of a plugin or by our own search.
pub(crate) async fn search(server: &Arc<Server>, asker: &Caller, text: &str) -> Outcome {
    let mut text = Cow::Borrowed(text);
    if server.plugins.search() {
        let query = pbx::SearchQuery {
            user_id: server.ids.shown(&asker.user),
            query: text.clone().into_owned(),
        };
        match server.plugins.find(query).await {
            Found::GoOn => {}
            Found::These(rows) => return Outcome::Rows(Ok(read(server, rows))),
            Found::Instead(other) => text = Cow::Owned(other),
            Found::Refuse(code, text) => return Outcome::Refused(code, text),
        }
    }
    Outcome::Rows(super::search(server, asker, &text).await)
}

/// The answer to a search that was refused.
pub(crate) fn refusal(
    id: Option<String>,
    (code, text): (u16, String),
    ts: Timestamp,
) -> ServerFrame {
    ServerFrame::Ctrl(Ctrl {
        id,
        topic: Some("fnd".to_owned()),
        params: None,
        code,
        text: text.into(),
        ts,
    })
}

/// What a plugin found; rows that name nobody are left out.
fn read(server: &Server, rows: Vec<pbx::TopicSub>) -> Vec<Sub> {
    let names = |row: &pbx::TopicSub| {
        let name = [&row.topic, &row.user_id]
            .into_iter()
            .find(|it| !it.is_empty())?;
        let group = name.replacen("chn", "grp", 1).parse::<GroupId>().is_ok();
        (group || server.ids.read(name).is_ok()).then(|| name.clone())
    };
    let row = |it: pbx::TopicSub| Some(row(names(&it)?, &it));
    rows.into_iter().filter_map(row).take(ROWS_MAX).collect()
}

fn row(name: String, row: &pbx::TopicSub) -> Sub {
    let mode = |it: &pbx::AccessMode| {
        let part = |text: &str| text.parse::<AccessMode>().ok();
        part(&it.given).or_else(|| part(&it.want))
    };
    let mode = row.acs.as_ref().and_then(mode);
    let updated = Timestamp::from_millis(row.updated_at).ok();
    Sub {
        topic: Some(name),
        updated: updated.filter(|it| *it != Timestamp::EPOCH),
        acs: mode.map(|it| Access {
            want: None,
            given: None,
            mode: it.to_string(),
        }),
        public: raw(&row.public),
        private: raw(&row.private),
        trusted: raw(&row.trusted),
        ..Sub::default()
    }
}
