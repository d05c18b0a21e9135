//! Coming in: the handshake, making an account, logging in (fact sheet, sections 1.5 and 6).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::{Timestamp, UserId};
use freehold_store::tables::rows::CredentialRow;
use serde_json::{Value, json};

use super::{
    connection::Connection,
    hello, reply,
    reply::Reply,
    requests::{Acc, Credential, Hi, Login},
};
use crate::{
    accounts::{AccountError, Caller, Level, NewAccount},
    me, merge,
};

/// Credentials of one new account.
const CREDENTIALS_MAX: usize = 4;

impl Connection {
    pub(super) fn hi(&mut self, hi: Hi) -> Result<(), Reply> {
        let again = self.version;
        if hi.ver.is_empty() && again.is_some() {
            // An update of device or language: there is no push yet that would need them.
            self.caller.as_ref().ok_or(reply::AUTH_REQUIRED)?;
            self.answer(hi.id.as_deref(), None, reply::OK);
            return Ok(());
        }
        let version = hello::check_version(&hi.ver)?;
        if again.is_some_and(|it| it != version) {
            return Err(reply::OUT_OF_SEQUENCE.into());
        }
        self.version = Some(version);
        if again.is_none() {
            // Who is counted as here must not change while the session is on `me`.
            self.session.introduce(&hi.ua, hi.bkg);
        }
        let answer = Reply::with(self.welcome, hello::params(&self.server.rules));
        self.answer(hi.id.as_deref(), None, answer);
        Ok(())
    }

    pub(super) async fn acc(&mut self, acc: Acc) -> Result<(), Reply> {
        if !acc.user.starts_with("new") {
            return Err(match self.caller {
                // Changing an account is not built yet.
                Some(_) => reply::NOT_IMPLEMENTED.into(),
                None if !acc.tmpscheme.is_empty() => reply::NOT_IMPLEMENTED.into(),
                None => reply::AUTH_REQUIRED.into(),
            });
        }
        if acc.login && self.caller.is_some() {
            return Err(reply::ALREADY_AUTHENTICATED.into());
        }
        if !self.server.rules.registration_open {
            return Err(reply::PERMISSION_DENIED.into());
        }
        match acc.scheme.as_str() {
            "basic" => {}
            "anonymous" => return Err(reply::NOT_IMPLEMENTED.into()),
            _ => return Err(reply::UNKNOWN_SCHEME.into()),
        }
        if !acc.tags.is_empty() {
            return Err(reply::NOT_IMPLEMENTED.into());
        }
        let new = self.new_account(&acc)?;
        let user = self
            .server
            .create_account(new)
            .await
            .map_err(|it| self.account_refusal(it))?;
        let mut params = self.account_params(&user).await?;
        let status = if acc.login {
            self.log_in(&user, &mut params);
            reply::OK
        } else {
            reply::CREATED
        };
        self.answer(acc.id.as_deref(), None, Reply::with(status, params));
        Ok(())
    }

    fn new_account(&self, acc: &Acc) -> Result<NewAccount, Reply> {
        let (login, password) = basic_secret(&acc.secret)?;
        let part = |value: Option<&Value>| {
            value
                .map(|it| merge::into_stored(&bytes::Bytes::new(), it))
                .unwrap_or_default()
        };
        let desc = acc.desc.as_ref();
        let (public, private) = (
            part(desc.and_then(|it| it.public.as_ref())),
            part(desc.and_then(|it| it.private.as_ref())),
        );
        if !self.server.fits_description(&public) || !self.server.fits_description(&private) {
            return Err(reply::TOO_LARGE.into());
        }
        if acc.cred.len() > CREDENTIALS_MAX {
            return Err(reply::POLICY.into());
        }
        // Not confirmed: sending a code is not built yet.
        let credential = |it: &Credential| CredentialRow {
            method: it.meth.chars().take(16).collect(),
            value: it.val.chars().take(256).collect(),
            done: false,
        };
        Ok(NewAccount {
            login,
            password,
            public,
            private,
            credentials: acc.cred.iter().map(credential).collect(),
        })
    }

    fn account_refusal(&self, fault: AccountError) -> Reply {
        match fault {
            AccountError::Login(_) | AccountError::Password => {
                Reply::with(reply::POLICY, json!({"what": "auth"}))
            }
            AccountError::Taken(_) => {
                Reply::with(reply::DUPLICATE_CREDENTIAL, json!({"what": "auth"}))
            }
            AccountError::Wrong => reply::AUTH_FAILED.into(),
            AccountError::Store(fault) => fault.into(),
            AccountError::Internal(fault) => {
                tracing::error!(fault, "an account request failed");
                reply::INTERNAL.into()
            }
        }
    }

    async fn account_params(&self, user: &UserId) -> Result<Value, Reply> {
        let wanted = user.clone();
        let row = self
            .server
            .tables
            .read(move |tables| tables.account(&wanted))
            .await?;
        let desc = row.map(|it| me::description(&it, Timestamp::EPOCH));
        Ok(json!({"user": self.server.ids.shown(user), "authlvl": "auth", "desc": desc}))
    }

    fn log_in(&mut self, user: &UserId, params: &mut Value) {
        let (token, expires) = self.server.tokens.issue(user, self.now());
        params["token"] = token.into();
        params["expires"] = expires.to_string().into();
        self.caller = Some(Caller {
            user: user.clone(),
            level: Level::Authenticated,
        });
    }

    pub(super) async fn login(&mut self, login: Login) -> Result<(), Reply> {
        let user = match login.scheme.as_str() {
            "basic" => {
                let (name, password) = basic_secret(&login.secret)?;
                self.server
                    .enter(&name, password)
                    .await
                    .map_err(|it| self.account_refusal(it))?
            }
            "token" => {
                let token = STANDARD
                    .decode(&login.secret)
                    .map_err(|_| reply::AUTH_FAILED)?;
                let user = self
                    .server
                    .tokens
                    .check(&token, self.now())
                    .ok_or(reply::AUTH_FAILED)?;
                let wanted = user.clone();
                let row = self
                    .server
                    .tables
                    .read(move |tables| tables.account(&wanted))
                    .await?;
                row.map(|_| user).ok_or(reply::AUTH_FAILED)?
            }
            "reset" | "code" | "anonymous" => return Err(reply::NOT_IMPLEMENTED.into()),
            _ => return Err(reply::UNKNOWN_SCHEME.into()),
        };
        // COMPAT web app: it takes any error below 500 for a lost log-in, so the same person may log
        // in again.
        if self.caller.as_ref().is_some_and(|it| it.user != user) {
            return Err(reply::ALREADY_AUTHENTICATED.into());
        }
        let mut params = json!({"user": self.server.ids.shown(&user), "authlvl": "auth"});
        self.log_in(&user, &mut params);
        self.answer(login.id.as_deref(), None, Reply::with(reply::OK, params));
        Ok(())
    }
}

/// `login:password` in base64.
fn basic_secret(secret: &str) -> Result<(String, String), Reply> {
    let text = STANDARD
        .decode(secret)
        .ok()
        .and_then(|it| String::from_utf8(it).ok());
    let text = text.ok_or(reply::MALFORMED)?;
    let (login, password) = text.split_once(':').ok_or(reply::MALFORMED)?;
    Ok((login.to_owned(), password.to_owned()))
}
