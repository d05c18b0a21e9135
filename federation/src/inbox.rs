//! What arrives: opened, admitted, handed over. Verifying never writes; the domain writes, and
//! verifies nothing again (PROTOCOL.md sections 6 and 8).

use std::sync::Arc;

use freehold_keys::{VerifiedRecord, open};
use freehold_proto::{
    Destination, DomainName, Envelope, Header, IdentityRecord, Refusal, RefusalCode, Timestamp,
    limits::BATCH_ITEMS_MAX, wire,
};
use tokio::task::yield_now;

use crate::{
    Arrived, Incoming, Unavailable, Verdict,
    engine::Engine,
    entries::{self, AUTHOR_RETRY, Refused},
    hello::write_refusal,
    hooks, turns,
};

/// Signatures checked before others get a turn: about 3 ms of work.
const CHECKED_AT_ONCE: usize = 64;

/// Why a whole batch is not decided.
#[derive(Debug)]
pub(crate) enum BatchFault {
    /// The peer's fault.
    Refused(Refusal),
    /// Ours.
    Unavailable(Unavailable),
}

/// Decides a batch of `origin`, which is authenticated on the connection the batch came by.
pub(crate) async fn decide(
    engine: &Engine,
    origin: &DomainName,
    epoch: u64,
    items: Vec<wire::Item>,
) -> Result<wire::DeliverResponse, BatchFault> {
    let decided = check_positions(&items).map_err(BatchFault::Refused)?;
    let (admitted, retry_after) = tokio::select! {
        admitted = engine.counted.admit(origin, items.len()) => admitted,
        () = engine.tasks.stopped() => {
            let why = "shutting down".to_owned();
            return Err(BatchFault::Unavailable(Unavailable(why)));
        }
    };
    let record = engine.directory.proven(origin).await.map_err(|error| {
        BatchFault::Unavailable(Unavailable(format!("the record of {origin}: {error}")))
    })?;
    let mut gate = Gate {
        engine,
        origin,
        record,
        refreshed: false,
    };
    let mut good = Vec::new();
    let mut verdicts = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        if index % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1 {
            yield_now().await;
        }
        // The first ones only, so everything else of the same author and conversation comes later too.
        if index >= admitted {
            let code = RefusalCode::RateLimited;
            verdicts.push(Some(Verdict::Later { code, retry_after }));
            continue;
        }
        let position = item.position;
        match gate.open(item).await {
            Ok(incoming) => {
                good.push(incoming);
                verdicts.push(None);
            }
            Err(Refused::Later(code)) => {
                verdicts.push(Some(Verdict::Later {
                    code,
                    retry_after: AUTHOR_RETRY,
                }));
            }
            Err(Refused::Never(refusal)) if refusal.code == RefusalCode::UnsupportedKind => {
                tracing::info!(peer = %origin, position, "an item of a kind that is not known here");
                verdicts.push(Some(Verdict::Refused(refusal)));
            }
            Err(Refused::Never(refusal)) => {
                let code = refusal.code.number();
                tracing::warn!(
                    peer = %origin, code, position, fault = "peer",
                    "peer {origin} misbehaved: {refusal}"
                );
                verdicts.push(Some(Verdict::Refused(refusal)));
            }
        }
    }
    hooks::reached("deliver.opened");
    let expected = good.len();
    // Batches of one origin never overlap, so nobody takes its place.
    let share = engine.shares.take(origin, turns::cost(&good)).await;
    let decisions = engine.local.deliver(origin, epoch, good, decided).await;
    drop(share);
    let decisions = decisions.map_err(BatchFault::Unavailable)?;
    if decisions.len() != expected {
        let why = "there is not one verdict for each item".to_owned();
        return Err(BatchFault::Unavailable(Unavailable(why)));
    }
    hooks::reached_and_left("deliver.answered");
    let mut decisions = decisions.into_iter();
    let results = verdicts
        .into_iter()
        .filter_map(|it| it.or_else(|| decisions.next()));
    Ok(wire::DeliverResponse {
        decided,
        results: results.map(write_verdict).collect(),
    })
}

