//! A copy of a group whose home is another domain: taking in what the home says, and asking it for what
//! is missing (PROTOCOL.md section 7.7; rules.md 8, 16, 18 and 19).

use std::time::Duration;

use bytes::Bytes;
use freehold_federation::{GroupAnswer, GroupQuery, Verdict};
use freehold_keys::Entry;
use freehold_proto::{
    AccessMode, DomainName, GroupId, GroupRecord, Refusal, RefusalCode, UserId, wire,
    wire::payload::Kind,
};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        log::{extend_log, put_follower, put_log_entry, put_log_tip, put_place},
        messages::{put_message, put_seen},
        rows::{FollowerRow, LogRow, PlaceRow, SeenRow, SpanRow},
    },
};

use tokio::sync::oneshot;

use super::{
    Command, TopicName,
    actor::{Actor, Effect},
    command::{Decision, Invited, Placing, Standings},
    group_home::{message_row, nobody},
    group_wire::{self, Ruling},
    hub::Hub,
    log::Log,
    message, places,
    room::{Room, RoomKind},
    storage,
    succession::{self, Judgement},
};
use crate::{
    edge::reply::{self, Reply},
    files::{Attached, Held, Referrer},
    server::{HEARSAY, Server},
};

/// When the home should offer an entry again before which others are missing.
pub(super) const MISSING_RETRY: Duration = Duration::from_millis(200);
/// Pages of one answer to how a group stands.
const PAGES_MAX: usize = 1000;
/// Entries further back that a home which took over is asked for, each time that it shows none to go on
/// with.
const STEP_BACK: u64 = 150;
/// Members of a group that a copy takes.
const MEMBERS_MAX: usize = 50_000;

/// A domain of which nobody is.
const NOBODYS: &str = "nobody.invalid";

/// What becomes of an entry.
pub(super) enum Judged {
    /// It is the next: a message, or something else.
    Next,
    /// It came before.
    Known,
    /// Others are missing before it, or all of it.
    Missing,
    Refused(Refusal),
}

impl Actor {
    /// Takes the next entry of the group's log from its home.
    pub(super) async fn take_entry(&mut self, placing: Placing) {
        let Placing {
            origin,
            entry,
            seen,
            decision,
        } = placing;
        let index = entry.position.index;
        if entry.position.feed {
            return self.take_feed(&origin, entry, decision).await;
        }
        let verdict = match self.judge(&entry).await {
            Ok(Judged::Next) => {
                return match self.apply(entry, seen).await {
                    Ok((batch, effects)) => {
                        self.decide(batch, effects, decision, Verdict::Ok);
                        self.finish_joins().await;
                    }
                    Err(reply) => self.undecided(decision, &reply),
                };
            }
            Ok(Judged::Known) => Verdict::Duplicate,
            Ok(Judged::Missing) if !self.may_show(&origin) => Verdict::Refused(not_home()),
            Ok(Judged::Missing) => {
                self.pull(&origin);
                Verdict::Later {
                    code: RefusalCode::EntriesMissing,
                    retry_after: MISSING_RETRY,
                }
            }
            Ok(Judged::Refused(refusal)) => Verdict::Refused(refusal),
            Err(reply) => return self.undecided(decision, &reply),
        };
        tracing::debug!(peer = %origin, index, ?verdict, "an entry of a group's log is not taken");
        self.decide(Batch::new(), Vec::new(), decision, verdict);
    }

    pub(super) fn decide(
        &mut self,
        batch: Batch,
        mut effects: Vec<Effect>,
        decision: Decision,
        verdict: Verdict,
    ) {
        effects.push(Effect::Decided(decision, verdict));
        self.commit_all(batch, effects);
    }

    /// Nothing is decided, and memory may be ahead of the disk.
    pub(super) fn undecided(&mut self, decision: Decision, reply: &Reply) {
        self.read_again();
        let why = reply.status.text.to_owned();
        drop(decision.send(Err(freehold_federation::Unavailable(why))));
    }

