//! A peer that was restored from a backup has lost some of what it had decided, and says so at hello by
//! an older position. What of that is kept here is offered again, under the positions it had, so that it
//! comes before everything newer. If we are the ones who were restored, the peer has seen positions that
//! this store knows nothing of: the stream goes on behind them, in another epoch (PROTOCOL.md section
//! 8.6; rules.md 14).

use std::time::Duration;

use freehold_federation::StreamPosition;
use freehold_proto::{DomainName, Timestamp};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        kept::{put_kept, put_told_cell, remove_kept},
        log::{put_told, remove_request},
        outbox::{self, CURSOR, GROUP_CURSORS, RELATION},
        rows::{KeptRow, OutboxRow, StreamRow},
    },
};
use parking_lot::Mutex;
use tracing::{error, info};

use super::{
    Outbox, PAGE,
    marks::Gathered,
    stream::{Followed, Offer, Stream, is_call, is_request, pair_of, size_of},
};

/// How long what a peer has decided is kept.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often what has been kept long enough is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often one item is offered again to a peer that says again and again that it has lost it.
const AGAIN_MAX: u32 = 3;
/// Positions that are given away before the next are noted.
const AHEAD: u64 = 256;

/// Further than any stream gets. A peer that says it is there does not make ours end.
const POSITION_MAX: u64 = 1 << 62;

/// What a peer's word on our stream means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// The peer has all that it has ever decided.
    Agrees,
    /// The peer has lost what it decided above this position.
    Behind(u64),
    /// The peer has decided what we never offered, as far as we know: it is we who have lost something.
    /// The stream goes on in this epoch.
    Ahead(u64),
}

/// Judges how far a peer says that it has decided a stream. An epoch that is not ours is one from before
/// a restore of ours, or none: positions go on across epochs, so they count all the same.
#[must_use]
pub(crate) fn compare(ours: &StreamRow, theirs: StreamPosition) -> Standing {
    if theirs.position > POSITION_MAX {
        return Standing::Agrees;
    }
    if theirs.position > ours.offered {
        return Standing::Ahead(match theirs.epoch == ours.epoch {
            true => ours.epoch.wrapping_add(1).max(1),
            false => ours.epoch,
        });
    }
    match theirs.position < ours.position {
        true => Standing::Behind(theirs.position),
        false => Standing::Agrees,
    }
}

/// The epoch in which a stream goes on after a restore, and behind which position: neither this store
/// nor the peer may know it.
fn next_epoch(ours: &StreamRow, theirs: Option<StreamPosition>) -> (u64, u64) {
    let theirs = theirs.unwrap_or_default();
    let known = [0, ours.epoch, theirs.epoch];
    let base = if theirs.epoch == 0 {
        ours.epoch
    } else {
        theirs.epoch
    };
    let mut epoch = base.wrapping_add(1);
    while known.contains(&epoch) {
        epoch = epoch.wrapping_add(1);
    }
    (epoch, theirs.position.min(POSITION_MAX))
}

/// True for what only its last word counts of.
fn is_state(row: &OutboxRow) -> bool {
    [RELATION, CURSOR, GROUP_CURSORS].contains(&kind_of(row))
}

fn kind_of(row: &OutboxRow) -> u8 {
    u8::try_from(row.kind).unwrap_or(0)
}

/// Keeps what a peer has decided. What somebody said about a call is worth nothing later.
pub(super) fn keep(
    batch: &mut Batch,
    peer: &DomainName,
    position: u64,
    offer: &Offer,
    now: Timestamp,
) {
    let Some((topic, user)) = pair_of(&offer.row).filter(|_| is_kept(&offer.row)) else {
        return;
    };
    let row = KeptRow {
        row: Some(offer.row.clone()),
        position,
        at: now.as_millis(),
    };
    match is_state(&offer.row) {
        true => put_told_cell(batch, peer, kind_of(&offer.row), (topic, &user), &row),
        false => put_kept(batch, peer, position, &row),
    }
}

/// Whether an item is kept once it has been decided.
pub(super) fn is_kept(row: &OutboxRow) -> bool {
    !is_call(row) && (is_state(row) || row.again < AGAIN_MAX)
}

