//! Tags by which a group can be found.

use freehold_proto::AccessMode;
use freehold_store::{
    Batch, Tables,
    tables::tags::{TagOwner, UNIQUE_PREFIX, replace},
};
use serde_json::json;

use super::{
    TopicName,
    actor::{Actor, Effect},
    asked::Asked,
};
use crate::{
    accounts::{
        AccountError,
        tags::{Kind, TagFault, checked},
    },
    edge::reply::{self, Reply},
};

impl Actor {
    /// Answers `{set tags}`: the owner's list takes the place of the one before.
    pub(super) async fn set_tags(
        &mut self,
        asked: &Asked,
        typed: &[String],
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let (owner, now) = (self.tag_owner()?, self.now());
        let room = self.topic.room().ok_or(reply::NOT_ALLOWED)?;
        if !room.mode(&asked.user).has(AccessMode::OWNER) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let mut description = room.description.clone();
        let old = description.tags.clone();
        let new = if typed.is_empty() {
            old.clone()
        } else {
            self.free(owner, checked(typed, Kind::Group)).await?
        };
        let count =
            |one: &[String], other: &[String]| one.iter().filter(|it| !other.contains(it)).count();
        let (added, removed) = (count(&new, &old), count(&old, &new));
        if added == 0 && removed == 0 {
            effects.push(asked.later(reply::NOT_MODIFIED, now));
            return Ok(());
        }
        replace(batch, owner, &old, &new);
        description.tags = new;
        self.room_mut()?.describe(description, now);
        let params = json!({"added": added, "removed": removed});
        effects.push(asked.later(Reply::with(reply::OK, params), now));
        Ok(())
    }

    /// The tags of a group that is being made.
    pub(super) async fn new_tags(
        &mut self,
        typed: &[String],
        batch: &mut Batch,
    ) -> Result<Vec<String>, Reply> {
        let owner = self.tag_owner()?;
        let tags = self.free(owner, checked(typed, Kind::Group)).await?;
        replace(batch, owner, &[], &tags);
        Ok(tags)
    }

    /// A group that ends gives its tags free.
    pub(super) async fn drop_tags(&mut self, batch: &mut Batch) -> Result<(), Reply> {
        if let (Ok(owner), Some(room)) = (self.tag_owner(), self.topic.room()) {
            replace(batch, owner, &room.description.tags, &[]);
        }
        std::future::ready(Ok(())).await
    }

    fn tag_owner(&self) -> Result<TagOwner, Reply> {
        match self.name {
            TopicName::Group(group) => Ok(TagOwner::Group(group)),
            _ => Err(reply::NOT_ALLOWED.into()),
        }
    }

    /// Tags of which none is another's alone. Who comes at the same moment is refused by the store.
    async fn free(
        &self,
        owner: TagOwner,
        tags: Result<Vec<String>, TagFault>,
    ) -> Result<Vec<String>, Reply> {
        let tags = tags.map_err(AccountError::from)?;
        let wanted = tags.clone();
        let read = move |tables: &Tables| {
            for tag in wanted.iter().filter(|it| it.starts_with(UNIQUE_PREFIX)) {
                if tables.unique_tag(tag)?.is_some_and(|it| it != owner) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        if self.server.tables.read(read).await? {
            return Err(AccountError::from(TagFault::Taken).into());
        }
        Ok(tags)
    }
}
