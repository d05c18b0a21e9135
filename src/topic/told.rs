//! What plugins are told of topics, once it is durable (decisions/0031).

use freehold_config::TopicKind;
use freehold_proto::{
    AccessMode, UserId,
    pbx::{self, Crud},
};
use freehold_store::tables::rows::MessageRow;

use super::{
    actor::{Actor, Effect},
    message,
    room::{Room, RoomKind},
    standing::AccessChange,
};
use crate::{
    edge::{frames::Data, grpc},
    plugins::Event,
};

impl Actor {
    /// Tells plugins what follows a commit.
    pub(super) fn tell_plugins(&self, effect: &Effect) {
        let plugins = &self.server.plugins;
        if plugins.is_empty() {
            return;
        }
        match effect {
            Effect::Appended {
                seq, row, author, ..
            } if plugins.reads(self.kind()) => self.tell_plugins_words(*seq, row, author),
            Effect::Access(change, _) => self.tell_plugins_access(change),
            Effect::Left(user, _) => {
                let none = (AccessMode::NONE, AccessMode::NONE);
                self.tell_plugins_standing(Crud::Delete, user, none);
            }
            Effect::Redescribed(_) => self.tell_plugins_group(Crud::Update),
            Effect::Closed(_) => self.tell_plugins_group(Crud::Delete),
            _ => {}
        }
    }

    fn kind(&self) -> TopicKind {
        match self.topic.room().map(|it| it.kind) {
            None => TopicKind::OneToOne,
            Some(RoomKind::Group | RoomKind::Channel) => TopicKind::Group,
            Some(RoomKind::Saved) => TopicKind::Saved,
            Some(RoomKind::Reports) => TopicKind::Reports,
        }
    }

    /// The topic as somebody knows it who is in it, or was: of two people, the other one.
    fn plain_name(&self, user: &UserId) -> String {
        match self.topic.room().and_then(|it| it.group) {
            Some(group) => group.to_string(),
            None => self.view(user),
        }
    }

    fn tell_plugins_words(&self, seq: u32, row: &MessageRow, author: &UserId) {
        // The clients' copy has been made, or its fault told, in the same way.
        let shown = message::shown(&self.server.tables, &self.server.ids, self.key(), seq, row);
        let Ok(data) = shown else {
            return;
        };
        let data = Data {
            topic: self.plain_name(author),
            ..data
        };
        let event = pbx::MessageEvent {
            action: Crud::Create.into(),
            msg: Some(grpc::data_of(&data)),
        };
        self.server
            .plugins
            .tell(&Event::Message(event, self.kind()));
    }

    fn tell_plugins_access(&self, change: &AccessChange) {
        let action = match change {
            it if it.gone => Crud::Delete,
            it if it.fresh => Crud::Create,
            _ => Crud::Update,
        };
        if action == Crud::Create && change.given.1.has(AccessMode::OWNER) {
            self.tell_plugins_group(Crud::Create);
        }
        self.tell_plugins_standing(action, &change.user, (change.want.1, change.given.1));
    }

    fn tell_plugins_standing(
        &self,
        action: Crud,
        user: &UserId,
        (want, given): (AccessMode, AccessMode),
    ) {
        let standing = self.topic.active(user);
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let event = pbx::SubscriptionEvent {
            action: action.into(),
            topic: self.plain_name(user),
            user_id: self.server.ids.shown(user),
            del_id: standing.map_or(0, |it| number(it.cleared)),
            read_id: standing.map_or(0, |it| number(it.read)),
            recv_id: standing.map_or(0, |it| number(it.received)),
            mode: Some(pbx::AccessMode {
                want: want.to_string(),
                given: given.to_string(),
            }),
            // Private notes are their owner's.
            private: Default::default(),
        };
        self.server.plugins.tell(&Event::Subscription(event));
    }

    fn tell_plugins_group(&self, action: Crud) {
        let Some(room) = self.topic.room() else {
            return;
        };
        let Some(group) = room.group else {
            return;
        };
        let event = pbx::TopicEvent {
            action: action.into(),
            name: group.to_string(),
            desc: Some(described(room, self.topic.head())),
        };
        self.server.plugins.tell(&Event::Topic(event));
    }
}

fn described(room: &Room, head: u32) -> pbx::TopicDesc {
    let description = &room.description;
    pbx::TopicDesc {
        seq_id: i32::try_from(head).unwrap_or(i32::MAX),
        defacs: Some(pbx::DefaultAcsMode {
            auth: description.access_auth.to_string(),
            anon: description.access_anon.to_string(),
        }),
        public: description.public.clone(),
        trusted: description.trusted.clone(),
        is_chan: room.kind == RoomKind::Channel,
        ..Default::default()
    }
}
