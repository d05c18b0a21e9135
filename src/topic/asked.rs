//! What our clients may do in a topic of any kind: publish, change, report; and where the rest of
//! their requests goes.

use bytes::Bytes;
use freehold_proto::{
    AccessMode, Destination, DomainName, MessageId, Timestamp, UserId, limits, wire,
};
use freehold_store::{
    Batch,
    tables::{
        messages::{put_message, put_seen},
        rows::{MessageRow, SeenRow},
    },
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    TopicRequest,
    actor::{Actor, Effect},
    call,
    message::{self, Draft},
    sent::Request,
    standing::AccessChange,
};
use crate::{
    accounts::Level,
    edge::{
        frames::Access,
        reply::{self, Reply},
        requests::{SetDesc, SetQuery},
        session::Session,
    },
    files::{HELD_MAX, Held, Referrer, files_of_card},
    merge,
};

/// Above so many members nobody is told who is typing.
const TYPING_MEMBERS_MAX: usize = 100;

/// Who asks, and how to answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) session: Session,
    pub(super) user: UserId,
    pub(super) level: Level,
    /// An administrator asks, for themselves or for somebody else.
    pub(super) admin: bool,
    pub(super) id: Option<String>,
    /// The topic as the client named it.
    pub(super) name: String,
}

impl Asked {
    /// Answers at once. Notes have no id and get no answer.
    pub(super) fn answer(self, reply: impl Into<Reply>, now: Timestamp) {
        if self.id.is_some() {
            self.session
                .send(&reply.into().into_frame(self.id, Some(self.name), now));
        }
    }

    /// Answers once what goes before is durable.
    pub(super) fn later(&self, reply: impl Into<Reply>, now: Timestamp) -> Effect {
        let frame = reply
            .into()
            .into_frame(self.id.clone(), Some(self.name.clone()), now);
        Effect::Reply(self.session.clone(), vec![frame])
    }
}

/// Access in an answer.
pub(super) fn acs(change: &AccessChange) -> Value {
    json!(Access::new(change.want.1, change.given.1))
}

fn request_of(asked: &Asked, draft: &Draft) -> Option<Request> {
    let words = Sha256::new()
        .chain_update(message::head_bytes(&draft.head))
        .chain_update(b"\0")
        .chain_update(draft.content.get());
    Some(Request {
        session: asked.session.id(),
        id: asked.id.clone()?,
        words: words.finalize().into(),
    })
}

impl Actor {
    pub(super) async fn request(
        &mut self,
        asked: &Asked,
        request: TopicRequest,
    ) -> Result<(), Reply> {
        let is_pair = self.topic.pair().is_some();
        match request {
            TopicRequest::Found(founding) => self.found(asked, *founding).await,
            TopicRequest::Sub { set, get, .. } if is_pair => {
                self.subscribe_pair(asked, &set, &get).await
            }
            TopicRequest::Sub {
                as_reader,
                set,
                get,
            } => self.subscribe_room(asked, as_reader, &set, &get).await,
            TopicRequest::Leave(false) => self.leave(asked),
            TopicRequest::Leave(true) | TopicRequest::DeleteTopic if is_pair => {
                self.unsubscribe_pair(asked).await
            }
            TopicRequest::Leave(true) => self.unsubscribe_room(asked).await,
            TopicRequest::DeleteTopic => self.delete_room(asked).await,
            TopicRequest::Evict(target) if self.home_abroad().is_some() => {
                self.evict_in_copy(asked, &target)
            }
            TopicRequest::Evict(target) => self.evict(asked, &target),
            TopicRequest::Pub { draft, noecho } => self.publish(asked, draft, noecho).await,
            TopicRequest::Get(get) => {
                let frames = self.query(asked, &get).await?;
                // Behind what is under way, so that nobody is shown what is not durable.
                let answer = Effect::Reply(asked.session.clone(), frames);
                self.commit(Batch::new(), vec![answer]);
                Ok(())
            }
            TopicRequest::Set(set) => self.set(asked, &set).await,
            TopicRequest::DeleteMessages { ranges, hard } => {
                self.delete_messages(asked, &ranges, hard).await
            }
            TopicRequest::Typing(what) => {
                self.typing(asked, what);
                Ok(())
            }
            TopicRequest::Call {
                seq,
                event,
                payload,
            } => {
                self.call_event(asked, seq, event, payload);
                Ok(())
            }
            TopicRequest::Received(seq) => self.progress(asked, 0, seq).await,
            TopicRequest::Read(seq) if self.is_attached(&asked.session) => {
                self.progress(asked, seq, 0).await
            }
            TopicRequest::Read(_) => Ok(()),
        }
    }