    /// What becomes of an entry. A home that took over by right fences what the former one said.
    async fn judge(&mut self, entry: &Entry) -> Result<Judged, Reply> {
        let us = &self.server.us;
        let room = self.topic.room().filter(|_| self.is_stored());
        let Some(room) = room.filter(|it| it.home.is_some() || it.log.is_some()) else {
            return Ok(Judged::Refused(nobody()));
        };
        // An ended group, or one in which nobody here takes part: nothing follows from it.
        let takes_part = room.takes_part(us) || !self.joining.is_empty() || self.regaining;
        if room.deleted.is_some() || !takes_part {
            return Ok(Judged::Known);
        }
        let Some(log) = room.log else {
            return Ok(Judged::Missing);
        };
        let home = room.home.clone().unwrap_or_else(|| us.clone());
        let unsure = room.unsure && self.silent_home.as_ref() != Some(&home);
        Ok(
            match succession::judge(&home, &log, |it| room.successors_at(it), entry) {
                // How everybody stands is asked first.
                Judgement::Next if unsure => Judged::Missing,
                Judgement::Next => Judged::Next,
                Judgement::Missing => Judged::Missing,
                Judgement::Known { former: false } => self.compare(entry, forked).await?,
                Judgement::Known { former: true } => self.compare(entry, |_, _| not_home()).await?,
                Judgement::Forked(why) => Judged::Refused(forked(&home, why)),
                Judgement::Fences(base) => self.judge_base(entry, base).await?,
                Judgement::NotHome(why) => {
                    let home = &entry.position.home;
                    tracing::warn!(peer = %home, why, "an entry is not of a group's home");
                    Judged::Refused(not_home())
                }
            },
        )
    }

    /// An entry of a domain that has taken over by right: our log must have the one before.
    async fn judge_base(&mut self, entry: &Entry, base: u64) -> Result<Judged, Reply> {
        let place = &entry.position;
        let Some(base) = self.log_at(base).await? else {
            return Ok(Judged::Missing);
        };
        // Where its log left ours stands further up.
        if base.hash != place.previous {
            return Ok(Judged::Missing);
        }
        self.fence(&place.home, base).await?;
        Ok(Judged::Next)
    }

