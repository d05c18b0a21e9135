//! Coming in: the handshake and logging in (fact sheet, sections 1.5 and 6).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    connection::Connection,
    hello, reply,
    reply::Reply,
    requests::{Credential, Hi, Login},
};
use crate::{
    accounts::{
        AccountError,
        credentials::{CREDENTIALS_MAX, Wanted},
        entry::{Admission, Proven},
    },
    me, push,
};

/// Longest name of a device that is looked at, in bytes.
const DEVICE_BYTES_MAX: usize = 4096;

impl Connection {
    pub(super) async fn hi(&mut self, hi: Hi) -> Result<(), Reply> {
        let again = self.version;
        if hi.ver.is_empty() && again.is_some() {
            // An update of device or language; of the language nothing depends here.
            self.caller.as_ref().ok_or(reply::AUTH_REQUIRED)?;
            self.change_device(&hi.dev).await;
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
        self.change_device(&hi.dev).await;
        let mut params = hello::params(&self.server.rules, self.now());
        // An extension: with it a browser subscribes to pushes.
        if let Some(key) = self.server.push.as_ref().and_then(|it| it.vapid()) {
            params["vapid"] = key.into();
        }
        let answer = Reply::with(self.welcome, params);
        self.answer(hi.id.as_deref(), None, answer);
        Ok(())
    }

    pub(super) async fn login(&mut self, login: Login) -> Result<(), Reply> {
        if login.scheme == "reset" {
            return self.begin_reset(&login);
        }
        let proven = self.prove(&login.scheme, &login.secret).await?;
        // COMPAT web app: it takes any error below 500 for a lost log-in, so the same person may log
        // in again.
        if self
            .caller
            .as_ref()
            .is_some_and(|it| it.user != proven.user)
        {
            return Err(reply::ALREADY_AUTHENTICATED.into());
        }
        let admission = self.admit(&proven, &login.cred).await?;
        let answer = self.enter(admission, json!({})).await?;
        self.answer(login.id.as_deref(), None, answer);
        Ok(())
    }

    async fn prove(&self, scheme: &str, secret: &str) -> Result<Proven, Reply> {
        let proven = match scheme {
            "basic" => {
                let (name, password) = basic_secret(secret)?;
                let origin = self.session.origin();
                self.server.prove_by_password(&name, password, origin).await
            }
            "token" => self.server.prove_by_token(secret).await,
            "rest" => {
                let origin = self.session.origin();
                self.server.prove_by_service(secret, origin).await
            }
            // They make or change accounts, but nobody comes in with them.
            "anonymous" | "code" => Err(AccountError::Wrong),
            _ => return Err(reply::UNKNOWN_SCHEME.into()),
        };
        Ok(proven?)
    }

    /// Confirms what is to be confirmed, and says what the person may do then.
    async fn admit(&self, proven: &Proven, creds: &[Credential]) -> Result<Admission, Reply> {
        if creds.len() > CREDENTIALS_MAX {
            return Err(AccountError::CredentialsTooMany.into());
        }
        let (server, origin) = (&self.server, self.session.origin());
        let row = server.account(&proven.user).await?;
        // Nobody who may not come in changes anything.
        server.admit(proven, &row)?;
        for cred in creds {
            if cred.resp.is_empty() {
                let wanted = Wanted::read(&cred.meth, &cred.val)?;
                server.add_credential(&proven.user, &wanted, origin).await?;
            } else {
                let named = (cred.meth.as_str(), cred.val.as_str());
                server
                    .confirm_credential(&proven.user, named, &cred.resp)
                    .await?;
            }
        }
        let row = server.account(&proven.user).await?;
        let admission = server.admit(proven, &row)?;
        if !admission.missing.is_empty() {
            let sent = server.remind(&proven.user, &row, &admission.missing, origin);
            self.note_unsent(sent.await);
        }
        Ok(admission)
    }

    /// A mail that cannot be sent now does not stop what it belongs to: it can be asked for again.
    pub(super) fn note_unsent(&self, sent: Result<(), AccountError>) {
        if let Err(fault) = sent {
            tracing::info!(session = self.session.id(), %fault, "a code was not sent");
        }
    }

    /// Lets somebody in, or as far as confirming; the answer, with what else goes into it.
    pub(super) async fn enter(
        &mut self,
        admission: Admission,
        mut params: Value,
    ) -> Result<Reply, Reply> {
        if admission.missing.is_empty() {
            self.register(&admission).await?;
        }
        let Admission {
            caller,
            missing,
            token,
            expires,
        } = admission;
        params["user"] = self.server.ids.shown(&caller.user).into();
        params["authlvl"] = caller.level.as_str().into();
        params["token"] = token.into();
        params["expires"] = expires.to_string().into();
        if !missing.is_empty() {
            params["cred"] = missing.into();
            return Ok(Reply::with(reply::VALIDATE_CREDENTIALS, params));
        }
        if self.session.background() && self.caller.is_none() {
            let (server, session) = (Arc::clone(&self.server), self.session.clone());
            self.beside(me::come_forward(server, caller.user.clone(), session));
        }
        self.caller = Some(caller);
        self.keep_device().await;
        Ok(Reply::with(reply::OK, params))
    }

    /// The client names its device, or says that it is to have no pushes any more.
    async fn change_device(&self, named: &str) {
        if named.is_empty() || self.server.push.is_none() || named.len() > DEVICE_BYTES_MAX {
            return;
        }
        let now = (named != push::NONE).then(|| push::spelled(named.to_owned()));
        let before = self.session.set_device(now.clone());
        if let (Some(before), Some(caller)) = (before, &self.caller)
            && now.as_ref() != Some(&before)
            && let Err(fault) = self.server.forget_device(&caller.user, &before).await
        {
            tracing::warn!(%fault, "a device could not be forgotten");
        }
        self.keep_device().await;
    }

    /// Whoever has logged in gets pushes on the device from then on. That it cannot be written down keeps nobody
    /// out.
    pub(super) async fn keep_device(&self) {
        if let Some(caller) = &self.caller
            && let Err(fault) = self.server.keep_device(caller, &self.session).await
        {
            tracing::warn!(%fault, "a device could not be kept");
        }
    }

    /// Puts the session among those that can be put out, and lets in nobody who was suspended meanwhile.
    async fn register(&self, admission: &Admission) -> Result<(), Reply> {
        let user = &admission.caller.user;
        self.server.sessions.enter(user, &self.session);
        let admitted = self.server.still_admits(admission).await;
        if admitted.is_err() && self.caller.is_none() {
            self.server.sessions.leave(user, &self.session);
        }
        Ok(admitted?)
    }

    /// Answers alike and at once whether there is anybody or not; what there is to do is done beside.
    fn begin_reset(&self, login: &Login) -> Result<(), Reply> {
        let text = secret_text(&login.secret)?;
        let mut parts = text.splitn(3, ':');
        let (scheme, method, value) = (parts.next(), parts.next(), parts.next());
        let (Some("basic"), Some(method), Some(value)) = (scheme, method, value) else {
            return Err(reply::MALFORMED.into());
        };
        let wanted = Wanted::read(method, value)?;
        let (server, origin) = (Arc::clone(&self.server), self.session.origin());
        let place = Arc::clone(&server.attempts.resets).try_acquire_owned();
        self.beside(async move {
            let Ok(_place) = place else {
                return tracing::info!("too many new passwords are asked for at once");
            };
            if let Err(fault) = server.begin_reset(&wanted, origin).await {
                tracing::info!(%fault, "a code for a new password was not sent");
            }
        });
        self.answer(login.id.as_deref(), None, reply::AUTH_RESET);
        Ok(())
    }
}

/// The text in a secret.
pub(super) fn secret_text(secret: &str) -> Result<String, Reply> {
    let text = STANDARD
        .decode(secret)
        .ok()
        .and_then(|it| String::from_utf8(it).ok());
    Ok(text.ok_or(reply::MALFORMED)?)
}

/// `login:password` in base64.
pub(super) fn basic_secret(secret: &str) -> Result<(String, String), Reply> {
    let text = secret_text(secret)?;
    let (login, password) = text.split_once(':').ok_or(reply::MALFORMED)?;
    Ok((login.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        accounts::{
            access::State,
            admin::OPERATOR,
            registration::{NewAccount, Permit},
        },
        edge::{encoding::Encoding, session::Session},
        stage::Stage,
    };

    #[tokio::test]
    async fn whoever_is_suspended_or_gets_another_password_while_coming_in_does_not_stay() {
        let stage = Stage::new().await;
        let server = &stage.server;
        let new = NewAccount {
            way_in: Some(("ann".to_owned(), "secret of ann".to_owned())),
            ..NewAccount::default()
        };
        let (ann, _) = server.create_account(new, Permit::Free).await.unwrap();
        for code in [401, 403] {
            let (session, _queue) = Session::new(Encoding::Json, CancellationToken::new());
            let mut connection = Connection::new(Arc::clone(server), session);
            let password = "secret of ann".to_owned();
            let proven = server.prove_by_password("ann", password, None).await;
            let admission = connection.admit(&proven.unwrap(), &[]).await.unwrap();
            if code == 401 {
                let secret = ("", "secret of ann".to_owned());
                server.change_secret(&ann, secret, None).await.unwrap();
            } else {
                let done = server.set_state(OPERATOR, &ann, State::Suspended).await;
                assert!(done.unwrap());
            }
            let refusal = connection.enter(admission, json!({})).await.unwrap_err();
            assert_eq!(refusal.status.code, code);
            assert!(connection.caller.is_none());
        }
        stage.close().await;
    }

    #[tokio::test]
    async fn no_device_is_kept_after_a_new_password_for_a_log_in_that_it_ended() {
        let stage = Stage::with("[push]\nnode = \"http://127.0.0.1:9\"").await;
        let server = &stage.server;
        let new = NewAccount {
            way_in: Some(("ann".to_owned(), "secret of ann".to_owned())),
            ..NewAccount::default()
        };
        let (ann, _) = server.create_account(new, Permit::Free).await.unwrap();
        let mut callers = Vec::new();
        for device in ["thief", "owner"] {
            let (session, _queue) = Session::new(Encoding::Json, CancellationToken::new());
            session.set_device(Some(device.to_owned()));
            let password = "secret of ann".to_owned();
            let proven = server.prove_by_password("ann", password, None).await;
            let row = server.account(&ann).await.unwrap();
            let admission = server.admit(&proven.unwrap(), &row).unwrap();
            callers.push((admission.caller, session));
        }
        let spared = Some(callers[1].0.login);
        let secret = ("", "another secret".to_owned());
        server.change_secret(&ann, secret, spared).await.unwrap();
        for (caller, session) in &callers {
            server.keep_device(caller, session).await.unwrap();
        }
        let (owner, gone) = &callers[1];
        gone.set_device(Some("too-late".to_owned()));
        gone.close();
        server.keep_device(owner, gone).await.unwrap();
        let devices = server.tables.read(move |it| it.devices(&ann)).await;
        let devices = devices.unwrap().into_iter().map(|it| it.token);
        assert_eq!(devices.collect::<Vec<_>>(), ["owner"]);
        stage.close().await;
    }
}
