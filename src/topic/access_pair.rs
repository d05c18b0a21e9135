//! Who may do what in a topic between two people: opening it, changing access, leaving.

use freehold_proto::AccessMode;
use freehold_store::Batch;
use serde_json::json;

use super::{
    actor::{Actor, Effect},
    asked::{Asked, acs},
    standing::AccessChange,
};
use crate::edge::{
    reply::{self, Reply},
    requests::{GetQuery, SetDesc, SetQuery, SetSub},
};

impl Actor {
    pub(super) async fn subscribe_pair(
        &mut self,
        asked: &Asked,
        set: &SetQuery,
        get: &GetQuery,
    ) -> Result<(), Reply> {
        let now = self.now();
        let mode = set
            .sub
            .as_ref()
            .and_then(|it| it.mode.as_deref())
            .unwrap_or_default();
        let changes = match self.pair().person(&asked.user).active() {
            None => self.open(asked, mode, set.desc.as_ref()).await?,
            Some(standing) => {
                // Who had banned himself and comes back wants again what he is given.
                let back = if standing.want.has(AccessMode::JOIN) {
                    String::new()
                } else {
                    standing.given.to_string()
                };
                let mode = if mode.is_empty() { &back } else { mode };
                self.pair_mut()
                    .want(&asked.user, mode, now)?
                    .into_iter()
                    .collect()
            }
        };
        let standing = self
            .pair()
            .person(&asked.user)
            .active()
            .ok_or(reply::INTERNAL)?;
        if !standing.mode().has(AccessMode::JOIN) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        if let Some(private) = set.desc.as_ref().and_then(|it| it.private.as_ref()) {
            let merged = self.annotated(&standing.private, private)?;
            self.topic.annotate(&asked.user, merged, now)?;
        }
        // COMPAT stock clients: 200 to a repeated {sub}, never 304 (fact sheet, section 9.2).
        self.attach(&asked.session, &asked.user);
        let mine = changes.iter().find(|it| it.user == asked.user);
        let answer = match mine {
            Some(change) => Reply::with(reply::OK, json!({ "acs": acs(change) })),
            None => reply::OK.into(),
        };
        let mut frames = vec![answer.into_frame(asked.id.clone(), Some(asked.name.clone()), now)];
        if !get.what.is_empty() {
            frames.extend(self.query(asked, get).await?);
        }
        let mut effects = vec![Effect::Reply(asked.session.clone(), frames)];
        let mut batch = Batch::new();
        self.after_changes(&mut batch, &mut effects, changes, asked)
            .await?;
        self.commit_all(batch, effects);
        Ok(())
    }

    /// Opens the topic for somebody who does not stand in it.
    async fn open(
        &mut self,
        asked: &Asked,
        mode: &str,
        desc: Option<&SetDesc>,
    ) -> Result<Vec<AccessChange>, Reply> {
        let now = self.now();
        let other = self.pair().other(&asked.user).id.clone();
        let own = self
            .server
            .profile(&asked.user)
            .await?
            .ok_or(reply::USER_NOT_FOUND)?;
        let theirs = match self.server.profile(&other).await? {
            Some(profile) => profile.access_for(asked.level),
            // Of somebody elsewhere we may know nothing yet; their domain will say.
            None if !self.server.ids.is_ours(&other) => AccessMode::ONE_TO_ONE,
            None => return Err(reply::USER_NOT_FOUND.into()),
        };
        let parse = |text: &str| text.parse::<AccessMode>().map_err(|_| reply::MALFORMED);
        let mode = (!mode.is_empty()).then(|| parse(mode)).transpose()?;
        let grant = desc
            .and_then(|it| it.defacs.as_ref())
            .and_then(|it| it.auth.as_deref())
            .filter(|it| !it.is_empty());
        let grant = grant.map(parse).transpose()?.unwrap_or(own.access);
        Ok(self
            .pair_mut()
            .subscribe(&asked.user, mode, grant, theirs, now)?)
    }

