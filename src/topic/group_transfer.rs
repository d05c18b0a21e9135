//! A group gets another home: its owner wishes it, the next home agrees, the former one says so in its
//! last entry, and what was on its way to the former goes to the next (PROTOCOL.md section 7.10; rules.md
//! 8, 9 and 11).

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use freehold_keys::{Entry, Opened};
use freehold_proto::{
    Destination, DomainName, Envelope, GroupRecord, Position, RefusalCode, UserId, wire,
};
use freehold_store::{
    Batch, Tables,
    tables::{
        log::{
            cut_log, drop_follower, extend_log, put_follower, put_request, put_told, remove_request,
        },
        rows::{FollowerRow, LogRow, RequestRow},
    },
};
use prost::Message as _;
use tokio::sync::oneshot;

use super::{
    actor::{Actor, Effect},
    group_home::{Unheard, may_write, nobody},
    log::Log,
    message, places,
    room::{Description, Room},
    storage, succession,
};
use crate::{
    edge::reply::{self, Reply},
    peers::outbox::Letter,
};

/// Entries cut from a fenced log, or letters moved to another home, in one commit.
const PART: usize = 200;

impl Actor {
    /// What is attached to the group, from other domains, with pins where they stand here.
    pub(super) async fn aux_here(&self, aux: &Bytes) -> Result<Bytes, Reply> {
        let Some(room) = self.topic.room().filter(|it| it.is_renumbered()) else {
            return Ok(aux.clone());
        };
        let (key, opened, pins) = (self.key(), room.opened, super::group_wire::pins(aux));
        let read = move |tables: &Tables| {
            let mut found = Vec::new();
            for order in pins.into_iter().take(64) {
                let seq = places::seq_of(tables, key, opened, order)?;
                found.extend(seq.map(|seq| (order, seq)));
            }
            Ok(found)
        };
        let found = self.server.tables.read(read).await?;
        let here = |order| found.iter().find(|it| it.0 == order).map(|it| it.1);
        Ok(super::group_wire::renumbered(aux, here))
    }

    /// The owner wishes a home, and it is we: we agree if somebody of ours rules on others there.
    pub(super) fn offer_home(
        &mut self,
        after: &Description,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let us = &self.server.us;
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let wished = succession::wishes(&after.aux).home;
        let news = wished != succession::wishes(&room.description.aux).home;
        let wants_us = news && wished.as_ref() == Some(us) && room.home.as_ref() != Some(us);
        let (Some(log), true) = (room.log, wants_us) else {
            return Ok(());
        };
        if !succession::administers(room, us) {
            tracing::warn!(
                "this domain does not become the home of a group: no administrator of it is here"
            );
            return Ok(());
        }
        let consent = wire::GroupConsent {
            home: us.to_string(),
            epoch: log.epoch + 1,
            index: log.index,
            hash: Bytes::copy_from_slice(&log.hash),
            last_epoch: log.epoch,
        };
        let (key, now) = (self.key(), self.now());
        let envelope = self.consent(consent)?;
        let id = freehold_proto::Header::decode(&envelope.header).map_err(|_| reply::INTERNAL)?;
        let id = id.message_id;
        let row = RequestRow {
            envelope: Some(message::envelope_row(&envelope)),
        };
        let Some(home) = self.home_abroad().cloned() else {
            return Ok(());
        };
        put_request(batch, key, id.as_bytes(), &row);
        let outbox = &self.server.outbox;
        outbox.put_request(batch, &home, (key, &nobody_of(us)), id, now);
        effects.push(Effect::WakePeers(vec![home], key));
        Ok(())
    }

    /// Seals what we agree to.
    pub(super) fn consent(&self, consent: wire::GroupConsent) -> Result<Envelope, Reply> {
        let now = self.now();
        let group = self.topic.room().and_then(|it| it.group);
        let to = Destination::Group(group.ok_or(reply::INTERNAL)?);
        let id = message::mint(now).map_err(|_| reply::INTERNAL)?;
        let words = wire::payload::Kind::GroupConsent(consent);
        let sealed = self.server.signer.seal(to, id, now, words);
        sealed.map_err(|_| reply::INTERNAL.into())
    }

