//! The durable outbox: rows that refer to messages, relations and cursors, one stream for each peer.
//!
//! A row exists exactly as long as its item is undecided, so neither side needs the positions to tell
//! old from new. A message that its recipient's domain wants *later* is parked, and with it every
//! later message of the same author in the same topic (rules.md 7).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use freehold_federation::{Outgoing, Unavailable, Verdict};
use freehold_keys::Signer;
use freehold_proto::{
    AccessMode, Destination, DomainName, Envelope, MessageId, Refusal, Timestamp, UserId, wire,
};
use freehold_store::{
    Batch, Outcome, StoreError, Tables, TopicKey,
    tables::{
        outbox::{self, CURSOR, MESSAGE, RELATION},
        rows::{MessageRow, OutboxRow, StreamRow},
    },
};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::{
    server::Server,
    topic::{Command, hub::Hub, message},
};

/// Parked rows looked at in one go.
const PARKED_PAGE: usize = 1000;
/// Waiting rows looked at in one go.
const PAGE: usize = 1000;
/// Items that may wait for one peer; then messages to it are refused, visibly.
const WAITING_MAX: usize = 50_000;
/// How far back a cursor looks for a message of the other person.
const CURSOR_SPAN: u32 = 1000;

type Pair = (TopicKey, UserId);

/// What waits for all peers.
#[derive(Debug)]
pub struct Outbox {
    tables: Tables,
    signer: Signer,
    peers: Mutex<HashMap<DomainName, Arc<Mutex<Stream>>>>,
    /// One stream is opened at a time.
    opening: tokio::sync::Mutex<()>,
    server: Mutex<Weak<Server>>,
}

/// Our stream to one peer, as far as memory needs to know it.
#[derive(Debug)]
struct Stream {
    epoch: u64,
    /// The position that the next item gets.
    next: u64,
    /// Items that wait, parked ones included.
    waiting: usize,
    /// When the parked messages of a pair may be offered again.
    parked: HashMap<Pair, Timestamp>,
    /// Pairs released since the last batch was handed out: its answers are older than that news.
    released: HashSet<Pair>,
    /// Relations and cursors that the peer wants later, by position, and when.
    cells_held: HashMap<u64, Timestamp>,
    /// What was handed out under which position and is not settled.
    offered: BTreeMap<u64, Offer>,
}

#[derive(Clone, Debug)]
struct Offer {
    row: OutboxRow,
    /// Of a parked message: the position under which it is parked.
    parked_at: Option<u64>,
}

fn unavailable(fault: StoreError) -> Unavailable {
    Unavailable(fault.to_string())
}

fn pair_of(row: &OutboxRow) -> Option<Pair> {
    Some((TopicKey::from_slice(&row.topic)?, row.user.parse().ok()?))
}

fn is_message(row: &OutboxRow) -> bool {
    row.kind == u32::from(MESSAGE)
}

impl Outbox {
    /// The outbox of a domain, over its store.
    #[must_use]
    pub fn new(tables: Tables, signer: Signer) -> Self {
        Self {
            tables,
            signer,
            peers: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            server: Mutex::default(),
        }
    }

    /// Says whom to tell when a message of ours is refused.
    pub fn serve(&self, server: &Arc<Server>) {
        *self.server.lock() = Arc::downgrade(server);
    }

    /// The stream to a peer, read from the store the first time. Its own row is durable before
    /// anything is queued: by it a start finds what waits.
    async fn stream_to(&self, peer: &DomainName) -> Result<Arc<Mutex<Stream>>, StoreError> {
        let known = || self.peers.lock().get(peer).cloned();
        if let Some(stream) = known() {
            return Ok(stream);
        }
        let _turn = self.opening.lock().await;
        if let Some(stream) = known() {
            return Ok(stream);
        }
        let wanted = peer.clone();
        let load = move |tables: &Tables| Stream::load(tables, &wanted);
        let (stream, is_new) = self.tables.read(load).await?;
        if is_new {
            let mut batch = Batch::new();
            outbox::put_stream_out(&mut batch, peer, &stream.row(0));
            // A batch without guards is applied.
            let _applied = self.tables.commit(batch).await?;
        }
        let stream = Arc::new(Mutex::new(stream));
        self.peers.lock().insert(peer.clone(), Arc::clone(&stream));
        Ok(stream)
    }

    /// Makes sure that [`Outbox::put_message`] finds the stream. To be called before.
    pub async fn prepare(&self, peer: &DomainName) -> Result<(), StoreError> {
        self.stream_to(peer).await.map(drop)
    }

