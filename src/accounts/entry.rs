//! Coming in: name and password or a token, and what must be confirmed before.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::{Timestamp, UserId};
use freehold_store::tables::rows::AccountRow;

use super::{
    AccountError, Caller, Level,
    access::{State, level_of, missing_credentials, takes},
    attempts::Origin,
    token::{Grant, LoginId},
};
use crate::server::Server;

/// Somebody who has proven who they are.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Who.
    pub user: UserId,
    /// The log-in this goes back to.
    pub login: LoginId,
}

/// What somebody may do who has proven who they are.
#[derive(Debug)]
pub struct Admission {
    /// Who they are from now on.
    pub caller: Caller,
    /// The methods by which they must confirm a credential first.
    pub missing: Vec<String>,
    /// The token for the next time, or for confirming.
    pub token: String,
    /// When it ends.
    pub expires: Timestamp,
}

impl Server {
    /// The person whose name and password these are. Takes the same time for a wrong name as for a
    /// wrong password.
    pub async fn prove_by_password(
        &self,
        login: &str,
        password: String,
        origin: Option<Origin>,
    ) -> Result<Proven, AccountError> {
        // An invitation may have been typed behind the name; it was used up when the account was made.
        let name = login.split('+').next().unwrap_or_default();
        let name = name.trim().to_lowercase();
        let now = self.clock.now();
        let room = self.attempts.names.has_room(&name, now)
            && origin.is_none_or(|it| self.attempts.origins.has_room(&it, now));
        if !room {
            return Err(AccountError::TooOften);
        }
        let wanted = name.clone();
        let read = move |tables: &freehold_store::Tables| tables.login(&wanted);
        let row = self.tables.read(read).await?;
        let hash = row.as_ref().map(|it| it.password.clone());
        let right = self.passwords.verify(password, hash).await?;
        let local = row
            .filter(|_| right)
            .and_then(|it| <[u8; 8]>::try_from(&*it.user).ok());
        let Some(local) = local else {
            self.attempts.names.count(name, now);
            if let Some(origin) = origin {
                self.attempts.origins.count(origin, now);
            }
            return Err(AccountError::Wrong);
        };
        self.attempts.names.forget(&name);
        Ok(Proven {
            user: UserId::new(local, self.us.clone()),
            login: freehold_keys::random()?,
        })
    }

    /// The person whose token this is. Costs one read.
    pub async fn prove_by_token(&self, secret: &str) -> Result<Proven, AccountError> {
        let token = STANDARD.decode(secret).map_err(|_| AccountError::Wrong)?;
        let now = self.clock.now();
        let grant = self.tokens.check(&token, now).ok_or(AccountError::Wrong)?;
        match self.account(&grant.user).await {
            Ok(row) if takes(&row, &grant) => Ok(Proven {
                user: grant.user,
                login: grant.login,
            }),
            Ok(_) | Err(AccountError::NotFound) => Err(AccountError::Wrong),
            Err(fault) => Err(fault),
        }
    }

    /// What somebody may do now, with a token for it; refuses accounts that are out of use.
    pub fn admit(&self, proven: &Proven, row: &AccountRow) -> Result<Admission, AccountError> {
        State::of(row).admit()?;
        let missing = missing_credentials(row, &self.rules.required_credentials);
        let level = level_of(row);
        let grant = Grant {
            user: proven.user.clone(),
            level,
            generation: row.generation,
            login: proven.login,
            unconfirmed: !missing.is_empty(),
        };
        let (token, expires) = self.tokens.issue(&grant, self.clock.now());
        Ok(Admission {
            caller: Caller {
                user: proven.user.clone(),
                level,
                login: proven.login,
                admin: (level == Level::Root).then(|| proven.user.clone()),
            },
            missing,
            token,
            expires,
        })
    }
}