    /// Adds what follows from changes of access: notices here, and the news to the other domain.
    async fn after_changes(
        &mut self,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
        changes: Vec<AccessChange>,
        asked: &Asked,
    ) -> Result<(), Reply> {
        if changes.is_empty() {
            return Ok(());
        }
        let accepted = changes.iter().any(|it| {
            it.user == asked.user
                && !it.fresh
                && it.want.1.without(it.want.0).has(AccessMode::WRITE)
        });
        let blocks = |it: &AccessChange| it.user == asked.user && !it.want.1.has(AccessMode::JOIN);
        let known = !changes.iter().any(blocks)
            && self
                .pair()
                .person(&asked.user)
                .standing
                .as_ref()
                .is_some_and(|it| it.announced);
        if accepted || known {
            self.relate_out(batch, effects, &asked.user).await?;
        }
        if accepted {
            // What was received and read before was nobody's business until now.
            self.cursor_out(batch, effects, &asked.user).await?;
            effects.push(Effect::Greet(asked.user.clone()));
        }
        let put_out = self.put_out_of_pair(&changes);
        let except = Some(asked.session.clone());
        effects.extend(
            changes
                .into_iter()
                .map(|it| Effect::Access(it, except.clone())),
        );
        effects.extend(put_out);
        Ok(())
    }

    /// Detaches those of our people whom the other one does not let join any more, as a group would.
    pub(super) fn put_out_of_pair(&mut self, changes: &[AccessChange]) -> Vec<Effect> {
        let mut effects = Vec::new();
        let loses = |it: &&AccessChange| it.given.0.without(it.given.1).has(AccessMode::JOIN);
        for change in changes.iter().filter(loses) {
            if self.attached.of(&change.user).is_empty() {
                continue;
            }
            let sessions = self.put_out(&change.user);
            sessions.iter().for_each(|it| self.lose_call(&it.session));
            effects.push(Effect::Evicted {
                user: change.user.clone(),
                sessions,
                gone: false,
                except: None,
            });
        }
        effects
    }

    pub(super) async fn set_access_pair(
        &mut self,
        asked: &Asked,
        sub: &SetSub,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let now = self.now();
        let mode = sub.mode.as_deref().unwrap_or_default();
        let whose = match sub.user.as_deref().filter(|it| !it.is_empty()) {
            Some(text) => self
                .server
                .ids
                .read(text)
                .map_err(|_| reply::USER_NOT_FOUND)?,
            None => asked.user.clone(),
        };
        let own = whose == asked.user;
        let change = if own {
            self.pair_mut().want(&asked.user, mode, now)?
        } else if whose == self.pair().other(&asked.user).id {
            if !self.is_attached(&asked.session) {
                return Err(reply::ATTACH_FIRST.into());
            }
            self.pair_mut().grant(&asked.user, mode, now)?
        } else {
            return Err(reply::USER_NOT_FOUND.into());
        };
        let Some(change) = change else {
            effects.push(asked.later(reply::NOT_MODIFIED, now));
            return Ok(());
        };
        let mut params = json!({ "acs": acs(&change) });
        if !own {
            params["user"] = self.server.ids.shown(&whose).into();
        }
        effects.push(asked.later(Reply::with(reply::OK, params), now));
        self.after_changes(batch, effects, vec![change], asked)
            .await
    }

    pub(super) async fn unsubscribe_pair(&mut self, asked: &Asked) -> Result<(), Reply> {
        let now = self.now();
        self.pair_mut().leave(&asked.user, now)?;
        // When both have left, nobody can read any more what they wrote.
        let (batch, left) = match self.pair().is_deserted() {
            true => self.begin_emptying(&asked.user).await?,
            false => (Batch::new(), Vec::new()),
        };
        let sessions = self.attached.remove_all(&asked.user);
        for session in &sessions {
            session.detach(self.key());
            self.lose_call(session);
        }
        let others = sessions.iter().filter(|it| **it != asked.session);
        let evicted = Reply::with(reply::EVICTED, json!({ "unsub": true }));
        let name = self.view(&asked.user);
        let mut effects = vec![asked.later(reply::OK, now)];
        effects.extend(others.map(|session| {
            Effect::Reply(
                session.clone(),
                vec![evicted.clone().into_frame(None, Some(name.clone()), now)],
            )
        }));
        effects.push(Effect::Left(asked.user.clone(), asked.session.clone()));
        self.commit_all(batch, effects);
        self.delete_spans(&asked.user, true, left).await.map(drop)
    }
}
