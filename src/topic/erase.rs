//! The end of a topic, or of one's part in it, because the account is gone. Doing it twice does no
//! harm: a deletion goes on after a restart.

use freehold_proto::{AccessMode, UserId};
use freehold_store::{Batch, tables::rows::SpanRow};
use serde_json::json;
use tokio::sync::oneshot;

use super::{
    actor::{Actor, Effect},
    room::RoomKind,
};
use crate::edge::{
    frames::{Pres, ServerFrame},
    reply::{self, Reply},
};

impl Actor {
    /// Ends a person's part in the topic. Dropping `done` says that nothing was decided.
    pub(super) async fn erase(&mut self, user: &UserId, done: oneshot::Sender<()>) {
        let before = self.topic.clone();
        let ended = match self.topic.room() {
            Some(_) => self.erase_from_room(user).await,
            None => self.erase_pair(user).await,
        };
        match ended {
            Ok((batch, mut effects)) => {
                effects.push(Effect::Told(done));
                self.commit_all(batch, effects);
            }
            Err(refusal) => {
                tracing::warn!(%user, code = refusal.status.code, "somebody deleted cannot be let go yet");
                self.topic = before;
            }
        }
    }

    /// At home the other one loses the topic too; another domain is told.
    async fn erase_pair(&mut self, user: &UserId) -> Result<(Batch, Vec<Effect>), Reply> {
        let now = self.now();
        let announced = self
            .pair()
            .person(user)
            .standing
            .as_ref()
            .is_some_and(|it| it.announced);
        self.pair_mut().erase(user, now);
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        if announced {
            self.relate_out(&mut batch, &mut effects, user).await?;
        }
        effects.push(Effect::Erased(user.clone()));
        Ok((batch, effects))
    }

    /// A group ends with its owner and loses any other member; notes to self are emptied.
    async fn erase_from_room(&mut self, user: &UserId) -> Result<(Batch, Vec<Effect>), Reply> {
        self.load_reader(user).await?;
        let now = self.now();
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let owns = room.mode(user).has(AccessMode::OWNER);
        let (kind, head) = (room.kind, self.topic.head());
        let mut batch = Batch::new();
        if owns && kind != RoomKind::Saved {
            self.room_mut()?.close(user, now)?;
            self.drop_tags(&mut batch).await?;
            return Ok((batch, vec![Effect::Closed(None)]));
        }
        if owns && head > 0 {
            self.finish_commits().await;
            let all = SpanRow {
                low: 1,
                high: head.saturating_add(1),
            };
            self.delete_spans(user, true, vec![all]).await?;
        }
        if self.topic.active(user).is_none() {
            return Ok((batch, Vec::new()));
        }
        let change = self.room_mut()?.abandon(user, now);
        Ok((batch, vec![Effect::Access(change, None)]))
    }

    /// Puts out who was attached, and takes the topic from the other one's list.
    pub(super) fn tell_erased(&mut self, user: &UserId) {
        let (other, now) = (self.pair().other(user).id.clone(), self.now());
        let name = self.view(&other);
        for session in self.attached.remove_all(&other) {
            session.detach(self.key());
            let evicted = Reply::with(reply::EVICTED, json!({"unsub": true}));
            session.send(&evicted.into_frame(None, Some(name.clone()), now));
        }
        self.attached.remove_all(user);
        let gone = Pres {
            topic: "me".to_owned(),
            src: Some(self.server.ids.shown(user)),
            what: "gone",
            ..Pres::default()
        };
        self.server
            .online
            .tell(&other, &ServerFrame::Pres(gone), |_| true);
    }
}
