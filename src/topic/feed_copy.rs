//! A channel whose home is another domain, where nobody of ours is a member: its readers here, and the
//! copy of its feed that they read (PROTOCOL.md section 7.11; rules.md 22).
//!
//! The room is one like that of a group's copy, without members; `feed` is its log. Once somebody of ours
//! takes part the group's own log is here (`group_replica`), and readers are served from that.

use std::sync::Arc;

use bytes::Bytes;
use freehold_federation::{Federation, GroupAnswer, GroupQuery, Verdict};
use freehold_keys::{Entry, OpenedPosition};
use freehold_proto::{
    DomainName, GroupId, GroupRecord, MessageId, Refusal, RefusalCode, Timestamp, UserId, wire,
    wire::payload::Kind,
};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        log::{extend_log, put_log_entry, put_log_tip, put_place, remove_place},
        messages::{put_message, put_seen},
        rows::{LogRow, MessageRow, PlaceRow, SeenRow},
    },
};
use tokio::{sync::oneshot, time::timeout};

use super::{
    Command, TopicName,
    actor::{Actor, Effect},
    asked::Asked,
    command::{ChannelShown, Decision},
    group_home::nobody,
    group_replica::{Judged, MISSING_RETRY, NOBODYS, forked, not_home},
    group_wire,
    hub::Hub,
    log::{Admission, Log},
    message, places,
    room::{Room, RoomKind},
    succession,
};
use crate::{
    edge::{
        reply::{self, Reply, Status},
        requests::GetQuery,
    },
    files::{Attached, Referrer},
    server::{REMOTE_WAIT, Server},
};

/// The last messages of a home that was, of which the next one may not know.
const UNPLACED_MAX: usize = 1000;

/// Makes a channel known here that lives at another domain, by asking that domain once.
pub(crate) async fn meet(
    server: &Arc<Server>,
    group: GroupId,
    home: &DomainName,
) -> Result<(), Status> {
    let key = TopicKey::group(&group);
    let read = move |tables: &Tables| tables.room(key);
    let known = server.tables.read(read).await;
    let known = known.map_err(|_| reply::UNAVAILABLE)?;
    let settled = known.as_ref().is_some_and(|it| {
        let lives_there = it.home == home.as_str() || it.home.is_empty();
        lives_there || it.epoch > 0
    });
    if settled {
        return Ok(());
    }
    if !server.permits(home) {
        return Err(reply::PERMISSION_DENIED);
    }
    let asked = timeout(REMOTE_WAIT, read_channel(server, home, group)).await;
    let shown = match asked.unwrap_or(Err(reply::UNAVAILABLE)) {
        Ok(Some(shown)) => shown,
        // It has moved from there; where it is now was known.
        _ if known.is_some() => return Ok(()),
        Ok(None) => return Err(reply::TOPIC_NOT_FOUND),
        Err(away) => return Err(away),
    };
    let (done, told) = oneshot::channel();
    let shown = ChannelShown {
        done: Some(done),
        ..shown
    };
    let command = Command::Channel(Some(Box::new(shown)));
    Hub::send(server, &TopicName::Group(group), command).await;
    told.await.map_err(|_| reply::TOPIC_NOT_FOUND)
}

/// Reads how a channel stands at its home, or at the one that followed, if the domain that is asked says so.
/// `None`: there is none with that id.
async fn read_channel(
    server: &Server,
    home: &DomainName,
    group: GroupId,
) -> Result<Option<ChannelShown>, Status> {
    let Some(shown) = ask_channel(server, home, group).await? else {
        return Ok(None);
    };
    match shown.home_by_record(group) {
        Ok(Some(next)) if next != *home && next != server.us && server.permits(&next) => {
            ask_channel(server, &next, group).await
        }
        _ => Ok(Some(shown)),
    }
}