    /// Private notes as they become with a change; a refusal when they are too long.
    pub(super) fn annotated(&self, before: &Bytes, change: &Value) -> Result<Bytes, Reply> {
        let merged = merge::into_stored(before, change);
        if self.server.fits_description(&merged) {
            Ok(merged)
        } else {
            Err(reply::TOO_LARGE.into())
        }
    }

    async fn set(&mut self, asked: &Asked, set: &SetQuery) -> Result<(), Reply> {
        self.load_reader(&asked.user).await?;
        // Marks are for administrators to give, wherever they stand.
        let marks = set.desc.as_ref().is_some_and(|it| it.trusted.is_some());
        let admin = asked.admin && marks;
        if !admin && self.topic.active(&asked.user).is_none() {
            return Err(reply::ATTACH_FIRST.into());
        }
        if set.tags.is_some() && self.topic.pair().is_some() || set.cred.is_some() {
            return Err(reply::NOT_ALLOWED.into());
        }
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        if let Err(refusal) = self.set_parts(asked, set, &mut batch, &mut effects).await {
            // A part before the refused one stands in memory, but is not to happen.
            if !effects.is_empty() && self.topic.room().is_some() {
                self.read_again();
            }
            effects.into_iter().for_each(|it| self.take_back(it));
            return Err(refusal);
        }
        if effects.is_empty() {
            return Err(reply::MALFORMED.into());
        }
        self.commit_all(batch, effects);
        Ok(())
    }

    async fn set_parts(
        &mut self,
        asked: &Asked,
        set: &SetQuery,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        if let Some(desc) = &set.desc {
            self.set_desc(asked, desc, batch, effects)?;
            match &desc.public {
                Some(public) if self.home_abroad().is_some() => {
                    // The home decides, which may take its time: meanwhile it is not collected.
                    let shown = files_of_card(public.to_string().as_bytes());
                    let held = self.hold(&shown, &asked.user).await?;
                    held.refer(batch, &Referrer::Topic(self.key()), false);
                    effects.push(Effect::Referred(held));
                }
                Some(_) => self.show_files(batch, effects).await?,
                None => {}
            }
        }
        if let Some(sub) = &set.sub {
            if self.topic.pair().is_some() {
                self.set_access_pair(asked, sub, batch, effects).await?;
            } else {
                self.set_access_room(asked, sub, batch, effects).await?;
            }
        }
        if let Some(tags) = &set.tags {
            self.set_tags(asked, tags, effects).await?;
        }
        if let Some(aux) = &set.aux {
            self.set_aux(asked, aux, batch, effects).await?;
        }
        Ok(())
    }

    fn set_desc(
        &mut self,
        asked: &Asked,
        desc: &SetDesc,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let now = self.now();
        let own = self.topic.active(&asked.user).map(|it| it.private.clone());
        let merged = match (&desc.private, &own) {
            (Some(private), Some(own)) => Some(self.annotated(own, private)?),
            (Some(_), None) => return Err(reply::ATTACH_FIRST.into()),
            (None, _) => None,
        };
        let described = match self.topic.room() {
            Some(_) => self.redescribe(asked, desc, batch, effects)?,
            None if desc.public.is_some() || desc.trusted.is_some() || desc.defacs.is_some() => {
                return Err(reply::PERMISSION_DENIED.into());
            }
            None => false,
        };
        let merged = merged.filter(|it| Some(it) != own.as_ref());
        let annotated = merged.is_some();
        if let Some(merged) = merged {
            self.topic.annotate(&asked.user, merged, now)?;
        }
        let answer = match (batch.is_empty(), described || annotated) {
            // The home is asked.
            (false, _) => self.pending(),
            (true, true) => reply::OK.into(),
            (true, false) => reply::NOT_MODIFIED.into(),
        };
        effects.push(asked.later(answer, now));
        effects.extend(described.then(|| Effect::Redescribed(Some(asked.session.clone()))));
        effects.extend(
            annotated.then(|| Effect::Annotated(asked.user.clone(), asked.session.clone())),
        );
        Ok(())
    }

    fn leave(&mut self, asked: &Asked) -> Result<(), Reply> {
        let Some((user, last)) = self.attached.remove(&asked.session) else {
            return Err(reply::NOT_JOINED.into());
        };
        asked.session.detach(self.key());
        self.lose_call(&asked.session);
        self.departed(&user, &asked.session, last);
        self.commit(Batch::new(), vec![asked.later(reply::OK, self.now())]);
        Ok(())
    }

