//! The real clock, the only place that asks the operating system for the time.

use std::time::{SystemTime, UNIX_EPOCH};

use freehold_proto::{Clock, Timestamp};

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
}
