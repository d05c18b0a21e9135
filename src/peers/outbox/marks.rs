//! How far members of groups have got, on its way to other domains: one item for each group and peer,
//! which says it of everybody who got further since the peer last heard (federation.md 6). So the
//! number of items does not grow with the number of members.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use freehold_federation::Verdict;
use freehold_proto::{DomainName, GroupId, Timestamp, UserId, wire};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        outbox::{self, GROUP_CURSORS},
        rows::{CHANNEL, OutboxRow, RoomRow},
    },
};
use tokio::time::Instant;

use super::{Outbox, row, stream::Stream};
use crate::topic::{marked_order, storage};

/// How long marks are gathered before they go.
const GATHER: Duration = Duration::from_secs(1);
/// So long after its time a mark without a row counts as lost.
const LOST: Duration = Duration::from_secs(10);
/// Members in one item.
const MEMBERS_MAX: usize = 1000;

/// Orders of the last message received and read.
pub(super) type Mark = (u32, u32);

/// Marks of one group that wait for a peer.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    /// When they go.
    pub(super) due: Instant,
    /// Who got how far.
    pub(super) people: HashMap<UserId, Mark>,
    /// It is not known any more who got further: everybody is told.
    pub(super) whole: bool,
    /// How often the number of readers of the channel has changed since the peer heard it.
    pub(super) readers: u32,
}

impl Gathered {
    /// What a start finds waiting.
    pub(super) fn forgotten() -> Self {
        Self {
            due: Instant::now(),
            people: HashMap::new(),
            whole: true,
            readers: 0,
        }
    }
}

impl Outbox {
    /// Adds how far people have got to what waits for a peer. The stream must be prepared.
    pub fn put_marks(
        &self,
        batch: &mut Batch,
        peer: &DomainName,
        topic: TopicKey,
        marks: &[(UserId, Mark)],
        now: Timestamp,
    ) {
        self.gather(batch, peer, topic, now, |gathered| {
            for (user, (received, read)) in marks {
                let mark = gathered.people.entry(user.clone()).or_default();
                *mark = (mark.0.max(*received), mark.1.max(*read));
            }
        });
    }

    /// Adds to what waits for a channel's home that another number of our people reads it. The stream must
    /// be prepared.
    pub fn put_readers(
        &self,
        batch: &mut Batch,
        home: &DomainName,
        topic: TopicKey,
        now: Timestamp,
    ) {
        self.gather(batch, home, topic, now, |gathered| {
            gathered.readers = gathered.readers.saturating_add(1);
        });
    }

    fn gather(
        &self,
        batch: &mut Batch,
        peer: &DomainName,
        topic: TopicKey,
        now: Timestamp,
        note: impl FnOnce(&mut Gathered),
    ) {
        let Some(stream) = self.peers.lock().get(peer).cloned() else {
            return;
        };
        let mut stream = stream.lock();
        if !stream.marks.contains_key(&topic) {
            let position = stream.take_position();
            let nobody = UserId::new([0; 8], self.signer.domain().clone());
            let row = row(GROUP_CURSORS, topic, &nobody, 0, now);
            outbox::put_item(batch, peer, position, &row);
            let gathered = Gathered {
                due: Instant::now() + GATHER,
                people: HashMap::new(),
                whole: false,
                readers: 0,
            };
            stream.marks.insert(topic, gathered);
        }
        if let Some(gathered) = stream.marks.get_mut(&topic) {
            note(gathered);
        }
    }
}

pub(super) fn is_marks(row: &OutboxRow) -> bool {
    row.kind == u32::from(GROUP_CURSORS)
}

impl Stream {
    /// True when marks are to go now, false while they are gathered.
    pub(super) fn tells_marks(&self, row: &OutboxRow) -> bool {
        let topic = TopicKey::from_slice(&row.topic);
        let gathered = topic.and_then(|it| self.marks.get(&it));
        gathered.is_none_or(|it| it.due <= Instant::now())
    }

    /// The marks that an item holds now, if it is such an item.
    pub(super) fn marks_in(&self, row: &OutboxRow) -> Option<(TopicKey, Gathered)> {
        let topic = TopicKey::from_slice(&row.topic).filter(|_| is_marks(row))?;
        let gathered = self.marks.get(&topic).cloned();
        Some((topic, gathered.unwrap_or_else(Gathered::forgotten)))
    }