    async fn publish(
        &mut self,
        asked: &Asked,
        mut draft: Draft,
        noecho: bool,
    ) -> Result<(), Reply> {
        if !self.is_attached(&asked.session) && self.may_publish_from_afar() {
            self.found_if_missing()?;
        } else if !self.is_attached(&asked.session) {
            return Err(reply::ATTACH_FIRST.into());
        }
        self.topic.may_publish(&asked.user)?;
        self.check_replacement(&asked.user, &draft).await?;
        self.check_way_out()?;
        if let Some(seq) = self.sent_before(asked, &draft).await? {
            let accepted = Reply::with(reply::ACCEPTED, json!({ "seq": seq }));
            // Behind the commit of the first one, which may be under way.
            self.commit(Batch::new(), vec![asked.later(accepted, self.now())]);
            return Ok(());
        }
        self.server.limits.topic_message(self.key())?;
        let request = request_of(asked, &draft);
        let begins_call = call::begins(&draft);
        if begins_call {
            self.may_call(&draft)?;
        }
        let held = self.hold(&draft.attachments, &asked.user).await?;
        let files = held.attachments(&self.server.us);
        let now = self.now();
        let given = message::id_by_client(&draft.head, self.key(), &asked.user);
        let given = given.map_err(|_| reply::MALFORMED)?;
        let id = match given {
            Some(id) => id,
            None => message::mint(now).map_err(|_| reply::INTERNAL)?,
        };
        let mut row = MessageRow {
            author: asked.user.to_string(),
            message_id: Bytes::copy_from_slice(id.as_bytes()),
            issued: now.as_millis(),
            received: now.as_millis(),
            ..Default::default()
        };
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        // The sender's domain decides who the sender is, not the client.
        draft.head.remove("sender");
        let call = begins_call.then(|| draft.clone());
        let crossing = self.topic.pair().is_some_and(|it| it.foreigner().is_some());
        let signed = self.is_signed();
        if signed {
            row.head = message::own_references(&draft.head);
            row.envelope = Some(self.seal(asked, (id, now), draft, files).await?);
        } else if crossing {
            row.envelope = Some(self.seal(asked, (id, now), draft, files).await?);
            let announced = self
                .topic
                .active(&asked.user)
                .is_some_and(|it| it.announced);
            if !announced {
                self.relate_out(&mut batch, &mut effects, &asked.user)
                    .await?;
            }
        } else {
            row.head = message::head_bytes(&draft.head);
            row.content = Bytes::copy_from_slice(draft.content.get().as_bytes());
        }
        let seq = self.topic.publish(&asked.user, now)?;
        if self.home_abroad().is_some() {
            self.room_mut()?.unplaced.insert(seq);
        }
        self.note_cursor(&asked.user);
        effects.extend(self.call_back(&asked.user, now));
        put_message(&mut batch, self.key(), seq, &row);
        let sealed = row.envelope.is_some();
        held.refer(&mut batch, &Referrer::Message(self.key(), seq), sealed);
        if let Some(draft) = call {
            self.ring(asked, (id, seq), &draft);
        }
        if crossing || signed {
            self.queue_message(&mut batch, &mut effects, &asked.user, (id, seq), &row)?;
        } else if given.is_some() {
            put_seen(
                &mut batch,
                &self.server.us,
                id,
                &self.seen_row(&row, seq, id),
            );
        }
        self.sent.note(request, given, seq);
        let accepted = Reply::with(reply::ACCEPTED, json!({ "seq": seq }));
        if asked.id.is_some() {
            effects.insert(0, asked.later(accepted, now));
        }
        effects.push(Effect::Appended {
            seq,
            row: Box::new(row),
            author: asked.user.clone(),
            except: noecho.then(|| asked.session.clone()),
        });
        effects.push(Effect::Referred(held));
        self.commit_with_news(batch, effects);
        Ok(())
    }

    /// The other one of two may have left, and hears of the message all the same.
    fn call_back(&mut self, author: &UserId, now: Timestamp) -> Option<Effect> {
        self.topic.pair()?;
        let change = self.pair_mut().call_back(author, now)?;
        Some(Effect::Access(change, None))
    }

    /// Keeps files from being collected until something refers to them.
    pub(super) async fn hold(&self, urls: &[String], by: &UserId) -> Result<Held, Reply> {
        if urls.len() > HELD_MAX {
            return Err(reply::POLICY.into());
        }
        Ok(self.server.files.hold(urls, by).await?)
    }