    /// An entry that came before must be the same again.
    async fn compare(
        &mut self,
        entry: &Entry,
        otherwise: impl Fn(&DomainName, &'static str) -> Refusal,
    ) -> Result<Judged, Reply> {
        let (key, index) = (self.key(), entry.position.index);
        let read = move |tables: &Tables| tables.log_entry(key, index);
        let mut stored = self.server.tables.read(read).await?;
        if stored.is_none() {
            // It may have come a moment ago, in the same batch.
            self.finish_commits().await?;
            stored = self.server.tables.read(read).await?;
        }
        if stored.is_none_or(|it| it.position == entry.placed.position) {
            return Ok(Judged::Known);
        }
        let why = "another entry stood at this index";
        Ok(Judged::Refused(otherwise(&entry.position.home, why)))
    }

    /// What the next entry means here.
    async fn apply(
        &mut self,
        entry: Entry,
        seen: Option<SeenRow>,
    ) -> Result<(Batch, Vec<Effect>), Reply> {
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        let mut row = LogRow {
            position: entry.placed.position.clone(),
            signature: Bytes::copy_from_slice(&entry.placed.signature),
            ..LogRow::default()
        };
        let order = self.room_mut()?.log.map_or(0, |it| it.order);
        if entry.position.order > order {
            let held = match &entry.payload {
                Some(Kind::GroupMessage(words)) if seen.is_none() => {
                    let files = &words.attachments;
                    self.hold_attached(files, &entry.header.from).await?
                }
                _ => Held::default(),
            };
            let seq = self.apply_message(&entry, seen.as_ref(), &mut batch, &mut effects)?;
            if let Some(seq) = seq {
                held.refer(&mut batch, &Referrer::Message(self.key(), seq), true);
                effects.push(Effect::Referred(held));
            }
            row.seq = seq.unwrap_or_default();
        } else {
            self.apply_change(&entry, &mut batch, &mut effects).await?;
        }
        if row.seq == 0 {
            row.envelope = Some(message::envelope_row(&entry.envelope));
        }
        let index = entry.position.index;
        put_log_entry(&mut batch, self.key(), index, &row);
        extend_log(&mut batch, self.key(), index - 1, index);
        let (next, key) = (self.next_home(&entry), self.key());
        let room = self.room_mut()?;
        if let Some(log) = &mut room.log {
            room.dirty |= log.epoch < entry.position.epoch;
            log.advance(&entry.position, &entry.placed);
        }
        match &entry.payload {
            Some(Kind::GroupChange(change)) if next.is_some() => {
                tracing::info!(home = ?next, actor = change.actor, "a group has another home");
                room.note_step(row, true);
            }
            Some(Kind::GroupChange(change)) if succession::names_successors(change) => {
                room.note_step(row, false);
            }
            _ => {}
        }
        if let Some(Kind::GroupChange(change)) = &entry.payload
            && let Some(described) = &change.description
        {
            room.note_successors(index, &described.aux);
        }
        if let Some((home, epoch)) = next {
            // A restored home reads back that it had handed over.
            for (follower, since) in room.move_home(home, epoch) {
                let row = FollowerRow {
                    since,
                    until: index,
                };
                put_follower(&mut batch, &follower, key, &row);
            }
            self.home_moved = true;
        }
        Ok((batch, effects))
    }

    /// A message takes the next position here, unless it is one of ours that has one already. What
    /// cannot be shown takes none.
    fn apply_message(
        &mut self,
        entry: &Entry,
        seen: Option<&SeenRow>,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<u32>, Reply> {
        let (key, now) = (self.key(), self.now());
        let place = |seq| PlaceRow {
            order: entry.position.order,
            index: entry.position.index,
            seq,
        };
        if let Some(seen) = seen {
            let here = TopicKey::from_slice(&seen.topic) == Some(key) && seen.seq > 0;
            if here {
                put_place(batch, key, place(seen.seq));
                self.room_mut()?.unplaced.remove(&seen.seq);
            }
            return Ok(here.then_some(seen.seq));
        }
        let Some(author) = self.author_of(entry) else {
            return Ok(None);
        };
        let first = self.first_pending();
        let room = self.room_mut()?;
        let seq = room.append(now);
        // Writing is reading, as at the author's domain, which says nothing more of it. What the home
        // has not placed they cannot have seen.
        let read = first.map_or(seq, |first| seq.min(first - 1));
        if let Some(standing) = room.active_mut(&author) {
            standing.advance(read, read);
        }
        let row = message_row(&author, &entry.envelope, &entry.header, now);
        put_message(batch, key, seq, &row);
        put_place(batch, key, place(seq));
        let mark = SeenRow {
            header_hash: Bytes::copy_from_slice(&entry.envelope.header_hash()),
            topic: Bytes::copy_from_slice(key.as_bytes()),
            seq,
            at: now.as_millis(),
            ..SeenRow::default()
        };
        put_seen(batch, &entry.header.from, entry.header.message_id, &mark);
        effects.push(Effect::Appended {
            seq,
            row: Box::new(row),
            author,
            except: None,
        });
        Ok(Some(seq))
    }

    /// Who wrote an entry, if it is a message that can be shown: in words that make sense, by somebody
    /// who is or was in the group.
    fn author_of(&self, entry: &Entry) -> Option<UserId> {
        let Some(Kind::GroupMessage(words)) = &entry.payload else {
            return None;
        };
        let author: UserId = words.author.parse().ok()?;
        let known = self.topic.room()?.members.contains_key(&author);
        let own = *author.domain() == entry.header.from;
        let sense = message::makes_sense(&words.head, &words.content).is_ok()
            && Attached::read(&words.attachments).is_ok();
        (known && own && sense).then_some(author)
    }

    /// What the home ruled. Only its own words count.
    async fn apply_change(
        &mut self,
        entry: &Entry,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let Some(Kind::GroupChange(change)) = &entry.payload else {
            return Ok(());
        };
        let Ok(actor) = change.actor.parse::<UserId>().or_else(|_| self.somebody()) else {
            return Ok(());
        };
        if entry.header.from != entry.position.home {
            return Ok(());
        }
        self.learn_members(&change.members).await?;
        self.rule_members(&actor, &change.members, effects)?;
        if let Some(seen) = &change.description {
            self.describe_copy(seen, batch, effects).await?;
        }
        self.delete_orders(&actor, &change.deleted).await?;
        if change.closed {
            self.close_copy(&actor, batch, effects).await?;
        }
        Ok(())
    }

    /// Who is meant when nobody is named: somebody of the home.
    pub(super) fn somebody(&self) -> Result<UserId, freehold_proto::Malformed> {
        let home = self.topic.room().and_then(|it| it.home.clone());
        let home = home.unwrap_or_else(|| self.server.us.clone());
        Ok(UserId::new([0; 8], home))
    }

    /// Keeps what the home says of how members are called.
    async fn learn_members(&self, members: &[wire::Member]) -> Result<(), Reply> {
        let Some(home) = self.home_abroad().cloned() else {
            return Ok(());
        };
        learn(&self.server, &home, members)
            .await
            .map_err(Into::into)
    }

    fn rule_members(
        &mut self,
        actor: &UserId,
        members: &[wire::Member],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let (mut us, now) = (self.server.us.clone(), self.now());
        if self.regaining {
            // What we have signed ourselves holds for everybody.
            us = NOBODYS.parse().unwrap_or(us);
        }
        let mut changes = Vec::new();
        let rulings = members.iter().filter_map(|it| group_wire::ruling(it).ok());
        for mut ruling in rulings {
            // Nobody of ours is in because the home says so: they are asked (rules.md 18 and 19).
            let known = self.room_mut()?.active(&ruling.user).is_some();
            if *ruling.user.domain() == us && !known && !self.waits_to_join(&ruling.user) {
                ruling.want = AccessMode::NONE;
            }
            changes.extend(self.room_mut()?.rule(actor, &ruling, &us, now));
        }
        effects.extend(self.access_effects(None, changes));
        Ok(())
    }

    pub(super) async fn describe_copy(
        &mut self,
        seen: &wire::GroupDescription,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let Ok(mut after) = group_wire::read_description(seen) else {
            return Ok(());
        };
        after.aux = self.aux_here(&after.aux).await?;
        let now = self.now();
        self.offer_home(&after, batch, effects)?;
        let room = self.room_mut()?;
        if seen.channel {
            room.kind = RoomKind::Channel;
        }
        let (pinned, told) = (after.aux != room.description.aux, after != room.description);
        let shown = after.public != room.description.public;
        room.describe(after, now);
        if shown {
            self.show_files(batch, effects).await?;
        }
        effects.extend(told.then_some(Effect::Redescribed(None)));
        effects.extend(pinned.then_some(Effect::Pinned(None)));
        Ok(())
    }

    /// Messages go for everybody, wherever they stand here.
    pub(super) async fn delete_orders(
        &mut self,
        by: &UserId,
        orders: &[wire::Orders],
    ) -> Result<(), Reply> {
        if orders.is_empty() {
            return Ok(());
        }
        let span = |it: &wire::Orders| SpanRow {
            low: it.low,
            high: it.high,
        };
        let orders = orders.iter().map(span).filter(|it| it.low < it.high);
        let orders = freehold_store::tables::deletions::merged(orders.collect());
        let orders = orders.into_iter().map(|it| wire::Orders {
            low: it.low,
            high: it.high,
        });
        let orders: Vec<_> = orders.take(super::deletion::SPANS_MAX).collect();
        let key = self.key();
        // What came in before stands where it will be found only once it is there.
        self.finish_commits().await?;
        let opened = self.room_mut()?.opened;
        let read = move |tables: &Tables| places::spans_of(tables, key, &orders, opened);
        let spans = self.server.tables.read(read).await?;
        if !spans.is_empty() {
            self.delete_spans(by, true, spans).await?;
        }
        Ok(())
    }

    /// The group has ended.
    pub(super) async fn close_copy(
        &mut self,
        actor: &UserId,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let head = self.topic.head();
        let low = 1;
        if head >= low {
            self.finish_commits().await?;
            let all = SpanRow {
                low,
                high: head.saturating_add(1),
            };
            self.delete_spans(actor, true, vec![all]).await?;
        }
        let now = self.now();
        let room = self.room_mut()?;
        room.finish(now);
        room.description.public.clear();
        effects.push(Effect::Closed(None));
        self.show_files(batch, effects).await
    }

    /// The home has said how the group stands, and the copy begins there.
    pub(super) async fn take_state(&mut self, answer: Option<Box<Standings>>) {
        self.pulled();
        let Some(answer) = answer else {
            let unsure = self.topic.room().filter(|it| it.unsure);
            self.silent_home = unsure.and_then(|it| it.home.clone());
            return;
        };
        if let Err(reply) = self.begin_copy(*answer).await {
            tracing::warn!(code = reply.status.code, "a copy of a group did not begin");
            self.read_again();
        }
    }

    async fn begin_copy(&mut self, answer: Standings) -> Result<(), Reply> {
        let Standings {
            head,
            state,
            members,
            succession,
        } = answer;
        self.finish_commits().await?;
        if let Some(room) = self.topic.room().filter(|it| it.unsure) {
            return match room.home.as_ref() == Some(&head.position.home) {
                true => self.believe(&state, &members).await,
                false => {
                    self.silent_home.clone_from(&room.home);
                    Ok(())
                }
            };
        }
        let room = self.topic.room().filter(|_| self.is_stored());
        let known = |it: &&Room| {
            let lives = it.deleted.is_none() && it.takes_part(&self.server.us);
            it.home.as_ref() == Some(&head.position.home) && lives
        };
        let Some(room) = room.filter(known) else {
            return Ok(());
        };
        if room.log.is_some_and(|it| it.index >= head.position.index) {
            return Ok(());
        }
        let mut log = Log::opened(0);
        log.advance(&head.position, &head.placed);
        let room = self.room_mut()?;
        room.head = room.head.max(log.order);
        if room.begun.is_none() {
            room.begin_reading();
            room.opened = log.order;
        }
        room.begun = Some((log, room.head));
        room.log = Some(log);
        room.dirty = true;
        if let Some(created) = state.description.as_ref().map(|it| it.created_ms) {
            room.created = freehold_proto::Timestamp::from_stored(created);
        }
        room.succession = succession;
        room.charter = group_wire::step_rows(state.charter.as_slice()).pop();
        room.successors.clear();
        if let Some(described) = &state.description {
            room.note_successors(log.index, &described.aux);
        }
        room.fetched = 0;
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        self.take_members(&state, &members, &mut batch, &mut effects)
            .await?;
        put_log_tip(&mut batch, self.key(), log.index);
        self.commit_all(batch, effects);
        self.fetch_past();
        Ok(())
    }

    /// Everybody stands as the home says, and nobody else is a member.
    async fn take_members(
        &mut self,
        state: &wire::GroupState,
        members: &[wire::Member],
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let owner = self.somebody().map_err(|_| reply::INTERNAL)?;
        let now = self.now();
        let room = self.room_mut()?;
        let named: std::collections::HashSet<_> = members.iter().map(|it| &*it.user).collect();
        let gone: Vec<UserId> = room
            .present()
            .filter(|(user, _)| !named.contains(&*user.to_string()))
            .map(|(user, _)| user.clone())
            .collect();
        let changes = gone.iter().filter_map(|it| room.rule_out(&owner, it, now));
        let changes: Vec<_> = changes.collect();
        effects.extend(self.access_effects(None, changes));
        self.rule_members(&owner, members, effects)?;
        if let Some(seen) = &state.description {
            self.describe_copy(seen, batch, effects).await?;
        }
        Ok(())
    }

    /// A copy that had followed a fenced home hears how everybody stands.
    async fn believe(
        &mut self,
        state: &wire::GroupState,
        members: &[wire::Member],
    ) -> Result<(), Reply> {
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        self.take_members(state, members, &mut batch, &mut effects)
            .await?;
        let room = self.room_mut()?;
        room.unsure = false;
        room.dirty = true;
        self.commit_all(batch, effects);
        Ok(())
    }

    /// The home lets one of our people in, or not any more.
    pub(super) async fn invited(&mut self, invited: Invited) {
        let Invited {
            home,
            invitee,
            inviter,
            words,
            steps,
            decision,
        } = invited;
        if let Err(refusal) = self.check_invitation(&home, &words, &steps) {
            let verdict = Verdict::Refused(refusal);
            return self.decide(Batch::new(), Vec::new(), decision, verdict);
        }
        // Who is asked in may answer at once.
        if let Err(fault) = self.server.outbox.prepare(&home).await {
            return self.undecided(decision, &fault.into());
        }
        let now = self.now();
        let given = words.given.parse().unwrap_or(AccessMode::NONE);
        if !self.is_stored() {
            self.found_stub(home.clone(), &words);
        }
        let us = self.server.us.clone();
        let Ok(room) = self.room_mut() else { return };
        if room.home.as_ref().is_some_and(|it| *it != home) {
            room.home = Some(home);
            room.succession = group_wire::step_rows(&words.succession);
            room.dirty = true;
            self.home_moved = true;
        }
        let Ok(room) = self.room_mut() else { return };
        let known = room.members.get(&invitee);
        let is_news = known.is_none_or(|it| {
            let ends = words.withdrawn && it.deleted.is_none();
            it.given_version < words.given_version + u64::from(ends)
        });
        let ruling = Ruling {
            want: AccessMode::NONE,
            want_version: words.want_version,
            given,
            given_version: words.given_version,
            gone: words.withdrawn,
            since: now,
            user: invitee,
        };
        let change = is_news
            .then(|| room.rule(&inviter, &ruling, &us, now))
            .flatten();
        let effects = self.access_effects(None, change.into_iter().collect());
        self.decide(Batch::new(), effects, decision, Verdict::Ok);
    }

    /// What is kept of a group in which nobody of ours has a part yet: its name, as text.
    fn found_stub(&mut self, home: DomainName, words: &wire::GroupInvitation) {
        let TopicName::Group(group) = self.name else {
            return;
        };
        let kind = match words.channel {
            true => RoomKind::Channel,
            false => RoomKind::Group,
        };
        let mut room = Room::new(kind, Some(group), self.now());
        room.home = Some(home);
        room.record = (words.record.clone(), words.signature.clone());
        let title: String = words.title.chars().take(group_wire::TITLE_CHARS).collect();
        room.description.public = serde_json::json!({ "fn": title }).to_string().into();
        self.set_room(room);
    }

    /// Only the home of a group invites into it: to whom does not know the group, the one in its create
    /// record, or the one that followed by right.
    fn check_invitation(
        &self,
        home: &DomainName,
        words: &wire::GroupInvitation,
        steps: &[Entry],
    ) -> Result<(), Refusal> {
        words.given.parse::<AccessMode>()?;
        if words.signature.len() != 64 || words.record.len() > 512 {
            return Err(Refusal::new(RefusalCode::Malformed, "a create record"));
        }
        let record = GroupRecord::decode(&words.record)?;
        let TopicName::Group(group) = self.name else {
            return Err(nobody());
        };
        // Where nobody takes part, nothing has told us of another home.
        let us = &self.server.us;
        let follows = |it: &&Room| it.home.is_none() || it.log.is_some() && it.takes_part(us);
        let room = self.topic.room().filter(|_| self.is_stored());
        let known = room.filter(follows).map(|it| it.home.clone());
        let known = match known {
            Some(known) => known,
            None => succession::home_after(&record.home, group, steps).ok(),
        };
        if GroupId::of_record(&words.record) != group || known.as_ref() != Some(home) {
            let detail = "another domain is the home of this group";
            return Err(Refusal::new(RefusalCode::NotHome, detail));
        }
        Ok(())
    }

    /// Asks whoever handed on an entry for what is missing before it, once at a time.
    fn pull(&mut self, home: &DomainName) {
        let (Some(room), TopicName::Group(group)) = (self.topic.room(), self.name.clone()) else {
            return;
        };
        let asks_all = room.unsure
            && room.home.as_ref() == Some(home)
            && self.silent_home.as_ref() != Some(home);
        let after = room.log.map(|it| it.index).filter(|_| !asks_all);
        // A home that took over may have left our log before its end.
        let after = match room.home.as_ref().unwrap_or(&self.server.us) == home {
            true => after,
            false => {
                let back = match &self.steps_back {
                    (Some(last), back) if last == home => *back,
                    _ => 0,
                };
                after.map(|it| it.saturating_sub(back))
            }
        };
        if room.unsure && !asks_all {
            // Who came later knows how everybody stands, and this one does not say so any more.
            self.silent_home.clone_from(&room.home);
        }
        let (home, asked) = (home.clone(), home.clone());
        if !self.begin_pull() {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        self.server.tasks.spawn("group pull", async move {
            let command = match after {
                Some(index) => read_entries(&server, &home, group, index).await,
                None => Command::Stands(read_state(&server, &home, group).await.map(Box::new)),
            };
            Hub::send(&server, &name, command).await;
        });
        self.steps_back.0 = Some(asked);
    }

    /// Whether a domain has to do with the group, so that it may show us what is missing.
    fn may_show(&self, domain: &DomainName) -> bool {
        let Some(room) = self.topic.room() else {
            return false;
        };
        let wished = succession::wishes(&room.description.aux);
        room.home.as_ref() == Some(domain)
            || wished.home.as_ref() == Some(domain)
            || wished.successors.contains(domain)
            || room.present().any(|(user, _)| user.domain() == domain)
    }

    /// Entries that this home had signed, and lost, have come back (rules.md 14).
    pub(super) async fn regain(&mut self, entries: Vec<Entry>, done: oneshot::Sender<u64>) {
        let is_home = |it: &&Room| it.home.is_none() && it.log.is_some();
        if self.topic.room().filter(is_home).is_none() {
            return;
        }
        self.regaining = true;
        self.take_missed(Some(entries)).await;
        let kept = self.finish_commits().await;
        self.regaining = false;
        if kept.is_ok() {
            // Who follows now is noted with the next commit.
            self.commit_all(Batch::new(), Vec::new());
            let told = self.finish_commits().await;
            let log = self.topic.room().and_then(|it| it.log);
            if let (Ok(()), Some(log)) = (told, log) {
                let _gone = done.send(log.index);
            }
        }
    }

    /// Entries that were missing have come.
    pub(super) async fn take_missed(&mut self, entries: Option<Vec<Entry>>) {
        self.pulled();
        let before = self.topic.room().and_then(|it| it.log);
        let Ok(entries) = self.follow_branch(entries.unwrap_or_default()).await else {
            return self.read_again();
        };
        self.take_all(entries).await;
        let after = self.topic.room().and_then(|it| it.log);
        self.steps_back.1 = match before == after {
            true => self.steps_back.1.saturating_add(STEP_BACK),
            false => 0,
        };
    }

    /// Takes the way to a home that took over, and returns what comes behind; or all, where there is none.
    async fn follow_branch(&mut self, entries: Vec<Entry>) -> Result<Vec<Entry>, Reply> {
        let Some(room) = self.topic.room().filter(|it| it.deleted.is_none()) else {
            return Ok(entries);
        };
        let Some(log) = room.log else {
            return Ok(entries);
        };
        let Some(first) = entries.first().map(|it| it.position.index) else {
            return Ok(entries);
        };
        let (key, count) = (self.key(), entries.len().saturating_add(1));
        let read = move |tables: &Tables| tables.log_after(key, first.saturating_sub(2), count);
        let ours = self.server.tables.read(read).await?;
        let ours = ours.iter().filter_map(|(_, row)| storage::log_behind(row));
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let begun = room.begun.map(|it| it.0);
        let ours: std::collections::HashMap<u64, [u8; 32]> =
            ours.chain(begun).map(|it| (it.index, it.hash)).collect();
        let hash_at = |index: u64| ours.get(&index).copied();
        let successors_at = |index: u64| room.successors_at(index);
        let Some(branch) = succession::branch(&log, successors_at, &entries, hash_at) else {
            return Ok(entries);
        };
        let Some(base) = self.log_at(branch.base).await? else {
            return Ok(entries);
        };
        let (mut entries, mut way) = (entries, Vec::new());
        let behind = entries.split_off(branch.end);
        way.extend(entries.drain(branch.begin..));
        let Some(home) = way.last().map(|it| it.position.home.clone()) else {
            return Ok(behind);
        };
        self.fence(&home, base).await?;
        for entry in way {
            let seen = self.seen_of(&entry).await?;
            let (batch, effects) = self.apply(entry, seen).await?;
            self.commit_all(batch, effects);
            self.finish_commits().await?;
        }
        Ok(behind)
    }

    async fn seen_of(&self, entry: &Entry) -> Result<Option<SeenRow>, Reply> {
        let (from, id) = (entry.header.from.clone(), entry.header.message_id);
        let read = move |tables: &Tables| tables.seen(&from, id);
        Ok(self.server.tables.read(read).await?)
    }

    async fn take_all(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let Ok(seen) = self.seen_of(&entry).await else {
                return;
            };
            if !matches!(self.judge(&entry).await, Ok(Judged::Next)) {
                continue;
            }
            match self.apply(entry, seen).await {
                Ok((batch, effects)) => self.commit_all(batch, effects),
                Err(_) => return self.read_again(),
            }
            if self.is_stale() {
                return;
            }
        }
    }
}

/// Another domain is the home, or was not any more when it said this.
pub(super) fn not_home() -> Refusal {
    Refusal::new(
        RefusalCode::NotHome,
        "another domain is the home of this group",
    )
}

/// The home contradicts itself: nothing of this log is taken any more.
pub(super) fn forked(home: &DomainName, why: &str) -> Refusal {
    tracing::error!(peer = %home, why, fault = "peer", "the home of a group contradicts itself");
    Refusal::new(RefusalCode::LogForked, why)
}

/// Keeps what a home says of how people of other domains than ours are called. Of its own it knows; of
/// those of third domains it is hearsay, which counts as long as they have not said it themselves.
async fn learn(
    server: &Server,
    home: &DomainName,
    members: &[wire::Member],
) -> Result<(), StoreError> {
    for member in members.iter().filter(|it| !it.public.is_empty()) {
        let Ok(user) = member.user.parse::<UserId>() else {
            continue;
        };
        if server.ids.is_ours(&user) {
            continue;
        }
        let changed = match user.domain() == home {
            true => member.public_changed_ms,
            false => HEARSAY,
        };
        server.remember(&user, &member.public, changed).await?;
    }
    Ok(())
}

/// Reads how a group stands, page by page; what members are called is kept on the way.
async fn read_state(server: &Server, home: &DomainName, group: GroupId) -> Option<Standings> {
    let federation = server.federation.get()?;
    let (mut whole, mut after) = (None::<Standings>, None);
    for _ in 0..PAGES_MAX {
        let query = GroupQuery::State(after.clone());
        let answer = federation.read_group(home, group, query).await;
        let Ok(Some(GroupAnswer::State { head, mut state })) = answer else {
            tracing::debug!(peer = %home, ?answer, "no answer to how a group stands");
            return None;
        };
        let mut page = std::mem::take(&mut state.members);
        learn(server, home, &page).await.ok()?;
        page.iter_mut().for_each(|it| it.public.clear());
        let last: Option<UserId> = page.last().and_then(|it| it.user.parse().ok());
        // A home that does not get on is asked no more.
        let name = |it: &Option<UserId>| it.as_ref().map(ToString::to_string);
        let more = state.more && name(&last) > name(&after);
        after = last;
        match &mut whole {
            // What changes while pages are read comes again as entries behind the first page's head.
            Some(whole) if whole.members.len() + page.len() > MEMBERS_MAX => return None,
            Some(whole) => whole.members.extend(page),
            None => {
                whole = Some(Standings {
                    succession: group_wire::step_rows(&state.succession),
                    head: *head,
                    state: *state,
                    members: page,
                });
            }
        }
        if !more {
            return whole;
        }
    }
    None
}

/// Reads what is missing behind an entry; if the home does not show that, how the group stands now.
async fn read_entries(server: &Server, home: &DomainName, group: GroupId, after: u64) -> Command {
    let Some(federation) = server.federation.get() else {
        return Command::Missed(None);
    };
    let query = GroupQuery::EntriesAfter(after);
    match federation.read_group(home, group, query).await {
        Ok(Some(GroupAnswer::Page(entries, ..))) => Command::Missed(Some(entries)),
        Ok(Some(GroupAnswer::State { .. })) => {
            Command::Stands(read_state(server, home, group).await.map(Box::new))
        }
        answer => {
            tracing::debug!(peer = %home, ?answer, "no answer to which entries are missing");
            Command::Missed(None)
        }
    }
}
