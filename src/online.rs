//! Who is here: the sessions of each person that listen on `me`.

use std::collections::HashMap;

use freehold_proto::UserId;
use parking_lot::Mutex;

use crate::edge::{
    frames::{Packed, ServerFrame},
    session::Session,
};

/// Sessions attached to `me`, by person.
#[derive(Debug, Default)]
pub struct Online {
    sessions: Mutex<HashMap<UserId, Vec<Session>>>,
}

impl Online {
    /// Adds a session; true when it is the person's first in the foreground.
    pub fn enter(&self, user: &UserId, session: &Session) -> bool {
        let mut all = self.sessions.lock();
        let sessions = all.entry(user.clone()).or_default();
        let first = !session.background() && sessions.iter().all(Session::background);
        if !sessions.contains(session) {
            sessions.push(session.clone());
        }
        first
    }

    /// Removes a session; true when it was the person's last in the foreground.
    pub fn leave(&self, user: &UserId, session: &Session) -> bool {
        let mut all = self.sessions.lock();
        let Some(sessions) = all.get_mut(user) else {
            return false;
        };
        let before = sessions.len();
        sessions.retain(|it| it != session);
        let left = sessions.len() < before && !session.background();
        let alone = sessions.iter().all(Session::background);
        if sessions.is_empty() {
            all.remove(user);
        }
        left && alone
    }

    /// True when the person has a session in the foreground.
    #[must_use]
    pub fn is_online(&self, user: &UserId) -> bool {
        let all = self.sessions.lock();
        all.get(user)
            .is_some_and(|it| !it.iter().all(Session::background))
    }

    /// The person's sessions on `me`.
    #[must_use]
    pub fn sessions(&self, user: &UserId) -> Vec<Session> {
        self.sessions.lock().get(user).cloned().unwrap_or_default()
    }

    /// Sends to the person's sessions on `me` that `choose` picks.
    pub fn tell(&self, user: &UserId, frame: &ServerFrame, choose: impl Fn(&Session) -> bool) {
        let packed = Packed::new(frame);
        self.sessions(user)
            .iter()
            .filter(|it| choose(it))
            .for_each(|it| it.send_packed(&packed));
    }
}