    /// Whether another message may wait for a peer. The stream must be prepared.
    #[must_use]
    pub fn has_room(&self, peer: &DomainName) -> bool {
        let stream = self.peers.lock().get(peer).cloned();
        stream.is_some_and(|it| it.lock().waiting < WAITING_MAX)
    }

    /// Adds a message to a batch, behind everything that was added before. The stream must be
    /// prepared.
    pub fn put_message(
        &self,
        batch: &mut Batch,
        peer: &DomainName,
        (topic, author): (TopicKey, &UserId),
        seq: u32,
        now: Timestamp,
    ) {
        let stream = self.peers.lock().get(peer).cloned();
        let stream = stream.expect("the topic's task prepares the stream before it publishes");
        let row = row(MESSAGE, topic, author, seq, now);
        let position = stream.lock().take_position();
        outbox::put_item(batch, peer, position, &row);
    }

    /// Adds the present state of a relation or cursor to a batch, in place of an older one.
    pub async fn put_cell(
        &self,
        batch: &mut Batch,
        peer: &DomainName,
        kind: u8,
        (topic, user): (TopicKey, &UserId),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let stream = self.stream_to(peer).await?;
        let (wanted, cell) = (peer.clone(), (topic, user.clone()));
        let former = self
            .tables
            .read(move |tables| tables.outbox_cell(&wanted, kind, cell.0, &cell.1))
            .await?;
        let row = row(kind, topic, user, 0, now);
        let position = stream.lock().take_position();
        if former.is_some() {
            let mut stream = stream.lock();
            stream.waiting = stream.waiting.saturating_sub(1);
        }
        outbox::put_cell(batch, peer, (topic, user), former, position, &row);
        Ok(())
    }

    /// Lets the parked messages of a pair go at once, and those that are about to be parked.
    pub fn release(&self, peer: &DomainName, topic: TopicKey, author: &UserId) {
        let Some(stream) = self.peers.lock().get(peer).cloned() else {
            return;
        };
        let pair = (topic, author.clone());
        let mut stream = stream.lock();
        if let Some(due) = stream.parked.get_mut(&pair) {
            *due = Timestamp::EPOCH;
        }
        stream.released.insert(pair);
    }

    /// Waiting items in order, without those that are held and those that must park behind earlier
    /// ones.
    async fn waiting(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        now: Timestamp,
        items_max: usize,
    ) -> Result<Vec<(u64, OutboxRow)>, StoreError> {
        stream.lock().cells_held.retain(|_, until| now < *until);
        let (mut free, mut after, mut seen) = (Vec::new(), 0, 0);
        loop {
            let page = self.durable_page(peer, after).await?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = *last;
            seen += page.len();
            free.extend(self.without_waiting(peer, stream, page).await?);
            if free.len() >= items_max {
                free.truncate(items_max);
                return Ok(free);
            }
        }
        let mut stream = stream.lock();
        if stream.parked.is_empty() {
            // All of it was seen: the count is right again, whatever failed before.
            stream.waiting = seen;
        }
        Ok(free)
    }

    /// A page of waiting items behind `after`, all of them durable and none left out.
    ///
    /// Rows can be seen before their commit group is on disk, and a page that is read while rows are
    /// written may hold a later one without an earlier one. An empty batch is answered when all
    /// groups before it are durable; what a first look found is complete after that.
    async fn durable_page(
        &self,
        peer: &DomainName,
        after: u64,
    ) -> Result<Vec<(u64, OutboxRow)>, StoreError> {
        let look = |peer: DomainName| move |tables: &Tables| tables.outbox(&peer, after, PAGE);
        let first = self.tables.read(look(peer.clone())).await?;
        let Some((last, _)) = first.last() else {
            return Ok(first);
        };
        self.barrier().await?;
        let mut page = self.tables.read(look(peer.clone())).await?;
        page.retain(|(position, _)| position <= last);
        self.barrier().await?;
        Ok(page)
    }

    /// Completes when everything queued before is durable.
    async fn barrier(&self) -> Result<(), StoreError> {
        self.tables.commit(Batch::new()).await.map(drop)
    }

