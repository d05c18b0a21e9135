//! The real clock, the only place that asks the operating system for the time.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use freehold_proto::{Clock, Timestamp};
use tokio::time::Instant;

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the Clock that others take"
        )]
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::EPOCH.plus(since_1970)
    }

    fn elapsed(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
}

/// The clock that a server goes by.
#[cfg(not(feature = "test-hooks"))]
#[must_use]
pub fn of_this_process() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// The clock that a server goes by: with `FREEHOLD_CLOCK_FILE`, one that a test can move.
#[cfg(feature = "test-hooks")]
#[must_use]
pub fn of_this_process() -> Arc<dyn Clock> {
    match std::env::var_os("FREEHOLD_CLOCK_FILE") {
        Some(file) => Arc::new(moved::MovedClock::new(file.into())),
        None => Arc::new(SystemClock),
    }
}

/// A clock beside the true one, for tests.
#[cfg(feature = "test-hooks")]
mod moved {
    use std::{fs, path::PathBuf, time::Duration};

    use freehold_proto::{Clock, Timestamp};
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::SystemClock;

    /// How long the file's word counts.
    const READ_EVERY: Duration = Duration::from_millis(20);

    /// The system's time and as many milliseconds more, or less, as stand in a file.
    #[derive(Debug)]
    pub(super) struct MovedClock {
        file: PathBuf,
        read: Mutex<Option<(Instant, i64)>>,
    }

    impl MovedClock {
        pub(super) fn new(file: PathBuf) -> Self {
            Self {
                file,
                read: Mutex::default(),
            }
        }

        fn offset(&self) -> i64 {
            let mut read = self.read.lock();
            match *read {
                Some((at, offset)) if at.elapsed() < READ_EVERY => offset,
                before => {
                    let text = fs::read_to_string(&self.file).unwrap_or_default();
                    // Nothing yet, or half of it: as before.
                    let before = before.map_or(0, |(_, offset)| offset);
                    let offset = text.trim().parse().unwrap_or(before);
                    *read = Some((Instant::now(), offset));
                    offset
                }
            }
        }
    }

    impl Clock for MovedClock {
        fn now(&self) -> Timestamp {
            let now = SystemClock.now().as_millis();
            Timestamp::from_stored(now.saturating_add(self.offset()))
        }

        fn elapsed(&self) -> Duration {
            SystemClock.elapsed()
        }
    }
}
