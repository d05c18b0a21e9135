//! What our clients may do in a topic: subscribe, publish, change, report, leave.

use bytes::Bytes;
use freehold_proto::{AccessMode, Destination, MessageId, Timestamp, UserId, limits, wire};
use freehold_store::{
    Batch,
    tables::{
        messages::{put_message, put_seen},
        rows::{MessageRow, SeenRow},
    },
};
use serde_json::{Value, json};

use super::{
    TopicRequest,
    actor::{Actor, Effect},
    message::{self, Draft},
    one_to_one::AccessChange,
};
use crate::{
    edge::{
        frames::Access,
        reply::{self, Reply},
        requests::{GetQuery, SetDesc, SetQuery, SetSub},
        session::Session,
    },
    merge,
};

/// Who asks, and how to answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) session: Session,
    pub(super) user: UserId,
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
    fn later(&self, reply: impl Into<Reply>, now: Timestamp) -> Effect {
        let frame = reply
            .into()
            .into_frame(self.id.clone(), Some(self.name.clone()), now);
        Effect::Reply(self.session.clone(), vec![frame])
    }
}

/// Access in an answer.
fn acs(change: &AccessChange) -> Value {
    json!(Access::new(change.want.1, change.given.1))
}

impl Actor {
    pub(super) async fn request(
        &mut self,
        asked: &Asked,
        request: TopicRequest,
    ) -> Result<(), Reply> {
        match request {
            TopicRequest::Sub { set, get } => self.subscribe(asked, &set, &get).await?,
            TopicRequest::Leave(true) => self.unsubscribe(asked)?,
            TopicRequest::Leave(false) => self.leave(asked)?,
            TopicRequest::Pub { draft, noecho } => self.publish(asked, draft, noecho).await?,
            TopicRequest::Get(get) => {
                let frames = self.query(asked, &get).await?;
                // Behind what is under way, so that nobody is shown what is not durable.
                self.commit(
                    Batch::new(),
                    vec![Effect::Reply(asked.session.clone(), frames)],
                );
            }
            TopicRequest::Set(set) => self.set(asked, &set).await?,
            TopicRequest::Typing(what) => self.typing(asked, what),
            TopicRequest::Received(seq) => self.progress(asked, 0, seq).await?,
            TopicRequest::Read(seq) => {
                if self.is_attached(&asked.session) {
                    self.progress(asked, seq, 0).await?;
                }
            }
        }
        Ok(())
    }

    async fn subscribe(
        &mut self,
        asked: &Asked,
        set: &SetQuery,
        get: &GetQuery,
    ) -> Result<(), Reply> {
        let now = self.now();
        let mode = set
            .sub
            .as_ref()
            .and_then(|it| it.mode.as_deref())
            .unwrap_or_default();
        let changes = match self.topic.person(&asked.user).active() {
            None => self.open(asked, mode, set.desc.as_ref()).await?,
            Some(standing) => {
                // Who had banned himself and comes back wants again what he is given.
                let back = if standing.want.has(AccessMode::JOIN) {
                    String::new()
                } else {
                    standing.given.to_string()
                };
                let mode = if mode.is_empty() { &back } else { mode };
                self.topic
                    .want(&asked.user, mode, now)?
                    .into_iter()
                    .collect()
            }
        };
        let standing = self
            .topic
            .person(&asked.user)
            .active()
            .ok_or(reply::INTERNAL)?;
        if !standing.mode().has(AccessMode::JOIN) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        if let Some(private) = set.desc.as_ref().and_then(|it| it.private.as_ref()) {
            let merged = merge::into_stored(&standing.private, private);
            if !self.server.fits_description(&merged) {
                return Err(reply::TOO_LARGE.into());
            }
            self.topic.annotate(&asked.user, merged, now)?;
        }
        // COMPAT stock clients: 200 to a repeated {sub}, never 304 (fact sheet, section 9.2).
        // The client may have gone while its request waited; its end has been dealt with then.
        if !self.is_attached(&asked.session) && !asked.session.is_closed() {
            self.attached
                .push((asked.session.clone(), asked.user.clone()));
        }
        let mine = changes.iter().find(|it| it.user == asked.user);
        let answer = match mine {
            Some(change) => Reply::with(reply::OK, json!({ "acs": acs(change) })),
            None => reply::OK.into(),
        };
        let mut frames = vec![answer.into_frame(asked.id.clone(), Some(asked.name.clone()), now)];
        if !get.what.is_empty() {
            frames.extend(self.query(asked, get).await?);
        }
        let mut effects = vec![Effect::Reply(asked.session.clone(), frames)];
        let mut batch = Batch::new();
        self.after_changes(&mut batch, &mut effects, changes, asked)
            .await?;
        self.commit_all(batch, effects);
        Ok(())
    }

