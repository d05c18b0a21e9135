//! Showing a session the messages that it missed while its client did not keep up: from the store, a
//! page each time the client has taken the one before, until it is where the others are.
//!
//! The topic's task reads nothing for that, however many are behind. It says who reads and how far others
//! have been told (`begin_page`); the task of the session reads the page (`show_next`); the topic's task
//! hands it over, if nothing has changed of what was read (`show_page`). What is told meanwhile the session
//! keeps, up to a bound, and gets behind the page; beyond that bound it stays behind (`edge/behind.rs`).

use std::sync::{Arc, atomic::Ordering};

use freehold_proto::{AccessMode, UserId};
use freehold_store::{StoreError, Tables, TopicKey};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::warn;

use super::{Command, TopicName, actor::Actor, hub::Hub, message};
use crate::{
    edge::{behind::Missing, encoding::Encoded, frames::ServerFrame, ids::Ids, session::Session},
    server::Server,
};

/// Positions looked at at once. Messages are at most a quarter of a mebibyte each.
const SPAN: u32 = 16;
/// Where a page ends: bytes of messages, about, and positions.
const PAGE_BYTES: usize = 256 * 1024;
const PAGE_SPANS: u32 = 16;
/// Pages that a domain reads at once; more would only take the store from those who keep up.
pub(crate) const PAGES_AT_ONCE: usize = 4;

/// The turns of a domain at reading pages.
pub(crate) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PAGES_AT_ONCE))
}

/// Whose page it is, and how they see the topic.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Reader {
    user: UserId,
    /// The topic as they name it.
    name: String,
    /// They read a channel, and are not told who wrote.
    anonymous: bool,
}

/// A page that is to be read.
#[derive(Debug)]
pub struct Wanted {
    /// Names it within the process.
    number: u64,
    missing: Missing,
    /// Behind the last message that others have been told of.
    end: u32,
    reader: Reader,
}

/// A page that has been read.
#[derive(Debug)]
pub struct Page {
    number: u64,
    reader: Reader,
    frames: Vec<Encoded>,
    /// Where the next one begins, unless this is all that others had been told of when it was begun.
    next: Option<u32>,
}

/// Shows a session the next page of what it missed of a topic. Completes when it has been read and is on
/// its way to the topic.
pub(crate) async fn show_next(server: &Arc<Server>, session: &Session, name: &TopicName) {
    // Before the page is begun: whatever is deleted from then on makes it useless.
    let Ok(turn) = Arc::clone(&server.pages).acquire_owned().await else {
        return;
    };
    let (answer, wanted) = oneshot::channel();
    let command = Command::CatchUp {
        session: session.clone(),
        answer,
    };
    Hub::send(server, name, command).await;
    // It misses nothing there any more, or may not read it.
    let Ok(wanted) = wanted.await else { return };
    match read(server, session, name.key(), (wanted, turn)).await {
        Ok(page) => {
            let (session, page) = (session.clone(), Box::new(page));
            Hub::send(server, name, Command::Page { session, page }).await;
        }
        Err(fault) => {
            warn!(%fault, "what a client missed cannot be read; closing its connection");
            session.close();
        }
    }
}

async fn read(
    server: &Arc<Server>,
    session: &Session,
    topic: TopicKey,
    (wanted, turn): (Wanted, OwnedSemaphorePermit),
) -> Result<Page, StoreError> {
    let (ids, encoding) = (Arc::clone(server), session.encoding());
    let read = move |tables: &Tables| {
        // Kept until the page is read, also when nobody waits for it any more.
        let _turn = turn;
        let (frames, next) = page(tables, &ids.ids, topic, &wanted)?;
        Ok(Page {
            number: wanted.number,
            frames: frames.iter().map(|it| it.encode(encoding)).collect(),
            next: (next < wanted.end).then_some(next),
            reader: wanted.reader,
        })
    };
    server.tables.read(read).await
}

impl Actor {
    /// A session has taken what waited for it: the next page of what it missed is to be read.
    pub(super) fn begin_page(&self, session: &Session, answer: oneshot::Sender<Wanted>) {
        let Some(reader) = self.reader(session) else {
            return session.forgets(self.key());
        };
        let Some((number, missing)) = session.begin_page(self.key()) else {
            return;
        };
        let wanted = Wanted {
            number,
            missing,
            end: self.told().saturating_add(1),
            reader,
        };
        // Who is gone needs no page.
        let _gone = answer.send(wanted);
    }

    /// A page has been read: it is shown if whoever asked for it still sees the topic as they did.
    pub(super) fn show_page(&self, session: &Session, page: Page) {
        if self.reader(session).as_ref() != Some(&page.reader) {
            session.discard_page(self.key());
        }
        session.show_page(self.key(), page.number, page.frames, page.next);
    }

    /// Who reads with this session, if they may.
    fn reader(&self, session: &Session) -> Option<Reader> {
        let user = self.attached.owner(session)?;
        let reads = self.may(user, AccessMode::READ);
        reads.then(|| Reader {
            name: self.view(user),
            anonymous: self.is_reader(user),
            user: user.clone(),
        })
    }

    /// The last position that others have been told of: all that is durable they have been told of, and
    /// nothing else.
    pub(super) fn told(&self) -> u32 {
        let head = self.place.durable_head.load(Ordering::Acquire);
        head.min(self.topic.head())
    }
}

/// The next messages that somebody misses, oldest first, and where it goes on. Blocks.
fn page(
    tables: &Tables,
    ids: &Ids,
    topic: TopicKey,
    wanted: &Wanted,
) -> Result<(Vec<ServerFrame>, u32), StoreError> {
    let Wanted {
        missing,
        end,
        reader,
        ..
    } = wanted;
    let (mut frames, mut bytes, mut next) = (Vec::new(), 0, missing.from);
    for _ in 0..PAGE_SPANS {
        if next >= *end || bytes >= PAGE_BYTES {
            break;
        }
        let span = (next, next.saturating_add(SPAN).min(*end));
        let rows = tables.visible_history(topic, &reader.user, span, SPAN as usize, usize::MAX)?;
        for (seq, row) in rows.iter().rev().filter(|it| !missing.own.contains(&it.0)) {
            bytes += row.encoded_len();
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
