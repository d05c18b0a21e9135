//! Telling the people of a group what happened (fact sheet, sections 3.5 and 4).

use std::sync::atomic::Ordering;

use freehold_proto::{AccessMode, UserId};
use freehold_store::{TopicKey, tables::rows::MessageRow};
use serde_json::json;

use super::{
    actor::Actor,
    attached::{Attached, PutOut},
    deletion::Deletion,
    message,
    name::channel_name,
    notify::{absolute, delta, send_to, show_to},
    room::{Room, RoomKind},
    standing::AccessChange,
};
use crate::edge::{
    behind::Missing,
    frames::{AccessDelta, Data, Packed, Pres, ServerFrame},
    reply::{self, Reply},
    requests::Range,
    session::Session,
};

/// Above so many members nobody is told who comes and goes inside a group.
const PRESENCE_MEMBERS_MAX: usize = 1000;

impl Actor {
    /// The message as everybody in the room gets it: members under its own name, readers without its
    /// author.
    pub(super) fn tell_message_in_room(
        &self,
        data: &Data,
        author: &UserId,
        except: Option<&Session>,
    ) {
        let Some(room) = self.topic.room() else {
            return;
        };
        let name = room
            .group
            .map_or_else(|| self.view(author), |it| it.to_string());
        let members = ServerFrame::Data(Data {
            topic: name,
            ..data.clone()
        });
        let readers = room.group.map(|group| {
            ServerFrame::Data(Data {
                topic: channel_name(&group),
                from: String::new(),
                ..data.clone()
            })
        });
        let members = Packed::new(&members);
        let readers = readers.as_ref().map(Packed::new);
        let place = (self.key(), data.seq);
        let frames = (&members, readers.as_ref());
        show_in_room((room, &self.attached), place, frames, except);
        for (user, _) in self.topic.members(&self.server.ids) {
            self.tell_news(user, author, data.seq, except);
        }
    }

    /// Messages that had been written before: whoever has the group open asked for them when they were
    /// not here yet. For the list of contacts they are no news.
    pub(super) fn tell_past(&self, rows: &[(u32, MessageRow)]) {
        let Some(room) = self.topic.room() else {
            return;
        };
        for (seq, row) in rows.iter().rev() {
            let server = &self.server;
            let shown = message::shown(&server.tables, &server.ids, self.key(), *seq, row);
            let Ok(data) = shown else { continue };
            for (user, sessions) in self.attached.people() {
                if room.mode(user).has(AccessMode::READ) {
                    let from = match room.is_reader(user) {
                        true => String::new(),
                        false => data.from.clone(),
                    };
                    let data = Data {
                        topic: self.view(user),
                        from,
                        ..data.clone()
                    };
                    send_to(sessions, &ServerFrame::Data(data), None);
                }
            }
        }
    }

    /// Somebody's access changed: they hear it, and those who rule on it.
    pub(super) fn tell_access_in_room(&self, change: &AccessChange, except: Option<&Session>) {
        let Some(room) = self.topic.room() else {
            return;
        };
        self.tell_target(change, except);
        self.tell_founder(change, except);
        // Nobody is told who reads a channel.
        if room.is_reader(&change.user) {
            return;
        }
        self.tell_sharers(room, change, except);
        let presence = |mode: AccessMode| mode.has(AccessMode::PRESENCE);
        let (before, after) = (
            change.want.0.and(change.given.0),
            change.want.1.and(change.given.1),
        );
        if change.fresh || presence(before) == presence(after) {
            return;
        }
        // Muting looks like going, towards whoever is muted.
        let what = if presence(after) { "on" } else { "off" };
        let present = self.place.present.load(Ordering::Acquire);
        if present && !change.gone {
            let pres = self.pres_on_me(&change.user, what);
            self.tell_elsewhere(&change.user, &ServerFrame::Pres(pres), None);
        }
    }

    fn tell_target(&self, change: &AccessChange, except: Option<&Session>) {
        let target = &change.user;
        let act = self.actor_for(target, change);
        let inside = Pres {
            topic: self.view(target),
            what: "acs",
            act: act.clone(),
            dacs: Some(shown(change)),
            ..Pres::default()
        };
        self.tell_attached(target, &ServerFrame::Pres(inside), except);
        if change.gone {
            return;
        }
        let dacs = if change.fresh {
            absolute(change)
        } else {
            delta(change)
        };
        let on_me = Pres {
            act,
            dacs: Some(dacs),
            ..self.pres_on_me(target, "acs")
        };
        self.tell_elsewhere(target, &ServerFrame::Pres(on_me), except);
    }

