//! Making an account: who may, and what it begins with.

use bytes::Bytes;
use freehold_config::{Change, Registration};
use freehold_proto::{AccessMode, DomainName, UserId};
use freehold_store::{
    Outcome, Tables,
    tables::{
        accounts::create_account,
        admin::use_invitation,
        rows::{AccountRow, CredentialRow, InvitationRow, LoginRow},
        tags::{TagOwner, replace},
    },
};

use super::{
    AccountError, Level,
    access::State,
    attempts::Origin,
    canonical_login,
    credentials::{CREDENTIALS_MAX, Wanted},
    tags,
    tags::TagFault,
};
use crate::{files::Referrer, server::Server};

/// The method of a credential that is an invitation.
pub const INVITE: &str = "invite";

/// A new account, as asked for.
#[derive(Debug)]
pub struct NewAccount {
    /// Log-in name as typed, and password; an anonymous account has neither.
    pub way_in: Option<(String, String)>,
    /// The name under which an outside service knows the person; empty for none.
    pub external: String,
    /// The log-in name that the service gives them; empty for none.
    pub external_login: String,
    /// Public description, JSON; empty for none.
    pub public: Bytes,
    /// Private notes, JSON; empty for none.
    pub private: Bytes,
    /// What strangers may do, with an account and without one.
    pub access: (AccessMode, AccessMode),
    /// Tags, checked.
    pub tags: Vec<String>,
    /// Credentials, to be confirmed.
    pub credentials: Vec<Wanted>,
    /// Authority.
    pub level: Level,
}

impl Default for NewAccount {
    fn default() -> Self {
        Self {
            way_in: None,
            external: String::new(),
            external_login: String::new(),
            public: Bytes::new(),
            private: Bytes::new(),
            access: (
                AccessMode::ONE_TO_ONE.or(AccessMode::SHARE),
                AccessMode::NONE,
            ),
            tags: Vec::new(),
            credentials: Vec::new(),
            level: Level::Authenticated,
        }
    }
}

/// What lets somebody make an account.
#[derive(Debug)]
pub enum Permit {
    /// Nothing else is needed.
    Free,
    /// An invitation, which is used up with it.
    Invitation(Box<InvitationRow>),
    /// It may be made, but not used before an administrator agrees.
    Pending,
}

/// Takes the invitation apart from the log-in name it was typed behind: `ann+k7qf2m`.
#[must_use]
pub fn invitation_of(login: &str) -> (&str, Option<&str>) {
    match login.split_once('+') {
        Some((name, code)) => (name, Some(code)),
        None => (login, None),
    }
}

/// An invitation as it was meant, however it was typed.
#[must_use]
pub fn canonical_invitation(typed: &str) -> String {
    let kept = typed.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|it| it.to_ascii_lowercase()).take(64).collect()
}

impl Server {
    /// Whether somebody may make an account now, and by what right.
    pub async fn permit(
        &self,
        invitation: Option<&str>,
        by_root: bool,
        origin: Option<Origin>,
    ) -> Result<Permit, AccountError> {
        if by_root {
            return Ok(Permit::Free);
        }
        let now = self.clock.now();
        if origin.is_some_and(|it| !self.attempts.accounts.has_room(&it, now)) {
            return Err(AccountError::TooOften);
        }
        let permit = match self.rules.registration {
            Registration::Open => Permit::Free,
            Registration::Approval => Permit::Pending,
            Registration::Closed => return Err(AccountError::Closed),
            Registration::Invite => self.invited(invitation, origin).await?,
        };
        if let Some(origin) = origin {
            self.attempts.accounts.count(origin, now);
        }
        Ok(permit)
    }

    async fn invited(
        &self,
        invitation: Option<&str>,
        origin: Option<Origin>,
    ) -> Result<Permit, AccountError> {
        let now = self.clock.now();
        // An invitation may be guessed at no more often than a password.
        if origin.is_some_and(|it| !self.attempts.origins.has_room(&it, now)) {
            return Err(AccountError::TooOften);
        }
        let code = canonical_invitation(invitation.ok_or(AccountError::Closed)?);
        let row = self
            .tables
            .read(move |tables: &Tables| tables.invitation(&code))
            .await?
            .filter(|it| it.left > 0 && now.as_millis() < it.expires);
        match row {
            Some(row) => Ok(Permit::Invitation(Box::new(row))),
            None => {
                if let Some(origin) = origin {
                    self.attempts.origins.count(origin, now);
                }
                Err(AccountError::Closed)
            }
        }
    }

