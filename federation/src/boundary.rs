//! What federation asks of the domain it serves: a place to hand arrivals to, and an outbox to
//! deliver from. The domain server implements both over its store.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use freehold_keys::{Entry, Opened, OpenedPosition};
use freehold_proto::{
    DomainName, Envelope, GroupId, Placed, Refusal, RefusalCode, Timestamp, UserId, wire,
};
use futures_util::stream::BoxStream;

/// Storage does not answer now. Nothing was decided; the same will be asked again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("storage is unavailable: {0}")]
pub struct Unavailable(pub String);

/// An item from a peer, verified already.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its position in the peer's stream.
    pub position: u64,
    /// What it is.
    pub item: Arrived,
}

/// What a peer hands over.
#[derive(Clone, Debug)]
pub enum Arrived {
    /// An envelope of the peer's own. Its signature and lifetime hold, its origin is the peer, and it
    /// is addressed to this domain or to a group.
    Envelope(Box<Opened>),
    /// An entry of a group's log that the peer handed on, whoever wrote it: both signatures hold, and
    /// the position is the peer's.
    Entry(Box<Entry>),
}

/// What to read of a group at its home.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupQuery {
    /// How it stands, with members behind this one.
    State(Option<UserId>),
    /// Entries with an index above this one.
    EntriesAfter(u64),
    /// Messages with an order below this one, newest first.
    MessagesBefore(u32),
    /// Whether the asker may become the home, as successor of one that is away.
    Ballot(wire::GroupConsent),
    /// What its channel shows to anybody.
    Channel,
    /// What it shows to strangers, if it may be found.
    Listed,
    /// Entries of its channel's feed with an index above this one.
    FeedAfter(u64),
    /// Messages of its channel with an order below this one, newest first.
    FeedBefore(u32),
}

/// What a home says of a group, verified as far as there are signatures in it.
#[derive(Clone, Debug)]
pub enum GroupAnswer {
    /// How it stands.
    State {
        /// The last entry of its log.
        head: Box<OpenedPosition>,
        /// The rest, as the home says.
        state: Box<wire::GroupState>,
    },
    /// What its channel shows.
    Channel {
        /// The last entry of its feed, if there is one.
        head: Option<Box<OpenedPosition>>,
        /// The rest, as the home says.
        state: Box<wire::GroupState>,
    },
    /// What it shows to strangers.
    Listed(Box<wire::GroupState>),
    /// A part of its log, messages from before there was one, and whether there is more.
    Page(Vec<Entry>, Vec<Past>, bool),
    /// It agrees to what it was asked in a ballot.
    Consent(Box<Opened>),
}

/// A message of a group from before it spanned domains.
#[derive(Clone, Debug)]
pub struct Past {
    /// Its order.
    pub order: u32,
    /// The message, as the home sealed it: its signature holds. `None` where its key is not to be had any
    /// more, so that nobody can tell.
    pub envelope: Option<Opened>,
}

/// Which file to bring, and from where on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileQuery {
    /// Its key at the domain that has it.
    pub key: [u8; 16],
    /// SHA-256 of its bytes; `None` when it is wanted as the picture of somebody.
    pub sha256: Option<[u8; 32]>,
    /// How many bytes the asker has already.
    pub offset: u64,
}

/// What a file is, in the words of the domain that has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileHead {
    /// How many bytes the whole of it has.
    pub size: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
    /// What kind of file it is said to be.
    pub mime: String,
    /// What it is called; empty for nothing.
    pub name: String,
}

/// A file that a peer is given.
pub struct FileOffer {
    /// What it is.
    pub head: FileHead,
    /// How many bytes there are from where the peer wants them.
    pub left: u64,
    /// Those bytes.
    pub bytes: BoxStream<'static, Result<Bytes, Unavailable>>,
}

impl fmt::Debug for FileOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileOffer({:?})", self.head)
    }
}

/// What became of an item.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It has taken effect.
    Ok,
    /// It had taken effect before.
    Duplicate,
    /// It never will.
    Refused(Refusal),
    /// Not now: it is to be offered again, with everything of the same author and topic behind it.
    Later {
        /// Why.
        code: RefusalCode,
        /// After how long.
        retry_after: Duration,
    },
}

/// How far a stream has been decided.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StreamPosition {
    /// Which life of the stream.
    pub epoch: u64,
    /// The last position decided.
    pub position: u64,
}

