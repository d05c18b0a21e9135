//! What becomes of an item once the peer has decided it.

use std::time::Duration;

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
use tokio::{sync::oneshot, time::sleep};
use tracing::{info, warn};

use super::{
    Outbox, again,
    expire::reason,
    park,
    stream::{Offer, PARKED_PAGE, Pair, Stream, is_call, is_letter, is_request, pair_of},
};
use crate::topic::{Command, TopicName, hub::Hub};

/// When a letter goes again to a domain that says it is not the home, and we know no other one.
const HOME_RETRY: Duration = Duration::from_millis(500);

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
        let verdict = match verdict {
            Verdict::Refused(refusal)
                if refusal.code == RefusalCode::NotHome && is_letter(&offer.row) =>
            {
                self.home_moved(peer, stream, &pair).await?
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Later { retry_after, code } if is_letter(&offer.row) => {
                let fails = code == RefusalCode::Unavailable;
                if fails {
                    stream.lock().failing.insert(pair.clone());
                }
                if !self.waits(peer, position, &offer).await? {
                    return Ok(());
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
                if is_request(&offer.row) {
                    // What was kept waiting behind a message that is deleted now may go.
                    self.release(peer, pair.0, &pair.1);
                }
                self.forget_empty_pair(peer, stream, &offer, pair).await?;
            }
            Verdict::Refused(refusal) => {
                warn!(%peer, code = refusal.code.number(), detail = refusal.detail, "peer refused an item of ours");
                if is_letter(&offer.row) && !is_call(&offer.row) {
                    // Its topic has moved or withdrawn it meanwhile.
                    if !self.waits(peer, position, &offer).await? {
                        return Ok(());
                    }
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

    /// Another domain is the home of a group now. The topic moves what waits as soon as it knows which:
    /// until then the letter stays.
    async fn home_moved(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        pair: &Pair,
    ) -> Result<Verdict, StoreError> {
        let topic = pair.0;
        let read = move |tables: &Tables| name_of(tables, topic);
        let name = self.tables.read(read).await?;
        let server = self.server.lock().upgrade().ok_or(StoreError::Closed)?;
        let first = !stream.lock().parked.contains_key(pair);
        if let Some(name) = name.filter(|_| first) {
            let (held, peer, pair) = (server.clone(), peer.clone(), pair.clone());
            server.tasks.spawn("home retry", async move {
                Hub::send(&held, &name, Command::HomeMoved).await;
                sleep(HOME_RETRY).await;
                held.outbox.release(&peer, pair.0, &pair.1);
                held.wake(&peer);
            });
        }
        Ok(Verdict::Later {
            code: RefusalCode::NotHome,
            retry_after: HOME_RETRY,
        })
    }

    /// True while the item waits where it did: its topic may have moved or withdrawn it meanwhile.
    async fn waits(
        &self,
        peer: &DomainName,
        position: u64,
        offer: &Offer,
    ) -> Result<bool, StoreError> {
        let (peer, pair) = (peer.clone(), pair_of(&offer.row));
        let parked = offer.parked_at;
        let read = move |tables: &Tables| {
            let found = match (parked, pair) {
                (Some(at), Some((topic, author))) => {
                    let waiting = tables.parked_pair(&peer, topic, &author, PARKED_PAGE)?;
                    waiting.iter().any(|it| it.0 == at)
                }
                _ => {
                    let next = tables.outbox(&peer, position.saturating_sub(1), 1)?;
                    next.first().is_some_and(|it| it.0 == position)
                }
            };
            Ok(found)
        };
        self.tables.read(read).await
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
    pub(super) peer: DomainName,
    pub(super) position: u64,
    pub(super) parked_at: Option<u64>,
    pub(super) author: UserId,
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
