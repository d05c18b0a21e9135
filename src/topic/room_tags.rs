//! Tags by which a group can be found (fact sheet, section 6.5).

use freehold_store::{
    Batch, Outcome,
    tables::{
        rooms::put_room,
        tags::{TagOwner, UNIQUE_PREFIX, replace},
    },
};
use serde_json::json;

use super::{
    actor::{Actor, Effect},
    asked::Asked,
    storage,
};
use crate::{
    accounts::{
        AccountError,
        tags::{self, Kind, TagFault},
    },
    edge::reply::{self, Reply},
};

fn refusal(fault: TagFault) -> Reply {
    AccountError::from(fault).into()
}

impl Actor {
    fn tag_owner(&self) -> Result<TagOwner, Reply> {
        let group = self.topic.room().and_then(|it| it.group);
        Ok(TagOwner::Group(group.ok_or(reply::NOT_ALLOWED)?))
    }

    /// Answers `{set tags}`: the list takes the place of the one before.
    pub(super) async fn set_tags(
        &mut self,
        asked: &Asked,
        typed: &[String],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let owner = self.tag_owner()?;
        if self.home_abroad().is_some() {
            // A group is found at its home.
            return Err(reply::NOT_ALLOWED.into());
        }
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        if room.owner() != Some(&asked.user) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let before = room.description.tags.clone();
        let after = tags::checked(typed, Kind::Group).map_err(refusal)?;
        let missing_in =
            |one: &[String], other: &[String]| one.iter().filter(|it| !other.contains(it)).count();
        let (added, removed) = (missing_in(&after, &before), missing_in(&before, &after));
        let now = self.now();
        if typed.is_empty() || added + removed == 0 {
            effects.push(asked.later(reply::NOT_MODIFIED, now));
            return Ok(());
        }
        self.commit_tags(owner, before, after).await?;
        let counts = json!({"added": added, "removed": removed});
        effects.push(asked.later(Reply::with(reply::OK, counts), now));
        Ok(())
    }

    /// Writes the tags with the room's row, alone: whether somebody else has the alias must be known
    /// before anything builds on it.
    async fn commit_tags(
        &mut self,
        owner: TagOwner,
        before: Vec<String>,
        after: Vec<String>,
    ) -> Result<(), Reply> {
        self.finish_commits().await?;
        let (key, mut batch) = (self.key(), Batch::new());
        replace(&mut batch, owner, &before, &after);
        let room = self.room_mut()?;
        room.description.tags = after;
        let row = storage::room_row(room);
        let bytes = put_room(&mut batch, key, &row, room.stored_bytes);
        match self.server.tables.commit(batch).await {
            Ok(Outcome::Applied) => {
                self.room_mut()?.stored_bytes = bytes;
                Ok(())
            }
            Ok(Outcome::GuardFailed { .. }) => {
                self.room_mut()?.description.tags = before;
                Err(refusal(TagFault::Taken))
            }
            Err(fault) => {
                self.read_again();
                Err(fault.into())
            }
        }
    }

    /// The tags of a group that is being made, with their rows.
    pub(super) async fn new_tags(
        &mut self,
        owner: TagOwner,
        typed: &[String],
        batch: &mut Batch,
    ) -> Result<Vec<String>, Reply> {
        let tags = tags::checked(typed, Kind::Group).map_err(refusal)?;
        if let Some(alias) = tags
            .iter()
            .find(|it| it.starts_with(UNIQUE_PREFIX))
            .cloned()
        {
            let read = move |tables: &freehold_store::Tables| tables.unique_tag(&alias);
            if self.server.tables.read(read).await?.is_some() {
                return Err(refusal(TagFault::Taken));
            }
        }
        replace(batch, owner, &[], &tags);
        Ok(tags)
    }

    /// The group is at home here from now on, and found here: by all its tags but an alias, which somebody
    /// here may have.
    pub(super) fn index_tags(&self, batch: &mut Batch) {
        if let (Ok(owner), Some(room)) = (self.tag_owner(), self.topic.room()) {
            let plain = |it: &&String| !it.starts_with(UNIQUE_PREFIX);
            let tags: Vec<String> = room
                .description
                .tags
                .iter()
                .filter(plain)
                .cloned()
                .collect();
            replace(batch, owner, &[], &tags);
        }
    }

    /// Takes the tags of a group that ends out of the index.
    pub(super) fn drop_tags(&self, batch: &mut Batch) {
        if let (Ok(owner), Some(room)) = (self.tag_owner(), self.topic.room()) {
            replace(batch, owner, &room.description.tags, &[]);
        }
    }
}
