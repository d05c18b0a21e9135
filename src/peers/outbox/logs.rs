//! Telling peers what happens in groups whose home we are: entries of each log, in order, from where
//! the peer has got to (PROTOCOL.md section 7.7). Nothing is queued for it, so a peer that is away for
//! weeks costs one number.

use std::time::Duration;

use freehold_federation::{Outgoing, Verdict};
use freehold_proto::{DomainName, Envelope, Placed, Timestamp};
use freehold_store::{
    Batch, Outcome, StoreError, Tables, TopicKey,
    tables::{
        log::{put_told, remove_follower},
        rows::LogRow,
    },
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::error;

use super::{
    Outbox,
    stream::{Followed, Offer, Stream},
};
use crate::topic::message;

/// How long a log is held back from a peer that refuses an entry of it: that mends itself only by a
/// repair on one of the sides.
const REFUSED_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What there is for a peer to know of one log.
enum Ahead {
    /// These, without a gap; whether that is all there is.
    Entries(Vec<(u64, Placed, Envelope)>, bool),
    /// The peer does not follow it.
    Nothing,
}

impl Outbox {
    /// Something new is in the log of a group, or another domain follows it.
    pub fn moved(&self, peer: &DomainName, topic: TopicKey) {
        let Some(stream) = self.peers.lock().get(peer).cloned() else {
            return;
        };
        let mut stream = stream.lock();
        stream.moved += 1;
        let followed = stream.logs.entry(topic);
        followed.or_insert(Followed::behind(0)).lagging = true;
    }

    /// What a peer has been told of a log counts no more: it is read from the store again.
    pub fn unfollow(&self, peer: &DomainName, topic: TopicKey) {
        if let Some(stream) = self.peers.lock().get(peer) {
            let mut stream = stream.lock();
            stream.logs.remove(&topic);
            stream.told.remove(&topic);
            stream.perhaps_over.remove(&topic);
        }
    }

    /// The next entries of all logs that the peer follows and has not been told whole.
    pub(super) async fn entries(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        (items_max, bytes_max): (usize, usize),
    ) -> Result<Vec<Outgoing>, StoreError> {
        let mut items = Vec::new();
        let mut left = bytes_max;
        let lagging = stream.lock().lagging();
        for (topic, told) in lagging {
            let room = items_max.saturating_sub(items.len());
            if room == 0 || (left == 0 && !items.is_empty()) {
                break;
            }
            let moved = stream.lock().moved;
            let ahead = self.ahead(peer, topic, told, (room, left)).await?;
            let Ahead::Entries(entries, all) = ahead else {
                stream.lock().logs.remove(&topic);
                continue;
            };
            let mut stream = stream.lock();
            // What was added since has said so.
            if entries.is_empty() && all && stream.moved == moved {
                stream.caught_up(topic);
            }
            for (index, placed, envelope) in entries {
                left = left.saturating_sub(envelope.size());
                let position = stream.next;
                stream.next += 1;
                stream.offered.insert(position, Offer::entry(topic, index));
                items.push(Outgoing {
                    position,
                    envelope,
                    placed: Some(placed),
                });
            }
        }
        Ok(items)
    }

    /// What comes behind the last entry that a peer has been told, all of it durable.
    async fn ahead(
        &self,
        peer: &DomainName,
        topic: TopicKey,
        told: u64,
        room: (usize, usize),
    ) -> Result<Ahead, StoreError> {
        let wanted = peer.clone();
        let read = move |tables: &Tables| ahead(tables, &wanted, topic, told, room);
        let ahead = self.tables.read(read).await?;
        // Rows can be seen before their commit group is on disk.
        self.barrier().await?;
        Ok(ahead)
    }

    /// Adds how far the peer has been told each log, where that has changed.
    pub(super) fn note_told(&self, peer: &DomainName, stream: &Mutex<Stream>, batch: &mut Batch) {
        let told = std::mem::take(&mut stream.lock().told);
        for (topic, told) in told {
            put_told(batch, peer, topic, told);
        }
    }

    /// Forgets logs in which the peer has no part any more and of which it has been told everything
    /// until then.
    pub(super) async fn forget_followers(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
    ) -> Result<(), StoreError> {
        let told = std::mem::take(&mut stream.lock().perhaps_over);
        for (topic, told) in told {
            let wanted = peer.clone();
            let read = move |tables: &Tables| tables.follower(&wanted, topic);
            let over = self.tables.read(read).await?;
            let Some(over) = over.filter(|it| it.until > 0 && it.until <= told) else {
                continue;
            };
            let mut batch = Batch::new();
            remove_follower(&mut batch, peer, topic, &over);
            if self.tables.commit(batch).await? == Outcome::Applied {
                stream.lock().logs.remove(&topic);
            }
        }
        Ok(())
    }
}

/// Reads what comes behind `told`, or behind what is stored of it. Blocks.
fn ahead(
    tables: &Tables,
    peer: &DomainName,
    topic: TopicKey,
    told: u64,
    (items_max, bytes_max): (usize, usize),
) -> Result<Ahead, StoreError> {
    let Some(row) = tables.follower(peer, topic)? else {
        return Ok(Ahead::Nothing);
    };
    let end = if row.until > 0 { row.until } else { u64::MAX };
    let told = told.max(row.since).max(tables.told(peer, topic)?);
    let (mut entries, mut bytes, mut all) = (Vec::new(), 0, true);
    let rows = tables.log_after(topic, told, items_max)?;
    for (next, (index, row)) in (told + 1..).zip(rows) {
        // A later entry can be seen before an earlier one whose group is not written yet.
        if index != next || index > end {
            break;
        }
        let Some((placed, envelope)) = entry(tables, topic, &row)? else {
            error!(?topic, index, "an entry of a group's log is damaged");
            break;
        };
        bytes += envelope.size();
        if bytes > bytes_max && !entries.is_empty() {
            all = false;
            break;
        }
        entries.push((index, placed, envelope));
    }
    Ok(Ahead::Entries(entries, all))
}

/// An entry as it is told; `None` if it is damaged. Blocks.
pub(crate) fn entry(
    tables: &Tables,
    topic: TopicKey,
    row: &LogRow,
) -> Result<Option<(Placed, Envelope)>, StoreError> {
    let envelope = match (&row.envelope, row.seq) {
        (Some(envelope), _) => Some(envelope.clone()),
        (None, seq) => tables.message(topic, seq)?.and_then(|it| it.envelope),
    };
    let envelope = envelope.and_then(message::envelope_of);
    let signature = row.signature.as_ref().try_into().ok();
    let placed = signature.map(|signature| Placed {
        position: row.position.clone(),
        signature,
    });
    Ok(placed.zip(envelope))
}

impl Stream {
    /// Logs to look at, and how far the peer has been told each.
    fn lagging(&self) -> Vec<(TopicKey, u64)> {
        let now = Instant::now();
        let due = |it: &(&TopicKey, &Followed)| it.1.lagging && it.1.held <= now;
        let due = self.logs.iter().filter(due);
        due.map(|(topic, it)| (*topic, it.told)).collect()
    }

    /// When the next log may be offered again that the peer wants later.
    pub(super) fn log_due(&self) -> Option<Timestamp> {
        let waits = self.logs.values().filter(|it| it.lagging);
        let first = waits.map(|it| it.held).min()?;
        let left = first.saturating_duration_since(Instant::now());
        Some(self.looked.plus(left))
    }

    fn caught_up(&mut self, topic: TopicKey) {
        if let Some(followed) = self.logs.get_mut(&topic) {
            followed.lagging = false;
            self.perhaps_over.insert(topic, followed.told);
        }
    }

    /// The peer has decided an entry.
    pub(super) fn settle_entry(
        &mut self,
        peer: &DomainName,
        (topic, index): (TopicKey, u64),
        verdict: &Verdict,
    ) {
        let Some(followed) = self.logs.get_mut(&topic) else {
            return;
        };
        match verdict {
            Verdict::Ok | Verdict::Duplicate => {
                followed.told = followed.told.max(index);
                self.told.insert(topic, followed.told);
                self.perhaps_over.insert(topic, followed.told);
            }
            Verdict::Later { retry_after, .. } => followed.held = Instant::now() + *retry_after,
            Verdict::Refused(refusal) => {
                error!(
                    %peer, ?topic, index, %refusal,
                    "a peer refuses an entry of a group's log; it is not told more of it for an hour"
                );
                followed.held = Instant::now() + REFUSED_PAUSE;
            }
        }
    }
}
