//! One peer as we know it: its link, how attempts to reach it went, and what is on its way.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use freehold_proto::DomainName;
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, Semaphore},
    time::Instant,
};

use crate::{
    Backoff, FindQuery, LinkError, LinkReport, LinkState,
    backoff::{Attempt, Attempts},
    find::Question,
    link::Established,
    signals::SignalQueue,
};

/// Connections that one domain may hold to us at once.
const INBOUND_MAX: usize = 8;
/// A peer makes us open a new link by its word no more often than this.
const ANEW_EVERY: Duration = Duration::from_secs(1);
/// Files brought from one peer at once. What all of them may have on the way is less than the window of
/// a connection, so that other calls always get through.
pub(crate) const FILES_IN_MAX: usize = 3;
/// Files given to one peer at once.
pub(crate) const FILES_OUT_MAX: usize = 4;
/// Batches of one peer in memory at once, one of which is being decided. A good peer brings one.
pub(crate) const BATCHES_MAX: usize = 8;

/// A peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) domain: DomainName,
    /// The link. Whoever holds the lock may dial; others wait for the outcome.
    pub(crate) link: AsyncMutex<Option<Arc<Established>>>,
    /// Held while a batch of this peer is decided, so that batches of one origin never overlap.
    pub(crate) inbox: Arc<AsyncMutex<()>>,
    /// Places for batches that wait for that.
    pub(crate) batches: Semaphore,
    /// Wakes the worker out of any wait.
    pub(crate) stirred: Notify,
    /// We have just started: hello ends the peer's waiting for us, whether there is anything to say.
    greets: AtomicBool,
    /// A hello has changed what waits.
    outdated: AtomicBool,
    /// When the peer last made us open a new link by saying that it has lost something.
    begun_anew: Mutex<Option<Instant>>,
    pub(crate) signals: Mutex<Pump>,
    pub(crate) questions: Mutex<HashMap<FindQuery, Question>>,
    /// Places for files that it brings us, and that we give it.
    pub(crate) files_in: Arc<Semaphore>,
    pub(crate) files_out: Arc<Semaphore>,
    worker: Mutex<Worker>,
    standing: Mutex<Standing>,
    inbound: AtomicUsize,
}

/// Whether a task empties the outbox, and whether it has to look again.
#[derive(Debug, Default)]
struct Worker {
    running: bool,
    woken: bool,
}

/// Signals, and whether a task sends them.
#[derive(Debug, Default)]
pub(crate) struct Pump {
    pub(crate) queue: SignalQueue,
    pub(crate) running: bool,
}

#[derive(Debug)]
struct Standing {
    attempts: Attempts,
    link: LinkState,
    last_error: Option<String>,
}

/// For whom a link is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Urgency {
    /// For what can wait.
    Usual,
    /// For a person who waits: may be tried sooner.
    Person,
}

impl Peer {
    pub(crate) fn new(domain: DomainName) -> Self {
        Self {
            domain,
            link: AsyncMutex::default(),
            inbox: Arc::default(),
            batches: Semaphore::new(BATCHES_MAX),
            stirred: Notify::new(),
            greets: AtomicBool::new(false),
            outdated: AtomicBool::new(false),
            begun_anew: Mutex::default(),
            signals: Mutex::default(),
            questions: Mutex::default(),
            files_in: Arc::new(Semaphore::new(FILES_IN_MAX)),
            files_out: Arc::new(Semaphore::new(FILES_OUT_MAX)),
            worker: Mutex::default(),
            standing: Mutex::new(Standing {
                attempts: Attempts::default(),
                link: LinkState::Resting,
                last_error: None,
            }),
            inbound: AtomicUsize::new(0),
        }
    }

    /// The worker is to say hello once, with or without anything to deliver.
    pub(crate) fn greet(&self) {
        self.greets.store(true, Ordering::Relaxed);
    }

    /// Whether the peer's word that it has lost something is acted on now: not again and again.
    pub(crate) fn may_begin_anew(&self) -> bool {
        let mut last = self.begun_anew.lock();
        let may = last.is_none_or(|it| it.elapsed() >= ANEW_EVERY);
        if may {
            *last = Some(Instant::now());
        }
        may
    }

    /// What was looked up in the outbox before now is out of date.
    pub(crate) fn look_again(&self) {
        self.outdated.store(true, Ordering::Relaxed);
    }

    /// Whether it is; once.
    pub(crate) fn looks_again(&self) -> bool {
        self.outdated.swap(false, Ordering::Relaxed)
    }

    /// Whether hello is still to be said for its own sake; once.
    pub(crate) fn takes_greeting(&self) -> bool {
        self.greets.swap(false, Ordering::Relaxed)
    }

