//! What an account's row says about coming in: its state, its authority, which tokens count.

use freehold_store::tables::rows::AccountRow;

use super::{
    AccountError, Caller, Level,
    token::{Grant, LoginId},
};

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It may.
    Ok,
    /// An administrator took it out of use.
    Suspended,
    /// It waits for an administrator's word.
    Pending,
}

impl State {
    /// The state of an account.
    #[must_use]
    pub fn of(row: &AccountRow) -> Self {
        match row.state {
            0 => Self::Ok,
            2 => Self::Pending,
            _ => Self::Suspended,
        }
    }

    /// As rows hold it.
    #[must_use]
    pub fn to_number(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::Suspended => 1,
            Self::Pending => 2,
        }
    }

    /// As clients know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Suspended => "susp",
            Self::Pending => "pending",
        }
    }

    /// A state as administrators ask for it.
    #[must_use]
    pub fn asked(text: &str) -> Option<Self> {
        match text {
            "ok" => Some(Self::Ok),
            "susp" => Some(Self::Suspended),
            _ => None,
        }
    }

    /// Refuses those who may not come in.
    pub fn admit(self) -> Result<(), AccountError> {
        match self {
            Self::Ok => Ok(()),
            Self::Suspended => Err(AccountError::Suspended),
            Self::Pending => Err(AccountError::Pending),
        }
    }
}

/// The authority of an account.
#[must_use]
pub fn level_of(row: &AccountRow) -> Level {
    Level::from_number(row.level)
}

/// Whether the account still takes a token: one of its present generation, or of the log-in that
/// was spared when the generation changed.
#[must_use]
pub fn takes(row: &AccountRow, grant: &Grant) -> bool {
    counts(row, grant.generation, grant.login)
}

/// Whether somebody who has logged in is still in: their account is in use, and no new password has ended
/// their log-in.
#[must_use]
pub fn holds(row: &AccountRow, caller: &Caller) -> bool {
    State::of(row) == State::Ok && counts(row, caller.generation, caller.login)
}

fn counts(row: &AccountRow, generation: u32, login: LoginId) -> bool {
    let spared = !row.spared.is_empty() && *row.spared == login;
    generation == row.generation || spared
}

/// The methods by which an account must still confirm a credential.
#[must_use]
pub fn missing_credentials(row: &AccountRow, required: &[String]) -> Vec<String> {
    if level_of(row) == Level::Anonymous {
        return Vec::new();
    }
    let confirmed = |method: &String| {
        row.credentials
            .iter()
            .any(|it| it.done && it.method == *method)
    };
    required
        .iter()
        .filter(|it| !confirmed(it))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use freehold_proto::UserId;

    use super::*;

    #[test]
    fn old_tokens_end_with_their_generation_but_for_the_log_in_that_was_spared() {
        let grant = Grant {
            user: UserId::new([1; 8], "a.test".parse().unwrap()),
            level: Level::Authenticated,
            generation: 0,
            login: [3; 8],
            unconfirmed: false,
        };
        let mut row = AccountRow::default();
        assert!(takes(&row, &grant));
        row.generation = 1;
        assert!(!takes(&row, &grant));
        row.spared = vec![3; 8].into();
        assert!(takes(&row, &grant));
        row.spared = vec![4; 8].into();
        assert!(!takes(&row, &grant));
    }

    #[test]
    fn a_state_that_is_not_known_lets_nobody_in() {
        for state in [State::Ok, State::Suspended, State::Pending] {
            let row = AccountRow {
                state: state.to_number(),
                ..AccountRow::default()
            };
            assert_eq!(State::of(&row), state);
        }
        let row = AccountRow {
            state: 9,
            ..AccountRow::default()
        };
        assert!(State::of(&row).admit().is_err());
        assert_eq!(State::asked("pending"), None);
    }
}