    /// COMPAT web app: it may list a new room under the name that it made up for it, until it asks again.
    fn tell_founder(&self, change: &AccessChange, except: Option<&Session>) {
        let is_group = self.topic.room().is_some_and(|it| it.group.is_some());
        let founds = is_group && change.fresh && change.given.1.has(AccessMode::OWNER);
        if let Some(session) = except.filter(|it| founds && it.on_me()) {
            let pres = self.pres_on_me(&change.user, "upd");
            session.send(&ServerFrame::Pres(pres));
        }
    }

    /// Those who may invite or approve see how others stand; on `me` only what asks something of them.
    fn tell_sharers(&self, room: &Room, change: &AccessChange, except: Option<&Session>) {
        let asks = change.want.1.without(change.given.1) != AccessMode::NONE;
        for (user, _) in self.topic.members(&self.server.ids) {
            if *user == change.user || !room.is_sharer(user) {
                continue;
            }
            let shown_target = self.server.ids.shown(&change.user);
            let inside = Pres {
                topic: self.view(user),
                src: Some(shown_target.clone()),
                what: "acs",
                act: self.actor_for(user, change),
                dacs: Some(shown(change)),
                ..Pres::default()
            };
            self.tell_attached(user, &ServerFrame::Pres(inside), except);
            if change.fresh || (asks && !change.gone) {
                let on_me = Pres {
                    tgt: Some(shown_target),
                    act: (change.actor != *user).then(|| self.server.ids.shown(&change.actor)),
                    dacs: Some(shown(change)),
                    ..self.pres_on_me(user, "acs")
                };
                self.tell_elsewhere(user, &ServerFrame::Pres(on_me), except);
            }
        }
    }

    /// Detaches all sessions of somebody who may not stay, at once: what they ask next is judged without
    /// them. They are told when it is durable.
    pub(super) fn put_out(&mut self, user: &UserId) -> Vec<PutOut> {
        let (key, next) = (self.key(), self.told().saturating_add(1));
        let sessions = self.attached.remove_all(user).into_iter();
        let put_out = sessions.map(|session| {
            let missing = session.missing(key).unwrap_or(Missing::since(next));
            session.detach(key);
            PutOut { session, missing }
        });
        put_out.collect()
    }

    /// Somebody may not stay: their sessions, which were put out, are told so.
    pub(super) fn shut_out(
        &mut self,
        user: &UserId,
        put_out: &[PutOut],
        gone: bool,
        except: Option<&Session>,
    ) {
        let name = self.view_of_former(user);
        let evicted = Reply::with(reply::EVICTED, json!({ "unsub": gone }));
        let frame = evicted.into_frame(None, Some(name.clone()), self.now());
        let sessions: Vec<_> = put_out.iter().map(|it| it.session.clone()).collect();
        send_to(&sessions, &frame, except);
        if gone {
            let pres = Pres {
                topic: "me".to_owned(),
                src: Some(name),
                what: "gone",
                ..Pres::default()
            };
            let elsewhere = |it: &Session| !sessions.contains(it) && Some(it) != except;
            self.server
                .online
                .tell(user, &ServerFrame::Pres(pres), elsewhere);
        }
        if let Some(session) = sessions.first() {
            // Whoever has come back meanwhile is here.
            let last = self.attached.of(user).is_empty();
            self.departed(user, session, last);
        }
    }

    /// The name under which somebody knew the room who is not in it any more.
    fn view_of_former(&self, user: &UserId) -> String {
        let reader = |room: &Room| room.group.filter(|_| was_reader(room, user));
        match self.topic.room().and_then(reader) {
            Some(group) => channel_name(&group),
            None => self.view(user),
        }
    }

    /// A session attached; with a person's first one, the person came.
    pub(super) fn arrived(&self, user: &UserId, session: &Session) {
        let Some(room) = self.topic.room().filter(|it| shows_presence(it)) else {
            return;
        };
        if session.background() || room.is_reader(user) || !self.is_attached(session) {
            return;
        }
        let others = |it: &&Session| !it.background();
        if self.attached.of(user).iter().filter(others).count() == 1 {
            self.tell_coming(room, user, "on");
        }
        if !self.place.present.swap(true, Ordering::AcqRel) {
            self.tell_presence(room, "on", Some(session));
        }
    }

    /// A session detached; with a person's last one, the person went.
    pub(super) fn departed(&self, user: &UserId, session: &Session, last: bool) {
        let Some(room) = self.topic.room().filter(|it| shows_presence(it)) else {
            return;
        };
        if session.background() || was_reader(room, user) {
            return;
        }
        let here = |it: &Session| !it.background();
        if last || !self.attached.of(user).iter().any(here) {
            self.tell_coming(room, user, "off");
        }
        let someone = |(user, sessions): (&UserId, &[Session])| {
            !room.is_reader(user) && sessions.iter().any(here)
        };
        if !self.attached.people().any(someone) && self.place.present.swap(false, Ordering::AcqRel)
        {
            self.tell_presence(room, "off", None);
        }
    }

