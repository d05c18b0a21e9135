//! Telling people here what happened, each under the names and with the rights that are theirs
//! (fact sheet, sections 3.5, 4 and 5.1).

use freehold_federation::Verdict;
use freehold_proto::{AccessMode, UserId};
use freehold_store::tables::rows::MessageRow;
use tracing::error;

use super::{
    actor::{Actor, Effect},
    message,
    one_to_one::{AccessChange, CursorMove},
};
use crate::edge::{
    frames::{AccessDelta, Data, Info, Pres, ServerFrame},
    session::Session,
};

impl Actor {
    /// The topic as one of its people names it: by the other one.
    pub(super) fn view(&self, user: &UserId) -> String {
        self.server.ids.shown(&self.topic.other(user).id)
    }

    /// Does what follows a commit.
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Reply(session, frames) => session.send_all(&frames),
            Effect::Appended {
                seq,
                row,
                author,
                except,
            } => self.tell_message(seq, &row, &author, except.as_ref()),
            Effect::Access(change, except) => self.tell_access(&change, except.as_ref()),
            Effect::Moved(user, moved, except) => self.tell_progress(&user, moved, except.as_ref()),
            Effect::Left(user, session) => self.tell_left(&user, &session),
            Effect::Annotated(user, session) => {
                let pres = self.pres_on_me(&user, "upd");
                self.server
                    .online
                    .tell(&user, &ServerFrame::Pres(pres), |it| *it != session);
            }
            Effect::Described(user) => {
                let told = self.topic.other(&user).id.clone();
                let pres = self.pres_on_me(&told, "upd");
                self.server
                    .online
                    .tell(&told, &ServerFrame::Pres(pres), |_| true);
            }
            Effect::Greet(user) => {
                let other = self.topic.other(&user).standing.as_ref();
                let may_know = other.is_some_and(|it| it.given.has(AccessMode::PRESENCE));
                if may_know && self.server.is_online(&user) {
                    self.signal_out(&user, "on");
                }
            }
            Effect::Wake => {
                if let Some(foreigner) = self.topic.foreigner() {
                    self.server.wake(foreigner.id.domain());
                }
            }
            Effect::Release(author) => {
                let peer = self.topic.other(&author).id.domain().clone();
                self.server.outbox.release(&peer, self.key(), &author);
                self.server.wake(&peer);
            }
            Effect::Erased(user, attached) => self.tell_erased(&user, &attached),
            // The outbox may have stopped; it asks again after the next start.
            Effect::Told(done) => drop(done.send(())),
            Effect::Decided(decision, verdict) => {
                // The peer may have gone; it will ask again and hear "duplicate".
                let _: Result<(), Result<Verdict, _>> = decision.send(Ok(verdict));
            }
        }
    }

    fn pres_on_me(&self, user: &UserId, what: &'static str) -> Pres {
        Pres {
            topic: "me".to_owned(),
            src: Some(self.view(user)),
            what,
            ..Pres::default()
        }
    }

    fn locals(&self) -> impl Iterator<Item = &UserId> {
        self.topic
            .people
            .iter()
            .filter(|it| it.local && it.active().is_some())
            .map(|it| &it.id)
    }

    fn attached_of<'a>(&'a self, user: &'a UserId) -> impl Iterator<Item = &'a Session> {
        self.attached
            .iter()
            .filter(move |(_, it)| it == user)
            .map(|(session, _)| session)
    }

    fn may(&self, user: &UserId, rights: AccessMode) -> bool {
        self.topic
            .person(user)
            .active()
            .is_some_and(|it| it.mode().has(rights))
    }

    fn tell_message(&self, seq: u32, row: &MessageRow, author: &UserId, except: Option<&Session>) {
        // Only a message that refers to others reads the store here, and few do.
        let shown = message::shown(&self.server.tables, &self.server.ids, self.key(), seq, row);
        let data = match shown {
            Ok(data) => data,
            Err(fault) => return error!(%fault, "a message just stored cannot be read"),
        };
        for user in self.locals() {
            if !self.may(user, AccessMode::READ) {
                continue;
            }
            let data = Data {
                topic: self.view(user),
                ..data.clone()
            };
            let frame = ServerFrame::Data(data);
            self.attached_of(user)
                .filter(|it| Some(*it) != except)
                .for_each(|it| it.send(&frame));
            if self.may(user, AccessMode::PRESENCE) {
                let pres = Pres {
                    seq,
                    act: (user != author).then(|| self.server.ids.shown(author)),
                    ..self.pres_on_me(user, "msg")
                };
                let unattached = |it: &Session| !self.is_attached(it) && Some(it) != except;
                self.server
                    .online
                    .tell(user, &ServerFrame::Pres(pres), unattached);
            }
        }
    }

    fn tell_access(&self, change: &AccessChange, except: Option<&Session>) {
        for user in self.locals() {
            let own = *user == change.user;
            // COMPAT JavaScript SDK: inside the topic it takes absolute values for people it knows
            // and needs them for people it does not know yet.
            let inside = Pres {
                topic: self.view(user),
                src: (!own).then(|| self.server.ids.shown(&change.user)),
                what: "acs",
                act: self.actor_for(user, change),
                dacs: Some(absolute(change)),
                ..Pres::default()
            };
            let frame = ServerFrame::Pres(inside);
            self.attached_of(user)
                .filter(|it| Some(*it) != except)
                .for_each(|it| it.send(&frame));
            if !own {
                continue;
            }
            let on_me = Pres {
                act: self.actor_for(user, change),
                dacs: Some(if change.fresh {
                    absolute(change)
                } else {
                    delta(change)
                }),
                ..self.pres_on_me(user, "acs")
            };
            let unattached = |it: &Session| !self.is_attached(it) && Some(it) != except;
            self.server
                .online
                .tell(user, &ServerFrame::Pres(on_me), unattached);
        }
        self.tell_creator(change, except);
    }

    /// COMPAT web app: its first {sub} to a new chat asks for nothing, so it learns of the other
    /// person only from this.
    fn tell_creator(&self, change: &AccessChange, except: Option<&Session>) {
        let (true, Some(session)) = (change.fresh && change.user != change.actor, except) else {
            return;
        };
        if !self.is_attached(session) {
            return;
        }
        let pres = Pres {
            topic: self.view(&change.actor),
            src: Some(self.server.ids.shown(&change.user)),
            what: "acs",
            dacs: Some(absolute(change)),
            ..Pres::default()
        };
        session.send(&ServerFrame::Pres(pres));
    }

    fn actor_for(&self, user: &UserId, change: &AccessChange) -> Option<String> {
        let telling = change.actor != change.user && change.actor != *user;
        telling.then(|| self.server.ids.shown(&change.actor))
    }

    fn tell_progress(&self, user: &UserId, moved: CursorMove, except: Option<&Session>) {
        let news = [("read", moved.read), ("recv", moved.received)];
        for (what, seq) in news
            .into_iter()
            .filter_map(|(what, seq)| Some((what, seq?)))
        {
            for told in self.locals() {
                let own = told == user;
                let frame = self.info(told, user, (what, seq), false);
                self.attached_of(told)
                    .filter(|it| Some(*it) != except)
                    .for_each(|it| it.send(&frame));
                if !self.may(told, AccessMode::READ.or(AccessMode::PRESENCE)) {
                    continue;
                }
                let frame = if own {
                    ServerFrame::Pres(Pres {
                        seq,
                        ..self.pres_on_me(told, what)
                    })
                } else {
                    self.info(told, user, (what, seq), true)
                };
                let unattached = |it: &Session| !self.is_attached(it) && Some(it) != except;
                self.server.online.tell(told, &frame, unattached);
            }
        }
    }

    /// A note of `from` as `told` hears it, in the topic or on `me`.
    fn info(
        &self,
        told: &UserId,
        from: &UserId,
        (what, seq): (&'static str, u32),
        on_me: bool,
    ) -> ServerFrame {
        let view = self.view(told);
        ServerFrame::Info(Info {
            topic: if on_me { "me".to_owned() } else { view.clone() },
            src: on_me.then_some(view),
            from: self.server.ids.shown(from),
            what,
            seq,
        })
    }

    /// Somebody is typing: the other one's sessions hear it, if that one has agreed to talk.
    pub(super) fn tell_typing(&self, user: &UserId, what: &'static str) {
        let told = self.topic.other(user);
        let agreed = told.active().is_some_and(|it| it.consents());
        let told = &told.id;
        if !agreed || !self.may(user, AccessMode::WRITE) || !self.may(told, AccessMode::READ) {
            return;
        }
        let frame = self.info(told, user, (what, 0), false);
        self.attached_of(told).for_each(|it| it.send(&frame));
        if self.may(told, AccessMode::PRESENCE) {
            self.server
                .online
                .tell(told, &self.info(told, user, (what, 0), true), |it| {
                    !self.is_attached(it)
                });
        }
    }

    fn tell_left(&self, user: &UserId, session: &Session) {
        let gone = ServerFrame::Pres(self.pres_on_me(user, "gone"));
        self.server.online.tell(user, &gone, |it| it != session);
        let other = &self.topic.other(user).id;
        let off = ServerFrame::Pres(self.pres_on_me(other, "off"));
        if self.may(other, AccessMode::PRESENCE) {
            self.server.online.tell(other, &off, |_| true);
        }
    }
}

fn absolute(change: &AccessChange) -> AccessDelta {
    AccessDelta {
        want: change.want.1.to_string(),
        given: change.given.1.to_string(),
    }
}

fn delta(change: &AccessChange) -> AccessDelta {
    AccessDelta {
        want: change.want.0.delta_to(change.want.1),
        given: change.given.0.delta_to(change.given.1),
    }
}
