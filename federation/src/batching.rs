//! How much to offer a peer at once when it fails on what it is offered. Pure.
//!
//! A batch that makes the peer fail is halved until the one item is found on which it fails; that
//! item is set aside after a few tries, so that it cannot hold up everything behind it.

use freehold_proto::limits::BATCH_ITEMS_MAX;

/// Tries of a single item before it is set aside.
const STRIKES_MAX: u32 = 5;

/// Links that may break under a batch, one after the other, before the batch is suspected: a network
/// that comes and goes is more likely than words that make a peer fall.
const BREAKS_MAX: u32 = 3;

/// Sizes batches.
#[derive(Debug)]
pub struct Batching {
    // Invariant: 1 <= items_max <= BATCH_ITEMS_MAX.
    items_max: usize,
    strikes: u32,
    breaks: u32,
}

/// What to do after the peer failed on a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    /// Offer less.
    Unclear,
    /// Offer the same single item again.
    Suspect,
    /// Set the single item aside.
    Poison,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            items_max: BATCH_ITEMS_MAX,
            strikes: 0,
            breaks: 0,
        }
    }
}

impl Batching {
    /// Most items of the next batch.
    #[must_use]
    pub fn items_max(&self) -> usize {
        self.items_max
    }

    /// The peer has decided a batch.
    pub fn succeeded(&mut self) {
        self.items_max = (self.items_max * 2).min(BATCH_ITEMS_MAX);
        self.strikes = 0;
        self.breaks = 0;
    }

    /// The link broke, or no answer came, while the peer had a batch of `items`.
    pub fn broke(&mut self, items: usize) -> Blame {
        self.breaks += 1;
        if self.breaks <= BREAKS_MAX {
            return Blame::Unclear;
        }
        self.failed(items)
    }

    /// The peer failed on a batch of `items`.
    pub fn failed(&mut self, items: usize) -> Blame {
        if items > 1 {
            self.items_max = items / 2;
            self.strikes = 0;
            return Blame::Unclear;
        }
        self.items_max = 1;
        self.strikes += 1;
        if self.strikes < STRIKES_MAX {
            return Blame::Suspect;
        }
        self.strikes = 0;
        // With that item out of the way the others may go together again.
        self.items_max = BATCH_ITEMS_MAX;
        Blame::Poison
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_few_broken_links_accuse_nobody_and_many_in_a_row_do() {
        let mut batching = Batching::default();
        for _ in 0..BREAKS_MAX {
            assert_eq!(batching.broke(8), Blame::Unclear);
            assert_eq!(batching.items_max(), BATCH_ITEMS_MAX);
        }
        assert_eq!(batching.broke(8), Blame::Unclear);
        assert_eq!(batching.items_max(), 4);
        batching.succeeded();
        assert_eq!(batching.broke(1), Blame::Unclear);
        for _ in 1..BREAKS_MAX {
            batching.broke(1);
        }
        let verdicts: Vec<_> = (0..STRIKES_MAX).map(|_| batching.broke(1)).collect();
        assert_eq!(verdicts.last(), Some(&Blame::Poison));
    }

    proptest! {
        #[test]
        fn every_poisonous_item_is_found_and_no_other(
            count in 1usize..3000,
            poison in prop::collection::btree_set(0usize..3000, 0..4),
        ) {
            let mut queue: VecDeque<usize> = (0..count).collect();
            let (mut batching, mut aside, mut calls) = (Batching::default(), Vec::new(), 0);
            while !queue.is_empty() {
                calls += 1;
                let batch: Vec<_> = queue.iter().copied().take(batching.items_max()).collect();
                if !batch.iter().any(|it| poison.contains(it)) {
                    queue.drain(..batch.len());
                    batching.succeeded();
                } else if batching.failed(batch.len()) == Blame::Poison {
                    aside.extend(queue.pop_front());
                }
            }
            let expected: Vec<_> = poison.into_iter().filter(|&it| it < count).collect();
            prop_assert_eq!(aside, expected);
            prop_assert!(calls < 250, "{} calls", calls);
        }
    }
}
