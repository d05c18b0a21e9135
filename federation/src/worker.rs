//! Empties the outbox of one peer: one batch in flight, in order, until nothing waits. While a batch that
//! was simply taken is settled, the next one is looked up.
//!
//! Invariant: a row leaves the outbox only by a verdict that was settled durably.

use std::{sync::Arc, time::Duration};

use freehold_proto::{RefusalCode, limits, wire};
use tokio::{
    join,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    LinkError, LinkLost, Outgoing, PeerMisbehaved, Unavailable, Verdict,
    backoff::Attempt,
    batching::{Batching, Blame},
    engine::Engine,
    hello::read_refusal,
    hooks,
    link::Established,
    peer::{Peer, Urgency, until},
};

/// How long to wait when our own store does not answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long an item that the peer fails on is set aside.
const POISON_PAUSE: Duration = Duration::from_secs(60 * 60);
/// The longest a peer can make us wait with one item.
const LATER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a call in hand may go on after shutdown has begun.
const LAST_CALL: Duration = Duration::from_secs(2);

/// What to do after one step.
enum Next {
    /// Look again.
    Again,
    /// Look again after a while, or when stirred.
    Wait(Duration),
    /// Nothing is left to do.
    Done,
}

/// What goes from one step to the next.
#[derive(Default)]
struct Work {
    batching: Batching,
    /// What comes behind the batch before it, all of which was taken.
    ahead: Vec<Outgoing>,
}

/// Works until the outbox of `peer` is empty or the domain stops.
pub(crate) async fn run(engine: Arc<Engine>, peer: Arc<Peer>) {
    let mut work = Work::default();
    loop {
        if engine.tasks.is_stopping() {
            return;
        }
        peer.worker_looks();
        let next = step(&engine, &peer, &mut work).await;
        match next.unwrap_or_else(|Unavailable(why)| {
            tracing::error!(peer = %peer.domain, why, fault = "ours", "the outbox is unavailable");
            Next::Wait(STORE_PAUSE)
        }) {
            Next::Again => {}
            Next::Done if peer.worker_may_end() => return,
            Next::Done => {}
            Next::Wait(time) => tokio::select! {
                () = sleep(time) => {}
                () = peer.stirred.notified() => {}
                () = engine.tasks.stopped() => return,
            },
        }
    }
}

async fn step(
    engine: &Arc<Engine>,
    peer: &Arc<Peer>,
    work: &mut Work,
) -> Result<Next, Unavailable> {
    let ahead = std::mem::take(&mut work.ahead);
    if let Attempt::After(moment) = peer.attempt(Urgency::Usual, &engine.config.backoff) {
        return Ok(Next::Wait(moment.duration_since(Instant::now())));
    }
    let now = engine.clock.now();
    let (items, bytes) = (work.batching.items_max(), limits::BATCH_BYTES_MAX);
    let batch = match ahead.is_empty() {
        true => engine.outbox.next(&peer.domain, now, items, bytes).await?,
        false => ahead,
    };
    if batch.is_empty() && peer.takes_greeting() && engine.link(peer, Urgency::Usual).await.is_ok()
    {
        return Ok(Next::Again);
    }
    if batch.is_empty() {
        let due = engine.outbox.next_due(&peer.domain).await?;
        return Ok(due.map_or(Next::Done, |due| Next::Wait(until(due, now))));
    }
    let Ok(link) = engine.link(peer, Urgency::Usual).await else {
        return Ok(Next::Again);
    };
    if peer.looks_again() {
        // The peer has said what it lost: that comes before what was to be offered.
        return Ok(Next::Again);
    }
    let last = batch.last().map_or(0, |it| it.position);
    let epoch = engine.outbox.offering(&peer.domain, last).await?;
    hooks::reached("batch.offering");
    match offer(engine, &link, epoch, &batch).await {
        Ok(verdicts) => {
            hooks::reached("batch.answered");
            work.batching.succeeded();
            // What failed before on this link is forgiven.
            peer.established();
            let items = work.batching.items_max();
            let behind = behind(engine, peer, &verdicts, items);
            let (settled, behind) = join!(settle(engine, peer, &verdicts), behind);
            settled?;
            work.ahead = behind?;
            hooks::reached("batch.settled");
            Ok(Next::Again)
        }
        Err(error) if is_about_the_batch(&error) => {
            let verdict = work.batching.failed(batch.len());
            blame(engine, peer, verdict, &batch, &error).await?;
            Ok(Next::Wait(engine.config.backoff.shortest()))
        }
        Err(error) => {
            engine.link_failed(peer, &link, &error).await;
            if has_fallen(&error) && !engine.tasks.is_stopping() {
                let verdict = work.batching.broke(batch.len());
                blame(engine, peer, verdict, &batch, &error).await?;
            }
            Ok(Next::Again)
        }
    }
}

