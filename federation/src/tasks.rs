//! All background tasks of a domain, so that none outlives it unnoticed.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::{Instrument as _, info_span};

/// Starts tasks and waits for their end. Clones share one set.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs `task` to its end. One that loops must watch [`Tasks::stopped`].
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker
            .spawn(task.instrument(info_span!("task", name)));
    }

    /// Counts as a task while it lives: for work that somebody else's library runs.
    pub fn token(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Completes once the domain begins to shut down.
    pub fn stopped(&self) -> WaitForCancellationFutureOwned {
        self.stop.clone().cancelled_owned()
    }

    /// True once the domain begins to shut down.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// The signal itself, for those who hand it on.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Asks all tasks to end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Asks all tasks to end and waits for them, at most for `grace`. Returns how many are left.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        if timeout(grace, self.tracker.wait()).await.is_err() {
            tracing::warn!(
                left = self.tracker.len(),
                ?grace,
                "tasks did not end in time"
            );
        }
        self.tracker.len()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_tasks_that_watch_and_counts_those_that_do_not() {
        let tasks = Tasks::default();
        tasks.spawn("polite", tasks.stopped());
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, 0);

        let tasks = Tasks::default();
        tasks.spawn("deaf", pending());
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, 1);
    }
}
