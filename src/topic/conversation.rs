//! A topic of any kind, as far as all kinds are alike: people who stand in it, and a log.

use bytes::Bytes;
use freehold_proto::{AccessMode, DomainName, Timestamp, UserId};

use super::{
    TopicName,
    deletion::Cleared,
    name::channel_name,
    one_to_one::OneToOne,
    room::{Room, RoomKind},
    standing::{CursorMove, Standing},
};
use crate::edge::{
    ids::Ids,
    reply::{self, Status},
};

/// A loaded topic.
#[derive(Clone, Debug)]
pub(crate) enum Conversation {
    Pair(Box<OneToOne>),
    Room(Box<Room>),
}

impl Conversation {
    /// What a topic is before it has been read.
    pub(super) fn unread(name: &TopicName, us: &DomainName, now: Timestamp) -> Self {
        match name {
            TopicName::OneToOne(people) => {
                let [a, b] = (**people).clone();
                Self::Pair(Box::new(OneToOne::new(a, b, us)))
            }
            TopicName::Group(group) => {
                Self::Room(Box::new(Room::new(RoomKind::Group, Some(*group), now)))
            }
            TopicName::Saved(_) => Self::Room(Box::new(Room::new(RoomKind::Saved, None, now))),
            TopicName::Reports(_) => Self::Room(Box::new(Room::new(RoomKind::Reports, None, now))),
        }
    }

    /// How somebody stands, while it counts.
    pub(super) fn active(&self, user: &UserId) -> Option<&Standing> {
        match self {
            Self::Pair(pair) => pair.person(user).active(),
            Self::Room(room) => room.active(user),
        }
    }

    /// What somebody may do. In a room, whoever may not join may do nothing; between two people, whoever
    /// has put the other one out still reads what was written.
    pub(super) fn mode(&self, user: &UserId) -> AccessMode {
        match self {
            Self::Pair(pair) => {
                let standing = pair.person(user).active();
                standing.map_or(AccessMode::NONE, Standing::mode)
            }
            Self::Room(room) => room.mode(user),
        }
    }

    /// True when somebody may do all of this.
    pub(super) fn may(&self, user: &UserId, rights: AccessMode) -> bool {
        self.mode(user).has(rights)
    }

