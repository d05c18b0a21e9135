//! Telling people how far others have got.
//!
//! Every message is received and read by everybody, and everybody is told of each: what is told grows
//! with the square of the members, and stock clients say both of each message. So in all but small
//! groups it is gathered for a moment, and so is what goes to the domain of the other one of two.

use std::collections::BTreeMap;

use freehold_proto::{AccessMode, UserId};
use freehold_store::Batch;
use tokio::time::{Duration, Instant};

use super::{actor::Actor, standing::CursorMove};
use crate::edge::{
    frames::{Packed, Pres, ServerFrame},
    session::Session,
};

/// Above so many members nobody is told how far others have read.
const MARKS_MEMBERS_MAX: usize = 1000;
/// Up to so many members it is told at once.
const AT_ONCE_MEMBERS_MAX: usize = 8;
/// How long it is gathered otherwise. Clients show check marks by it.
const GATHER: Duration = Duration::from_secs(1);

/// How far people have got of whom others are to be told.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    people: BTreeMap<UserId, CursorMove>,
    /// When those here are told.
    due: Option<Instant>,
    /// When the domain of the other one of two was last told.
    told_abroad: Option<Instant>,
    /// Of whom it is to be told more, and when.
    abroad: Option<(UserId, Instant)>,
}

impl Gathered {
    /// When something is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        let abroad = self.abroad.as_ref().map(|it| it.1);
        self.due.into_iter().chain(abroad).min()
    }

    fn note(&mut self, user: &UserId, moved: CursorMove) {
        let known = self.people.entry(user.clone()).or_default();
        known.read = known.read.max(moved.read);
        known.received = known.received.max(moved.received);
        // Whoever reads has received.
        known.received = known.received.filter(|it| Some(*it) > known.read);
        self.due.get_or_insert_with(|| Instant::now() + GATHER);
    }

    /// Whether the other domain may be told right now how far `user` has got; if not, it will be.
    pub(super) fn may_cross(&mut self, user: &UserId) -> bool {
        let now = Instant::now();
        match self
            .told_abroad
            .map(|it| it + GATHER)
            .filter(|it| *it > now)
        {
            Some(next) => {
                self.abroad.get_or_insert_with(|| (user.clone(), next));
                false
            }
            None => {
                self.told_abroad = Some(now);
                self.abroad = None;
                true
            }
        }
    }
}

impl Actor {
    /// Somebody got further.
    pub(super) fn tell_progress(
        &mut self,
        user: &UserId,
        moved: CursorMove,
        except: Option<&Session>,
    ) {
        for (what, seq) in marks(moved) {
            self.tell_own_progress(user, what, seq, except);
        }
        let members = self.topic.room().map_or(0, |it| it.members.len());
        // Nobody is told what the readers of a channel do, nor in a crowd who has read what: it would
        // cost everybody a notice from everybody for each message.
        if members > MARKS_MEMBERS_MAX || self.is_reader(user) {
            return;
        }
        if members > AT_ONCE_MEMBERS_MAX {
            return self.gathered.note(user, moved);
        }
        for mark in marks(moved) {
            for told in self.locals().filter(|it| *it != user) {
                if self.may(told, AccessMode::READ) {
                    let inside = self.info(told, user, mark, false);
                    self.tell_attached(told, &inside, except);
                    self.tell_mark_elsewhere(told, user, mark, except);
                }
            }
        }
    }