    /// Leaves out what must wait; messages behind parked ones of their pair park too.
    async fn without_waiting(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        page: Vec<(u64, OutboxRow)>,
    ) -> Result<Vec<(u64, OutboxRow)>, StoreError> {
        let mut batch = Batch::new();
        let mut free = Vec::new();
        {
            let stream = stream.lock();
            for (position, row) in page {
                let parks = is_message(&row)
                    && pair_of(&row).is_some_and(|pair| stream.parked.contains_key(&pair));
                if parks {
                    park(&mut batch, peer, position, &row);
                } else if !stream.cells_held.contains_key(&position) {
                    free.push((position, row));
                }
            }
        }
        if !batch.is_empty() {
            // A batch without guards is applied.
            let _applied = self.tables.commit(batch).await?;
        }
        Ok(free)
    }

    /// Parked messages whose time has come, pair by pair.
    async fn due(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        now: Timestamp,
    ) -> Result<Vec<(u64, OutboxRow)>, StoreError> {
        let due: Vec<Pair> = {
            let stream = stream.lock();
            stream
                .parked
                .iter()
                .filter(|(_, due)| **due <= now)
                .map(|(pair, _)| pair.clone())
                .collect()
        };
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        for pair in due {
            let (wanted, (topic, author)) = (peer.clone(), pair.clone());
            let read =
                move |tables: &Tables| tables.parked_pair(&wanted, topic, &author, PARKED_PAGE);
            let parked = self.tables.read(read).await?;
            if parked.is_empty() {
                stream.lock().parked.remove(&pair);
            }
            rows.extend(parked);
        }
        Ok(rows)
    }

    /// Seals what is not a message; messages were sealed when they were written.
    fn seal(&self, composed: Composed, now: Timestamp) -> Option<Envelope> {
        match composed {
            Composed::Sealed(envelope) => Some(envelope),
            Composed::Fresh(to, payload) => {
                let id = MessageId::mint(now, &freehold_keys::random().ok()?);
                self.signer
                    .seal(Destination::Domain(to), id, now, payload)
                    .ok()
            }
        }
    }

    async fn settle_one(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        offer: (u64, Offer),
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (position, offer) = offer;
        let Some(pair) = pair_of(&offer.row) else {
            return self.finish(peer, position, &offer).await;
        };
        match verdict {
            Verdict::Later { retry_after, .. } if is_message(&offer.row) => {
                if offer.parked_at.is_none() {
                    let mut batch = Batch::new();
                    park(&mut batch, peer, position, &offer.row);
                    // A batch without guards is applied.
                    let _applied = self.tables.commit(batch).await?;
                }
                let mut stream = stream.lock();
                let released = stream.released.contains(&pair);
                let due = if released {
                    Timestamp::EPOCH
                } else {
                    now.plus(retry_after)
                };
                stream.parked.insert(pair, due);
            }
            // Relations and cursors stay where they are.
            Verdict::Later { retry_after, .. } => {
                stream
                    .lock()
                    .cells_held
                    .insert(position, now.plus(retry_after));
            }
            Verdict::Ok | Verdict::Duplicate => {
                self.finish(peer, position, &offer).await?;
                self.forget_empty_pair(peer, stream, &offer, pair).await?;
            }
            Verdict::Refused(refusal) => {
                warn!(%peer, code = refusal.code.number(), detail = refusal.detail, "peer refused an item of ours");
                if is_message(&offer.row) {
                    let refused = Refused {
                        peer: peer.clone(),
                        position,
                        parked_at: offer.parked_at,
                        author: pair.1.clone(),
                    };
                    self.tell_author(refused, pair.0, offer.row.seq, &refusal)
                        .await?;
                } else {
                    self.finish(peer, position, &offer).await?;
                }
                self.forget_empty_pair(peer, stream, &offer, pair).await?;
            }
        }
        Ok(())
    }

    /// Takes a decided item out of the store.
    async fn finish(
        &self,
        peer: &DomainName,
        position: u64,
        offer: &Offer,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        match (pair_of(&offer.row), offer.parked_at) {
            (Some((topic, author)), Some(at)) => {
                outbox::unpark(&mut batch, peer, (topic, &author), at)
            }
            (Some((topic, user)), None) if !is_message(&offer.row) => {
                let kind = if offer.row.kind == u32::from(RELATION) {
                    RELATION
                } else {
                    CURSOR
                };
                outbox::remove_cell(&mut batch, peer, kind, (topic, &user), position);
            }
            _ => outbox::remove_item(&mut batch, peer, position),
        }
        if let Outcome::GuardFailed { .. } = self.tables.commit(batch).await? {
            // The cell has moved on to a newer position; only this one is done.
            let mut batch = Batch::new();
            outbox::remove_item(&mut batch, peer, position);
            let _applied = self.tables.commit(batch).await?;
        }
        Ok(())
    }