async fn ask_channel(
    server: &Server,
    home: &DomainName,
    group: GroupId,
) -> Result<Option<ChannelShown>, Status> {
    let federation = server.federation.get().ok_or(reply::UNAVAILABLE)?;
    let answer = federation
        .read_group(home, group, GroupQuery::Channel)
        .await;
    let (head, state) = match answer {
        Ok(Some(GroupAnswer::Channel { head, state })) => (head, state),
        Ok(_) => return Ok(None),
        Err(error) => {
            tracing::debug!(peer = %home, %error, "no answer to how a channel stands");
            return Err(reply::UNAVAILABLE);
        }
    };
    let Some(steps) = verified_steps(federation, home, &state.succession).await? else {
        return Ok(None);
    };
    Ok(Some(ChannelShown {
        home: home.clone(),
        head: head.map(|it| *it),
        state: *state,
        steps,
        done: None,
    }))
}

/// Opens the entries by which a home shows that it is it. `None`: one is not whole.
pub(super) async fn verified_steps(
    federation: &Federation,
    home: &DomainName,
    entries: &[wire::LogEntry],
) -> Result<Option<Vec<Entry>>, Status> {
    let mut steps = Vec::new();
    for step in entries.iter().take(succession::STEPS_MAX) {
        let placed = step.placed.clone().and_then(|it| it.try_into().ok());
        let envelope = step.envelope.clone().and_then(|it| it.try_into().ok());
        let Some((placed, envelope)) = placed.zip(envelope) else {
            return Ok(None);
        };
        let opened = federation.open_entry(home, placed, envelope).await;
        steps.push(opened.map_err(|_| reply::UNAVAILABLE)?);
    }
    Ok(Some(steps))
}

/// Reads what is missing of a feed behind an entry, and whether there is more.
async fn read_feed(
    server: &Server,
    home: &DomainName,
    group: GroupId,
    after: u64,
) -> Option<(Vec<Entry>, bool)> {
    let federation = server.federation.get()?;
    let query = GroupQuery::FeedAfter(after);
    match federation.read_group(home, group, query).await {
        Ok(Some(GroupAnswer::Page(entries, _, more))) => Some((entries, more)),
        answer => {
            tracing::debug!(peer = %home, ?answer, "no answer to what is missing of a feed");
            None
        }
    }
}

/// What a search shows of a channel elsewhere.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ChannelCard {
    /// Which.
    pub(crate) group: GroupId,
    /// Where it lives.
    pub(crate) home: DomainName,
    /// Public description, JSON.
    pub(crate) public: Bytes,
    /// When that last changed.
    pub(crate) updated: Timestamp,
    /// How many read it.
    pub(crate) readers: u32,
}

/// Asks a domain for a channel that is said to live there; nothing where there is none, or where the domain
/// does not answer in time.
pub(crate) async fn look_up(
    server: &Server,
    group: GroupId,
    home: &DomainName,
) -> Option<ChannelCard> {
    if !server.permits(home) {
        return None;
    }
    let asked = timeout(REMOTE_WAIT, read_channel(server, home, group)).await;
    let shown = asked.ok()?.ok()??;
    let lives_there = shown.home_by_record(group).ok()?.as_ref() == Some(&shown.home);
    let home = shown.home;
    let seen = shown.state.description.filter(|_| lives_there)?;
    let described = group_wire::read_description(&seen).ok()?;
    Some(ChannelCard {
        group,
        home,
        public: described.public,
        updated: Timestamp::from_stored(seen.updated_ms),
        readers: shown.state.readers,
    })
}

/// Where an item stands that came before, whichever home it came from. Blocks.
pub(super) fn shown_before(
    tables: &Tables,
    key: TopicKey,
    id: MessageId,
) -> Result<Option<u32>, StoreError> {
    let Ok(nobody) = NOBODYS.parse() else {
        return Ok(None);
    };
    let seen = tables.seen(&nobody, id)?;
    let seen = seen.filter(|it| TopicKey::from_slice(&it.topic) == Some(key));
    Ok(seen.map(|it| it.seq).filter(|it| *it > 0))
}

/// Notes where it stands, as long as a home may place it again.
pub(super) fn note_shown(
    batch: &mut Batch,
    key: TopicKey,
    id: MessageId,
    seq: u32,
    now: Timestamp,
) {
    let Ok(nobody) = NOBODYS.parse() else { return };
    let row = SeenRow {
        topic: Bytes::copy_from_slice(key.as_bytes()),
        seq,
        at: now.as_millis(),
        ..SeenRow::default()
    };
    put_seen(batch, &nobody, id, &row);
}

