//! Everything that can be asked of a loaded topic.

use bytes::Bytes;
use freehold_federation::{Unavailable, Verdict};
use freehold_proto::UserId;
use freehold_store::tables::rows::{MessageRow, SeenRow};
use tokio::sync::oneshot;

use super::{CallEvent, message::Draft, one_to_one::PeerRelation};
use crate::{
    accounts::Caller,
    edge::{
        frames::Raw,
        requests::{GetQuery, Range, SetQuery},
        session::Session,
    },
    peers::outbox::Refused,
};

/// The answer to a peer about one item, once it is durable.
pub(super) type Decision = oneshot::Sender<Result<Verdict, Unavailable>>;

/// One thing for a topic to do.
#[derive(Debug)]
pub enum Command {
    /// A client of ours asks.
    Request {
        /// Which.
        session: Session,
        /// Who.
        caller: Caller,
        /// The id to answer with.
        id: Option<String>,
        /// The topic as the client named it.
        name: String,
        /// What.
        request: TopicRequest,
    },
    /// Go on with what a restart interrupted.
    Resume,
    /// The account of one of our people is gone: their part in the topic ends, and the other one is
    /// told.
    Erase {
        /// Whose.
        user: UserId,
        /// Completed when that is durable.
        done: oneshot::Sender<()>,
    },
    /// A session that was in the background is used by a person now.
    Forward {
        /// Which.
        session: Session,
        /// Whose.
        user: UserId,
    },
    /// A client went away.
    Detach(Session),
    /// Another domain hands over a message of its person.
    Incoming(Box<Incoming>),
    /// Another domain says how its person stands.
    Relate {
        /// Its person.
        peer: UserId,
        /// How.
        relation: PeerRelation,
        /// The public description changed with it.
        described: bool,
        /// The answer.
        decision: oneshot::Sender<Result<Verdict, Unavailable>>,
    },
    /// Another domain says how far its person got.
    Progress {
        /// Its person.
        reader: UserId,
        /// Last message read, 0 for none.
        read: u32,
        /// Last message received, 0 for none.
        received: u32,
        /// The answer.
        decision: oneshot::Sender<Result<Verdict, Unavailable>>,
    },
    /// Another domain's person is typing.
    Typing {
        /// Who.
        user: UserId,
        /// `kp`, `kpa`, `kpv`.
        what: &'static str,
    },
    /// A message of ours will not reach its recipient.
    Undelivered {
        /// Which.
        seq: u32,
        /// Why, for its author.
        reason: String,
        /// Where it waits: it is taken out with the same commit that tells the author.
        refused: Refused,
        /// Completed when that is durable.
        done: oneshot::Sender<()>,
    },
}

/// A message from another domain, verified.
#[derive(Debug)]
pub struct Incoming {
    /// Who wrote it.
    pub author: UserId,
    /// Its length in characters if it is plain text.
    pub text: Option<usize>,
    /// The row to store.
    pub row: MessageRow,
    /// The mark that it came; topic and position are filled in here.
    pub seen: SeenRow,
    /// The answer.
    pub decision: oneshot::Sender<Result<Verdict, Unavailable>>,
}

/// A group to be made.
#[derive(Debug)]
pub struct Founding {
    /// Its create record, and our signature on it.
    pub record: (Bytes, Bytes),
    /// With a channel.
    pub channel: bool,
    /// The name the client gave it meanwhile.
    pub temporary: String,
    /// Its description.
    pub set: SetQuery,
    /// What to answer with.
    pub get: GetQuery,
}

/// What a client may ask of a topic.
#[derive(Debug)]
#[expect(
    private_interfaces,
    reason = "a draft is made by this crate's edge only"
)]
pub enum TopicRequest {
    /// Make a new group, subscribe and attach.
    Found(Box<Founding>),
    /// Subscribe and attach.
    Sub {
        /// To read a channel rather than to be a member.
        as_reader: bool,
        /// Changes on the way.
        set: Box<SetQuery>,
        /// What to answer with.
        get: Box<GetQuery>,
    },
    /// Detach; with `true` end the subscription.
    Leave(bool),
    /// Publish.
    Pub {
        /// What.
        draft: Draft,
        /// Do not send it back to this session.
        noecho: bool,
    },
    /// Answer with metadata or messages.
    Get(Box<GetQuery>),
    /// Change metadata.
    Set(Box<SetQuery>),
    /// Delete messages, for everybody if one may.
    DeleteMessages {
        /// Which.
        ranges: Vec<Range>,
        /// For everybody.
        hard: bool,
    },
    /// Delete the topic: its owner for everybody, others leave.
    DeleteTopic,
    /// Remove a member.
    Evict(UserId),
    /// Typing.
    Typing(&'static str),
    /// Something about a call.
    Call {
        /// The message that began it.
        seq: u32,
        /// What.
        event: CallEvent,
        /// What only the other client understands.
        payload: Option<Raw>,
    },
    /// Received up to here.
    Received(u32),
    /// Read up to here.
    Read(u32),
}
