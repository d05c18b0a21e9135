//! How much each peer may have in a second, and one network before anybody there has proven a domain.
//! Nothing that counts is lost: a peer waits for its turn for a while, and is then told to come again later.

use std::{net::Ipv6Addr, num::NonZeroU32, sync::Arc, time::Duration};

use freehold_proto::{Clock, DomainName, Refusal, RefusalCode};
use tokio::time::{Instant, interval, sleep};

use crate::{Limiter, Over, Rate, engine::Engine};

/// Items admitted at a time, 100: what is left of the patience is looked at in between.
const ITEMS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// The shortest sleep: a clock that tests move says nothing of how long to sleep.
const SLEEP_MIN: Duration = Duration::from_millis(5);
/// How often it is looked who has to be remembered.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What an operator decides about peers that come often. Without a rate there is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Items of one peer.
    pub items: Option<Rate>,
    /// Signals of one peer.
    pub signals: Option<Rate>,
    /// Questions of one peer: for people, groups and files.
    pub questions: Option<Rate>,
    /// Hellos from one prefix of addresses, on connections that have proven no domain.
    pub hellos: Option<Rate>,
    /// How long items are held before the peer is told to come again later.
    pub patience: Duration,
    /// The same for questions.
    pub patience_of_questions: Duration,
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Counted {
    rates: Rates,
    items: Limiter<DomainName>,
    signals: Limiter<DomainName>,
    questions: Limiter<DomainName>,
    hellos: Limiter<Ipv6Addr>,
}

impl Counted {
    pub(crate) fn new(rates: Rates, clock: &Arc<dyn Clock>) -> Self {
        Self {
            items: Limiter::new(rates.items, clock),
            signals: Limiter::new(rates.signals, clock),
            questions: Limiter::new(rates.questions, clock),
            hellos: Limiter::new(rates.hellos, clock),
            rates,
        }
    }

    /// Waits until items of a peer may be decided. Returns how many of them, from the first on, and when to
    /// offer the others again.
    pub(crate) async fn admit(&self, peer: &DomainName, items: usize) -> (usize, Duration) {
        let until = Instant::now() + self.rates.patience;
        let mut admitted = 0;
        while let Some(left) = items.checked_sub(admitted).and_then(some) {
            match self.items.take_some(peer, left.min(ITEMS_AT_ONCE)) {
                Ok(count) => admitted += usize::try_from(count).unwrap_or(items),
                Err(over) if !patient(over, until).await => return (admitted, over.wait),
                Err(_) => {}
            }
        }
        (items, Duration::ZERO)
    }

    /// Waits until a question of a peer may be answered.
    pub(crate) async fn ask(&self, peer: &DomainName) -> Result<(), Refusal> {
        let until = Instant::now() + self.rates.patience_of_questions;
        while let Err(over) = self.questions.take(peer) {
            if !patient(over, until).await {
                return Err(limited("too many questions"));
            }
        }
        Ok(())
    }

    /// Whether a signal of a peer is taken.
    pub(crate) fn takes_signal(&self, peer: &DomainName) -> bool {
        self.signals.take(peer).is_ok()
    }

    /// Counts a hello of somebody who has proven nothing.
    pub(crate) fn greet(&self, prefix: Ipv6Addr) -> Result<(), Refusal> {
        let greeted = self.hellos.take(&prefix);
        greeted.map_err(|_| limited("too many hellos from this network"))
    }

    fn sweep(&self) {
        self.items.sweep();
        self.signals.sweep();
        self.questions.sweep();
        self.hellos.sweep();
        for (limit, times) in [
            ("peer_items", self.items.take_held_back()),
            ("peer_signals", self.signals.take_held_back()),
            ("peer_questions", self.questions.take_held_back()),
            ("stranger_hellos", self.hellos.take_held_back()),
        ] {
            if times > 0 {
                tracing::warn!(limit, times, "peers were held back");
            }
        }
    }
}

/// Forgets peers that have been quiet, and says in the log what was held back, until the domain stops.
pub(crate) async fn sweep(engine: Arc<Engine>) {
    let mut ticks = interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => engine.counted.sweep(),
            () = engine.tasks.stopped() => return,
        }
    }
}

/// Sleeps until there may be room; false, and at once, when that would take too long.
async fn patient(over: Over, until: Instant) -> bool {
    let wait = over.wait.max(SLEEP_MIN);
    let in_time = Instant::now() + wait <= until;
    if in_time {
        sleep(wait).await;
    }
    in_time
}

fn limited(detail: &str) -> Refusal {
    Refusal::new(RefusalCode::RateLimited, detail)
}

fn some(count: usize) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX))
}