/// Whom to look up at a peer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum FindQuery {
    /// The part before the `@` of an address.
    LocalPart(String),
    /// A user of that peer.
    User(UserId),
}

/// The domain, as its peers' words reach it.
#[async_trait]
pub trait Local: Send + Sync + 'static {
    /// Decides items of one peer in order; every effect is durable when it returns, and so is that
    /// the stream is decided up to `decided`. One batch of an origin at a time. Answers one verdict
    /// for each item. Items refused before they got here are missing from `items`, but counted in
    /// `decided`; so `items` may be empty.
    async fn deliver(
        &self,
        origin: &DomainName,
        epoch: u64,
        items: Vec<Incoming>,
        decided: u64,
    ) -> Result<Vec<Verdict>, Unavailable>;

    /// How far the stream of `origin` has been decided here.
    async fn received(&self, origin: &DomainName) -> Result<StreamPosition, Unavailable>;

    /// Takes what is worth nothing a minute later. Each signal is of a user of `origin` and for a user
    /// of this domain.
    async fn signals(&self, origin: &DomainName, signals: Vec<wire::Signal>);

    /// Looks a person up for `peer`. `None` for everyone who is not to be found, whatever the reason.
    async fn find(
        &self,
        peer: &DomainName,
        query: FindQuery,
    ) -> Result<Option<wire::Person>, Unavailable>;

    /// Shows `peer` a group whose home we are. `None` for every domain that has no part in it, whether
    /// there is such a group or not. A channel may be read by anybody.
    async fn read_group(
        &self,
        peer: &DomainName,
        group: GroupId,
        query: GroupQuery,
    ) -> Result<Option<wire::read_group_response::What>, Unavailable>;

    /// Gives `peer` a file of this domain. `None` for every file that is not for it, whether there is
    /// one or not.
    async fn read_file(
        &self,
        peer: &DomainName,
        query: FileQuery,
    ) -> Result<Option<FileOffer>, Unavailable>;
}

/// A sealed item that waits for a peer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its position in our stream to the peer.
    pub position: u64,
    /// The envelope, sealed.
    pub envelope: Envelope,
    /// Its place, if it is an entry of the log of a group whose home we are.
    pub placed: Option<Placed>,
}

/// The durable outbox, as delivery sees it.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Peers for whom something waits.
    async fn peers(&self) -> Result<Vec<DomainName>, Unavailable>;

    /// Items up to position `last` are about to be offered to `peer`: after a restart no position up to
    /// it is given to anything else. Returns the epoch of the stream.
    async fn offering(&self, peer: &DomainName, last: u64) -> Result<u64, Unavailable>;

    /// The next items in order of position, at most `items_max` and about `bytes_max`, but one if
    /// there is any. Items stay until they are settled. Parked ones are left out until they are due.
    async fn next(
        &self,
        peer: &DomainName,
        now: Timestamp,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Outgoing>, Unavailable>;

    /// More of the same, behind what [`Outbox::next`] and this have handed out since, all of which was taken,
    /// though it may not be settled yet. None where that is not all there is to look at: then
    /// [`Outbox::next`] comes next.
    async fn behind(
        &self,
        peer: &DomainName,
        now: Timestamp,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Outgoing>, Unavailable>;

    /// Settles verdicts durably: ok and duplicate end an item; refused ends it and tells its author;
    /// later parks it with everything of the same author and topic behind it.
    async fn settle(
        &self,
        peer: &DomainName,
        now: Timestamp,
        verdicts: Vec<(u64, Verdict)>,
    ) -> Result<(), Unavailable>;

    /// Whether `peer`, by its word on how far it has decided our stream, has lost something that it had
    /// decided.
    async fn has_lost(&self, peer: &DomainName, word: StreamPosition) -> Result<bool, Unavailable>;

    /// Takes what `peer` says about how far it has decided our stream, on a link that is new, before
    /// anything is offered on it. What the peer has lost is offered again, before everything newer; true
    /// when that makes what was looked up before out of date.
    async fn heard(&self, peer: &DomainName, word: StreamPosition) -> Result<bool, Unavailable>;

    /// When the next parked item becomes due.
    async fn next_due(&self, peer: &DomainName) -> Result<Option<Timestamp>, Unavailable>;
}