    /// The domain that the owner wishes as home has agreed: our last entry says so.
    pub(super) async fn hand_over(
        &mut self,
        to: &DomainName,
        words: &wire::GroupConsent,
        opened: &Opened,
    ) -> Result<(Batch, Vec<Effect>), Unheard> {
        let key = self.key();
        let room = self.topic.room().ok_or_else(nobody)?;
        let log = room.log.ok_or_else(nobody)?;
        let wished = succession::wishes(&room.description.aux).home;
        let due = wished.as_ref() == Some(to)
            && words.home == to.to_string()
            && words.epoch == log.epoch + 1
            && room.followers.contains_key(to)
            && succession::administers(room, to);
        let (Some(group), true) = (room.group, due) else {
            return Err(nobody().into());
        };
        let change = wire::GroupChange {
            actor: room.owner().map_or_else(String::new, ToString::to_string),
            succession: Some(wire::GroupSuccession {
                home: to.to_string(),
                epoch: words.epoch,
                consents: vec![opened.envelope.clone().into()],
            }),
            ..wire::GroupChange::default()
        };
        let mut batch = Batch::new();
        let placed = self.place_change(&mut batch, group, change);
        placed.map_err(|fault| Unheard::Unavailable(fault.to_string()))?;
        let fed = self.end_feed(&mut batch, to);
        let fed = fed.map_err(|fault| Unheard::Unavailable(fault.to_string()))?;
        let room = self.room_mut()?;
        let followers = room.give_home(to, words.epoch);
        let last = room.log.map_or(0, |it| it.index);
        extend_log(&mut batch, key, log.index, last);
        for (follower, since) in &followers {
            let row = FollowerRow {
                since: *since,
                until: last,
            };
            put_follower(&mut batch, follower, key, &row);
        }
        tracing::info!(home = %to, "a group has another home now");
        let told = followers.into_iter().map(|it| it.0).collect();
        let mut effects = vec![
            Effect::WakePeers(told, key),
            Effect::WakePeers(fed, key.feed()),
        ];
        // Our own readers may be all that is left of us here one day.
        effects.extend(self.tell_readers(&mut batch).await?);
        Ok((batch, effects))
    }

    /// Whether an entry that is being taken gives the group another home: which, from which epoch on.
    pub(super) fn next_home(&self, entry: &Entry) -> Option<(DomainName, u64)> {
        let log = self.topic.room()?.log?;
        let named = succession::named_in(entry)?;
        if entry.position.epoch > log.epoch {
            return Some((entry.position.home.clone(), entry.position.epoch));
        }
        match succession::handed_over(&log, entry) {
            Ok(home) => Some((home, named.epoch)),
            Err(why) => {
                tracing::error!(peer = %entry.position.home, why, fault = "peer", "a home names another one without right");
                None
            }
        }
    }

    /// Where the log was behind an entry of it.
    pub(super) async fn log_at(&self, index: u64) -> Result<Option<Log>, Reply> {
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let known = [room.log, room.begun.map(|it| it.0)];
        let known = known.into_iter().flatten().find(|it| it.index == index);
        if known.is_some() {
            return Ok(known);
        }
        let key = self.key();
        let read = move |tables: &Tables| tables.log_entry(key, index);
        let row = self.server.tables.read(read).await?;
        Ok(row.as_ref().and_then(storage::log_behind))
    }

    /// Another domain has taken over from an entry on: what the former home said behind it is not in the
    /// log any more. Its messages stay where they stand; those of our people wait for the new home.
    pub(super) async fn fence(&mut self, home: &DomainName, base: Log) -> Result<(), Reply> {
        self.finish_commits().await?;
        let (key, us) = (self.key(), self.server.us.clone());
        let room = self.room_mut()?;
        let tail = room.log.is_some_and(|it| it.index > base.index);
        let mut batch = Batch::new();
        let followers = std::mem::take(&mut room.followers);
        for follower in followers.keys() {
            drop_follower(&mut batch, follower, key);
        }
        // What was said of successors behind it is not said.
        room.successors.retain(|it| it.0 <= base.index);
        let mut fed = Vec::new();
        if room.home.is_none() {
            room.begun.get_or_insert((base, base.order));
            room.fetched = 1;
            tracing::warn!(%home, "successors have taken over a group whose home this domain was");
            // Who reads elsewhere hears of it by us alone.
            let ended = self.end_feed(&mut batch, home);
            fed = ended.map_err(|_| reply::INTERNAL)?;
        }
        let room = self.room_mut()?;
        room.home = Some(home.clone());
        room.unsure |= tail;
        room.dirty = true;
        for follower in followers.keys() {
            self.server.outbox.unfollow(follower, key);
        }
        self.silent_home = None;
        self.tell_readers(&mut batch).await?;
        self.commit_now(batch).await?;
        self.perform(Effect::WakePeers(fed, key.feed()));
        self.perform(Effect::WakePeers(vec![home.clone()], key));
        let mut done = !tail;
        while !done {
            let cut = move |tables: &Tables| {
                let mut batch = Batch::new();
                let done = cut_log(tables, &mut batch, key, base.index, PART)?;
                Ok((batch, done))
            };
            let (batch, last) = self.server.tables.read(cut).await?;
            // A batch without guards is applied.
            let _applied = self.server.tables.commit(batch).await?;
            done = last;
        }
        let room = self.room_mut()?;
        room.log = Some(base);
        let known = room.clone();
        let read = move |tables: &Tables| storage::unplaced(tables, key, &known, &us);
        let unplaced = self.server.tables.read(read).await?;
        self.room_mut()?.unplaced = unplaced;
        Ok(())
    }

