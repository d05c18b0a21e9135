//! Who is here: the sessions of each person that listen on `me`.

use std::collections::HashMap;

use freehold_proto::UserId;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::edge::{
    frames::{Packed, ServerFrame},
    session::Session,
};

/// Sessions attached to `me`, by person.
#[derive(Debug, Default)]
pub struct Online {
    people: Mutex<HashMap<UserId, Here>>,
}

/// One person's.
#[derive(Debug, Default)]
struct Here {
    sessions: Vec<Session>,
    /// The person does not wish to be seen.
    hidden: bool,
    /// The program that others were told of last, and when.
    agent: String,
    told: Option<Instant>,
}

/// How often others are told of another program at most.
const AGENT_EVERY: Duration = Duration::from_secs(5);

impl Here {
    fn in_foreground(&self) -> bool {
        !self.sessions.iter().all(Session::background)
    }

    fn is_seen(&self) -> bool {
        !self.hidden && self.in_foreground()
    }
}

impl Online {
    /// Adds a session of somebody who wishes to be `hidden` or not; true when others see the person
    /// come with it.
    pub fn enter(&self, user: &UserId, session: &Session, hidden: bool) -> bool {
        let mut all = self.people.lock();
        let here = all.entry(user.clone()).or_default();
        let before = here.is_seen();
        here.hidden = hidden;
        if !here.sessions.contains(session) {
            here.sessions.push(session.clone());
        }
        let comes = !before && here.is_seen();
        if comes {
            here.agent = session.agent();
        }
        comes
    }

    /// Removes a session; true when others see the person go with it.
    pub fn leave(&self, user: &UserId, session: &Session) -> bool {
        let mut all = self.people.lock();
        let Some(here) = all.get_mut(user) else {
            return false;
        };
        let before = here.is_seen();
        here.sessions.retain(|it| it != session);
        let goes = before && !here.is_seen();
        if here.sessions.is_empty() {
            all.remove(user);
        }
        goes
    }

    /// A session that was in the background is used by a person now; true when others see them come
    /// with it.
    pub fn come_forward(&self, user: &UserId, session: &Session) -> bool {
        let mut all = self.people.lock();
        let Some(here) = all.get_mut(user) else {
            session.come_forward();
            return false;
        };
        let before = here.is_seen();
        session.come_forward();
        !before && here.is_seen()
    }

    /// The person wishes to be hidden or not from now on; true when that changes what others see.
    pub fn hide(&self, user: &UserId, hidden: bool) -> bool {
        let mut all = self.people.lock();
        let Some(here) = all.get_mut(user) else {
            return false;
        };
        let before = here.is_seen();
        here.hidden = hidden;
        before != here.is_seen()
    }

    /// A session's person does something; true if others know of another program, and may be told.
    pub fn uses(&self, user: &UserId, session: &Session) -> bool {
        let mut all = self.people.lock();
        let Some(here) = all.get_mut(user).filter(|it| it.is_seen()) else {
            return false;
        };
        let soon = here.told.is_some_and(|it| it.elapsed() < AGENT_EVERY);
        let agent = session.agent();
        if soon || here.agent == agent || !here.sessions.contains(session) {
            return false;
        }
        here.agent = agent;
        here.told = Some(Instant::now());
        true
    }

    /// True when the person is here and may be seen.
    #[must_use]
    pub fn is_online(&self, user: &UserId) -> bool {
        self.people.lock().get(user).is_some_and(Here::is_seen)
    }

    /// The person's sessions on `me`.
    #[must_use]
    pub fn sessions(&self, user: &UserId) -> Vec<Session> {
        let all = self.people.lock();
        all.get(user)
            .map(|it| it.sessions.clone())
            .unwrap_or_default()
    }

    /// True when there is a session of the person on `me` that `choose` picks.
    pub fn any(&self, user: &UserId, choose: impl Fn(&Session) -> bool) -> bool {
        let all = self.people.lock();
        all.get(user)
            .is_some_and(|it| it.sessions.iter().any(choose))
    }

    /// Sends to the person's sessions on `me` that `choose` picks.
    pub fn tell(&self, user: &UserId, frame: &ServerFrame, choose: impl Fn(&Session) -> bool) {
        let sessions = self.sessions(user);
        if sessions.is_empty() {
            return;
        }
        let packed = Packed::new(frame);
        sessions
            .iter()
            .filter(|it| choose(it))
            .for_each(|it| it.send_packed(&packed));
    }
}