    async fn forget_empty_pair(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        offer: &Offer,
        pair: Pair,
    ) -> Result<(), StoreError> {
        if offer.parked_at.is_none() {
            return Ok(());
        }
        let (wanted, (topic, author)) = (peer.clone(), pair.clone());
        let read = move |tables: &Tables| tables.parked_pair(&wanted, topic, &author, 1);
        if self.tables.read(read).await?.is_empty() {
            stream.lock().parked.remove(&pair);
        }
        Ok(())
    }

    /// Has the topic take a refused message out of the outbox and tell its author, in one commit.
    async fn tell_author(
        &self,
        refused: Refused,
        topic: TopicKey,
        seq: u32,
        refusal: &Refusal,
    ) -> Result<(), StoreError> {
        let row = self.tables.read(move |tables| tables.topic(topic)).await?;
        let people = row.map(|it| it.people).unwrap_or_default();
        let people: Vec<UserId> = people.iter().filter_map(|it| it.parse().ok()).collect();
        let (Ok(people), Some(server)) = (
            <[UserId; 2]>::try_from(people),
            self.server.lock().upgrade(),
        ) else {
            return Err(StoreError::Closed);
        };
        info!(peer = %refused.peer, author = %refused.author, seq, "telling the author that a message was refused");
        let reason = format!("{} refused it: {}", refused.peer, refusal.code.text());
        let (done, told) = oneshot::channel();
        let command = Command::Undelivered {
            seq,
            reason,
            refused,
            done,
        };
        Hub::send(&server, &people, command).await;
        // Without an answer nothing was decided: the item stays, and the peer will refuse it again.
        told.await.map_err(|_| StoreError::Closed)
    }
}

/// A message of ours that a peer refused, and where it waits.
#[derive(Debug)]
pub struct Refused {
    peer: DomainName,
    position: u64,
    parked_at: Option<u64>,
    author: UserId,
}

impl Refused {
    /// Takes it out of the outbox.
    pub fn remove(&self, batch: &mut Batch, topic: TopicKey) {
        match self.parked_at {
            Some(at) => outbox::unpark(batch, &self.peer, (topic, &self.author), at),
            None => outbox::remove_item(batch, &self.peer, self.position),
        }
    }
}

fn row(kind: u8, topic: TopicKey, user: &UserId, seq: u32, now: Timestamp) -> OutboxRow {
    OutboxRow {
        topic: topic.as_bytes().to_vec().into(),
        user: user.to_string(),
        kind: kind.into(),
        seq,
        at: now.as_millis(),
    }
}

/// Moves a message among the parked ones.
fn park(batch: &mut Batch, peer: &DomainName, position: u64, row: &OutboxRow) {
    if let Some((topic, author)) = pair_of(row) {
        outbox::remove_item(batch, peer, position);
        outbox::park(batch, peer, (topic, &author), position, row);
    }
}

impl Stream {
    /// Reads what is known of a stream; true with it when there never was one. Blocks.
    fn load(tables: &Tables, peer: &DomainName) -> Result<(Self, bool), StoreError> {
        let stored = tables.stream_out(peer)?;
        let mut head = stored
            .as_ref()
            .map_or(0, |it| it.position)
            .max(tables.outbox_head(peer)?);
        let mut parked: HashMap<Pair, Timestamp> = HashMap::new();
        let mut waiting = 0;
        let mut from = 0;
        loop {
            let page = tables.outbox(peer, from, PARKED_PAGE)?;
            waiting += page.len();
            match page.last() {
                Some((last, _)) if page.len() == PARKED_PAGE => from = *last,
                _ => break,
            }
        }
        let mut after = None;
        loop {
            let page = tables.parked_after(peer, after.as_deref(), PARKED_PAGE)?;
            let full = page.len() == PARKED_PAGE;
            waiting += page.len();
            for (key, position, row) in page {
                head = head.max(position);
                after = Some(key);
                if let Some(pair) = pair_of(&row) {
                    // A start may follow on news that was not acted on: offer them all once.
                    parked.insert(pair, Timestamp::EPOCH);
                }
            }
            if !full {
                break;
            }
        }
        let epoch = match &stored {
            Some(row) => row.epoch,
            None => freehold_keys::random().map(u64::from_be_bytes).unwrap_or(1),
        };
        let stream = Self {
            epoch,
            next: head + 1,
            waiting,
            parked,
            released: HashSet::new(),
            cells_held: HashMap::new(),
            offered: BTreeMap::new(),
        };
        Ok((stream, stored.is_none()))
    }

