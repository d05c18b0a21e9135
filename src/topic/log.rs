//! The log of a group that spans domains, as far as one must know it to go on: at the home to place
//! the next entry, elsewhere to judge whether an entry is the next (PROTOCOL.md section 7.7; rules.md 1,
//! 8 and 9). Pure.

use std::cmp::Ordering;

use freehold_proto::{DomainName, GroupId, KeyId, Placed, Position, Timestamp};

/// Where a log has got to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// How often the group has changed its home, from 1.
    pub epoch: u64,
    /// Index of the last entry; 0 before the first.
    pub index: u64,
    /// Order of the last message.
    pub order: u32,
    /// Hash of the last entry's position.
    pub hash: [u8; 32],
}

/// Whose an entry is, to a domain that takes another for the group's home, or itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// The home's.
    Present,
    /// Of a home that was, or of one that never came to be it.
    Former,
    /// Of one that says it followed.
    Later,
}

/// What an entry is to a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// A message, and the next entry.
    Message,
    /// Something else, and the next entry.
    Change,
    /// It came before, or is from before our copy.
    Known,
    /// Others are missing before it.
    Missing,
    /// The home contradicts itself.
    Forked(&'static str),
}

impl Log {
    /// A log that begins where so many messages have been written.
    #[must_use]
    pub fn opened(order: u32) -> Self {
        Self {
            epoch: 1,
            index: 0,
            order,
            hash: [0; 32],
        }
    }

    /// What the home signs for the next entry, which has this envelope. Home and key are filled in by
    /// whoever signs.
    #[must_use]
    pub fn next(
        &self,
        group: GroupId,
        envelope: [u8; 32],
        is_message: bool,
        (home, key_id): (&DomainName, KeyId),
        now: Timestamp,
    ) -> Position {
        Position {
            home: home.clone(),
            key_id,
            group,
            feed: false,
            epoch: self.epoch,
            index: self.index + 1,
            order: self.order + u32::from(is_message),
            placed_at: now,
            previous: self.hash,
            envelope,
        }
    }

    /// Whose an entry is.
    #[must_use]
    pub fn claim(&self, home: &DomainName, position: &Position) -> Claim {
        match position.epoch.cmp(&self.epoch) {
            Ordering::Less => Claim::Former,
            Ordering::Equal if position.home == *home => Claim::Present,
            Ordering::Equal => Claim::Former,
            // A home may begin a new epoch behind what it said before, after a loss of its own.
            Ordering::Greater if position.home == *home && self.is_followed_by(position) => {
                Claim::Present
            }
            Ordering::Greater => Claim::Later,
        }
    }

    fn is_followed_by(&self, position: &Position) -> bool {
        position.index == self.index + 1 && position.previous == self.hash
    }

    /// Judges an entry of the group's home.
    #[must_use]
    pub fn admit(&self, position: &Position) -> Admission {
        if position.epoch < self.epoch {
            return Admission::Forked("the entry is of another epoch");
        }
        if position.index <= self.index {
            return Admission::Known;
        }
        if position.index > self.index + 1 {
            return Admission::Missing;
        }
        if position.previous != self.hash {
            return Admission::Forked("it follows another entry than the last one");
        }
        match position.order.checked_sub(self.order) {
            Some(0) => Admission::Change,
            Some(1) => Admission::Message,
            _ => Admission::Forked("its order does not follow"),
        }
    }

    /// An entry has been placed or taken.
    pub fn advance(&mut self, position: &Position, placed: &Placed) {
        self.epoch = self.epoch.max(position.epoch);
        self.index = position.index;
        self.order = position.order;
        self.hash = placed.hash();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(log: &Log, is_message: bool, envelope: u8) -> (Position, Placed) {
        let home = "alpha.test".parse().unwrap();
        let position = log.next(
            GroupId::from_bytes([1; 16]),
            [envelope; 32],
            is_message,
            (&home, KeyId::of(&[2; 32])),
            Timestamp::EPOCH,
        );
        let placed = Placed {
            position: position.encode().into(),
            signature: [0; 64],
        };
        (position, placed)
    }

    #[test]
    fn entries_follow_one_another_and_only_messages_are_counted() {
        let mut log = Log::opened(7);
        for (is_message, index, order) in [(false, 1, 7), (true, 2, 8), (true, 3, 9), (false, 4, 9)]
        {
            let (position, bytes) = placed(&log, is_message, 1);
            assert_eq!((position.index, position.order), (index, order));
            let expected = if is_message {
                Admission::Message
            } else {
                Admission::Change
            };
            assert_eq!(log.admit(&position), expected);
            log.advance(&position, &bytes);
            assert_eq!(log.admit(&position), Admission::Known);
        }
    }

    #[test]
    fn a_gap_is_missing_and_another_history_is_a_fork() {
        let mut home = Log::opened(0);
        let copy = home;
        let (first, bytes) = placed(&home, true, 1);
        home.advance(&first, &bytes);
        let (second, _) = placed(&home, true, 2);
        assert_eq!(copy.admit(&second), Admission::Missing);
        // Another first entry at the same place: the second of one does not follow the other.
        let mut forked = copy;
        let (other, bytes) = placed(&copy, true, 9);
        forked.advance(&other, &bytes);
        assert!(matches!(forked.admit(&second), Admission::Forked(_)));
        let mut later = home;
        later.epoch = 2;
        assert!(matches!(later.admit(&second), Admission::Forked(_)));
        let jumped = Position { order: 5, ..second };
        assert!(matches!(home.admit(&jumped), Admission::Forked(_)));
    }

    #[test]
    fn an_entry_is_of_the_home_of_one_that_was_or_of_one_that_followed() {
        let (alpha, beta): (DomainName, DomainName) =
            ("alpha.test".parse().unwrap(), "beta.test".parse().unwrap());
        let log = Log::opened(0);
        let (next, _) = placed(&log, true, 1);
        let of = |home: &DomainName, epoch: u64, index: u64| Position {
            home: home.clone(),
            epoch,
            index,
            ..next.clone()
        };
        let mut second = log;
        second.epoch = 2;
        assert_eq!(log.claim(&alpha, &of(&alpha, 1, 1)), Claim::Present);
        assert_eq!(log.claim(&alpha, &of(&beta, 1, 1)), Claim::Former);
        assert_eq!(second.claim(&beta, &of(&alpha, 1, 1)), Claim::Former);
        assert_eq!(second.claim(&beta, &of(&beta, 2, 1)), Claim::Present);
        assert_eq!(log.claim(&alpha, &of(&beta, 2, 1)), Claim::Later);
        // The home itself may count on with a new epoch, but not step back behind what it said.
        assert_eq!(log.claim(&alpha, &of(&alpha, 2, 1)), Claim::Present);
        assert_eq!(log.claim(&alpha, &of(&alpha, 2, 2)), Claim::Later);
        let forked = Position {
            previous: [7; 32],
            ..of(&alpha, 2, 1)
        };
        assert_eq!(log.claim(&alpha, &forked), Claim::Later);
    }
}