    /// Inside the group: a member came or went.
    fn tell_coming(&self, room: &Room, who: &UserId, what: &'static str) {
        if room.members.len() > PRESENCE_MEMBERS_MAX {
            return;
        }
        for (user, sessions) in self.attached.people() {
            let rights = AccessMode::READ.or(AccessMode::PRESENCE);
            if user == who || !room.mode(user).has(rights) || room.is_reader(user) {
                continue;
            }
            let pres = Pres {
                topic: self.view(user),
                src: Some(self.server.ids.shown(who)),
                what,
                ..Pres::default()
            };
            send_to(sessions, &ServerFrame::Pres(pres), None);
        }
    }

    /// On `me`: there is somebody in the group now, or nobody any more.
    fn tell_presence(&self, room: &Room, what: &'static str, except: Option<&Session>) {
        for (user, standing) in room.present() {
            if standing.rights().has(AccessMode::PRESENCE) {
                let pres = self.pres_on_me(user, what);
                self.tell_elsewhere(user, &ServerFrame::Pres(pres), except);
            }
        }
    }

    /// The room has another description: everybody who may join hears it.
    pub(super) fn tell_redescribed(&self, except: Option<&Session>) {
        let Some(room) = self.topic.room() else {
            return;
        };
        for (user, sessions) in self.attached.people() {
            let pres = Pres {
                topic: self.view(user),
                what: "upd",
                ..Pres::default()
            };
            send_to(sessions, &ServerFrame::Pres(pres), except);
        }
        // COMPAT JavaScript SDK: only what comes on `me` makes it ask for the description again, also
        // where the room is open.
        for (user, standing) in room.present() {
            if standing.mode().has(AccessMode::JOIN) {
                let pres = self.pres_on_me(user, "upd");
                let others = |it: &Session| Some(it) != except;
                self.server
                    .online
                    .tell(user, &ServerFrame::Pres(pres), others);
            }
        }
    }

    /// The room ended: whoever has it open is shut out, and it leaves everybody's list.
    pub(super) fn tell_closed(&mut self, except: Option<&Session>) {
        let Some(room) = self.topic.room() else {
            return;
        };
        let now_gone = room
            .members
            .iter()
            .filter(|(_, it)| it.deleted == room.deleted);
        let mut people: Vec<UserId> = now_gone.map(|(user, _)| user.clone()).collect();
        people.extend(self.attached.people().map(|(user, _)| user.clone()));
        people.sort();
        people.dedup();
        for user in people {
            let put_out = self.put_out(&user);
            self.shut_out(&user, &put_out, true, except);
        }
    }

    /// Readers of a channel hear that messages are gone, not who took them away.
    pub(super) fn tell_deleted_to_readers(&self, deletion: &Deletion, delseq: &[Range]) {
        let Some(room) = self.topic.room().filter(|_| deletion.hard) else {
            return;
        };
        for (user, sessions) in self.attached.people() {
            if room.is_reader(user) && room.mode(user).has(AccessMode::READ) {
                let pres = Pres {
                    topic: self.view(user),
                    what: "del",
                    clear: deletion.id,
                    delseq: delseq.to_vec(),
                    ..Pres::default()
                };
                send_to(sessions, &ServerFrame::Pres(pres), None);
            }
        }
    }
}

/// A message to everybody who has the room open and may read: readers are not told who wrote it.
pub(super) fn show_in_room(
    (room, attached): (&Room, &Attached),
    place: (TopicKey, u32),
    (members, readers): (&Packed<'_>, Option<&Packed<'_>>),
    except: Option<&Session>,
) {
    for (user, sessions) in attached.people() {
        if !room.mode(user).has(AccessMode::READ) {
            continue;
        }
        let frame = readers.filter(|_| room.is_reader(user)).unwrap_or(members);
        show_to(sessions, place, frame, except);
    }
}

/// Somebody read the channel, last of all.
fn was_reader(room: &Room, user: &UserId) -> bool {
    let member = room.members.get(user).filter(|it| it.deleted.is_none());
    room.readers.contains_key(user) && member.is_none()
}

fn shows_presence(room: &Room) -> bool {
    matches!(room.kind, RoomKind::Group | RoomKind::Channel)
}

/// Absolute values; of an ended membership `N`. COMPAT JavaScript SDK: inside the topic it takes them
/// for people it knows and needs them for people it does not know yet.
fn shown(change: &AccessChange) -> AccessDelta {
    absolute(change)
}
