//! Cards and announcements: what of a domain may be found by words, in the domain's own word (PROTOCOL.md
//! section 13.1).

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::{AccessMode, DomainName, GroupId, KeyId, Malformed, Timestamp, UserId, limits, wire};

/// Goes before a card when it is signed.
pub const CONTEXT: &[u8] = b"freehold/card/v1\0";
/// Goes before an announcement when it is signed.
pub const ANNOUNCEMENT_CONTEXT: &[u8] = b"freehold/announcement/v1\0";
/// How long a card or an announcement may count at most.
pub const LIFETIME_MAX: Duration = Duration::from_secs(60 * 60);
/// How long an announcement of this server counts.
pub const LEASE: Duration = Duration::from_secs(10 * 60);

/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 120;
/// Longest note, in characters.
pub const NOTE_CHARS_MAX: usize = 400;
/// Tags of one card.
pub const TAGS_MAX: usize = 16;
/// Longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 96;

const CARD: &str = "card";
const ANNOUNCEMENT: &str = "announcement";

/// Who or what a card is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// A group, at home at the domain of the card.
    Group {
        /// Which.
        group: GroupId,
        /// Strangers join its channel, not the group itself.
        channel: bool,
        /// What somebody who joins may do.
        access: AccessMode,
        /// Members, or readers of the channel.
        members: u32,
    },
    /// A person of the domain of the card.
    Person(UserId),
}

/// What a card says, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CardWords {
    /// Who or what it is of.
    pub subject: Subject,
    /// The name.
    pub title: String,
    /// What it is about; empty without.
    pub note: String,
    /// By which it may be found too.
    pub tags: Vec<String>,
}

/// A well-formed card. Whether it is *true* is for `keys` to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Card {
    /// Whose.
    pub domain: DomainName,
    /// The key that signs.
    pub key_id: KeyId,
    /// When it was made.
    pub issued: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// What it says.
    pub words: CardWords,
}

/// A well-formed announcement. Whether it is *true* is for `keys` to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// Whose.
    pub domain: DomainName,
    /// The key that signs.
    pub key_id: KeyId,
    /// When it was made: a later one takes the place of those before.
    pub issued: Timestamp,
    /// The end of the lease.
    pub expires: Timestamp,
    /// Signed cards, each as it travels. Nothing about them is checked but how many and how long they are.
    pub cards: Vec<SignedBytes>,
}

/// Signed bytes and the signature under them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedBytes {
    /// The signed bytes.
    pub bytes: Bytes,
    /// The signature.
    pub signature: Bytes,
}

impl Card {
    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        use wire::card::Subject as Words;
        let subject = match &self.words.subject {
            Subject::Group {
                group,
                channel,
                access,
                members,
            } => Words::Group(wire::GroupCard {
                group: group.as_bytes().to_vec().into(),
                channel: *channel,
                access: access.to_string(),
                members: *members,
            }),
            Subject::Person(user) => Words::Person(wire::PersonCard {
                user: user.to_string(),
            }),
        };
        wire::Card {
            domain: self.domain.to_string(),
            key_id: self.key_id.as_bytes().to_vec().into(),
            issued_ms: self.issued.as_millis(),
            expires_ms: self.expires.as_millis(),
            subject: Some(subject),
            title: self.words.title.clone(),
            note: self.words.note.clone(),
            tags: self.words.tags.clone(),
        }
        .encode_to_vec()
    }

    /// The address that a client opens: of a group, a channel or a person, with the domain.
    #[must_use]
    pub fn topic(&self) -> String {
        match &self.words.subject {
            Subject::Group { group, channel, .. } => {
                let group = group.to_string();
                let name = if *channel {
                    group.replacen("grp", "chn", 1)
                } else {
                    group
                };
                format!("{name}@{}", self.domain)
            }
            Subject::Person(user) => user.to_string(),
        }
    }

    /// Reads card bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let words = wire::Card::decode(bytes).map_err(|_| Malformed::Protobuf { what: CARD })?;
        let domain: DomainName = words.domain.parse()?;
        let tags = words.tags.iter().all(|it| is_text(it, TAG_CHARS_MAX));
        if words.title.is_empty() || !is_text(&words.title, TITLE_CHARS_MAX) {
            return Err(wrong("its title is empty, too long or has odd characters"));
        }
        if !is_text(&words.note, NOTE_CHARS_MAX) || !tags || words.tags.len() > TAGS_MAX {
            return Err(wrong(
                "its note or tags are too long or have odd characters",
            ));
        }
        Ok(Self {
            key_id: KeyId::from_slice(&words.key_id)?,
            issued: Timestamp::from_millis(words.issued_ms)?,
            expires: Timestamp::from_millis(words.expires_ms)?,
            words: CardWords {
                subject: subject(words.subject, &domain)?,
                title: words.title,
                note: words.note,
                tags: words.tags,
            },
            domain,
        })
    }
}

fn subject(words: Option<wire::card::Subject>, domain: &DomainName) -> Result<Subject, Malformed> {
    use wire::card::Subject as Words;
    match words.ok_or_else(|| wrong("it is of nobody"))? {
        Words::Group(words) => {
            let group = <[u8; 16]>::try_from(&*words.group);
            Ok(Subject::Group {
                group: GroupId::from_bytes(group.map_err(|_| wrong("a group's id has 16 bytes"))?),
                channel: words.channel,
                access: AccessMode::from_peer(&words.access)?,
                members: words.members,
            })
        }
        Words::Person(words) => {
            let user: UserId = words.user.parse()?;
            match user.domain() == domain {
                true => Ok(Subject::Person(user)),
                false => Err(wrong("it is of a person of another domain")),
            }
        }
    }
}

