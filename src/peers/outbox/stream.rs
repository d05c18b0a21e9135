//! What memory keeps of our stream to one peer.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use freehold_proto::{DomainName, Timestamp, UserId};
use freehold_store::{
    StoreError, Tables, TopicKey,
    tables::{
        outbox::{CALL, MESSAGE, REQUEST},
        rows::{OutboxRow, StreamRow},
    },
};
use tokio::time::Instant;

use super::marks::{Gathered, is_marks};

/// Parked rows looked at in one go.
pub(super) const PARKED_PAGE: usize = 1000;

/// From the position of an item to its row on disk takes no longer than this.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// How often all that waits is looked at while there is always more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An author and a topic, within which order holds.
pub(super) type Pair = (TopicKey, UserId);

/// Our stream to one peer, as far as memory needs to know it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) epoch: u64,
    /// The position that the next item gets.
    pub(super) next: u64,
    /// When the last item got its position.
    pub(super) added: Instant,
    /// The last position that the peer has decided.
    pub(super) decided: u64,
    /// On disk it says that no position above this one has been offered.
    pub(super) reserved: u64,
    /// When what was decided long ago was last forgotten.
    pub(super) forgot: Timestamp,
    /// Items that wait, parked ones included.
    pub(super) waiting: usize,
    /// Bytes of the messages among them.
    pub(super) bytes: usize,
    /// Bytes of what was handed out.
    pub(super) sizes: HashMap<u64, usize>,
    /// Pairs parked because the peer fails on their first message.
    pub(super) failing: HashSet<Pair>,
    /// When the parked messages of a pair may be offered again.
    pub(super) parked: HashMap<Pair, Timestamp>,
    /// Pairs released since the last batch was handed out: its answers are older than that news.
    pub(super) released: HashSet<Pair>,
    /// Relations and cursors that the peer wants later, by position, and when.
    pub(super) cells_held: HashMap<u64, Timestamp>,
    /// Groups whose home we are and that the peer follows.
    pub(super) logs: HashMap<TopicKey, Followed>,
    /// How far members of groups have got, as far as the peer has not been told.
    pub(super) marks: HashMap<TopicKey, Gathered>,
    /// The time when the peer was last worked for.
    pub(super) looked: Timestamp,
    /// The same by the clock that nobody moves.
    pub(super) looked_at: Instant,
    /// How many lives of domains had begun then.
    pub(super) lives: u64,
    /// How often something new was in one of their logs.
    pub(super) moved: u64,
    /// How far the peer has been told logs, as far as that is not written.
    pub(super) told: HashMap<TopicKey, u64>,
    /// Logs that the peer may not follow any more, told so far.
    pub(super) perhaps_over: HashMap<TopicKey, u64>,
    /// What was handed out under which position and is not settled.
    pub(super) offered: BTreeMap<u64, Offer>,
    /// What was handed out since all that waits was looked at.
    pub(super) handed: HashSet<u64>,
}

/// A group's log, as far as the peer has been told it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    /// The last entry that the peer has decided.
    pub(super) told: u64,
    /// There may be more.
    pub(super) lagging: bool,
    /// When the peer is to be asked again, by the clock that nobody moves.
    pub(super) held: Instant,
}