impl ChannelShown {
    /// The home that follows from the create record and how it moved since; a refusal of what is no channel
    /// with that id.
    fn home_by_record(&self, group: GroupId) -> Result<Option<DomainName>, Refusal> {
        let state = &self.state;
        if state.signature.len() != 64 || state.record.len() > 512 {
            return Err(Refusal::new(RefusalCode::Malformed, "a create record"));
        }
        let record = GroupRecord::decode(&state.record)?;
        let is_channel = state.description.as_ref().is_some_and(|it| it.channel);
        if GroupId::of_record(&state.record) != group || !is_channel {
            return Err(nobody());
        }
        Ok(succession::home_after(&record.home, group, &self.steps).ok())
    }
}

impl Room {
    /// True where readers are served from the feed of another domain, having nothing better.
    pub(super) fn reads_feed(&self, us: &DomainName) -> bool {
        let copy = self.log.is_some() && self.takes_part(us);
        self.home.is_some() && self.kind == RoomKind::Channel && !copy
    }
}

impl Actor {
    /// Somebody of ours reads a channel whose home is another domain.
    pub(super) async fn read_copy(
        &mut self,
        asked: &Asked,
        mode: &str,
        private: Option<Bytes>,
        get: &GetQuery,
    ) -> Result<(), Reply> {
        let now = self.now();
        let change = self.room_mut()?.read_channel(&asked.user, mode, now)?;
        if let Some(private) = private {
            self.topic.annotate(&asked.user, private, now)?;
        }
        let (mut batch, mut more) = (Batch::new(), Vec::new());
        if change.as_ref().is_some_and(|it| it.fresh) {
            more = self.tell_readers(&mut batch).await?;
        }
        let changes = change.into_iter().collect();
        self.enter(asked, get, changes, None, (batch, more)).await?;
        // What a restart interrupted, or the home did not show when it was asked. To a home without a link
        // one is made: so it is noticed when it is away.
        let begun = self.topic.room().is_some_and(|it| it.begun.is_some());
        let federation = self.server.federation.get();
        let linked =
            |it: &DomainName| federation.is_some_and(|federation| federation.is_linked(it));
        let home = self.home_abroad().cloned();
        match home.filter(|it| !begun || !linked(it)) {
            Some(home) => self.pull_feed(&home),
            None => self.fetch_past(),
        }
        Ok(())
    }

    /// A reader of ours leaves.
    pub(super) async fn leave_feed(&mut self, asked: &Asked) -> Result<(), Reply> {
        let now = self.now();
        let change = self.room_mut()?.leave(&asked.user, now)?;
        let (mut batch, mut effects) = (Batch::new(), vec![asked.later(reply::OK, now)]);
        effects.extend(self.tell_readers(&mut batch).await?);
        effects.extend(self.access_effects(Some(&asked.session), vec![change]));
        self.commit_all(batch, effects);
        Ok(())
    }

    /// The account of a reader of ours is gone.
    pub(super) async fn erase_reader(&mut self, user: &UserId) -> Result<(), Reply> {
        let now = self.now();
        let change = self.room_mut()?.abandon(user, now);
        let mut batch = Batch::new();
        let mut effects = self.tell_readers(&mut batch).await?;
        effects.extend(self.access_effects(None, vec![change]));
        self.commit_all(batch, effects);
        Ok(())
    }

    /// Another number of our people reads the channel, or it has another home: the home hears how many.
    pub(super) async fn tell_readers(&self, batch: &mut Batch) -> Result<Vec<Effect>, Reply> {
        let is_channel = |it: &&Room| it.kind == RoomKind::Channel;
        let room = self.topic.room().filter(is_channel);
        let home = room.and_then(|it| it.home.clone());
        let Some(home) = home.filter(|it| *it != self.server.us) else {
            return Ok(Vec::new());
        };
        let (key, now) = (self.key(), self.now());
        self.server.outbox.prepare(&home).await?;
        self.server.outbox.put_readers(batch, &home, key, now);
        Ok(vec![Effect::WakePeers(vec![home], key)])
    }