    /// The position of a message that this one is once more: the same request of the same session, or
    /// one to which its client gave the same id (rules.md 12).
    async fn sent_before(&self, asked: &Asked, draft: &Draft) -> Result<Option<u32>, Reply> {
        let request = request_of(asked, draft);
        if let Some(seq) = request.and_then(|it| self.sent.by_request(&it)) {
            return Ok(Some(seq));
        }
        let id = message::id_by_client(&draft.head, self.key(), &asked.user);
        let Some(id) = id.map_err(|_| reply::MALFORMED)? else {
            return Ok(None);
        };
        if let Some(seq) = self.sent.by_id(id) {
            return Ok(Some(seq));
        }
        let us = self.server.us.clone();
        let read = move |tables: &freehold_store::Tables| tables.seen(&us, id);
        Ok(self.server.tables.read(read).await?.map(|it| it.seq))
    }

    fn seen_row(&self, row: &MessageRow, seq: u32, id: MessageId) -> SeenRow {
        SeenRow {
            header_hash: Bytes::copy_from_slice(id.as_bytes()),
            refused: 0,
            topic: Bytes::copy_from_slice(self.key().as_bytes()),
            seq,
            at: row.received,
        }
    }

    /// Refers to the files that the description of a room shows now. What it referred to before is read
    /// from the disk, so nothing may be on its way there.
    pub(super) async fn show_files(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        self.finish_commits().await?;
        if let Some(room) = self.topic.room() {
            let referrer = Referrer::Topic(self.key());
            let (public, us) = (&room.description.public, &self.server.us);
            let lives = &self.server.lives;
            let mut domains = room.domains(us, |domain, joined| !lives.is_over(domain, joined));
            domains.extend(room.home.iter().cloned().chain([us.clone()]));
            let shows = |it: &DomainName| domains.contains(it);
            let (rows, held) = self.server.files.show(referrer, public, shows).await?;
            batch.append(rows);
            effects.push(Effect::Referred(held));
        }
        Ok(())
    }

    /// Visible at once, rather than a queue without end for a domain that is denied or gone.
    fn check_way_out(&self) -> Result<(), Reply> {
        let foreigner = self.topic.pair().and_then(|it| it.foreigner());
        let peer = foreigner.map(|it| it.id.domain());
        let Some(peer) = peer.or_else(|| self.home_abroad()) else {
            return Ok(());
        };
        let begun = self.topic.room().map(|it| it.created);
        let begun = begun.or_else(|| self.topic.pair().and_then(|it| it.created));
        let former = begun.is_some_and(|it| self.server.lives.is_over(peer, it.as_millis()));
        if former || !self.server.permits(peer) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        // Where new messages of a copy stand is known once its home has said how the group stands.
        let begun = self.topic.room().is_none_or(|it| it.log.is_some());
        if !begun || !self.server.outbox.has_room(peer) {
            return Err(reply::UNAVAILABLE.into());
        }
        Ok(())
    }

    /// A message may replace only an earlier one of the same author.
    async fn check_replacement(&self, author: &UserId, draft: &Draft) -> Result<(), Reply> {
        let replaced = message::replaced(&draft.head).map_err(|_| reply::MALFORMED)?;
        let Some(seq) = replaced else {
            return Ok(());
        };
        let key = self.key();
        let reader = author.clone();
        let read = move |tables: &freehold_store::Tables| {
            let span = (seq, seq.saturating_add(1));
            match tables.last_visible(key, &reader, span)? {
                Some(_) => tables.message(key, seq),
                None => Ok(None),
            }
        };
        let original = self.server.tables.read(read).await?;
        match original {
            Some(original) if original.author == author.to_string() => Ok(()),
            Some(_) => Err(reply::PERMISSION_DENIED.into()),
            None => Err(reply::NOT_FOUND.into()),
        }
    }

