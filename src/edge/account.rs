//! `{acc}`: making an account and changing one (fact sheet, sections 6.3 and 6.4).

use bytes::Bytes;
use freehold_proto::{AccessMode, Timestamp, UserId};
use serde_json::{Value, json};

use super::{
    connection::Connection,
    entry::{basic_secret, secret_text},
    reply,
    reply::Reply,
    requests::{Acc, Credential, SetDesc},
};
use crate::{
    accounts::{
        AccountError, Caller, Level,
        access::{State, missing_credentials},
        credentials::{CREDENTIALS_MAX, Wanted},
        entry::Proven,
        registration::{INVITE, NewAccount, invitation_of},
        tags,
    },
    me, merge,
};

impl Connection {
    pub(super) async fn acc(&mut self, acc: Acc) -> Result<(), Reply> {
        if acc.user.starts_with("new") {
            return self.create(&acc).await;
        }
        let changed = match self.caller.clone() {
            Some(caller) => self.change(&caller, &acc).await?,
            None if acc.tmpscheme.is_empty() => return Err(reply::AUTH_REQUIRED.into()),
            None => self.reset(&acc).await?,
        };
        self.answer(acc.id.as_deref(), None, changed);
        Ok(())
    }

    async fn create(&mut self, acc: &Acc) -> Result<(), Reply> {
        if acc.login && self.caller.is_some() {
            return Err(reply::ALREADY_AUTHENTICATED.into());
        }
        let by_root = self.caller.as_ref().and_then(|it| it.admin.clone());
        let (new, invitation) = self.new_account(acc, by_root.is_some())?;
        self.require_credentials(&new, by_root.is_some())?;
        let origin = self.session.origin();
        let permit = self
            .server
            .permit(invitation.as_deref(), by_root.is_some(), origin)
            .await?;
        let (user, row) = self.server.create_account(new, permit).await?;
        if let Some(root) = &by_root {
            self.server.audit_now(root, &user, "create").await?;
        }
        let open: Vec<String> = row.credentials.iter().map(|it| it.method.clone()).collect();
        let sent = self.server.remind(&user, &row, &open, origin).await;
        self.note_unsent(sent);
        let desc = me::description(&row, Timestamp::EPOCH);
        let mut params = json!({ "desc": desc });
        let answer = if acc.login {
            let login = freehold_keys::random().map_err(|_| reply::INTERNAL)?;
            // Who waits for approval has an account now, but does not come in.
            let admission = self.server.admit(&Proven { user, login }, &row)?;
            self.enter(admission, params).await?
        } else {
            params["user"] = self.server.ids.shown(&user).into();
            params["authlvl"] = crate::accounts::access::level_of(&row).as_str().into();
            if State::of(&row) != State::Ok {
                params["state"] = State::of(&row).as_str().into();
            }
            Reply::with(reply::CREATED, params)
        };
        self.answer(acc.id.as_deref(), None, answer);
        Ok(())
    }

    /// What is asked for, checked as far as it can be without the store; and the invitation.
    fn new_account(&self, acc: &Acc, by_root: bool) -> Result<(NewAccount, Option<String>), Reply> {
        let mut new = NewAccount::default();
        let mut invitation = None;
        match acc.scheme.as_str() {
            "basic" => {
                let (login, password) = basic_secret(&acc.secret)?;
                let (name, code) = invitation_of(&login);
                invitation = code.map(str::to_owned);
                new.way_in = Some((name.to_owned(), password));
            }
            "anonymous" if self.server.rules.anonymous && acc.login => new.level = Level::Anonymous,
            "anonymous" => return Err(reply::PERMISSION_DENIED.into()),
            _ => return Err(reply::UNKNOWN_SCHEME.into()),
        }
        new.level = match acc.authlevel.as_str() {
            "" | "auth" | "anon" => new.level,
            "root" if by_root && new.level == Level::Authenticated => Level::Root,
            "root" => return Err(reply::PERMISSION_DENIED.into()),
            _ => return Err(reply::MALFORMED.into()),
        };
        if let Some(desc) = &acc.desc {
            self.describe_new(&mut new, desc)?;
        }
        new.tags = tags::checked(&acc.tags, tags::Kind::Account).map_err(AccountError::from)?;
        let (invitations, others): (Vec<_>, Vec<_>) =
            acc.cred.iter().partition(|it| it.meth == INVITE);
        if let Some(typed) = invitations.first() {
            let code = [&typed.resp, &typed.val]
                .into_iter()
                .find(|it| !it.is_empty());
            invitation = code.cloned().or(invitation);
        }
        new.credentials = wanted(&others)?;
        Ok((new, invitation))
    }

