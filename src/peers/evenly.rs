//! What the clock could tell a stranger: words to somebody who is there cost more than words to nobody.
//! So a batch with words to anybody who never agreed to hear from their author, or who does not exist,
//! is answered only at the end of a step of time, in which all of them are done (rules.md 17).

use std::{collections::BTreeSet, time::Duration};

use freehold_federation::Arrived;
use freehold_proto::{UserId, wire::payload::Kind};
use freehold_store::{StoreError, Tables, TopicKey};
use tokio::time::{Instant, sleep_until};

/// A step: some times what a short batch takes.
const STEP: Duration = Duration::from_millis(25);

/// Whether anybody is spoken to who was never heard to agree: of each pair, who speaks to whom. Blocks.
pub(super) fn is_to_strangers(
    tables: &Tables,
    pairs: &BTreeSet<(UserId, UserId)>,
) -> Result<bool, StoreError> {
    for (author, recipient) in pairs {
        let topic = TopicKey::one_to_one(author, recipient);
        // Who agreed once and has blocked since is answered as a friend is.
        let row = tables.subscription(recipient, topic)?;
        if !row.is_some_and(|it| it.announced) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who speaks to whom in an item; none where that is not one person to another.
pub(super) fn parties(item: &Arrived) -> Option<(UserId, UserId)> {
    let Arrived::Envelope(opened) = item else {
        return None;
    };
    let (author, recipient) = match &opened.payload {
        Kind::DirectMessage(it) => (&it.author, &it.recipient),
        Kind::Relation(it) => (&it.user, &it.peer),
        Kind::Cursor(it) => (&it.reader, &it.author),
        Kind::DirectDeletion(it) => (&it.author, &it.recipient),
        Kind::GroupInvitation(it) => (&it.inviter, &it.invitee),
        _ => return None,
    };
    Some((author.parse().ok()?, recipient.parse().ok()?))
}

/// Waits for the end of the step in which something that began then is done.
pub(super) async fn wait(begun: Instant) {
    let steps = begun.elapsed().as_millis() / STEP.as_millis() + 1;
    let steps = u32::try_from(steps).unwrap_or(1);
    sleep_until(begun + STEP * steps).await;
}
