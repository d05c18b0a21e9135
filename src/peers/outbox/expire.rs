//! Messages that have waited too long for a peer that cannot be reached: each is taken out, and its
//! author is told, in one commit. Relations and cursors do not expire: there is one of each, and a newer
//! one takes its place. Requests to the home of a group do not either: leaving is among them (rules.md 15).

use freehold_proto::{DomainName, Refusal, RefusalCode, Timestamp};
use freehold_store::{StoreError, Tables, tables::rows::OutboxRow};
use parking_lot::Mutex;
use tracing::info;

use super::{
    Outbox, PAGE,
    stream::{Offer, Stream, is_message, size_of},
};

impl Outbox {
    /// Ends what has waited longer than it may. Messages that wait for a person's consent are offered
    /// until their envelope is too old for everybody.
    pub(super) async fn expire(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let wanted = peer.clone();
        let first = move |tables: &Tables| tables.outbox(&wanted, 0, PAGE);
        let mut told = 0;
        for (position, row) in self.tables.read(first).await? {
            if is_message(&row) && self.is_over(&row, now) {
                let offer = Offer::waiting(row);
                self.end(peer, stream, (position, offer), now).await?;
                told += 1;
            }
        }
        let failing: Vec<_> = {
            let stream = stream.lock();
            stream.failing.iter().cloned().collect()
        };
        for (topic, author) in failing {
            let wanted = (peer.clone(), author.clone());
            let pair = move |tables: &Tables| tables.parked_pair(&wanted.0, topic, &wanted.1, 1);
            while let Some((at, row)) = self.tables.read(pair.clone()).await?.pop() {
                if !is_message(&row) || !self.is_over(&row, now) {
                    break;
                }
                let offer = Offer::parked(row, at);
                self.end(peer, stream, (at, offer), now).await?;
                told += 1;
            }
        }
        if told > 0 {
            info!(%peer, told, "messages have waited too long; their authors are told");
        }
        Ok(())
    }

    /// Takes out what waits for an earlier life of a domain: messages end, and their authors are told; the
    /// rest is nothing to the domain that has its name now.
    pub(super) async fn end_former(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(server) = self.server.lock().upgrade() else {
            return Ok(());
        };
        if !server.lives.has_begun_anew(peer) {
            return Ok(());
        }
        let mut after = 0;
        loop {
            let wanted = peer.clone();
            let page = move |tables: &Tables| tables.outbox(&wanted, after, PAGE);
            let page = self.tables.read(page).await?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = *last;
            for (position, row) in page {
                if server.lives.is_over(peer, row.at) {
                    let offer = (position, Offer::waiting(row));
                    self.end_one(peer, stream, offer, now).await?;
                }
            }
        }
        let mut after: Option<Vec<u8>> = None;
        loop {
            let wanted = (peer.clone(), after.clone());
            let page =
                move |tables: &Tables| tables.parked_after(&wanted.0, wanted.1.as_deref(), PAGE);
            let page = self.tables.read(page).await?;
            let Some((last, ..)) = page.last() else {
                return Ok(());
            };
            after = Some(last.to_vec());
            for (_, at, row) in page {
                if server.lives.is_over(peer, row.at) {
                    let offer = (at, Offer::parked(row, at));
                    self.end_one(peer, stream, offer, now).await?;
                }
            }
        }
    }

    /// What was acknowledged before, and is kept in case the peer loses it, has arrived; the rest of what
    /// people wrote has not.
    async fn end_one(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        offer: (u64, Offer),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if is_message(&offer.1.row) && offer.1.row.again == 0 {
            return self.end(peer, stream, offer, now).await;
        }
        let verdict = freehold_federation::Verdict::Ok;
        self.settle_one(peer, stream, offer, verdict, now).await
    }

    fn is_over(&self, row: &OutboxRow, now: Timestamp) -> bool {
        now.since(Timestamp::from_stored(row.at)) > self.limits.lifetime
    }

    async fn end(
        &self,
        peer: &DomainName,
        stream: &Mutex<Stream>,
        (position, offer): (u64, Offer),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let waited = offer.row.clone();
        let weigh = move |tables: &Tables| size_of(tables, &waited);
        let bytes = self.tables.read(weigh).await?;
        // No peer refuses for this reason: it stands for "nobody was there".
        let refusal = Refusal::new(RefusalCode::Unavailable, "not reached in time");
        let verdict = freehold_federation::Verdict::Refused(refusal);
        self.settle_one(peer, stream, (position, offer), verdict, now)
            .await?;
        let mut stream = stream.lock();
        stream.sizes.insert(position, bytes);
        stream.one_less(position);
        Ok(())
    }
}

/// Why a message did not arrive, for its author.
pub(super) fn reason(peer: &DomainName, refusal: &Refusal) -> String {
    match refusal.code {
        RefusalCode::Unavailable => format!("{peer} could not be reached in time"),
        code => format!("{peer} refused it: {}", code.text()),
    }
}