    /// What waits for the former home goes to the present one, which may be us.
    pub(super) async fn follow_home(&mut self) {
        if let Err(reply) = self.try_follow_home().await {
            tracing::warn!(
                code = reply.status.code,
                "what waits for the home of a group is not moved now"
            );
            self.read_again();
        }
    }

    async fn try_follow_home(&mut self) -> Result<(), Reply> {
        self.finish_commits().await?;
        let us = self.server.us.clone();
        let Some(room) = self.topic.room().filter(|it| !it.succession.is_empty()) else {
            return Ok(());
        };
        if room.deleted.is_some() {
            return Ok(());
        }
        let home = room.home.clone();
        let steps = room.succession.clone();
        let former = former_homes(&steps, &room.record.0);
        match home {
            Some(home) if home == us => {
                self.assume_home().await?;
                self.place_waiting(&former).await
            }
            Some(home) => self.send_on(&former, &home).await,
            None => self.place_waiting(&former).await,
        }
    }

    /// The former home has named us: from here on we place, and tell all domains with members.
    async fn assume_home(&mut self) -> Result<(), Reply> {
        let mut batch = Batch::new();
        let asked = self.take_followers(&mut batch).await?;
        self.take_up_feed().await?;
        self.index_tags(&mut batch);
        self.room_mut()?.home = None;
        self.room_mut()?.dirty = true;
        tracing::info!("this domain is the home of a group now");
        // The first entry of the epoch: how the group is described.
        let wakes = Effect::WakePeers(asked, self.key());
        self.commit_all(batch, vec![Effect::Redescribed(None), wakes]);
        self.finish_commits().await
    }

    /// Every other domain of which somebody takes part follows our log from here on.
    /// Returns those of which somebody was asked in and has not answered: they hear who asks now.
    pub(super) async fn take_followers(
        &mut self,
        batch: &mut Batch,
    ) -> Result<Vec<DomainName>, Reply> {
        let (key, us) = (self.key(), self.server.us.clone());
        let (room, lives) = (
            self.topic.room().ok_or(reply::INTERNAL)?,
            &self.server.lives,
        );
        let domains = room.domains(&us, |domain, joined| !lives.is_over(domain, joined));
        for domain in &domains {
            self.server.outbox.prepare(domain).await?;
        }
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let told = room.log.map_or(0, |it| it.index);
        let since = room.begun.map_or(0, |(log, _)| log.index);
        for domain in domains {
            put_follower(batch, &domain, key, &FollowerRow { since, until: 0 });
            put_told(batch, &domain, key, told);
            self.server.outbox.unfollow(&domain, key);
            self.room_mut()?.followers.insert(domain, since);
        }
        self.ask_again(batch).await
    }

    async fn ask_again(&mut self, batch: &mut Batch) -> Result<Vec<DomainName>, Reply> {
        let (key, us, now) = (self.key(), self.server.us.clone(), self.now());
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let inviter = room.owner().cloned().unwrap_or_else(|| nobody_of(&us));
        let outside =
            |user: &UserId| *user.domain() != us && !room.followers.contains_key(user.domain());
        let asked = room.present().map(|it| it.0).filter(|it| outside(it));
        let asked: Vec<UserId> = asked.cloned().collect();
        for invitee in &asked {
            let outbox = &self.server.outbox;
            outbox.prepare(invitee.domain()).await?;
            let people = (key, invitee, &inviter);
            outbox.put_invitation(batch, invitee.domain(), people, now);
        }
        Ok(asked.iter().map(|it| it.domain().clone()).collect())
    }

