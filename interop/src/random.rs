//! Chance that can be repeated: everything random in a case comes from one printed seed.

use std::time::Duration;

/// SplitMix64: small, fast, good enough to choose victims and moments.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or(0)
    }

    /// An index into something of `len` things.
    pub fn index(&mut self, len: usize) -> usize {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.below(len)).unwrap_or(0)
    }

    /// A time from `shortest` up to, not including, `longest`, in whole milliseconds.
    pub fn pause(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let span = longest.saturating_sub(shortest).as_millis();
        let extra = self.below(u64::try_from(span).unwrap_or(u64::MAX));
        shortest + Duration::from_millis(extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            [(); 4].map(|()| random.number())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn a_pause_keeps_its_bounds() {
        let (shortest, longest) = (Duration::from_millis(50), Duration::from_millis(60));
        let mut random = Random::new(1);
        for _ in 0..100 {
            let pause = random.pause(shortest, longest);
            assert!((shortest..longest).contains(&pause));
        }
        assert_eq!(random.pause(shortest, shortest), shortest);
    }
}
