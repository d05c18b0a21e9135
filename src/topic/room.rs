//! The rules of a group, with or without a channel, and of the two topics that work like a small
//! group: notes to self, and reports to the administrators (fact sheet, sections 3.1 and 3.4).
//!
//! Decisions only: no socket, no clock, no store. A method changes the value and says what happened,
//! or refuses and changes nothing. Whoever calls makes it durable before anybody is told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use freehold_proto::{AccessMode, DomainName, GroupId, Timestamp, UserId};
use freehold_store::tables::rows::{LogRow, RoomRow};
use prost::Message as _;

use super::{
    deletion::Cleared,
    log::Log,
    standing::{AccessChange, CursorMove, Standing},
};
use crate::{
    accounts::Level,
    edge::reply::{self, Status},
};

/// What a room is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RoomKind {
    /// People who talk with each other.
    Group,
    /// The same with readers beside the members.
    Channel,
    /// One person's notes to self.
    Saved,
    /// Reports to the administrators: everybody may write, only they read.
    Reports,
}

/// What everybody sees of a room.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Description {
    /// Public description, JSON; empty for none.
    pub public: Bytes,
    /// Marks of the administrators, JSON; empty for none.
    pub trusted: Bytes,
    /// What somebody with an account gets who joins.
    pub access_auth: AccessMode,
    /// The same for anonymous people.
    pub access_anon: AccessMode,
    /// Tags to be found by.
    pub tags: Vec<String>,
    /// What is attached (pins), JSON; empty for none.
    pub aux: Bytes,
}

/// A room.
#[derive(Clone, Debug)]
pub struct Room {
    /// What for.
    pub kind: RoomKind,
    /// Its id, of a group.
    pub group: Option<GroupId>,
    /// Members, present and former.
    pub members: HashMap<UserId, Standing>,
    /// Readers of the channel, as far as they are loaded.
    pub readers: HashMap<UserId, Standing>,
    /// Whose standing changed since it was last written.
    pub changed: HashSet<UserId>,
    /// How many readers there are.
    pub readers_count: u32,
    /// Length of the room's row as it was last written.
    pub stored_bytes: usize,
    /// Of a group: the create record and the home's signature on it.
    pub record: (Bytes, Bytes),
    /// What everybody sees.
    pub description: Description,
    /// When it was made.
    pub created: Timestamp,
    /// When the description changed.
    pub updated: Timestamp,
    /// When it ended: nothing is possible in it any more.
    pub deleted: Option<Timestamp>,
    /// Position of the last message.
    pub head: u32,
    /// When the last message came.
    pub touched: Option<Timestamp>,
    /// What was deleted so far.
    pub cleared: Cleared,
    /// Its own row changed since it was last written.
    pub dirty: bool,
    /// The other domain that orders and rules it; `None` when that is ours.
    pub home: Option<DomainName>,
    /// Its log, once it spans domains. A copy has one once it has been told how the group stands.
    pub log: Option<Log>,
    /// Of a copy: where it began, and the position that new messages stand behind.
    pub begun: Option<(Log, u32)>,
    /// Up to here a message's order is its position.
    pub opened: u32,
    /// The epoch for which we last agreed to another home, and which.
    pub consented: Option<(u64, DomainName)>,
    /// How the home came to be it: the entries that say so.
    pub succession: Vec<LogRow>,
    /// Who succeed the home, from which entry on: the last few times that this was said.
    pub successors: Vec<(u64, Vec<DomainName>)>,
    /// The last entry in which the home named its successors.
    pub charter: Option<LogRow>,
    /// What a fenced home ruled last may not hold: the present one is to be asked how everybody stands.
    pub unsure: bool,
    /// Of a copy: the order from which on the history from before it began is here; 0 for none of it.
    pub fetched: u32,
    /// Of a copy: messages of ours that the home has not placed, of the last ones.
    pub unplaced: BTreeSet<u32>,
    /// At the home: other domains whose people take part, and the last entry before they did.
    pub followers: BTreeMap<DomainName, u64>,
    /// Of a channel: where its feed has got to; elsewhere than at the home, as far as it is here.
    pub feed: Option<Log>,
    /// At the home of a channel: how many people of other domains read it, by their word.
    pub reading: BTreeMap<DomainName, u32>,
    /// Those of them that get the feed, and its last entry before they did.
    pub fed: BTreeMap<DomainName, u64>,
}

