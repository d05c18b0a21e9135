//! Parts of the way of a message that cannot be reached from outside, for `bench/inner` to measure by
//! themselves: the same functions in the same order as in a domain, without sockets, tasks, clock and
//! disk. The server uses nothing of it, and it promises nothing.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use freehold_proto::{AccessMode, GroupId, MessageId, Timestamp, UserId};
use freehold_store::{
    Batch, MemoryEngine, Tables, TopicKey,
    tables::{messages::put_message, rows::MessageRow},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    TopicName,
    attached::Attached,
    message::{self, Draft},
    notify_room::show_in_room,
    one_to_one::OneToOne,
    room::{Room, RoomKind, RoomLimits},
    sent::Sent,
};
use crate::edge::{
    encoding::{Encoded, Encoding},
    frames::{Data, Packed, ServerFrame, is_plain},
    grpc,
    ids::Ids,
    reply::{self, Reply},
    requests::{Extra, Pub, Request, Unreadable},
    session::Session,
};

/// When everything happens.
const NOW: i64 = 1_767_323_045_678;
const GROUP: [u8; 16] = [7; 16];

fn now() -> Timestamp {
    Timestamp::from_millis(NOW).expect("a moment of this century")
}

fn person(number: u32) -> UserId {
    let mut local = [0; 8];
    local[..4].copy_from_slice(&number.to_be_bytes());
    UserId::new(local, "alpha.test".parse().expect("a domain name"))
}

/// Reads a frame of a client that speaks protobuf.
pub fn read_protobuf(frame: Bytes) -> Result<(Request, Extra), Unreadable> {
    grpc::read(frame)
}

/// A message to two people of one domain, as it is before a topic decides about it.
#[derive(Debug)]
pub struct Wanted {
    id: Option<String>,
    draft: Draft,
}

/// What was decided: what is to be written, and of what the frames are made.
#[derive(Debug)]
pub struct Decided {
    /// Goes to the store.
    pub batch: Batch,
    id: Option<String>,
    seq: u32,
    row: MessageRow,
}

/// A conversation of two people of one domain.
pub struct Chat {
    tables: Tables,
    ids: Ids,
    key: TopicKey,
    topic: OneToOne,
    author: UserId,
    sent: Sent,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chat({:?})", self.key)
    }
}

impl Default for Chat {
    fn default() -> Self {
        let (author, other) = (person(1), person(2));
        let us = author.domain().clone();
        let mut topic = OneToOne::new(author.clone(), other.clone(), &us);
        for user in [&author, &other] {
            let all = AccessMode::ONE_TO_ONE;
            let opened = topic.subscribe(user, None, all, all, now());
            let _told = opened.expect("both let the other one in");
        }
        let tables = Tables::open(Arc::new(MemoryEngine::new()));
        Self {
            tables: tables.expect("a store in memory opens"),
            key: TopicName::one_to_one(&author, &other).key(),
            ids: Ids::new(us),
            topic,
            author,
            sent: Sent::default(),
        }
    }
}

impl Chat {
    /// The other person, as the author's client names them.
    #[must_use]
    pub fn name(&self) -> String {
        self.ids.shown(&self.topic.other(&self.author).id)
    }

    /// Reads what the author's client says; nothing unless it publishes something sound.
    #[must_use]
    pub fn read(&self, frame: &[u8]) -> Option<Wanted> {
        let (request, extra) = Request::parse(frame).ok()?;
        let Request::Pub(Pub {
            id, head, content, ..
        }) = request
        else {
            return None;
        };
        let draft = Draft {
            head: head.unwrap_or_default(),
            content: content.filter(|it| is_plain(it.get().as_bytes()))?,
            attachments: extra.attachments,
        };
        Some(Wanted { id, draft })
    }

