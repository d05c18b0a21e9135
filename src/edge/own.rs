//! What people change about themselves: on the topic `me`, and by `{del}` of a credential or of the
//! account.

use super::{
    connection::Connection,
    reply,
    reply::Reply,
    requests::{Credential, Del, Set},
};
use crate::{
    accounts::{AccountError, Caller, credentials::Wanted, erasure},
    me,
};

impl Connection {
    /// `{set me}`: each part that is there is made and answered. The first that is refused ends it.
    pub(super) async fn set_me(&self, caller: &Caller, set: Set) -> Result<(), Reply> {
        let query = set.query;
        if query.aux.is_some() {
            return Err(reply::NOT_ALLOWED.into());
        }
        if query.desc.is_none()
            && query.sub.is_none()
            && query.tags.is_none()
            && query.cred.is_none()
        {
            return Err(reply::MALFORMED.into());
        }
        let answer = |reply: Reply| self.answer(set.id.as_deref(), Some("me"), reply);
        if let Some(desc) = &query.desc {
            answer(me::set_description(&self.server, caller, &self.session, desc).await?);
        }
        if let Some(sub) = &query.sub {
            // Nobody else stands in it.
            if sub.user.as_deref().is_some_and(|it| !it.is_empty()) {
                return Err(reply::MALFORMED.into());
            }
            let mode = sub.mode.as_deref().unwrap_or_default();
            answer(me::set_own_mode(&self.server, &caller.user, &self.session, mode).await?);
        }
        if let Some(tags) = &query.tags {
            answer(me::set_tags(&self.server, &caller.user, &self.session, tags).await?);
        }
        if let Some(cred) = &query.cred {
            answer(self.set_credential(caller, cred).await?);
        }
        Ok(())
    }

    async fn set_credential(&self, caller: &Caller, cred: &Credential) -> Result<Reply, Reply> {
        let (server, user) = (&self.server, &caller.user);
        if cred.resp.is_empty() {
            let wanted = Wanted::read(&cred.meth, &cred.val)?;
            let origin = self.session.origin();
            server.add_credential(user, &wanted, origin).await?;
        } else {
            let named = (cred.meth.as_str(), cred.val.as_str());
            server.confirm_credential(user, named, &cred.resp).await?;
            me::tell_tags(server, user, &self.session);
        }
        Ok(reply::OK.into())
    }

    /// `{del what:"cred"}`
    pub(super) async fn del_credential(&self, caller: &Caller, del: &Del) -> Result<(), Reply> {
        if del.topic != "me" && !del.topic.is_empty() {
            return Err(reply::NOT_ALLOWED.into());
        }
        let cred = del.cred.as_ref().ok_or(reply::MALFORMED)?;
        if cred.meth.is_empty() || cred.val.is_empty() {
            return Err(reply::MALFORMED.into());
        }
        let named = (cred.meth.as_str(), cred.val.as_str());
        let removed = self.server.remove_credential(&caller.user, named).await?;
        if removed {
            me::tell_tags(&self.server, &caller.user, &self.session);
        }
        let status = if removed { reply::OK } else { reply::NO_ACTION };
        self.answer(del.id.as_deref(), Some("me"), status);
        Ok(())
    }

    /// `{del what:"user"}`: the account goes, and with it this session, if it is one's own.
    pub(super) async fn del_user(&mut self, caller: &Caller, del: &Del) -> Result<(), Reply> {
        let user = match del.user.as_str() {
            "" => caller.user.clone(),
            text => self
                .server
                .ids
                .read(text)
                .map_err(|_| reply::USER_NOT_FOUND)?,
        };
        let own = self.caller.as_ref().is_some_and(|it| it.user == user);
        let admin = caller.admin.as_ref().filter(|_| !own);
        if !own && admin.is_none() {
            return Err(reply::PERMISSION_DENIED.into());
        }
        if !self.server.ids.is_ours(&user) {
            return Err(AccountError::NotFound.into());
        }
        erasure::erase(&self.server, &user, admin, Some(&self.session)).await?;
        self.answer(del.id.as_deref(), None, reply::OK);
        if own {
            self.server.sessions.leave(&user, &self.session);
            self.session.close();
        }
        Ok(())
    }
}
