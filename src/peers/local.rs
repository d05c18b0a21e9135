//! The door through which other domains' words come in. Everything here was verified before: signed by
//! the peer, meant for us. What is checked here is whether it makes sense and for whom it is.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use freehold_federation::{
    Arrived, FileHead, FileOffer, FileQuery, FindQuery, GroupQuery, Incoming as Item, Local,
    StreamPosition, Unavailable, Verdict, hooks,
};
use freehold_keys::Opened;
use freehold_proto::{
    AccessMode, Destination, DomainName, GroupId, MessageId, Refusal, RefusalCode, UserId, limits,
    wire, wire::payload::Kind,
};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        files::FileKey,
        messages::put_seen,
        peers::put_stream_in,
        rows::{MessageRow, SeenRow, StreamRow},
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};
use tracing::{debug, error};

use crate::{
    accounts::access::State,
    files::{Attached, StorageError},
    me,
    peers::{evenly, groups::group_page, hasty::Hasty, known::Known},
    server::Server,
    topic::{
        CONSENT_RETRY, Command, Incoming, TopicName, hub::Hub, message, one_to_one::PeerRelation,
    },
};

/// Pairs of strangers and people who do not exist whose texts are counted.
const NOBODIES_MAX: usize = 100_000;

/// The domain, to its peers.
#[derive(Debug)]
pub struct Door {
    pub(super) server: Arc<Server>,
    /// What was written to people who do not exist, judged as what is written to people who do.
    nobodies: Mutex<HashMap<(UserId, UserId), Nobody>>,
}

/// Somebody who does not exist, as one stranger finds them.
#[derive(Debug, Default)]
struct Nobody {
    texts: usize,
    held: Option<MessageId>,
}

impl Nobody {
    /// Whether a message would have been shown before acceptance: the rules of `OneToOne::receive`.
    fn shows(&mut self, id: MessageId, text: Option<usize>) -> bool {
        if self.held.is_some_and(|it| it != id) {
            return false;
        }
        let short = text.is_some_and(|chars| chars <= limits::FIRST_CONTACT_CHARS_MAX);
        let shown = short && self.texts < limits::FIRST_CONTACT_TEXTS_MAX;
        self.held = (!shown).then_some(id);
        self.texts += usize::from(shown);
        shown
    }

    /// The author has deleted messages: the rules of `OneToOne::let_go`.
    fn lets_go(&mut self, ids: &[MessageId]) {
        self.held.take_if(|it| ids.contains(it));
    }
}

pub(super) fn unavailable(fault: StoreError) -> Unavailable {
    Unavailable(fault.to_string())
}

/// A message that makes sense: author, recipient, its length if it is plain text, the row, its files.
type Checked = (UserId, UserId, Option<usize>, MessageRow, Vec<Attached>);

/// An answer that is known, or one that a topic is going to give.
pub(super) enum Pending {
    Now(Verdict),
    Soon(oneshot::Receiver<Result<Verdict, Unavailable>>),
    /// That of an earlier item of the same batch, which is the same message.
    As(usize),
}

pub(super) fn refuse(code: RefusalCode, why: impl Into<String>) -> Refusal {
    Refusal::new(code, why)
}

