//! What stands in the rows. Storage types only: protobuf, so that fields can be added later; meaning
//! and wire have types of their own.

/// An account of this domain.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AccountRow {
    /// Log-in name, lower case.
    #[prost(string, tag = "1")]
    pub login: String,
    /// When it was made, ms.
    #[prost(int64, tag = "2")]
    pub created: i64,
    /// When its description last changed, ms.
    #[prost(int64, tag = "3")]
    pub updated: i64,
    /// Public description, JSON; empty for none.
    #[prost(bytes = "bytes", tag = "4")]
    pub public: bytes::Bytes,
    /// The owner's private notes, JSON; empty for none.
    #[prost(bytes = "bytes", tag = "5")]
    pub private: bytes::Bytes,
    /// What a stranger gets in a one-to-one topic with this person.
    #[prost(string, tag = "6")]
    pub access_auth: String,
    /// The same for anonymous strangers.
    #[prost(string, tag = "7")]
    pub access_anon: String,
    /// Credentials, for example an e-mail address.
    #[prost(message, repeated, tag = "8")]
    pub credentials: Vec<CredentialRow>,
    /// When the last session ended, ms; 0 for never.
    #[prost(int64, tag = "9")]
    pub seen: i64,
    /// User agent of that session.
    #[prost(string, tag = "10")]
    pub seen_agent: String,
    /// Authority: 0 a usual account, 1 anonymous, 2 administrator.
    #[prost(uint32, tag = "11")]
    pub level: u32,
    /// 0 in use, 1 suspended, 2 waiting for approval.
    #[prost(uint32, tag = "12")]
    pub state: u32,
    /// When the state last changed, ms; 0 for never.
    #[prost(int64, tag = "13")]
    pub state_at: i64,
    /// Counted up when older log-in tokens must not work any more.
    #[prost(uint32, tag = "14")]
    pub generation: u32,
    /// The log-in whose tokens outlive that, 8 bytes; empty for none.
    #[prost(bytes = "bytes", tag = "15")]
    pub spared: bytes::Bytes,
    /// Tags the owner chose; those of the server follow from the rest of the row.
    #[prost(string, repeated, tag = "16")]
    pub tags: Vec<String>,
    /// Marks of the administrators, JSON; empty for none.
    #[prost(bytes = "bytes", tag = "17")]
    pub trusted: bytes::Bytes,
    /// What the owner always searches for.
    #[prost(string, tag = "18")]
    pub standing_query: String,
    /// The name under which an outside service knows the owner; empty for none.
    #[prost(string, tag = "19")]
    pub external: String,
    /// What the owner wants on `me`; empty for the usual. Without `P` nobody sees them come and go.
    #[prost(string, tag = "20")]
    pub want_me: String,
}

/// A way to reach an account's owner.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CredentialRow {
    /// `email` or `tel`.
    #[prost(string, tag = "1")]
    pub method: String,
    /// The address or number.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Confirmed by its owner.
    #[prost(bool, tag = "3")]
    pub done: bool,
}

/// A log-in name and the way to prove it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoginRow {
    /// Random part of the user id, 8 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub user: bytes::Bytes,
    /// Argon2id hash, PHC string.
    #[prost(string, tag = "2")]
    pub password: String,
}

/// A code that was sent to prove a credential or to reset a password.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CodeRow {
    /// `email`.
    #[prost(string, tag = "1")]
    pub method: String,
    /// Where it was sent.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Keyed hash of the code.
    #[prost(bytes = "bytes", tag = "3")]
    pub hash: bytes::Bytes,
    /// Counts until here, ms.
    #[prost(int64, tag = "4")]
    pub expires: i64,
    /// Wrong answers so far.
    #[prost(uint32, tag = "5")]
    pub tries: u32,
}

/// A device to which pushes go.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeviceRow {
    /// What the client said of it.
    #[prost(string, tag = "1")]
    pub token: String,
    /// When somebody last logged in with it, ms.
    #[prost(int64, tag = "2")]
    pub seen: i64,
}

/// Whose a credential, a tag or the like is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OwnerRow {
    /// Random part of the user id, 8 bytes, or of the group id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub owner: bytes::Bytes,
}

