//! What one client says, in order: handshake, log-in, then requests, each sent to where it is answered.
//!
//! Requests about one topic keep their order: the topic's own task answers them. Only what may ask
//! another domain runs beside, so that a session never waits (rules.md 13).

use std::{collections::HashMap, future::Future, sync::Arc};

use bytes::Bytes;
use freehold_proto::{DomainName, GroupId, Timestamp, UserId};
use freehold_store::{Tables, TopicKey};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    encoding::Encoding,
    finding::Find,
    frames::is_plain,
    grpc,
    meeting::Meeting,
    reply,
    reply::{Reply, Status},
    requests::{Del, Extra, Get, GetQuery, Leave, Note, Pub, Request, Set, SetQuery, Sub},
    session::Session,
};
use crate::{
    accounts::{Caller, Level},
    me,
    server::Server,
    topic::{
        CallEvent, Command, Founding, TopicName, TopicRequest, channel_name, hub::Hub,
        meet_channel, meet_group, message::Draft, parts,
    },
};

/// People elsewhere whom one session looks up at once.
const MEETINGS_MAX: usize = 64;
/// Groups and channels elsewhere that one session looks up at once.
const LOOKUPS_MAX: usize = 8;

/// The state of one client connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) session: Session,
    pub(super) version: Option<(u32, u32)>,
    pub(super) caller: Option<Caller>,
    /// What the first `{hi}` is answered with.
    pub(super) welcome: Status,
    pub(super) fnd: Option<Find>,
    /// People elsewhere who are being looked up.
    meetings: HashMap<TopicKey, Meeting>,
    /// Groups and channels elsewhere that may be looked up at once.
    lookups: Arc<Semaphore>,
}

/// A group or channel together with the domain that it is said to live at.
#[derive(Debug)]
struct Elsewhere {
    group: GroupId,
    channel: bool,
    home: DomainName,
}

