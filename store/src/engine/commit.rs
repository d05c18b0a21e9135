//! The answer to a batch, while it is on its way.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{Outcome, StoreError};

pub(super) type Answer = Result<Outcome, StoreError>;

/// Completes once the batch is durable, or has been refused.
///
/// Dropping it does not withdraw the batch.
#[derive(Debug)]
#[must_use = "the batch is durable only once this has completed"]
pub struct Commit(oneshot::Receiver<Answer>);

impl Commit {
    /// A commit to be answered by whoever holds the sender.
    pub(super) fn pending() -> (oneshot::Sender<Answer>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// A commit that is answered already.
    pub(super) fn ready(answer: Answer) -> Self {
        let (sender, commit) = Self::pending();
        sender
            .send(answer)
            .expect("the receiving half is alive in `commit`");
        commit
    }

    /// Waits on this thread, for callers that are not async.
    ///
    /// # Panics
    /// On a thread that runs async tasks: it must not block.
    pub fn wait_blocking(self) -> Result<Outcome, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Poisoned))
    }

    /// The answer, if it has come.
    #[cfg(test)]
    pub(super) fn try_answer(&mut self) -> Option<Answer> {
        self.0.try_recv().ok()
    }
}

impl Future for Commit {
    type Output = Result<Outcome, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The writer drops a sender unanswered only if it panics.
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(StoreError::Poisoned)))
    }
}