/// An id that belonged to an account that is gone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TombstoneRow {
    /// When it was deleted, ms.
    #[prost(int64, tag = "1")]
    pub at: i64,
}

/// An invitation to make an account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InvitationRow {
    /// What is typed.
    #[prost(string, tag = "1")]
    pub code: String,
    /// For whom, in the operator's words.
    #[prost(string, tag = "2")]
    pub note: String,
    /// When it was made, ms.
    #[prost(int64, tag = "3")]
    pub created: i64,
    /// Counts until here, ms.
    #[prost(int64, tag = "4")]
    pub expires: i64,
    /// Accounts it may still make.
    #[prost(uint32, tag = "5")]
    pub left: u32,
    /// Accounts it has made.
    #[prost(uint32, tag = "6")]
    pub used: u32,
}

/// Something that an administrator did.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuditRow {
    /// When, ms.
    #[prost(int64, tag = "1")]
    pub at: i64,
    /// Who: a user id, or `operator` for the command line.
    #[prost(string, tag = "2")]
    pub by: String,
    /// To or for whom; empty for nobody.
    #[prost(string, tag = "3")]
    pub about: String,
    /// What, such as `acc susp`.
    #[prost(string, tag = "4")]
    pub what: String,
}

/// A topic of this domain, or this domain's copy of one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TopicRow {
    /// The two people of a one-to-one topic, global ids, sorted.
    #[prost(string, repeated, tag = "1")]
    pub people: Vec<String>,
    /// When it was made here, ms.
    #[prost(int64, tag = "2")]
    pub created: i64,
    /// What is attached to the topic (pins), JSON; empty for none.
    #[prost(bytes = "bytes", tag = "3")]
    pub aux: bytes::Bytes,
    /// What was deleted so far.
    #[prost(message, optional, tag = "4")]
    pub cleared: Option<ClearedRow>,
}

/// How far the deletions of a topic have come.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ClearedRow {
    /// Id of the last deletion, whoever it was for.
    #[prost(uint32, tag = "1")]
    pub last: u32,
    /// Id of the last deletion for everybody.
    #[prost(uint32, tag = "2")]
    pub last_hard: u32,
    /// What those up to here deleted has been erased from the rows too.
    #[prost(uint32, tag = "3")]
    pub erased: u32,
}

/// [`RoomRow::kind`] of a group with a channel.
pub const CHANNEL: u32 = 2;