    /// Decides about it as the topic does; nothing if it is refused.
    #[must_use]
    pub fn decide(&mut self, wanted: Wanted) -> Option<Decided> {
        let Wanted { id, mut draft } = wanted;
        self.topic.may_publish(&self.author).ok()?;
        message::replaced(&draft.head).ok()?;
        let given = message::id_by_client(&draft.head, self.key, &self.author).ok()?;
        let random = [7; 10];
        let message_id = given.unwrap_or_else(|| MessageId::mint(now(), &random));
        draft.head.remove("sender");
        let row = MessageRow {
            author: self.author.to_string(),
            message_id: Bytes::copy_from_slice(message_id.as_bytes()),
            issued: NOW,
            received: NOW,
            head: message::head_bytes(&draft.head),
            content: Bytes::copy_from_slice(draft.content.get().as_bytes()),
            ..MessageRow::default()
        };
        let seq = self.topic.publish(&self.author, now()).ok()?;
        let mut batch = Batch::new();
        put_message(&mut batch, self.key, seq, &row);
        self.sent.note(None, given, seq);
        Some(Decided {
            batch,
            id,
            seq,
            row,
        })
    }

    /// The two frames that follow: the author's acknowledgement, the other one's message.
    #[must_use]
    pub fn tell(&self, decided: Decided) -> Option<[Encoded; 2]> {
        let accepted = Reply::with(reply::ACCEPTED, json!({ "seq": decided.seq }));
        let accepted = accepted.into_frame(decided.id, Some(self.name()), now());
        let (seq, row) = (decided.seq, decided.row);
        let data = message::shown(&self.tables, &self.ids, self.key, seq, &row).ok()?;
        let shown = ServerFrame::Data(Data {
            topic: self.ids.shown(&self.author),
            ..data
        });
        Some([accepted, shown].map(|it| it.encode(Encoding::Json)))
    }
}

/// A group whose members are all here, each with one session that takes what it is sent.
pub struct Crowd {
    room: Room,
    attached: Attached,
    sessions: Vec<(Session, mpsc::Receiver<Vec<Encoded>>)>,
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crowd({})", self.sessions.len())
    }
}

impl Crowd {
    /// So many members. `protobuf` says how the frames of a session travel, by its number.
    #[must_use]
    pub fn of(members: u32, protobuf: impl Fn(u32) -> bool) -> Self {
        let mut room = Room::new(RoomKind::Group, Some(GroupId::from_bytes(GROUP)), now());
        let limits = RoomLimits {
            members_max: members as usize,
        };
        let mut attached = Attached::default();
        let mut sessions = Vec::new();
        room.found(&person(0), AccessMode::NONE, now());
        for number in 0..members {
            let user = person(number);
            if number > 0 {
                let wants = Some(AccessMode::GROUP);
                let granted = room.grant(&person(0), &user, "", wants, limits, now());
                let _told = granted.expect("the owner may let as many in");
            }
            let encoding = match protobuf(number) {
                true => Encoding::Protobuf,
                false => Encoding::Json,
            };
            let (session, queue) = Session::new(encoding, CancellationToken::new());
            attached.insert(&session, &user);
            sessions.push((session, queue));
        }
        Self {
            room,
            attached,
            sessions,
        }
    }

    /// Shows one message to all of them, as the topic does once it is durable.
    pub fn show(&self, seq: u32, content: &str) {
        let data = Data {
            topic: self
                .room
                .group
                .map_or_else(String::new, |it| it.to_string()),
            from: person(0).bare(),
            ts: now(),
            seq,
            head: None,
            content: serde_json::value::to_raw_value(content).ok(),
        };
        let members = ServerFrame::Data(data);
        let place = (TopicKey::group(&GroupId::from_bytes(GROUP)), seq);
        let frames = (&Packed::new(&members), None);
        show_in_room((&self.room, &self.attached), place, frames, None);
    }

    /// Takes what stands in the queues, as the connections do; says how many frames and bytes.
    pub fn take(&mut self) -> (usize, usize) {
        let (mut frames, mut bytes) = (0, 0);
        for (session, queue) in &mut self.sessions {
            while let Ok(taken) = queue.try_recv() {
                session.sent(&taken);
                frames += taken.len();
                bytes += taken.iter().map(Encoded::size).sum::<usize>();
            }
        }
        (frames, bytes)
    }
}
