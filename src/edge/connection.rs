//! What one client says, in order: handshake, log-in, then requests, each sent to where it is answered.
//!
//! Requests about one topic keep their order: the topic's own task answers them. Only what may ask
//! another domain runs beside, so that a session never waits (rules.md 13).

use std::{collections::HashMap, future::Future, sync::Arc};

use super::{
    finding::Find,
    reply,
    reply::{Reply, Status},
    requests::{Del, Extra, Get, GetQuery, Leave, Note, Pub, Request, Set, Sub},
    session::Session,
};
use crate::{
    accounts::{Caller, Level},
    me,
    server::Server,
    topic::{Command, TopicRequest, hub::Hub, message::Draft, parts},
};
use freehold_proto::{Timestamp, UserId};
use freehold_store::{Tables, TopicKey};

/// Topics one session may be attached to.
const ATTACHED_MAX: usize = 1000;

/// The state of one client connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) session: Session,
    pub(super) version: Option<(u32, u32)>,
    pub(super) caller: Option<Caller>,
    attached: HashMap<TopicKey, [UserId; 2]>,
    pub(super) fnd: Option<Find>,
}

/// The kind of topic a name stands for.
#[derive(Debug)]
enum Name {
    Me,
    Fnd,
    Person(Box<[UserId; 2]>),
    /// Known to the protocol, not built yet.
    NotBuilt,
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, session: Session) -> Self {
        Self {
            server,
            session,
            version: None,
            caller: None,
            attached: HashMap::new(),
            fnd: None,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.server.clock.now()
    }

    pub(super) fn answer(&self, id: Option<&str>, topic: Option<&str>, reply: impl Into<Reply>) {
        let frame =
            reply
                .into()
                .into_frame(id.map(str::to_owned), topic.map(str::to_owned), self.now());
        self.session.send(&frame);
    }

    /// Handles one frame.
    pub(super) async fn handle(&mut self, frame: &[u8]) {
        if frame.len() > self.server.rules.message_bytes_max {
            return self.answer(None, None, reply::TOO_LARGE);
        }
        let (request, extra) = match Request::parse(frame) {
            Ok(parsed) => parsed,
            Err(fault) => {
                tracing::debug!(session = self.session.id(), %fault, "a client sent something unreadable");
                return self.answer(None, None, reply::MALFORMED);
            }
        };
        let (id, topic) = request.address();
        let (id, topic) = (id.map(str::to_owned), topic.map(str::to_owned));
        let is_note = matches!(request, Request::Note(_));
        if let Err(refusal) = self.dispatch(request, extra).await
            && !is_note
        {
            self.answer(id.as_deref(), topic.as_deref(), refusal);
        }
    }

    /// The client has gone.
    pub(super) async fn end(&mut self) {
        if let Some(find) = self.fnd.take() {
            find.stop();
        }
        for people in std::mem::take(&mut self.attached).into_values() {
            Hub::send(&self.server, &people, Command::Detach(self.session.clone())).await;
        }
        if let Some(Caller { user, .. }) = self.caller.take() {
            self.server.sessions.leave(&user, &self.session);
            if me::leave(&self.server, &user, &self.session).await.is_err() {
                tracing::warn!(%user, "could not note that somebody left");
            }
        }
    }

    async fn dispatch(&mut self, request: Request, extra: Extra) -> Result<(), Reply> {
        match request {
            Request::Hi(hi) => return self.hi(hi),
            _ if self.version.is_none() => return Err(reply::OUT_OF_SEQUENCE.into()),
            Request::Acc(acc) => return self.acc(*acc).await,
            Request::Login(login) => return self.login(login).await,
            _ => {}
        }
        let caller = self.caller_of(&extra)?;
        self.audit(&caller, &request).await?;
        let user = caller.user.clone();
        match request {
            Request::Sub(sub) => self.sub(&caller, *sub).await,
            Request::Leave(leave) => self.leave(user, leave).await,
            Request::Pub(publish) => self.publish(user, publish).await,
            Request::Get(get) => self.get(&caller, *get).await,
            Request::Set(set) => self.set(&caller, *set).await,
            Request::Del(del) => self.del(&caller, del).await,
            Request::Note(note) => self.note(user, &note).await,
            Request::Hi(_) | Request::Acc(_) | Request::Login(_) => Ok(()),
        }
    }

    /// Who asks: whoever logged in, or the one for whom an administrator acts.
    fn caller_of(&self, extra: &Extra) -> Result<Caller, Status> {
        let caller = self.caller.clone().ok_or(reply::AUTH_REQUIRED)?;
        if extra.obo.is_empty() && extra.authlevel.is_empty() {
            return Ok(caller);
        }
        if caller.level != Level::Root {
            return Err(reply::PERMISSION_DENIED);
        }
        let level = match extra.authlevel.as_str() {
            "" => Level::Authenticated,
            text => text.parse().map_err(|_| reply::MALFORMED)?,
        };
        let user = match extra.obo.as_str() {
            "" => caller.user,
            text => self.server.ids.read(text).map_err(|_| reply::MALFORMED)?,
        };
        if !self.server.ids.is_ours(&user) {
            return Err(reply::PERMISSION_DENIED);
        }
        Ok(Caller {
            user,
            level,
            ..caller
        })
    }

    /// What an administrator does for somebody else is noted before it is done.
    async fn audit(&self, caller: &Caller, request: &Request) -> Result<(), Reply> {
        let Some(admin) = caller.admin.as_ref().filter(|it| **it != caller.user) else {
            return Ok(());
        };
        if matches!(request, Request::Note(_)) {
            return Ok(());
        }
        let (_, topic) = request.address();
        let what = format!("{} {}", request.kind(), topic.unwrap_or_default());
        Ok(self
            .server
            .audit_now(admin, &caller.user, what.trim())
            .await?)
    }

    fn resolve(&self, user: &UserId, topic: &str) -> Result<Name, Status> {
        match topic {
            "me" => return Ok(Name::Me),
            "fnd" => return Ok(Name::Fnd),
            "sys" | "slf" => return Ok(Name::NotBuilt),
            _ => {}
        }
        if ["new", "nch", "grp", "chn"]
            .iter()
            .any(|it| topic.starts_with(it))
        {
            return Ok(Name::NotBuilt);
        }
        let other = self
            .server
            .ids
            .read(topic)
            .map_err(|_| reply::TOPIC_NOT_FOUND)?;
        if other == *user {
            return Err(reply::PERMISSION_DENIED);
        }
        Ok(Name::Person(Box::new([user.clone(), other])))
    }

    async fn sub(&mut self, caller: &Caller, sub: Sub) -> Result<(), Reply> {
        let user = caller.user.clone();
        let get = sub.get.unwrap_or_default();
        match self.resolve(&user, &sub.topic)? {
            Name::Me => {
                let came = me::enter(&self.server, &user, &self.session);
                if let Some(desc) = sub.set.as_ref().and_then(|it| it.desc.as_ref()) {
                    me::set_description(&self.server, caller, &self.session, desc).await?;
                }
                self.answer(sub.id.as_deref(), Some("me"), reply::OK);
                self.show_me(caller, &sub.id, &get).await?;
                // COMPAT web app: presence of contacts that it has not been shown yet upsets it.
                if came {
                    me::announce(&self.server, &user, &self.session).await?;
                }
                Ok(())
            }
            Name::Fnd => {
                self.fnd.get_or_insert_default();
                if let Some(desc) = sub.set.as_ref().and_then(|it| it.desc.as_ref()) {
                    self.change_query(&user, desc).await?;
                }
                self.answer(sub.id.as_deref(), Some("fnd"), reply::OK);
                if !get.what.is_empty() {
                    self.find(caller, sub.id, &get).await?;
                }
                Ok(())
            }
            Name::Person(people) => {
                let key = TopicKey::one_to_one(&people[0], &people[1]);
                if self.attached.len() >= ATTACHED_MAX && !self.attached.contains_key(&key) {
                    return Err(reply::POLICY.into());
                }
                self.attached.insert(key, (*people).clone());
                let request = TopicRequest::Sub {
                    set: Box::new(sub.set.unwrap_or_default()),
                    get: Box::new(get),
                };
                self.ask_person(user, sub.id, sub.topic, *people, request)
                    .await
            }
            Name::NotBuilt => Err(reply::NOT_IMPLEMENTED.into()),
        }
    }

    async fn show_me(
        &self,
        caller: &Caller,
        id: &Option<String>,
        get: &GetQuery,
    ) -> Result<(), Reply> {
        if !get.what.is_empty() {
            self.session
                .send_all(&me::query(&self.server, caller, id, get).await?);
        }
        Ok(())
    }

    /// Hands a request to the topic with a person; asks that person's domain first when nothing is
    /// known of them.
    async fn ask_person(
        &self,
        user: UserId,
        id: Option<String>,
        name: String,
        people: [UserId; 2],
        request: TopicRequest,
    ) -> Result<(), Reply> {
        let other = people[1].clone();
        let known = self.server.profile(&other).await?.is_some();
        let ours = self.server.ids.is_ours(&other);
        if ours && !known {
            return Err(reply::USER_NOT_FOUND.into());
        }
        let command = Command::Request {
            session: self.session.clone(),
            user,
            id,
            name,
            request,
        };
        // An attempt to attach says nothing yet: it may have been refused.
        if known || self.subscribed(&people).await? {
            Hub::send(&self.server, &people, command).await;
            return Ok(());
        }
        let server = Arc::clone(&self.server);
        self.beside(async move {
            match me::meet(&server, &other).await {
                Ok(()) => Hub::send(&server, &people, command).await,
                Err(refusal) => refuse(&server, command, refusal),
            }
        });
        Ok(())
    }

    /// Runs something beside the session's queue.
    pub(super) fn beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.server.tasks.spawn("request", task);
    }

    async fn stands_in(&self, people: &[UserId; 2]) -> Result<bool, Reply> {
        let key = TopicKey::one_to_one(&people[0], &people[1]);
        Ok(self.attached.contains_key(&key) || self.subscribed(people).await?)
    }

    async fn subscribed(&self, people: &[UserId; 2]) -> Result<bool, Reply> {
        let [user, other] = people.clone();
        let key = TopicKey::one_to_one(&user, &other);
        let read = move |tables: &Tables| tables.subscription(&user, key);
        Ok(self.server.tables.read(read).await?.is_some())
    }

    async fn tell_topic(
        &self,
        user: UserId,
        id: Option<String>,
        name: String,
        people: &[UserId; 2],
        request: TopicRequest,
    ) {
        let command = Command::Request {
            session: self.session.clone(),
            user,
            id,
            name,
            request,
        };
        Hub::send(&self.server, people, command).await;
    }

    async fn leave(&mut self, user: UserId, leave: Leave) -> Result<(), Reply> {
        match self.resolve(&user, &leave.topic)? {
            Name::Me | Name::Fnd if leave.unsub => Err(reply::PERMISSION_DENIED.into()),
            Name::Me => {
                if !self.session.on_me() {
                    return Err(reply::NOT_JOINED.into());
                }
                me::leave(&self.server, &user, &self.session).await?;
                self.answer(leave.id.as_deref(), Some("me"), reply::OK);
                Ok(())
            }
            Name::Fnd => match self.fnd.take() {
                Some(find) => {
                    find.stop();
                    self.answer(leave.id.as_deref(), Some("fnd"), reply::OK);
                    Ok(())
                }
                None => Err(reply::NOT_JOINED.into()),
            },
            Name::Person(people) => {
                let key = TopicKey::one_to_one(&people[0], &people[1]);
                let was_attached = self.attached.remove(&key).is_some();
                if !was_attached && !leave.unsub {
                    return Err(reply::NOT_JOINED.into());
                }
                if !was_attached {
                    return Err(reply::ATTACH_FIRST.into());
                }
                self.tell_topic(
                    user,
                    leave.id,
                    leave.topic,
                    &people,
                    TopicRequest::Leave(leave.unsub),
                )
                .await;
                Ok(())
            }
            Name::NotBuilt => Err(reply::NOT_IMPLEMENTED.into()),
        }
    }

    async fn publish(&mut self, user: UserId, publish: Pub) -> Result<(), Reply> {
        match self.resolve(&user, &publish.topic)? {
            Name::Me | Name::Fnd => Err(reply::NOT_ALLOWED.into()),
            Name::NotBuilt => Err(reply::NOT_IMPLEMENTED.into()),
            Name::Person(people) => {
                if !self
                    .attached
                    .contains_key(&TopicKey::one_to_one(&people[0], &people[1]))
                {
                    return Err(reply::ATTACH_FIRST.into());
                }
                let draft = Draft {
                    head: publish.head.unwrap_or_default(),
                    content: publish.content.ok_or(reply::MALFORMED)?,
                };
                let request = TopicRequest::Pub {
                    draft,
                    noecho: publish.noecho,
                };
                self.tell_topic(user, publish.id, publish.topic, &people, request)
                    .await;
                Ok(())
            }
        }
    }

    async fn get(&mut self, caller: &Caller, get: Get) -> Result<(), Reply> {
        let user = caller.user.clone();
        match self.resolve(&user, &get.topic)? {
            Name::Me => {
                self.session
                    .send_all(&me::query(&self.server, caller, &get.id, &get.query).await?);
                Ok(())
            }
            Name::Fnd => {
                if parts(&get.query.what).is_empty() {
                    return Err(reply::MALFORMED.into());
                }
                self.find(caller, get.id, &get.query).await
            }
            Name::Person(people) => {
                self.ask_person(
                    user,
                    get.id,
                    get.topic,
                    *people,
                    TopicRequest::Get(Box::new(get.query)),
                )
                .await
            }
            Name::NotBuilt => Err(reply::NOT_IMPLEMENTED.into()),
        }
    }

    async fn set(&mut self, caller: &Caller, set: Set) -> Result<(), Reply> {
        let user = caller.user.clone();
        match self.resolve(&user, &set.topic)? {
            Name::Me => self.set_me(caller, set).await,
            Name::Fnd => self.set_fnd(&user, set).await,
            Name::Person(people) => {
                if !self.stands_in(&people).await? {
                    return Err(reply::TOPIC_NOT_FOUND.into());
                }
                let request = TopicRequest::Set(Box::new(set.query));
                self.tell_topic(user, set.id, set.topic, &people, request)
                    .await;
                Ok(())
            }
            Name::NotBuilt => Err(reply::NOT_IMPLEMENTED.into()),
        }
    }

    async fn del(&mut self, caller: &Caller, del: Del) -> Result<(), Reply> {
        match del.what.as_str() {
            "user" => return self.del_user(caller, &del).await,
            "cred" => return self.del_credential(caller, &del).await,
            _ => {}
        }
        let user = caller.user.clone();
        match (del.what.as_str(), self.resolve(&user, &del.topic)) {
            // In a topic of two, deleting it is leaving it.
            ("topic", Ok(Name::Person(people))) => {
                if !self.stands_in(&people).await? {
                    return Err(reply::TOPIC_NOT_FOUND.into());
                }
                self.attached
                    .remove(&TopicKey::one_to_one(&people[0], &people[1]));
                self.tell_topic(user, del.id, del.topic, &people, TopicRequest::Leave(true))
                    .await;
                Ok(())
            }
            ("msg" | "sub" | "topic", _) => Err(reply::NOT_IMPLEMENTED.into()),
            _ => Err(reply::MALFORMED.into()),
        }
    }

    /// Notes are never answered; wrong ones are dropped.
    async fn note(&mut self, user: UserId, note: &Note) -> Result<(), Reply> {
        let Name::Person(people) = self.resolve(&user, &note.topic)? else {
            return Ok(());
        };
        let attached = self
            .attached
            .contains_key(&TopicKey::one_to_one(&people[0], &people[1]));
        let request = match note.what.as_str() {
            "kp" if attached => TopicRequest::Typing("kp"),
            "kpa" if attached => TopicRequest::Typing("kpa"),
            "kpv" if attached => TopicRequest::Typing("kpv"),
            "read" if attached && note.seq > 0 => TopicRequest::Read(note.seq),
            "recv" if note.seq > 0 && self.stands_in(&people).await? => {
                TopicRequest::Received(note.seq)
            }
            _ => return Ok(()),
        };
        self.tell_topic(user, None, note.topic.clone(), &people, request)
            .await;
        Ok(())
    }
}

fn refuse(server: &Server, command: Command, refusal: Reply) {
    if let Command::Request {
        session, id, name, ..
    } = command
    {
        session.send(&refusal.into_frame(id, Some(name), server.clock.now()));
    }
}
