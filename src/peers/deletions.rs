//! What people of other domains delete of what they wrote to ours, at the door (PROTOCOL.md section
//! 7.4.1).

use freehold_federation::{Unavailable, Verdict};
use freehold_proto::{DomainName, MessageId, Refusal, RefusalCode, UserId, limits, wire};
use freehold_store::Batch;

use super::local::{Door, Pending, refuse, unavailable};
use crate::topic::Command;

/// Who deletes what of what they wrote, and to whom.
type Checked = ((UserId, UserId), Vec<MessageId>);

impl Door {
    /// Somebody takes back what they wrote.
    pub(super) async fn deletion(
        &self,
        origin: &DomainName,
        deletion: wire::DirectDeletion,
    ) -> Result<Result<Pending, Refusal>, Unavailable> {
        let (people, ids) = match self.checked_deletion(origin, &deletion) {
            Ok(checked) => checked,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !self.exists(&people.1).await? {
            // Nobody here: the same answer as for somebody, after the same kind of wait (rules.md 17).
            self.lets_go(&people, &ids);
            let barrier = self.server.tables.commit(Batch::new()).await;
            barrier.map(drop).map_err(unavailable)?;
            return Ok(Ok(Pending::Now(Verdict::Ok)));
        }
        let (author, recipient) = people;
        let people = [author.clone(), recipient];
        let wrap = |decision| Command::TakenBack {
            author,
            ids,
            decision,
        };
        Ok(Ok(self.ask(&people, wrap).await))
    }

    fn checked_deletion(
        &self,
        origin: &DomainName,
        deletion: &wire::DirectDeletion,
    ) -> Result<Checked, Refusal> {
        let author = self.theirs(&deletion.author, origin)?;
        let recipient = self.ours(&deletion.recipient)?;
        let ids = &deletion.message_ids;
        if ids.is_empty() || ids.len() > limits::DELETED_IDS_MAX {
            let why = "a deletion names no message, or too many";
            return Err(refuse(RefusalCode::Malformed, why));
        }
        let ids = ids.iter().map(|it| MessageId::from_slice(it));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        Ok(((author, recipient), ids))
    }
}