/// A line that can be shown as it is. Line feeds in a note are for whoever shows it.
fn is_text(text: &str, chars_max: usize) -> bool {
    let odd = |it: char| it.is_control() && it != '\n';
    text.chars().count() <= chars_max && !text.chars().any(odd)
}

impl Announcement {
    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let cards = self.cards.iter().map(|it| wire::SignedCard {
            card: it.bytes.clone(),
            signature: it.signature.clone(),
        });
        wire::Announcement {
            domain: self.domain.to_string(),
            key_id: self.key_id.as_bytes().to_vec().into(),
            issued_ms: self.issued.as_millis(),
            expires_ms: self.expires.as_millis(),
            cards: cards.collect(),
        }
        .encode_to_vec()
    }

    /// Reads announcement bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let words = wire::Announcement::decode(bytes)
            .map_err(|_| Malformed::Protobuf { what: ANNOUNCEMENT })?;
        if words.cards.len() > limits::CARDS_MAX {
            let why = "there are more than 256 cards in it";
            return Err(Malformed::Layout {
                what: ANNOUNCEMENT,
                why,
            });
        }
        let cards = words.cards.into_iter().map(|it| SignedBytes {
            bytes: it.card,
            signature: it.signature,
        });
        Ok(Self {
            domain: words.domain.parse()?,
            key_id: KeyId::from_slice(&words.key_id)?,
            issued: Timestamp::from_millis(words.issued_ms)?,
            expires: Timestamp::from_millis(words.expires_ms)?,
            cards: cards.collect(),
        })
    }
}

fn wrong(why: &'static str) -> Malformed {
    Malformed::Layout { what: CARD, why }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn card(subject: Subject) -> Card {
        Card {
            domain: "beta.test".parse().unwrap(),
            key_id: KeyId::of(&[1; 32]),
            issued: Timestamp::from_millis(1000).unwrap(),
            expires: Timestamp::from_millis(2000).unwrap(),
            words: CardWords {
                subject,
                title: "Bicycle workshop".to_owned(),
                note: "Tuesdays\nat seven".to_owned(),
                tags: vec!["bikes".to_owned()],
            },
        }
    }

    fn group() -> Card {
        card(Subject::Group {
            group: GroupId::from_bytes([7; 16]),
            channel: false,
            access: AccessMode::GROUP,
            members: 12,
        })
    }

    fn person() -> Card {
        let user = UserId::new([1; 8], "beta.test".parse().unwrap());
        card(Subject::Person(user))
    }

    #[test]
    fn a_card_survives_its_bytes() {
        for card in [group(), person()] {
            assert_eq!(Card::decode(&card.encode()).unwrap(), card);
        }
    }

    #[test]
    fn a_card_with_something_else_in_it_is_refused() {
        use wire::card::Subject as Words;
        let changes: [fn(&mut wire::Card); 10] = [
            |it| it.domain = "Beta.test".to_owned(),
            |it| it.key_id = vec![1; 15].into(),
            |it| it.issued_ms = -1,
            |it| it.subject = None,
            |it| it.title = String::new(),
            |it| it.title = "a".repeat(121),
            |it| it.title = "a\u{7}b".to_owned(),
            |it| it.note = "a".repeat(401),
            |it| it.tags = vec!["a".to_owned(); 17],
            |it| {
                if let Some(Words::Group(group)) = &mut it.subject {
                    group.group = vec![1; 15].into();
                }
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut words = wire::Card::decode(&*group().encode()).unwrap();
            change(&mut words);
            let read = Card::decode(&words.encode_to_vec());
            assert!(read.is_err(), "change {number} passed");
        }
        let mut words = wire::Card::decode(&*person().encode()).unwrap();
        words.domain = "alpha.test".to_owned();
        assert!(Card::decode(&words.encode_to_vec()).is_err());
    }

    #[test]
    fn an_announcement_survives_its_bytes_and_has_at_most_256_cards() {
        let signed = SignedBytes {
            bytes: group().encode().into(),
            signature: vec![3; 64].into(),
        };
        let announcement = |cards| Announcement {
            domain: "beta.test".parse().unwrap(),
            key_id: KeyId::of(&[1; 32]),
            issued: Timestamp::from_millis(1000).unwrap(),
            expires: Timestamp::from_millis(2000).unwrap(),
            cards: vec![signed.clone(); cards],
        };
        let most = announcement(limits::CARDS_MAX);
        assert_eq!(Announcement::decode(&most.encode()).unwrap(), most);
        let more = announcement(limits::CARDS_MAX + 1);
        assert!(Announcement::decode(&more.encode()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Card::decode(&bytes);
            let _ = Announcement::decode(&bytes);
        }

        /// What is read says what was written, so nothing else can be signed than is shown.
        #[test]
        fn changed_cards_are_read_as_they_are_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = group().encode();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(read) = Card::decode(&bytes) {
                prop_assert_eq!(Card::decode(&read.encode()).unwrap(), read);
            }
        }
    }
}
