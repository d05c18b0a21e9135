//! What becomes of an item once the peer has decided it.

use freehold_federation::Verdict;
use freehold_proto::{DomainName, GroupId, MessageId, Refusal, RefusalCode, Timestamp, UserId};
use freehold_store::{
    Batch, Outcome, StoreError, Tables, TopicKey,
    tables::{
        log::remove_request,
        outbox::{self, CURSOR, RELATION},
        rows::OutboxRow,
    },
};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    Outbox, again,
    expire::reason,
    park,
    stream::{Offer, Pair, Stream, is_call, is_letter, is_request, pair_of},
};
use crate::topic::{Command, TopicName, hub::Hub};

impl Outbox {
    pub(super) async fn settle_one(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        offer: (u64, Offer),
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (position, offer) = offer;
        let Some(pair) = pair_of(&offer.row) else {
            return self.finish(peer, position, &offer, None).await;
        };
        match verdict {
            Verdict::Later { retry_after, code } if is_letter(&offer.row) => {
                let fails = code == RefusalCode::Unavailable;
                if fails {
                    stream.lock().failing.insert(pair.clone());
                }
                if offer.parked_at.is_none() {
                    let mut batch = Batch::new();
                    let row = OutboxRow {
                        failed: fails.into(),
                        ..offer.row.clone()
                    };
                    park(&mut batch, peer, position, &row);
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
                self.finish(peer, position, &offer, Some(now)).await?;
                self.forget_empty_pair(peer, stream, &offer, pair).await?;
            }
            Verdict::Refused(refusal) => {
                warn!(%peer, code = refusal.code.number(), detail = refusal.detail, "peer refused an item of ours");
                if is_letter(&offer.row) && !is_call(&offer.row) {
                    let refused = Refused {
                        peer: peer.clone(),
                        position,
                        parked_at: offer.parked_at,
                        author: pair.1.clone(),
                    };
                    self.tell_author(refused, pair.0, &offer.row, &refusal)
                        .await?;
                } else {
                    self.finish(peer, position, &offer, None).await?;
                }
                self.forget_empty_pair(peer, stream, &offer, pair).await?;
            }
        }
        Ok(())
    }

    /// Takes a decided item out of the store. What was taken by the peer, at `taken`, is kept for the
    /// case that it loses that.
    pub(super) async fn finish(
        &self,
        peer: &DomainName,
        position: u64,
        offer: &Offer,
        taken: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let kept = taken.filter(|_| again::is_kept(&offer.row));
        if let Some(pair) =
            pair_of(&offer.row).filter(|_| is_request(&offer.row) || is_call(&offer.row))
            && kept.is_none()
        {
            self.end_request(&mut batch, pair.0, &offer.row).await?;
        }
        if let Some(now) = kept {
            again::keep(&mut batch, peer, position, offer, now);
        }
        match (pair_of(&offer.row), offer.parked_at) {
            (Some((topic, author)), Some(at)) => {
                outbox::unpark(&mut batch, peer, (topic, &author), at)
            }
            (Some((topic, user)), None) if is_cell(&offer.row) => {
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
            if let Some(now) = kept {
                again::keep(&mut batch, peer, position, offer, now);
            }
            let _applied = self.tables.commit(batch).await?;
        }
        Ok(())
    }

    /// What was asked is not kept longer than it waits.
    async fn end_request(
        &self,
        batch: &mut Batch,
        topic: TopicKey,
        row: &OutboxRow,
    ) -> Result<(), StoreError> {
        let id = row.request.clone();
        let remove = move |tables: &Tables| {
            let mut removed = Batch::new();
            remove_request(tables, &mut removed, topic, &id)?;
            Ok(removed)
        };
        *batch = self.tables.read(remove).await?;
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
            let mut stream = stream.lock();
            stream.parked.remove(&pair);
            stream.failing.remove(&pair);
        }
        Ok(())
    }

    /// Has the topic take a refused message or request out of the outbox and tell its author, in one
    /// commit.
    async fn tell_author(
        &self,
        refused: Refused,
        topic: TopicKey,
        row: &OutboxRow,
        refusal: &Refusal,
    ) -> Result<(), StoreError> {
        let read = move |tables: &Tables| name_of(tables, topic);
        let name = self.tables.read(read).await?;
        let Some(server) = self.server.lock().upgrade() else {
            return Err(StoreError::Closed);
        };
        let Some(name) = name else {
            // Nobody is left to be told.
            let mut batch = Batch::new();
            refused.remove(&mut batch, topic);
            return self.tables.commit(batch).await.map(drop);
        };

        info!(peer = %refused.peer, author = %refused.author, seq = row.seq, "telling the author of a refusal");
        let reason = reason(&refused.peer, refusal);
        let (done, told) = oneshot::channel();
        let command = match MessageId::from_slice(&row.request) {
            Ok(id) if is_request(row) => Command::Declined {
                id,
                actor: refused.author.clone(),
                reason,
                refused,
                done,
            },
            _ => Command::Undelivered {
                seq: row.seq,
                reason,
                refused,
                done,
            },
        };
        Hub::send(&server, &name, command).await;
        // Without an answer nothing was decided: the item stays, and the peer will refuse it again.
        told.await.map_err(|_| StoreError::Closed)
    }
}

/// The topic with a key. Blocks.
fn name_of(tables: &Tables, topic: TopicKey) -> Result<Option<TopicName>, StoreError> {
    if let Some(room) = tables.room(topic)? {
        return Ok(Some(TopicName::Group(GroupId::of_record(&room.record))));
    }
    let people = tables.topic(topic)?.map(|it| it.people).unwrap_or_default();
    let people: Vec<UserId> = people.iter().filter_map(|it| it.parse().ok()).collect();
    let people = <[UserId; 2]>::try_from(people).ok();
    Ok(people.map(|it| TopicName::one_to_one(&it[0], &it[1])))
}

/// True for what a newer word on the same takes the place of.
fn is_cell(row: &OutboxRow) -> bool {
    row.kind == u32::from(RELATION) || row.kind == u32::from(CURSOR)
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
