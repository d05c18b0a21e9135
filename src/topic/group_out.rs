//! What our people do in a group whose home is another domain: what is theirs to decide happens at once,
//! everything else is asked of the home (PROTOCOL.md section 7.7; rules.md 11, 15 and 19).

use bytes::Bytes;
use freehold_proto::{AccessMode, Destination, DomainName, MessageId, UserId, limits, wire};
use freehold_store::{
    Batch, Tables,
    tables::{
        log::{put_request, remove_request},
        messages::{put_message, put_seen},
        rows::{MessageRow, RequestRow, SeenRow, SpanRow},
    },
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use wire::group_request::What;

use super::{
    Command, TopicName,
    actor::{Actor, Effect},
    asked::{Asked, acs},
    group_transfer::is_nobody,
    group_wire, message, places,
    room::{Description, Room},
    standing::AccessChange,
};
use crate::{
    edge::{
        reply::{self, Reply},
        requests::SetDesc,
    },
    peers::outbox::Refused,
    topic::hub::Hub,
};

/// Of an answer: the domain that decides what was asked.
const PENDING: &str = "pending";

impl Actor {
    /// The group's home, when that is another domain.
    pub(super) fn home_abroad(&self) -> Option<&DomainName> {
        self.topic.room().and_then(|it| it.home.as_ref())
    }

    /// Who is in the group and what they may do is for the home to change: while it cannot be reached
    /// that stays as it is, and whoever asks is told which domain is away.
    pub(super) fn check_home_answers(&self) -> Result<(), Reply> {
        let Some(home) = self.home_abroad() else {
            return Ok(());
        };
        let begun = self.topic.room().map(|it| it.created.as_millis());
        let former = begun.is_some_and(|it| self.server.lives.is_over(home, it));
        if former || !self.server.permits(home) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let federation = self.server.federation.get();
        if federation.is_some_and(|it| it.is_failing(home)) {
            let away = json!({ "away": home.to_string() });
            return Err(Reply::with(reply::UNAVAILABLE, away));
        }
        Ok(())
    }

    /// Queues a request to the home. It is made again until the home has decided it.
    pub(super) fn ask_home(
        &mut self,
        actor: &UserId,
        what: What,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let (key, now) = (self.key(), self.now());
        let (Some(home), TopicName::Group(group)) = (self.home_abroad().cloned(), &self.name)
        else {
            return Err(reply::INTERNAL.into());
        };
        // Whoever goes, goes; there is one such word for each membership.
        let goes = matches!(&what, What::Erase(_)) || matches!(&what, What::Want(it) if it.leaves);
        if !goes && !self.server.outbox.has_room(&home) {
            return Err(reply::UNAVAILABLE.into());
        }
        let id = message::mint(now).map_err(|_| reply::INTERNAL)?;
        let request = wire::payload::Kind::GroupRequest(wire::GroupRequest {
            actor: actor.to_string(),
            what: Some(what),
        });
        let to = Destination::Group(*group);
        let sealed = self.server.signer.seal(to, id, now, request);
        let envelope = sealed.map_err(|_| reply::INTERNAL)?;
        if envelope.payload.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(reply::TOO_LARGE.into());
        }
        let row = RequestRow {
            envelope: Some(message::envelope_row(&envelope)),
        };
        put_request(batch, key, id.as_bytes(), &row);
        let outbox = &self.server.outbox;
        outbox.put_request(batch, &home, (key, actor), id, now);
        effects.push(Effect::WakePeers(vec![home], key));
        Ok(())
    }

    /// Tells the home what somebody wants now.
    pub(super) async fn want_out(
        &mut self,
        user: &UserId,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let profile = self.server.profile(user).await?;
        let profile = profile.map(|it| wire::GroupProfile {
            public: group_wire::modest(it.public),
            public_changed_ms: it.updated.as_millis(),
        });
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let standing = room.members.get(user).ok_or(reply::INTERNAL)?;
        let want = wire::GroupWant {
            want: standing.want.to_string(),
            want_version: standing.want_version,
            leaves: standing.deleted.is_some(),
            profile: profile.filter(|_| standing.deleted.is_none()),
        };
        self.ask_home(user, What::Want(want), batch, effects)
    }

    /// One of our people has another description: members elsewhere hear of it.
    pub(super) async fn profiled(&mut self, user: &UserId) {
        if self.topic.active(user).is_none_or(|it| it.reader) {
            return;
        }
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        if self.home_abroad().is_some() {
            let Ok(Some(profile)) = self.server.profile(user).await else {
                return;
            };
            let profile = What::Profile(wire::GroupProfile {
                public: group_wire::modest(profile.public),
                public_changed_ms: profile.updated.as_millis(),
            });
            if let Err(refusal) = self.ask_home(user, profile, &mut batch, &mut effects) {
                return tracing::warn!(
                    code = refusal.status.code,
                    "a home does not hear of a new description"
                );
            }
        } else {
            effects.push(Effect::Profiled(user.clone()));
        }
        self.commit_all(batch, effects);
    }

    /// Somebody of ours wants to take part in another way.
    pub(super) async fn want_in_copy(
        &mut self,
        user: &UserId,
        mode: &str,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<Vec<AccessChange>, Reply> {
        let now = self.now();
        if self.topic.room().is_some_and(|it| it.is_reader(user)) {
            // Nobody elsewhere knows who reads.
            return Ok(self.room_mut()?.want(user, mode, now)?);
        }
        let change = self.room_mut()?.want_in_copy(user, mode, now)?;
        if change.is_some() {
            self.want_out(user, batch, effects).await?;
        }
        Ok(change.into_iter().collect())
    }

    /// Somebody of ours leaves.
    pub(super) async fn leave_copy(&mut self, asked: &Asked) -> Result<(), Reply> {
        if self
            .topic
            .room()
            .is_some_and(|it| it.is_reader(&asked.user))
        {
            return self.leave_feed(asked).await;
        }
        let now = self.now();
        let change = self.room_mut()?.leave_copy(&asked.user, now)?;
        let (mut batch, mut effects) = (Batch::new(), vec![asked.later(reply::OK, now)]);
        self.want_out(&asked.user, &mut batch, &mut effects).await?;
        let session = Some(&asked.session);
        effects.extend(self.access_effects(session, change.into_iter().collect()));
        self.commit_all(batch, effects);
        Ok(())
    }

    /// What the home would most likely make of a change, or why it would not make it.
    fn tried<T>(
        &self,
        change: impl FnOnce(&mut Room) -> Result<T, reply::Status>,
    ) -> Result<T, Reply> {
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        if room.log.is_none() {
            return Err(reply::UNAVAILABLE.into());
        }
        let outcome = change(&mut room.clone())?;
        self.check_home_answers()?;
        Ok(outcome)
    }

    /// Asks the home to invite somebody, or to change what a member may do.
    pub(super) fn grant_in_copy(
        &mut self,
        asked: &Asked,
        target: &UserId,
        mode: &str,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let (limits, now, actor) = (self.limits(), self.now(), asked.user.clone());
        let change = self.tried(|room| room.grant(&actor, target, mode, None, limits, now))?;
        let Some(change) = change else {
            effects.push(asked.later(reply::NOT_MODIFIED, now));
            return Ok(());
        };
        let grant = wire::GroupGrant {
            user: target.to_string(),
            mode: mode.to_owned(),
        };
        self.ask_home(&asked.user, What::Grant(grant), batch, effects)?;
        let user = self.server.ids.shown(target);
        let params = json!({ "acs": acs(&change), "user": user, PENDING: self.home_abroad().map(ToString::to_string) });
        effects.push(asked.later(Reply::with(reply::OK, params), now));
        Ok(())
    }

    /// Asks the home to remove a member.
    pub(super) fn evict_in_copy(&mut self, asked: &Asked, target: &UserId) -> Result<(), Reply> {
        let now = self.now();
        self.tried(|room| room.evict(&asked.user, target, now))?;
        self.asked_for(asked, What::Evict(target.to_string()))
    }

    /// The owner asks the home to end the group.
    pub(super) fn close_from_copy(&mut self, asked: &Asked) -> Result<(), Reply> {
        let now = self.now();
        self.tried(|room| room.close(&asked.user, now))?;
        self.asked_for(asked, What::Close(true))
    }

    /// Makes a request that is all there is to answer.
    fn asked_for(&mut self, asked: &Asked, what: What) -> Result<(), Reply> {
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        self.ask_home(&asked.user, what, &mut batch, &mut effects)?;
        effects.push(asked.later(self.pending(), self.now()));
        self.commit_all(batch, effects);
        Ok(())
    }

    /// The answer to what the home decides. COMPAT stock clients know no other than that it is done;
    /// `pending` names the domain that has the last word.
    pub(super) fn pending(&self) -> Reply {
        Reply::with(
            reply::OK,
            json!({ PENDING: self.home_abroad().map(ToString::to_string) }),
        )
    }

    /// Asks the home to describe the group otherwise; true when there is something to ask.
    pub(super) fn describe_in_copy(
        &mut self,
        asked: &Asked,
        desc: &SetDesc,
        after: &Description,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        self.check_home_answers()?;
        // Marks are for the administrators of the home to give.
        if desc.trusted.is_some() {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let before = &self.topic.room().ok_or(reply::INTERNAL)?.description;
        let mode = |old: AccessMode, new: AccessMode| (old != new).then(|| new.to_string());
        let describe = wire::GroupDescribe {
            public: (before.public != after.public).then(|| after.public.clone()),
            access_auth: mode(before.access_auth, after.access_auth),
            access_anon: mode(before.access_anon, after.access_anon),
            aux: None,
        };
        self.ask_home(&asked.user, What::Describe(describe), batch, effects)
    }

    /// Asks the home to attach something else: only what changes, so that two changes one after the other
    /// both count. Pins travel by the orders of messages.
    pub(super) async fn attach_in_copy(
        &mut self,
        asked: &Asked,
        change: &Value,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        self.check_home_answers()?;
        let change = Bytes::from(change.to_string());
        let (key, pins) = (self.key(), group_wire::pins(&change));
        let opened = self.topic.room().map_or(0, |it| it.opened);
        let read = move |tables: &Tables| {
            let mut orders = Vec::new();
            for seq in pins {
                let order = places::order_of(tables, key, opened, seq)?;
                orders.extend(order.map(|order| (seq, order)));
            }
            Ok(orders)
        };
        let orders = self.server.tables.read(read).await?;
        let order = |seq| orders.iter().find(|it| it.0 == seq).map(|it| it.1);
        let describe = wire::GroupDescribe {
            aux: Some(group_wire::renumbered(&change, order)),
            ..wire::GroupDescribe::default()
        };
        self.ask_home(&asked.user, What::Describe(describe), batch, effects)
    }

    /// Takes messages from our person's own view at once, and asks the home to take them from
    /// everybody.
    pub(super) async fn delete_in_copy(
        &mut self,
        asked: &Asked,
        spans: Vec<SpanRow>,
    ) -> Result<u32, Reply> {
        self.check_home_answers()?;
        let (key, wanted) = (self.key(), spans.clone());
        let opened = self.topic.room().map_or(0, |it| it.opened);
        let read = move |tables: &Tables| places::orders_of(tables, key, &wanted, opened);
        let orders = self.server.tables.read(read).await?;
        let orders = orders.iter().map(|it| wire::Orders {
            low: it.low,
            high: it.high,
        });
        let delete = wire::GroupDelete {
            orders: orders.take(super::deletion::SPANS_MAX).collect(),
        };
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        if !delete.orders.is_empty() {
            self.ask_home(&asked.user, What::Delete(delete), &mut batch, &mut effects)?;
            self.commit_all(batch, effects);
        }
        let done = self.delete_spans(&asked.user, false, spans).await?;
        done.ok_or_else(|| reply::PERMISSION_DENIED.into())
    }

    /// The home does not place a message of ours: it is gone here too, and its author keeps it among
    /// the notes to self, with the reason (rules.md 11).
    pub(super) async fn not_placed(
        &mut self,
        seq: u32,
        reason: &str,
        refused: Option<&Refused>,
        done: oneshot::Sender<()>,
    ) {
        let key = self.key();
        let read =
            move |tables: &Tables| Ok((tables.message(key, seq)?, tables.order_at(key, seq)?));
        // Dropping `done` says that nothing was decided.
        let Ok((original, order)) = self.server.tables.read(read).await else {
            return;
        };
        // Another home may have placed it meanwhile.
        let placed = order.is_some_and(|it| it.0 == seq);
        let original = original.filter(|it| it.deleted == 0 && !placed);
        let author = original
            .as_ref()
            .and_then(|it| it.author.parse::<UserId>().ok());
        if let (Some(original), Some(author)) = (original, author) {
            let (head, content) = message::words_of(&original);
            let note = self.note_of(reason, &head, &content);
            let id = note_id(&original.message_id);
            if !self.keep_for(&author, id, note).await {
                return;
            }
            let span = SpanRow {
                low: seq,
                high: seq.saturating_add(1),
            };
            let finished = self.finish_commits().await.is_ok();
            let deleted = self.delete_spans(&author, true, vec![span]).await;
            if !finished || deleted.is_err() {
                return self.read_again();
            }
        }
        if let Ok(room) = self.room_mut() {
            room.unplaced.remove(&seq);
        }
        let mut batch = Batch::new();
        if let Some(refused) = refused {
            refused.remove(&mut batch, key);
        }
        self.commit(batch, vec![Effect::Told(done)]);
    }

    /// The home does not do what one of our people asked: they are told in their notes to self.
    pub(super) async fn declined(
        &mut self,
        id: MessageId,
        actor: &UserId,
        reason: &str,
        refused: &Refused,
        done: oneshot::Sender<()>,
    ) {
        let reason = match self.topic.pair() {
            // Between two people only deletions are asked for.
            Some(_) => &format!("what you deleted stays there: {reason}"),
            None => reason,
        };
        if !self.tell_declined(actor, id.as_bytes(), reason).await {
            return;
        }
        let key = self.key();
        let read = move |tables: &Tables| {
            let mut batch = Batch::new();
            remove_request(tables, &mut batch, key, id.as_bytes())?;
            Ok(batch)
        };
        let Ok(mut batch) = self.server.tables.read(read).await else {
            return;
        };
        refused.remove(&mut batch, key);
        self.commit(batch, vec![Effect::Told(done)]);
    }

    /// Tells somebody of ours that what they asked is not done; false when that is not certain.
    pub(super) async fn tell_declined(&mut self, actor: &UserId, id: &[u8], reason: &str) -> bool {
        let text = format!("In {}: {reason}.", self.title());
        let note = (
            Bytes::from(json!({ "auto": true }).to_string()),
            Bytes::from(json!(text).to_string()),
        );
        let waited = self.fail_joins(actor, reply::PERMISSION_DENIED);
        waited || is_nobody(actor) || self.keep_for(actor, note_id(id), note).await
    }

    fn title(&self) -> String {
        if let Some(abroad) = self.topic.pair().and_then(|it| it.foreigner()) {
            return format!("your chat with {}", abroad.id);
        }
        let room = self.topic.room();
        let title = room.map(|it| group_wire::title(&it.description.public));
        title
            .filter(|it| !it.is_empty())
            .unwrap_or_else(|| "a group".to_owned())
    }

    /// A refused message as its author keeps it: the reason, and the words as they were. What is more
    /// than text cannot be quoted, so it stands alone with the reason in its head.
    fn note_of(&self, reason: &str, head: &Bytes, content: &Bytes) -> (Bytes, Bytes) {
        let mut head: crate::edge::ids::Head = serde_json::from_slice(head).unwrap_or_default();
        head.insert("auto".to_owned(), json!(true));
        head.insert("fh-refused".to_owned(), json!(reason));
        let content = match serde_json::from_slice::<String>(content) {
            Ok(text) => {
                let why = format!("Not delivered to {}: {reason}.", self.title());
                Bytes::from(json!(format!("{why}\n{text}")).to_string())
            }
            Err(_) => content.clone(),
        };
        (message::head_bytes(&head), content)
    }

    /// Has somebody's notes to self keep something; false when that is not certain.
    async fn keep_for(&self, owner: &UserId, id: MessageId, note: (Bytes, Bytes)) -> bool {
        let (done, kept) = oneshot::channel();
        let name = TopicName::Saved(owner.clone());
        let command = Command::Keep { id, note, done };
        Hub::send(&self.server, &name, command).await;
        kept.await.is_ok()
    }

    /// Keeps something in these notes to self, once.
    pub(super) async fn keep(
        &mut self,
        id: MessageId,
        (head, content): (Bytes, Bytes),
        done: oneshot::Sender<()>,
    ) {
        let TopicName::Saved(owner) = self.name.clone() else {
            return;
        };
        let us = self.server.us.clone();
        let read = move |tables: &Tables| tables.seen(&us, id);
        let Ok(seen) = self.server.tables.read(read).await else {
            return;
        };
        if seen.is_some() {
            return self.commit(Batch::new(), vec![Effect::Told(done)]);
        }
        let (key, now) = (self.key(), self.now());
        let Ok(room) = self.room_mut() else { return };
        let mut effects = Vec::new();
        if room.active(&owner).is_none() {
            let change = room.found(&owner, AccessMode::NONE, now);
            effects.push(Effect::Access(change, None));
        }
        let seq = room.append(now);
        let row = MessageRow {
            author: owner.to_string(),
            message_id: Bytes::copy_from_slice(id.as_bytes()),
            issued: now.as_millis(),
            received: now.as_millis(),
            head,
            content,
            ..MessageRow::default()
        };
        let mark = SeenRow {
            header_hash: Bytes::copy_from_slice(id.as_bytes()),
            topic: Bytes::copy_from_slice(key.as_bytes()),
            seq,
            at: now.as_millis(),
            ..SeenRow::default()
        };
        let mut batch = Batch::new();
        put_message(&mut batch, key, seq, &row);
        put_seen(&mut batch, &self.server.us, id, &mark);
        effects.push(Effect::Appended {
            seq,
            row: Box::new(row),
            author: owner,
            except: None,
        });
        effects.push(Effect::Told(done));
        self.commit_all(batch, effects);
    }
}

/// The id of a note about something with an id: the same each time.
fn note_id(about: &[u8]) -> MessageId {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"freehold/note/v1\0")
        .chain_update(about)
        .finalize()
        .into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    MessageId::from_bytes(id)
}