    /// Seals what one of our people wrote for the other domain; ids become global, positions become
    /// message ids.
    async fn seal(
        &self,
        asked: &Asked,
        (id, now): (MessageId, Timestamp),
        draft: Draft,
        attachments: Vec<wire::Attachment>,
    ) -> Result<freehold_store::tables::rows::EnvelopeRow, Reply> {
        let (key, mut head) = (self.key(), draft.head);
        let content = self.server.ids.globalise(&mut head, draft.content);
        let refers = message::refers(&head);
        let (head, references) = if refers {
            let detach = move |tables: &freehold_store::Tables| {
                let references = message::detach_references(tables, key, &mut head)?;
                Ok((head, references))
            };
            self.server.tables.read(detach).await?
        } else {
            (head, Vec::new())
        };
        let author = asked.user.to_string();
        let head = message::head_bytes(&head);
        let content = Bytes::copy_from_slice(content.get().as_bytes());
        let (to, payload) = match self.topic.room() {
            Some(room) => {
                let words = wire::payload::Kind::GroupMessage(wire::GroupMessage {
                    author,
                    head,
                    content,
                    references,
                    known_index: room.log.map_or(0, |it| it.index),
                    attachments,
                });
                let group = room.group.ok_or(reply::INTERNAL)?;
                (Destination::Group(group), words)
            }
            None => {
                let recipient = &self.pair().other(&asked.user).id;
                let words = wire::payload::Kind::DirectMessage(wire::DirectMessage {
                    author,
                    recipient: recipient.to_string(),
                    head,
                    content,
                    references,
                    attachments,
                });
                (Destination::Domain(recipient.domain().clone()), words)
            }
        };
        let sealed = self.server.signer.seal(to, id, now, payload);
        let envelope = sealed.map_err(|_| reply::INTERNAL)?;
        if envelope.payload.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(reply::TOO_LARGE.into());
        }
        Ok(message::envelope_row(&envelope))
    }

    /// Queues a message for the other domain, if one must have it first, and remembers its id.
    pub(super) fn queue_message(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        author: &UserId,
        (id, seq): (MessageId, u32),
        row: &MessageRow,
    ) -> Result<(), Reply> {
        let peer = match self.topic.pair() {
            Some(pair) => Some(pair.other(author).id.domain().clone()),
            None => self.home_abroad().cloned(),
        };
        let envelope = row
            .envelope
            .clone()
            .and_then(message::envelope_of)
            .ok_or(reply::INTERNAL)?;
        let seen = SeenRow {
            header_hash: Bytes::copy_from_slice(&envelope.header_hash()),
            ..self.seen_row(row, seq, id)
        };
        put_seen(batch, &self.server.us, id, &seen);
        if let Some(peer) = peer {
            let pair = (self.key(), author);
            let outbox = &self.server.outbox;
            outbox.put_message(batch, &peer, pair, seq, self.now());
            outbox.weigh(&peer, envelope.size());
            effects.push(Effect::WakePeers(vec![peer], self.key()));
        }
        Ok(())
    }

    /// Cursors are written later; lists of contacts know them at once.
    fn note_cursor(&self, user: &UserId) {
        if let Some(standing) = self.topic.active(user) {
            self.place
                .note_cursor(user, standing.read, standing.received);
        }
    }

    fn typing(&self, asked: &Asked, what: &'static str) {
        let Some(standing) = self.topic.active(&asked.user) else {
            return;
        };
        let crowd = self
            .topic
            .room()
            .is_some_and(|it| it.members.len() > TYPING_MEMBERS_MAX);
        if crowd || !standing.mode().has(AccessMode::WRITE) || !self.is_attached(&asked.session) {
            return;
        }
        self.tell_typing(&asked.user, what);
        match self.topic.pair() {
            Some(_) if standing.announced => self.signal_out(&asked.user, what),
            Some(_) => {}
            None => self.typing_out(&asked.user, what),
        }
    }

    async fn progress(&mut self, asked: &Asked, read: u32, received: u32) -> Result<(), Reply> {
        self.load_reader(&asked.user).await?;
        if !self.topic.may(&asked.user, AccessMode::READ) {
            return Ok(());
        }
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        let moved = self.topic.progress(&asked.user, read, received);
        // Who writes has read, which is not told (rules.md 10); who says so then is heard all the same.
        let reached = self.topic.active(&asked.user).map_or(0, |it| it.read);
        let is_news = read > self.said_read && read <= reached;
        if moved.is_none() && !is_news {
            return Ok(());
        }
        self.said_read = self.said_read.max(read.min(reached));
        self.note_cursor(&asked.user);
        // Marks flow to another domain only after consent (rules.md 17).
        let consents = self
            .topic
            .active(&asked.user)
            .is_some_and(|it| it.consents());
        let crosses = self.topic.pair().is_some_and(|it| it.foreigner().is_some());
        if consents && crosses && self.gathered.may_cross(&asked.user) {
            self.cursor_out(&mut batch, &mut effects, &asked.user)
                .await?;
        }
        if moved.is_some() {
            self.marks_out(&mut batch, &mut effects, &asked.user)
                .await?;
        }
        effects.extend(
            moved.map(|it| Effect::Moved(asked.user.clone(), it, Some(asked.session.clone()))),
        );
        if batch.is_empty() && effects.is_empty() {
            return Ok(());
        }
        if batch.is_empty() {
            self.commit(batch, effects);
        } else {
            self.commit_all(batch, effects);
        }
        Ok(())
    }
}
