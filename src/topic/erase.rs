//! The end of a topic one of whose people has deleted the account.

use freehold_proto::UserId;
use freehold_store::Batch;
use serde_json::json;
use tokio::sync::oneshot;

use super::actor::{Actor, Effect};
use crate::edge::{
    frames::{Pres, ServerFrame},
    reply::{self, Reply},
    session::Session,
};

impl Actor {
    /// Ends a person's part. Doing it twice does no harm: a deletion goes on after a restart.
    pub(super) async fn erase(&mut self, user: &UserId, done: oneshot::Sender<()>) {
        let announced = self
            .topic
            .person(user)
            .standing
            .as_ref()
            .is_some_and(|it| it.announced);
        let before = self.topic.clone();
        self.topic.erase(user, self.now());
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        if announced {
            let told = self.relate_out(&mut batch, &mut effects, user).await;
            if told.is_err() {
                // Dropping `done` says that nothing was decided.
                self.topic = before;
                return;
            }
        }
        let attached = std::mem::take(&mut self.attached);
        effects.push(Effect::Erased(user.clone(), attached));
        effects.push(Effect::Told(done));
        self.commit_all(batch, effects);
    }

    /// Puts out who was attached, and takes the topic from the other one's list.
    pub(super) fn tell_erased(&self, user: &UserId, attached: &[(Session, UserId)]) {
        let other = &self.topic.other(user).id;
        for (session, whose) in attached.iter().filter(|(_, it)| it == other) {
            let evicted = Reply::with(reply::EVICTED, json!({"unsub": true}));
            session.send(&evicted.into_frame(None, Some(self.view(whose)), self.now()));
        }
        let gone = Pres {
            topic: "me".to_owned(),
            src: Some(self.server.ids.shown(user)),
            what: "gone",
            ..Pres::default()
        };
        self.server
            .online
            .tell(other, &ServerFrame::Pres(gone), |_| true);
    }
}
