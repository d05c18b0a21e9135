//! A group whose home we are, once people of other domains take part: what happens in it is placed in
//! its log, and what those domains send for their people is judged (PROTOCOL.md section 7.7).

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use freehold_federation::{Unavailable, Verdict};
use freehold_keys::{KeyError, Opened};
use freehold_proto::{
    AccessMode, Destination, DomainName, Envelope, GroupId, Position, Refusal, RefusalCode,
    Timestamp, UserId, wire,
};
use freehold_store::{
    Batch, Tables,
    tables::{
        log::{extend_log, put_follower, put_log_entry, put_place},
        messages::{put_message, put_seen},
        rows::{FollowerRow, LogRow, MessageRow, PlaceRow, SeenRow, SpanRow},
    },
};
use sha2::{Digest as _, Sha256};

use super::{
    actor::{Actor, Effect},
    command::{Letter, Words},
    conversation::Conversation,
    group_wire,
    listed::is_open,
    log::Log,
    message, places,
    room::Room,
    standing::AccessChange,
    succession,
};
use crate::{
    accounts::Level,
    edge::reply::{self, Reply, Status},
    files::{Held, Referrer},
};

/// How long a message may come after its author has lost the right to write it.
const WRITTEN_BEFORE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Why a letter has no effect: a refusal that its domain is told, or nothing can be said now.
pub(super) enum Unheard {
    Refused(Refusal),
    Unavailable(String),
}

impl From<Reply> for Unheard {
    fn from(reply: Reply) -> Self {
        reply.status.into()
    }
}

impl From<Status> for Unheard {
    fn from(status: Status) -> Self {
        if status.code >= 500 {
            return Self::Unavailable(status.text.to_owned());
        }
        // One answer to whatever may not be: it tells nothing of who is here.
        Self::Refused(nobody())
    }
}

impl From<Refusal> for Unheard {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

type Heard = Result<(Batch, Vec<Effect>), Unheard>;

impl Actor {
    /// The group, if we are its home and it spans domains or is about to.
    pub(super) fn homed(&mut self) -> Option<(GroupId, &mut Room)> {
        match &mut self.topic {
            Conversation::Room(room) if room.home.is_none() => Some((room.group?, room)),
            _ => None,
        }
    }

    /// True when what is written here is signed, because other domains are told.
    pub(super) fn is_signed(&self) -> bool {
        let room = self.topic.room();
        room.is_some_and(|it| it.log.is_some() || it.feed.is_some() || it.home.is_some())
    }

    /// Adds to a batch what its effects mean for other domains: entries of the log, who is told them,
    /// invitations. Nothing where the group does not span domains.
    pub(super) fn chronicle(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), KeyError> {
        self.chronicle_log(batch, effects)?;
        self.chronicle_feed(batch, effects)
    }

    fn chronicle_log(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), KeyError> {
        let us = self.server.us.clone();
        if self.regaining {
            return Ok(());
        }
        let Some((group, room)) = self.homed() else {
            return Ok(());
        };
        if room.log.is_none() {
            let abroad =
                |it: &Effect| matches!(it, Effect::Access(it, _) if it.user.domain() != &us);
            if !effects.iter().any(abroad) {
                return Ok(());
            }
            room.log = Some(Log::opened(room.head));
            room.opened = room.head;
            room.dirty = true;
        }
        let Some(begun) = room.log else {
            return Ok(());
        };
        for effect in effects.iter() {
            if let Effect::Appended { seq, row, .. } = effect {
                self.place_message(batch, group, *seq, row);
            }
        }
        if let Some(change) = self.change_in(effects) {
            self.place_change(batch, group, change)?;
        }
        let told = self.update_followers(batch, effects, begun.index);
        let last = self.homed().and_then(|(_, it)| it.log);
        let moved = last != Some(begun);
        if let Some(last) = last.filter(|_| moved) {
            extend_log(batch, self.key(), begun.index, last.index);
        }
        if moved || told.iter().any(|it| !self.follows(it)) {
            effects.push(Effect::WakePeers(told.into_iter().collect(), self.key()));
        }
        Ok(())
    }

