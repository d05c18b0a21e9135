//! Domains that have begun anew with keys that no earlier ones have named (PROTOCOL.md section 3.3). What
//! was known of such a domain before is nobody's now: chats with its people are frozen, it has no part in
//! groups any more, and its own groups stay as they are.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use freehold_directory::Life;
use freehold_federation::Arrived;
use freehold_proto::{Destination, DomainName, GroupId, Timestamp, UserId, wire::payload::Kind};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{log::remove_follower, rows::TopicRow},
};
use parking_lot::RwLock;

/// Rows read in one go.
const PAGE: usize = 500;

/// When domains have begun another life than their first. Nearly always empty.
#[derive(Debug, Default)]
pub struct Lives {
    began: RwLock<HashMap<DomainName, Timestamp>>,
    /// Grows with each life that begins.
    count: AtomicU64,
}

impl Lives {
    /// As the pins say.
    pub async fn read(tables: &Tables) -> Result<Arc<Self>, StoreError> {
        let lives = Arc::new(Self::default());
        let mut after = None;
        loop {
            let wanted = after.clone();
            let read = move |tables: &Tables| tables.pins(wanted.as_ref(), PAGE);
            let page = tables.read(read).await?;
            let Some((last, _)) = page.last() else {
                return Ok(lives);
            };
            after = Some(last.clone());
            for (domain, row) in page.into_iter().filter(|(_, row)| row.incarnation > 1) {
                let began = Timestamp::from_stored(row.began);
                lives.began.write().insert(domain, began);
            }
        }
    }

    /// A domain is in this life.
    pub(super) fn note(&self, domain: &DomainName, life: Life) {
        if life.incarnation > 1 {
            let before = self.began.write().insert(domain.clone(), life.began);
            if before != Some(life.began) {
                self.count.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// Did something that came about at this moment, in ms, belong to an earlier life of the domain?
    #[must_use]
    pub fn is_over(&self, domain: &DomainName, moment: i64) -> bool {
        let began = self.began.read();
        let began = began.get(domain);
        began.is_some_and(|began| Timestamp::from_stored(moment) < *began)
    }

    /// How many lives have begun since the start: what was drawn under another number may be for somebody
    /// who is nobody now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Is the domain in another life than its first?
    #[must_use]
    pub fn has_begun_anew(&self, domain: &DomainName) -> bool {
        self.began.read().contains_key(domain)
    }

    /// Does a person's id belong to an earlier life of their domain? Blocks.
    pub fn is_former(&self, tables: &Tables, user: &UserId) -> Result<bool, StoreError> {
        if !self.has_begun_anew(user.domain()) {
            return Ok(false);
        }
        // Nothing is written of somebody whose life is over.
        let known = tables.foreign_person(user)?;
        Ok(known.is_some_and(|it| self.is_over(user.domain(), it.updated)))
    }

    /// Does what `origin` says concern a chat, group or person from before its present life? Blocks.
    pub(super) fn concerns_former(
        &self,
        tables: &Tables,
        origin: &DomainName,
        item: &Arrived,
    ) -> Result<bool, StoreError> {
        match item {
            Arrived::Entry(entry) => self.is_former_group(tables, origin, entry.position.group),
            Arrived::Envelope(opened) => match (&opened.header.to, &opened.payload) {
                (Destination::Group(group), words) => self.is_former_member(tables, *group, words),
                (Destination::Domain(_), Kind::GroupInvitation(words)) => {
                    let group = GroupId::of_record(&words.record);
                    self.is_former_group(tables, origin, group)
                }
                (Destination::Domain(_), words) => self.is_former_chat(tables, words),
            },
        }
    }

    fn is_former_group(
        &self,
        tables: &Tables,
        home: &DomainName,
        group: GroupId,
    ) -> Result<bool, StoreError> {
        let room = tables.room(TopicKey::group(&group))?;
        Ok(room.is_some_and(|it| self.is_over(home, it.created)))
    }

    fn is_former_member(
        &self,
        tables: &Tables,
        group: GroupId,
        words: &Kind,
    ) -> Result<bool, StoreError> {
        let author = match words {
            Kind::GroupMessage(words) => &words.author,
            Kind::GroupRequest(words) => &words.actor,
            _ => return Ok(false),
        };
        let Ok(author) = author.parse::<UserId>() else {
            return Ok(false);
        };
        let row = tables.subscription(&author, TopicKey::group(&group))?;
        let old = row.is_some_and(|it| self.is_over(author.domain(), it.created));
        Ok(old || self.is_former(tables, &author)?)
    }

    fn is_former_chat(&self, tables: &Tables, words: &Kind) -> Result<bool, StoreError> {
        let (theirs, ours) = match words {
            Kind::DirectMessage(it) => (&it.author, &it.recipient),
            Kind::Relation(it) => (&it.user, &it.peer),
            Kind::Cursor(it) => (&it.reader, &it.author),
            Kind::DirectDeletion(it) => (&it.author, &it.recipient),
            Kind::CallEvent(it) => (&it.user, &it.peer),
            _ => return Ok(false),
        };
        let (Ok(theirs), Ok(ours)) = (theirs.parse::<UserId>(), ours.parse::<UserId>()) else {
            return Ok(false);
        };
        let topic = tables.topic(TopicKey::one_to_one(&theirs, &ours))?;
        let over = |it: TopicRow| self.is_over(theirs.domain(), it.created);
        Ok(topic.is_some_and(over) || self.is_former(tables, &theirs)?)
    }
}

/// The logs that a domain follows are told to it no more: its next life begins. Blocks.
pub(super) fn end_parts(
    tables: &Tables,
    batch: &mut Batch,
    domain: &DomainName,
) -> Result<(), StoreError> {
    let mut after: Option<TopicKey> = None;
    loop {
        let page = tables.followed_by(domain, after, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(*last);
        for (topic, _) in page {
            if let Some(row) = tables.follower(domain, topic)? {
                remove_follower(batch, domain, topic, &row);
            }
        }
    }
}