    /// Opens the topic for somebody who does not stand in it.
    async fn open(
        &mut self,
        asked: &Asked,
        mode: &str,
        desc: Option<&SetDesc>,
    ) -> Result<Vec<AccessChange>, Reply> {
        let now = self.now();
        let other = self.topic.other(&asked.user).id.clone();
        let own = self
            .server
            .profile(&asked.user)
            .await?
            .ok_or(reply::USER_NOT_FOUND)?;
        let theirs = match self.server.profile(&other).await? {
            Some(profile) => profile.access,
            // Of somebody elsewhere we may know nothing yet; their domain will say.
            None if !self.server.ids.is_ours(&other) => AccessMode::ONE_TO_ONE,
            None => return Err(reply::USER_NOT_FOUND.into()),
        };
        let parse = |text: &str| text.parse::<AccessMode>().map_err(|_| reply::MALFORMED);
        let mode = (!mode.is_empty()).then(|| parse(mode)).transpose()?;
        let grant = desc
            .and_then(|it| it.defacs.as_ref())
            .and_then(|it| it.auth.as_deref())
            .filter(|it| !it.is_empty());
        let grant = grant.map(parse).transpose()?.unwrap_or(own.access);
        Ok(self
            .topic
            .subscribe(&asked.user, mode, grant, theirs, now)?)
    }

    /// Adds what follows from changes of access: notices here, and the news to the other domain.
    async fn after_changes(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        changes: Vec<AccessChange>,
        asked: &Asked,
    ) -> Result<(), Reply> {
        if changes.is_empty() {
            return Ok(());
        }
        let accepted = changes.iter().any(|it| {
            it.user == asked.user
                && !it.fresh
                && it.want.1.without(it.want.0).has(AccessMode::WRITE)
        });
        let blocks = |it: &AccessChange| it.user == asked.user && !it.want.1.has(AccessMode::JOIN);
        let known = !changes.iter().any(blocks)
            && self
                .topic
                .person(&asked.user)
                .standing
                .as_ref()
                .is_some_and(|it| it.announced);
        if accepted || known {
            self.relate_out(batch, effects, &asked.user).await?;
        }
        if accepted {
            // What was received and read before was nobody's business until now.
            self.cursor_out(batch, effects, &asked.user).await?;
            effects.push(Effect::Greet(asked.user.clone()));
        }
        let except = Some(asked.session.clone());
        effects.extend(
            changes
                .into_iter()
                .map(|it| Effect::Access(it, except.clone())),
        );
        Ok(())
    }

    async fn set(&mut self, asked: &Asked, set: &SetQuery) -> Result<(), Reply> {
        let Some(standing) = self.topic.person(&asked.user).active() else {
            return Err(reply::ATTACH_FIRST.into());
        };
        let now = self.now();
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        if let Some(private) = set.desc.as_ref().and_then(|it| it.private.as_ref()) {
            let merged = merge::into_stored(&standing.private, private);
            if !self.server.fits_description(&merged) {
                return Err(reply::TOO_LARGE.into());
            }
            let changed = merged != standing.private;
            self.topic.annotate(&asked.user, merged, now)?;
            effects.push(asked.later(
                if changed {
                    reply::OK
                } else {
                    reply::NOT_MODIFIED
                },
                now,
            ));
            effects.extend(
                changed.then(|| Effect::Annotated(asked.user.clone(), asked.session.clone())),
            );
        } else if set.desc.is_some() {
            return Err(reply::PERMISSION_DENIED.into());
        }
        if let Some(sub) = &set.sub {
            self.set_access(asked, sub, &mut batch, &mut effects)
                .await?;
        }
        if set.tags.is_some() || set.cred.is_some() {
            return Err(reply::NOT_ALLOWED.into());
        }
        if set.aux.is_some() {
            return Err(reply::NOT_IMPLEMENTED.into());
        }
        if effects.is_empty() {
            return Err(reply::MALFORMED.into());
        }
        self.commit_all(batch, effects);
        Ok(())
    }

