//! Showing a session the messages that it missed while its client did not keep up: from the store, a
//! page each time the client has taken the one before, until it is where the others are.

use std::sync::{Arc, atomic::Ordering};

use freehold_proto::{AccessMode, UserId};
use freehold_store::{StoreError, Tables, TopicKey};
use prost::Message as _;
use tracing::warn;

use super::{actor::Actor, message};
use crate::{
    edge::{behind::Missing, encoding::Encoded, frames::ServerFrame, ids::Ids, session::Session},
    server::Server,
};

/// Positions looked at at once. Messages are at most a quarter of a mebibyte each.
const SPAN: u32 = 16;
/// Where a page ends: bytes of messages, about, and positions.
const PAGE_BYTES: usize = 256 * 1024;
const PAGE_SPANS: u32 = 16;

/// Whose page it is, and how they see the topic.
struct Reader {
    user: UserId,
    /// The topic as they name it.
    name: String,
    /// They read a channel, and are not told who wrote.
    anonymous: bool,
}

impl Actor {
    /// A session has taken what waited for it: it is shown the next of what it missed.
    pub(super) async fn catch_up(&mut self, session: &Session) {
        let key = self.key();
        let Some(missing) = session.missing(key) else {
            return;
        };
        let user = self.attached.owner(session).cloned();
        let reads = |it: &UserId| self.may(it, AccessMode::READ);
        let Some(user) = user.filter(reads) else {
            return session.catch_up(key, Vec::new(), None);
        };
        let reader = Reader {
            name: self.view(&user),
            anonymous: self.is_reader(&user),
            user,
        };
        // What others have been told of is durable, and all that is durable they have been told of.
        let head = self.place.durable_head.load(Ordering::Acquire);
        let end = head.min(self.topic.head()).saturating_add(1);
        let (server, to) = (Arc::clone(&self.server), session.clone());
        let read = move |tables: &Tables| {
            let (frames, next) = page(tables, &server, key, &reader, (&missing, end))?;
            let encoded = frames.iter().map(|it| it.encode(to.encoding()));
            Ok((encoded.collect::<Vec<Encoded>>(), next))
        };
        match self.server.tables.read(read).await {
            Ok((frames, next)) => session.catch_up(key, frames, (next < end).then_some(next)),
            Err(fault) => {
                warn!(%fault, "what a client missed cannot be read; closing its connection");
                session.close();
            }
        }
    }
}

/// The next messages that somebody misses before `end`, oldest first, and where it goes on. Blocks.
fn page(
    tables: &Tables,
    server: &Server,
    topic: TopicKey,
    reader: &Reader,
    (missing, end): (&Missing, u32),
) -> Result<(Vec<ServerFrame>, u32), StoreError> {
    let (mut frames, mut bytes, mut next) = (Vec::new(), 0, missing.from);
    for _ in 0..PAGE_SPANS {
        if next >= end || bytes >= PAGE_BYTES {
            break;
        }
        let span = (next, end.min(next.saturating_add(SPAN)));
        let rows = tables.visible_history(topic, &reader.user, span, SPAN as usize, usize::MAX)?;
        for (seq, row) in rows.iter().rev().filter(|it| !missing.own.contains(&it.0)) {
            bytes += row.encoded_len();
            let ids: &Ids = &server.ids;
            let mut data = message::shown(tables, ids, topic, *seq, row)?;
            data.topic.clone_from(&reader.name);
            if reader.anonymous {
                data.from.clear();
            }
            frames.push(ServerFrame::Data(data));
        }
        next = span.1;
    }
    Ok((frames, next))
}