impl Door {
    /// The door of a domain.
    #[must_use]
    pub fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            nobodies: Mutex::default(),
        }
    }

    /// Whether a message to somebody who does not exist would have been shown, had they existed: nobody
    /// must be told from somebody (rules.md 17).
    fn would_show(&self, people: (UserId, UserId), id: MessageId, text: Option<usize>) -> bool {
        let mut nobodies = self.nobodies.lock();
        if nobodies.len() >= NOBODIES_MAX {
            nobodies.clear();
        }
        nobodies.entry(people).or_default().shows(id, text)
    }

    /// Messages to somebody who does not exist are deleted.
    pub(super) fn lets_go(&self, people: &(UserId, UserId), ids: &[MessageId]) {
        if let Some(nobody) = self.nobodies.lock().get_mut(people) {
            nobody.lets_go(ids);
        }
    }

    pub(super) fn theirs(&self, text: &str, origin: &DomainName) -> Result<UserId, Refusal> {
        let user: UserId = text.parse()?;
        if user.domain() == origin {
            Ok(user)
        } else {
            Err(refuse(
                RefusalCode::AuthorNotOfOrigin,
                format!("{user} is not of {origin}"),
            ))
        }
    }

    pub(super) fn ours(&self, text: &str) -> Result<UserId, Refusal> {
        let user: UserId = text.parse()?;
        if self.server.ids.is_ours(&user) {
            Ok(user)
        } else {
            Err(refuse(
                RefusalCode::RecipientNotHere,
                format!("{user} is not of {}", self.server.us),
            ))
        }
    }

    pub(super) async fn exists(&self, user: &UserId) -> Result<bool, Unavailable> {
        let wanted = user.clone();
        let read = move |tables: &Tables| exists(tables, &wanted);
        self.server.tables.read(read).await.map_err(unavailable)
    }

    async fn decide(
        &self,
        origin: &DomainName,
        item: Arrived,
        known: &Known,
    ) -> Result<Pending, Unavailable> {
        if self.server.lives.has_begun_anew(origin) && self.is_of_former(origin, &item).await? {
            let why = "that belongs to an earlier life of your domain";
            let refusal = refuse(RefusalCode::NotPermitted, why);
            return Ok(Pending::Now(Verdict::Refused(refusal)));
        }
        let decided = match item {
            Arrived::Entry(entry) => Ok(self.entry(origin, *entry, known).await),
            Arrived::Envelope(opened) => match opened.header.to.clone() {
                Destination::Group(group) => self.letter(origin, group, opened, known).await?,
                Destination::Domain(_) => self.told(origin, *opened, known).await?,
            },
        };
        Ok(decided.unwrap_or_else(|refusal| Pending::Now(Verdict::Refused(refusal))))
    }

    /// Does it concern people, chats or groups of a life of the domain that is over?
    async fn is_of_former(&self, origin: &DomainName, item: &Arrived) -> Result<bool, Unavailable> {
        let (lives, origin) = (Arc::clone(&self.server.lives), origin.clone());
        let item = item.clone();
        let read = move |tables: &Tables| lives.concerns_former(tables, &origin, &item);
        self.server.tables.read(read).await.map_err(unavailable)
    }

    /// What one domain tells another.
    async fn told(
        &self,
        origin: &DomainName,
        opened: Opened,
        known: &Known,
    ) -> Result<Result<Pending, Refusal>, Unavailable> {
        match opened.payload.clone() {
            Kind::DirectMessage(message) => self.message(origin, opened, message, known).await,
            Kind::Relation(relation) => self.relation(origin, relation).await,
            Kind::Cursor(cursor) => self.cursor(origin, cursor).await,
            Kind::GroupInvitation(invitation) => self.invitation(origin, invitation).await,
            Kind::GroupMessage(_)
            | Kind::GroupChange(_)
            | Kind::GroupRequest(_)
            | Kind::FeedItem(_)
            | Kind::GroupConsent(_) => Ok(Err(refuse(
                RefusalCode::WrongDestination,
                "what is said in a group goes to the group",
            ))),
            Kind::CallEvent(event) => self.called(origin, event).await,
            Kind::DirectDeletion(deletion) => self.deletion(origin, deletion).await,
            Kind::GroupCursors(cursors) => Ok(self.marks(origin, cursors).await),
        }
    }

    /// A message. The same one twice is a duplicate; another one under its id is a conflict.
    async fn message(
        &self,
        origin: &DomainName,
        opened: Opened,
        message: wire::DirectMessage,
        known: &Known,
    ) -> Result<Result<Pending, Refusal>, Unavailable> {
        let id = opened.header.message_id;
        let hash = opened.envelope.header_hash();
        if let Some(seen) = known.seen(origin, id) {
            return Ok(seen_before(seen, &hash).map(Pending::Now));
        }
        let now = self.server.clock.now().as_millis();
        let seen = SeenRow {
            header_hash: Bytes::copy_from_slice(&hash),
            at: now,
            ..SeenRow::default()
        };
        match self.checked(origin, opened, &message, now) {
            Ok((author, recipient, text, row, attached)) if known.is_there(&recipient) => {
                let incoming = |decision| Incoming {
                    author: author.clone(),
                    text,
                    row,
                    attached,
                    seen,
                    decision,
                };
                let people = [author.clone(), recipient];
                let wrap = |decision| Command::Incoming(Box::new(incoming(decision)));
                Ok(Ok(self.ask(&people, wrap).await))
            }
            // Nobody here: the same answers as of somebody who has not looked yet.
            Ok((author, recipient, text, _, _))
                if self.would_show((author.clone(), recipient.clone()), id, text) =>
            {
                self.remember(origin, id, &seen)
                    .await
                    .map(|()| Ok(Pending::Now(Verdict::Ok)))
            }
            Ok(_) => {
                self.server
                    .tables
                    .commit(Batch::new())
                    .await
                    .map(drop)
                    .map_err(unavailable)?;
                Ok(Ok(Pending::Now(Verdict::Later {
                    code: RefusalCode::AwaitingConsent,
                    retry_after: CONSENT_RETRY,
                })))
            }
            Err(refusal) => {
                let seen = SeenRow {
                    refused: refusal.code.number(),
                    ..seen
                };
                self.remember(origin, id, &seen).await?;
                Ok(Err(refusal))
            }
        }
    }

    pub(super) async fn remember(
        &self,
        origin: &DomainName,
        id: MessageId,
        seen: &SeenRow,
    ) -> Result<(), Unavailable> {
        let mut batch = Batch::new();
        put_seen(&mut batch, origin, id, seen);
        self.server
            .tables
            .commit(batch)
            .await
            .map(drop)
            .map_err(unavailable)
    }

    /// Everything about a message that can be judged without its topic.
    fn checked(
        &self,
        origin: &DomainName,
        opened: Opened,
        message: &wire::DirectMessage,
        now: i64,
    ) -> Result<Checked, Refusal> {
        let author = self.theirs(&message.author, origin)?;
        let recipient = self.ours(&message.recipient)?;
        let (head, content) = message::makes_sense(&message.head, &message.content)?;
        let attached = Attached::read(&message.attachments)?;
        let plain = head.is_empty() && attached.is_empty();
        let text = message::plain_text_chars(&content).filter(|_| plain);
        let row = MessageRow {
            author: author.to_string(),
            message_id: Bytes::copy_from_slice(opened.header.message_id.as_bytes()),
            issued: opened.header.issued_at.as_millis(),
            received: now,
            envelope: Some(message::envelope_row(&opened.envelope)),
            ..MessageRow::default()
        };
        Ok((author, recipient, text, row, attached))
    }

    pub(super) async fn ask(
        &self,
        people: &[UserId; 2],
        wrap: impl FnOnce(oneshot::Sender<Result<Verdict, Unavailable>>) -> Command,
    ) -> Pending {
        let (decision, answer) = oneshot::channel();
        let name = TopicName::one_to_one(&people[0], &people[1]);
        Hub::send(&self.server, &name, wrap(decision)).await;
        Pending::Soon(answer)
    }

    /// How a person elsewhere stands towards one of ours.
    async fn relation(
        &self,
        origin: &DomainName,
        relation: wire::Relation,
    ) -> Result<Result<Pending, Refusal>, Unavailable> {
        let parsed = self.theirs(&relation.user, origin).and_then(|user| {
            let mode = |text: &str| AccessMode::from_peer(text).map_err(Refusal::from);
            let meaning = PeerRelation {
                want: mode(&relation.want)?,
                want_version: relation.want_version,
                given: mode(&relation.given)?,
                given_version: relation.given_version,
            };
            Ok((user, self.ours(&relation.peer)?, meaning))
        });
        let (peer, user, meaning) = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !self.exists(&user).await? {
            // Nobody here: the same answer as for somebody, after the same kind of wait (rules.md 17).
            self.server
                .tables
                .commit(Batch::new())
                .await
                .map(drop)
                .map_err(unavailable)?;
            return Ok(Ok(Pending::Now(Verdict::Ok)));
        }
        let described = self
            .server
            .remember(&peer, &relation.public, relation.public_changed_ms)
            .await
            .map_err(unavailable)?;
        let people = [peer.clone(), user];
        let wrap = |decision| Command::Relate {
            peer,
            relation: meaning,
            described,
            decision,
        };
        Ok(Ok(self.ask(&people, wrap).await))
    }

    /// How far a person elsewhere got among the messages of one of ours.
    async fn cursor(
        &self,
        origin: &DomainName,
        cursor: wire::Cursor,
    ) -> Result<Result<Pending, Refusal>, Unavailable> {
        let people = self
            .theirs(&cursor.reader, origin)
            .and_then(|reader| Ok((reader, self.ours(&cursor.author)?)));
        let (reader, author) = match people {
            Ok(people) => people,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let topic = TopicKey::one_to_one(&reader, &author);
        let us = self.server.us.clone();
        let position = move |tables: &Tables, id: &[u8]| -> Result<u32, StoreError> {
            let Ok(id) = MessageId::from_slice(id) else {
                return Ok(0);
            };
            // A message of another topic says nothing about this one.
            let seen = tables
                .seen(&us, id)?
                .filter(|it| TopicKey::from_slice(&it.topic) == Some(topic));
            Ok(seen.map_or(0, |it| it.seq))
        };
        let read = move |tables: &Tables| {
            Ok((
                position(tables, &cursor.read)?,
                position(tables, &cursor.received)?,
            ))
        };
        let (read, received) = self.server.tables.read(read).await.map_err(unavailable)?;
        if read == 0 && received == 0 {
            return Ok(Ok(Pending::Now(Verdict::Ok)));
        }
        let people = [reader.clone(), author];
        let wrap = |decision| Command::Progress {
            reader,
            read,
            received,
            decision,
        };
        Ok(Ok(self.ask(&people, wrap).await))
    }
}

