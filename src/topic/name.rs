//! Which topic is meant: the names clients use, and what stands behind them (fact sheet, section 3.1).

use freehold_proto::{DomainName, GroupId, UserId};
use freehold_store::TopicKey;

use super::room::RoomKind;

/// Names one topic of this domain.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TopicName {
    /// Between two people, of whom one at least is of this domain.
    OneToOne(Box<[UserId; 2]>),
    /// A group, as its members or as its readers see it.
    Group(GroupId),
    /// One person's notes to self.
    Saved(UserId),
    /// Reports to the administrators of this domain.
    Reports(DomainName),
}

impl TopicName {
    /// Between two people.
    #[must_use]
    pub fn one_to_one(a: &UserId, b: &UserId) -> Self {
        Self::OneToOne(Box::new([a.clone(), b.clone()]))
    }

    /// What the topic is called in the store.
    #[must_use]
    pub fn key(&self) -> TopicKey {
        match self {
            Self::OneToOne(people) => TopicKey::one_to_one(&people[0], &people[1]),
            Self::Group(group) => TopicKey::group(group),
            Self::Saved(user) => TopicKey::saved(user),
            Self::Reports(domain) => TopicKey::reports(domain),
        }
    }

    /// What stands in a subscription for the way back from a person to the topic.
    #[must_use]
    pub fn stored(&self, user: &UserId) -> String {
        match self {
            Self::OneToOne(people) => {
                let [a, b] = &**people;
                if a == user { b } else { a }.to_string()
            }
            Self::Group(group) => group.to_string(),
            Self::Saved(_) => "slf".to_owned(),
            Self::Reports(_) => "sys".to_owned(),
        }
    }

    /// Reads what [`TopicName::stored`] wrote for `user`; `None` if it is damaged.
    #[must_use]
    pub fn from_stored(text: &str, user: &UserId) -> Option<Self> {
        match text {
            "slf" => Some(Self::Saved(user.clone())),
            "sys" => Some(Self::Reports(user.domain().clone())),
            text if text.starts_with("grp") => text.parse().ok().map(Self::Group),
            text => text.parse().ok().map(|it| Self::one_to_one(user, &it)),
        }
    }

    /// The whole name as text; [`TopicName::from_text`] reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::OneToOne(people) => format!("{} {}", people[0], people[1]),
            Self::Group(group) => group.to_string(),
            Self::Saved(user) => format!("slf {user}"),
            Self::Reports(domain) => format!("sys {domain}"),
        }
    }

    /// Reads what [`TopicName::to_text`] wrote; `None` if it is damaged.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None => text.parse().ok().map(Self::Group),
            Some(("slf", user)) => user.parse().ok().map(Self::Saved),
            Some(("sys", domain)) => domain.parse().ok().map(Self::Reports),
            Some((a, b)) => Some(Self::one_to_one(&a.parse().ok()?, &b.parse().ok()?)),
        }
    }

    /// The room that a topic of this name is, unless it is one between two people. Of a group only
    /// its row says whether it has a channel.
    #[must_use]
    pub fn room_kind(&self) -> Option<RoomKind> {
        match self {
            Self::OneToOne(_) => None,
            Self::Group(_) => Some(RoomKind::Group),
            Self::Saved(_) => Some(RoomKind::Saved),
            Self::Reports(_) => Some(RoomKind::Reports),
        }
    }
}

/// The name under which readers know the channel of a group.
#[must_use]
pub(crate) fn channel_name(group: &GroupId) -> String {
    group.to_string().replacen("grp", "chn", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_leads_back_to_the_topic() {
        let user = |number| UserId::new([number; 8], "alpha.test".parse().unwrap());
        let (me, other) = (user(1), user(2));
        let group = GroupId::from_bytes([7; 16]);
        for name in [
            TopicName::one_to_one(&me, &other),
            TopicName::Group(group),
            TopicName::Saved(me.clone()),
            TopicName::Reports("alpha.test".parse().unwrap()),
        ] {
            assert_eq!(TopicName::from_text(&name.to_text()), Some(name.clone()));
            assert_eq!(TopicName::from_stored(&name.stored(&me), &me), Some(name));
        }
        assert_eq!(TopicName::from_stored("nonsense", &me), None);
        assert_eq!(
            channel_name(&group).replacen("chn", "grp", 1),
            group.to_string()
        );
    }
}
