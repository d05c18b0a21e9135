//! Signals on their way to one peer: in memory only, few, and soon forgotten. Pure.

use std::{collections::VecDeque, time::Duration};

use freehold_proto::wire;
use tokio::time::Instant;

/// Signals that wait for one peer.
const WAITING_MAX: usize = 128;
/// A signal older than this is worth nothing.
const LIFETIME: Duration = Duration::from_secs(30);
/// Signals in one call, ours or a peer's.
pub(crate) const CALL_SIGNALS_MAX: usize = 128;

/// The queue of one peer. Newest last; a full queue forgets its oldest.
#[derive(Debug, Default)]
pub(crate) struct SignalQueue {
    waiting: VecDeque<(Instant, wire::Signal)>,
}

impl SignalQueue {
    /// Adds a signal, in place of an equal one that still waits.
    pub(crate) fn push(&mut self, signal: wire::Signal, now: Instant) {
        self.waiting.retain(|(_, waiting)| *waiting != signal);
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, signal));
    }

    /// Takes what is still worth sending.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<wire::Signal> {
        let fresh = |(since, _): &(Instant, _)| now.duration_since(*since) < LIFETIME;
        let waiting = self.waiting.drain(..).filter(fresh);
        waiting.map(|(_, signal)| signal).collect()
    }

    pub(crate) fn forget_all(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(user: usize) -> wire::Signal {
        wire::Signal {
            user: user.to_string(),
            peer: String::new(),
            what: "kp".to_owned(),
            ..wire::Signal::default()
        }
    }

    #[test]
    fn a_signal_is_forgotten_when_old_and_never_doubled() {
        let (mut queue, start) = (SignalQueue::default(), Instant::now());
        queue.push(signal(1), start);
        queue.push(signal(2), start);
        queue.push(signal(1), start + LIFETIME / 2);
        assert_eq!(queue.take(start + LIFETIME), [signal(1)]);
        assert!(queue.take(start).is_empty());
    }

    #[test]
    fn a_full_queue_forgets_its_oldest() {
        let (mut queue, now) = (SignalQueue::default(), Instant::now());
        for user in 0..WAITING_MAX + 3 {
            queue.push(signal(user), now);
        }
        let taken = queue.take(now);
        assert_eq!(taken.len(), WAITING_MAX);
        assert_eq!(taken.first(), Some(&signal(3)));
    }
}
