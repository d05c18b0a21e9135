//! How far the members of a group that spans domains have got, and who is typing: told once per
//! domain, never once per member (federation.md 6; rules.md 10; PROTOCOL.md sections 7.5 and 7.7).

use freehold_federation::Verdict;
use freehold_proto::{AccessMode, DomainName, RefusalCode, UserId, wire};
use freehold_store::{Batch, Tables};

use super::{
    actor::{Actor, Effect},
    command::Decision,
    group_home::Unheard,
    group_replica::MISSING_RETRY,
    places::{marked_order, marked_seq},
    room::Room,
    standing::CursorMove,
};
use crate::edge::reply::Reply;

/// Above so many members nobody elsewhere is told how far others have read.
const MARKS_MEMBERS_MAX: usize = 1000;
/// Above so many other domains nobody elsewhere is told who is typing.
const TYPING_DOMAINS_MAX: usize = 8;
/// Above so many members nobody is told who is typing.
const TYPING_MEMBERS_MAX: usize = 100;

impl Actor {
    /// Other domains that hear at once what a member of `domain` does here: from a copy only the home.
    fn hearers(&self, domain: &DomainName) -> Vec<DomainName> {
        let Some(room) = self.topic.room() else {
            return Vec::new();
        };
        match &room.home {
            Some(home) if *domain == self.server.us => vec![home.clone()],
            Some(_) => Vec::new(),
            None => {
                let others = room.followers.keys().filter(|it| *it != domain);
                others.cloned().collect()
            }
        }
    }

    /// Somebody got further: other domains with members are told.
    pub(super) async fn marks_out(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        user: &UserId,
    ) -> Result<(), Reply> {
        let spans = |it: &&Room| it.log.is_some() && it.members.len() <= MARKS_MEMBERS_MAX;
        let Some(room) = self.topic.room().filter(spans) else {
            return Ok(());
        };
        // Who reads a channel is nobody's business.
        let Some(standing) = room.members.get(user).filter(|it| it.deleted.is_none()) else {
            return Ok(());
        };
        let (key, seqs) = (self.key(), (standing.received, standing.read));
        let (same, opened) = (!room.is_renumbered(), room.opened);
        let hearers = self.hearers(user.domain());
        if hearers.is_empty() {
            return Ok(());
        }
        let orders = match same {
            true => seqs,
            false => {
                let read = move |tables: &Tables| {
                    let order = |seq| marked_order(tables, key, opened, seq);
                    Ok((order(seqs.0)?, order(seqs.1)?))
                };
                self.server.tables.read(read).await?
            }
        };
        let now = self.now();
        for peer in &hearers {
            let outbox = &self.server.outbox;
            outbox.put_marks(batch, peer, key, &[(user.clone(), orders)], now);
        }
        effects.push(Effect::WakePeers(hearers, key));
        Ok(())
    }

    /// Another domain says how far members have got.
    pub(super) async fn marks_in(
        &mut self,
        origin: &DomainName,
        (cursors, readers): (Vec<wire::GroupCursor>, Option<u32>),
        decision: Decision,
    ) {
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        // Somebody elsewhere may be ahead of us: what they have read comes in a moment.
        let log = self.topic.room().and_then(|it| it.log);
        let order = log.map_or(0, |it| it.order);
        let ahead = |it: &wire::GroupCursor| it.received.max(it.read) > order;
        let verdict = match self.home_abroad().is_some() && cursors.iter().any(ahead) {
            true => Verdict::Later {
                code: RefusalCode::EntriesMissing,
                retry_after: MISSING_RETRY,
            },
            false => Verdict::Ok,
        };
        tracing::debug!(peer = %origin, ?cursors, ?verdict, order, "marks come in");
        for cursor in cursors {
            let taken = self.mark_in(origin, &cursor, &mut batch, &mut effects);
            if let Err(reply) = taken.await {
                let why = reply.status.text.to_owned();
                self.read_again();
                return drop(decision.send(Err(freehold_federation::Unavailable(why))));
            }
        }
        let noted = match readers {
            Some(readers) => self.note_readers(origin, readers, &mut batch).await,
            None => Ok(Vec::new()),
        };
        let verdict = match noted {
            Ok(told) => {
                effects.extend(told);
                verdict
            }
            Err(Unheard::Refused(refusal)) => Verdict::Refused(refusal),
            Err(Unheard::Unavailable(why)) => {
                self.read_again();
                return drop(decision.send(Err(freehold_federation::Unavailable(why))));
            }
        };
        effects.push(Effect::Decided(decision, verdict));
        match readers {
            // Lists show how many read.
            Some(_) => self.commit_all(batch, effects),
            None => self.commit(batch, effects),
        }
    }