/// What a room lets its people hold.
#[derive(Clone, Copy, Debug)]
pub struct RoomLimits {
    /// Members at once.
    pub members_max: usize,
}

/// The reader of a channel may hold this and no more.
const READER: AccessMode = AccessMode::READER;
/// Who may change what others may do.
const ADMIN: AccessMode = AccessMode::APPROVE.or(AccessMode::OWNER);
/// Who may bring others in, and sees how everybody stands.
const SHARER: AccessMode = ADMIN.or(AccessMode::SHARE);

/// True when any right of `of` is in `mode`.
fn any(mode: AccessMode, of: AccessMode) -> bool {
    mode.and(of) != AccessMode::NONE
}

impl Description {
    /// Of a group that nobody has described yet (fact sheet, section 3.4).
    #[must_use]
    pub fn new(kind: RoomKind) -> Self {
        let auth = match kind {
            RoomKind::Group => AccessMode::GROUP,
            RoomKind::Channel => AccessMode::GROUP.without(AccessMode::JOIN),
            RoomKind::Saved | RoomKind::Reports => AccessMode::NONE,
        };
        Self {
            access_auth: auth,
            ..Self::default()
        }
    }
}

impl Room {
    /// A room without people.
    #[must_use]
    pub fn new(kind: RoomKind, group: Option<GroupId>, now: Timestamp) -> Self {
        Self {
            kind,
            group,
            members: HashMap::new(),
            readers: HashMap::new(),
            changed: HashSet::new(),
            readers_count: 0,
            stored_bytes: 0,
            record: (Bytes::new(), Bytes::new()),
            description: Description::new(kind),
            created: now,
            updated: now,
            deleted: None,
            head: 0,
            touched: None,
            cleared: Cleared::default(),
            dirty: true,
            home: None,
            log: None,
            begun: None,
            opened: 0,
            consented: None,
            succession: Vec::new(),
            successors: Vec::new(),
            charter: None,
            unsure: false,
            fetched: 0,
            unplaced: BTreeSet::new(),
            followers: BTreeMap::new(),
            feed: None,
            reading: BTreeMap::new(),
            fed: BTreeMap::new(),
        }
    }

    /// True where positions are not orders: in copies, and in what once was one.
    #[must_use]
    pub fn is_renumbered(&self) -> bool {
        self.begun.is_some()
    }

    /// At the home of a channel: how many people of other domains read it.
    #[must_use]
    pub fn readers_abroad(&self) -> u32 {
        let each = self.reading.values().copied();
        each.fold(0, u32::saturating_add)
    }

    /// How many read the channel, as far as it is known here.
    #[must_use]
    pub fn readers_everywhere(&self) -> u32 {
        self.readers_count.saturating_add(self.readers_abroad())
    }

    /// Domains of which somebody takes part, but for `us`.
    #[must_use]
    pub fn domains(
        &self,
        us: &DomainName,
        counts: impl Fn(&DomainName, i64) -> bool,
    ) -> BTreeSet<DomainName> {
        let takes_part = |(user, it): &(&UserId, &Standing)| {
            user.domain() != us
                && it.rights() != AccessMode::NONE
                && counts(user.domain(), it.created.as_millis())
        };
        let present = self.present().filter(takes_part);
        present.map(|(user, _)| user.domain().clone()).collect()
    }

    /// A new group, or notes to self, with its owner. `mode` is what the owner wants to begin with.
    pub fn found(&mut self, owner: &UserId, mode: AccessMode, now: Timestamp) -> AccessChange {
        let given = match self.kind {
            RoomKind::Saved => AccessMode::SAVED,
            _ => AccessMode::ALL,
        };
        let want = match mode {
            AccessMode::NONE => given,
            mode => mode.or(AccessMode::OWNER).or(AccessMode::JOIN).and(given),
        };
        self.enter(owner, owner, want, given, now)
    }

    fn enter(
        &mut self,
        user: &UserId,
        actor: &UserId,
        want: AccessMode,
        given: AccessMode,
        now: Timestamp,
    ) -> AccessChange {
        let mut standing = Standing::new(want, given, now);
        if let Some(before) = self.members.get(user) {
            standing.want_version = before.want_version + 1;
            standing.given_version = before.given_version + 1;
            standing.read = before.read;
            standing.received = before.received;
            standing.cleared = before.cleared;
        }
        // Whoever becomes a member reads the group, not its channel.
        if let Some(reader) = self.readers.remove(user) {
            standing.read = standing.read.max(reader.read);
            standing.received = standing.received.max(reader.received);
            let counted = reader.deleted.is_none();
            self.readers_count = self.readers_count.saturating_sub(u32::from(counted));
        }
        self.members.insert(user.clone(), standing);
        self.changed.insert(user.clone());
        self.dirty = true;
        AccessChange {
            user: user.clone(),
            actor: actor.clone(),
            fresh: true,
            gone: false,
            want: (AccessMode::NONE, want),
            given: (AccessMode::NONE, given),
        }
    }

