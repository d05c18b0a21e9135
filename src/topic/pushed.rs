//! What the devices of people are told who do not have the topic open: of new messages, invitations, and what
//! they have read elsewhere themselves.

use freehold_proto::{AccessMode, Timestamp, UserId};
use freehold_store::tables::rows::MessageRow;

use super::{
    actor::{Actor, Effect},
    message,
    standing::AccessChange,
};
use crate::push::{Notification, Push, What, Words};

impl Actor {
    /// Pushes what follows a commit.
    pub(super) fn push(&self, effect: &Effect) {
        let Some(push) = &self.server.push else {
            return;
        };
        match effect {
            Effect::Appended {
                seq, row, author, ..
            } => self.push_message(push, *seq, row, author),
            Effect::Access(change, _) => self.push_invitation(push, change),
            Effect::Moved(user, moved, _) => {
                if let Some(seq) = moved.read {
                    self.push_read(push, user, seq);
                }
            }
            _ => {}
        }
    }

    fn push_message(&self, push: &Push, seq: u32, row: &MessageRow, author: &UserId) {
        let told: Vec<&UserId> = self.to_push_to(author).collect();
        if told.is_empty() {
            return;
        }
        // The clients' copy has been made, or its fault told, in the same way.
        let server = &self.server;
        let shown = message::shown(&server.tables, &server.ids, self.key(), seq, row);
        let Ok(data) = shown else {
            return;
        };
        let Some(words) = Words::of(&data) else {
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

    fn push_invitation(&self, push: &Push, change: &AccessChange) {
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

    fn push_read(&self, push: &Push, user: &UserId, seq: u32) {
        if self.server.ids.is_ours(user) && push.was_read(user, self.key(), seq) {
            push.tell(Notification {
                seq,
                ..self.notification(user, What::Read, self.now())
            });
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
        }
    }
}
