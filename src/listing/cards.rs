//! Who and what here wishes to be found, as cards.

use freehold_proto::{
    AccessMode, DomainName, UserId,
    card::{CardWords, NOTE_CHARS_MAX, Subject, TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX},
    limits::CARDS_MAX,
};
use freehold_store::{
    StoreError, Tables, TopicKey,
    tables::{
        rows::{AccountRow, CHANNEL, RoomRow},
        tags::TagOwner,
    },
};
use serde_json::Value;

use crate::{
    accounts::{access::State, tags::DISCOVERABLE},
    topic::{may_be_found, storage},
};

/// Carriers of the tag that are looked at, of whom some cannot be found.
const OWNERS_MAX: usize = 10_000;

/// Cards of those who carry the tag, as many as an announcement may have, and whether there are others. Tags
/// of these kinds are not told. Blocks.
pub(super) fn all(
    tables: &Tables,
    us: &DomainName,
    people_findable: bool,
    masked: &[String],
) -> Result<(Vec<CardWords>, bool), StoreError> {
    let mut cards = Vec::new();
    for owner in tables.tagged(DISCOVERABLE, OWNERS_MAX)? {
        let card = match owner {
            TagOwner::User(local) if people_findable => {
                let user = UserId::new(local, us.clone());
                tables.account(&user)?.and_then(|it| person(user, &it))
            }
            TagOwner::User(_) => None,
            TagOwner::Group(group) => {
                let row = tables.room(TopicKey::group(&group))?;
                row.filter(may_be_found).and_then(|it| {
                    let subject = Subject::Group {
                        group,
                        channel: it.kind == CHANNEL,
                        access: access(&it),
                        members: storage::people_in(&it),
                    };
                    words(subject, &it.public, &it.tags)
                })
            }
        };
        cards.extend(card);
        // It is looked every few seconds: what is not told need not be read.
        if cards.len() > CARDS_MAX {
            break;
        }
    }
    let told = |tag: &String| {
        let prefix = tag.split_once(':').map(|it| it.0);
        !prefix.is_some_and(|it| masked.iter().any(|masked| masked == it))
    };
    for card in &mut cards {
        card.tags.retain(told);
    }
    let more = cards.len() > CARDS_MAX;
    cards.truncate(CARDS_MAX);
    Ok((cards, more))
}

fn access(row: &RoomRow) -> AccessMode {
    match row.kind {
        CHANNEL => AccessMode::READER,
        _ => row.access_auth.parse().unwrap_or(AccessMode::NONE),
    }
}

/// The tags that the server sets (log-in name, mail, telephone) are nobody's business elsewhere.
fn person(user: UserId, row: &AccountRow) -> Option<CardWords> {
    let usable = State::of(row) == State::Ok;
    let card = usable.then(|| words(Subject::Person(user), &row.public, &row.tags));
    card.flatten()
}

/// What a public description says, as text. Nothing without a name: there is nothing to find it by.
fn words(subject: Subject, public: &[u8], tags: &[String]) -> Option<CardWords> {
    let public: Value = serde_json::from_slice(public).unwrap_or_default();
    let text = |key: &str, chars_max| {
        let text = public.get(key).and_then(Value::as_str).unwrap_or_default();
        plain(text, chars_max)
    };
    let title = text("fn", TITLE_CHARS_MAX);
    let tags = tags.iter().filter(|it| *it != DISCOVERABLE);
    let tags = tags.map(|it| plain(it, TAG_CHARS_MAX)).take(TAGS_MAX);
    (!title.is_empty()).then(|| CardWords {
        subject,
        title,
        note: text("note", NOTE_CHARS_MAX),
        tags: tags.collect(),
    })
}

/// A text without what cannot be shown, cut to a length.
fn plain(text: &str, chars_max: usize) -> String {
    let shown = text
        .trim()
        .chars()
        .filter(|it| !it.is_control() || *it == '\n');
    shown.take(chars_max).collect()
}