    /// Everybody here who stands in the topic, and how. Without readers of a channel.
    pub(super) fn members<'a>(
        &'a self,
        ids: &'a Ids,
    ) -> Box<dyn Iterator<Item = (&'a UserId, &'a Standing)> + 'a> {
        match self {
            Self::Pair(pair) => Box::new(
                pair.people
                    .iter()
                    .filter(|it| it.local)
                    .filter_map(|it| Some((&it.id, it.active()?))),
            ),
            Self::Room(room) => Box::new(room.present().filter(|(user, _)| ids.is_ours(user))),
        }
    }

    /// Position of the last message.
    pub(super) fn head(&self) -> u32 {
        match self {
            Self::Pair(pair) => pair.head,
            Self::Room(room) => room.head,
        }
    }

    /// When the last message came.
    pub(super) fn touched(&self) -> Option<Timestamp> {
        match self {
            Self::Pair(pair) => pair.touched,
            Self::Room(room) => room.touched,
        }
    }

    /// What was deleted so far.
    pub(super) fn cleared(&self) -> Cleared {
        match self {
            Self::Pair(pair) => pair.cleared,
            Self::Room(room) => room.cleared,
        }
    }

    pub(super) fn set_cleared(&mut self, cleared: Cleared) {
        match self {
            Self::Pair(pair) => {
                pair.cleared = cleared;
                pair.row_dirty = true;
            }
            Self::Room(room) => {
                room.cleared = cleared;
                room.dirty = true;
            }
        }
    }

    /// What is attached to the topic, JSON; empty for none.
    pub(super) fn aux(&self) -> &Bytes {
        match self {
            Self::Pair(pair) => &pair.aux,
            Self::Room(room) => &room.description.aux,
        }
    }

    pub(super) fn set_aux(&mut self, aux: Bytes) {
        match self {
            Self::Pair(pair) => {
                pair.aux = aux;
                pair.row_dirty = true;
            }
            Self::Room(room) => {
                room.description.aux = aux;
                room.dirty = true;
            }
        }
    }

    /// Gives the next position to a message of one of our people, who has read it with that.
    pub(super) fn publish(&mut self, user: &UserId, now: Timestamp) -> Result<u32, Status> {
        let room = match self {
            Self::Pair(pair) => return pair.publish(user, now),
            Self::Room(room) => room,
        };
        room.may_publish(user)?;
        let seq = room.append(now);
        if let Some(standing) = room.active_mut(user) {
            standing.read = seq;
            standing.received = seq;
        }
        Ok(seq)
    }

    /// Gives the next position to a message.
    pub(super) fn append(&mut self, now: Timestamp) -> u32 {
        match self {
            Self::Pair(pair) => pair.append(now),
            Self::Room(room) => room.append(now),
        }
    }

    /// Whether somebody may write.
    pub(super) fn may_publish(&self, user: &UserId) -> Result<(), Status> {
        match self {
            Self::Pair(pair) => pair.may_publish(user),
            Self::Room(room) => room.may_publish(user),
        }
    }

    /// Somebody reports how far they got.
    pub(super) fn progress(&mut self, user: &UserId, read: u32, recv: u32) -> Option<CursorMove> {
        match self {
            Self::Pair(pair) => pair.progress(user, read, recv),
            Self::Room(room) => room.progress(user, (read, recv), room.head),
        }
    }

    /// Somebody replaces their private notes on the topic.
    pub(super) fn annotate(
        &mut self,
        user: &UserId,
        private: Bytes,
        now: Timestamp,
    ) -> Result<(), Status> {
        let room = match self {
            Self::Pair(pair) => return pair.annotate(user, private, now),
            Self::Room(room) => room,
        };
        let standing = room.active_mut(user).ok_or(reply::ATTACH_FIRST)?;
        standing.private = private;
        standing.updated = now;
        Ok(())
    }

    /// Somebody took messages from their own view.
    pub(super) fn note_own_deletion(&mut self, user: &UserId, id: u32) {
        let standing = match self {
            Self::Pair(pair) => pair.active_mut(user),
            Self::Room(room) => room.active_mut(user),
        };
        if let Some(standing) = standing {
            standing.cleared = id;
        }
    }

    /// The topic as somebody here names it.
    pub(super) fn view(&self, user: &UserId, ids: &Ids) -> String {
        let room = match self {
            Self::Pair(pair) => return ids.shown(&pair.other(user).id),
            Self::Room(room) => room,
        };
        match (room.kind, &room.group) {
            (_, Some(group)) if room.is_reader(user) => channel_name(group),
            (_, Some(group)) => group.to_string(),
            (RoomKind::Reports, None) => "sys".to_owned(),
            (_, None) => "slf".to_owned(),
        }
    }

    /// True while something waits in memory to be written.
    pub(super) fn is_dirty(&self) -> bool {
        match self {
            Self::Pair(pair) => pair.people.iter().any(|it| it.dirty),
            Self::Room(room) => room.is_dirty(),
        }
    }

    /// True when more than cursors waits to be written.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Pair(pair) => pair.urgent || pair.row_dirty,
            Self::Room(room) => room.dirty,
        }
    }

    /// The group, or another room; `None` between two people.
    pub(super) fn room(&self) -> Option<&Room> {
        match self {
            Self::Pair(_) => None,
            Self::Room(room) => Some(room),
        }
    }

    /// The two, of a topic between two people.
    pub(super) fn pair(&self) -> Option<&OneToOne> {
        match self {
            Self::Pair(pair) => Some(pair),
            Self::Room(_) => None,
        }
    }
}