    /// How a member or a reader stands, while it counts.
    #[must_use]
    pub fn active(&self, user: &UserId) -> Option<&Standing> {
        let found = self.members.get(user).filter(|it| it.deleted.is_none());
        found.or_else(|| self.readers.get(user).filter(|it| it.deleted.is_none()))
    }

    fn standing_mut(&mut self, user: &UserId) -> Option<&mut Standing> {
        match self.members.get_mut(user) {
            Some(standing) if standing.deleted.is_none() => Some(standing),
            _ => {
                let reader = self.readers.get_mut(user);
                reader.filter(|it| it.deleted.is_none())
            }
        }
    }

    /// The same to change it; it counts as changed.
    pub fn active_mut(&mut self, user: &UserId) -> Option<&mut Standing> {
        self.changed.insert(user.clone());
        self.standing_mut(user)
    }

    /// What somebody may do. Whoever may not join may do nothing.
    #[must_use]
    pub fn mode(&self, user: &UserId) -> AccessMode {
        self.active(user).map_or(AccessMode::NONE, Standing::rights)
    }

    /// Everybody who is a member now.
    pub fn present(&self) -> impl Iterator<Item = (&UserId, &Standing)> {
        self.members.iter().filter(|(_, it)| it.deleted.is_none())
    }

    /// How many members there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.present().count()
    }

    /// Whoever owns the room.
    #[must_use]
    pub fn owner(&self) -> Option<&UserId> {
        let owns = |(_, it): &(&UserId, &Standing)| it.rights().has(AccessMode::OWNER);
        self.present().find(owns).map(|(user, _)| user)
    }

    /// True for somebody who sees how all others stand.
    #[must_use]
    pub fn is_sharer(&self, user: &UserId) -> bool {
        any(self.mode(user), SHARER)
    }

    /// True for somebody who rules on others.
    #[must_use]
    pub fn is_admin(&self, user: &UserId) -> bool {
        any(self.mode(user), ADMIN)
    }

    /// True for somebody who reads the channel without being a member.
    #[must_use]
    pub fn is_reader(&self, user: &UserId) -> bool {
        self.active(user).is_some_and(|it| it.reader)
    }

    /// True while something waits in memory to be written.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty || !self.changed.is_empty()
    }

    /// Gives the next position to a message.
    pub fn append(&mut self, now: Timestamp) -> u32 {
        self.head += 1;
        self.touched = Some(self.touched.map_or(now, |before| before.max(now)));
        self.head
    }

    fn is_owner(&self, user: &UserId) -> bool {
        self.mode(user).has(AccessMode::OWNER)
    }

    fn default_for(&self, level: Level) -> AccessMode {
        let mode = match level {
            Level::Anonymous => self.description.access_anon,
            Level::Authenticated | Level::Root => self.description.access_auth,
        };
        mode.without(AccessMode::OWNER)
    }

    fn is_full(&self, limits: RoomLimits) -> bool {
        self.size() >= limits.members_max
    }

    /// Somebody joins by their own wish, or comes back. `mode` is what they want; empty for what they
    /// get.
    pub fn join(
        &mut self,
        user: &UserId,
        level: Level,
        mode: &str,
        limits: RoomLimits,
        now: Timestamp,
    ) -> Result<Vec<AccessChange>, Status> {
        if self.kind == RoomKind::Reports && level != Level::Root {
            return Err(reply::PERMISSION_DENIED);
        }
        if let Some(standing) = self.active(user).filter(|it| !it.reader) {
            // Who had banned himself and comes back wants again what he is given.
            let back = if mode.is_empty() && !standing.want.has(AccessMode::JOIN) {
                let default = self.default_for(level);
                standing.given.or(default).to_string()
            } else {
                mode.to_owned()
            };
            return self.want(user, &back, now);
        }
        let given = match (self.kind, level) {
            (RoomKind::Saved, _) => return Err(reply::PERMISSION_DENIED),
            (RoomKind::Reports, Level::Root) => AccessMode::REPORTS,
            (RoomKind::Reports, _) => return Err(reply::PERMISSION_DENIED),
            _ => match self.members.get(user) {
                Some(before) => before.given.without(AccessMode::OWNER),
                None => self.default_for(level),
            },
        };
        if !given.has(AccessMode::JOIN) {
            return Err(reply::PERMISSION_DENIED);
        }
        let want = given.changed_by(mode).map_err(|_| reply::MALFORMED)?;
        if want.has(AccessMode::OWNER) {
            return Err(reply::PERMISSION_DENIED);
        }
        if self.kind != RoomKind::Reports && self.is_full(limits) {
            return Err(reply::POLICY);
        }
        let want = want.or(AccessMode::JOIN);
        Ok(vec![self.enter(user, user, want, given, now)])
    }

    /// Somebody reads the channel, or comes back to it. What a reader may do is fixed.
    pub fn read_channel(
        &mut self,
        user: &UserId,
        mode: &str,
        now: Timestamp,
    ) -> Result<Option<AccessChange>, Status> {
        if self.kind != RoomKind::Channel {
            return Err(reply::TOPIC_NOT_FOUND);
        }
        let banned = |it: &Standing| !it.given.has(AccessMode::JOIN);
        if self.members.get(user).is_some_and(banned) {
            return Err(reply::PERMISSION_DENIED);
        }
        let known = self.readers.get(user).cloned();
        let before = known.as_ref().filter(|it| it.deleted.is_none());
        let (fresh, old) = (before.is_none(), before.map_or(READER, |it| it.want));
        let want = old
            .changed_by(mode)
            .map_err(|_| reply::MALFORMED)?
            .and(READER)
            .or(AccessMode::JOIN);
        if !fresh && want == old {
            return Ok(None);
        }
        let mut standing = known.unwrap_or_else(|| Standing::new(want, READER, now));
        standing.reader = true;
        standing.want = want;
        standing.given = READER;
        standing.updated = now;
        standing.deleted = None;
        self.readers_count += u32::from(fresh);
        self.dirty |= fresh;
        self.readers.insert(user.clone(), standing);
        self.changed.insert(user.clone());
        let was = |mode| if fresh { AccessMode::NONE } else { mode };
        Ok(Some(AccessChange {
            user: user.clone(),
            actor: user.clone(),
            fresh,
            gone: false,
            want: (was(old), want),
            given: (was(READER), READER),
        }))
    }

    /// Somebody changes what they want. A new owner makes two changes: the former one's comes first.
    pub fn want(
        &mut self,
        user: &UserId,
        mode: &str,
        now: Timestamp,
    ) -> Result<Vec<AccessChange>, Status> {
        let standing = self.active(user).ok_or(reply::ATTACH_FIRST)?;
        if standing.reader {
            return Ok(self.read_channel(user, mode, now)?.into_iter().collect());
        }
        let (want, given) = (standing.want, standing.given);
        let asked = want.changed_by(mode).map_err(|_| reply::MALFORMED)?;
        let allowed = self.allowed(user, asked, given)?;
        if asked == want && allowed == given {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        let takes_over = asked.has(AccessMode::OWNER) && !self.is_owner(user);
        if takes_over && let Some(former) = self.owner().cloned() {
            changes.extend(self.step_down(&former, user, now));
            changes.extend(self.call_in_ownership(user, now));
        }
        changes.extend(self.change(user, user, (asked, allowed), now));
        Ok(changes)
    }

    /// What somebody is given when they want `asked`, or why they may not want it.
    fn allowed(
        &self,
        user: &UserId,
        asked: AccessMode,
        given: AccessMode,
    ) -> Result<AccessMode, Status> {
        let kept = AccessMode::OWNER.or(AccessMode::JOIN);
        if self.is_owner(user) {
            return match asked.has(kept) {
                true if self.kind == RoomKind::Saved => Ok(given),
                true => Ok(given.or(asked)),
                false => Err(reply::PERMISSION_DENIED),
            };
        }
        if asked.has(AccessMode::OWNER) && !given.has(AccessMode::OWNER) {
            return Err(reply::PERMISSION_DENIED);
        }
        if self.is_admin(user) && given.has(AccessMode::JOIN) {
            let own = AccessMode::OWNER.or(AccessMode::DELETE);
            return Ok(given.or(asked.without(own)));
        }
        Ok(given)
    }

    /// The former owner's rights end where the new one's begin.
    fn step_down(
        &mut self,
        former: &UserId,
        actor: &UserId,
        now: Timestamp,
    ) -> Option<AccessChange> {
        let standing = self.active(former)?;
        let rest = (
            standing.want.without(AccessMode::OWNER),
            standing.given.without(AccessMode::OWNER),
        );
        self.change(former, actor, rest, now)
    }

    /// Whoever else was lent ownership has it no more.
    fn call_in_ownership(&mut self, owner: &UserId, now: Timestamp) -> Vec<AccessChange> {
        let lent =
            |(user, it): &(&UserId, &Standing)| *user != owner && it.given.has(AccessMode::OWNER);
        let others: Vec<UserId> = self
            .present()
            .filter(lent)
            .map(|(user, _)| user.clone())
            .collect();
        let step_down = |user: &UserId| self.step_down(user, owner, now);
        others.iter().filter_map(step_down).collect()
    }

    fn change(
        &mut self,
        user: &UserId,
        actor: &UserId,
        (want, given): (AccessMode, AccessMode),
        now: Timestamp,
    ) -> Option<AccessChange> {
        let next = self.log.map_or(0, |it| it.index + 1);
        let standing = self.active_mut(user)?;
        let before = (standing.want, standing.given);
        if before == (want, given) {
            return None;
        }
        standing.changed = (next, standing.rights());
        standing.want_version += u64::from(want != before.0);
        standing.given_version += u64::from(given != before.1);
        standing.want = want;
        standing.given = given;
        standing.updated = now;
        Some(AccessChange {
            user: user.clone(),
            actor: actor.clone(),
            fresh: false,
            gone: false,
            want: (before.0, want),
            given: (before.1, given),
        })
    }

    /// Somebody invites another one, or changes what a member may do. `wants` is what the invited
    /// person lets be wanted in their name; `None` when they are asked first.
    pub fn grant(
        &mut self,
        actor: &UserId,
        target: &UserId,
        mode: &str,
        wants: Option<AccessMode>,
        limits: RoomLimits,
        now: Timestamp,
    ) -> Result<Option<AccessChange>, Status> {
        if matches!(self.kind, RoomKind::Saved | RoomKind::Reports) {
            return Err(reply::NOT_ALLOWED);
        }
        self.active(actor).ok_or(reply::ATTACH_FIRST)?;
        let is_admin = self.is_admin(actor);
        if !self.is_sharer(actor) || (!mode.is_empty() && !is_admin) {
            return Err(reply::PERMISSION_DENIED);
        }
        let known = self.members.get(target).cloned();
        let member = known.as_ref().filter(|it| it.deleted.is_none());
        let before = match (&known, is_admin) {
            (Some(known), _) if member.is_some() => known.given,
            // What an administrator imposed outlives the membership; whoever only invites does not lift it.
            (Some(known), false) => known.given.without(AccessMode::OWNER),
            _ => self.default_for(Level::Authenticated),
        };
        let given = before.changed_by(mode).map_err(|_| reply::MALFORMED)?;
        let lends_ownership = given.has(AccessMode::OWNER) && !before.has(AccessMode::OWNER);
        if lends_ownership && !self.is_owner(actor) {
            return Err(reply::PERMISSION_DENIED);
        }
        match member {
            Some(standing) => {
                let keeps = AccessMode::OWNER.or(AccessMode::JOIN);
                if self.is_owner(target) && !given.has(keeps) {
                    return Err(reply::PERMISSION_DENIED);
                }
                let want = standing.want;
                Ok(self.change(target, actor, (want, given), now))
            }
            None => self.invite(actor, target, (wants, given), limits, now),
        }
    }

    fn invite(
        &mut self,
        actor: &UserId,
        target: &UserId,
        (wants, given): (Option<AccessMode>, AccessMode),
        limits: RoomLimits,
        now: Timestamp,
    ) -> Result<Option<AccessChange>, Status> {
        // An admin may keep somebody out before they come: given without J is a ban.
        let banned = !given.has(AccessMode::JOIN);
        let refuses = wants.is_some_and(|it| !it.has(AccessMode::JOIN));
        if refuses || (banned && !self.is_admin(actor)) {
            return Err(reply::PERMISSION_DENIED);
        }
        if self.is_full(limits) {
            return Err(reply::POLICY);
        }
        let wants = wants.unwrap_or(AccessMode::NONE).without(AccessMode::OWNER);
        Ok(Some(self.enter(target, actor, wants, given, now)))
    }

    /// Somebody removes a member.
    pub fn evict(
        &mut self,
        actor: &UserId,
        target: &UserId,
        now: Timestamp,
    ) -> Result<AccessChange, Status> {
        self.active(actor).ok_or(reply::ATTACH_FIRST)?;
        if !self.is_admin(actor) || actor == target || self.is_owner(target) {
            return Err(reply::PERMISSION_DENIED);
        }
        let member = self.members.get(target).filter(|it| it.deleted.is_none());
        let standing = member.ok_or(reply::NOT_MODIFIED)?;
        // Without a row a ban would be forgotten.
        if !standing.given.has(AccessMode::JOIN) {
            return Err(reply::PERMISSION_DENIED);
        }
        Ok(self.end(target, actor, now))
    }

    /// Somebody leaves for good.
    pub fn leave(&mut self, user: &UserId, now: Timestamp) -> Result<AccessChange, Status> {
        self.active(user).ok_or(reply::ATTACH_FIRST)?;
        if self.is_owner(user) {
            return Err(reply::PERMISSION_DENIED);
        }
        Ok(self.end(user, user, now))
    }

    fn end(&mut self, user: &UserId, actor: &UserId, now: Timestamp) -> AccessChange {
        let mut was = (AccessMode::NONE, AccessMode::NONE);
        let mut reader = false;
        if let Some(standing) = self.active_mut(user) {
            was = (standing.want, standing.given);
            reader = standing.reader;
            standing.deleted = Some(now);
            standing.updated = now;
        }
        self.readers_count = self.readers_count.saturating_sub(u32::from(reader));
        self.dirty = true;
        AccessChange {
            user: user.clone(),
            actor: actor.clone(),
            fresh: false,
            gone: true,
            want: (was.0, AccessMode::NONE),
            given: (was.1, AccessMode::NONE),
        }
    }

    /// Somebody lets go of what is theirs alone.
    pub fn abandon(&mut self, user: &UserId, now: Timestamp) -> AccessChange {
        self.end(user, user, now)
    }

    /// The row that goes with the next commit is this one.
    pub fn mark_stored(&mut self, row: &RoomRow) {
        self.stored_bytes = row.encoded_len();
        self.dirty = false;
    }

    /// The owner ends the room for everybody.
    pub fn close(&mut self, actor: &UserId, now: Timestamp) -> Result<(), Status> {
        if !self.is_owner(actor) {
            return Err(reply::PERMISSION_DENIED);
        }
        self.finish(now);
        Ok(())
    }

    /// The room ends for everybody.
    pub fn finish(&mut self, now: Timestamp) {
        self.deleted = Some(now);
        self.dirty = true;
        for (user, standing) in self.members.iter_mut().chain(&mut self.readers) {
            if standing.deleted.is_none() {
                standing.deleted = Some(now);
                standing.updated = now;
                self.changed.insert(user.clone());
            }
        }
    }

    /// Whether somebody may write.
    pub fn may_publish(&self, user: &UserId) -> Result<(), Status> {
        // Everybody may report.
        if self.kind == RoomKind::Reports {
            return Ok(());
        }
        let standing = self.active(user).ok_or(reply::ATTACH_FIRST)?;
        if standing.rights().has(AccessMode::WRITE) {
            Ok(())
        } else {
            Err(reply::PERMISSION_DENIED)
        }
    }

    /// Somebody says how far they got, of `head` messages. Stale and impossible reports change
    /// nothing.
    pub fn progress(
        &mut self,
        user: &UserId,
        (read, received): (u32, u32),
        head: u32,
    ) -> Option<CursorMove> {
        if read > head || received > head {
            return None;
        }
        let moved = self.standing_mut(user)?.advance(read, received)?;
        self.changed.insert(user.clone());
        Some(moved)
    }

    /// The room has another description.
    pub fn describe(&mut self, description: Description, now: Timestamp) {
        let seen = |it: &Description| (it.public.clone(), it.trusted.clone());
        if seen(&description) != seen(&self.description)
            || description.access_auth != self.description.access_auth
            || description.access_anon != self.description.access_anon
        {
            // Strictly later than before, whatever the clock says: clients compare.
            self.updated = now.max(self.updated.plus(std::time::Duration::from_millis(1)));
        }
        self.description = description;
        self.dirty = true;
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