    /// The peer has decided marks: true when nothing is left to be told.
    pub(super) fn settle_marks(
        &mut self,
        topic: TopicKey,
        told: &Gathered,
        verdict: &Verdict,
    ) -> bool {
        let Some(gathered) = self.marks.get_mut(&topic) else {
            return true;
        };
        let pause = match verdict {
            Verdict::Later { retry_after, .. } => *retry_after,
            Verdict::Refused(_) => {
                self.marks.remove(&topic);
                return true;
            }
            Verdict::Ok | Verdict::Duplicate => {
                gathered.whole &= !told.whole;
                let news = |user: &UserId, mark: &mut Mark| told.people.get(user) != Some(mark);
                gathered.people.retain(news);
                gathered.readers = gathered.readers.saturating_sub(told.readers);
                if gathered.people.is_empty() && !gathered.whole && gathered.readers == 0 {
                    self.marks.remove(&topic);
                    return true;
                }
                GATHER
            }
        };
        gathered.due = Instant::now() + pause;
        false
    }

    /// Only marks with a row wait: one that failed to be written is made anew by the next mark.
    pub(super) fn keep_marks(&mut self, rows: &HashSet<TopicKey>) {
        let now = Instant::now();
        let waits =
            |topic: &TopicKey, it: &mut Gathered| rows.contains(topic) || now < it.due + LOST;
        self.marks.retain(waits);
    }

    /// When marks go next.
    pub(super) fn marks_due(&self) -> Option<Timestamp> {
        let first = self.marks.values().map(|it| it.due).min()?;
        let left = first.saturating_duration_since(Instant::now());
        Some(self.looked.plus(left))
    }
}

/// What a peer is told of how far people have got. Blocks.
pub(super) fn words(
    tables: &Tables,
    peer: &DomainName,
    us: &DomainName,
    topic: TopicKey,
    gathered: &Gathered,
) -> Result<Option<wire::payload::Kind>, StoreError> {
    let Some(room) = tables.room(topic)? else {
        return Ok(None);
    };
    let mut cursors: Vec<(UserId, Mark)> = gathered.people.clone().into_iter().collect();
    if gathered.whole {
        cursors.extend(everybody(tables, (peer, us), topic, &room)?);
    }
    cursors.truncate(MEMBERS_MAX);
    let cursor = |(user, (received, read)): (UserId, Mark)| wire::GroupCursor {
        user: user.to_string(),
        received,
        read,
    };
    let group = GroupId::of_record(&room.record);
    Ok(Some(wire::payload::Kind::GroupCursors(
        wire::GroupCursors {
            group: bytes::Bytes::copy_from_slice(group.as_bytes()),
            cursors: cursors.into_iter().map(cursor).collect(),
            readers: readers(&room, gathered),
        },
    )))
}

/// How many of ours read a channel, if its home is to hear it.
fn readers(room: &RoomRow, gathered: &Gathered) -> Option<u32> {
    let abroad = room.kind == CHANNEL && !room.home.is_empty();
    let told = abroad && (gathered.whole || gathered.readers > 0);
    told.then_some(match room.deleted {
        0 => room.readers,
        _ => 0,
    })
}

/// How far all members have got whom a peer does not know better: at a copy our own, at the home all
/// but the peer's. Blocks.
fn everybody(
    tables: &Tables,
    (peer, us): (&DomainName, &DomainName),
    topic: TopicKey,
    room: &RoomRow,
) -> Result<Vec<(UserId, Mark)>, StoreError> {
    let mut marks = Vec::new();
    for user in tables.members(topic, None, MEMBERS_MAX)? {
        let told = match &*room.home {
            "" => user.domain() != peer,
            _ => user.domain() == us,
        };
        let row = tables.subscription(&user, topic)?.filter(|_| told);
        let Some(standing) = row.map(|it| storage::standing(&it)) else {
            continue;
        };
        let order = |seq| match room.begun {
            None => Ok(seq),
            Some(_) => marked_order(tables, topic, room.opened, seq),
        };
        marks.push((user, (order(standing.received)?, order(standing.read)?)));
    }
    Ok(marks)
}