    /// The position of a new item.
    fn take_position(&mut self) -> u64 {
        let position = self.next;
        self.next += 1;
        self.waiting += 1;
        position
    }

    fn row(&self, position: u64) -> StreamRow {
        StreamRow {
            epoch: self.epoch,
            position,
        }
    }
}

/// What an item has to say at present.
enum Composed {
    /// A message, signed when it was written.
    Sealed(Envelope),
    /// Words still to be signed, and for whom.
    Fresh(DomainName, wire::payload::Kind),
}

impl Composed {
    /// Bytes it takes in a batch, near enough to plan with.
    fn size(&self) -> usize {
        const HEADER: usize = 512;
        match self {
            Self::Sealed(envelope) => envelope.size(),
            Self::Fresh(_, wire::payload::Kind::Relation(it)) => it.encoded_len() + HEADER,
            Self::Fresh(..) => HEADER,
        }
    }
}

/// What an item has to say as things are now; `None` when there is nothing any more. Blocks.
fn compose(tables: &Tables, row: &OutboxRow) -> Result<Option<Composed>, StoreError> {
    let Some((topic, user)) = pair_of(row) else {
        return Ok(None);
    };
    if is_message(row) {
        let stored = tables.message(topic, row.seq)?;
        let envelope = stored
            .and_then(|it| it.envelope)
            .and_then(message::envelope_of);
        return Ok(envelope.map(Composed::Sealed));
    }
    let words = if row.kind == u32::from(CURSOR) {
        cursor_now(tables, topic, &user)?
    } else {
        relation_now(tables, topic, &user)?
    };
    Ok(words.map(|(to, payload)| Composed::Fresh(to, payload)))
}

/// How a person of ours stands in a topic, for the other domain. Blocks.
fn relation_now(
    tables: &Tables,
    topic: TopicKey,
    user: &UserId,
) -> Result<Option<(DomainName, wire::payload::Kind)>, StoreError> {
    let (Some(own), Some(account)) = (tables.subscription(user, topic)?, tables.account(user)?)
    else {
        return Ok(None);
    };
    let Ok(peer) = own.peer.parse::<UserId>() else {
        return Ok(None);
    };
    let theirs = tables.subscription(&peer, topic)?.unwrap_or_default();
    // Who blocks does not say so (federation.md 8).
    let wants: AccessMode = own.want.parse().unwrap_or_default();
    let want = if wants.has(AccessMode::JOIN) {
        own.want
    } else {
        AccessMode::ONE_TO_ONE.to_string()
    };
    let relation = wire::Relation {
        user: user.to_string(),
        peer: own.peer,
        want,
        want_version: own.want_version,
        given: theirs.given,
        given_version: theirs.given_version,
        public: account.public,
        public_changed_ms: account.updated,
    };
    Ok(Some((
        peer.domain().clone(),
        wire::payload::Kind::Relation(relation),
    )))
}

/// How far a person of ours has got among the other one's messages. Blocks.
fn cursor_now(
    tables: &Tables,
    topic: TopicKey,
    user: &UserId,
) -> Result<Option<(DomainName, wire::payload::Kind)>, StoreError> {
    let Some(own) = tables.subscription(user, topic)? else {
        return Ok(None);
    };
    let Ok(peer) = own.peer.parse::<UserId>() else {
        return Ok(None);
    };
    let last = |seq: u32| last_of(tables, topic, &own.peer, seq);
    let cursor = wire::Cursor {
        reader: user.to_string(),
        author: own.peer.clone(),
        received: last(own.received)?,
        read: last(own.read)?,
    };
    Ok(Some((
        peer.domain().clone(),
        wire::payload::Kind::Cursor(cursor),
    )))
}

/// The id of the last message at or before `seq` that `author` wrote (rules.md 10).
fn last_of(
    tables: &Tables,
    topic: TopicKey,
    author: &str,
    seq: u32,
) -> Result<bytes::Bytes, StoreError> {
    const PAGE: usize = 50;
    let lowest = seq.saturating_sub(CURSOR_SPAN);
    let mut high = seq.saturating_add(1);
    while high > lowest + 1 {
        let page = tables.history(topic, lowest + 1, high, PAGE, usize::MAX)?;
        let Some((oldest, _)) = page.last() else {
            break;
        };
        high = *oldest;
        if let Some((_, row)) = page
            .iter()
            .find(|(_, row): &&(u32, MessageRow)| row.author == author)
        {
            return Ok(row.message_id.clone());
        }
    }
    Ok(bytes::Bytes::new())
}

