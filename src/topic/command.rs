//! Everything that can be asked of a loaded topic.

use bytes::Bytes;
use freehold_federation::{Unavailable, Verdict};
use freehold_keys::{Entry, Opened, OpenedPosition};
use freehold_proto::{DomainName, Envelope, MessageId, UserId, wire};
use freehold_store::tables::rows::{LogRow, MessageRow, SeenRow};
use tokio::sync::oneshot;

use super::{
    CallEvent,
    catching_up::{Page, Wanted},
    group_history::PastPage,
    listed::ListedShown,
    message::Draft,
    one_to_one::PeerRelation,
};
use crate::{
    accounts::Caller,
    edge::{
        frames::Raw,
        requests::{GetQuery, Range, SetQuery},
        session::Session,
    },
    files::Attached,
    peers::outbox::Refused,
};

/// The answer to a peer about one item, once it is durable.
pub(crate) type Decision = oneshot::Sender<Result<Verdict, Unavailable>>;

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
    /// A client that did not keep up has taken what waited for it.
    CatchUp {
        /// Which.
        session: Session,
        /// Told which page of what it missed is to be read; dropped if there is none.
        answer: oneshot::Sender<Wanted>,
    },
    /// That page has been read.
    Page {
        /// For which client.
        session: Session,
        /// What is on it.
        page: Box<Page>,
    },
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
    /// Another domain's person deletes some of what they wrote.
    TakenBack {
        /// Who.
        author: UserId,
        /// Which messages; others' among them do not count.
        ids: Vec<MessageId>,
        /// The answer.
        decision: Decision,
    },
    /// Another domain's person says something about a call.
    Called {
        /// Who.
        from: UserId,
        /// The message that began it.
        began: MessageId,
        /// What.
        event: CallEvent,
        /// What only the other client understands.
        payload: Option<Raw>,
        /// The answer, of what must not get lost.
        decision: Option<Decision>,
    },
    /// Another domain's person is typing.
    Typing {
        /// Who.
        user: UserId,
        /// `kp`, `kpa`, `kpv`.
        what: &'static str,
    },
    /// Another domain asks something of a group whose home we are, for one of its people.
    Letter(Box<Letter>),
    /// The home of a group hands on an entry of its log.
    Entry(Box<Placing>),
    /// The home of a group lets one of our people in, or not any more.
    Invited(Box<Invited>),
    /// The home of a group has answered how it stands, or has not answered.
    Stands(Option<Box<Standings>>),
    /// Entries that this home had signed and lost come back from a domain that follows it.
    Regain {
        /// Behind the last one that is known.
        entries: Vec<Entry>,
        /// Told the index of the last entry now, once it is durable.
        done: oneshot::Sender<u64>,
    },
    /// The home of a group has answered with entries that were missing, or has not answered.
    Missed(Option<Vec<Entry>>),
    /// The home of a channel says how it stands, or did not answer.
    Channel(Option<Box<ChannelShown>>),
    /// How a group stands for strangers, as its home says.
    Listed(Box<ListedShown>),
    /// The home of a channel that is read here says that there is none.
    ChannelGone,
    /// The home of a channel that is read here is away: a successor may have followed it.
    SeekHome,
    /// The home of a channel has answered with entries of its feed that were missing, and whether there are
    /// more, or has not answered.
    FeedMissed(Option<(Vec<Entry>, bool)>),
    /// The home of a group has not said in time whether somebody may come in.
    JoinLate(UserId),
    /// The home of a group may be another now: what waits for the former one goes there.
    HomeMoved,
    /// The home of a group has been away for so long that its successors may name another.
    Succeed,
    /// A successor asks whether we agree that it takes over.
    Ballot {
        /// Which.
        candidate: DomainName,
        /// What it asks.
        asked: wire::GroupConsent,
        /// What we agree to, sealed; nothing if we do not.
        answer: oneshot::Sender<Option<Envelope>>,
    },
    /// Successors have answered whether they agree that we take over.
    Elected {
        /// To what.
        asked: wire::GroupConsent,
        /// Those that agree, sealed; ours among them.
        consents: Vec<(DomainName, Envelope)>,
    },
    /// The home of a group has shown some of what was written before our copy began, or has not.
    Past(Option<PastPage>),
    /// One of our people has another public description.
    Profiled(UserId),
    /// Another domain says how far members of a group have got.
    Marks {
        /// Which domain.
        origin: DomainName,
        /// Who, and how far.
        cursors: Vec<wire::GroupCursor>,
        /// How many people of that domain read the channel, if it says so.
        readers: Option<u32>,
        /// The answer.
        decision: Decision,
    },
    /// Another domain says that a member of a group is typing.
    MemberTyping {
        /// Which domain.
        origin: DomainName,
        /// Who.
        user: UserId,
        /// `kp`, `kpa`, `kpv`.
        what: &'static str,
    },
    /// The home of a group does not do what one of our people asked.
    Declined {
        /// The request.
        id: MessageId,
        /// Whose.
        actor: UserId,
        /// Why, for them.
        reason: String,
        /// Where it waits.
        refused: Refused,
        /// Completed when that is durable.
        done: oneshot::Sender<()>,
    },
    /// Keeps something for its owner in their notes to self.
    Keep {
        /// Made of what it is about, so that it is kept once.
        id: MessageId,
        /// Head and content, JSON.
        note: (Bytes, Bytes),
        /// Completed when that is durable.
        done: oneshot::Sender<()>,
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
    /// Files that it speaks of.
    pub attached: Vec<Attached>,
    /// The mark that it came; topic and position are filled in here.
    pub seen: SeenRow,
    /// The answer.
    pub decision: oneshot::Sender<Result<Verdict, Unavailable>>,
}