/// Another message under a known id: somebody's fault at the peer, or an attempt.
pub(super) fn conflict() -> Refusal {
    error!("a peer used one message id for two messages");
    refuse(RefusalCode::Conflict, "another message came under this id")
}

/// The answer to a message id that came before.
pub(super) fn seen_before(seen: &SeenRow, hash: &[u8; 32]) -> Result<Verdict, Refusal> {
    if *seen.header_hash != *hash {
        return Err(conflict());
    }
    match seen.refused {
        0 => Ok(Verdict::Duplicate),
        code => Err(refuse(RefusalCode::from_number(code), "as before")),
    }
}

/// What is taken once in all, by its message id: that and the hash of its header.
fn once(item: &Item) -> Option<(MessageId, [u8; 32])> {
    let Arrived::Envelope(opened) = &item.item else {
        return None;
    };
    let once = matches!(
        opened.payload,
        Kind::DirectMessage(_) | Kind::GroupMessage(_) | Kind::GroupRequest(_)
    );
    once.then(|| (opened.header.message_id, opened.envelope.header_hash()))
}

async fn answered(
    answer: oneshot::Receiver<Result<Verdict, Unavailable>>,
) -> Result<Verdict, Unavailable> {
    answer
        .await
        .unwrap_or_else(|_| Err(Unavailable("the topic stopped".to_owned())))
}

