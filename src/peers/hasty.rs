//! People of other domains who write much: they may as much as our own people may. What is more comes
//! later, with everything of theirs behind it (PROTOCOL.md section 8.4), and nobody else waits for them.

use std::{collections::HashMap, time::Duration};

use freehold_federation::{Arrived, Verdict};
use freehold_proto::{DomainName, RefusalCode, UserId, wire::payload::Kind};

use crate::limits::Limits;

/// Those of one batch who have written too much, and when to offer their words again.
#[derive(Debug, Default)]
pub(super) struct Hasty(HashMap<UserId, Duration>);

impl Hasty {
    /// The answer to an item of somebody who has written too much.
    pub(super) fn judge(
        &mut self,
        limits: &Limits,
        origin: &DomainName,
        item: &Arrived,
    ) -> Option<Verdict> {
        let (author, is_message) = author(origin, item)?;
        let retry_after = match self.0.get(&author) {
            Some(wait) => *wait,
            None => {
                let counted = match is_message {
                    true => limits.user_message(&author),
                    false => limits.user_request(&author),
                };
                let wait = counted.err()?.wait;
                self.0.insert(author, wait);
                wait
            }
        };
        let code = RefusalCode::RateLimited;
        Some(Verdict::Later { code, retry_after })
    }
}

/// The person of `origin` who says something that keeps its order, and whether it is a message. What a
/// home hands on it has counted itself, and a deletion never comes later.
fn author(origin: &DomainName, item: &Arrived) -> Option<(UserId, bool)> {
    let Arrived::Envelope(opened) = item else {
        return None;
    };
    let (author, is_message) = match &opened.payload {
        Kind::DirectMessage(it) => (&it.author, true),
        Kind::GroupMessage(it) => (&it.author, true),
        Kind::GroupRequest(it) => (&it.actor, false),
        Kind::CallEvent(it) => (&it.user, false),
        _ => return None,
    };
    let author: UserId = author.parse().ok()?;
    (author.domain() == origin).then_some((author, is_message))
}