/// Did the peer fail on what it was offered, rather than on the link? Less may then help.
fn is_about_the_batch(error: &LinkError) -> bool {
    match error {
        LinkError::Misbehaved { .. } => true,
        LinkError::Refused { refusal, .. } => {
            matches!(refusal.code, RefusalCode::TooLarge | RefusalCode::Malformed)
        }
        _ => false,
    }
}

/// Did the link end while the peer had the batch? Once that means nothing.
fn has_fallen(error: &LinkError) -> bool {
    use LinkLost::{Broken, TimedOut};
    matches!(
        error,
        LinkError::Lost {
            what: Broken(_) | TimedOut(_),
            ..
        }
    )
}

/// Offers a batch and reads the verdicts.
async fn offer(
    engine: &Engine,
    link: &Established,
    epoch: u64,
    batch: &[Outgoing],
) -> Result<Vec<(u64, Verdict)>, LinkError> {
    let items = batch.iter().map(|item| wire::Item {
        position: item.position,
        envelope: Some(item.envelope.clone().into()),
        placed: item.placed.clone().map(Into::into),
    });
    let request = wire::DeliverRequest {
        from: engine.domain().to_string(),
        to: link.peer().to_string(),
        epoch,
        items: items.collect(),
    };
    let last_call = async {
        engine.tasks.stopped().await;
        sleep_until(Instant::now() + LAST_CALL).await;
    };
    let response = tokio::select! {
        response = link.deliver(request, engine.config.call_timeout) => response?,
        () = last_call => return Err(LinkError::Ours("shutting down".to_owned())),
    };
    let shortest = engine.config.backoff.shortest();
    let verdicts = response.results.into_iter();
    let verdicts: Option<Vec<_>> = verdicts.map(|it| read_verdict(it, shortest)).collect();
    match verdicts {
        Some(verdicts) if verdicts.len() == batch.len() => {
            let positions = batch.iter().map(|item| item.position);
            Ok(positions.zip(verdicts).collect())
        }
        _ => Err(link.misbehaved(PeerMisbehaved::BadAnswer(
            "there is not one verdict for each item",
        ))),
    }
}

async fn settle(
    engine: &Engine,
    peer: &Peer,
    verdicts: &[(u64, Verdict)],
) -> Result<(), Unavailable> {
    for (position, verdict) in verdicts {
        if let Verdict::Refused(refusal) = verdict {
            let code = refusal.code.number();
            tracing::warn!(peer = %peer.domain, position, code, %refusal, "an item was refused");
        }
    }
    let now = engine.clock.now();
    let verdicts = verdicts.to_vec();
    engine.outbox.settle(&peer.domain, now, verdicts).await
}

/// What comes behind a batch that the peer has decided, if that is all to be looked at.
async fn behind(
    engine: &Engine,
    peer: &Peer,
    verdicts: &[(u64, Verdict)],
    items: usize,
) -> Result<Vec<Outgoing>, Unavailable> {
    let taken = |it: &Verdict| matches!(it, Verdict::Ok | Verdict::Duplicate);
    if !verdicts.iter().all(|(_, verdict)| taken(verdict)) {
        return Ok(Vec::new());
    }
    let (now, bytes) = (engine.clock.now(), limits::BATCH_BYTES_MAX);
    let outbox = &engine.outbox;
    outbox.behind(&peer.domain, now, items, bytes).await
}

/// Works out on which item the peer fails, and sets it aside.
async fn blame(
    engine: &Engine,
    peer: &Peer,
    verdict: Blame,
    batch: &[Outgoing],
    error: &LinkError,
) -> Result<(), Unavailable> {
    let items = batch.len();
    tracing::warn!(peer = %peer.domain, items, fault = "peer", "{error}");
    let (Blame::Poison, Some(item)) = (verdict, batch.first()) else {
        return Ok(());
    };
    let position = item.position;
    tracing::error!(
        peer = %peer.domain, position, pause = ?POISON_PAUSE,
        "the peer fails on this item again and again: set aside"
    );
    let later = Verdict::Later {
        code: RefusalCode::Unavailable,
        retry_after: POISON_PAUSE,
    };
    settle(engine, peer, &[(position, later)]).await
}

fn read_verdict(result: wire::Result, shortest: Duration) -> Option<Verdict> {
    use wire::result;
    Some(match result.verdict? {
        result::Verdict::Ok(_) => Verdict::Ok,
        result::Verdict::Duplicate(_) => Verdict::Duplicate,
        result::Verdict::Refused(refused) => Verdict::Refused(read_refusal(refused)),
        result::Verdict::Later(later) => Verdict::Later {
            code: RefusalCode::from_number(later.code),
            retry_after: Duration::from_millis(later.retry_after_ms.into())
                .clamp(shortest.min(LATER_MAX), LATER_MAX),
        },
    })
}