/// What another domain asks of a group for one of its people, verified.
#[derive(Debug)]
pub struct Letter {
    /// For whom.
    pub author: UserId,
    /// As signed.
    pub opened: Box<Opened>,
    /// What it says.
    pub words: Words,
    /// The mark that it came; topic and position are filled in here.
    pub seen: SeenRow,
    /// The answer.
    pub decision: Decision,
}

/// What a letter says.
#[derive(Debug)]
pub enum Words {
    /// Something to be placed in the log.
    Message(wire::GroupMessage),
    /// Something for the home to rule on.
    Request(wire::GroupRequest),
    /// Its domain would be the home.
    Consent(wire::GroupConsent),
}

/// An entry of a group's log, verified.
#[derive(Debug)]
pub struct Placing {
    /// Who handed it on: by its signature, who placed it.
    pub origin: DomainName,
    /// What.
    pub entry: Entry,
    /// What is known of its message id here.
    pub seen: Option<SeenRow>,
    /// The answer.
    pub decision: Decision,
}

/// An invitation to a group, verified.
#[derive(Debug)]
pub struct Invited {
    /// The group's home.
    pub home: DomainName,
    /// Who is invited, one of our people.
    pub invitee: UserId,
    /// By whom.
    pub inviter: UserId,
    /// The rest.
    pub words: wire::GroupInvitation,
    /// How the home came to be it, verified.
    pub steps: Vec<Entry>,
    /// The answer.
    pub decision: Decision,
}

/// How a group stands, as its home says.
#[derive(Debug)]
pub struct Standings {
    /// The last entry of its log.
    pub head: OpenedPosition,
    /// What goes with all pages.
    pub state: wire::GroupState,
    /// Everybody in it.
    pub members: Vec<wire::Member>,
    /// How the home came to be it.
    pub succession: Vec<LogRow>,
}

/// How a channel stands, as its home says.
#[derive(Debug)]
pub struct ChannelShown {
    /// Who says so.
    pub home: DomainName,
    /// The last entry of its feed, if there is one.
    pub head: Option<OpenedPosition>,
    /// The rest.
    pub state: wire::GroupState,
    /// How the home came to be it, verified.
    pub steps: Vec<Entry>,
    /// Told whether it is known here now, once that is durable.
    pub done: Option<oneshot::Sender<()>>,
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