impl Outbox {
    /// The stream to a peer, if there is one or the peer knows of one.
    async fn stream_of(
        &self,
        peer: &DomainName,
        theirs: StreamPosition,
    ) -> Result<Option<std::sync::Arc<Mutex<Stream>>>, StoreError> {
        let wanted = peer.clone();
        let stored = move |tables: &Tables| tables.stream_out(&wanted);
        match self.tables.read(stored).await? {
            None if theirs.position == 0 => Ok(None),
            _ => self.stream_to(peer).await.map(Some),
        }
    }

    /// Whether a peer has lost something that it had decided.
    pub(super) async fn has_lost(
        &self,
        peer: &DomainName,
        theirs: StreamPosition,
    ) -> Result<bool, StoreError> {
        let stream = self.stream_of(peer, theirs).await?;
        let row = stream.map(|it| it.lock().row());
        Ok(row.is_some_and(|it| matches!(compare(&it, theirs), Standing::Behind(_))))
    }

    /// Does what follows from how far a peer says that it has decided our stream; true when that is
    /// something.
    pub(super) async fn take_word(
        &self,
        peer: &DomainName,
        theirs: StreamPosition,
    ) -> Result<bool, StoreError> {
        let Some(stream) = self.stream_of(peer, theirs).await? else {
            return Ok(false);
        };
        let row = stream.lock().row();
        match compare(&row, theirs) {
            Standing::Agrees => Ok(false),
            Standing::Behind(position) => {
                let again = self.offer_again(peer, &stream, position).await?;
                info!(
                    %peer, position, had = row.position, again,
                    "the peer has lost what it had decided: what is kept of it is offered again"
                );
                Ok(true)
            }
            Standing::Ahead(epoch) => {
                let known = row.offered;
                error!(
                    %peer, known, theirs = theirs.position, fault = "ours",
                    "the peer has more of our stream than this store has ever offered: it is an older \
                     copy that was brought back without `freehold restore` (OPERATING.md, Backup)"
                );
                self.begin_epoch(peer, &stream, (epoch, theirs.position))
                    .await
                    .map(|()| true)
            }
        }
    }

    /// After a restore the stream to a peer goes on in another epoch, behind all that the peer has, as
    /// far as it has said.
    pub(crate) async fn restored(
        &self,
        peer: &DomainName,
        word: Option<StreamPosition>,
    ) -> Result<(), StoreError> {
        let stream = self.stream_to(peer).await?;
        let next = next_epoch(&stream.lock().row(), word);
        self.begin_epoch(peer, &stream, next).await
    }

    /// Goes on behind a position in another epoch.
    async fn begin_epoch(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        (epoch, position): (u64, u64),
    ) -> Result<(), StoreError> {
        let row = {
            let mut stream = stream.lock();
            stream.epoch = epoch;
            stream.next = stream.next.max(position.saturating_add(1));
            stream.reserved = stream.reserved.max(position);
            stream.row()
        };
        let mut batch = Batch::new();
        outbox::put_stream_out(&mut batch, peer, &row);
        self.tables.commit(batch).await.map(drop)
    }

    /// Notes that positions up to `last`, and some more, are given away, before they are.
    pub(super) async fn reserve(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        last: u64,
    ) -> Result<(), StoreError> {
        let (row, before) = {
            let mut stream = stream.lock();
            if last <= stream.reserved {
                return Ok(());
            }
            let before = stream.reserved;
            stream.reserved = last.saturating_add(AHEAD);
            (stream.row(), before)
        };
        let mut batch = Batch::new();
        outbox::put_stream_out(&mut batch, peer, &row);
        let noted = self.tables.commit(batch).await;
        if noted.is_err() {
            stream.lock().reserved = before;
        }
        noted.map(drop)
    }