/// A group, or a topic of one person with themselves or with the administrators.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RoomRow {
    /// 1 group, 2 group with a channel, 3 notes to self, 4 reports.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// When it was made, ms.
    #[prost(int64, tag = "2")]
    pub created: i64,
    /// When its description last changed, ms.
    #[prost(int64, tag = "3")]
    pub updated: i64,
    /// Public description, JSON; empty for none.
    #[prost(bytes = "bytes", tag = "4")]
    pub public: bytes::Bytes,
    /// Marks of the administrators, JSON; empty for none.
    #[prost(bytes = "bytes", tag = "5")]
    pub trusted: bytes::Bytes,
    /// What somebody with an account gets who joins.
    #[prost(string, tag = "6")]
    pub access_auth: String,
    /// The same for anonymous people.
    #[prost(string, tag = "7")]
    pub access_anon: String,
    /// Tags to be found by.
    #[prost(string, repeated, tag = "8")]
    pub tags: Vec<String>,
    /// What is attached to the topic (pins), JSON; empty for none.
    #[prost(bytes = "bytes", tag = "9")]
    pub aux: bytes::Bytes,
    /// What was deleted so far.
    #[prost(message, optional, tag = "10")]
    pub cleared: Option<ClearedRow>,
    /// The create record of a group, as signed.
    #[prost(bytes = "bytes", tag = "11")]
    pub record: bytes::Bytes,
    /// 64 bytes: the home's signature on it.
    #[prost(bytes = "bytes", tag = "12")]
    pub signature: bytes::Bytes,
    /// Members, of a channel not its readers.
    #[prost(uint32, tag = "13")]
    pub members: u32,
    /// Readers of a channel.
    #[prost(uint32, tag = "14")]
    pub readers: u32,
    /// When the group was deleted, ms; 0 while it lives. Its id is never used again.
    #[prost(int64, tag = "15")]
    pub deleted: i64,
    /// The domain that orders and rules the group; empty for ours.
    #[prost(string, tag = "16")]
    pub home: String,
    /// How often the home has changed, from 1; 0 while there is no log.
    #[prost(uint64, tag = "17")]
    pub epoch: u64,
    /// Of a copy: the order that the log had when the copy began, and the position behind which new
    /// messages stand.
    #[prost(uint32, tag = "18")]
    pub base: u32,
    /// Of a copy: the order from which on the history from before it began has been fetched; 0 for
    /// none, 1 for all.
    #[prost(uint32, tag = "20")]
    pub fetched: u32,
    /// Of a copy: the entry with which it began.
    #[prost(message, optional, tag = "19")]
    pub begun: Option<LogStartRow>,
    /// Up to here a message's order is its position, and no row says so.
    #[prost(uint32, tag = "21")]
    pub opened: u32,
    /// The epoch for which this domain has last agreed to another home, and which home.
    #[prost(uint64, tag = "22")]
    pub consented_epoch: u64,
    /// Empty for none.
    #[prost(string, tag = "23")]
    pub consented_home: String,
    /// How the home came to be it: the entries that say so.
    #[prost(message, repeated, tag = "24")]
    pub succession: Vec<LogRow>,
    /// What a fenced home ruled last may not hold: the present one is to be asked how everybody stands.
    #[prost(bool, tag = "25")]
    pub unsure: bool,
    /// The last entry in which the home named its successors.
    #[prost(message, optional, tag = "26")]
    pub charter: Option<LogRow>,
    /// Who succeed the home: the last few times that this was said.
    #[prost(message, repeated, tag = "27")]
    pub successors: Vec<SuccessorsRow>,
    /// Of a channel whose home is another domain: where our copy of its feed began.
    #[prost(message, optional, tag = "28")]
    pub feed: Option<FeedStartRow>,
    /// At the home of a channel: how many people of other domains read it, by their word.
    #[prost(uint32, tag = "29")]
    pub readers_abroad: u32,
}

/// Where a copy of a feed began.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FeedStartRow {
    /// Of the home then.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The entry before.
    #[prost(message, optional, tag = "2")]
    pub start: Option<LogStartRow>,
}

/// Who succeed the home of a group, from an entry on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SuccessorsRow {
    /// Its index.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Domains.
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
}

/// The entry that a copy of a group's log begins behind.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogStartRow {
    /// Its index.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// The order it had.
    #[prost(uint32, tag = "2")]
    pub order: u32,
    /// Its hash, 32 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub hash: bytes::Bytes,
}

/// One entry of a group's log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogRow {
    /// The position as signed.
    #[prost(bytes = "bytes", tag = "1")]
    pub position: bytes::Bytes,
    /// 64 bytes: the home's signature on it.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: bytes::Bytes,
    /// Of a message: its `seq` here. 0 for everything else.
    #[prost(uint32, tag = "3")]
    pub seq: u32,
    /// Of everything else: the envelope.
    #[prost(message, optional, tag = "4")]
    pub envelope: Option<EnvelopeRow>,
}

/// Where a message stands.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct PlaceRow {
    /// At the home.
    #[prost(uint32, tag = "1")]
    pub order: u32,
    /// Here.
    #[prost(uint32, tag = "2")]
    pub seq: u32,
    /// Index of its entry; 0 for what was written before there was a log.
    #[prost(uint64, tag = "3")]
    pub index: u64,
}

/// A domain with a copy of a group whose home we are.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct FollowerRow {
    /// Index of the last entry before it had a part in the group.
    #[prost(uint64, tag = "1")]
    pub since: u64,
    /// Index of the last entry that it is told, having no part any more; 0 while it has.
    #[prost(uint64, tag = "2")]
    pub until: u64,
}

/// A domain whose people read a channel of ours.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ReadingDomainRow {
    /// How many, by its own word; never 0.
    #[prost(uint32, tag = "1")]
    pub readers: u32,
}