    /// The home has said how the channel stands, or has not.
    pub(super) async fn take_channel(&mut self, shown: Option<Box<ChannelShown>>) {
        self.pulled();
        let Some(shown) = shown else { return };
        if let Err(refusal) = self.check_channel(&shown) {
            tracing::warn!(peer = %shown.home, %refusal, fault = "peer", "a channel is not taken from there");
            return;
        }
        if let Err(reply) = self.begin_feed(*shown).await {
            tracing::warn!(
                code = reply.status.code,
                "the copy of a channel did not begin"
            );
            self.read_again();
        }
    }

    /// Only the home shows a channel: to whom does not know it, the one in its create record, or the one
    /// that followed by right.
    fn check_channel(&self, shown: &ChannelShown) -> Result<(), Refusal> {
        let TopicName::Group(group) = self.name else {
            return Err(nobody());
        };
        if shown.home_by_record(group)?.as_ref() != Some(&shown.home) {
            return Err(not_home());
        }
        let room = self.topic.room().filter(|_| self.is_stored());
        // What we know ourselves we are not told.
        if room.is_some_and(|it| it.deleted.is_some() || !it.reads_feed(&self.server.us)) {
            return Err(nobody());
        }
        let same = |it: &Room| it.home.as_ref() == Some(&shown.home);
        // A former home shows a shorter way.
        let further = |it: &Room| shown.steps.len() > it.succession.len();
        match room.is_none_or(|it| same(it) || further(it)) {
            true => Ok(()),
            false => Err(not_home()),
        }
    }

    async fn begin_feed(&mut self, shown: ChannelShown) -> Result<(), Reply> {
        let ChannelShown {
            home,
            head,
            state,
            steps,
            done,
        } = shown;
        self.server.outbox.prepare(&home).await?;
        self.finish_commits().await?;
        if !self.is_stored() {
            self.found_channel(&home, &state);
            if let Some(done) = done {
                let _gone = done.send(());
            }
            return Ok(());
        }
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        let known = self.topic.room().map_or(0, |it| it.succession.len());
        let moved = steps.get(known..).unwrap_or_default().iter();
        if let Some(order) = moved.map(|it| it.position.order).min() {
            self.unplace_above(order).await?;
        }
        let room = self.room_mut()?;
        room.succession = group_wire::step_rows(&state.succession);
        let unread = room.readers_count == 0;
        if room.home.as_ref() != Some(&home) {
            tracing::info!(%home, "a channel has another home");
            room.home = Some(home);
            room.feed = None;
            room.dirty = true;
            effects = self.tell_readers(&mut batch).await?;
        }
        let room = self.room_mut()?;
        let begins = room.feed.is_none() && !unread;
        if let Some(head) = head.filter(|_| begins) {
            self.begin_behind(&head, &mut batch).await?;
            // Whoever found it before anybody read it kept none of its files.
            self.show_files(&mut batch, &mut effects).await?;
        }
        if let Some(seen) = &state.description {
            self.describe_copy(seen, &mut batch, &mut effects).await?;
        }
        effects.extend(done.map(Effect::Told));
        self.commit_all(batch, effects);
        self.fetch_past();
        Ok(())
    }

    /// A channel that somebody of ours has found. Nothing of it is written until somebody reads it: who does
    /// not come back soon asks its home again.
    fn found_channel(&mut self, home: &DomainName, state: &wire::GroupState) {
        let TopicName::Group(group) = self.name else {
            return;
        };
        let mut room = Room::new(RoomKind::Channel, Some(group), self.now());
        room.home = Some(home.clone());
        room.record = (state.record.clone(), state.signature.clone());
        room.succession = group_wire::step_rows(&state.succession);
        if let Some(created) = state.description.as_ref().map(|it| it.created_ms) {
            room.created = Timestamp::from_stored(created);
        }
        let seen = state.description.as_ref();
        if let Some(Ok(described)) = seen.map(group_wire::read_description) {
            room.describe(described, self.now());
        }
        room.dirty = false;
        self.set_room(room);
    }

    /// A home took over behind this order: what stands above it has no order, until it is placed again.
    async fn unplace_above(&mut self, order: u32) -> Result<(), Reply> {
        let (key, mut batch) = (self.key(), Batch::new());
        let read = move |tables: &Tables| tables.places_before(key, u32::MAX, UNPLACED_MAX);
        let placed = self.server.tables.read(read).await?;
        for place in placed.iter().take_while(|it| it.order > order) {
            remove_place(&mut batch, key, *place);
        }
        let room = self.room_mut()?;
        room.opened = room.opened.min(order);
        room.dirty = true;
        self.commit_now(batch).await.map(drop)
    }