    fn describe_new(&self, new: &mut NewAccount, desc: &SetDesc) -> Result<(), Reply> {
        if desc.trusted.is_some() {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let part = |value: Option<&Value>| {
            value
                .map(|it| merge::into_stored(&Bytes::new(), it))
                .unwrap_or_default()
        };
        (new.public, new.private) = (part(desc.public.as_ref()), part(desc.private.as_ref()));
        if !self.server.fits_description(&new.public) || !self.server.fits_description(&new.private)
        {
            return Err(reply::TOO_LARGE.into());
        }
        if let Some(access) = &desc.defacs {
            let changed = |before: AccessMode, by: &Option<String>| {
                before.changed_by(by.as_deref().unwrap_or_default())
            };
            new.access.0 = changed(new.access.0, &access.auth).map_err(|_| reply::MALFORMED)?;
            new.access.1 = changed(new.access.1, &access.anon).map_err(|_| reply::MALFORMED)?;
        }
        Ok(())
    }

    /// Refuses an account without an address that must be confirmed.
    fn require_credentials(&self, new: &NewAccount, by_root: bool) -> Result<(), Reply> {
        if new.level == Level::Anonymous || by_root {
            return Ok(());
        }
        let mut missing =
            missing_credentials(&Default::default(), &self.server.rules.required_credentials);
        missing.retain(|method| !new.credentials.iter().any(|it| it.method == *method));
        match missing.is_empty() {
            true => Ok(()),
            false => Err(AccountError::CredentialRequired(missing).into()),
        }
    }

    /// Changes one's own account or, as an administrator, another.
    async fn change(&self, caller: &Caller, acc: &Acc) -> Result<Reply, Reply> {
        let user = match acc.user.as_str() {
            "" => caller.user.clone(),
            text => self
                .server
                .ids
                .read(text)
                .map_err(|_| reply::USER_NOT_FOUND)?,
        };
        let own = user == caller.user;
        if !own && caller.admin.is_none() {
            return Err(reply::PERMISSION_DENIED.into());
        }
        if !self.server.ids.is_ours(&user) {
            return Err(reply::USER_NOT_FOUND.into());
        }
        if !acc.status.is_empty() {
            return self.change_state(caller, &user, &acc.status).await;
        }
        match acc.scheme.as_str() {
            "" => Err(reply::MALFORMED.into()),
            "basic" => self.change_secret(caller, &user, &acc.secret).await,
            _ => Err(reply::UNKNOWN_SCHEME.into()),
        }
    }

    async fn change_state(
        &self,
        caller: &Caller,
        user: &UserId,
        status: &str,
    ) -> Result<Reply, Reply> {
        let admin = caller.admin.as_ref().ok_or(reply::PERMISSION_DENIED)?;
        let state = State::asked(status).ok_or(reply::MALFORMED)?;
        // Nobody locks themselves out.
        if user == admin {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let changed = self
            .server
            .set_state(&admin.to_string(), user, state)
            .await?;
        Ok(if changed {
            reply::OK.into()
        } else {
            reply::NOT_MODIFIED.into()
        })
    }

    async fn change_secret(
        &self,
        caller: &Caller,
        user: &UserId,
        secret: &str,
    ) -> Result<Reply, Reply> {
        let (login, password) = basic_secret(secret)?;
        let own = *user == caller.user;
        if own && caller.level == Level::Anonymous {
            // It becomes a usual account, so the usual rules hold.
            let origin = self.session.origin();
            let free = self.server.permit(None, false, origin).await?;
            if !matches!(free, crate::accounts::registration::Permit::Free) {
                return Err(AccountError::Closed.into());
            }
        }
        if let Some(admin) = caller.admin.as_ref().filter(|_| !own) {
            self.server.audit_now(admin, user, "secret").await?;
        }
        let spared = own.then_some(caller.login);
        self.server
            .change_secret(user, (&login, password), spared)
            .await?;
        let except = own.then_some(&self.session);
        self.server.sessions.evict(user, except, self.now());
        if own {
            // All devices were forgotten, this one too.
            self.keep_device().await;
        }
        Ok(reply::OK.into())
    }

    /// Sets a new password by a code that was sent.
    async fn reset(&self, acc: &Acc) -> Result<Reply, Reply> {
        if acc.tmpscheme != "code" || acc.scheme != "basic" {
            return Err(reply::UNKNOWN_SCHEME.into());
        }
        let proof = secret_text(&acc.tmpsecret)?;
        let mut parts = proof.splitn(3, ':');
        let (Some(code), Some(method), Some(value)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(reply::MALFORMED.into());
        };
        let (login, password) = basic_secret(&acc.secret)?;
        let origin = self.session.origin();
        let user = self
            .server
            .reset((code, method, value), (&login, password), origin)
            .await?;
        self.server.sessions.evict(&user, None, self.now());
        Ok(Reply::with(
            reply::OK,
            json!({"user": self.server.ids.shown(&user)}),
        ))
    }
}

/// The credentials of a new account.
fn wanted(creds: &[&Credential]) -> Result<Vec<Wanted>, Reply> {
    if creds.len() > CREDENTIALS_MAX {
        return Err(AccountError::CredentialsTooMany.into());
    }
    let mut all: Vec<Wanted> = Vec::new();
    for cred in creds {
        // COMPAT web app: it sends an e-mail credential whose value may be missing.
        if cred.meth.is_empty() || cred.val.is_empty() {
            continue;
        }
        let one = Wanted::read(&cred.meth, &cred.val)?;
        all.retain(|it| it.method != one.method);
        all.push(one);
    }
    Ok(all)
}
