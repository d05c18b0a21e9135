//! The sessions of each person that are logged in, on `me` or not: whom a suspension or a deletion
//! puts out.

use std::collections::{HashMap, HashSet};

use freehold_proto::{Timestamp, UserId};
use freehold_store::TopicKey;
use parking_lot::Mutex;
use serde_json::json;

use crate::edge::{
    reply::{self, Reply},
    session::Session,
};

/// Logged-in sessions, by person.
#[derive(Debug, Default)]
pub struct LoggedIn {
    sessions: Mutex<HashMap<UserId, Vec<Session>>>,
}

impl LoggedIn {
    /// A session has logged in, perhaps once more.
    pub fn enter(&self, user: &UserId, session: &Session) {
        let mut all = self.sessions.lock();
        let sessions = all.entry(user.clone()).or_default();
        if !sessions.contains(session) {
            sessions.push(session.clone());
        }
    }

    /// A session has ended.
    pub fn leave(&self, user: &UserId, session: &Session) {
        let mut all = self.sessions.lock();
        if let Some(sessions) = all.get_mut(user) {
            sessions.retain(|it| it != session);
            if sessions.is_empty() {
                all.remove(user);
            }
        }
    }

    /// The devices with which a person is here, and not in the background.
    pub fn devices_in_use(&self, user: &UserId) -> HashSet<String> {
        let all = self.sessions.lock();
        let sessions = all.get(user).map_or(&[][..], Vec::as_slice);
        let in_use = |it: &&Session| !it.background() && !it.is_closed();
        sessions
            .iter()
            .filter(in_use)
            .filter_map(Session::device)
            .collect()
    }

    /// Whether a person has a topic open, and not in the background.
    pub fn is_looking(&self, user: &UserId, topic: TopicKey) -> bool {
        let all = self.sessions.lock();
        let mut sessions = all.get(user).into_iter().flatten();
        sessions.any(|it| !it.background() && !it.is_closed() && it.is_attached(topic))
    }

    /// Ends a person's sessions, with a last word, except perhaps one.
    pub fn evict(&self, user: &UserId, except: Option<&Session>, now: Timestamp) {
        let sessions = self.sessions.lock().get(user).cloned().unwrap_or_default();
        for session in sessions.iter().filter(|it| Some(*it) != except) {
            let evicted = Reply::with(reply::EVICTED, json!({"unsub": false}));
            session.send(&evicted.into_frame(None, None, now));
            session.close();
        }
    }
}
