//! Coming in: name and password or a token, and what must be confirmed before.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::{Timestamp, UserId};
use freehold_store::tables::rows::{AccountRow, LoginRow};

use super::{
    AccountError, Caller, Level,
    access::{State, level_of, missing_credentials, takes},
    attempts::Origin,
    canonical_login,
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
        let now = self.clock.now();
        let Ok(name) = canonical_login(name) else {
            // Nobody can have it. It is not counted by name: what is counted takes memory.
            return self.refuse_impossible(password, origin).await;
        };
        let room = self.attempts.names.has_room(&name, now)
            && origin.is_none_or(|it| self.attempts.origins.has_room(&it, now));
        if !room {
            return Err(AccountError::TooOften);
        }
        let wanted = name.clone();
        let read = move |tables: &freehold_store::Tables| tables.login(&wanted);
        let row = self.tables.read(read).await?;
        // A name without a password is one that a service outside gave.
        let row = row.filter(|it| !it.password.is_empty());
        let proven = match row {
            Some(row) => self.prove_here(&row, password).await,
            None => self.prove_elsewhere(&name, password).await,
        };
        if let Err(AccountError::Wrong) = proven {
            self.attempts.names.count(name.clone(), now);
            if let Some(origin) = origin {
                self.attempts.origins.count(origin, now);
            }
        } else if proven.is_ok() {
            self.attempts.names.forget(&name);
        }
        proven
    }

    /// Refuses a name that nobody can have, in the time that a wrong password takes.
    async fn refuse_impossible(
        &self,
        password: String,
        origin: Option<Origin>,
    ) -> Result<Proven, AccountError> {
        let now = self.clock.now();
        if !origin.is_none_or(|it| self.attempts.origins.has_room(&it, now)) {
            return Err(AccountError::TooOften);
        }
        let _never = self.passwords.verify(password, None).await?;
        if let Some(origin) = origin {
            self.attempts.origins.count(origin, now);
        }
        Err(AccountError::Wrong)
    }

    async fn prove_here(&self, row: &LoginRow, password: String) -> Result<Proven, AccountError> {
        let hash = Some(row.password.clone());
        let right = self.passwords.verify(password, hash).await?;
        let local = <[u8; 8]>::try_from(&*row.user).ok().filter(|_| right);
        Ok(Proven {
            user: UserId::new(local.ok_or(AccountError::Wrong)?, self.us.clone()),
            login: freehold_keys::random()?,
        })
    }

    /// Nobody here has that name and a password. Without a service this takes as long as if somebody
    /// had.
    async fn prove_elsewhere(&self, name: &str, password: String) -> Result<Proven, AccountError> {
        match self.prove_password_by_service(name, &password).await {
            Err(AccountError::Wrong) => {
                let _never = self.passwords.verify(password, None).await?;
                Err(AccountError::Wrong)
            }
            other => other,
        }
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

    /// Whoever shows this token, if they may do something: for requests outside of a session, such as
    /// those for files.
    pub async fn caller_by_token(&self, secret: &str) -> Result<Caller, AccountError> {
        let proven = self.prove_by_token(secret).await?;
        self.caller_of(&proven).await
    }

    /// The same for a name and a password.
    pub async fn caller_by_password(
        &self,
        login: &str,
        password: String,
        origin: Option<Origin>,
    ) -> Result<Caller, AccountError> {
        let proven = self.prove_by_password(login, password, origin).await?;
        self.caller_of(&proven).await
    }

    /// Whether what somebody was admitted to still holds. Whoever suspends an account or ends its log-ins
    /// puts out the sessions that are registered; so a session registers first, and asks this then.
    pub async fn still_admits(&self, admission: &Admission) -> Result<(), AccountError> {
        let row = match self.account(&admission.caller.user).await {
            Err(AccountError::NotFound) => return Err(AccountError::Wrong),
            row => row?,
        };
        State::of(&row).admit()?;
        let grant = STANDARD.decode(&admission.token).ok();
        let grant = grant.and_then(|it| self.tokens.check(&it, self.clock.now()));
        match grant {
            Some(grant) if takes(&row, &grant) => Ok(()),
            _ => Err(AccountError::Wrong),
        }
    }

    async fn caller_of(&self, proven: &Proven) -> Result<Caller, AccountError> {
        let row = self.account(&proven.user).await?;
        let admission = self.admit(proven, &row)?;
        if admission.missing.is_empty() {
            Ok(admission.caller)
        } else {
            Err(AccountError::Wrong)
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
                generation: row.generation,
                admin: (level == Level::Root).then(|| proven.user.clone()),
            },
            missing,
            token,
            expires,
        })
    }
}
