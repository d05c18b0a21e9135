//! What a waiting item has to say: a message as it was signed, a relation or a cursor as things are now.

use freehold_proto::{AccessMode, Destination, DomainName, Envelope, Timestamp, UserId, wire};
use freehold_store::{
    StoreError, Tables, TopicKey,
    tables::{
        outbox::{CURSOR, INVITATION},
        rows::{CHANNEL, MessageRow, OutboxRow},
    },
};
use prost::Message as _;

use super::{
    lasting,
    stream::{is_letter, is_message, pair_of},
};
use crate::topic::{self, message};

/// How far back a cursor looks for a message of the other person.
const CURSOR_SPAN: u32 = 1000;

/// What an item has to say at present.
pub(super) enum Composed {
    /// A message, signed when it was written.
    Sealed(Envelope),
    /// Words still to be signed, and for whom.
    Fresh(Destination, Box<wire::payload::Kind>),
}

impl Composed {
    /// Bytes it takes in a batch, near enough to plan with.
    pub(super) fn size(&self) -> usize {
        const HEADER: usize = 512;
        match self {
            Self::Sealed(envelope) => envelope.size(),
            Self::Fresh(_, words) => match &**words {
                wire::payload::Kind::Relation(it) => it.encoded_len() + HEADER,
                wire::payload::Kind::GroupInvitation(it) => it.encoded_len() + HEADER,
                wire::payload::Kind::GroupRequest(it) => it.encoded_len() + HEADER,
                wire::payload::Kind::DirectDeletion(it) => it.encoded_len() + HEADER,
                _ => HEADER,
            },
        }
    }
}

/// What an item has to say as things are now; `None` when there is nothing any more. Blocks.
pub(super) fn compose(
    tables: &Tables,
    row: &OutboxRow,
    now: Timestamp,
) -> Result<Option<Composed>, StoreError> {
    let Some((topic, user)) = pair_of(row) else {
        return Ok(None);
    };
    if is_letter(row) {
        let envelope = match is_message(row) {
            // What was deleted before it went does not go, erased or not yet.
            true if tables.is_deleted(topic, row.seq)? => None,
            true => tables.message(topic, row.seq)?.and_then(|it| it.envelope),
            false => tables
                .request(topic, &row.request)?
                .and_then(|it| it.envelope),
        };
        let envelope = envelope.and_then(message::envelope_of);
        let envelope = envelope.filter(|it| !it.is_erased());
        let composed = envelope.map(|it| match lasting::anew(&it, now) {
            Some((to, words)) => Composed::Fresh(to, Box::new(words)),
            None => Composed::Sealed(it),
        });
        return Ok(composed);
    }
    let words = if row.kind == u32::from(INVITATION) {
        invitation_now(tables, topic, (&user, &row.actor))?
    } else if row.kind == u32::from(CURSOR) {
        cursor_now(tables, topic, &user)?
    } else {
        relation_now(tables, topic, &user)?
    };
    Ok(words.map(|(to, payload)| Composed::Fresh(Destination::Domain(to), Box::new(payload))))
}

/// How a person of ours stands in a topic, for the other domain. Blocks.
fn relation_now(
    tables: &Tables,
    topic: TopicKey,
    user: &UserId,
) -> Result<Option<(DomainName, wire::payload::Kind)>, StoreError> {
    let Some(own) = tables.subscription(user, topic)? else {
        return Ok(None);
    };
    let (gone, public, public_changed_ms) = match (tables.account(user)?, tables.tombstone(user)?) {
        (Some(account), _) => (false, account.public, account.updated),
        // The last word of somebody who is gone.
        (None, Some(stone)) => (true, bytes::Bytes::new(), stone.at),
        (None, None) => return Ok(None),
    };
    let Ok(peer) = own.peer.parse::<UserId>() else {
        return Ok(None);
    };
    let theirs = tables.subscription(&peer, topic)?.unwrap_or_default();
    // Who blocks does not say so (federation.md 8).
    let wants: AccessMode = own.want.parse().unwrap_or_default();
    let want = if wants.has(AccessMode::JOIN) || gone {
        // Whether one may delete for both is nobody else's to know: it means something here only.
        wants.and(AccessMode::ONE_TO_ONE).to_string()
    } else {
        AccessMode::ONE_TO_ONE.to_string()
    };
    let relation = wire::Relation {
        user: user.to_string(),
        peer: own.peer,
        want,
        want_version: own.want_version,
        given: theirs.given,
        given_version: theirs.given_version,
        public,
        public_changed_ms,
    };
    Ok(Some((
        peer.domain().clone(),
        wire::payload::Kind::Relation(relation),
    )))
}

/// How somebody of another domain stands in a group of ours, for their domain. Blocks.
fn invitation_now(
    tables: &Tables,
    topic: TopicKey,
    (invitee, inviter): (&UserId, &str),
) -> Result<Option<(DomainName, wire::payload::Kind)>, StoreError> {
    let (Some(room), Some(row)) = (tables.room(topic)?, tables.subscription(invitee, topic)?)
    else {
        return Ok(None);
    };
    // The home asks in, and this domain is it no more.
    if !room.home.is_empty() {
        return Ok(None);
    }
    let invitation = wire::GroupInvitation {
        succession: topic::steps(&room.succession),
        record: room.record,
        signature: room.signature,
        invitee: invitee.to_string(),
        inviter: inviter.to_owned(),
        title: topic::title(&room.public),
        channel: room.kind == CHANNEL,
        withdrawn: row.deleted != 0 || room.deleted != 0,
        given: row.given,
        given_version: row.given_version,
        want_version: row.want_version,
    };
    let words = wire::payload::Kind::GroupInvitation(invitation);
    Ok(Some((invitee.domain().clone(), words)))
}

/// How far a person of ours has got among the other one's messages. Blocks.
fn cursor_now(
    tables: &Tables,
    topic: TopicKey,
    user: &UserId,
) -> Result<Option<(DomainName, wire::payload::Kind)>, StoreError> {
    let Some(own) = tables.subscription(user, topic)? else {
        return Ok(None);
    };
    let Ok(peer) = own.peer.parse::<UserId>() else {
        return Ok(None);
    };
    let last = |seq: u32| last_of(tables, topic, &own.peer, seq);
    let cursor = wire::Cursor {
        reader: user.to_string(),
        author: own.peer.clone(),
        received: last(own.received)?,
        read: last(own.read)?,
    };
    Ok(Some((
        peer.domain().clone(),
        wire::payload::Kind::Cursor(cursor),
    )))
}

/// The id of the last message at or before `seq` that `author` wrote (rules.md 10).
fn last_of(
    tables: &Tables,
    topic: TopicKey,
    author: &str,
    seq: u32,
) -> Result<bytes::Bytes, StoreError> {
    const PAGE: usize = 50;
    let lowest = seq.saturating_sub(CURSOR_SPAN);
    let mut high = seq.saturating_add(1);
    while high > lowest + 1 {
        let page = tables.history(topic, lowest + 1, high, PAGE, usize::MAX)?;
        let Some((oldest, _)) = page.last() else {
            break;
        };
        high = *oldest;
        if let Some((_, row)) = page
            .iter()
            .find(|(_, row): &&(u32, MessageRow)| row.author == author)
        {
            return Ok(row.message_id.clone());
        }
    }
    Ok(bytes::Bytes::new())
}