    fn follows(&self, domain: &DomainName) -> bool {
        let room = self.topic.room();
        room.is_some_and(|it| it.followers.contains_key(domain))
    }

    pub(super) fn place_message(
        &mut self,
        batch: &mut Batch,
        group: GroupId,
        seq: u32,
        row: &MessageRow,
    ) {
        let Some(envelope) = &row.envelope else {
            return;
        };
        let hash = Sha256::digest(&envelope.header).into();
        let entry = LogRow {
            seq,
            ..LogRow::default()
        };
        self.place_entry(batch, group, (hash, true), entry);
    }

    pub(super) fn place_change(
        &mut self,
        batch: &mut Batch,
        group: GroupId,
        change: wire::GroupChange,
    ) -> Result<(), KeyError> {
        let now = self.now();
        let names = succession::names_successors(&change);
        let described = change.description.as_ref().map(|it| it.aux.clone());
        let moves = change.succession.is_some();
        let envelope = self.server.signer.seal(
            Destination::Group(group),
            message::mint(now)?,
            now,
            wire::payload::Kind::GroupChange(change),
        )?;
        let entry = LogRow {
            envelope: Some(message::envelope_row(&envelope)),
            ..LogRow::default()
        };
        let hash = (envelope.header_hash(), false);
        let placed = self.place_entry(batch, group, hash, entry);
        if let Some((_, room)) = self.homed() {
            if names || moves {
                room.note_step(placed, moves);
            }
            let index = room.log.map_or(0, |it| it.index);
            if let Some(aux) = described {
                room.note_successors(index, &aux);
            }
        }
        Ok(())
    }

    /// Signs the next position and adds the entry.
    fn place_entry(
        &mut self,
        batch: &mut Batch,
        group: GroupId,
        (envelope, is_message): ([u8; 32], bool),
        mut entry: LogRow,
    ) -> LogRow {
        let (key, now, signer) = (self.key(), self.now(), self.server.signer.clone());
        let Some(log) = self.homed().and_then(|(_, it)| it.log.as_mut()) else {
            return entry;
        };
        let ours = (signer.domain(), signer.key_id());
        let position = log.next(group, envelope, is_message, ours, now);
        let placed = signer.place(position.clone());
        log.advance(&position, &placed);
        entry.position = placed.position;
        entry.signature = Bytes::copy_from_slice(&placed.signature);
        put_log_entry(batch, key, position.index, &entry);
        if is_message {
            let place = PlaceRow {
                order: position.order,
                index: position.index,
                seq: entry.seq,
            };
            put_place(batch, key, place);
        }
        entry
    }

    /// What effects mean for members everywhere, but for messages.
    fn change_in(&self, effects: &[Effect]) -> Option<wire::GroupChange> {
        let room = self.topic.room()?;
        let mut change = wire::GroupChange::default();
        let mut any = false;
        for effect in effects {
            match effect {
                // Readers of a channel are nobody's business.
                Effect::Access(it, _) if room.members.contains_key(&it.user) => {
                    change.actor = it.actor.to_string();
                    change.members.extend(self.told_member(room, it));
                }
                Effect::Redescribed(_) | Effect::Pinned(_) => {
                    change.description = Some(self.told_description(room));
                }
                Effect::Deleted(it) if it.hard => {
                    change.actor = it.by.to_string();
                    change.deleted.extend(it.orders.iter().map(orders));
                }
                Effect::Closed(_) => change.closed = true,
                Effect::Profiled(user) => {
                    change.actor = user.to_string();
                    let standing = room.members.get(user);
                    let public = self.public_of(user);
                    let told = standing.map(|it| group_wire::member(user, it, public));
                    change.members.extend(told);
                }
                _ => continue,
            }
            any = true;
        }
        any.then_some(change)
    }