/// How far a domain has been told the log of a group.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ToldRow {
    /// Index of the last entry that it has decided.
    #[prost(uint64, tag = "1")]
    pub told: u64,
}

/// What somebody of ours asked of a group's home.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestRow {
    /// As signed.
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<EnvelopeRow>,
}

/// One deletion: which messages it took away.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeletionRow {
    /// The messages.
    #[prost(message, repeated, tag = "1")]
    pub spans: Vec<SpanRow>,
    /// When, ms.
    #[prost(int64, tag = "2")]
    pub at: i64,
    /// Who did it, global id.
    #[prost(string, tag = "3")]
    pub by: String,
}

/// Messages from `low` up to, not including, `high`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SpanRow {
    /// First.
    #[prost(uint32, tag = "1")]
    pub low: u32,
    /// Behind the last.
    #[prost(uint32, tag = "2")]
    pub high: u32,
}

/// A person's standing in a topic. Rows of people of other domains hold what those domains said.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubscriptionRow {
    /// The other person of a one-to-one topic, global id; else the name of the group, `slf` or `sys`.
    #[prost(string, tag = "1")]
    pub peer: String,
    /// Access wanted; its version is counted by the person's domain.
    #[prost(string, tag = "2")]
    pub want: String,
    /// Version of `want`.
    #[prost(uint64, tag = "3")]
    pub want_version: u64,
    /// Access given by the other person; its version is counted by that person's domain.
    #[prost(string, tag = "4")]
    pub given: String,
    /// Version of `given`.
    #[prost(uint64, tag = "5")]
    pub given_version: u64,
    /// The person's private notes on the topic, JSON; empty for none.
    #[prost(bytes = "bytes", tag = "6")]
    pub private: bytes::Bytes,
    /// Last message read, `seq`.
    #[prost(uint32, tag = "7")]
    pub read: u32,
    /// Last message received, `seq`.
    #[prost(uint32, tag = "8")]
    pub received: u32,
    /// When the row was made, ms.
    #[prost(int64, tag = "9")]
    pub created: i64,
    /// When anything but cursors last changed, ms.
    #[prost(int64, tag = "10")]
    pub updated: i64,
    /// When the person left, ms; 0 while subscribed.
    #[prost(int64, tag = "11")]
    pub deleted: i64,
    /// Texts of a stranger shown before this person accepted the contact.
    #[prost(uint32, tag = "12")]
    pub unaccepted_texts: u32,
    /// This person's side has been told to the other person's domain, and changes follow.
    #[prost(bool, tag = "13")]
    pub announced: bool,
    /// A reader of a channel, who is not a member of its group.
    #[prost(bool, tag = "14")]
    pub reader: bool,
    /// Id of the person's last deletion for themselves.
    #[prost(uint32, tag = "15")]
    pub cleared: u32,
    /// In a group that spans domains: the entry of its log with which the rights last changed.
    #[prost(uint64, tag = "16")]
    pub changed_index: u64,
    /// What the rights were before that.
    #[prost(string, tag = "17")]
    pub before: String,
    /// Of a reader who was a member before.
    #[prost(message, optional, tag = "18")]
    pub member: Option<FormerMemberRow>,
}

/// What outlives a membership in a group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FormerMemberRow {
    /// What the member was given, and is given again who comes back.
    #[prost(string, tag = "1")]
    pub given: String,
    /// Its version.
    #[prost(uint64, tag = "2")]
    pub given_version: u64,
    /// When the membership ended, ms.
    #[prost(int64, tag = "3")]
    pub left: i64,
}

/// What another domain told us about one of its people.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ForeignPersonRow {
    /// Public description, JSON; empty for none.
    #[prost(bytes = "bytes", tag = "1")]
    pub public: bytes::Bytes,
    /// When it last changed, by that domain's clock, ms.
    #[prost(int64, tag = "2")]
    pub public_changed: i64,
    /// Life of the domain that the id belongs to.
    #[prost(uint32, tag = "3")]
    pub incarnation: u32,
    /// When this row changed, ms.
    #[prost(int64, tag = "4")]
    pub updated: i64,
}