    /// Letters for a former home, in their order, and before them what it took and lost.
    async fn waiting_for(
        &self,
        former: &BTreeSet<DomainName>,
        present: Option<&DomainName>,
    ) -> Result<Vec<Waits>, Reply> {
        let (key, outbox) = (self.key(), &self.server.outbox);
        let mut letters = Vec::new();
        let others = former.iter().filter(|it| **it != self.server.us);
        for former in others.filter(|it| Some(*it) != present) {
            outbox.prepare(former).await?;
            letters.extend(outbox.letters(former, key).await?);
        }
        let queued = match present {
            Some(present) => outbox.letters(present, key).await?,
            None => Vec::new(),
        };
        let known = letters.iter().chain(&queued);
        let known: HashSet<u32> = known.filter_map(Letter::message).collect();
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let lost = room.unplaced.iter().filter(|it| !known.contains(it));
        let lost = lost.map(|seq| Waits::Lost(*seq));
        Ok(lost.chain(letters.into_iter().map(Waits::Letter)).collect())
    }

    /// What waits goes to another home.
    async fn send_on(
        &mut self,
        former: &BTreeSet<DomainName>,
        home: &DomainName,
    ) -> Result<(), Reply> {
        let (key, now) = (self.key(), self.now());
        self.server.outbox.prepare(home).await?;
        let waiting = self.waiting_for(former, Some(home)).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        tracing::info!(%home, waiting = waiting.len(), "what waited for a former home goes to the present one");
        for part in waiting.chunks(PART) {
            let mut batch = Batch::new();
            for one in part {
                match one {
                    Waits::Letter(letter) => {
                        self.server.outbox.readdress(&mut batch, letter, home);
                    }
                    Waits::Lost(seq) => {
                        let seq = *seq;
                        let read = move |tables: &Tables| tables.message(key, seq);
                        let row = self.server.tables.read(read).await?;
                        let author = row.and_then(|it| it.author.parse::<UserId>().ok());
                        if let Some(author) = author {
                            let outbox = &self.server.outbox;
                            outbox.put_message(&mut batch, home, (key, &author), seq, now);
                        }
                    }
                }
            }
            self.commit(batch, vec![Effect::WakePeers(vec![home.clone()], key)]);
        }
        self.finish_commits().await
    }

    /// We are the home now: what our people wrote and asked meanwhile is placed and ruled on.
    async fn place_waiting(&mut self, former: &BTreeSet<DomainName>) -> Result<(), Reply> {
        for waits in self.waiting_for(former, None).await? {
            let (mut batch, mut effects) = (Batch::new(), Vec::new());
            match &waits {
                Waits::Lost(seq) => self.place_own(*seq, None).await?,
                Waits::Letter(letter) => match letter.message() {
                    Some(seq) => self.place_own(seq, Some(letter)).await?,
                    None => {
                        (batch, effects) = self.rule_own(letter).await?;
                        self.server.outbox.withdraw(&mut batch, letter);
                        let (key, id) = (self.key(), letter.row.request.clone());
                        let end = move |tables: &Tables| {
                            let mut ended = Batch::new();
                            remove_request(tables, &mut ended, key, &id)?;
                            Ok(ended)
                        };
                        batch.append(self.server.tables.read(end).await?);
                    }
                },
            }
            self.commit_all(batch, effects);
            self.finish_commits().await?;
        }
        Ok(())
    }