    /// What everybody sees of the group, with pins by their orders.
    pub(super) fn told_description(&self, room: &Room) -> wire::GroupDescription {
        let (tables, key) = (&self.server.tables, self.key());
        group_wire::described(tables, key, room).unwrap_or_else(|fault| {
            tracing::error!(%fault, "what is pinned in a group cannot be read");
            group_wire::description(room, room.description.aux.clone())
        })
    }

    fn told_member(&self, room: &Room, change: &AccessChange) -> Option<wire::Member> {
        let standing = room.members.get(&change.user)?;
        let joins = change.want.1.without(change.want.0).has(AccessMode::JOIN);
        let shows = (change.fresh || joins) && !change.gone;
        let public = shows.then(|| self.public_of(&change.user)).flatten();
        Some(group_wire::member(&change.user, standing, public))
    }

    /// The public description of somebody. Reads the store here: few changes are of who is a member.
    fn public_of(&self, user: &UserId) -> Option<(Bytes, Timestamp)> {
        let found = self.server.public_now(&self.server.tables, user);
        found.unwrap_or_else(|fault| {
            tracing::error!(%fault, "a description cannot be read");
            None
        })
    }

    /// Domains that take part now are told, and those that do not any more only what happened up to
    /// here. Whoever is of neither learns by an invitation.
    fn update_followers(
        &mut self,
        batch: &mut Batch,
        effects: &[Effect],
        before: u64,
    ) -> BTreeSet<DomainName> {
        let (key, now, us) = (self.key(), self.now(), self.server.us.clone());
        let lives = self.server.lives.clone();
        let Some((_, room)) = self.homed() else {
            return BTreeSet::new();
        };
        let domains = room.domains(&us, |domain, joined| !lives.is_over(domain, joined));
        let until = room.log.map_or(0, |it| it.index);
        let mut told: BTreeSet<_> = room.followers.keys().cloned().collect();
        room.followers.retain(|gone, &mut since| {
            let stays = domains.contains(gone);
            // Of what a former life of the domain took part in, the present one is told nothing.
            let took_part = room.members.iter().any(|(user, it)| {
                user.domain() == gone && !lives.is_over(gone, it.created.as_millis())
            });
            if !stays && took_part {
                put_follower(batch, gone, key, &FollowerRow { since, until });
            }
            stays
        });
        for new in domains.difference(&told) {
            let row = FollowerRow {
                since: before,
                until: 0,
            };
            put_follower(batch, new, key, &row);
            room.followers.insert(new.clone(), before);
        }
        told.extend(domains);
        for effect in effects {
            let Effect::Access(change, _) = effect else {
                continue;
            };
            let domain = change.user.domain();
            if *domain != us && !told.contains(domain) {
                let people = (key, &change.user, &change.actor);
                let outbox = &self.server.outbox;
                outbox.put_invitation(batch, domain, people, now);
            }
        }
        for effect in effects {
            if let Effect::Access(change, _) = effect
                && *change.user.domain() != us
            {
                told.insert(change.user.domain().clone());
            }
        }
        told
    }

    /// Judges what another domain sends for one of its people.
    pub(super) async fn letter(&mut self, letter: Letter) {
        let Letter {
            author,
            opened,
            words,
            mut seen,
            decision,
        } = letter;
        let id = opened.header.message_id;
        let prepared = match self.check_home(&words) {
            Ok(()) => {
                // Whatever is decided may be told to its domain.
                let prepared = self.server.outbox.prepare(author.domain()).await;
                prepared.map_err(|fault| Unheard::Unavailable(fault.to_string()))
            }
            Err(refusal) => Err(refusal.into()),
        };
        let heard = match prepared {
            Ok(()) => match words {
                Words::Message(words) => {
                    let held = self.hold_attached(&words.attachments, author.domain());
                    match held.await {
                        Ok(held) => {
                            let known = (words.known_index, held);
                            self.message_from(&author, *opened, known, &mut seen)
                        }
                        Err(reply) => Err(reply.into()),
                    }
                }
                Words::Request(what) => self.request_from(&author, what).await,
                Words::Consent(words) => self.hand_over(author.domain(), &words, &opened).await,
            },
            Err(unheard) => Err(unheard),
        };
        match heard {
            Ok((mut batch, mut effects)) => {
                put_seen(&mut batch, author.domain(), id, &seen);
                effects.push(Effect::Decided(decision, Verdict::Ok));
                self.commit_all(batch, effects);
            }
            Err(Unheard::Refused(refusal)) => {
                let mut batch = Batch::new();
                // Where the home is may change: what was sent to another one is judged there.
                if refusal.code != RefusalCode::NotHome {
                    seen.refused = refusal.code.number();
                    put_seen(&mut batch, author.domain(), id, &seen);
                }
                let verdict = Verdict::Refused(refusal);
                self.commit(batch, vec![Effect::Decided(decision, verdict)]);
            }
            Err(Unheard::Unavailable(why)) => {
                self.read_again();
                drop(decision.send(Err(Unavailable(why))));
            }
        }
    }

