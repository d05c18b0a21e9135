//! Who may do what in a group, and in the topics that work like one: making it, joining, inviting,
//! changing access, leaving, ending it (fact sheet, sections 2.6 and 3.4).

use freehold_proto::{AccessMode, UserId};
use freehold_store::{
    Batch, Tables,
    tables::{rooms::create_room, rows::SpanRow, tags::TagOwner},
};
use serde_json::json;

use super::{
    TopicName,
    actor::{Actor, Effect},
    asked::{Asked, acs},
    command::Founding,
    room::{Description, Room, RoomKind, RoomLimits},
    standing::AccessChange,
    storage,
};
use crate::{
    accounts::{AccountError, Level, tags::TagFault},
    edge::{
        reply::{self, Reply},
        requests::{GetQuery, SetDesc, SetQuery, SetSub},
        session::Session,
    },
    merge,
    topic::parts,
};

/// The mode in `{set sub}`; empty for none.
fn mode_of(sub: Option<&SetSub>) -> &str {
    sub.and_then(|it| it.mode.as_deref()).unwrap_or_default()
}

impl Actor {
    pub(super) fn limits(&self) -> RoomLimits {
        RoomLimits {
            members_max: self.server.rules.group_members_max,
        }
    }

    /// Makes a new group for somebody, who owns it and is attached to it.
    pub(super) async fn found(&mut self, asked: &Asked, founding: Founding) -> Result<(), Reply> {
        let Founding {
            record,
            channel,
            temporary,
            set,
            get,
        } = founding;
        if self.is_stored() {
            return Err(reply::INTERNAL.into());
        }
        if asked.level == Level::Anonymous {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let now = self.now();
        let kind = if channel {
            RoomKind::Channel
        } else {
            RoomKind::Group
        };
        let TopicName::Group(group) = self.name else {
            return Err(reply::INTERNAL.into());
        };
        let mut room = Room::new(kind, Some(group), now);
        room.record = record;
        let described = set.desc.as_ref();
        if let Some(desc) = described {
            room.description = self.changed(&room.description, desc, asked.admin)?;
        }
        let mode = AccessMode::NONE
            .changed_by(mode_of(set.sub.as_ref()))
            .map_err(|_| reply::MALFORMED)?;
        let change = room.found(&asked.user, mode, now);
        if let Some(private) = described.and_then(|it| it.private.as_ref()) {
            let private = self.annotated(&bytes::Bytes::new(), private)?;
            if let Some(standing) = room.active_mut(&asked.user) {
                standing.private = private;
            }
        }
        let mut batch = Batch::new();
        if let Some(tags) = &set.tags {
            room.description.tags = self
                .new_tags(TagOwner::Group(group), tags, &mut batch)
                .await?;
        }
        let row = storage::room_row(&room);
        create_room(&mut batch, self.key(), &row);
        room.mark_stored(&row);
        self.set_room(room);
        let mut files = Vec::new();
        self.show_files(&mut batch, &mut files).await?;
        // Somebody else may take the alias at the same time: nothing is built on a group that is not.
        if !self.commit_now(batch).await? {
            return Err(AccountError::from(TagFault::Taken).into());
        }
        let rest = (Batch::new(), files);
        self.enter(asked, &get, vec![change], Some(&temporary), rest)
            .await
    }

    /// Subscribes and attaches somebody to a room, as a member or as a reader.
    pub(super) async fn subscribe_room(
        &mut self,
        asked: &Asked,
        as_reader: bool,
        set: &SetQuery,
        get: &GetQuery,
    ) -> Result<(), Reply> {
        self.load_reader(&asked.user).await?;
        self.check_open(&asked.user)?;
        let now = self.now();
        let (mode, limits) = (mode_of(set.sub.as_ref()), self.limits());
        let private = set.desc.as_ref().and_then(|it| it.private.as_ref());
        let before = self.topic.active(&asked.user).map(|it| it.private.clone());
        let private = private
            .map(|it| self.annotated(&before.unwrap_or_default(), it))
            .transpose()?;
        let room = self.room_mut()?;
        if as_reader && room.kind != RoomKind::Channel {
            return Err(reply::TOPIC_NOT_FOUND.into());
        }
        if as_reader && room.active(&asked.user).is_some_and(|it| !it.reader) {
            // A member knows the group by its own name.
            let group = room.group.map(|it| it.to_string());
            return Err(Reply::with(reply::USE_OTHER, json!({ "topic": group })));
        }
        let given = room.active(&asked.user).map(|it| it.given);
        if given.is_some_and(|it| !it.has(AccessMode::JOIN)) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        if as_reader && room.home.is_some() {
            return self.read_copy(asked, mode, private, get).await;
        }
        if room.home.is_some() {
            return self.subscribe_copy(asked, mode, private, get).await;
        }
        let is_new = room.active(&asked.user).is_none();
        let changes = match room.kind {
            RoomKind::Saved if is_new => vec![room.found(&asked.user, AccessMode::NONE, now)],
            _ if as_reader => {
                let change = room.read_channel(&asked.user, mode, now)?;
                change.into_iter().collect()
            }
            _ => room.join(&asked.user, asked.level, mode, limits, now)?,
        };
        if let Some(private) = private {
            self.topic.annotate(&asked.user, private, now)?;
        }
        self.enter(asked, get, changes, None, Default::default())
            .await
    }

    /// The same in a group whose home is another domain. Whoever is no member there, or has not been
    /// asked, cannot come in.
    async fn subscribe_copy(
        &mut self,
        asked: &Asked,
        mode: &str,
        private: Option<bytes::Bytes>,
        get: &GetQuery,
    ) -> Result<(), Reply> {
        let now = self.now();
        let standing = self.topic.active(&asked.user).filter(|it| !it.reader);
        let Some(standing) = standing else {
            return self.ask_to_join(asked, mode, get).await;
        };
        let back = match (mode, standing.want.has(AccessMode::JOIN)) {
            // Who had banned himself and comes back wants again what he is given.
            ("", false) => standing.given.to_string(),
            _ => mode.to_owned(),
        };
        let (mut batch, mut more) = (Batch::new(), Vec::new());
        let changes = self
            .want_in_copy(&asked.user, &back, &mut batch, &mut more)
            .await?;
        if let Some(private) = private {
            self.topic.annotate(&asked.user, private, now)?;
        }
        self.enter(asked, get, changes, None, (batch, more)).await?;
        // What a restart interrupted, or the home did not show when it was asked.
        self.fetch_past();
        Ok(())
    }

    /// A group that ended, or never was, cannot be entered; the other rooms are made when needed.
    fn check_open(&self, user: &UserId) -> Result<(), Reply> {
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let exists = match &self.name {
            TopicName::Group(_) => self.is_stored() && room.deleted.is_none(),
            TopicName::Saved(owner) => owner == user,
            _ => true,
        };
        if exists {
            Ok(())
        } else {
            Err(reply::TOPIC_NOT_FOUND.into())
        }
    }

    /// Attaches the session and answers its `{sub}`.
    pub(super) async fn enter(
        &mut self,
        asked: &Asked,
        get: &GetQuery,
        changes: Vec<AccessChange>,
        temporary: Option<&str>,
        (batch, more): (Batch, Vec<Effect>),
    ) -> Result<(), Reply> {
        if !self.topic.may(&asked.user, AccessMode::JOIN) {
            // Whoever bans himself is heard before he is shut out.
            let effects = self.access_effects(Some(&asked.session), changes);
            self.commit_all(batch, effects);
            return Err(reply::PERMISSION_DENIED.into());
        }
        let now = self.now();
        let first = self.attach(&asked.session, &asked.user);
        let mut params = serde_json::Map::new();
        if let Some(change) = changes.iter().find(|it| it.user == asked.user) {
            params.insert("acs".to_owned(), acs(change));
        }
        if let Some(temporary) = temporary {
            params.insert("tmpname".to_owned(), temporary.into());
        }
        let mut answer = Reply::from(reply::OK);
        answer.params = (!params.is_empty()).then(|| params.into());
        let mut frames = vec![answer.into_frame(asked.id.clone(), Some(asked.name.clone()), now)];
        if !parts(&get.what).is_empty() {
            frames.extend(self.query(asked, get).await?);
        }
        let mut effects = vec![Effect::Reply(asked.session.clone(), frames)];
        effects.extend(self.access_effects(Some(&asked.session), changes));
        effects.extend(first.then(|| Effect::Arrived(asked.session.clone(), asked.user.clone())));
        effects.extend(more);
        self.commit_all(batch, effects);
        Ok(())
    }

    /// Who is to hear of changed access, and who may not stay.
    /// `session` is that of whoever did it, if they are here.
    pub(super) fn access_effects(
        &mut self,
        session: Option<&Session>,
        changes: Vec<AccessChange>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for change in changes {
            let ours = self.server.ids.is_ours(&change.user);
            let stays = !change.gone && self.topic.may(&change.user, AccessMode::JOIN);
            // Whoever leaves knows it.
            let own = change.gone && change.user == change.actor;
            let evicted = (!stays && ours).then(|| Effect::Evicted {
                sessions: self.put_out(&change.user),
                user: change.user.clone(),
                gone: change.gone,
                except: session.filter(|_| own).cloned(),
            });
            effects.push(Effect::Access(change, session.cloned()));
            effects.extend(evicted);
        }
        effects
    }

    /// Answers `{set sub}`: one's own wishes, an invitation, or what a member may do.
    pub(super) async fn set_access_room(
        &mut self,
        asked: &Asked,
        sub: &SetSub,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let mode = mode_of(Some(sub));
        let target = match sub.user.as_deref().filter(|it| !it.is_empty()) {
            Some(text) => self
                .server
                .ids
                .read(text)
                .map_err(|_| reply::USER_NOT_FOUND)?,
            None => asked.user.clone(),
        };
        let own = target == asked.user;
        let copy = self.home_abroad().is_some();
        if copy && !own {
            if !self.is_attached(&asked.session) {
                return Err(reply::ATTACH_FIRST.into());
            }
            return self.grant_in_copy(asked, &target, mode, batch, effects);
        }
        let changes = if own && copy {
            self.want_in_copy(&asked.user, mode, batch, effects).await?
        } else if own {
            let now = self.now();
            self.room_mut()?.want(&asked.user, mode, now)?
        } else {
            let change = self.grant(asked, &target, mode).await?;
            change.into_iter().collect()
        };
        let now = self.now();
        let Some(change) = changes.iter().find(|it| it.user == target) else {
            effects.push(asked.later(reply::NOT_MODIFIED, now));
            return Ok(());
        };
        let mut params = json!({ "acs": acs(change) });
        if !own {
            params["user"] = self.server.ids.shown(&target).into();
        }
        effects.push(asked.later(Reply::with(reply::OK, params), now));
        effects.extend(self.access_effects(Some(&asked.session), changes));
        Ok(())
    }

    async fn grant(
        &mut self,
        asked: &Asked,
        target: &UserId,
        mode: &str,
    ) -> Result<Option<AccessChange>, Reply> {
        if !self.is_attached(&asked.session) {
            return Err(reply::ATTACH_FIRST.into());
        }
        self.grant_for(&asked.user, target, mode).await
    }

    /// Somebody, of this domain or of another, invites another one or changes what a member may do.
    pub(super) async fn grant_for(
        &mut self,
        actor: &UserId,
        target: &UserId,
        mode: &str,
    ) -> Result<Option<AccessChange>, Reply> {
        let wants = if self.server.ids.is_ours(target) {
            let profile = self.server.profile(target).await?;
            Some(profile.ok_or(reply::USER_NOT_FOUND)?.access)
        } else {
            // Somebody elsewhere is asked first.
            let (lives, wanted) = (self.server.lives.clone(), target.clone());
            let read = move |tables: &Tables| lives.is_former(tables, &wanted);
            let former = self.server.tables.read(read).await?;
            if former || !self.server.permits(target.domain()) {
                return Err(reply::PERMISSION_DENIED.into());
            }
            self.server.outbox.prepare(target.domain()).await?;
            None
        };
        self.load_reader(target).await?;
        let (limits, now) = (self.limits(), self.now());
        let room = self.room_mut()?;
        Ok(room.grant(actor, target, mode, wants, limits, now)?)
    }

    /// Answers `{del what:"sub"}`.
    pub(super) fn evict(&mut self, asked: &Asked, target: &UserId) -> Result<(), Reply> {
        if self.topic.room().is_none() {
            return Err(reply::NOT_ALLOWED.into());
        }
        if !self.is_attached(&asked.session) {
            return Err(reply::ATTACH_FIRST.into());
        }
        let now = self.now();
        let change = self.room_mut()?.evict(&asked.user, target, now)?;
        let mut effects = vec![asked.later(reply::OK, now)];
        effects.extend(self.access_effects(Some(&asked.session), vec![change]));
        self.commit_all(Batch::new(), effects);
        Ok(())
    }

    /// Answers `{leave unsub}`.
    pub(super) async fn unsubscribe_room(&mut self, asked: &Asked) -> Result<(), Reply> {
        self.load_reader(&asked.user).await?;
        if self.home_abroad().is_some() {
            return self.leave_copy(asked).await;
        }
        let now = self.now();
        let change = self.room_mut()?.leave(&asked.user, now)?;
        let mut effects = vec![asked.later(reply::OK, now)];
        effects.extend(self.access_effects(Some(&asked.session), vec![change]));
        self.commit_all(Batch::new(), effects);
        Ok(())
    }

    /// Answers `{del what:"topic"}`: its owner ends a group for everybody, others leave it. Notes to
    /// self are emptied.
    pub(super) async fn delete_room(&mut self, asked: &Asked) -> Result<(), Reply> {
        self.load_reader(&asked.user).await?;
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let owns = room.mode(&asked.user).has(AccessMode::OWNER);
        match room.kind {
            RoomKind::Saved if owns => self.empty_saved(asked).await,
            RoomKind::Group | RoomKind::Channel if owns && room.home.is_some() => {
                self.close_from_copy(asked)
            }
            RoomKind::Group | RoomKind::Channel if owns => {
                let answer = vec![asked.later(reply::OK, self.now())];
                self.close_room(&asked.user, Some(&asked.session), answer)
                    .await
            }
            _ => self.unsubscribe_room(asked).await,
        }
    }

    /// The owner ends the group: nothing of it is left but that it was.
    pub(super) async fn close_room(
        &mut self,
        owner: &UserId,
        session: Option<&Session>,
        mut effects: Vec<Effect>,
    ) -> Result<(), Reply> {
        let (mut batch, left) = self.begin_emptying(owner).await?;
        self.drop_tags(&mut batch);
        let now = self.now();
        let room = self.room_mut()?;
        room.close(owner, now)?;
        room.description.public.clear();
        effects.push(Effect::Closed(session.cloned()));
        self.show_files(&mut batch, &mut effects).await?;
        self.commit_all(batch, effects);
        self.delete_spans(owner, true, left).await.map(drop)
    }

    async fn empty_saved(&mut self, asked: &Asked) -> Result<(), Reply> {
        let head = self.topic.head();
        if head > 0 {
            self.finish_commits().await?;
            let all = SpanRow {
                low: 1,
                high: head.saturating_add(1),
            };
            self.delete_spans(&asked.user, true, vec![all]).await?;
        }
        let now = self.now();
        let change = self.room_mut()?.abandon(&asked.user, now);
        let mut effects = vec![asked.later(reply::OK, now)];
        effects.extend(self.access_effects(Some(&asked.session), vec![change]));
        self.commit_all(Batch::new(), effects);
        Ok(())
    }

    /// Changes what everybody sees; true when that is something else now.
    pub(super) fn redescribe(
        &mut self,
        asked: &Asked,
        desc: &SetDesc,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, Reply> {
        let wanted = desc.public.is_some() || desc.defacs.is_some();
        if !wanted && desc.trusted.is_none() {
            return Ok(false);
        }
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let is_group = matches!(room.kind, RoomKind::Group | RoomKind::Channel);
        if !is_group || !self.is_stored() || room.deleted.is_some() {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let owns = room.mode(&asked.user).has(AccessMode::OWNER);
        let marks_only = !wanted && asked.admin;
        if (wanted && !owns) || !(marks_only || self.is_attached(&asked.session)) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let changed = self.changed(&room.description, desc, asked.admin)?;
        if changed == room.description {
            return Ok(false);
        }
        if room.home.is_some() {
            self.describe_in_copy(asked, desc, &changed, batch, effects)?;
            return Ok(false);
        }
        let now = self.now();
        self.room_mut()?.describe(changed, now);
        Ok(true)
    }

    /// A description with a change merged in, or why it may not be.
    fn changed(
        &self,
        before: &Description,
        desc: &SetDesc,
        admin: bool,
    ) -> Result<Description, Reply> {
        let mut after = before.clone();
        if let Some(public) = &desc.public {
            after.public = merge::into_stored(&before.public, public);
        }
        if let Some(trusted) = &desc.trusted {
            if !admin {
                return Err(reply::PERMISSION_DENIED.into());
            }
            after.trusted = merge::into_stored(&before.trusted, trusted);
        }
        if let Some(access) = &desc.defacs {
            let changed = |before: AccessMode, by: &Option<String>| {
                before
                    .changed_by(by.as_deref().unwrap_or_default())
                    .map(|it| it.without(AccessMode::OWNER))
                    .map_err(|_| reply::MALFORMED)
            };
            after.access_auth = changed(before.access_auth, &access.auth)?;
            after.access_anon = changed(before.access_anon, &access.anon)?;
        }
        if !self.server.fits_description(&after.public)
            || !self.server.fits_description(&after.trusted)
        {
            return Err(reply::TOO_LARGE.into());
        }
        Ok(after)
    }

    /// Reads how somebody stands who reads the channel, if this is one and they are no member.
    pub(super) async fn load_reader(&mut self, user: &UserId) -> Result<(), Reply> {
        let Some(room) = self.topic.room() else {
            return Ok(());
        };
        let known = room.active(user).is_some() || room.readers.contains_key(user);
        if room.kind != RoomKind::Channel || known {
            return Ok(());
        }
        let (key, wanted) = (self.key(), user.clone());
        let read = move |tables: &Tables| storage::load_reader(tables, key, &wanted);
        if let Some(standing) = self.server.tables.read(read).await? {
            self.room_mut()?.readers.insert(user.clone(), standing);
        }
        Ok(())
    }

    /// The same for all who are attached, when the channel has been read again.
    pub(super) async fn load_attached_readers(&mut self) {
        let attached: Vec<UserId> = self.attached.people().map(|it| it.0.clone()).collect();
        for user in attached {
            if let Err(reply) = self.load_reader(&user).await {
                let code = reply.status.code;
                tracing::warn!(code, "how a reader stands cannot be read");
                return self.read_again();
            }
        }
    }

    /// Everybody may write to the administrators without being attached.
    pub(super) fn may_publish_from_afar(&self) -> bool {
        matches!(self.name, TopicName::Reports(_))
    }

    /// A topic that exists from the first message on.
    pub(super) fn found_if_missing(&mut self) -> Result<(), Reply> {
        if !self.is_stored() {
            self.room_mut()?.dirty = true;
        }
        Ok(())
    }
}
