//! What other domains say of calls, at the door (PROTOCOL.md section 7.8).

use freehold_federation::{Unavailable, Verdict};
use freehold_proto::{DomainName, MessageId, Refusal, RefusalCode, UserId, wire};
use freehold_store::{Tables, TopicKey};

use super::local::{Door, Pending, refuse, unavailable};
use crate::{
    edge::frames::Raw,
    topic::{CallEvent, Command, TopicName, hub::Hub},
};

impl Door {
    /// Somebody takes a call, or ends it.
    pub(super) async fn called(
        &self,
        origin: &DomainName,
        said: wire::CallEvent,
    ) -> Result<Result<Pending, Refusal>, Unavailable> {
        let malformed = || refuse(RefusalCode::Malformed, "nothing that is said about a call");
        let read = || -> Result<_, Refusal> {
            let people = (self.theirs(&said.user, origin)?, self.ours(&said.peer)?);
            let event = CallEvent::from_client(&said.event).filter(|it| it.works_from_afar());
            let began = MessageId::from_slice(&said.message_id)?;
            Ok((people, began, event.ok_or_else(malformed)?))
        };
        let ((from, to), began, event) = match read() {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !self.stands(&from, &to).await? {
            return Ok(Ok(Pending::Now(Verdict::Ok)));
        }
        let people = [from.clone(), to];
        let wrap = |decision| Command::Called {
            from,
            began,
            event,
            payload: None,
            decision: Some(decision),
        };
        Ok(Ok(self.ask(&people, wrap).await))
    }

    /// True when somebody of ours stands in the chat with somebody elsewhere.
    pub(super) async fn stands(&self, from: &UserId, to: &UserId) -> Result<bool, Unavailable> {
        let (topic, wanted) = (TopicKey::one_to_one(from, to), to.clone());
        let read = move |tables: &Tables| tables.subscription(&wanted, topic);
        let found = self.server.tables.read(read).await.map_err(unavailable)?;
        Ok(found.is_some())
    }

    /// What two clients say to each other about a call.
    pub(super) async fn call_signal(&self, from: UserId, to: UserId, said: wire::CallSignal) {
        let event = CallEvent::from_client(&said.event);
        let event = event.filter(|it| !matches!(it, CallEvent::Accept | CallEvent::HangUp));
        let began = MessageId::from_slice(&said.message_id);
        let payload = serde_json::from_slice::<Raw>(&said.payload).ok();
        let (Some(event), Ok(began)) = (event, began) else {
            return;
        };
        if matches!(self.stands(&from, &to).await, Ok(true)) {
            let name = TopicName::one_to_one(&from, &to);
            let command = Command::Called {
                from,
                began,
                event,
                payload,
                decision: None,
            };
            Hub::send(&self.server, &name, command).await;
        }
    }
}