    fn tell_mark_elsewhere(
        &self,
        told: &UserId,
        user: &UserId,
        mark: (&'static str, u32),
        except: Option<&Session>,
    ) {
        if self.may(told, AccessMode::PRESENCE) {
            self.tell_elsewhere(told, &self.info(told, user, mark, true), except);
        }
    }

    /// Tells what was gathered, as far as its time has come.
    pub(super) async fn tell_gathered(&mut self) {
        let now = Instant::now();
        if self.gathered.due.take_if(|it| *it <= now).is_some() {
            let people = std::mem::take(&mut self.gathered.people);
            self.tell_people(&people);
        }
        if let Some((user, _)) = self.gathered.abroad.take_if(|it| it.1 <= now) {
            self.gathered.told_abroad = Some(now);
            self.tell_abroad(&user).await;
        }
    }

    /// Notes for the other domain what waits for its time, before the topic is unloaded.
    pub(super) async fn tell_abroad_now(&mut self) {
        if let Some((user, _)) = self.gathered.abroad.take() {
            self.tell_abroad(&user).await;
        }
    }

    async fn tell_abroad(&mut self, user: &UserId) {
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        // What cannot be noted now is told with the next one.
        let noted = self.cursor_out(&mut batch, &mut effects, user).await;
        if noted.is_ok() && !batch.is_empty() {
            self.commit_all(batch, effects);
        }
    }

    /// In a group all members know each other and the group by the same names, so that what one is told
    /// of somebody is what all are told.
    fn tell_people(&self, people: &BTreeMap<UserId, CursorMove>) {
        let news = people.iter().flat_map(|(user, moved)| {
            let frame = move |mark| (user, mark, self.info(user, user, mark, false));
            marks(*moved).map(frame)
        });
        let news: Vec<_> = news.collect();
        let packed: Vec<_> = news
            .iter()
            .map(|(user, _, frame)| (*user, Packed::new(frame)))
            .collect();
        for told in self.locals().filter(|it| self.may(it, AccessMode::READ)) {
            for session in self.attached.of(told) {
                let others = packed.iter().filter(|(user, _)| *user != told);
                session.send_each(others.map(|(_, frame)| frame));
            }
            if self.is_elsewhere(told, None) {
                for (user, mark, _) in news.iter().filter(|it| it.0 != told) {
                    self.tell_mark_elsewhere(told, user, *mark, None);
                }
            }
        }
    }

    /// A person's other sessions follow.
    fn tell_own_progress(
        &self,
        user: &UserId,
        what: &'static str,
        seq: u32,
        except: Option<&Session>,
    ) {
        if !self.server.ids.is_ours(user) {
            return;
        }
        let inside = self.info(user, user, (what, seq), false);
        self.tell_attached(user, &inside, except);
        if self.may(user, AccessMode::READ.or(AccessMode::PRESENCE)) {
            let pres = Pres {
                seq,
                ..self.pres_on_me(user, what)
            };
            self.tell_elsewhere(user, &ServerFrame::Pres(pres), except);
        }
    }
}

/// What is said of a move.
fn marks(moved: CursorMove) -> impl Iterator<Item = (&'static str, u32)> {
    let all = [("read", moved.read), ("recv", moved.received)];
    all.into_iter().filter_map(|(what, seq)| Some((what, seq?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u8) -> UserId {
        UserId::new([number; 8], "alpha.test".parse().unwrap())
    }

    fn moved(read: u32, received: u32) -> CursorMove {
        let some = |it: u32| Some(it).filter(|it| *it > 0);
        CursorMove {
            read: some(read),
            received: some(received),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_does_within_a_moment_is_one_mark() {
        let mut gathered = Gathered::default();
        let begun = Instant::now();
        for (read, received) in [(0, 1), (1, 0), (0, 2), (2, 0), (0, 5), (3, 0)] {
            gathered.note(&user(1), moved(read, received));
            tokio::time::advance(GATHER / 10).await;
        }
        gathered.note(&user(2), moved(0, 5));
        gathered.note(&user(2), moved(5, 0));
        assert_eq!(gathered.due(), Some(begun + GATHER));
        let told: Vec<Vec<_>> = gathered
            .people
            .values()
            .map(|it| marks(*it).collect())
            .collect();
        assert_eq!(told, [vec![("read", 3), ("recv", 5)], vec![("read", 5)]]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_domain_is_told_at_once_and_then_once_in_a_moment() {
        let mut gathered = Gathered::default();
        let begun = Instant::now();
        let mut crossed = 0;
        for _ in 0..100 {
            crossed += u32::from(gathered.may_cross(&user(1)));
        }
        assert_eq!((crossed, gathered.due()), (1, Some(begun + GATHER)));
        tokio::time::advance(GATHER).await;
        assert!(gathered.may_cross(&user(1)) && gathered.due().is_none());
    }
}
