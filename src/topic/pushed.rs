//! What the devices of people are told who do not have the topic open: of new messages, invitations, and what
//! they have read elsewhere themselves.

use freehold_proto::{AccessMode, Timestamp, UserId};
use freehold_store::tables::rows::MessageRow;

use super::{
    actor::Actor,
    deletion::Deletion,
    message,
    standing::{AccessChange, CursorMove},
};
use crate::push::{Notification, What, Words};

impl Actor {
    /// A message, after whoever is here was told of it.
    pub(super) fn push_message(&self, seq: u32, row: &MessageRow, author: &UserId) {
        let Some(push) = &self.server.push else {
            return;
        };
        let told = self.to_push_to(author).filter(|it| push.reaches(it));
        let told: Vec<&UserId> = told.collect();
        if told.is_empty() {
            return;
        }
        // The clients' copy has been made, or its fault told, in the same way.
        let server = &self.server;
        let shown = message::shown(&server.tables, &server.ids, self.key(), seq, row);
        let Ok(data) = shown else {
            return;
        };
        let words = match self.topic.pair() {
            Some(_) => Words::between_two(&data, self.rings_at(seq)),
            None => Words::of(&data),
        };
        let Some(words) = words else {
            return;
        };
        for user in told {
            let from = match self.is_reader(user) {
                true => String::new(),
                false => data.from.clone(),
            };
            let notification = Notification {
                what: words.what(),
                seq,
                from,
                words: words.clone(),
                until: self.rings_until(seq),
                ..self.notification(user, What::Message, data.ts)
            };
            match self.is_looking(user) {
                true => push.look_again(notification),
                false => push.tell(notification),
            }
        }
    }

    /// Whoever wishes to be told of news here and has not written it.
    fn to_push_to<'a>(&'a self, author: &'a UserId) -> impl Iterator<Item = &'a UserId> {
        let wanted = AccessMode::READ.or(AccessMode::PRESENCE);
        let members = self.topic.members(&self.server.ids).map(|(user, _)| user);
        members.filter(move |&user| user != author && self.may(user, wanted))
    }

    fn is_looking(&self, user: &UserId) -> bool {
        let mut sessions = self.attached.of(user).iter();
        sessions.any(|it| !it.background())
    }

    pub(super) fn push_invitation(&self, change: &AccessChange) {
        let Some(push) = &self.server.push else {
            return;
        };
        let (user, given) = (&change.user, change.given.1);
        let invited = change.fresh && !change.gone && change.actor != *user;
        let may_come = given.has(AccessMode::JOIN.or(AccessMode::PRESENCE));
        if !invited || !may_come || !self.server.ids.is_ours(user) {
            return;
        }
        push.tell(Notification {
            from: self.server.ids.shown(&change.actor),
            access: Some((change.want.1, given)),
            ..self.notification(user, What::Invitation, self.now())
        });
    }

    /// What somebody has read is cleared on their devices.
    pub(super) fn push_read(&self, user: &UserId, moved: CursorMove) {
        let (Some(push), Some(seq)) = (&self.server.push, moved.read) else {
            return;
        };
        if self.server.ids.is_ours(user) && push.was_read(user, self.key(), seq) {
            push.tell(Notification {
                seq,
                ..self.notification(user, What::Read, self.now())
            });
        }
    }

    /// Of messages that are gone nobody is told any more.
    pub(super) fn push_no_deleted(&self, deletion: &Deletion) {
        let Some(push) = &self.server.push else {
            return;
        };
        let gone = |seq| {
            let mut spans = deletion.spans.iter();
            spans.any(|it| (it.low..it.high).contains(&seq))
        };
        if !deletion.hard {
            return push.forget(&deletion.by, self.key(), gone);
        }
        for (user, _) in self.topic.members(&self.server.ids) {
            if push.reaches(user) {
                push.forget(user, self.key(), gone);
            }
        }
    }

    fn notification(&self, user: &UserId, what: What, at: Timestamp) -> Notification {
        Notification {
            user: user.clone(),
            key: self.key(),
            topic: self.view(user),
            what,
            seq: 0,
            at,
            from: String::new(),
            words: Words::default(),
            only: None,
            access: None,
            until: None,
        }
    }
}