    /// Only a group that lives here and spans domains has an ear for others; one that strangers may find also
    /// for somebody who would come in.
    fn check_home(&self, words: &Words) -> Result<(), Refusal> {
        use wire::group_request::What;
        let comes = |it: &What| matches!(it, What::Want(want) if !want.leaves);
        let knocks = matches!(words, Words::Request(it) if it.what.as_ref().is_some_and(comes));
        let room = self.topic.room().filter(|_| self.is_stored());
        match room {
            Some(room) if room.home.is_some() => Err(Refusal::new(
                RefusalCode::NotHome,
                "another domain is the home of this group",
            )),
            Some(room) if room.deleted.is_some() => Err(nobody()),
            Some(room) if room.log.is_some() || knocks && is_open(room) => Ok(()),
            _ => Err(nobody()),
        }
    }

    fn message_from(
        &mut self,
        author: &UserId,
        opened: Opened,
        (known, held): (u64, Held),
        seen: &mut SeenRow,
    ) -> Heard {
        let (key, now) = (self.key(), self.now());
        let (_, room) = self.homed().ok_or_else(nobody)?;
        if !may_write(room, author, known, now) {
            return Err(nobody().into());
        }
        let seq = room.append(now);
        if let Some(standing) = room.active_mut(author) {
            standing.read = seq;
            standing.received = seq;
        }
        let row = message_row(author, &opened.envelope, &opened.header, now);
        seen.topic = Bytes::copy_from_slice(key.as_bytes());
        seen.seq = seq;
        let mut batch = Batch::new();
        put_message(&mut batch, key, seq, &row);
        held.refer(&mut batch, &Referrer::Message(key, seq), true);
        let appended = Effect::Appended {
            seq,
            row: Box::new(row),
            author: author.clone(),
            except: None,
        };
        Ok((batch, vec![Effect::Referred(held), appended]))
    }

    pub(super) async fn request_from(
        &mut self,
        actor: &UserId,
        request: wire::GroupRequest,
    ) -> Heard {
        use wire::group_request::What;
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        let now = self.now();
        let malformed = || Refusal::new(RefusalCode::Malformed, "the request asks for nothing");
        let what = request.what.ok_or_else(malformed)?;
        let uninvited = matches!(what, What::Want(_) | What::Erase(_));
        if !uninvited && self.room_mut()?.active(actor).is_none() {
            return Err(nobody().into());
        }
        match what {
            What::Want(want) => {
                let (_, room) = self.homed().ok_or_else(nobody)?;
                let is_new = !room.followers.contains_key(actor.domain());
                let changes = self.wanted_from(actor, &want)?;
                if !want.leaves && (is_new || changes.is_empty()) {
                    self.confirm(actor, &mut batch, &mut effects);
                }
                self.learn_profile(actor, want.profile.as_ref()).await?;
                effects.extend(self.access_effects(None, changes));
            }
            What::Profile(profile) => {
                self.room_mut()?.active(actor).ok_or_else(nobody)?;
                self.learn_profile(actor, Some(&profile)).await?;
                effects.push(Effect::Profiled(actor.clone()));
            }
            What::Grant(_) if !self.room_mut()?.is_sharer(actor) => return Err(nobody().into()),
            What::Grant(grant) => {
                let target: UserId = grant.user.parse().map_err(Refusal::from)?;
                let change = self.grant_for(actor, &target, &grant.mode).await?;
                effects.extend(self.access_effects(None, change.into_iter().collect()));
            }
            What::Evict(target) => {
                let target: UserId = target.parse().map_err(Refusal::from)?;
                let change = self.room_mut()?.evict(actor, &target, now)?;
                effects.extend(self.access_effects(None, vec![change]));
            }
            What::Describe(describe) => {
                self.described_by(actor, &describe, &mut effects).await?;
                self.show_files(&mut batch, &mut effects).await?;
            }
            What::Delete(delete) => self.deleted_by(actor, &delete.orders).await?,
            What::Erase(_) => effects.extend(self.erased_by(actor).await?),
            What::Close(_) => {
                if !self.topic.may(actor, AccessMode::OWNER) {
                    return Err(nobody().into());
                }
                let decided = std::mem::take(&mut effects);
                self.close_room(actor, None, decided).await?;
            }
        }
        Ok((batch, effects))
    }

