//! The sessions that are attached to a topic, and whose they are.

use std::collections::HashMap;

use freehold_proto::UserId;

use crate::edge::{behind::Missing, session::Session};

/// A session that may not stay, and is to be told so once that is durable.
#[derive(Clone, Debug)]
pub(super) struct PutOut {
    pub(super) session: Session,
    /// What it has to be shown if it may stay after all.
    pub(super) missing: Missing,
}

/// Attached sessions, found by session and by person.
#[derive(Clone, Debug, Default)]
pub(super) struct Attached {
    owners: HashMap<u64, UserId>,
    sessions: HashMap<UserId, Vec<Session>>,
}

impl Attached {
    /// Attaches a session for a person; true when it is the person's first.
    pub(super) fn insert(&mut self, session: &Session, user: &UserId) -> bool {
        if self.owners.contains_key(&session.id()) {
            return false;
        }
        self.owners.insert(session.id(), user.clone());
        let sessions = self.sessions.entry(user.clone()).or_default();
        sessions.push(session.clone());
        sessions.len() == 1
    }

    /// Detaches a session. Says whose it was, and whether it was their last.
    pub(super) fn remove(&mut self, session: &Session) -> Option<(UserId, bool)> {
        let user = self.owners.remove(&session.id())?;
        let Some(sessions) = self.sessions.get_mut(&user) else {
            return Some((user, true));
        };
        sessions.retain(|it| it != session);
        let last = sessions.is_empty();
        if last {
            self.sessions.remove(&user);
        }
        Some((user, last))
    }

    /// Detaches all sessions of a person.
    pub(super) fn remove_all(&mut self, user: &UserId) -> Vec<Session> {
        let sessions = self.sessions.remove(user).unwrap_or_default();
        sessions.iter().for_each(|it| {
            self.owners.remove(&it.id());
        });
        sessions
    }

    pub(super) fn contains(&self, session: &Session) -> bool {
        self.owners.contains_key(&session.id())
    }

    /// Whose session it is, if it is attached.
    pub(super) fn owner(&self, session: &Session) -> Option<&UserId> {
        self.owners.get(&session.id())
    }

    /// The sessions of a person.
    pub(super) fn of(&self, user: &UserId) -> &[Session] {
        self.sessions.get(user).map_or(&[], Vec::as_slice)
    }

    /// Everybody who has a session here, with all of them.
    pub(super) fn people(&self) -> impl Iterator<Item = (&UserId, &[Session])> {
        self.sessions.iter().map(|(user, it)| (user, it.as_slice()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}
