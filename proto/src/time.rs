//! Moments in time, and where they come from.

use std::{
    fmt,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use crate::Malformed;

/// A moment in milliseconds since 1970, UTC, within the years 1970 to 9999.
///
/// Shown as exactly 24 characters, `2026-01-02T03:04:05.678Z`: stock clients misread any other
/// precision.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last millisecond of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);
    /// The first moment of 1970.
    pub const EPOCH: Self = Self(0);

    /// Takes milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Result<Self, Malformed> {
        if (0..=Self::MAX.0).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(Malformed::Time(millis))
        }
    }

    /// Takes milliseconds that were checked before they were stored; others become the nearest moment.
    #[must_use]
    pub fn from_stored(millis: i64) -> Self {
        Self(millis.clamp(0, Self::MAX.0))
    }

    /// Reads `2026-01-02T03:04:05.678Z`, with or without the fraction; `None` for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_suffix('Z')?;
        let (date, clock) = text.split_once('T')?;
        let mut date = date.splitn(3, '-').map(|it| it.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let mut clock = clock.splitn(3, ':').map(|it| it.parse::<i64>().ok());
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        let in_range = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..61).contains(&second);
        if !in_range {
            return None;
        }
        let seconds =
            (days_before(year, month) + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second;
        Self::from_millis(seconds * 1000 + millis).ok()
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment `by` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// The moment `by` earlier, at least 1970.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis).max(0))
    }

    /// Time from `earlier` to `self`; zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

/// Days from 1970 to the first of a month, in the Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last of the year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment =
            time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
                .expect("the constructors keep to the years 1970 to 9999");
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second(),
            moment.millisecond()
        )
    }
}

/// Tells the time. Injected, so that tests drive it.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Time since some moment before now, always the same. Never goes back, whatever [`Clock::now`] does:
    /// for measuring what happens in one process.
    fn elapsed(&self) -> Duration;
}

/// A clock that stands still until somebody moves it.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    /// Milliseconds by which it has been moved forward, all together.
    moved: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            now: AtomicI64::new(start.0),
            moved: AtomicU64::new(0),
        }
    }

    /// Moves the clock to `moment`, forward or back.
    pub fn set(&self, moment: Timestamp) {
        let before = self.now.swap(moment.0, Ordering::SeqCst);
        let forward = u64::try_from(moment.0 - before).unwrap_or(0);
        self.moved.fetch_add(forward, Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.moved.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_moment_reads_as_expected() {
        let moment = Timestamp::from_millis(1_767_323_045_678).unwrap();
        assert_eq!(moment.to_string(), "2026-01-02T03:04:05.678Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_outside_the_years_are_refused() {
        assert!(Timestamp::from_millis(-1).is_err());
        assert!(Timestamp::from_millis(Timestamp::MAX.0 + 1).is_err());
    }

    #[test]
    fn what_has_elapsed_never_goes_back_with_a_clock() {
        let second = Duration::from_secs(1);
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let clock = ManualClock::new(start);
        clock.advance(second);
        clock.set(start.minus(second));
        assert_eq!(clock.elapsed(), second);
        clock.advance(second);
        assert_eq!((clock.now(), clock.elapsed()), (start, 2 * second));
    }

    proptest! {
        #[test]
        fn every_moment_takes_exactly_24_characters(millis in 0..=Timestamp::MAX.0) {
            prop_assert_eq!(Timestamp(millis).to_string().len(), 24);
        }
    }
}