    /// The copy of the feed begins behind this entry; what was written before is fetched as history,
    /// under the home's numbers.
    async fn begin_behind(
        &mut self,
        head: &OpenedPosition,
        batch: &mut Batch,
    ) -> Result<(), Reply> {
        let mut log = Log::opened(0);
        log.advance(&head.position, &head.placed);
        let (topic, key) = (self.key(), self.key().feed());
        let read = move |tables: &Tables| tables.places_before(topic, u32::MAX, 1);
        let last = self.server.tables.read(read).await?;
        let room = self.room_mut()?;
        if room.begun.is_none() {
            room.opened = log.order;
        }
        // What a home that was had placed keeps its position: for so many more there must be room.
        let placed = last.first().map_or(0, |it| it.seq).max(room.opened);
        let unplaced = room.head.saturating_sub(placed);
        room.head = room.head.max(log.order.saturating_add(unplaced));
        room.begun = Some((log, room.head));
        room.fetched = 0;
        room.feed = Some(log);
        room.dirty = true;
        put_log_tip(batch, key, log.index);
        Ok(())
    }

    /// Takes the next entry of a channel's feed from its home.
    pub(super) async fn take_feed(
        &mut self,
        origin: &DomainName,
        entry: Entry,
        decision: Decision,
    ) {
        let index = entry.position.index;
        let verdict = match self.judge_feed(&entry).await {
            Ok(Judged::Next) => {
                return match self.apply_feed(entry).await {
                    Ok((batch, effects)) => self.decide(batch, effects, decision, Verdict::Ok),
                    Err(reply) => self.undecided(decision, &reply),
                };
            }
            Ok(Judged::Known) => Verdict::Duplicate,
            Ok(Judged::Missing) => {
                self.pull_feed(origin);
                Verdict::Later {
                    code: RefusalCode::EntriesMissing,
                    retry_after: MISSING_RETRY,
                }
            }
            Ok(Judged::Refused(refusal)) => Verdict::Refused(refusal),
            Err(reply) => return self.undecided(decision, &reply),
        };
        tracing::debug!(peer = %origin, index, ?verdict, "an entry of a feed is not taken");
        self.decide(Batch::new(), Vec::new(), decision, verdict);
    }

    /// What becomes of an entry of the feed.
    async fn judge_feed(&mut self, entry: &Entry) -> Result<Judged, Reply> {
        let room = self.topic.room().filter(|_| self.is_stored());
        let Some(room) = room.filter(|it| it.kind == RoomKind::Channel) else {
            return Ok(Judged::Refused(nobody()));
        };
        let Some(home) = room.home.clone().filter(|it| *it == entry.position.home) else {
            return Ok(Judged::Refused(not_home()));
        };
        // An ended channel, one that nobody here reads, or one of which there is a copy.
        let unread = room.readers_count == 0 || !room.reads_feed(&self.server.us);
        if room.deleted.is_some() || unread {
            return Ok(Judged::Known);
        }
        let Some(feed) = room.feed else {
            return Ok(Judged::Missing);
        };
        let admission = feed.admit(&entry.position);
        let follows = matches!(admission, Admission::Message | Admission::Change);
        if entry.position.epoch > feed.epoch && !follows {
            // The home has lost some of it and goes on: the copy begins anew.
            let room = self.room_mut()?;
            room.feed = None;
            room.dirty = true;
            return Ok(Judged::Missing);
        }
        Ok(match admission {
            Admission::Message | Admission::Change => Judged::Next,
            Admission::Missing => Judged::Missing,
            Admission::Forked(why) => Judged::Refused(forked(&home, why)),
            Admission::Known => self.compare_feed(&home, entry).await?,
        })
    }