    /// Notes that the outbox has something. True when the caller must start the worker.
    pub(crate) fn wake(&self) -> bool {
        let mut worker = self.worker.lock();
        worker.woken = true;
        let start = !worker.running;
        worker.running = true;
        drop(worker);
        self.stirred.notify_one();
        start
    }

    /// The worker is about to look at the outbox.
    pub(crate) fn worker_looks(&self) {
        self.worker.lock().woken = false;
    }

    /// The worker found nothing to do. True when it may end.
    pub(crate) fn worker_may_end(&self) -> bool {
        let mut worker = self.worker.lock();
        worker.running = worker.woken;
        !worker.running
    }

    /// May the peer be tried now?
    pub(crate) fn attempt(&self, urgency: Urgency, backoff: &Backoff) -> Attempt {
        let standing = self.standing.lock();
        match urgency {
            Urgency::Usual => standing.attempts.attempt(Instant::now()),
            Urgency::Person => standing
                .attempts
                .attempt_for_person(backoff, Instant::now()),
        }
    }

    /// True when the last attempt failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.standing.lock().attempts.failures > 0
    }

    /// An attempt begins.
    pub(crate) fn greeting(&self) {
        self.standing.lock().link = LinkState::Greeting;
    }

    /// The peer was reached.
    pub(crate) fn established(&self) {
        let mut standing = self.standing.lock();
        standing.link = LinkState::Established;
        standing.last_error = None;
        standing.attempts.succeeded();
    }

    /// There is no link any more, for no fault of anybody.
    pub(crate) fn rests(&self) {
        self.standing.lock().link = LinkState::Resting;
    }

    /// An attempt failed. True when this is news: the first failure, or another one than before.
    pub(crate) fn failed(&self, error: &LinkError, backoff: &Backoff) -> bool {
        let words = error.to_string();
        let mut standing = self.standing.lock();
        let news = standing.last_error.as_ref() != Some(&words);
        standing.link = LinkState::Resting;
        standing.last_error = Some(words);
        standing.attempts.failed(backoff, Instant::now(), chance());
        news
    }

    /// The peer has proven itself to us: it is up, so waiting makes no sense.
    pub(crate) fn contacted(&self) {
        self.standing.lock().attempts.succeeded();
        self.stirred.notify_one();
    }

    /// Counts a connection that this peer has proven itself on, if it may have another.
    pub(crate) fn connects(&self) -> bool {
        let add = |count| (count < INBOUND_MAX).then_some(count + 1);
        let order = Ordering::Relaxed;
        self.inbound.fetch_update(order, order, add).is_ok()
    }

    /// Such a connection has ended.
    pub(crate) fn disconnects(&self) {
        self.inbound.fetch_sub(1, Ordering::Relaxed);
    }

    /// True when nothing would be lost by forgetting this peer.
    pub(crate) fn is_idle(&self) -> bool {
        let standing = self.standing.lock();
        // A failure counts until the next attempt is due; after that it tells nothing any more.
        let forgiven = matches!(standing.attempts.attempt(Instant::now()), Attempt::Now);
        let quiet = standing.link == LinkState::Resting && forgiven;
        quiet && !self.worker.lock().running && self.inbound.load(Ordering::Relaxed) == 0
    }

    /// How things stand, for people.
    pub(crate) fn report(&self) -> LinkReport {
        let standing = self.standing.lock();
        let since = standing.attempts.failing_since;
        LinkReport {
            peer: self.domain.clone(),
            state: standing.link,
            failures: standing.attempts.failures,
            failing_for: since.map(|since| since.elapsed()),
            last_error: standing.last_error.clone(),
        }
    }
}

/// Chance from 0 to 1. Spreads attempts; nobody's safety depends on it.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

/// The time from now until `moment`, at least a little, so that a clock that stands still makes
/// nobody spin.
pub(crate) fn until(moment: freehold_proto::Timestamp, now: freehold_proto::Timestamp) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(60);
    moment.since(now).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_is_never_lost_between_looking_and_ending() {
        let peer = Peer::new("beta.test".parse().unwrap());
        assert!(peer.wake());
        peer.worker_looks();
        assert!(!peer.wake());
        assert!(!peer.worker_may_end());
        peer.worker_looks();
        assert!(peer.worker_may_end());
        assert!(peer.wake());
    }

    #[test]
    fn one_domain_holds_a_few_connections_only() {
        let peer = Peer::new("beta.test".parse().unwrap());
        assert!((0..INBOUND_MAX).all(|_| peer.connects()));
        assert!(!peer.connects());
        peer.disconnects();
        assert!(peer.connects());
    }
}
