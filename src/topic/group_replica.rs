//! A copy of a group whose home is another domain: taking in what the home says (PROTOCOL.md section 7.7;
//! rules.md 8, 16 and 19).

use std::time::Duration;

use bytes::Bytes;
use freehold_federation::Verdict;
use freehold_keys::Entry;
use freehold_proto::{
    AccessMode, DomainName, Refusal, RefusalCode, UserId, wire, wire::payload::Kind,
};
use freehold_store::{
    Batch, Tables, TopicKey,
    tables::{
        log::{extend_log, put_follower, put_log_entry, put_place},
        messages::{put_message, put_seen},
        rows::{FollowerRow, LogRow, PlaceRow, SeenRow, SpanRow},
    },
};

use super::{
    actor::{Actor, Effect},
    command::{Decision, Placing},
    group_home::{message_row, nobody},
    group_pull::learn,
    group_wire, message, places,
    room::RoomKind,
    succession::{self, Judgement},
};
use crate::{
    edge::reply::Reply,
    files::{Attached, Held, Referrer},
};

/// When the home should offer an entry again before which others are missing.
pub(super) const MISSING_RETRY: Duration = Duration::from_millis(200);
/// A domain of which nobody is.
pub(super) const NOBODYS: &str = "nobody.invalid";

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
    pub(super) async fn judge(&mut self, entry: &Entry) -> Result<Judged, Reply> {
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
    pub(super) async fn apply(
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
            effects.extend(self.tell_readers(&mut batch).await?);
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

    pub(super) fn rule_members(
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