    async fn set_access(
        &mut self,
        asked: &Asked,
        sub: &SetSub,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let now = self.now();
        let mode = sub.mode.as_deref().unwrap_or_default();
        let whose = match sub.user.as_deref().filter(|it| !it.is_empty()) {
            Some(text) => self
                .server
                .ids
                .read(text)
                .map_err(|_| reply::USER_NOT_FOUND)?,
            None => asked.user.clone(),
        };
        let own = whose == asked.user;
        let change = if own {
            self.topic.want(&asked.user, mode, now)?
        } else if whose == self.topic.other(&asked.user).id {
            if !self.is_attached(&asked.session) {
                return Err(reply::ATTACH_FIRST.into());
            }
            self.topic.grant(&asked.user, mode, now)?
        } else {
            return Err(reply::USER_NOT_FOUND.into());
        };
        let Some(change) = change else {
            effects.push(asked.later(reply::NOT_MODIFIED, now));
            return Ok(());
        };
        let mut params = json!({ "acs": acs(&change) });
        if !own {
            params["user"] = self.server.ids.shown(&whose).into();
        }
        effects.push(asked.later(Reply::with(reply::OK, params), now));
        self.after_changes(batch, effects, vec![change], asked)
            .await
    }

    fn leave(&mut self, asked: &Asked) -> Result<(), Reply> {
        if !self.is_attached(&asked.session) {
            return Err(reply::NOT_JOINED.into());
        }
        self.attached.retain(|(it, _)| *it != asked.session);
        self.commit(Batch::new(), vec![asked.later(reply::OK, self.now())]);
        Ok(())
    }

    fn unsubscribe(&mut self, asked: &Asked) -> Result<(), Reply> {
        let now = self.now();
        self.topic.leave(&asked.user, now)?;
        let others = self
            .attached
            .iter()
            .filter(|(it, user)| *user == asked.user && *it != asked.session);
        let evicted = Reply::with(reply::EVICTED, json!({ "unsub": true }));
        let name = self.view(&asked.user);
        let mut effects = vec![asked.later(reply::OK, now)];
        effects.extend(others.map(|(session, _)| {
            Effect::Reply(
                session.clone(),
                vec![evicted.clone().into_frame(None, Some(name.clone()), now)],
            )
        }));
        effects.push(Effect::Left(asked.user.clone(), asked.session.clone()));
        self.attached.retain(|(_, user)| *user != asked.user);
        self.commit_all(Batch::new(), effects);
        Ok(())
    }

    async fn publish(
        &mut self,
        asked: &Asked,
        mut draft: Draft,
        noecho: bool,
    ) -> Result<(), Reply> {
        if !self.is_attached(&asked.session) {
            return Err(reply::ATTACH_FIRST.into());
        }
        self.topic.may_publish(&asked.user)?;
        self.check_replacement(&asked.user, &draft).await?;
        if let Some(foreigner) = self.topic.foreigner() {
            // Visible at once, rather than a queue without end for a domain that is denied or gone.
            if !self.server.permits(foreigner.id.domain()) {
                return Err(reply::PERMISSION_DENIED.into());
            }
            if !self.server.outbox.has_room(foreigner.id.domain()) {
                return Err(reply::UNAVAILABLE.into());
            }
        }
        let now = self.now();
        let id = MessageId::mint(now, &freehold_keys::random().map_err(|_| reply::INTERNAL)?);
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
        let crossing = self.topic.foreigner().is_some();
        if crossing {
            row.envelope = Some(self.seal(asked, id, now, draft).await?);
            if !self
                .topic
                .person(&asked.user)
                .standing
                .as_ref()
                .is_some_and(|it| it.announced)
            {
                self.relate_out(&mut batch, &mut effects, &asked.user)
                    .await?;
            }
        } else {
            row.head = message::head_bytes(&draft.head);
            row.content = Bytes::copy_from_slice(draft.content.get().as_bytes());
        }
        let seq = self.topic.publish(&asked.user, now)?;
        put_message(&mut batch, self.key(), seq, &row);
        if crossing {
            self.queue_message(&mut batch, &mut effects, &asked.user, (id, seq), &row)?;
        }
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
        self.commit_with_news(batch, effects);
        Ok(())
    }

