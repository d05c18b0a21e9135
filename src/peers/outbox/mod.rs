//! The durable outbox: rows that refer to messages, relations, cursors, requests and invitations, one
//! stream for each peer. Entries of groups' logs need no rows: how far a peer has been told each log
//! says what it is still to be told (`logs`).
//!
//! A row exists exactly as long as its item is undecided, so neither side needs the positions to tell
//! old from new. A message that its recipient's domain wants *later* is parked, and with it every
//! later message of the same author in the same topic (rules.md 7).

pub(crate) mod again;
mod compose;
mod count;
mod expire;
pub(crate) mod lasting;
mod letters;
pub(crate) mod logs;
mod marks;
mod settle;
mod stream;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use freehold_config::Waiting;
use freehold_federation::{Outgoing, StreamPosition, Unavailable, Verdict, hooks};
use freehold_keys::Signer;
use freehold_proto::{
    Destination, DomainName, Envelope, MessageId, RefusalCode, Timestamp, UserId,
};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        outbox::{self, CALL, INVITATION, MESSAGE, REQUEST},
        rows::OutboxRow,
    },
};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::{
    compose::{Composed, compose},
    marks::is_marks,
    stream::{Offer, PARKED_PAGE, Pair, Stream, is_letter, is_message, pair_of},
};
use crate::server::Server;

pub use letters::Letter;
pub use settle::Refused;

/// Waiting rows looked at in one go.
const PAGE: usize = 1000;
/// What waits for all peers.
#[derive(Debug)]
pub struct Outbox {
    tables: Tables,
    signer: Signer,
    limits: Waiting,
    peers: Mutex<HashMap<DomainName, Arc<Mutex<Stream>>>>,
    /// One stream is opened at a time.
    opening: tokio::sync::Mutex<()>,
    server: Mutex<Weak<Server>>,
}

fn unavailable(fault: StoreError) -> Unavailable {
    Unavailable(fault.to_string())
}