#[async_trait]
impl Local for Door {
    async fn deliver(
        &self,
        origin: &DomainName,
        epoch: u64,
        items: Vec<Item>,
        decided: u64,
    ) -> Result<Vec<Verdict>, Unavailable> {
        let begun = Instant::now();
        let known = Known::read(&self.server.tables, origin, &items).await;
        let known = known.map_err(unavailable)?;
        let mut pending: Vec<Pending> = Vec::with_capacity(items.len());
        let mut hasty = Hasty::default();
        // Messages within one batch; the store knows those of former ones.
        let mut here = HashMap::new();
        for (index, item) in items.into_iter().enumerate() {
            if let Some(later) = hasty.judge(&self.server.limits, origin, &item.item) {
                pending.push(Pending::Now(later));
                continue;
            }
            let first = once(&item).map(|(id, hash)| {
                let first = *here.entry(id).or_insert((index, hash));
                (first, first.1 == hash)
            });
            pending.push(match first {
                Some(((first, _), true)) if first != index => Pending::As(first),
                Some((_, false)) => Pending::Now(Verdict::Refused(conflict())),
                _ => self.decide(origin, item.item, &known).await?,
            });
        }
        let mut verdicts: Vec<Verdict> = Vec::with_capacity(pending.len());
        for one in pending {
            let verdict = match one {
                Pending::Now(verdict) => verdict,
                Pending::Soon(answer) => answered(answer).await?,
                Pending::As(first) => match verdicts.get(first) {
                    Some(Verdict::Ok) | None => Verdict::Duplicate,
                    Some(other) => other.clone(),
                },
            };
            verdicts.push(verdict);
        }
        hooks::reached("deliver.decided");
        let mut batch = Batch::new();
        let row = StreamRow {
            epoch,
            position: decided,
            ..StreamRow::default()
        };
        put_stream_in(&mut batch, origin, &row);
        self.server
            .tables
            .commit(batch)
            .await
            .map(drop)
            .map_err(unavailable)?;
        hooks::reached("deliver.noted");
        if known.strange {
            evenly::wait(begun).await;
        }
        Ok(verdicts)
    }

    async fn received(&self, origin: &DomainName) -> Result<StreamPosition, Unavailable> {
        let wanted = origin.clone();
        let row = self
            .server
            .tables
            .read(move |tables| tables.stream_in(&wanted))
            .await;
        let row = row.map_err(unavailable)?;
        Ok(StreamPosition {
            epoch: row.epoch,
            position: row.position,
        })
    }

    async fn signals(&self, origin: &DomainName, signals: Vec<wire::Signal>) {
        for signal in signals {
            if !signal.group.is_empty() {
                self.group_signal(origin, &signal).await;
            } else if let (Ok(from), Ok(to)) =
                (self.theirs(&signal.user, origin), self.ours(&signal.peer))
            {
                match signal.call {
                    Some(said) => self.call_signal(from, to, said).await,
                    None => self.signal(from, to, &signal.what).await,
                }
            }
        }
    }