    /// Tells a domain what somebody is given who came in by themselves: it may not know the group yet, or
    /// may have forgotten that it asked.
    fn confirm(&mut self, actor: &UserId, batch: &mut Batch, effects: &mut Vec<Effect>) {
        let (key, now, domain) = (self.key(), self.now(), actor.domain());
        if *domain == self.server.us || !self.server.outbox.has_room(domain) {
            return;
        }
        let owner = self.topic.room().and_then(Room::owner);
        let people = (key, actor, owner.unwrap_or(actor));
        let outbox = &self.server.outbox;
        outbox.put_invitation(batch, domain, people, now);
        effects.push(Effect::WakePeers(vec![domain.clone()], key));
    }

    /// The account of a member elsewhere is gone, or of somebody who was one.
    async fn erased_by(&mut self, actor: &UserId) -> Result<Vec<Effect>, Unheard> {
        let now = self.now();
        let room = self.room_mut()?;
        if !room.members.contains_key(actor) {
            return Err(nobody().into());
        }
        if room.mode(actor).has(AccessMode::OWNER) {
            self.close_room(actor, None, Vec::new()).await?;
            return Ok(Vec::new());
        }
        self.erase_words(actor).await?;
        // Last, with the entry that says so: what is asked again after a crash finds it undone.
        let room = self.room_mut()?;
        let active = room.active(actor).is_some();
        let change = active.then(|| room.abandon(actor, now));
        Ok(self.access_effects(None, change.into_iter().collect()))
    }

    /// Somebody elsewhere wants to come, to go, or to take part in another way.
    fn wanted_from(
        &mut self,
        actor: &UserId,
        want: &wire::GroupWant,
    ) -> Result<Vec<AccessChange>, Unheard> {
        let (limits, now) = (self.limits(), self.now());
        // What is no mode is judged by the room, as that of our own people.
        let asked = AccessMode::from_peer(&want.want);
        let asked = asked.map_or_else(|_| want.want.clone(), |it| it.to_string());
        let room = self.room_mut()?;
        if room.active(actor).is_none() && want.leaves {
            return Ok(Vec::new());
        }
        let changes = match (room.active(actor).is_some(), want.leaves) {
            (true, true) => vec![room.leave(actor, now)?],
            (true, false) => room.want(actor, &asked, now)?,
            (false, _) => room.join(actor, Level::Authenticated, &asked, limits, now)?,
        };
        if let Some(standing) = room.members.get_mut(actor) {
            standing.want_version = standing.want_version.max(want.want_version);
        }
        Ok(changes)
    }

    async fn learn_profile(
        &self,
        user: &UserId,
        profile: Option<&wire::GroupProfile>,
    ) -> Result<(), Unheard> {
        if let Some(profile) = profile {
            let known = (&profile.public, profile.public_changed_ms);
            let kept = self.server.remember(user, known.0, known.1).await;
            kept.map_err(|fault| Unheard::Unavailable(fault.to_string()))?;
        }
        Ok(())
    }