impl Outbox {
    /// The outbox of a domain, over its store.
    #[must_use]
    pub fn new(tables: Tables, signer: Signer) -> Self {
        Self {
            tables,
            signer,
            limits: Waiting::default(),
            peers: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            server: Mutex::default(),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn within(self, limits: Waiting) -> Self {
        Self { limits, ..self }
    }

    /// How long a message waits for a peer that cannot be reached.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.limits.lifetime
    }

    /// How long a group waits for its home before its successors may name another one.
    #[must_use]
    pub fn takeover_after(&self) -> Option<Duration> {
        self.limits.takeover_after
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
            outbox::put_stream_out(&mut batch, peer, &stream.row());
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
        stream.is_some_and(|it| {
            let stream = it.lock();
            stream.waiting < self.limits.items_max && stream.bytes < self.limits.bytes_max
        })
    }

    /// Counts the bytes of a message that was added.
    pub fn weigh(&self, peer: &DomainName, bytes: usize) {
        if let Some(stream) = self.peers.lock().get(peer) {
            stream.lock().bytes += bytes;
        }
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
        let row = row(MESSAGE, topic, author, seq, now);
        self.put_row(batch, peer, &row);
    }

    /// The same with a request to the home of a group.
    pub fn put_request(
        &self,
        batch: &mut Batch,
        peer: &DomainName,
        (topic, actor): (TopicKey, &UserId),
        id: MessageId,
        now: Timestamp,
    ) {
        let row = OutboxRow {
            request: id.as_bytes().to_vec().into(),
            ..row(REQUEST, topic, actor, 0, now)
        };
        self.put_row(batch, peer, &row);
    }

    /// The same with what somebody says about a call.
    pub fn put_call(
        &self,
        batch: &mut Batch,
        peer: &DomainName,
        (topic, user): (TopicKey, &UserId),
        id: MessageId,
        now: Timestamp,
    ) {
        let row = OutboxRow {
            request: id.as_bytes().to_vec().into(),
            ..row(CALL, topic, user, 0, now)
        };
        self.put_row(batch, peer, &row);
    }

    /// The same with an invitation to a group, or the news that it does not hold any more: it says
    /// how the invitee stands when it goes.
    pub fn put_invitation(
        &self,
        batch: &mut Batch,
        peer: &DomainName,
        (topic, invitee, inviter): (TopicKey, &UserId, &UserId),
        now: Timestamp,
    ) {
        let row = OutboxRow {
            actor: inviter.to_string(),
            ..row(INVITATION, topic, invitee, 0, now)
        };
        self.put_row(batch, peer, &row);
    }

    fn put_row(&self, batch: &mut Batch, peer: &DomainName, row: &OutboxRow) {
        let stream = self.peers.lock().get(peer).cloned();
        let Some(stream) = stream else {
            return tracing::error!(%peer, kind = row.kind, "a stream was not prepared: this does not go");
        };
        let position = stream.lock().take_position();
        hooks::reached("outbox.queueing");
        outbox::put_item(batch, peer, position, row);
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
        let (queued, is_quiet) = {
            let mut stream = stream.lock();
            stream.cells_held.retain(|_, until| now < *until);
            (stream.next, stream.is_quiet(Instant::now()))
        };
        let (mut free, mut after, mut seen) = (Vec::new(), 0, 0);
        let mut marks = HashSet::new();
        loop {
            let (page, more) = self.durable_page(peer, after).await?;
            seen += page.len();
            let marked = page.iter().filter(|(_, row)| is_marks(row));
            marks.extend(marked.filter_map(|(_, row)| TopicKey::from_slice(&row.topic)));
            free.extend(self.without_waiting(peer, stream, page).await?);
            if free.len() >= items_max {
                free.truncate(items_max);
                return Ok(free);
            }
            match more {
                Some(last) => after = last,
                None => break,
            }
        }
        let mut stream = stream.lock();
        if stream.parked.is_empty() && stream.next == queued {
            stream.keep_marks(&marks);
            if is_quiet {
                // All of it was seen: the count is right again, whatever failed before.
                stream.waiting = seen;
                stream.bytes *= usize::from(seen > 0);
            }
        }
        Ok(free)
    }

    /// A page of waiting items behind `after`, all of them durable and none left out; with it the position
    /// behind which there may be more.
    ///
    /// Rows can be seen before their commit group is on disk, and a page that is read while rows are
    /// written may hold a later one without an earlier one. An empty batch is answered when all
    /// groups before it are durable; what a first look found is complete after that. What the second look
    /// finds beyond it counts only where the same pair wrote something later that the first one found: that
    /// was written behind it.
    async fn durable_page(
        &self,
        peer: &DomainName,
        after: u64,
    ) -> Result<(Vec<(u64, OutboxRow)>, Option<u64>), StoreError> {
        let look = |peer: DomainName| move |tables: &Tables| tables.outbox(&peer, after, PAGE);
        let first = self.tables.read(look(peer.clone())).await?;
        let Some((last, _)) = first.last() else {
            return Ok((first, None));
        };
        self.barrier().await?;
        let (last, full) = (*last, first.len() == PAGE);
        let mut page = self.tables.read(look(peer.clone())).await?;
        page.retain(|(position, _)| *position <= last);
        keep_durable(&mut page, &first);
        Ok((page, full.then_some(last)))
    }

    /// How many lives of domains have begun.
    fn lives(&self) -> u64 {
        let server = self.server.lock().upgrade();
        server.map_or(0, |it| it.lives.count())
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
                let parks = is_letter(&row)
                    && pair_of(&row).is_some_and(|pair| stream.parked.contains_key(&pair));
                if parks {
                    park(&mut batch, peer, position, &row);
                } else if is_marks(&row) && !stream.tells_marks(&row) {
                    continue;
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

    /// Makes ready what is to be offered, about `bytes_max` bytes of it; returns how many they are.
    async fn hand_out(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        mut offers: Vec<(u64, Offer)>,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<(Vec<Outgoing>, usize), StoreError> {
        for (_, offer) in &mut offers {
            offer.marks = stream.lock().marks_in(&offer.row);
        }
        let (us, to) = (self.signer.domain().clone(), peer.clone());
        let read = move |tables: &Tables| composed(tables, (&us, &to), offers, bytes_max, now);
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (position, offer, words) in self.tables.read(read).await? {
            let Some(envelope) = words.and_then(|words| self.seal(words, now)) else {
                self.finish(peer, position, &offer, None).await?;
                stream.lock().one_less(position);
                continue;
            };
            bytes += envelope.size();
            {
                let mut stream = stream.lock();
                stream.sizes.insert(position, envelope.size());
                stream.offered.insert(position, offer);
                stream.handed.insert(position);
            }
            items.push(Outgoing {
                position,
                envelope,
                placed: None,
            });
        }
        Ok((items, bytes))
    }

    /// Waiting items behind those that were handed out since all that waits was looked at, in order. Looked for
    /// from the beginning: what got its position before them may be written after them.
    async fn behind(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        items_max: usize,
    ) -> Result<Vec<(u64, Offer)>, StoreError> {
        let (page, _) = self.durable_page(peer, 0).await?;
        let stream = stream.lock();
        let waits = |position: &u64, row: &OutboxRow| {
            let parks = |it: &Pair| stream.parked.contains_key(it);
            is_marks(row)
                || stream.handed.contains(position)
                || stream.cells_held.contains_key(position)
                || (is_letter(row) && pair_of(row).as_ref().is_some_and(parks))
        };
        let free = page.into_iter().filter(|(it, row)| !waits(it, row));
        let offers = free.map(|(position, row)| (position, Offer::waiting(row)));
        Ok(offers.take(items_max).collect())
    }

    /// Seals what is not a message; messages were sealed when they were written.
    fn seal(&self, composed: Composed, now: Timestamp) -> Option<Envelope> {
        match composed {
            Composed::Sealed(envelope) => Some(envelope),
            Composed::Fresh(to, payload) => {
                let id = MessageId::mint(now, &freehold_keys::random().ok()?);
                self.signer.seal(to, id, now, *payload).ok()
            }
        }
    }
}

/// Keeps of a page what `first` has, and what the same pair wrote before something that `first` has. Both in
/// order.
fn keep_durable(page: &mut Vec<(u64, OutboxRow)>, first: &[(u64, OutboxRow)]) {
    let known = |position: &u64| first.binary_search_by_key(position, |it| it.0).is_ok();
    if page.iter().all(|(position, _)| known(position)) {
        return;
    }
    let last: HashMap<_, _> = first
        .iter()
        .map(|(position, row)| ((row.topic.clone(), row.user.clone()), *position))
        .collect();
    page.retain(|(position, row)| {
        let later = last.get(&(row.topic.clone(), row.user.clone()));
        known(position) || later.is_some_and(|it| it > position)
    });
}

/// What is said in offers, about `bytes_max` bytes of it. Blocks.
fn composed(
    tables: &Tables,
    (us, to): (&DomainName, &DomainName),
    offers: Vec<(u64, Offer)>,
    bytes_max: usize,
    now: Timestamp,
) -> Result<Vec<(u64, Offer, Option<Composed>)>, StoreError> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for (position, offer) in offers {
        let words = match &offer.marks {
            Some((topic, marks)) => marks::words(tables, to, us, *topic, marks)?
                .map(|words| Composed::Fresh(Destination::Domain(to.clone()), Box::new(words))),
            None => compose(tables, &offer.row, now)?,
        };
        bytes += words.as_ref().map_or(0, Composed::size);
        if bytes > bytes_max && !all.is_empty() {
            break;
        }
        all.push((position, offer, words));
    }
    Ok(all)
}

/// True for a verdict that is not the peer's.
fn is_our_word(verdict: &Verdict) -> bool {
    let Verdict::Later { code, .. } = verdict else {
        return false;
    };
    *code == RefusalCode::Unavailable
}

fn row(kind: u8, topic: TopicKey, user: &UserId, seq: u32, now: Timestamp) -> OutboxRow {
    OutboxRow {
        topic: topic.as_bytes().to_vec().into(),
        user: user.to_string(),
        kind: kind.into(),
        seq,
        at: now.as_millis(),
        ..OutboxRow::default()
    }
}

/// Moves a message among the parked ones.
fn park(batch: &mut Batch, peer: &DomainName, position: u64, row: &OutboxRow) {
    if let Some((topic, author)) = pair_of(row) {
        outbox::remove_item(batch, peer, position);
        outbox::park(batch, peer, (topic, &author), position, row);
    }
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

    async fn offering(&self, peer: &DomainName, last: u64) -> Result<u64, Unavailable> {
        let stream = self.stream_to(peer).await.map_err(unavailable)?;
        if stream.lock().lives != self.lives() {
            // The link that was made meanwhile may lead to somebody else under the same name.
            let why = "a domain has begun another life: what waits is looked at again";
            return Err(Unavailable(why.to_owned()));
        }
        let reserved = self.reserve(peer, &stream, last).await;
        reserved.map_err(unavailable)?;
        let stream = stream.lock();
        Ok(stream.epoch)
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
            stream.handed.clear();
            stream.sizes.clear();
            (stream.looked, stream.looked_at) = (now, Instant::now());
            stream.lives = self.lives();
            stream.released.clear();
        }
        let ended = self.end_former(peer, &stream, now).await;
        ended.map_err(unavailable)?;
        let expired = self.expire(peer, &stream, now).await;
        expired.map_err(unavailable)?;
        let forgotten = self.forget_kept(peer, &stream, now).await;
        forgotten.map_err(unavailable)?;
        let mut offers: Vec<(u64, Offer)> = Vec::new();
        for (position, row) in self
            .waiting(peer, &stream, now, items_max)
            .await
            .map_err(unavailable)?
        {
            offers.push((position, Offer::waiting(row)));
        }
        for (at, row) in self.due(peer, &stream, now).await.map_err(unavailable)? {
            let mut stream = stream.lock();
            let position = stream.next;
            stream.next += 1;
            offers.push((position, Offer::parked(row, at)));
        }
        offers.truncate(items_max);
        let handed = self.hand_out(peer, &stream, offers, bytes_max, now).await;
        let (mut items, bytes) = handed.map_err(unavailable)?;
        let room = (
            items_max.saturating_sub(items.len()),
            bytes_max.saturating_sub(bytes),
        );
        let entries = self.entries(peer, &stream, room).await;
        items.extend(entries.map_err(unavailable)?);
        Ok(items)
    }

    async fn behind(
        &self,
        peer: &DomainName,
        now: Timestamp,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Outgoing>, Unavailable> {
        let stream = self.stream_to(peer).await.map_err(unavailable)?;
        if !stream.lock().only_goes_on(now, Instant::now()) {
            return Ok(Vec::new());
        }
        let offers = Self::behind(self, peer, &stream, items_max).await;
        let offers = offers.map_err(unavailable)?;
        let handed = self.hand_out(peer, &stream, offers, bytes_max, now).await;
        handed.map(|it| it.0).map_err(unavailable)
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
            // That the peer failed on an item is our word, not its.
            if !is_our_word(&verdict) {
                decided = decided.max(position);
            }
            let Some(offer) = stream.lock().offered.remove(&position) else {
                continue;
            };
            if let Some(entry) = offer.entry {
                stream.lock().settle_entry(peer, entry, &verdict);
                continue;
            }
            if let Some((topic, told)) = &offer.marks
                && !stream.lock().settle_marks(*topic, told, &verdict)
            {
                continue;
            }
            if offer.marks.is_some() {
                again::keep(&mut batch, peer, position, &offer, now);
            }
            let verdict = match offer.marks {
                Some(_) => Verdict::Ok,
                None => verdict,
            };
            let done = matches!(verdict, Verdict::Ok | Verdict::Duplicate);
            if done || matches!(verdict, Verdict::Refused(_)) {
                stream.lock().one_less(position);
            }
            if done && is_message(&offer.row) && offer.parked_at.is_none() {
                outbox::remove_item(&mut batch, peer, position);
                again::keep(&mut batch, peer, position, &offer, now);
            } else {
                others.push(self.settle_one(peer, &stream, (position, offer), verdict, now));
            }
        }
        // Together, so that their commits share a flush.
        try_join_all(others).await.map_err(unavailable)?;
        let row = {
            let mut stream = stream.lock();
            stream.decided = stream.decided.max(decided);
            stream.row()
        };
        outbox::put_stream_out(&mut batch, peer, &row);
        self.note_told(peer, &stream, &mut batch);
        let committed = self.tables.commit(batch).await;
        committed.map(drop).map_err(unavailable)?;
        self.forget_followers(peer, &stream)
            .await
            .map_err(unavailable)
    }

    async fn has_lost(&self, peer: &DomainName, word: StreamPosition) -> Result<bool, Unavailable> {
        Self::has_lost(self, peer, word).await.map_err(unavailable)
    }

    async fn heard(&self, peer: &DomainName, word: StreamPosition) -> Result<bool, Unavailable> {
        self.take_word(peer, word).await.map_err(unavailable)
    }

    async fn next_due(&self, peer: &DomainName) -> Result<Option<Timestamp>, Unavailable> {
        let stream = self.stream_to(peer).await.map_err(unavailable)?;
        let stream = stream.lock();
        let all = stream.parked.values().chain(stream.cells_held.values());
        let gathered = [stream.log_due(), stream.marks_due()];
        Ok(all.copied().chain(gathered.into_iter().flatten()).min())
    }
}

#[cfg(test)]
mod tests;