/// One message of a topic's log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MessageRow {
    /// Global id of the author.
    #[prost(string, tag = "1")]
    pub author: String,
    /// 16 bytes, unique with the author's domain.
    #[prost(bytes = "bytes", tag = "2")]
    pub message_id: bytes::Bytes,
    /// When the author's domain sealed it, ms.
    #[prost(int64, tag = "3")]
    pub issued: i64,
    /// When it came here, ms.
    #[prost(int64, tag = "4")]
    pub received: i64,
    /// Head, JSON object; empty for none, and when there is an envelope.
    #[prost(bytes = "bytes", tag = "5")]
    pub head: bytes::Bytes,
    /// Content, JSON; empty when there is an envelope.
    #[prost(bytes = "bytes", tag = "6")]
    pub content: bytes::Bytes,
    /// The signed bytes, when the message crossed a border or is going to.
    #[prost(message, optional, tag = "7")]
    pub envelope: Option<EnvelopeRow>,
    /// Id of the deletion that took the content away; 0 while it is there.
    #[prost(uint32, tag = "8")]
    pub deleted: u32,
    /// Of a message from before its group spanned domains: the words of the home that vouched for it.
    #[prost(message, optional, tag = "9")]
    pub vouched: Option<EnvelopeRow>,
}

/// Several messages of one stretch of positions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackRow {
    /// In the order of their positions.
    #[prost(message, repeated, tag = "1")]
    pub messages: Vec<PackedRow>,
}

/// One of them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedRow {
    /// Its position.
    #[prost(uint32, tag = "1")]
    pub seq: u32,
    /// An encoded [`MessageRow`].
    #[prost(bytes = "bytes", tag = "2")]
    pub row: bytes::Bytes,
}

/// An envelope as received or as sealed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EnvelopeRow {
    /// Header bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub header: bytes::Bytes,
    /// 64 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: bytes::Bytes,
    /// 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub salt: bytes::Bytes,
    /// Payload bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub payload: bytes::Bytes,
}

/// Where a message id went: the proof that it came before, and the way from id to `seq`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SeenRow {
    /// SHA-256 of the signed header.
    #[prost(bytes = "bytes", tag = "1")]
    pub header_hash: bytes::Bytes,
    /// Number of the refusal, 0 when it was taken.
    #[prost(uint32, tag = "2")]
    pub refused: u32,
    /// Topic, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub topic: bytes::Bytes,
    /// Its `seq` there.
    #[prost(uint32, tag = "4")]
    pub seq: u32,
    /// When it came, ms.
    #[prost(int64, tag = "5")]
    pub at: i64,
}

/// Something to send to a peer: a reference, not a copy.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutboxRow {
    /// Topic, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub topic: bytes::Bytes,
    /// Our person it is about or from, global id.
    #[prost(string, tag = "2")]
    pub user: String,
    /// 1 message, 2 relation, 3 cursor, 4 request, 5 invitation, 6 cursors of a group,
    /// 7 about a call.
    #[prost(uint32, tag = "3")]
    pub kind: u32,
    /// Of a message: its `seq`.
    #[prost(uint32, tag = "4")]
    pub seq: u32,
    /// When it was queued, ms.
    #[prost(int64, tag = "5")]
    pub at: i64,
    /// Of a request, and of what is about a call: its message id, 16 bytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub request: bytes::Bytes,
    /// Of an invitation: who invites, global id.
    #[prost(string, tag = "7")]
    pub actor: String,
    /// Of a parked message: 1 if the peer failed on it again and again.
    #[prost(uint32, tag = "10")]
    pub failed: u32,
    /// How often the peer has lost it and been offered it again.
    #[prost(uint32, tag = "11")]
    pub again: u32,
}

/// Something that a peer has decided, and that it is offered again if it has lost that.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeptRow {
    /// What it was in the outbox.
    #[prost(message, optional, tag = "1")]
    pub row: Option<OutboxRow>,
    /// The position under which it was decided.
    #[prost(uint64, tag = "2")]
    pub position: u64,
    /// When, ms.
    #[prost(int64, tag = "3")]
    pub at: i64,
}

