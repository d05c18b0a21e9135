//! Whose batch is written next. Peers that have something to be written take turns by its cost, as in deficit round
//! robin: a few words wait for nobody's thousand, and whoever floods is served no more than others. A peer has one
//! batch at a time and brings the next when that is done, so what it has had is counted on a clock of cost: whoever
//! would be done first by that clock, if all were served at once, goes first.
//!
//! [`Turns`] is pure; [`Shares`] lets tasks wait for it. What is shared is our own store: work that waits for
//! somebody else, such as a look-up, holds no share, or a few peers could hold them all.

use std::{collections::HashMap, sync::Arc};

use freehold_proto::{DomainName, limits};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{Arrived, Incoming};

/// What an item costs besides its bytes: a commit with its rows, as much as writing some KiB.
const ITEM_COST: u64 = 4096;
/// The most that a batch can cost.
const BATCH_COST_MAX: u64 =
    limits::BATCH_ITEMS_MAX as u64 * ITEM_COST + limits::BATCH_BYTES_MAX as u64;
/// What is written at a time: enough for the store to make one commit group of many batches.
const AT_ONCE: u64 = 4 * BATCH_COST_MAX;

/// The cost of writing what a batch says.
pub(crate) fn cost(items: &[Incoming]) -> u64 {
    let bytes = items.iter().map(|it| match &it.item {
        Arrived::Envelope(opened) => opened.envelope.size(),
        Arrived::Entry(entry) => entry.envelope.size(),
    });
    let bytes: usize = bytes.sum();
    items.len() as u64 * ITEM_COST + bytes as u64
}

/// Who waits, and what everybody has had.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    /// One batch of each peer at most.
    waiting: Vec<Waiting<T>>,
    /// The clock: what somebody who always had something has been given so far.
    now: u64,
    /// Who has been given more than that, and how much.
    ahead: HashMap<DomainName, u64>,
    /// The cost of what is being written.
    taken: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    peer: DomainName,
    /// By the clock: when it begins, and when it would be done.
    span: (u64, u64),
    cost: u64,
    ticket: T,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            now: 0,
            ahead: HashMap::new(),
            taken: 0,
        }
    }
}

impl<T> Turns<T> {
    /// A peer has a batch of this cost. Whoever asks again before their turn takes back what they asked before.
    pub(crate) fn ask(&mut self, peer: &DomainName, cost: u64, ticket: T) {
        self.waiting.retain(|it| it.peer != *peer);
        // Nobody saves up for later.
        let begins = self
            .ahead
            .get(peer)
            .map_or(self.now, |it| self.now.max(*it));
        self.waiting.push(Waiting {
            peer: peer.clone(),
            span: (begins, begins + cost),
            cost,
            ticket,
        });
    }

    /// The next that may be written, if there is room: its cost, to be given back by [`Turns::done`].
    pub(crate) fn next(&mut self) -> Option<(u64, T)> {
        let waiting = self.waiting.iter().enumerate();
        let (index, first) = waiting.min_by_key(|(_, it)| it.span.1)?;
        // Whoever's turn it is waits for room, and nobody slips by: large batches come in too.
        if self.taken > 0 && self.taken + first.cost > AT_ONCE {
            return None;
        }
        // In the order of coming, for those who would be done at once.
        let first = self.waiting.remove(index);
        self.taken += first.cost;
        self.now = self.now.max(first.span.0);
        self.ahead.retain(|_, done| *done > self.now);
        self.ahead.insert(first.peer, first.span.1);
        Some((first.cost, first.ticket))
    }

    /// Something of this cost has been written.
    pub(crate) fn done(&mut self, cost: u64) {
        self.taken -= cost;
        if self.taken == 0 && self.waiting.is_empty() {
            self.ahead.clear();
        }
    }
}

/// Turns that tasks wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(Arc<Mutex<Turns<oneshot::Sender<Share>>>>);

/// The right to write; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Shares,
    cost: u64,
}

impl Shares {
    /// Waits until it is the turn of `peer`. `None` when the peer has asked again meanwhile.
    pub(crate) async fn take(&self, peer: &DomainName, cost: u64) -> Option<Share> {
        let (ticket, turn) = oneshot::channel();
        self.0.lock().ask(peer, cost, ticket);
        self.hand_out();
        turn.await.ok()
    }