    /// Makes an account; durable when it returns. Codes for its credentials are not sent yet.
    pub async fn create_account(
        &self,
        new: NewAccount,
        permit: Permit,
    ) -> Result<(UserId, AccountRow), AccountError> {
        let (login, way_in) = match &new.way_in {
            Some((name, password)) => {
                let login = canonical_login(name)?;
                let hash = self.passwords.hash(password.clone()).await?;
                (login, Some(hash))
            }
            // The name leads to the person, but no password is known here.
            None if !new.external_login.is_empty() => {
                (canonical_login(&new.external_login)?, Some(String::new()))
            }
            None => (String::new(), None),
        };
        self.refuse_taken(&new, &login).await?;
        let user = UserId::new(freehold_keys::random()?, self.us.clone());
        let account = self.first_row(new, login, &permit)?;
        let way_in = way_in.map(|password| LoginRow {
            user: Bytes::copy_from_slice(&user.local_bytes()),
            password,
        });
        let referrer = Referrer::Account(user.clone());
        let shows = |it: &DomainName| *it == self.us;
        let (mut batch, _held) = self.files.show(referrer, &account.public, shows).await?;
        create_account(&mut batch, &user, &account, way_in.as_ref());
        let owner = TagOwner::User(user.local_bytes());
        replace(&mut batch, owner, &[], &tags::of_account(&account));
        if let Permit::Invitation(row) = &permit {
            use_invitation(&mut batch, row);
        }
        match self.tables.commit(batch).await? {
            Outcome::Applied => {
                self.tell_plugins_account(Change::Create, &user, &account);
                Ok((user, account))
            }
            // Several may come at once for one name, alias or invitation.
            Outcome::GuardFailed { .. } => Err(AccountError::Taken(account.login)),
        }
    }

    /// Says what is taken, before everything is written as one.
    async fn refuse_taken(&self, new: &NewAccount, login: &str) -> Result<(), AccountError> {
        let (login, tags) = (login.to_owned(), new.tags.clone());
        let credentials = new.credentials.clone();
        let read = move |tables: &Tables| {
            let name = !login.is_empty() && tables.login(&login)?.is_some();
            let mut alias = false;
            for tag in &tags {
                alias |= tables.unique_tag(tag)?.is_some();
            }
            let mut credential = false;
            for it in &credentials {
                credential |= tables.credential(&it.method, &it.value)?.is_some();
            }
            Ok((name.then_some(login), alias, credential))
        };
        match self.tables.read(read).await? {
            (Some(login), ..) => Err(AccountError::Taken(login)),
            (None, true, _) => Err(TagFault::Taken.into()),
            (None, false, true) => Err(AccountError::CredentialTaken),
            (None, false, false) => Ok(()),
        }
    }

    fn first_row(
        &self,
        new: NewAccount,
        login: String,
        permit: &Permit,
    ) -> Result<AccountRow, AccountError> {
        if new.credentials.len() > CREDENTIALS_MAX {
            return Err(AccountError::CredentialsTooMany);
        }
        let now = self.clock.now().as_millis();
        let state = match permit {
            Permit::Pending => State::Pending,
            Permit::Free | Permit::Invitation(_) => State::Ok,
        };
        let unconfirmed = |it: Wanted| CredentialRow {
            method: it.method,
            value: it.value,
            done: false,
        };
        Ok(AccountRow {
            login,
            created: now,
            updated: now,
            public: new.public,
            private: new.private,
            access_auth: new.access.0.to_string(),
            access_anon: new.access.1.to_string(),
            credentials: new.credentials.into_iter().map(unconfirmed).collect(),
            level: new.level.to_number().into(),
            state: state.to_number(),
            tags: new.tags,
            external: new.external,
            ..AccountRow::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_typed_behind_the_name_in_any_spelling() {
        assert_eq!(invitation_of("ann+K7QF-2M"), ("ann", Some("K7QF-2M")));
        assert_eq!(invitation_of("ann"), ("ann", None));
        assert_eq!(canonical_invitation(" K7QF-2m "), "k7qf2m");
    }
}
