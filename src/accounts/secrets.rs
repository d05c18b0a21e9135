//! Changing log-in name and password: with the old ones, or with a code when the password is lost.
//!
//! With the password the generation of the account's tokens changes, so that nobody stays in who was
//! in before; only the log-in that changed it is spared.

use bytes::Bytes;
use freehold_proto::UserId;
use freehold_store::{
    Batch, Tables,
    tables::{
        accounts::{drop_login, put_login, take_login},
        credentials::{RESET, drop_code, put_code},
        rows::{AccountRow, LoginRow},
    },
};

use super::{
    AccountError, Level,
    access::{State, level_of},
    attempts::Origin,
    canonical_login,
    credentials::{EMAIL, Wanted},
    put_changed,
    token::LoginId,
};
use crate::{mail::Letter, server::Server};

impl Server {
    /// Sets a new password and, if one is given, a new log-in name. Other log-ins than `spared` end
    /// with it: whoever calls puts their sessions out.
    pub(crate) async fn change_secret(
        &self,
        user: &UserId,
        (login, password): (&str, String),
        spared: Option<LoginId>,
    ) -> Result<(), AccountError> {
        let hash = self.passwords.hash(password).await?;
        let _turn = self.account_turn(user).await;
        let before = self.account(user).await?;
        let (mut batch, login) = self.with_secret(user, &before, (login, hash), spared)?;
        batch.append(self.without_devices(user).await?);
        self.commit_or(batch, AccountError::Taken(login)).await
    }

    fn with_secret(
        &self,
        user: &UserId,
        before: &AccountRow,
        (login, hash): (&str, String),
        spared: Option<LoginId>,
    ) -> Result<(Batch, String), AccountError> {
        let login = match login {
            "" if !before.login.is_empty() => before.login.clone(),
            typed => canonical_login(typed)?,
        };
        let way_in = LoginRow {
            user: Bytes::copy_from_slice(&user.local_bytes()),
            password: hash,
        };
        let mut after = before.clone();
        after.generation = before.generation.wrapping_add(1);
        after.spared = spared.map_or(Bytes::new(), |it| Bytes::copy_from_slice(&it));
        let mut batch = Batch::new();
        if login == before.login {
            put_login(&mut batch, &login, &way_in);
        } else {
            take_login(&mut batch, &login, &way_in);
            if !before.login.is_empty() {
                drop_login(&mut batch, &before.login);
            }
            after.login.clone_from(&login);
        }
        // Whoever had no name and password has them now.
        if level_of(before) == Level::Anonymous {
            after.level = Level::Authenticated.to_number().into();
        }
        put_changed(&mut batch, user, before, &after);
        Ok((batch, login))
    }

    /// Begins a reset: sends a code, if there is an account to which the address belongs. Whether
    /// there is must not be told, nor be seen from the time this takes, so it runs beside.
    pub(crate) async fn begin_reset(
        &self,
        wanted: &Wanted,
        origin: Option<Origin>,
    ) -> Result<(), AccountError> {
        let Some(post) = &self.post else {
            return Ok(());
        };
        let Some(user) = self.owner_of(wanted).await? else {
            return Ok(());
        };
        let _turn = self.account_turn(&user).await;
        State::of(&self.account(&user).await?).admit()?;
        self.may_write_to(&user, &wanted.value, origin)?;
        let place = post.reserve()?;
        let credential = (wanted.method.as_str(), wanted.value.as_str());
        let random = freehold_keys::random()?;
        let (code, row) = self
            .codes
            .make(&user, RESET, credential, random, self.clock.now());
        let mut batch = Batch::new();
        put_code(&mut batch, &user, RESET, &row);
        self.commit_or(batch, AccountError::Busy).await?;
        place.send(Letter::Reset {
            to: wanted.value.clone(),
            code,
        });
        Ok(())
    }

    async fn owner_of(&self, wanted: &Wanted) -> Result<Option<UserId>, AccountError> {
        let asked = wanted.clone();
        let read = move |tables: &Tables| tables.credential(&asked.method, &asked.value);
        let local = self.tables.read(read).await?;
        Ok(local.map(|it| UserId::new(it, self.us.clone())))
    }

    /// Completes a reset with the code that was sent; says whose account it was.
    pub(crate) async fn reset(
        &self,
        (code, method, value): (&str, &str, &str),
        (login, password): (&str, String),
        origin: Option<Origin>,
    ) -> Result<UserId, AccountError> {
        let now = self.clock.now();
        if origin.is_some_and(|it| !self.attempts.origins.has_room(&it, now)) {
            return Err(AccountError::TooOften);
        }
        let done = self
            .reset_by((code, method, value), (login, password))
            .await;
        if let (Err(AccountError::Wrong), Some(origin)) = (&done, origin) {
            self.attempts.origins.count(origin, now);
        }
        done
    }

    async fn reset_by(
        &self,
        (code, method, value): (&str, &str, &str),
        (login, password): (&str, String),
    ) -> Result<UserId, AccountError> {
        let wanted = Wanted::read(method, value).map_err(|_| AccountError::Wrong)?;
        // Hashing comes first, for those who know no code too: all take the same time.
        let hash = self.passwords.hash(password).await?;
        let Some(user) = self.owner_of(&wanted).await? else {
            self.feign_answer().await?;
            return Err(AccountError::Wrong);
        };
        let _turn = self.account_turn(&user).await;
        let row = self
            .answered(&user, RESET, &wanted.method, code)
            .await
            .map_err(|fault| match fault {
                AccountError::Code => AccountError::Wrong,
                other => other,
            })?;
        if row.value != wanted.value {
            return Err(AccountError::Wrong);
        }
        let before = self.account(&user).await?;
        State::of(&before).admit()?;
        let (mut batch, login) = self.with_secret(&user, &before, (login, hash), None)?;
        drop_code(&mut batch, &user, RESET, EMAIL);
        batch.append(self.without_devices(&user).await?);
        self.commit_or(batch, AccountError::Taken(login)).await?;
        Ok(user)
    }
}