    /// An entry that came before must be the same again.
    async fn compare_feed(&mut self, home: &DomainName, entry: &Entry) -> Result<Judged, Reply> {
        let (key, index) = (self.key().feed(), entry.position.index);
        let begun = self.topic.room().and_then(|it| it.begun);
        // What stands before the copy began is of another feed.
        if begun.is_some_and(|(log, _)| index <= log.index) {
            return Ok(Judged::Known);
        }
        // It may have come a moment ago, in the same batch.
        self.finish_commits().await?;
        let read = move |tables: &Tables| tables.log_entry(key, index);
        let stored = self.server.tables.read(read).await?;
        Ok(match stored {
            Some(it) if it.position != entry.placed.position => {
                let why = "another entry of the feed stood at this index";
                Judged::Refused(forked(home, why))
            }
            _ => Judged::Known,
        })
    }

    /// What the next entry means here. Its words are in the message; of the entry only the position stays.
    async fn apply_feed(&mut self, entry: Entry) -> Result<(Batch, Vec<Effect>), Reply> {
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        let feed = self.topic.room().and_then(|it| it.feed);
        let feed = feed.ok_or(reply::INTERNAL)?;
        let is_message = entry.position.order > feed.order;
        let own = entry.header.from == entry.position.home;
        let item = match &entry.payload {
            Some(Kind::FeedItem(item)) if own => Some(item.clone()),
            _ => None,
        };
        let mut row = LogRow {
            position: entry.placed.position.clone(),
            signature: Bytes::copy_from_slice(&entry.placed.signature),
            ..LogRow::default()
        };
        let mut next = None;
        match item {
            Some(item) if is_message => {
                let shown = self.show_item(&entry, item, &mut batch, &mut effects);
                row.seq = shown.await?.unwrap_or_default();
            }
            Some(item) => {
                next = item.next_home.parse::<DomainName>().ok();
                self.apply_item(&item, &mut batch, &mut effects).await?;
            }
            None => {}
        }
        let (key, index) = (self.key().feed(), entry.position.index);
        put_log_entry(&mut batch, key, index, &row);
        extend_log(&mut batch, key, feed.index, index);
        if let Some(feed) = &mut self.room_mut()?.feed {
            feed.advance(&entry.position, &entry.placed);
        }
        if let Some(next) = next {
            self.follow_feed(next, &mut batch, &mut effects).await?;
        }
        Ok((batch, effects))
    }