    fn hand_out(&self) {
        loop {
            let next = self.0.lock().next();
            let Some((cost, ticket)) = next else {
                return;
            };
            let shares = self.clone();
            // Who has gone away gives it back at once.
            drop(ticket.send(Share { shares, cost }));
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.0.lock().done(self.cost);
        self.shares.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    fn peer(number: usize) -> DomainName {
        format!("peer{number}.test").parse().unwrap()
    }

    const QUIET: usize = 99;
    const FEW_WORDS: u64 = ITEM_COST + 300;

    /// Batches that are written, one after the other, before the quiet peer's: it asks while `floods` others ask
    /// again as soon as a batch of theirs is done.
    fn before_the_quiet_one(floods: usize) -> usize {
        let mut turns = Turns::default();
        for number in 0..floods {
            turns.ask(&peer(number), BATCH_COST_MAX, number);
        }
        let mut writing = VecDeque::new();
        while let Some(granted) = turns.next() {
            writing.push_back(granted);
        }
        turns.ask(&peer(QUIET), FEW_WORDS, QUIET);
        for written in 0.. {
            let (cost, number) = writing.pop_front().unwrap();
            if number == QUIET {
                return written;
            }
            turns.done(cost);
            turns.ask(&peer(number), BATCH_COST_MAX, number);
            while let Some(granted) = turns.next() {
                writing.push_back(granted);
            }
        }
        unreachable!("every turn comes")
    }

    #[test]
    fn a_few_words_wait_for_what_is_being_written_and_not_for_all_who_flood() {
        // In the order of coming it would be as many as there are.
        let at_once = (AT_ONCE / BATCH_COST_MAX) as usize;
        for floods in [at_once, 20, 200] {
            let before = before_the_quiet_one(floods);
            assert!(before <= at_once + 1, "{before} with {floods}");
        }
    }

    #[test]
    fn what_is_written_at_a_time_is_bounded_and_the_largest_comes_in() {
        let mut turns = Turns::default();
        for number in 0..50 {
            turns.ask(&peer(number), BATCH_COST_MAX, ());
        }
        let granted = std::iter::from_fn(|| turns.next()).count();
        assert_eq!(granted, 4);
        turns.done(BATCH_COST_MAX);
        assert!(turns.next().is_some());
        assert!(turns.next().is_none());
        let mut alone = Turns::default();
        alone.ask(&peer(1), AT_ONCE * 2, ());
        assert!(alone.next().is_some(), "alone it may be as large as it is");
    }

    proptest! {
        #[test]
        fn who_always_has_something_gets_the_same_cost_whatever_the_size_of_batches(
            sizes in prop::collection::vec(ITEM_COST..=BATCH_COST_MAX, 2..8),
        ) {
            let mut turns = Turns::default();
            let mut written = BTreeMap::new();
            for (number, size) in sizes.into_iter().enumerate() {
                turns.ask(&peer(number), size, peer(number));
                written.insert(peer(number), 0);
            }
            // One at a time, so that turns and not room decide.
            while written.values().sum::<u64>() < 20 * BATCH_COST_MAX {
                let (cost, peer) = turns.next().unwrap();
                *written.get_mut(&peer).unwrap() += cost;
                turns.done(cost);
                turns.ask(&peer, cost, peer.clone());
            }
            let (least, most) = (written.values().min().unwrap(), written.values().max().unwrap());
            prop_assert!(most - least <= 2 * BATCH_COST_MAX, "{written:?}");
        }
    }

    #[tokio::test]
    async fn a_share_of_somebody_who_went_away_goes_to_the_next() {
        let shares = Shares::default();
        let all = shares.take(&peer(1), AT_ONCE).await.unwrap();
        let (second, third) = (peer(2), peer(3));
        let mut next = Box::pin(shares.take(&third, 1));
        {
            let mut gone = Box::pin(shares.take(&second, AT_ONCE));
            assert!(futures_util::poll!(&mut gone).is_pending());
            assert!(futures_util::poll!(&mut next).is_pending());
        }
        drop(all);
        assert!(next.await.is_some());
    }
}