/// Where a coalesced item (relation, cursor) stands in the outbox.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CellRow {
    /// Its present position.
    #[prost(uint64, tag = "1")]
    pub position: u64,
}

/// A stream of numbered items to or from one peer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamRow {
    /// Random; another one after a restore.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Highest position decided.
    #[prost(uint64, tag = "2")]
    pub position: u64,
    /// Of a stream of ours: no position above has been offered to anybody.
    #[prost(uint64, tag = "3")]
    pub offered: u64,
}

/// A peer's identity as we believe it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PinRow {
    /// An encoded `SignedRecord`.
    #[prost(bytes = "bytes", tag = "1")]
    pub record: bytes::Bytes,
    /// SHA-256 of the root public key.
    #[prost(bytes = "bytes", tag = "2")]
    pub root_fingerprint: bytes::Bytes,
    /// How strong the anchor was.
    #[prost(uint32, tag = "3")]
    pub anchor: u32,
    /// When it was pinned, ms.
    #[prost(int64, tag = "4")]
    pub pinned: i64,
    /// Which life of the name it is; 0 in rows from before there was more than one.
    #[prost(uint32, tag = "5")]
    pub incarnation: u32,
    /// SHA-256 of another root key that is being watched; empty for none.
    #[prost(bytes = "bytes", tag = "6")]
    pub hold_fingerprint: bytes::Bytes,
    /// Since when that is, ms.
    #[prost(int64, tag = "7")]
    pub hold_since: i64,
    /// When the life began, ms.
    #[prost(int64, tag = "8")]
    pub began: i64,
    /// When the other root key was last seen, ms.
    #[prost(int64, tag = "9")]
    pub hold_seen: i64,
}

/// What the operator has decided about dealings with a peer, beside the configuration.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerPolicyRow {
    /// It is allowed where only listed domains are.
    #[prost(bool, tag = "1")]
    pub allowed: bool,
    /// It is denied, with its sub-domains.
    #[prost(bool, tag = "2")]
    pub denied: bool,
}

/// A file that one of our people uploaded.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileRow {
    /// Random part of the owner's id, 8 bytes; empty for the picture of an account in the making.
    #[prost(bytes = "bytes", tag = "1")]
    pub owner: bytes::Bytes,
    /// How many bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// What kind of bytes, a MIME type.
    #[prost(string, tag = "3")]
    pub mime: String,
    /// What stands after the dot in its URL.
    #[prost(string, tag = "4")]
    pub extension: String,
    /// What its owner calls it; empty for nothing.
    #[prost(string, tag = "5")]
    pub name: String,
    /// SHA-256 of the bytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub hash: bytes::Bytes,
    /// When it came, ms.
    #[prost(int64, tag = "7")]
    pub created: i64,
}

/// What whatever refers to a file says of it. Of a file of ours that was put into no envelope, nothing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReferenceRow {
    /// It is a message that went into an envelope.
    #[prost(bool, tag = "1")]
    pub sealed: bool,
    /// The domain that has the file; empty for us.
    #[prost(string, tag = "2")]
    pub owner: String,
    /// Its key there, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub key: bytes::Bytes,
    /// How many bytes it has.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// SHA-256 of them; empty where it is only shown as a picture, of which nothing is known.
    #[prost(bytes = "bytes", tag = "5")]
    pub hash: bytes::Bytes,
    /// The domain that has the file says so itself.
    #[prost(bool, tag = "6")]
    pub by_owner: bool,
}

/// A copy of a file of another domain.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CopyRow {
    /// How many bytes.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// What kind of bytes, a MIME type.
    #[prost(string, tag = "2")]
    pub mime: String,
    /// What its owner calls it; empty for nothing.
    #[prost(string, tag = "3")]
    pub name: String,
    /// SHA-256 of the bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub hash: bytes::Bytes,
    /// When somebody last asked for it, ms, about.
    #[prost(int64, tag = "5")]
    pub used: i64,
}

/// How many files there are.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UsageRow {
    /// How many.
    #[prost(uint64, tag = "1")]
    pub files: u64,
    /// How many bytes they have together.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}
