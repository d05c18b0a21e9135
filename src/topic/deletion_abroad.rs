//! Deletion between people of two domains (rules.md 15 and 16; PROTOCOL.md section 7.4.1): what one of
//! ours wrote is deleted at the other domain too, and the other way round. Each numbers and erases for
//! itself; what crosses are ids of messages.

use freehold_federation::{Unavailable, Verdict};
use freehold_proto::{Destination, MessageId, UserId, wire};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        deletions,
        log::put_request,
        rows::{RequestRow, SpanRow},
    },
};

use super::{
    actor::{Actor, Effect},
    command::Decision,
    message,
};
use crate::edge::reply::{self, Reply};

/// Positions looked up in one go.
const PAGE: usize = 500;

impl Actor {
    /// Whether another domain is told what somebody deletes for both.
    pub(super) fn tells_deletions_of(&self, user: &UserId) -> bool {
        let abroad = self.topic.pair().and_then(|it| it.foreigner());
        abroad.is_some_and(|it| it.id != *user)
    }

    /// Adds to a batch that the other domain is to delete what `user` wrote in `spans`: behind all that
    /// was written before, and without an end to how long it waits. Also what has not gone yet is named,
    /// for it may be on its way.
    pub(super) async fn delete_abroad(
        &self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        user: &UserId,
        spans: Vec<SpanRow>,
    ) -> Result<(), Reply> {
        let (key, author) = (self.key(), user.to_string());
        let read = move |tables: &Tables| ids_in(tables, key, &author, &spans);
        let message_ids = self.server.tables.read(read).await?;
        if message_ids.is_empty() {
            return Ok(());
        }
        let recipient = &self.pair().other(user).id;
        let words = wire::payload::Kind::DirectDeletion(wire::DirectDeletion {
            author: user.to_string(),
            recipient: recipient.to_string(),
            message_ids,
        });
        let (peer, now) = (recipient.domain(), self.now());
        let id = message::mint(now).map_err(|_| reply::INTERNAL)?;
        let to = Destination::Domain(peer.clone());
        let sealed = self.server.signer.seal(to, id, now, words);
        let envelope = sealed.map_err(|_| reply::INTERNAL)?;
        let row = RequestRow {
            envelope: Some(message::envelope_row(&envelope)),
        };
        put_request(batch, key, id.as_bytes(), &row);
        let outbox = &self.server.outbox;
        outbox.put_request(batch, peer, (key, user), id, now);
        // It does not wait for consent with what it may be about.
        effects.push(Effect::Release(user.clone()));
        Ok(())
    }

    /// The other domain's person takes back some of what they wrote. Whatever the operator here allows
    /// our own people: the words were theirs.
    pub(super) async fn taken_back(
        &mut self,
        author: &UserId,
        ids: Vec<MessageId>,
        decision: Decision,
    ) {
        self.pair_mut().let_go(&ids);
        match self.delete_of(author, ids).await {
            Ok(()) => self.commit(Batch::new(), vec![Effect::Decided(decision, Verdict::Ok)]),
            Err(refusal) => {
                self.read_again();
                let fault = Unavailable(refusal.status.text.to_owned());
                // The peer may have gone; it will ask again.
                drop(decision.send(Err(fault)));
            }
        }
    }

    async fn delete_of(&mut self, author: &UserId, ids: Vec<MessageId>) -> Result<(), Reply> {
        // What came before may be on its way to the disk.
        self.finish_commits().await?;
        let (key, writer) = (self.key(), author.clone());
        let read = move |tables: &Tables| written_as(tables, key, &writer, &ids);
        let spans = self.server.tables.read(read).await?;
        self.delete_spans(author, true, spans).await.map(drop)
    }
}

/// The ids of what `author` wrote in `spans` for the other one too, and has not deleted before. Blocks.
fn ids_in(
    tables: &Tables,
    topic: TopicKey,
    author: &str,
    spans: &[SpanRow],
) -> Result<Vec<bytes::Bytes>, StoreError> {
    let mut ids = Vec::new();
    for span in spans {
        let mut low = span.low;
        while low < span.high {
            let found = tables.seqs(topic, (low, span.high), PAGE)?;
            low = match found.last() {
                Some(last) if found.len() == PAGE => last + 1,
                _ => span.high,
            };
            for seq in found {
                let row = tables.message(topic, seq)?;
                // A note that something was not delivered has no envelope: nobody else knows it.
                let crossed = row.filter(|it| it.author == author && it.envelope.is_some());
                if let Some(row) = crossed
                    && !tables.is_deleted(topic, seq)?
                {
                    ids.push(row.message_id);
                }
            }
        }
    }
    Ok(ids)
}

/// Where in a topic the messages with these ids are, as far as `author` wrote them and they are not
/// deleted. Blocks.
fn written_as(
    tables: &Tables,
    topic: TopicKey,
    author: &UserId,
    ids: &[MessageId],
) -> Result<Vec<SpanRow>, StoreError> {
    let (mut spans, writer) = (Vec::new(), author.to_string());
    for id in ids {
        let seen = tables.seen(author.domain(), *id)?;
        let here = seen.filter(|it| TopicKey::from_slice(&it.topic) == Some(topic));
        let Some(seq) = here.map(|it| it.seq) else {
            continue;
        };
        let row = tables.message(topic, seq)?;
        if row.is_some_and(|it| it.author == writer) && !tables.is_deleted(topic, seq)? {
            let high = seq.saturating_add(1);
            spans.push(SpanRow { low: seq, high });
        }
    }
    Ok(deletions::merged(spans))
}
