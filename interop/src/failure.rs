//! Why a case ended early, and whose fault that was.

use std::{fmt::Display, time::Duration};

/// What every step of a case returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a case ended early.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// Ours or the machine's: no verdict about the server.
    #[error("the harness could not {what}: {why}")]
    Harness {
        /// What was tried.
        what: String,
        /// What stood in the way.
        why: String,
    },
    /// What a case needs is not to be had on this machine.
    #[error("not to be had here: {0}")]
    NotHere(String),
    /// A server did something that it must not do.
    #[error("{0}")]
    Broken(String),
    /// A server said no where it must say yes.
    #[error("{who} was refused {request}: {code} {text}")]
    Refused {
        /// Who asked.
        who: String,
        /// For what.
        request: String,
        /// The code of the answer.
        code: u64,
        /// The text of the answer.
        text: String,
    },
    /// A connection is gone. Normal where servers are killed.
    #[error("the connection of {who} is gone: {why}")]
    Disconnected {
        /// Whose.
        who: String,
        /// As the socket told it.
        why: String,
    },
    /// Something did not come in time.
    #[error("waited {} ms in vain for {awaited}", .after.as_millis())]
    Late {
        /// What.
        awaited: String,
        /// How long it had.
        after: Duration,
    },
}

impl Failure {
    /// The harness could not do `what`.
    pub fn harness(what: impl Into<String>, why: impl Display) -> Self {
        Self::Harness {
            what: what.into(),
            why: why.to_string(),
        }
    }

    /// True for what a server that just ends or comes up explains: a lost connection, or "we do not know".
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.is_disconnect() || matches!(self, Self::Refused { code: 500.., .. })
    }

    /// True for a lost connection, which a killed server explains.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Self::Disconnected { .. })
    }
}

/// States what must hold; `otherwise` says what was seen instead.
pub(crate) fn expect(condition: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(Failure::Broken(otherwise()))
    }
}