#[async_trait]
impl freehold_federation::Outbox for Outbox {
    async fn peers(&self) -> Result<Vec<DomainName>, Unavailable> {
        const PAGE: usize = 500;
        let mut waiting = Vec::new();
        let mut after: Option<DomainName> = None;
        loop {
            let from = after.take();
            let read = move |tables: &Tables| tables.streams_out(from.as_ref(), PAGE);
            let page = self.tables.read(read).await.map_err(unavailable)?;
            let full = page.len() == PAGE;
            after = page.last().cloned();
            waiting.extend(page);
            if !full {
                return Ok(waiting);
            }
        }
    }

    async fn stream(&self, peer: &DomainName) -> Result<u64, Unavailable> {
        Ok(self
            .stream_to(peer)
            .await
            .map_err(unavailable)?
            .lock()
            .epoch)
    }

    async fn next(
        &self,
        peer: &DomainName,
        now: Timestamp,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Outgoing>, Unavailable> {
        let stream = self.stream_to(peer).await.map_err(unavailable)?;
        {
            let mut stream = stream.lock();
            stream.offered.clear();
            stream.released.clear();
        }
        let mut offers: Vec<(u64, Offer)> = Vec::new();
        for (position, row) in self
            .waiting(peer, &stream, now, items_max)
            .await
            .map_err(unavailable)?
        {
            offers.push((
                position,
                Offer {
                    row,
                    parked_at: None,
                },
            ));
        }
        for (at, row) in self.due(peer, &stream, now).await.map_err(unavailable)? {
            let mut stream = stream.lock();
            let position = stream.next;
            stream.next += 1;
            offers.push((
                position,
                Offer {
                    row,
                    parked_at: Some(at),
                },
            ));
        }
        offers.truncate(items_max);
        let read = move |tables: &Tables| {
            let (mut composed, mut bytes) = (Vec::new(), 0);
            for (position, offer) in offers {
                let words = compose(tables, &offer.row)?;
                bytes += words.as_ref().map_or(0, Composed::size);
                if bytes > bytes_max && !composed.is_empty() {
                    break;
                }
                composed.push((position, offer, words));
            }
            Ok(composed)
        };
        let mut items = Vec::new();
        for (position, offer, words) in self.tables.read(read).await.map_err(unavailable)? {
            match words.and_then(|words| self.seal(words, now)) {
                Some(envelope) => {
                    stream.lock().offered.insert(position, offer);
                    items.push(Outgoing { position, envelope });
                }
                None => self
                    .finish(peer, position, &offer)
                    .await
                    .map_err(unavailable)?,
            }
        }
        Ok(items)
    }

    async fn settle(
        &self,
        peer: &DomainName,
        now: Timestamp,
        verdicts: Vec<(u64, Verdict)>,
    ) -> Result<(), Unavailable> {
        let stream = self.stream_to(peer).await.map_err(unavailable)?;
        let mut decided = 0;
        // What is simply done goes in one commit; the rest has consequences of its own.
        let (mut batch, mut others) = (Batch::new(), Vec::new());
        for (position, verdict) in verdicts {
            decided = decided.max(position);
            let Some(offer) = stream.lock().offered.remove(&position) else {
                continue;
            };
            let done = matches!(verdict, Verdict::Ok | Verdict::Duplicate);
            if done || matches!(verdict, Verdict::Refused(_)) {
                let mut stream = stream.lock();
                stream.waiting = stream.waiting.saturating_sub(1);
            }
            if done && is_message(&offer.row) && offer.parked_at.is_none() {
                outbox::remove_item(&mut batch, peer, position);
            } else {
                others.push(self.settle_one(peer, &stream, (position, offer), verdict, now));
            }
        }
        // Together, so that their commits share a flush.
        try_join_all(others).await.map_err(unavailable)?;
        let row = stream.lock().row(decided);
        outbox::put_stream_out(&mut batch, peer, &row);
        self.tables
            .commit(batch)
            .await
            .map(drop)
            .map_err(unavailable)
    }

    async fn next_due(&self, peer: &DomainName) -> Result<Option<Timestamp>, Unavailable> {
        let stream = self.stream_to(peer).await.map_err(unavailable)?;
        let stream = stream.lock();
        let all = stream.parked.values().chain(stream.cells_held.values());
        Ok(all.min().copied())
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