    /// Queues again what a peer had decided above a position; returns how much that is.
    async fn offer_again(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        position: u64,
    ) -> Result<usize, StoreError> {
        let mut again = self.cells_again(peer, stream, position).await?;
        self.logs_again(peer, stream).await?;
        let mut after = position;
        loop {
            let wanted = peer.clone();
            let read = move |tables: &Tables| {
                let page = tables.kept(&wanted, after, PAGE)?;
                let weighed = page.into_iter().map(|(position, kept)| {
                    let row = kept.row.unwrap_or_default();
                    let bytes = size_of(tables, &row)?;
                    Ok((position, row, bytes))
                });
                weighed.collect::<Result<Vec<_>, StoreError>>()
            };
            let page = self.tables.read(read).await?;
            let Some((last, ..)) = page.last() else {
                break;
            };
            after = *last;
            let mut batch = Batch::new();
            for (position, row, _) in &page {
                let row = OutboxRow {
                    again: row.again + 1,
                    ..row.clone()
                };
                remove_kept(&mut batch, peer, *position);
                outbox::put_item(&mut batch, peer, *position, &row);
            }
            let _applied = self.tables.commit(batch).await?;
            let mut stream = stream.lock();
            stream.waiting += page.len();
            stream.bytes += page.iter().map(|it| it.2).sum::<usize>();
            again += page.len();
        }
        let row = {
            let mut stream = stream.lock();
            stream.decided = stream.decided.min(position);
            stream.row()
        };
        // Only now: until then the next hello finds the same again.
        let mut batch = Batch::new();
        outbox::put_stream_out(&mut batch, peer, &row);
        let _applied = self.tables.commit(batch).await?;
        Ok(again)
    }

    /// The same with relations, cursors and marks, of which the last word is told again as it is now.
    async fn cells_again(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        position: u64,
    ) -> Result<usize, StoreError> {
        let (mut after, mut again) = (None, 0);
        loop {
            let wanted = peer.clone();
            let read = move |tables: &Tables| tables.told_cells(&wanted, after.as_deref(), PAGE);
            let page = self.tables.read(read).await?;
            after = page.last().map(|it| it.0.clone());
            if after.is_none() {
                return Ok(again);
            }
            for (_, kept) in page.into_iter().filter(|it| it.1.position > position) {
                let Some((row, pair)) = kept.row.and_then(|it| Some((pair_of(&it)?, it))).map(swap)
                else {
                    continue;
                };
                let now = Timestamp::from_stored(kept.at);
                let mut batch = Batch::new();
                match kind_of(&row) {
                    GROUP_CURSORS => self.put_all_marks(&mut batch, peer, stream, (pair.0, &row)),
                    kind => {
                        let pair = (pair.0, &pair.1);
                        self.put_cell(&mut batch, peer, kind, pair, now).await?;
                    }
                }
                let _applied = self.tables.commit(batch).await?;
                again += 1;
            }
        }
    }

    /// Tells the last entry of each log again: a copy that lacks others before it asks for them.
    async fn logs_again(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
    ) -> Result<(), StoreError> {
        let followed: Vec<TopicKey> = stream.lock().logs.keys().copied().collect();
        let wanted = peer.clone();
        let read = move |tables: &Tables| {
            let told = followed.into_iter().map(|topic| {
                let since = tables
                    .follower(&wanted, topic)?
                    .map_or(u64::MAX, |it| it.since);
                Ok((topic, tables.told(&wanted, topic)?, since))
            });
            told.collect::<Result<Vec<_>, StoreError>>()
        };
        let mut batch = Batch::new();
        for (topic, told, since) in self.tables.read(read).await? {
            if told <= since {
                continue;
            }
            put_told(&mut batch, peer, topic, told - 1);
            stream.lock().logs.insert(topic, Followed::behind(told - 1));
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.tables.commit(batch).await.map(drop),
        }
    }

    /// Adds how far everybody has got in a group.
    fn put_all_marks(
        &self,
        batch: &mut Batch,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        (topic, row): (TopicKey, &OutboxRow),
    ) {
        let mut stream = stream.lock();
        let former = stream.marks.insert(topic, Gathered::forgotten());
        if former.is_none() {
            let position = stream.take_position();
            outbox::put_item(batch, peer, position, row);
        }
    }