    async fn described_by(
        &mut self,
        actor: &UserId,
        describe: &wire::GroupDescribe,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Unheard> {
        let now = self.now();
        let change = match &describe.aux {
            Some(aux) => Some(self.aux_here(aux).await?),
            None => None,
        };
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let mut after = room.description.clone();
        if let Some(change) = change {
            if !room.is_admin(actor) {
                return Err(nobody().into());
            }
            let change = serde_json::from_slice(&change).map_err(|_| reply::MALFORMED)?;
            let mut aux = crate::merge::into_stored(&after.aux, &change);
            if *aux == *b"{}" {
                aux.clear();
            }
            super::aux::check(&aux)?;
            let owns = room.mode(actor).has(AccessMode::OWNER);
            succession::check(room, &self.server.us, &aux, owns)?;
            after.aux = aux;
        }
        let rest = describe.public.is_some()
            || describe.access_auth.is_some()
            || describe.access_anon.is_some();
        if rest && !room.mode(actor).has(AccessMode::OWNER) {
            return Err(nobody().into());
        }
        let mode = |text: &Option<String>, before: AccessMode| -> Result<AccessMode, Refusal> {
            let Some(text) = text else {
                return Ok(before);
            };
            let mode = AccessMode::from_peer(text)?;
            Ok(mode.without(AccessMode::OWNER))
        };
        after.access_auth = mode(&describe.access_auth, after.access_auth)?;
        after.access_anon = mode(&describe.access_anon, after.access_anon)?;
        if let Some(public) = &describe.public {
            let json = serde_json::from_slice::<&serde_json::value::RawValue>(public);
            if !public.is_empty() && json.is_err() {
                return Err(reply::MALFORMED.into());
            }
            if !self.server.fits_description(public) {
                return Err(reply::TOO_LARGE.into());
            }
            after.public = public.clone();
        }
        let pinned = after.aux != room.description.aux;
        if rest || pinned {
            self.room_mut()?.describe(after, now);
            effects.extend(rest.then_some(Effect::Redescribed(None)));
            effects.extend(pinned.then_some(Effect::Pinned(None)));
        }
        Ok(())
    }

    /// A member elsewhere deletes messages for everybody.
    async fn deleted_by(&mut self, actor: &UserId, orders: &[wire::Orders]) -> Result<(), Unheard> {
        if !self.topic.may(actor, AccessMode::DELETE) {
            return Err(nobody().into());
        }
        let end = self.topic.head().saturating_add(1);
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let (key, renumbered, opened) = (self.key(), room.is_renumbered(), room.opened);
        let span = |it: &wire::Orders| SpanRow {
            low: it.low.max(1),
            high: it.high.min(end),
        };
        self.finish_commits().await?;
        let orders = orders[..orders.len().min(super::deletion::SPANS_MAX)].to_vec();
        let spans = match renumbered {
            false => orders
                .iter()
                .map(span)
                .filter(|it| it.low < it.high)
                .collect(),
            true => {
                let read = move |tables: &Tables| places::spans_of(tables, key, &orders, opened);
                let read = self.server.tables.read(read).await;
                read.map_err(|fault| Unheard::Unavailable(fault.to_string()))?
            }
        };
        let (spans, _) = self.deletable(actor, spans).await?;
        self.delete_spans(actor, true, spans).await?;
        Ok(())
    }
}

/// The one answer to every domain and person without a part in a group, whether there is one or not.
pub(super) fn nobody() -> Refusal {
    Refusal::new(RefusalCode::NotPermitted, "no part in such a group")
}

fn orders(span: &SpanRow) -> wire::Orders {
    wire::Orders {
        low: span.low,
        high: span.high,
    }
}

/// Whether somebody may write, or might when their domain last heard of the group: only a removal or a
/// ban counts before it has got there (rules.md 11).
pub(super) fn may_write(room: &Room, author: &UserId, known: u64, now: Timestamp) -> bool {
    let Some(standing) = room.members.get(author) else {
        return false;
    };
    if standing.deleted.is_some() || !standing.given.has(AccessMode::JOIN) {
        return false;
    }
    let (changed, before) = standing.changed;
    // What they knew is their word: it counts for as long as a message may be on its way.
    let recent = now.since(standing.updated) < WRITTEN_BEFORE;
    let might = recent && known < changed && before.has(AccessMode::WRITE);
    standing.rights().has(AccessMode::WRITE) || might
}

/// The row of a message that was signed elsewhere.
pub(super) fn message_row(
    author: &UserId,
    envelope: &Envelope,
    header: &freehold_proto::Header,
    now: Timestamp,
) -> MessageRow {
    MessageRow {
        author: author.to_string(),
        message_id: Bytes::copy_from_slice(header.message_id.as_bytes()),
        issued: header.issued_at.as_millis(),
        received: now.as_millis(),
        envelope: Some(message::envelope_row(envelope)),
        ..MessageRow::default()
    }
}

/// The entry behind which a domain's copy begins: the one before it came in, or, if a former home placed
/// that, our last one. Blocks.
fn first_shown(
    tables: &Tables,
    key: freehold_store::TopicKey,
    since: u64,
    us: &DomainName,
) -> Result<Option<LogRow>, freehold_store::StoreError> {
    let ours = |row: &LogRow| Position::decode(&row.position).is_ok_and(|it| it.home == *us);
    let found = tables.log_entry(key, since.max(1))?.filter(ours);
    match found {
        Some(row) => Ok(Some(row)),
        None => Ok(tables.log_head(key)?.map(|it| it.1).filter(ours)),
    }
}

/// How a group that lives here stands, for a domain with a part in it. Blocks.
pub(crate) fn state(
    server: &crate::server::Server,
    tables: &Tables,
    peer: &DomainName,
    group: GroupId,
    after: Option<&UserId>,
) -> Result<Option<wire::GroupState>, freehold_store::StoreError> {
    /// Bytes of one page, about.
    const PAGE_BYTES: usize = 512 * 1024;
    const PAGE: usize = 500;
    let key = freehold_store::TopicKey::group(&group);
    let Some(part) = tables.follower(peer, key)? else {
        return Ok(None);
    };
    // Who has no part any more is shown its own people only.
    let shows = |user: &UserId| part.until == 0 || user.domain() == peer;
    // The copy begins where the domain came in, not where the log has got to meanwhile: what was
    // written in between is for its people too.
    let Some(head) = first_shown(tables, key, part.since, &server.us)? else {
        return Ok(None);
    };
    let name = super::TopicName::Group(group);
    let Some(row) = tables.room(key)?.filter(|it| it.home.is_empty()) else {
        return Ok(None);
    };
    let mut room = Room::new(super::room::RoomKind::Group, Some(group), Timestamp::EPOCH);
    super::storage::take_row(&mut room, row);
    let page = tables.members(key, after, PAGE)?;
    let mut more = page.len() == PAGE;
    let (mut members, mut bytes) = (Vec::new(), 0);
    for user in page {
        if bytes > PAGE_BYTES {
            more = true;
            break;
        }
        let row = tables.subscription(&user, key)?.filter(|it| !it.reader);
        let Some(row) = row.filter(|_| shows(&user)) else {
            continue;
        };
        let standing = super::storage::standing(&row);
        let public = server.public_now(tables, &user)?;
        let told = group_wire::member(&user, &standing, public);
        bytes += told.public.len() + 256;
        members.push(told);
    }
    tracing::debug!(%peer, group = %name.to_text(), "a domain reads how a group stands");
    Ok(Some(wire::GroupState {
        record: room.record.0.clone(),
        signature: room.record.1.clone(),
        head: Some(wire::Placed {
            position: head.position,
            signature: head.signature,
        }),
        description: Some(group_wire::described(tables, key, &room)?),
        members,
        more,
        succession: group_wire::steps(&room.succession),
        charter: group_wire::steps(room.charter.as_slice()).pop(),
        readers: 0,
    }))
}