/// Positions must rise. Returns the last.
fn check_positions(items: &[wire::Item]) -> Result<u64, Refusal> {
    if items.len() > BATCH_ITEMS_MAX {
        let detail = format!("{} items in one batch", items.len());
        return Err(Refusal::new(RefusalCode::TooLarge, detail));
    }
    if !items.is_sorted_by(|a, b| a.position < b.position) {
        return Err(Refusal::new(
            RefusalCode::Malformed,
            "positions do not rise",
        ));
    }
    match items.last() {
        Some(last) => Ok(last.position),
        None => Err(Refusal::new(RefusalCode::Malformed, "an empty batch")),
    }
}

/// Lets items of one batch through.
struct Gate<'a> {
    engine: &'a Engine,
    origin: &'a DomainName,
    record: Arc<VerifiedRecord>,
    /// A batch makes us ask for a newer record once.
    refreshed: bool,
}

impl Gate<'_> {
    async fn open(&mut self, item: wire::Item) -> Result<Incoming, Refused> {
        let position = item.position;
        let envelope: Envelope = item
            .envelope
            .ok_or_else(|| Refusal::new(RefusalCode::Malformed, "an item without an envelope"))?
            .try_into()
            .map_err(Refusal::from)?;
        if let Some(placed) = item.placed {
            let placed = placed.try_into().map_err(Refusal::from)?;
            let entry = entries::open(self.engine, &self.record, placed, envelope).await?;
            let item = Arrived::Entry(Box::new(entry));
            return Ok(Incoming { position, item });
        }
        Ok(self.open_own(position, envelope).await?)
    }

    async fn open_own(&mut self, position: u64, envelope: Envelope) -> Result<Incoming, Refusal> {
        match self.try_open(position, envelope.clone()) {
            Err(refusal) if refusal.code == RefusalCode::UnknownKey && !self.refreshed => {
                self.refreshed = true;
                if let Ok(newer) = self.engine.directory.rechecked(self.origin).await {
                    self.record = newer;
                }
                self.try_open(position, envelope)
            }
            other => other,
        }
    }

    fn try_open(&self, position: u64, envelope: Envelope) -> Result<Incoming, Refusal> {
        let us = self.engine.domain();
        let now = self.engine.clock.now();
        open_for(us, self.record.record(), now, position, envelope)
    }
}

/// Opens an envelope that must come from `record`'s domain and go to `us`.
fn open_for(
    us: &DomainName,
    record: &IdentityRecord,
    now: Timestamp,
    position: u64,
    envelope: Envelope,
) -> Result<Incoming, Refusal> {
    let header = Header::decode(&envelope.header)?;
    if header.from != record.domain {
        let detail = format!("{} has not said hello here", header.from);
        return Err(Refusal::new(RefusalCode::OriginNotAuthenticated, detail));
    }
    match &header.to {
        Destination::Domain(domain) if domain == us => {}
        // Whether this is its home is known further in.
        Destination::Group(_) => {}
        Destination::Domain(_) => {
            let detail = "the envelope is addressed elsewhere";
            return Err(Refusal::new(RefusalCode::WrongDestination, detail));
        }
    }
    let opened = Box::new(open(envelope, record, now)?);
    Ok(Incoming {
        position,
        item: Arrived::Envelope(opened),
    })
}

fn write_verdict(verdict: Verdict) -> wire::Result {
    use wire::result;
    let verdict = match verdict {
        Verdict::Ok => result::Verdict::Ok(wire::Ok {}),
        Verdict::Duplicate => result::Verdict::Duplicate(wire::Duplicate {}),
        Verdict::Refused(refusal) => result::Verdict::Refused(write_refusal(refusal)),
        Verdict::Later { code, retry_after } => result::Verdict::Later(wire::Later {
            code: code.number(),
            retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
        }),
    };
    wire::Result {
        verdict: Some(verdict),
    }
}