/// What a name that a client used stands for.
#[derive(Debug)]
enum Name {
    Me,
    Fnd,
    /// A topic, and whether its channel is meant.
    Topic(TopicName, bool),
    /// A group to be made, with a channel or without.
    New(bool),
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, session: Session) -> Self {
        Self {
            server,
            session,
            version: None,
            caller: None,
            welcome: reply::CREATED,
            fnd: None,
            meetings: HashMap::new(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
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
    pub(super) async fn handle(&mut self, frame: Bytes) {
        if frame.len() > self.server.rules.message_bytes_max {
            return self.refuse_unread(None, Some(reply::TOO_LARGE)).await;
        }
        let parsed = match self.session.encoding() {
            Encoding::Json => Request::parse(&frame),
            Encoding::Protobuf => grpc::read(frame),
        };
        let (request, extra) = match parsed {
            Ok(parsed) => parsed,
            Err(fault) => {
                tracing::debug!(session = self.session.id(), %fault, "a client sent something unreadable");
                let answer = (!fault.is_note()).then_some(reply::MALFORMED);
                return self.refuse_unread(fault.id(), answer).await;
            }
        };
        let (id, topic) = request.address();
        let (id, topic) = (id.map(str::to_owned), topic.map(str::to_owned));
        let is_note = matches!(request, Request::Note(_));
        if let Err(much) = self.count(Some(&request)) {
            if !is_note {
                self.answer(id.as_deref(), topic.as_deref(), much);
            }
            return self.rest().await;
        }
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
        for name in self.session.take_topics() {
            Hub::send(&self.server, &name, Command::Detach(self.session.clone())).await;
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
            Request::Hi(hi) => return self.hi(hi).await,
            _ if self.version.is_none() => return Err(reply::OUT_OF_SEQUENCE.into()),
            Request::Acc(acc) => return self.acc(*acc).await,
            Request::Login(login) => return self.login(login).await,
            _ => {}
        }
        let Some((request, extra)) = self.judged(request, extra).await else {
            return Ok(());
        };
        let caller = self.caller_of(&extra)?;
        self.audit(&caller, &request).await?;
        match request {
            Request::Sub(sub) => self.sub(caller, *sub).await,
            Request::Leave(leave) => self.leave(caller, leave).await,
            Request::Pub(publish) => self.publish(caller, publish, extra.attachments).await,
            Request::Get(get) => self.get(caller, *get).await,
            Request::Set(set) => self.set(caller, *set).await,
            Request::Del(del) => self.del(caller, del).await,
            Request::Note(note) => self.note(caller, note).await,
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

    fn resolve(&self, user: &UserId, topic: &str) -> Result<Name, Reply> {
        match topic {
            "me" => return Ok(Name::Me),
            "fnd" => return Ok(Name::Fnd),
            "slf" => return Ok(Name::Topic(TopicName::Saved(user.clone()), false)),
            "sys" => {
                return Ok(Name::Topic(
                    TopicName::Reports(self.server.us.clone()),
                    false,
                ));
            }
            _ => {}
        }
        if topic.starts_with("new") || topic.starts_with("nch") {
            return Ok(Name::New(topic.starts_with("nch")));
        }
        let (group, as_reader) = match topic.strip_prefix("chn") {
            Some(rest) => (format!("grp{rest}"), true),
            None => (topic.to_owned(), false),
        };
        if group.starts_with("grp") {
            // An invitation may name the domain that the group lives at; clients see groups bare.
            let (bare, hint) = group.split_once('@').unwrap_or((&group, ""));
            let id = bare.parse().map_err(|_| reply::TOPIC_NOT_FOUND)?;
            if !hint.is_empty() {
                let other = topic.split('@').next().unwrap_or_default();
                return Err(Reply::with(reply::USE_OTHER, json!({ "topic": other })));
            }
            return Ok(Name::Topic(TopicName::Group(id), as_reader));
        }
        let other = self
            .server
            .ids
            .read(topic)
            .map_err(|_| reply::TOPIC_NOT_FOUND)?;
        if other == *user {
            return Err(reply::PERMISSION_DENIED.into());
        }
        Ok(Name::Topic(TopicName::one_to_one(user, &other), false))
    }

    async fn sub(&mut self, caller: Caller, sub: Sub) -> Result<(), Reply> {
        let get = sub.get.unwrap_or_default();
        if !get.is_sound() {
            return Err(reply::MALFORMED.into());
        }
        let user = caller.user.clone();
        if let Some(elsewhere) = self.elsewhere(&sub.topic) {
            return self.meet(elsewhere, (sub.id, sub.topic), None);
        }
        match self.resolve(&user, &sub.topic)? {
            Name::Me => {
                // An administrator speaks for others, but does not stand for them.
                if self.caller.as_ref().is_some_and(|it| it.user != user) {
                    return Err(reply::PERMISSION_DENIED.into());
                }
                // What is refused attaches nobody.
                if let Some(desc) = sub.set.as_ref().and_then(|it| it.desc.as_ref()) {
                    me::set_description(&self.server, &caller, &self.session, desc).await?;
                }
                let came = me::enter(&self.server, &user, &self.session).await?;
                self.answer(sub.id.as_deref(), Some("me"), reply::OK);
                self.show_me(&caller, &sub.id, &get).await?;
                // COMPAT web app: presence of contacts that it has not been shown yet upsets it.
                if came {
                    me::announce(&self.server, &user, &self.session).await?;
                }
                Ok(())
            }
            Name::Fnd => {
                let before = self.fnd.is_some();
                self.fnd.get_or_insert_default();
                if let Some(desc) = sub.set.as_ref().and_then(|it| it.desc.as_ref())
                    && let Err(refusal) = self.change_query(&user, desc).await
                {
                    self.fnd.take_if(|_| !before);
                    return Err(refusal);
                }
                self.answer(sub.id.as_deref(), Some("fnd"), reply::OK);
                if !get.what.is_empty() {
                    self.find(&caller, sub.id, &get).await?;
                }
                Ok(())
            }
            Name::New(channel) => {
                self.found(caller, sub.id, sub.topic, channel, (sub.set, get))
                    .await
            }
            Name::Topic(name, as_reader) => {
                let set = sub.set.unwrap_or_default();
                // Here one speaks for oneself only.
                let whose = set.sub.as_ref().and_then(|it| it.user.as_deref());
                if whose.is_some_and(|it| !it.is_empty()) {
                    return Err(reply::MALFORMED.into());
                }
                let key = name.key();
                let before = self.session.is_attached(key);
                if !self.session.attach(&name) {
                    return Err(reply::POLICY.into());
                }
                let request = TopicRequest::Sub {
                    as_reader,
                    set: Box::new(set),
                    get: Box::new(get),
                };
                let asked = self
                    .ask_topic(caller, sub.id, sub.topic, name, request)
                    .await;
                if asked.is_err() && !before {
                    self.session.detach(key);
                }
                asked
            }
        }
    }

    /// What is said to live at another domain, if a name means such a group or channel.
    fn elsewhere(&self, topic: &str) -> Option<Elsewhere> {
        let channel = topic.starts_with("chn");
        let rest = topic.strip_prefix("chn").or(topic.strip_prefix("grp"))?;
        let (rest, home) = rest.split_once('@')?;
        let home = home.to_lowercase().parse::<DomainName>().ok()?;
        let group = format!("grp{rest}").parse().ok()?;
        (home != self.server.us).then_some(Elsewhere {
            group,
            channel,
            home,
        })
    }

    /// Answers who names a group or channel together with the domain it lives at: that domain is asked,
    /// beside the session's queue, unless it is known. What it is may be asked under that name; to read it,
    /// it has another one here.
    fn meet(
        &self,
        elsewhere: Elsewhere,
        (id, topic): (Option<String>, String),
        asks: Option<(Caller, GetQuery)>,
    ) -> Result<(), Reply> {
        let permit = Arc::clone(&self.lookups).try_acquire_owned();
        let permit = permit.map_err(|_| reply::UNAVAILABLE)?;
        let (server, session) = (Arc::clone(&self.server), self.session.clone());
        let Elsewhere {
            group,
            channel,
            home,
        } = elsewhere;
        self.beside(async move {
            let met = match channel {
                true => meet_channel(&server, group, &home).await,
                false => meet_group(&server, group, &home).await,
            };
            drop(permit);
            let reply = match (met, asks) {
                (Ok(()), Some((caller, query))) => {
                    let command = Command::Request {
                        session,
                        caller,
                        id,
                        name: topic,
                        request: TopicRequest::Get(Box::new(query)),
                    };
                    return Hub::send(&server, &TopicName::Group(group), command).await;
                }
                (Ok(()), None) => {
                    let name = match channel {
                        true => channel_name(&group),
                        false => group.to_string(),
                    };
                    let other = json!({ "topic": name });
                    Reply::with(reply::USE_OTHER, other)
                }
                (Err(refusal), _) => refusal.into(),
            };
            session.send(&reply.into_frame(id, Some(topic), server.clock.now()));
        });
        Ok(())
    }

    /// Makes a group.
    async fn found(
        &mut self,
        caller: Caller,
        id: Option<String>,
        temporary: String,
        channel: bool,
        (set, get): (Option<SetQuery>, GetQuery),
    ) -> Result<(), Reply> {
        let (record, signature) = self.server.signer.found_group().map_err(|fault| {
            tracing::error!(%fault, "a group cannot be made");
            Reply::from(reply::INTERNAL)
        })?;
        let group = GroupId::of_record(&record);
        let name = TopicName::Group(group);
        if !self.session.attach(&name) {
            return Err(reply::POLICY.into());
        }
        let request = TopicRequest::Found(Box::new(Founding {
            record: (record.into(), Bytes::copy_from_slice(&signature)),
            channel,
            temporary,
            set: set.unwrap_or_default(),
            get,
        }));
        self.tell_topic(caller, id, group.to_string(), &name, request)
            .await;
        Ok(())
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

    /// Hands a request to a topic. Of a person elsewhere of whom nothing is known their own domain is
    /// asked first.
    async fn ask_topic(
        &mut self,
        caller: Caller,
        id: Option<String>,
        topic: String,
        name: TopicName,
        request: TopicRequest,
    ) -> Result<(), Reply> {
        let TopicName::OneToOne(people) = &name else {
            self.tell_topic(caller, id, topic, &name, request).await;
            return Ok(());
        };
        let other = people[1].clone();
        let known = self.server.profile(&other).await?.is_some();
        if self.server.ids.is_ours(&other) && !known {
            return Err(reply::USER_NOT_FOUND.into());
        }
        // An attempt to attach says nothing yet: it may have been refused.
        if known || self.subscribed(&caller.user, &name).await? {
            self.tell_topic(caller, id, topic, &name, request).await;
            return Ok(());
        }
        let command = Command::Request {
            session: self.session.clone(),
            caller,
            id,
            name: topic,
            request,
        };
        self.meetings.retain(|_, it| !it.is_over());
        if self.meetings.len() >= MEETINGS_MAX {
            return Err(reply::UNAVAILABLE.into());
        }
        let command = match self.meetings.get(&name.key()) {
            Some(meeting) => meeting.pass(command).await,
            None => Err(command),
        };
        if let Err(command) = command {
            let (server, key) = (Arc::clone(&self.server), name.key());
            let (meeting, task) = Meeting::new(server, name, other, command);
            self.meetings.insert(key, meeting);
            self.beside(task);
        }
        Ok(())
    }

    /// Runs something beside the session's queue.
    pub(super) fn beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.server.tasks.spawn("request", task);
    }

    async fn stands_in(&self, user: &UserId, name: &TopicName) -> Result<bool, Reply> {
        Ok(self.session.is_attached(name.key()) || self.subscribed(user, name).await?)
    }

    async fn subscribed(&self, user: &UserId, name: &TopicName) -> Result<bool, Reply> {
        let (user, key) = (user.clone(), name.key());
        let read = move |tables: &Tables| tables.subscription(&user, key);
        Ok(self.server.tables.read(read).await?.is_some())
    }

    async fn tell_topic(
        &mut self,
        caller: Caller,
        id: Option<String>,
        topic: String,
        name: &TopicName,
        request: TopicRequest,
    ) {
        let command = Command::Request {
            session: self.session.clone(),
            caller,
            id,
            name: topic,
            request,
        };
        let command = match self.meetings.get(&name.key()) {
            Some(meeting) => meeting.pass(command).await,
            None => Err(command),
        };
        if let Err(command) = command {
            Hub::send(&self.server, name, command).await;
        }
    }

    async fn leave(&mut self, caller: Caller, leave: Leave) -> Result<(), Reply> {
        match self.resolve(&caller.user, &leave.topic)? {
            Name::Me | Name::Fnd if leave.unsub => Err(reply::PERMISSION_DENIED.into()),
            Name::Me => {
                if !self.session.on_me() {
                    return Err(reply::NOT_JOINED.into());
                }
                me::leave(&self.server, &caller.user, &self.session).await?;
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
            Name::New(_) => Err(reply::TOPIC_NOT_FOUND.into()),
            Name::Topic(name, _) => {
                if !self.session.is_attached(name.key()) {
                    return Err(match leave.unsub {
                        true => reply::ATTACH_FIRST,
                        false => reply::NOT_JOINED,
                    }
                    .into());
                }
                let request = TopicRequest::Leave(leave.unsub);
                self.tell_topic(caller, leave.id, leave.topic, &name, request)
                    .await;
                Ok(())
            }
        }
    }

    async fn publish(
        &mut self,
        caller: Caller,
        publish: Pub,
        attachments: Vec<String>,
    ) -> Result<(), Reply> {
        let name = match self.resolve(&caller.user, &publish.topic)? {
            Name::Me | Name::Fnd => return Err(reply::NOT_ALLOWED.into()),
            Name::New(_) => return Err(reply::TOPIC_NOT_FOUND.into()),
            Name::Topic(name, _) => name,
        };
        // Everybody may write to the administrators at any time.
        let open = matches!(name, TopicName::Reports(_));
        if !open && !self.session.is_attached(name.key()) {
            return Err(reply::ATTACH_FIRST.into());
        }
        if self.server.online.uses(&caller.user, &self.session) {
            let (server, session) = (Arc::clone(&self.server), self.session.clone());
            self.beside(me::tell_agent(server, caller.user.clone(), session));
        }
        let draft = Draft {
            head: publish.head.unwrap_or_default(),
            content: publish
                .content
                .filter(|it| is_plain(it.get().as_bytes()))
                .ok_or(reply::MALFORMED)?,
            attachments,
        };
        let request = TopicRequest::Pub {
            draft,
            noecho: publish.noecho,
        };
        self.tell_topic(caller, publish.id, publish.topic, &name, request)
            .await;
        Ok(())
    }

    async fn get(&mut self, caller: Caller, get: Get) -> Result<(), Reply> {
        if !get.query.is_sound() {
            return Err(reply::MALFORMED.into());
        }
        if let Some(elsewhere) = self.elsewhere(&get.topic) {
            let asks = Some((caller, get.query));
            return self.meet(elsewhere, (get.id, get.topic), asks);
        }
        let user = &caller.user;
        match self.resolve(user, &get.topic)? {
            Name::Me => {
                self.session
                    .send_all(&me::query(&self.server, &caller, &get.id, &get.query).await?);
                Ok(())
            }
            Name::Fnd => {
                if parts(&get.query.what).is_empty() {
                    return Err(reply::MALFORMED.into());
                }
                self.find(&caller, get.id, &get.query).await
            }
            Name::New(_) => Err(reply::TOPIC_NOT_FOUND.into()),
            Name::Topic(name, _) => {
                let request = TopicRequest::Get(Box::new(get.query));
                self.ask_topic(caller, get.id, get.topic, name, request)
                    .await
            }
        }
    }

    async fn set(&mut self, caller: Caller, set: Set) -> Result<(), Reply> {
        match self.resolve(&caller.user, &set.topic)? {
            Name::Me => self.set_me(&caller, set).await,
            Name::Fnd => self.set_fnd(&caller.user, set).await,
            Name::New(_) => Err(reply::TOPIC_NOT_FOUND.into()),
            Name::Topic(name, _) => {
                if caller.admin.is_none() && !self.stands_in(&caller.user, &name).await? {
                    return Err(reply::TOPIC_NOT_FOUND.into());
                }
                let request = TopicRequest::Set(Box::new(set.query));
                self.tell_topic(caller, set.id, set.topic, &name, request)
                    .await;
                Ok(())
            }
        }
    }

    async fn del(&mut self, caller: Caller, del: Del) -> Result<(), Reply> {
        let request = match del.what.as_str() {
            "user" => return self.del_user(&caller, &del).await,
            "cred" => return self.del_credential(&caller, &del).await,
            "msg" => TopicRequest::DeleteMessages {
                ranges: del.delseq,
                hard: del.hard,
            },
            "topic" => TopicRequest::DeleteTopic,
            "sub" => {
                let target = self.server.ids.read(&del.user);
                TopicRequest::Evict(target.map_err(|_| reply::USER_NOT_FOUND)?)
            }
            _ => return Err(reply::MALFORMED.into()),
        };
        let name = match self.resolve(&caller.user, &del.topic)? {
            Name::Me | Name::Fnd => return Err(reply::NOT_ALLOWED.into()),
            Name::New(_) => return Err(reply::TOPIC_NOT_FOUND.into()),
            Name::Topic(name, _) => name,
        };
        if !self.stands_in(&caller.user, &name).await? {
            return Err(match request {
                TopicRequest::DeleteTopic => reply::TOPIC_NOT_FOUND,
                _ => reply::ATTACH_FIRST,
            }
            .into());
        }
        self.tell_topic(caller, del.id, del.topic, &name, request)
            .await;
        Ok(())
    }

    /// Notes are never answered; wrong ones are dropped.
    async fn note(&mut self, caller: Caller, note: Note) -> Result<(), Reply> {
        let Name::Topic(name, _) = self.resolve(&caller.user, &note.topic)? else {
            return Ok(());
        };
        let attached = self.session.is_attached(name.key());
        let request = match note.what.as_str() {
            "kp" if attached => TopicRequest::Typing("kp"),
            "kpa" if attached => TopicRequest::Typing("kpa"),
            "kpv" if attached => TopicRequest::Typing("kpv"),
            "read" if attached && note.seq > 0 => TopicRequest::Read(note.seq),
            "recv" if note.seq > 0 && self.stands_in(&caller.user, &name).await? => {
                TopicRequest::Received(note.seq)
            }
            "call" if note.seq > 0 && self.stands_in(&caller.user, &name).await? => {
                match CallEvent::from_client(&note.event) {
                    Some(event) => TopicRequest::Call {
                        seq: note.seq,
                        event,
                        payload: note.payload,
                    },
                    None => return Ok(()),
                }
            }
            _ => return Ok(()),
        };
        self.tell_topic(caller, None, note.topic.clone(), &name, request)
            .await;
        Ok(())
    }
}