impl Followed {
    pub(super) fn behind(told: u64) -> Self {
        Self {
            told,
            lagging: true,
            held: Instant::now(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) row: OutboxRow,
    /// Of a parked message: the position under which it is parked.
    pub(super) parked_at: Option<u64>,
    /// Of an entry of a group's log: which.
    pub(super) entry: Option<(TopicKey, u64)>,
    /// Of how far members of a group have got: what is told.
    pub(super) marks: Option<(TopicKey, Gathered)>,
}

impl Offer {
    /// An item that waits in the stream.
    pub(super) fn waiting(row: OutboxRow) -> Self {
        Self {
            row,
            parked_at: None,
            entry: None,
            marks: None,
        }
    }

    /// A parked letter.
    pub(super) fn parked(row: OutboxRow, at: u64) -> Self {
        Self {
            parked_at: Some(at),
            ..Self::waiting(row)
        }
    }

    /// An entry of a group's log.
    pub(super) fn entry(topic: TopicKey, index: u64) -> Self {
        Self {
            entry: Some((topic, index)),
            ..Self::waiting(OutboxRow::default())
        }
    }
}

pub(super) fn pair_of(row: &OutboxRow) -> Option<Pair> {
    Some((TopicKey::from_slice(&row.topic)?, row.user.parse().ok()?))
}

pub(super) fn is_message(row: &OutboxRow) -> bool {
    row.kind == u32::from(MESSAGE)
}

pub(super) fn is_request(row: &OutboxRow) -> bool {
    row.kind == u32::from(REQUEST)
}

pub(super) fn is_call(row: &OutboxRow) -> bool {
    row.kind == u32::from(CALL)
}

/// True for what keeps its order within author and topic.
pub(super) fn is_letter(row: &OutboxRow) -> bool {
    is_message(row) || is_request(row) || is_call(row)
}

impl Stream {
    /// Reads what is known of a stream; true with it when there never was one. Blocks.
    pub(super) fn load(tables: &Tables, peer: &DomainName) -> Result<(Self, bool), StoreError> {
        let stored = tables.stream_out(peer)?;
        let mut head = stored
            .as_ref()
            .map_or(0, |it| it.position.max(it.offered))
            .max(tables.outbox_head(peer)?);
        let mut parked: HashMap<Pair, Timestamp> = HashMap::new();
        let (mut waiting, mut bytes, mut failing) = (0, 0, HashSet::new());
        let mut from = 0;
        let mut marks = HashMap::new();
        loop {
            let page = tables.outbox(peer, from, PARKED_PAGE)?;
            waiting += page.len();
            let marked = page.iter().filter(|(_, row)| is_marks(row));
            let topic = |(_, row): &(u64, OutboxRow)| TopicKey::from_slice(&row.topic);
            marks.extend(
                marked
                    .filter_map(topic)
                    .map(|it| (it, Gathered::forgotten())),
            );
            for (_, row) in &page {
                bytes += size_of(tables, row)?;
            }
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
                bytes += size_of(tables, &row)?;
                if let Some(pair) = pair_of(&row) {
                    if row.failed > 0 {
                        failing.insert(pair.clone());
                    }
                    // A start may follow on news that was not acted on: offer them all once.
                    parked.insert(pair, Timestamp::EPOCH);
                }
            }
            if !full {
                break;
            }
        }
        let logs = followed(tables, peer)?;
        let epoch = match &stored {
            Some(row) => row.epoch,
            None => freehold_keys::random().map(u64::from_be_bytes).unwrap_or(1),
        };
        let stream = Self {
            epoch,
            next: head + 1,
            added: Instant::now(),
            decided: stored.as_ref().map_or(0, |it| it.position),
            reserved: stored.as_ref().map_or(0, |it| it.offered),
            forgot: Timestamp::EPOCH,
            waiting,
            bytes,
            sizes: HashMap::new(),
            failing,
            parked,
            released: HashSet::new(),
            cells_held: HashMap::new(),
            logs,
            marks,
            looked: Timestamp::EPOCH,
            looked_at: Instant::now(),
            lives: 0,
            moved: 0,
            told: HashMap::new(),
            perhaps_over: HashMap::new(),
            offered: BTreeMap::new(),
            handed: HashSet::new(),
        };
        Ok((stream, stored.is_none()))
    }

    /// An item, as it was handed out, waits no more.
    pub(super) fn one_less(&mut self, position: u64) {
        let bytes = self.sizes.remove(&position).unwrap_or(0);
        self.waiting = self.waiting.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The position of a new item.
    pub(super) fn take_position(&mut self) -> u64 {
        let position = self.next;
        self.next += 1;
        self.added = Instant::now();
        self.waiting += 1;
        position
    }

    /// True if every item that has a position was written by now, or never will be.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.added + WRITTEN_WITHIN
    }

    /// True if nothing needs a look at all that waits: that comes once in a while, and for what has its time.
    pub(super) fn only_goes_on(&self, now: Timestamp, moment: Instant) -> bool {
        let due = self.parked.values().chain(self.cells_held.values());
        let gathered = [self.log_due(), self.marks_due()];
        let first = due.copied().chain(gathered.into_iter().flatten()).min();
        moment < self.looked_at + LOOK_EVERY && first.is_none_or(|it| it > now)
    }

    /// What is stored of it.
    pub(super) fn row(&self) -> StreamRow {
        StreamRow {
            epoch: self.epoch,
            position: self.decided,
            offered: self.reserved,
        }
    }
}

/// Bytes of the message that a row refers to; 0 for what is made when it goes. Blocks.
pub(super) fn size_of(tables: &Tables, row: &OutboxRow) -> Result<usize, StoreError> {
    let Some((topic, _)) = pair_of(row).filter(|_| is_letter(row)) else {
        return Ok(0);
    };
    let envelope = match is_message(row) {
        true => tables.message(topic, row.seq)?.and_then(|it| it.envelope),
        false => tables
            .request(topic, &row.request)?
            .and_then(|it| it.envelope),
    };
    let envelope = envelope.and_then(crate::topic::message::envelope_of);
    Ok(envelope.map_or(0, |it| it.size()))
}

/// The groups that a peer follows, each to be looked at once. Blocks.
fn followed(tables: &Tables, peer: &DomainName) -> Result<HashMap<TopicKey, Followed>, StoreError> {
    let (mut all, mut after) = (HashMap::new(), None);
    loop {
        let page = tables.followed_by(peer, after, PARKED_PAGE)?;
        after = page.last().map(|(topic, _)| *topic);
        let full = page.len() == PARKED_PAGE;
        all.extend(
            page.into_iter()
                .map(|(topic, _)| (topic, Followed::behind(0))),
        );
        if !full {
            return Ok(all);
        }
    }
}
