//! Somebody of ours comes into a group whose home is another domain without having been asked in: the
//! home says whether they may, and they wait for it as for nothing else (rules.md 13).

use freehold_proto::{AccessMode, UserId, wire};
use freehold_store::Batch;
use tokio::time::sleep;
use wire::group_request::What;

use super::{
    Command,
    actor::{Actor, Effect},
    asked::Asked,
    hub::Hub,
};
use crate::{
    accounts::Level,
    edge::{
        reply::{self, Reply},
        requests::GetQuery,
    },
    server::REMOTE_WAIT,
};

/// People who wait at once to be let into one group.
const JOINING_MAX: usize = 64;

/// Somebody who waits for the home.
#[derive(Debug)]
pub(super) struct Joining {
    asked: Asked,
    /// What they want to do there; empty for what they are given.
    mode: String,
    get: GetQuery,
}

impl Actor {
    /// Asks the home to let somebody in, and answers when it has.
    pub(super) async fn ask_to_join(
        &mut self,
        asked: &Asked,
        mode: &str,
        get: &GetQuery,
    ) -> Result<(), Reply> {
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let former = room.members.get(&asked.user);
        let given = former.map_or(room.description.access_auth, |it| it.given);
        // The home would say the same, and knows no anonymous people of other domains.
        if !given.has(AccessMode::JOIN) || asked.level == Level::Anonymous {
            return Err(reply::PERMISSION_DENIED.into());
        }
        AccessMode::NONE
            .changed_by(mode)
            .map_err(|_| reply::MALFORMED)?;
        let want_version = former.map_or(0, |it| it.want_version) + 1;
        let home = self.home_abroad().cloned().ok_or(reply::INTERNAL)?;
        let ready = self.check_home_answers();
        self.server.outbox.prepare(&home).await?;
        let full = self.joining.len() >= JOINING_MAX || !self.server.outbox.has_room(&home);
        let busy = full.then(|| Err(reply::UNAVAILABLE.into()));
        if let Err(refusal) = busy.unwrap_or(ready) {
            // Nothing was touched, and what is known of the group in memory only is to stay for the next try.
            asked.clone().answer(refusal, self.now());
            self.let_go(&asked.session);
            return Ok(());
        }
        let profile = self.server.profile(&asked.user).await?;
        let want = wire::GroupWant {
            want: mode.to_owned(),
            want_version,
            leaves: false,
            profile: profile.map(|it| wire::GroupProfile {
                public: super::group_wire::modest(it.public),
                public_changed_ms: it.updated.as_millis(),
            }),
        };
        // It may have been known in memory only, as one that may be found.
        self.room_mut()?.dirty = true;
        let (mut batch, mut effects) = (Batch::new(), Vec::<Effect>::new());
        self.ask_home(&asked.user, What::Want(want), &mut batch, &mut effects)?;
        self.commit_all(batch, effects);
        self.joining.push(Joining {
            asked: asked.clone(),
            mode: mode.to_owned(),
            get: get.clone(),
        });
        let (server, name, user) = (self.server.clone(), self.name.clone(), asked.user.clone());
        self.server.tasks.spawn("group join", async move {
            sleep(REMOTE_WAIT).await;
            Hub::send(&server, &name, Command::JoinLate(user)).await;
        });
        Ok(())
    }

    /// True while somebody waits to be let in.
    pub(super) fn waits_to_join(&self, user: &UserId) -> bool {
        self.joining.iter().any(|it| it.asked.user == *user)
    }

    /// What somebody wants who waits to be let in, and is given this.
    pub(super) fn wanted_by(&self, user: &UserId, given: AccessMode) -> AccessMode {
        let joining = self.joining.iter().find(|it| it.asked.user == *user);
        let wanted = joining.map(|it| match &*it.mode {
            "" => given,
            mode => AccessMode::NONE.changed_by(mode).unwrap_or(given),
        });
        wanted.unwrap_or(AccessMode::NONE)
    }

    /// Lets those in who were let in.
    pub(super) async fn finish_joins(&mut self) {
        if self.joining.is_empty() {
            return;
        }
        let (inside, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.joining)
            .into_iter()
            .partition(|it| self.topic.may(&it.asked.user, AccessMode::JOIN));
        self.joining = waiting;
        for Joining { asked, get, .. } in inside {
            let entered = self.enter(&asked, &get, Vec::new(), None, Default::default());
            if let Err(refusal) = entered.await {
                asked.answer(refusal, self.now());
            }
        }
    }

    /// The home has said no, or nothing in time. True when somebody waited for it.
    pub(super) fn fail_joins(&mut self, user: &UserId, refusal: reply::Status) -> bool {
        let (failed, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.joining)
            .into_iter()
            .partition(|it| it.asked.user == *user);
        self.joining = waiting;
        let now = self.now();
        let any = !failed.is_empty();
        for joining in failed {
            joining.asked.answer(refusal, now);
        }
        any
    }
}