    /// Forgets what has been kept long enough, now and then.
    pub(super) async fn forget_kept(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        {
            let mut stream = stream.lock();
            if now.since(stream.forgot) < FORGET_EVERY {
                return Ok(());
            }
            stream.forgot = now;
        }
        let oldest = now.minus(KEPT_FOR).as_millis();
        loop {
            let wanted = peer.clone();
            let read = move |tables: &Tables| {
                let page = tables.kept(&wanted, 0, PAGE)?;
                let (mut batch, whole) = (Batch::new(), page.len() == PAGE);
                let old = page.iter().take_while(|it| it.1.at < oldest);
                let mut gone = 0;
                for (position, kept) in old {
                    forget(tables, &mut batch, (&wanted, *position), kept)?;
                    gone += 1;
                }
                Ok((batch, whole && gone == PAGE))
            };
            let (batch, more) = self.tables.read(read).await?;
            if !batch.is_empty() {
                // A batch without guards is applied.
                let _applied = self.tables.commit(batch).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }
}

fn swap<A, B>((a, b): (A, B)) -> (B, A) {
    (b, a)
}

/// Takes out what was kept, and with it the request that nobody needs any more. Blocks.
fn forget(
    tables: &Tables,
    batch: &mut Batch,
    (peer, position): (&DomainName, u64),
    kept: &KeptRow,
) -> Result<(), StoreError> {
    remove_kept(batch, peer, position);
    let row = kept.row.clone().unwrap_or_default();
    match TopicKey::from_slice(&row.topic).filter(|_| is_request(&row)) {
        Some(topic) => remove_request(tables, batch, topic, &row.request),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: StreamRow = StreamRow {
        epoch: 7,
        position: 100,
        offered: 4000,
    };

    fn word(epoch: u64, position: u64) -> Standing {
        compare(&OURS, StreamPosition { epoch, position })
    }

    #[test]
    fn a_peer_that_has_decided_what_we_know_of_agrees() {
        assert_eq!(word(7, 100), Standing::Agrees);
        // Its answers got lost, or were not settled before a crash.
        assert_eq!(word(7, 4000), Standing::Agrees);
    }

    #[test]
    fn a_peer_that_says_less_than_it_said_has_lost_the_rest() {
        assert_eq!(word(7, 99), Standing::Behind(99));
        assert_eq!(word(6, 99), Standing::Behind(99));
        // Its backup is from before it knew us.
        assert_eq!(word(0, 0), Standing::Behind(0));
    }

    #[test]
    fn after_a_restore_the_epoch_is_new_to_both() {
        let word = |epoch, position| Some(StreamPosition { epoch, position });
        assert_eq!(next_epoch(&OURS, None), (8, 0));
        assert_eq!(next_epoch(&OURS, word(0, 0)), (8, 0));
        assert_eq!(next_epoch(&OURS, word(7, 4100)), (8, 4100));
        // The same backup was brought back before.
        assert_eq!(next_epoch(&OURS, word(8, 9000)), (9, 9000));
        assert_eq!(next_epoch(&OURS, word(6, 50)), (8, 50));
        assert_eq!(next_epoch(&OURS, word(u64::MAX, 1)), (1, 1));
    }

    #[test]
    fn a_peer_that_has_what_we_never_offered_shows_that_we_have_lost_something() {
        assert_eq!(word(7, 4001), Standing::Ahead(8));
        // Our restore has begun another epoch already; only the positions are still behind.
        assert_eq!(word(6, 4001), Standing::Ahead(7));
        let last = StreamRow {
            epoch: u64::MAX,
            ..OURS
        };
        let theirs = StreamPosition {
            epoch: u64::MAX,
            position: 5000,
        };
        assert_eq!(compare(&last, theirs), Standing::Ahead(1));
        // Nobody has so much: there must be positions left.
        assert_eq!(word(7, u64::MAX), Standing::Agrees);
        let endless = StreamPosition {
            epoch: 7,
            position: u64::MAX,
        };
        assert_eq!(next_epoch(&OURS, Some(endless)), (8, POSITION_MAX));
    }
}
