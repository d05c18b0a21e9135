//! Telling people here what happened, each under the names and with the rights that are theirs
//! (fact sheet, sections 3.5, 4 and 5.1).

use freehold_federation::Verdict;
use freehold_proto::{AccessMode, UserId};
use freehold_store::{TopicKey, tables::rows::MessageRow};
use tracing::error;

use super::{
    actor::{Actor, Effect},
    deletion::{Deletion, ranges},
    message,
    standing::{AccessChange, Standing},
};
use crate::edge::{
    frames::{AccessDelta, Data, Info, Packed, Pres, ServerFrame},
    session::Session,
};

impl Actor {
    /// The topic as one of its people names it.
    pub(super) fn view(&self, user: &UserId) -> String {
        self.topic.view(user, &self.server.ids)
    }

    /// Does what follows a commit.
    pub(super) fn perform(&mut self, effect: Effect) {
        self.tell_plugins(&effect);
        match effect {
            Effect::Reply(session, frames) => session.send_all(&frames),
            Effect::Appended {
                seq,
                row,
                author,
                except,
            } => {
                self.tell_message(seq, &row, &author, except.as_ref());
                self.push_message(seq, &row, &author);
            }
            Effect::Access(change, except) => {
                match self.topic.room() {
                    Some(_) => self.tell_access_in_room(&change, except.as_ref()),
                    None => self.tell_access(&change, except.as_ref()),
                }
                self.push_invitation(&change);
            }
            Effect::Evicted {
                user,
                sessions,
                gone,
                except,
            } => self.shut_out(&user, &sessions, gone, except.as_ref()),
            Effect::Arrived(session, user) => self.arrived(&user, &session),
            Effect::Closed(except) => self.tell_closed(except.as_ref()),
            Effect::Redescribed(except) => self.tell_redescribed(except.as_ref()),
            Effect::Pinned(except) => self.tell_inside("aux", except.as_ref()),
            Effect::Deleted(deletion) => {
                self.tell_deleted(&deletion);
                self.push_no_deleted(&deletion);
            }
            Effect::Referred(held) => drop(held),
            Effect::Moved(user, moved, except) => {
                self.tell_progress(&user, moved, except.as_ref());
                self.push_read(&user, moved);
            }
            Effect::Left(user, session) => self.tell_left(&user, &session),
            Effect::Annotated(user, session) => {
                let pres = self.pres_on_me(&user, "upd");
                self.server
                    .online
                    .tell(&user, &ServerFrame::Pres(pres), |it| *it != session);
            }
            Effect::Described(user) => {
                let told = self.pair().other(&user).id.clone();
                let pres = self.pres_on_me(&told, "upd");
                self.server
                    .online
                    .tell(&told, &ServerFrame::Pres(pres), |_| true);
            }
            Effect::Greet(user) => {
                let other = self.pair().other(&user).standing.as_ref();
                let may_know = other.is_some_and(|it| it.given.has(AccessMode::PRESENCE));
                if may_know && self.server.is_online(&user) {
                    self.signal_out(&user, "on");
                }
            }
            Effect::Wake => {
                if let Some(foreigner) = self.pair().foreigner() {
                    self.server.wake(foreigner.id.domain());
                }
            }
            Effect::WakePeers(peers, topic) => {
                for peer in &peers {
                    self.server.outbox.moved(peer, topic);
                    self.server.wake(peer);
                }
            }
            Effect::Past(rows) => self.tell_past(&rows),
            // The log, or the feed, says it.
            Effect::Profiled(_) | Effect::Placed(..) => {}
            Effect::Release(author) => {
                let peer = self.pair().other(&author).id.domain().clone();
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

    pub(super) fn pres_on_me(&self, user: &UserId, what: &'static str) -> Pres {
        Pres {
            topic: "me".to_owned(),
            src: Some(self.view(user)),
            what,
            ..Pres::default()
        }
    }

    pub(super) fn locals(&self) -> impl Iterator<Item = &UserId> {
        self.topic.members(&self.server.ids).map(|(user, _)| user)
    }

    pub(super) fn may(&self, user: &UserId, rights: AccessMode) -> bool {
        self.topic.may(user, rights)
    }

    /// Sends to a person's attached sessions.
    pub(super) fn tell_attached(
        &self,
        user: &UserId,
        frame: &ServerFrame,
        except: Option<&Session>,
    ) {
        send_to(self.attached.of(user), frame, except);
    }

    /// Sends to a person's sessions on `me` that are not attached.
    pub(super) fn tell_elsewhere(
        &self,
        user: &UserId,
        frame: &ServerFrame,
        except: Option<&Session>,
    ) {
        let unattached = |it: &Session| !self.is_attached(it) && Some(it) != except;
        self.server.online.tell(user, frame, unattached);
    }

    /// Whether `tell_elsewhere` has anybody to tell: of a message in a group, each member is asked.
    pub(super) fn is_elsewhere(&self, user: &UserId, except: Option<&Session>) -> bool {
        let unattached = |it: &Session| !self.is_attached(it) && Some(it) != except;
        self.server.online.any(user, unattached)
    }

    fn tell_message(&self, seq: u32, row: &MessageRow, author: &UserId, except: Option<&Session>) {
        // Only a message that refers to others reads the store here, and few do.
        let shown = message::shown(&self.server.tables, &self.server.ids, self.key(), seq, row);
        let data = match shown {
            Ok(data) => data,
            Err(fault) => return error!(%fault, "a message just stored cannot be read"),
        };
        if self.topic.room().is_some() {
            return self.tell_message_in_room(&data, author, except);
        }
        for user in self.locals() {
            if !self.may(user, AccessMode::READ) {
                continue;
            }
            let data = Data {
                topic: self.view(user),
                ..data.clone()
            };
            let frame = ServerFrame::Data(data);
            show_to(
                self.attached.of(user),
                (self.key(), seq),
                &Packed::new(&frame),
                except,
            );
            if user != author {
                self.ring_elsewhere(seq, author, &frame);
            }
            self.tell_news(user, author, seq, except);
        }
    }

    /// Word of a new message for somebody's sessions that do not have the topic open.
    pub(super) fn tell_news(
        &self,
        user: &UserId,
        author: &UserId,
        seq: u32,
        except: Option<&Session>,
    ) {
        if !self.may(user, AccessMode::READ.or(AccessMode::PRESENCE))
            || !self.is_elsewhere(user, except)
        {
            return;
        }
        let pres = Pres {
            seq,
            act: (user != author).then(|| self.server.ids.shown(author)),
            ..self.pres_on_me(user, "msg")
        };
        self.tell_elsewhere(user, &ServerFrame::Pres(pres), except);
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
            self.tell_attached(user, &ServerFrame::Pres(inside), except);
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
            self.tell_elsewhere(user, &ServerFrame::Pres(on_me), except);
        }
        self.tell_creator(change, except);
        self.tell_whether_here(change);
    }

    /// Whoever opens the topic, or hears of the other one again, learns that they are here. Muting
    /// somebody looks like their going.
    fn tell_whether_here(&self, change: &AccessChange) {
        let user = &change.user;
        let hears = |want: AccessMode, given: AccessMode| want.and(given).has(AccessMode::PRESENCE);
        let before = hears(change.want.0, change.given.0);
        let after = hears(change.want.1, change.given.1);
        let invited = change.fresh && change.actor != *user;
        if before == after || invited || !self.server.ids.is_ours(user) {
            return;
        }
        let other = self.pair().other(user);
        let shown = other.active().is_some_and(Standing::consents);
        if shown && self.server.is_online(&other.id) {
            let pres = self.pres_on_me(user, if after { "on" } else { "off" });
            self.server
                .online
                .tell(user, &ServerFrame::Pres(pres), |_| true);
        }
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

    pub(super) fn actor_for(&self, user: &UserId, change: &AccessChange) -> Option<String> {
        let telling = change.actor != change.user && change.actor != *user;
        telling.then(|| self.server.ids.shown(&change.actor))
    }

    pub(super) fn is_reader(&self, user: &UserId) -> bool {
        self.topic.room().is_some_and(|it| it.is_reader(user))
    }

    /// A note of `from` as `told` hears it, in the topic or on `me`.
    pub(super) fn info(
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
            event: None,
            payload: None,
        })
    }

    /// Somebody is typing: those hear it who have agreed to talk.
    pub(super) fn tell_typing(&self, user: &UserId, what: &'static str) {
        if !self.may(user, AccessMode::WRITE) {
            return;
        }
        for (told, standing) in self.topic.members(&self.server.ids) {
            let reads = standing.rights().has(AccessMode::READ);
            if told == user || !standing.consents() || !reads {
                continue;
            }
            self.tell_attached(told, &self.info(told, user, (what, 0), false), None);
            if standing.mode().has(AccessMode::PRESENCE) {
                let frame = self.info(told, user, (what, 0), true);
                self.tell_elsewhere(told, &frame, None);
            }
        }
    }

    /// Something inside the topic changed: those hear it who have it open and may read.
    pub(super) fn tell_inside(&self, what: &'static str, except: Option<&Session>) {
        for (user, sessions) in self.attached.people() {
            if self.may(user, AccessMode::READ) && !self.is_reader(user) {
                let pres = Pres {
                    topic: self.view(user),
                    what,
                    ..Pres::default()
                };
                send_to(sessions, &ServerFrame::Pres(pres), except);
            }
        }
    }

    /// The topic cannot go on here: who has it open asks for it again.
    pub(super) fn tell_terminated(&mut self) {
        let attached = std::mem::take(&mut self.attached);
        for (user, sessions) in attached.people() {
            let pres = Pres {
                topic: self.view(user),
                what: "term",
                ..Pres::default()
            };
            send_to(sessions, &ServerFrame::Pres(pres), None);
            for session in sessions {
                session.detach(self.key());
            }
        }
    }

    /// Messages are gone: for everybody, or for the other sessions of whoever took them away.
    fn tell_deleted(&self, deletion: &Deletion) {
        // A page that is being read may show it still.
        let concerned = |it: &UserId| deletion.hard || *it == deletion.by;
        let people = self.attached.people().filter(|it| concerned(it.0));
        people.for_each(|(_, sessions)| sessions.iter().for_each(|it| it.discard_page(self.key())));
        let delseq = ranges(&deletion.spans);
        let who: Vec<&UserId> = match deletion.hard {
            true => self.locals().collect(),
            false => vec![&deletion.by],
        };
        for user in who {
            if !self.may(user, AccessMode::READ) {
                continue;
            }
            let pres = Pres {
                topic: self.view(user),
                what: "del",
                clear: deletion.id,
                delseq: delseq.clone(),
                act: (*user != deletion.by).then(|| self.server.ids.shown(&deletion.by)),
                ..Pres::default()
            };
            self.tell_attached(user, &ServerFrame::Pres(pres), None);
            if self.may(user, AccessMode::PRESENCE) {
                let pres = Pres {
                    clear: deletion.id,
                    ..self.pres_on_me(user, "del")
                };
                self.tell_elsewhere(user, &ServerFrame::Pres(pres), None);
            }
        }
        self.tell_deleted_to_readers(deletion, &delseq);
    }

    fn tell_left(&self, user: &UserId, session: &Session) {
        let gone = ServerFrame::Pres(self.pres_on_me(user, "gone"));
        self.server.online.tell(user, &gone, |it| it != session);
        let other = &self.pair().other(user).id;
        let off = ServerFrame::Pres(self.pres_on_me(other, "off"));
        if self.may(other, AccessMode::PRESENCE) {
            self.server.online.tell(other, &off, |_| true);
        }
    }
}

/// Sends one frame to sessions, but for one.
pub(super) fn send_to(sessions: &[Session], frame: &ServerFrame, except: Option<&Session>) {
    let packed = Packed::new(frame);
    sessions
        .iter()
        .filter(|it| Some(*it) != except)
        .for_each(|it| it.send_packed(&packed));
}

/// Shows a message to sessions, but for one that has written it.
pub(super) fn show_to(
    sessions: &[Session],
    (topic, seq): (TopicKey, u32),
    frame: &Packed<'_>,
    except: Option<&Session>,
) {
    for session in sessions {
        match Some(session) == except {
            true => session.knows(topic, seq),
            false => session.show(topic, seq, frame),
        }
    }
}

pub(super) fn absolute(change: &AccessChange) -> AccessDelta {
    AccessDelta {
        want: change.want.1.to_string(),
        given: change.given.1.to_string(),
    }
}

pub(super) fn delta(change: &AccessChange) -> AccessDelta {
    AccessDelta {
        want: change.want.0.delta_to(change.want.1),
        given: change.given.0.delta_to(change.given.1),
    }
}