    /// A message may replace only an earlier one of the same author.
    async fn check_replacement(&self, author: &UserId, draft: &Draft) -> Result<(), Reply> {
        let Some(seq) = message::replaced(&draft.head) else {
            return Ok(());
        };
        let key = self.key();
        let original = self
            .server
            .tables
            .read(move |tables| tables.message(key, seq))
            .await?;
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
        id: MessageId,
        now: Timestamp,
        draft: Draft,
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
        let recipient = &self.topic.other(&asked.user).id;
        let payload = wire::payload::Kind::DirectMessage(wire::DirectMessage {
            author: asked.user.to_string(),
            recipient: recipient.to_string(),
            head: message::head_bytes(&head),
            content: Bytes::copy_from_slice(content.get().as_bytes()),
            references,
        });
        let to = Destination::Domain(recipient.domain().clone());
        let envelope = self
            .server
            .signer
            .seal(to, id, now, payload)
            .map_err(|_| reply::INTERNAL)?;
        if envelope.payload.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(reply::TOO_LARGE.into());
        }
        Ok(message::envelope_row(&envelope))
    }

    /// Queues a message for the other domain and remembers its id.
    fn queue_message(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        author: &UserId,
        (id, seq): (MessageId, u32),
        row: &MessageRow,
    ) -> Result<(), Reply> {
        let peer = self.topic.other(author).id.domain().clone();
        let envelope = row
            .envelope
            .clone()
            .and_then(message::envelope_of)
            .ok_or(reply::INTERNAL)?;
        let seen = SeenRow {
            header_hash: Bytes::copy_from_slice(&envelope.header_hash()),
            refused: 0,
            topic: Bytes::copy_from_slice(self.key().as_bytes()),
            seq,
            at: row.received,
        };
        put_seen(batch, &self.server.us, id, &seen);
        self.server
            .outbox
            .put_message(batch, &peer, (self.key(), author), seq, self.now());
        effects.push(Effect::Wake);
        Ok(())
    }

    fn typing(&self, asked: &Asked, what: &'static str) {
        let Some(standing) = self.topic.person(&asked.user).active() else {
            return;
        };
        if !standing.mode().has(AccessMode::WRITE) || !self.is_attached(&asked.session) {
            return;
        }
        self.tell_typing(&asked.user, what);
        if standing.announced {
            self.signal_out(&asked.user, what);
        }
    }

    async fn progress(&mut self, asked: &Asked, read: u32, received: u32) -> Result<(), Reply> {
        let readable = |it: &super::one_to_one::Standing| it.mode().has(AccessMode::READ);
        if !self
            .topic
            .person(&asked.user)
            .active()
            .is_some_and(readable)
        {
            return Ok(());
        }
        let Some(moved) = self.topic.progress(&asked.user, read, received) else {
            return Ok(());
        };
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        // Marks flow to another domain only after consent (rules.md 17).
        let consents = self
            .topic
            .person(&asked.user)
            .active()
            .is_some_and(|it| it.consents());
        if self.topic.foreigner().is_some() && consents {
            self.cursor_out(&mut batch, &mut effects, &asked.user)
                .await?;
        }
        effects.push(Effect::Moved(
            asked.user.clone(),
            moved,
            Some(asked.session.clone()),
        ));
        if batch.is_empty() {
            self.commit(batch, effects);
        } else {
            self.commit_all(batch, effects);
        }
        Ok(())
    }
}
