//! Points at which a test can end this process as kill -9 would. They exist only with the feature
//! `test-hooks`, which no production build has; without it nothing here does anything.
//!
//! `FREEHOLD_KILL_AT=point` or `point:n` ends the process when the point is reached for the first, or
//! the n-th, time. `interop/README.md` lists the points.

#[cfg(feature = "test-hooks")]
pub use armed::{reached, reached_and_left};

/// The process has come to a point.
#[cfg(not(feature = "test-hooks"))]
#[inline]
pub fn reached(_point: &'static str) {}

/// The process is about to leave a point for good: what it has just handed over may still go out.
#[cfg(not(feature = "test-hooks"))]
#[inline]
pub fn reached_and_left(_point: &'static str) {}

#[cfg(feature = "test-hooks")]
mod armed {
    use std::{
        env,
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
        thread,
        time::Duration,
    };

    /// Time for an answer to leave this process.
    const LEAVE: Duration = Duration::from_millis(20);

    struct Plan {
        point: String,
        left: AtomicU64,
    }

    fn plan() -> Option<&'static Plan> {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        let read = || {
            let text = env::var("FREEHOLD_KILL_AT").ok()?;
            let (point, nth) = text.split_once(':').unwrap_or((&text, "1"));
            Some(Plan {
                point: point.to_owned(),
                left: AtomicU64::new(nth.parse().ok()?),
            })
        };
        PLAN.get_or_init(read).as_ref()
    }

    /// True when the process is to end here and now.
    fn is_due(point: &str) -> bool {
        plan().is_some_and(|plan| {
            plan.point == point && plan.left.fetch_sub(1, Ordering::SeqCst) == 1
        })
    }

    /// The process has come to a point.
    pub fn reached(point: &'static str) {
        if is_due(point) {
            tracing::error!(point, "a test ends this process here");
            std::process::abort();
        }
    }

    /// The process is about to leave a point for good: what it has just handed over may still go out.
    pub fn reached_and_left(point: &'static str) {
        if is_due(point) {
            tracing::error!(point, "a test ends this process after this");
            thread::spawn(|| {
                thread::sleep(LEAVE);
                std::process::abort();
            });
        }
    }
}