    /// Places a message of ours that stands here already, or tells its author why not.
    async fn place_own(&mut self, seq: u32, letter: Option<&Letter>) -> Result<(), Reply> {
        let (key, now) = (self.key(), self.now());
        let read =
            move |tables: &Tables| Ok((tables.message(key, seq)?, tables.order_at(key, seq)?));
        let (row, placed) = self.server.tables.read(read).await?;
        let placed = placed.is_some_and(|it| it.0 == seq);
        let row = row.filter(|it| it.deleted == 0 && !placed);
        let room = self.room_mut()?;
        let author = row.as_ref().and_then(|it| it.author.parse::<UserId>().ok());
        let may = author.is_some_and(|it| may_write(room, &it, u64::MAX, now));
        let (Some(group), Some(log)) = (room.group, room.log) else {
            return Err(reply::INTERNAL.into());
        };
        match (row, may) {
            (Some(_), false) => {
                let (done, _told) = oneshot::channel();
                let reason = RefusalCode::NotPermitted.text();
                let refused = letter.and_then(Letter::refused);
                self.not_placed(seq, reason, refused.as_ref(), done).await;
            }
            (row, _) => {
                let (mut batch, mut effects) = (Batch::new(), Vec::new());
                if let Some(row) = row {
                    self.place_message(&mut batch, group, seq, &row);
                    let room = self.room_mut()?;
                    let last = room.log.map_or(log.index, |it| it.index);
                    extend_log(&mut batch, key, log.index, last);
                    effects.push(Effect::Placed(seq, Box::new(row)));
                }
                if let Some(letter) = letter {
                    self.server.outbox.withdraw(&mut batch, letter);
                }
                let room = self.room_mut()?;
                room.unplaced.remove(&seq);
                let told = room.followers.keys().cloned().collect();
                effects.push(Effect::WakePeers(told, key));
                self.commit(batch, effects);
            }
        }
        self.finish_commits().await
    }

    /// Rules on what one of our people asked of the former home.
    async fn rule_own(&mut self, letter: &Letter) -> Result<(Batch, Vec<Effect>), Reply> {
        let nothing = (Batch::new(), Vec::new());
        let (key, id) = (self.key(), letter.row.request.clone());
        let read = move |tables: &Tables| tables.request(key, &id);
        let asked = self.server.tables.read(read).await?;
        let envelope = asked
            .and_then(|it| it.envelope)
            .and_then(message::envelope_of);
        let words = envelope.and_then(|it| wire::Payload::decode(it.payload).ok()?.kind);
        let Some(wire::payload::Kind::GroupRequest(request)) = words else {
            return Ok(nothing);
        };
        let Ok(actor) = request.actor.parse::<UserId>() else {
            return Ok(nothing);
        };
        match self.request_from(&actor, request).await {
            Ok(done) => Ok(done),
            Err(Unheard::Unavailable(_)) => Err(reply::UNAVAILABLE.into()),
            Err(Unheard::Refused(refusal)) => {
                self.tell_declined(&actor, letter.row.request.as_ref(), refusal.code.text())
                    .await;
                Ok(nothing)
            }
        }
    }
}

/// Something that waits for a home.
enum Waits {
    /// In the outbox.
    Letter(Letter),
    /// The former home took it, and it is not in the log.
    Lost(u32),
}

impl Room {
    /// The home says that another domain follows it, which may be ours.
    /// If we were it, the domains that we told.
    pub(super) fn move_home(&mut self, home: DomainName, epoch: u64) -> Vec<(DomainName, u64)> {
        if self.home.is_none() {
            return self.give_home(&home, epoch);
        }
        if let Some(log) = &mut self.log {
            log.epoch = log.epoch.max(epoch);
        }
        self.home = Some(home);
        self.dirty = true;
        Vec::new()
    }

    /// Another domain orders and rules from here on; the domains that were told so far.
    fn give_home(&mut self, to: &DomainName, epoch: u64) -> Vec<(DomainName, u64)> {
        if let Some(log) = &mut self.log {
            log.epoch = epoch;
            self.begun.get_or_insert((*log, self.head));
        }
        self.fetched = 1;
        self.feed = None;
        self.reading.clear();
        self.fed.clear();
        self.home = Some(to.clone());
        self.dirty = true;
        std::mem::take(&mut self.followers).into_iter().collect()
    }
}

/// In the place of a person where a domain speaks for itself.
pub(crate) fn nobody_of(domain: &DomainName) -> UserId {
    UserId::new([0; 8], domain.clone())
}

/// Every domain that ever was the home, the present one perhaps among them.
fn former_homes(steps: &[LogRow], record: &[u8]) -> BTreeSet<DomainName> {
    let placed = steps
        .iter()
        .filter_map(|it| Position::decode(&it.position).ok());
    let first = GroupRecord::decode(record).ok().map(|it| it.home);
    placed.map(|it| it.home).chain(first).collect()
}

/// Whether somebody is a placeholder for a domain.
pub(super) fn is_nobody(user: &UserId) -> bool {
    *user == nobody_of(user.domain())
}
