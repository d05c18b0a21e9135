//! Accounts: making them, and proving that one is one's own.

pub mod password;
pub mod token;

use bytes::Bytes;
use freehold_proto::{UserId, limits};
use freehold_store::{
    Batch, Outcome, StoreError,
    tables::{
        accounts::create_account,
        rows::{AccountRow, CredentialRow, LoginRow},
    },
};

use crate::server::Server;

/// How much authority somebody has (fact sheet, section 2.1).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// An account without a way to prove oneself again.
    Anonymous,
    /// An account of one's own.
    Authenticated,
    /// An administrator.
    Root,
}

impl Level {
    /// As clients know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anon",
            Self::Authenticated => "auth",
            Self::Root => "root",
        }
    }
}

impl std::str::FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "anon" => Ok(Self::Anonymous),
            "auth" => Ok(Self::Authenticated),
            "root" => Ok(Self::Root),
            _ => Err(()),
        }
    }
}

/// Whoever makes a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Which person of ours.
    pub user: UserId,
    /// With how much authority.
    pub level: Level,
}

/// A new account, as asked for.
#[derive(Debug, Default)]
pub struct NewAccount {
    /// Log-in name as typed.
    pub login: String,
    /// Password.
    pub password: String,
    /// Public description, JSON; empty for none.
    pub public: Bytes,
    /// Private notes, JSON; empty for none.
    pub private: Bytes,
    /// Credentials, taken as they are.
    pub credentials: Vec<CredentialRow>,
}

/// Why an account cannot be made or entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The log-in name breaks a rule.
    #[error(
        "log-in name {0:?}: it takes 2 to 32 letters, digits, '_', '.' or '-', and starts and ends with a letter or digit"
    )]
    Login(String),
    /// The password is too short or too long.
    #[error(
        "a password takes {} to {} bytes",
        password::BYTES_MIN,
        password::BYTES_MAX
    )]
    Password,
    /// Somebody has that name.
    #[error("the log-in name {0:?} is taken")]
    Taken(String),
    /// Wrong name or password.
    #[error("wrong log-in name or password")]
    Wrong,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own fault.
    #[error("{0}")]
    Internal(String),
}

/// Brings a log-in name into its one form, or refuses it.
pub fn canonical_login(typed: &str) -> Result<String, AccountError> {
    let login = typed.trim().to_lowercase();
    let refuse = || AccountError::Login(typed.chars().take(64).collect());
    let edge = |it: Option<char>| it.is_some_and(char::is_alphanumeric);
    let legal = |it: char| it.is_alphanumeric() || "_.-".contains(it);
    let count = login.chars().count();
    let fits = (2..=32).contains(&count) && login.len() <= freehold_proto::Address::LOCAL_BYTES_MAX;
    if fits && edge(login.chars().next()) && edge(login.chars().last()) && login.chars().all(legal)
    {
        Ok(login)
    } else {
        Err(refuse())
    }
}

impl Server {
    /// Makes an account; durable when it returns.
    pub async fn create_account(&self, new: NewAccount) -> Result<UserId, AccountError> {
        let login = canonical_login(&new.login)?;
        let hash = self.passwords.hash(new.password).await?;
        let random =
            freehold_keys::random().map_err(|it| AccountError::Internal(it.to_string()))?;
        let user = UserId::new(random, self.us.clone());
        let now = self.clock.now().as_millis();
        let account = AccountRow {
            login: login.clone(),
            created: now,
            updated: now,
            public: new.public,
            private: new.private,
            access_auth: "JRWPAS".to_owned(),
            access_anon: "N".to_owned(),
            credentials: new.credentials,
            ..AccountRow::default()
        };
        let way_in = LoginRow {
            user: Bytes::copy_from_slice(&user.local_bytes()),
            password: hash,
        };
        let mut batch = Batch::new();
        create_account(&mut batch, &user, &account, &way_in);
        match self.tables.commit(batch).await? {
            Outcome::Applied => Ok(user),
            Outcome::GuardFailed { .. } => Err(AccountError::Taken(login)),
        }
    }

    /// The person whose name and password these are. Takes the same time for a wrong name as for a
    /// wrong password.
    pub async fn enter(&self, login: &str, password: String) -> Result<UserId, AccountError> {
        let name = login.trim().to_lowercase();
        let row = self.tables.read(move |tables| tables.login(&name)).await?;
        let hash = row.as_ref().map(|it| it.password.clone());
        let right = self.passwords.verify(password, hash).await?;
        match row
            .filter(|_| right)
            .and_then(|it| <[u8; 8]>::try_from(&*it.user).ok())
        {
            Some(local) => Ok(UserId::new(local, self.us.clone())),
            None => Err(AccountError::Wrong),
        }
    }

    /// The public description may go to other domains whole, so it has a bound.
    #[must_use]
    pub fn fits_description(&self, public: &[u8]) -> bool {
        public.len()
            <= self
                .rules
                .message_bytes_max
                .min(limits::PAYLOAD_BYTES_MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_name_has_one_form() {
        assert_eq!(canonical_login(" Alice.B ").unwrap(), "alice.b");
        for name in [
            "a",
            "",
            "a b",
            "-ab",
            "ab.",
            "alice@b",
            "a:b",
            &"x".repeat(33),
        ] {
            assert!(canonical_login(name).is_err(), "{name:?} passed");
        }
    }
}