    /// A message takes the next position here, unless it has one: it came while this domain had a copy.
    /// What cannot be shown takes none.
    async fn show_item(
        &mut self,
        entry: &Entry,
        item: wire::FeedItem,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<u32>, Reply> {
        let sense = message::makes_sense(&item.head, &item.content).is_ok()
            && Attached::read(&item.attachments).is_ok();
        if !sense {
            return Ok(None);
        }
        let (key, now, order) = (self.key(), self.now(), entry.position.order);
        let opened = self.topic.room().map_or(0, |it| it.opened);
        let id = entry.header.message_id;
        let read = move |tables: &Tables| {
            let placed = places::seq_of(tables, key, opened, order)?;
            Ok((placed, shown_before(tables, key, id)?))
        };
        let place = |seq| PlaceRow {
            order,
            // Of the log of the group it has no index here.
            index: 0,
            seq,
        };
        match self.server.tables.read(read).await? {
            (Some(seq), _) => return Ok(Some(seq)),
            // A home that was had placed it, and the present one has placed it again.
            (None, Some(seq)) => {
                put_place(batch, key, place(seq));
                return Ok(Some(seq));
            }
            (None, None) => {}
        }
        let held = self.hold_attached(&item.attachments, &entry.header.from);
        let held = held.await?;
        let author = self.somebody().map_err(|_| reply::INTERNAL)?;
        let seq = self.room_mut()?.append(now);
        let row = MessageRow {
            message_id: Bytes::copy_from_slice(entry.header.message_id.as_bytes()),
            issued: entry.header.issued_at.as_millis(),
            received: now.as_millis(),
            head: item.head,
            content: item.content,
            ..MessageRow::default()
        };
        put_message(batch, key, seq, &row);
        put_place(batch, key, place(seq));
        note_shown(batch, key, id, seq, now);
        held.refer(batch, &Referrer::Message(key, seq), true);
        effects.push(Effect::Referred(held));
        effects.push(Effect::Appended {
            seq,
            row: Box::new(row),
            author,
            except: None,
        });
        Ok(Some(seq))
    }

    async fn apply_item(
        &mut self,
        item: &wire::FeedItem,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let actor = self.somebody().map_err(|_| reply::INTERNAL)?;
        if let Some(seen) = &item.description {
            self.describe_copy(seen, batch, effects).await?;
        }
        self.delete_orders(&actor, &item.deleted).await?;
        if item.closed {
            self.close_copy(&actor, batch, effects).await?;
        }
        Ok(())
    }

    /// The home has said who is the next one, which begins a feed of its own.
    async fn follow_feed(
        &mut self,
        next: DomainName,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        if next == self.server.us {
            return Ok(());
        }
        let room = self.room_mut()?;
        room.home = Some(next.clone());
        room.feed = None;
        room.dirty = true;
        effects.extend(self.tell_readers(batch).await?);
        self.pull_feed(&next);
        Ok(())
    }

    /// Asks the home for what is missing, once at a time.
    fn pull_feed(&mut self, home: &DomainName) {
        let room = self
            .topic
            .room()
            .filter(|it| it.reads_feed(&self.server.us));
        let (Some(room), TopicName::Group(group)) = (room, self.name.clone()) else {
            return;
        };
        let (after, home) = (room.feed.map(|it| it.index), home.clone());
        if !self.begin_pull() {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        self.server.tasks.spawn("feed pull", async move {
            let command = match after {
                Some(after) => Command::FeedMissed(read_feed(&server, &home, group, after).await),
                None => match read_channel(&server, &home, group).await {
                    Ok(Some(shown)) => Command::Channel(Some(Box::new(shown))),
                    Ok(None) => Command::ChannelGone,
                    Err(_) => Command::Channel(None),
                },
            };
            Hub::send(&server, &name, command).await;
        });
    }

    /// The channel ended before anything of it came: what was found is no channel any more.
    pub(super) async fn channel_gone(&mut self) {
        self.pulled();
        let none = |it: &Room| it.deleted.is_none() && it.begun.is_none();
        let ends = self.topic.room().is_some_and(none) && self.is_stored();
        let Ok(actor) = self.somebody() else { return };
        if !ends {
            return;
        }
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        match self.close_copy(&actor, &mut batch, &mut effects).await {
            Ok(()) => self.commit_all(batch, effects),
            Err(_) => self.read_again(),
        }
    }

    /// Asks the successors of a home that is away, as far as their names are known, whether one has followed
    /// it.
    pub(super) fn seek_home(&mut self) {
        let reads = |it: &&Room| it.deleted.is_none() && it.reads_feed(&self.server.us);
        let Some(room) = self.topic.room().filter(reads) else {
            return;
        };
        let (Some(group), Some(gone)) = (room.group, room.home.clone()) else {
            return;
        };
        let successors = succession::wishes(&room.description.aux).successors;
        if !self.begin_pull() {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        self.server.tasks.spawn("feed home", async move {
            let mut found = None;
            for successor in successors.iter().filter(|it| **it != gone) {
                let shown = read_channel(&server, successor, group).await;
                let shown = shown.ok().flatten();
                let follows = |it: &ChannelShown| {
                    it.home != gone
                        && it.home_by_record(group).ok().flatten() == Some(it.home.clone())
                };
                found = shown.filter(follows);
                if found.is_some() {
                    break;
                }
            }
            let command = Command::Channel(found.map(Box::new));
            Hub::send(&server, &name, command).await;
        });
    }

    /// Entries of the feed that were missing have come, or none; whether there are more.
    pub(super) async fn take_missed_feed(&mut self, page: Option<(Vec<Entry>, bool)>) {
        self.pulled();
        let Some((entries, more)) = page else { return };
        let before = self.topic.room().and_then(|it| it.feed);
        for entry in entries {
            if !matches!(self.judge_feed(&entry).await, Ok(Judged::Next)) {
                continue;
            }
            match self.apply_feed(entry).await {
                Ok((batch, effects)) => self.commit_all(batch, effects),
                Err(_) => return self.read_again(),
            }
            if self.is_stale() {
                return;
            }
        }
        let after = self.topic.room().and_then(|it| it.feed);
        if let Some(home) = self.home_abroad().filter(|_| more && before != after) {
            self.pull_feed(&home.clone());
        }
    }
}
