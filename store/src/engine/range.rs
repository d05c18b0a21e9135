//! Which rows a page covers, and from which end it is read.

use std::ops::Bound;

use super::batch::RESERVED_PREFIX;

/// The direction in which a page is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// From the smallest key upwards.
    Ascending,
    /// From the largest key downwards.
    Descending,
}

/// A half-open range of keys: its start belongs to it, its end does not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRange {
    start: Vec<u8>,
    // `None` is the end of the key space, which no byte string can name.
    end: Option<Vec<u8>>,
}

impl KeyRange {
    /// The keys from `start` up to, not including, `end`. Empty if they cross.
    pub fn new(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self {
            start: start.into(),
            end: Some(end.into()),
        }
    }

    /// The keys that begin with `prefix`; all of them for an empty one.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        // The end is the prefix with its last byte below 0xff raised by one.
        let raised = prefix.iter().rposition(|&byte| byte < u8::MAX);
        Self {
            start: prefix.to_vec(),
            end: raised.map(|last| {
                let mut end = prefix[..=last].to_vec();
                end[last] += 1;
                end
            }),
        }
    }

    /// The part of this range from `start` on: where a next page begins.
    #[must_use]
    pub fn starting_at(mut self, start: Vec<u8>) -> Self {
        self.start = self.start.max(start);
        self
    }

    /// Whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Where it begins and where it ends, if anywhere.
    pub(super) fn ends(&self) -> [Option<&[u8]>; 2] {
        [Some(&self.start), self.end.as_deref()]
    }

    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self
            .end
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(self.start.as_slice()), end)
    }

    /// What is left below and above the engine's own keys, either possibly empty.
    pub(super) fn around_reserved(&self) -> [Self; 2] {
        let (first, past) = (vec![RESERVED_PREFIX], vec![RESERVED_PREFIX + 1]);
        let below = Self {
            start: self.start.clone(),
            end: Some(self.end.clone().map_or(first.clone(), |end| end.min(first))),
        };
        let above = Self {
            start: self.start.clone().max(past),
            end: self.end.clone(),
        };
        [below, above]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &[u8], end: Option<&[u8]>) {
        let range = KeyRange::prefix(prefix);
        assert_eq!(range.start, prefix);
        assert_eq!(range.end.as_deref(), end);
        assert!(!range.is_empty());
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        check(b"M", Some(b"N"));
        check(b"M\xff", Some(b"N"));
        check(b"M\x00", Some(b"M\x01"));
        check(b"\xff\xff", None);
        check(b"", None);
    }

    #[test]
    fn the_engine_keys_are_cut_out() {
        let [below, above] = KeyRange::prefix(b"").around_reserved();
        assert_eq!(below, KeyRange::new("", "J"));
        assert_eq!(
            above.bounds(),
            (Bound::Included(&b"K"[..]), Bound::Unbounded)
        );

        let [below, above] = KeyRange::new("A", "C").around_reserved();
        assert_eq!(below, KeyRange::new("A", "C"));
        assert!(above.is_empty());

        let [below, above] = KeyRange::prefix(b"J").around_reserved();
        assert!(below.is_empty() && above.is_empty());
    }
}