    async fn mark_in(
        &mut self,
        origin: &DomainName,
        cursor: &wire::GroupCursor,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let Some(user) = self.heard_of(origin, &cursor.user) else {
            return Ok(());
        };
        let (mut received, mut read) = (cursor.received, cursor.read);
        if let Some(room) = self.topic.room().filter(|it| it.is_renumbered()) {
            let (key, limits) = (self.key(), (room.opened, room.head));
            let first = self.first_pending();
            let seq = move |tables: &Tables| {
                let seq = |order| marked_seq(tables, key, limits, order);
                Ok((seq(received)?, seq(read)?))
            };
            let seqs = self.server.tables.read(seq).await?;
            // What the home has not placed nobody else has seen.
            let seen = |it: u32| first.map_or(it, |first| it.min(first - 1));
            (received, read) = (seen(seqs.0), seen(seqs.1));
        }
        let moved: Option<CursorMove> = self.topic.progress(&user, read, received);
        if let Some(moved) = moved {
            self.place.note_cursor(&user, read, received);
            effects.push(Effect::Moved(user.clone(), moved, None));
            self.marks_out(batch, effects, &user).await?;
        }
        Ok(())
    }

    /// A member for whom a domain may speak: the home for all others, any other domain for its own.
    fn heard_of(&self, origin: &DomainName, user: &str) -> Option<UserId> {
        let user: UserId = user.parse().ok()?;
        let room = self.topic.room().filter(|_| self.is_stored())?;
        let speaks = match &room.home {
            Some(home) => home == origin && *user.domain() != self.server.us,
            None => user.domain() == origin,
        };
        let member = room.members.get(&user).filter(|it| it.deleted.is_none());
        (speaks && member.is_some()).then_some(user)
    }

    /// The first message of ours here that the home has not placed.
    pub(super) fn first_pending(&self) -> Option<u32> {
        self.topic.room()?.unplaced.first().copied()
    }

    /// One of our people is typing: other domains with members are told.
    pub(super) fn typing_out(&self, user: &UserId, what: &str) {
        let Some(room) = self.topic.room().filter(|it| it.log.is_some()) else {
            return;
        };
        let Some(group) = room.group else { return };
        let hearers = self.hearers(user.domain());
        if room.members.len() > TYPING_MEMBERS_MAX || hearers.len() > TYPING_DOMAINS_MAX {
            return;
        }
        for peer in hearers {
            let signal = wire::Signal {
                user: user.to_string(),
                peer: String::new(),
                what: what.to_owned(),
                group: bytes::Bytes::copy_from_slice(group.as_bytes()),
                ..wire::Signal::default()
            };
            self.server.signal(&peer, signal);
        }
    }

    /// Another domain says that a member is typing.
    pub(super) fn typing_in(&self, origin: &DomainName, user: &UserId, what: &'static str) {
        let Some(user) = self.heard_of(origin, &user.to_string()) else {
            return;
        };
        if self.topic.may(&user, AccessMode::WRITE) {
            self.tell_typing(&user, what);
            self.typing_out(&user, what);
        }
    }
}
