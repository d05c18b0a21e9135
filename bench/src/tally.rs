//! What is counted while load runs: times from when something was due, and what went wrong.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Duration, Instant};

/// The longest time told apart, µs.
const LONGEST: u64 = 600_000_000;
/// Kinds of errors counted apart; of a server that answers nonsense there would be no end.
const KINDS_MAX: usize = 32;

fn zero() -> Instant {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    *ZERO.get_or_init(Instant::now)
}

/// Microseconds since this process began to measure.
pub(crate) fn now() -> u64 {
    u64::try_from(zero().elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The moment of `now()`.
pub(crate) fn moment(micros: u64) -> Instant {
    zero() + Duration::from_micros(micros)
}

/// How long something took.
#[derive(Debug)]
pub(crate) struct Times(Mutex<Histogram<u64>>);

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        Self(Mutex::new(histogram.expect("the bounds are sound")))
    }
}

impl Times {
    /// Notes a time in µs.
    pub(crate) fn note(&self, micros: u64) {
        self.0.lock().saturating_record(micros);
    }

    /// How the times are spread; nothing where there are none.
    pub(crate) fn spread(&self) -> Option<Spread> {
        let times = self.0.lock();
        let ms = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
        (!times.is_empty()).then(|| Spread {
            count: times.len(),
            p50: ms(times.value_at_quantile(0.5)),
            p90: ms(times.value_at_quantile(0.9)),
            p99: ms(times.value_at_quantile(0.99)),
            max: ms(times.max()),
        })
    }
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// What counts is what was due between `open` and `close`.
#[derive(Debug)]
pub(crate) struct Tally {
    from: AtomicU64,
    to: AtomicU64,
    /// From when a message was due to the answer 202.
    pub(crate) acknowledged: Times,
    /// From when a message was due to its arrival.
    pub(crate) delivered: Times,
    /// From when a page of history was due to its end.
    pub(crate) paged: Times,
    /// From when a message was due to when it was sent: what the generator itself adds.
    pub(crate) late: Times,
    in_window: AtomicU64,
    sent: AtomicU64,
    answered: AtomicU64,
    accepted: AtomicU64,
    arrived: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            from: AtomicU64::new(u64::MAX),
            to: AtomicU64::new(u64::MAX),
            acknowledged: Times::default(),
            delivered: Times::default(),
            paged: Times::default(),
            late: Times::default(),
            in_window: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }
}

impl Tally {
    /// From now on it counts.
    pub(crate) fn open(&self) {
        self.from.store(now(), Relaxed);
    }

    /// From now on it does not.
    pub(crate) fn close(&self) {
        self.to.store(now(), Relaxed);
    }

    fn counts(&self, at: u64) -> bool {
        (self.from.load(Relaxed)..self.to.load(Relaxed)).contains(&at)
    }

    /// A message goes out now.
    pub(crate) fn send(&self, due: u64) {
        self.sent.fetch_add(1, Relaxed);
        self.note(&self.late, due);
    }

    /// A message was acknowledged.
    pub(crate) fn acknowledge(&self, due: u64) {
        self.answered.fetch_add(1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
        if self.counts(now()) {
            self.in_window.fetch_add(1, Relaxed);
        }
        self.note(&self.acknowledged, due);
    }

    /// A message came.
    pub(crate) fn deliver(&self, due: u64) {
        self.arrived.fetch_add(1, Relaxed);
        self.note(&self.delivered, due);
    }

    /// A page of history came to its end.
    pub(crate) fn page(&self, due: u64) {
        self.note(&self.paged, due);
    }

    fn note(&self, times: &Times, due: u64) {
        if self.counts(due) {
            times.note(now().saturating_sub(due));
        }
    }

    /// A message was refused.
    pub(crate) fn refuse(&self, why: String) {
        self.answered.fetch_add(1, Relaxed);
        self.fail(why);
    }

    /// Something went wrong.
    pub(crate) fn fail(&self, why: String) {
        let mut errors = self.errors.lock();
        let full = errors.len() >= KINDS_MAX && !errors.contains_key(&why);
        let why = if full { "others".to_owned() } else { why };
        *errors.entry(why).or_default() += 1;
    }

    /// Messages acknowledged while it counted.
    pub(crate) fn acknowledged_in_window(&self) -> u64 {
        self.in_window.load(Relaxed)
    }

    /// Messages that have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Relaxed)
    }

    /// Messages whose answer has not come.
    pub(crate) fn unanswered(&self) -> u64 {
        let sent = self.sent.load(Relaxed);
        sent.saturating_sub(self.answered.load(Relaxed))
    }

    /// Arrivals that have not come, when each acknowledged message is to arrive at so many clients.
    pub(crate) fn missing(&self, copies: u64) -> u64 {
        let expected = self.accepted.load(Relaxed) * copies;
        expected.saturating_sub(self.arrived())
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_due_while_it_was_open_counts() {
        let tally = Tally::default();
        tally.deliver(now());
        tally.open();
        let due = now();
        while now() == due {}
        tally.close();
        // However late it comes.
        tally.deliver(due);
        tally.deliver(now() + 1);
        assert_eq!(tally.delivered.spread().unwrap().count, 1);
        assert_eq!(tally.arrived(), 3);
    }

    #[test]
    fn percentiles_are_milliseconds() {
        let times = Times::default();
        (1..=1000).for_each(|it| times.note(it * 1000));
        let spread = times.spread().unwrap();
        assert!((spread.p50 - 500.0).abs() < 1.0, "{spread:?}");
        assert!((spread.p99 - 990.0).abs() < 1.0, "{spread:?}");
        assert!((spread.max - 1000.0).abs() < 1.0, "{spread:?}");
    }
}
