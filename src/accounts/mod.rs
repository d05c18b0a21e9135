//! Accounts: making them, proving that one is one's own, and what may be done to them.
//!
//! Each file is one subject. Pure: `tags`, `codes`, `attempts`, `token`, `access`. Over the store, as
//! methods of [`Server`]: `registration`, `entry`, `external`, `credentials`, `secrets`, `admin`,
//! `erasure`, `trail`, `told`. `service` asks outside. An account is read, changed and written within its turn ([`Server::account_turn`]).

pub mod access;
pub mod admin;
pub mod attempts;
pub mod codes;
pub mod credentials;
pub mod entry;
pub mod erasure;
pub mod external;
pub mod password;
pub mod registration;
pub mod secrets;
pub mod service;
pub mod sessions;
pub mod tags;
pub mod token;
mod told;
pub mod trail;

use freehold_proto::{UserId, limits};
use freehold_store::{
    Batch, Outcome, StoreError,
    tables::{
        accounts::put_account,
        rows::AccountRow,
        tags::{TagOwner, replace},
    },
};

use crate::{mail::MailError, server::Server};
use tags::TagFault;
use token::LoginId;

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

    /// As rows and tokens hold it.
    #[must_use]
    pub fn to_number(self) -> u8 {
        match self {
            Self::Authenticated => 0,
            Self::Anonymous => 1,
            Self::Root => 2,
        }
    }

    /// Reads what rows and tokens hold; what is not known has least authority.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Authenticated,
            2 => Self::Root,
            _ => Self::Anonymous,
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
    /// The log-in this goes back to.
    pub login: LoginId,
    /// The generation of the account's tokens it is of.
    pub generation: u32,
    /// The administrator who asks, for themselves or for somebody else.
    pub admin: Option<UserId>,
}

/// Why an account cannot be made, entered or changed.
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
    /// Wrong name or password, wrong or dead token or code.
    #[error("wrong log-in name or password")]
    Wrong,
    /// Too many tries.
    #[error("there were too many tries; later")]
    TooOften,
    /// More is asked for than can be done at once.
    #[error("the server is busy")]
    Busy,
    /// Not everybody may make an account.
    #[error("registration is closed")]
    Closed,
    /// The account is suspended.
    #[error("the account is suspended")]
    Suspended,
    /// The account waits for an administrator's word.
    #[error("the account waits for approval")]
    Pending,
    /// There is no such account.
    #[error("there is no such account")]
    NotFound,
    /// Only administrators may.
    #[error("only administrators may do that")]
    NotAllowed,
    /// A credential that is not one, or of a kind that is not known.
    #[error("this is no credential")]
    Credential,
    /// A credential of a kind that this server cannot confirm.
    #[error("credentials of this kind cannot be confirmed here")]
    Unsupported,
    /// Somebody else has confirmed the credential.
    #[error("another account has this credential")]
    CredentialTaken,
    /// Credentials of these methods are required.
    #[error("these credentials are required: {0:?}")]
    CredentialRequired(Vec<String>),
    /// More credentials than one account may have.
    #[error("there are too many credentials")]
    CredentialsTooMany,
    /// The answer is not the code that was sent.
    #[error("the code is wrong or has ended")]
    Code,
    /// The list of tags is refused.
    #[error(transparent)]
    Tags(#[from] TagFault),
    /// There is no service for log-ins of this scheme.
    #[error("there is no authentication service")]
    NoService,
    /// The service for log-ins has no answer.
    #[error(transparent)]
    Service(#[from] service::ServiceError),
    /// No mail can be taken now.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own fault.
    #[error("{0}")]
    Internal(String),
}

impl From<freehold_keys::KeyError> for AccountError {
    fn from(fault: freehold_keys::KeyError) -> Self {
        Self::Internal(fault.to_string())
    }
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

/// Writes a changed account, and its tags where they changed.
pub(crate) fn put_changed(
    batch: &mut Batch,
    user: &UserId,
    before: &AccountRow,
    after: &AccountRow,
) {
    put_account(batch, user, after);
    let owner = TagOwner::User(user.local_bytes());
    let (old, new) = (tags::of_account(before), tags::of_account(after));
    replace(batch, owner, &old, &new);
}

impl Server {
    /// The account of one of our people.
    pub(crate) async fn account(&self, user: &UserId) -> Result<AccountRow, AccountError> {
        let wanted = user.clone();
        let read = move |tables: &freehold_store::Tables| tables.account(&wanted);
        let row = self.tables.read(read).await?;
        row.ok_or(AccountError::NotFound)
    }

    /// Commits; `taken` is what a failed guard means.
    pub(crate) async fn commit_or(
        &self,
        batch: Batch,
        taken: AccountError,
    ) -> Result<(), AccountError> {
        match self.tables.commit(batch).await? {
            Outcome::Applied => Ok(()),
            Outcome::GuardFailed { .. } => Err(taken),
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
            "alice+b",
            "a:b",
            &"x".repeat(33),
        ] {
            assert!(canonical_login(name).is_err(), "{name:?} passed");
        }
    }

    #[test]
    fn an_authority_that_is_not_known_is_the_least() {
        for level in [Level::Anonymous, Level::Authenticated, Level::Root] {
            assert_eq!(Level::from_number(level.to_number().into()), level);
        }
        assert_eq!(Level::from_number(77), Level::Anonymous);
    }
}