    async fn read_group(
        &self,
        peer: &DomainName,
        group: GroupId,
        query: GroupQuery,
    ) -> Result<Option<wire::read_group_response::What>, Unavailable> {
        if let GroupQuery::Ballot(asked) = query {
            return self.ballot(peer, group, asked).await;
        }
        let (server, peer) = (Arc::clone(&self.server), peer.clone());
        let read = move |tables: &Tables| group_page(&server, tables, &peer, group, &query);
        let answer = self.server.tables.read(read).await.map_err(unavailable)?;
        // Rows can be seen before their commit group is on disk.
        let barrier = self.server.tables.commit(Batch::new()).await;
        barrier.map(drop).map_err(unavailable)?;
        Ok(answer)
    }

    async fn read_file(
        &self,
        peer: &DomainName,
        query: FileQuery,
    ) -> Result<Option<FileOffer>, Unavailable> {
        let files = &self.server.files;
        let key = FileKey::from_bytes(query.key);
        let found = files.shared(key, query.sha256).await.map_err(unavailable)?;
        let Some(row) = found.filter(|it| query.offset <= it.size) else {
            return Ok(None);
        };
        let sha256 = (&*row.hash).try_into();
        let sha256 = sha256.map_err(|_| Unavailable("the row of a file is damaged".to_owned()))?;
        let fault = |it: StorageError| Unavailable(it.to_string());
        let bytes = match query.offset == row.size {
            true => stream::empty().boxed(),
            false => {
                let bytes = files.read(key, query.offset..row.size).await;
                bytes.map_err(fault)?.map_err(fault).boxed()
            }
        };
        debug!(%peer, size = row.size, offset = query.offset, "a peer reads a file");
        let head = FileHead {
            size: row.size,
            sha256,
            mime: row.mime,
            name: row.name,
        };
        let left = row.size - query.offset;
        Ok(Some(FileOffer { head, left, bytes }))
    }

    async fn find(
        &self,
        _peer: &DomainName,
        query: FindQuery,
    ) -> Result<Option<wire::Person>, Unavailable> {
        if !self.server.rules.findable {
            return Ok(None);
        }
        let us = self.server.us.clone();
        let read = move |tables: &Tables| {
            let user = match query {
                FindQuery::User(user) => user,
                // Nobody has the decoy: a name that does not exist costs the same reads as one that does.
                FindQuery::LocalPart(name) => {
                    user_of(tables, &us, &name)?.unwrap_or_else(|| UserId::new(DECOY, us))
                }
            };
            let account = tables.account(&user)?;
            let account = account.filter(|it| State::of(it) == State::Ok);
            Ok(account.map(|account| wire::Person {
                user: user.to_string(),
                public: account.public,
                public_changed_ms: account.updated,
            }))
        };
        self.server.tables.read(read).await.map_err(unavailable)
    }
}

/// Whether a person of ours is there. Blocks.
pub(super) fn exists(tables: &Tables, user: &UserId) -> Result<bool, StoreError> {
    let account = tables.account(user)?;
    // Who waits for approval is nobody yet.
    Ok(account.is_some_and(|it| State::of(&it) != State::Pending))
}

/// Random part of an id that is given to nobody.
const DECOY: [u8; 8] = [0; 8];

/// Our person with a log-in name, whatever its case. Blocks.
fn user_of(tables: &Tables, us: &DomainName, name: &str) -> Result<Option<UserId>, StoreError> {
    let login = tables.login(&name.to_lowercase())?;
    let local = login.and_then(|it| <[u8; 8]>::try_from(&*it.user).ok());
    Ok(local.map(|local| UserId::new(local, us.clone())))
}

impl Door {
    async fn signal(&self, from: UserId, to: UserId, what: &str) {
        let what = match what {
            "kp" => "kp",
            "kpa" => "kpa",
            "kpv" => "kpv",
            "on" | "here" | "off" => return me::came_abroad(&self.server, &from, &to, what).await,
            // Of a newer version: worth nothing a minute later, so nothing is lost.
            _ => return,
        };
        // A stranger's signal does not load a topic: only one that both stand in counts.
        let topic = TopicKey::one_to_one(&from, &to);
        let wanted = to.clone();
        let read = move |tables: &Tables| tables.subscription(&wanted, topic);
        if let Ok(Some(_)) = self.server.tables.read(read).await {
            let name = TopicName::one_to_one(&from, &to);
            Hub::send(&self.server, &name, Command::Typing { user: from, what }).await;
        }
    }
}
