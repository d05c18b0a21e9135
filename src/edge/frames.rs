//! What we say to clients: the five server messages of the client protocol (fact sheet, section 2.4)
//! in the form of their JSON text.
//!
//! COMPAT stock clients 0.25: every timestamp has exactly 24 characters, every `ctrl` carries `code`,
//! `text` and `ts`, arrays are never null.

use std::{borrow::Cow, cell::OnceCell};

use freehold_proto::{AccessMode, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use super::{
    encoding::{Encoded, Encoding},
    requests::Range,
};

/// One frame to a client.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerFrame {
    /// The answer to a request.
    Ctrl(Ctrl),
    /// A message of a topic.
    Data(Data),
    /// Description of a topic, its people, its messages.
    Meta(Box<Meta>),
    /// Something happened to a topic or a person.
    Pres(Pres),
    /// A note of somebody else.
    Info(Info),
}

/// A frame on its way to many sessions: it is encoded once for each encoding that somebody needs.
#[derive(Debug)]
pub struct Packed<'a> {
    frame: &'a ServerFrame,
    json: OnceCell<Encoded>,
    protobuf: OnceCell<Encoded>,
}

impl<'a> Packed<'a> {
    /// Packs a frame.
    #[must_use]
    pub fn new(frame: &'a ServerFrame) -> Self {
        Self {
            frame,
            json: OnceCell::new(),
            protobuf: OnceCell::new(),
        }
    }

    /// What is packed.
    #[must_use]
    pub fn frame(&self) -> &ServerFrame {
        self.frame
    }

    /// The frame as a session takes it.
    #[must_use]
    pub fn encoded(&self, encoding: Encoding) -> Encoded {
        let cell = match encoding {
            Encoding::Json => &self.json,
            Encoding::Protobuf => &self.protobuf,
        };
        cell.get_or_init(|| self.frame.encode(encoding)).clone()
    }
}

/// JSON that was checked when it came in and is passed on as it is.
pub type Raw = Box<RawValue>;

/// Takes stored JSON; empty bytes are no value at all.
#[must_use]
pub fn raw(bytes: &[u8]) -> Option<Raw> {
    if bytes.is_empty() {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// Levels of JSON that every reader takes, with room for the frame around it.
const DEPTH_MAX: usize = 100;

/// JSON as every reader takes it, checked to the end: no half of a surrogate pair, no number beyond a
/// double, not too deep. Other text that the grammar allows would be taken here and break somebody's
/// client there, or hide an id from whoever looks for one.
#[must_use]
pub fn is_plain(json: &[u8]) -> bool {
    depth(json) <= DEPTH_MAX && serde_json::from_slice::<Value>(json).is_ok()
}

/// How deep valid JSON is nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn moment<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn maybe_moment<S: Serializer>(
    value: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => moment(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// `{ctrl}`
#[derive(Debug, Serialize)]
pub struct Ctrl {
    /// The request's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The topic, by the name that the client used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// More, by kind of answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// As in HTTP.
    pub code: u16,
    /// Literally one of the texts that stock clients know, unless a plugin answers.
    pub text: Cow<'static, str>,
    /// When.
    #[serde(serialize_with = "moment")]
    pub ts: Timestamp,
}

/// `{data}`
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// The topic as the receiver names it.
    pub topic: String,
    /// The author; left out towards readers of a channel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// When it was written or came.
    #[serde(serialize_with = "moment")]
    pub ts: Timestamp,
    /// Its position here.
    pub seq: u32,
    /// Its head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Raw>,
    /// What was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Raw>,
}

/// `{meta}`
#[derive(Debug, Serialize)]
pub struct Meta {
    /// The request's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The topic, by the name that the client used.
    pub topic: String,
    /// When.
    #[serde(serialize_with = "moment")]
    pub ts: Timestamp,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desc: Option<Desc>,
    /// Contacts, members or search results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<Vec<Sub>>,
    /// Tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cred: Option<Vec<Cred>>,
    /// What was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub del: Option<Deleted>,
    /// What is attached to the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<Raw>,
}

/// What was deleted.
#[derive(Debug, Serialize)]
pub struct Deleted {
    /// Id of the last deletion among them.
    pub clear: u32,
    /// The messages.
    pub delseq: Vec<Range>,
}

impl Meta {
    /// An answer without any part yet.
    #[must_use]
    pub fn new(id: Option<String>, topic: String, ts: Timestamp) -> Self {
        Self {
            id,
            topic,
            ts,
            desc: None,
            sub: None,
            tags: None,
            cred: None,
            del: None,
            aux: None,
        }
    }
}

/// A topic's description.
#[derive(Debug, Default, Serialize)]
pub struct Desc {
    /// When the topic was made.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    pub created: Option<Timestamp>,
    /// When the description last changed.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    pub updated: Option<Timestamp>,
    /// When the last message came.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    pub touched: Option<Timestamp>,
    /// Default access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defacs: Option<DefaultAccess>,
    /// The asker's own access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acs: Option<Access>,
    /// Position of the last message.
    #[serde(skip_serializing_if = "is_zero")]
    pub seq: u32,
    /// How far the asker has read.
    #[serde(skip_serializing_if = "is_zero")]
    pub read: u32,
    /// How far the asker has received.
    #[serde(skip_serializing_if = "is_zero")]
    pub recv: u32,
    /// Id of the last deletion.
    #[serde(skip_serializing_if = "is_zero")]
    pub clear: u32,
    /// Members of a group, readers included.
    #[serde(skip_serializing_if = "is_zero")]
    pub subcnt: u32,
    /// The group has a channel.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub chan: bool,
    /// Somebody is in the group now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub online: bool,
    /// Ours: how many of the asker's messages are not at the other person's domain yet
    /// (docs/CLIENTS.md).
    #[serde(skip_serializing_if = "is_zero")]
    pub waiting: u32,
    /// Ours: the other person's domain cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<Away>,
    /// Marks of the administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<Raw>,
    /// Public description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<Raw>,
    /// The asker's private notes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<Raw>,
    /// When the other person was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// State of the account, shown to administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
}

/// One row of a list.
#[derive(Debug, Default, Serialize)]
pub struct Sub {
    /// On `me` and `fnd`: the contact or result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// In a conversation: the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When the row last changed.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    pub updated: Option<Timestamp>,
    /// When the subscription ended.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    pub deleted: Option<Timestamp>,
    /// When the last message came.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    pub touched: Option<Timestamp>,
    /// The contact is on line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub online: bool,
    /// Access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acs: Option<Access>,
    /// Position of the last message.
    #[serde(skip_serializing_if = "is_zero")]
    pub seq: u32,
    /// How far the person has read.
    #[serde(skip_serializing_if = "is_zero")]
    pub read: u32,
    /// How far the person has received.
    #[serde(skip_serializing_if = "is_zero")]
    pub recv: u32,
    /// Id of the last deletion, in one's own row.
    #[serde(skip_serializing_if = "is_zero")]
    pub clear: u32,
    /// Members of a group, readers included.
    #[serde(skip_serializing_if = "is_zero")]
    pub subcnt: u32,
    /// Marks of the administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<Raw>,
    /// Public description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<Raw>,
    /// Private notes; on `fnd` the terms that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<Raw>,
    /// When the contact was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// When and with what somebody was last here.
#[derive(Debug, Serialize)]
pub struct Seen {
    /// When.
    #[serde(serialize_with = "moment")]
    pub when: Timestamp,
    /// User agent.
    pub ua: String,
}

/// Default access of strangers.
#[derive(Debug, Serialize)]
pub struct DefaultAccess {
    /// Of people with an account.
    pub auth: String,
    /// Of anonymous people.
    pub anon: String,
}

/// An access mode in its parts.
#[derive(Debug, Serialize)]
pub struct Access {
    /// What the person wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub want: Option<String>,
    /// What the person is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// What is in both.
    pub mode: String,
}

impl Access {
    /// The three parts of an access mode.
    #[must_use]
    pub fn new(want: AccessMode, given: AccessMode) -> Self {
        Self {
            want: Some(want.to_string()),
            given: Some(given.to_string()),
            mode: want.and(given).to_string(),
        }
    }
}

/// A credential.
#[derive(Debug, Serialize)]
pub struct Cred {
    /// Method.
    pub meth: String,
    /// Value.
    pub val: String,
    /// Confirmed.
    pub done: bool,
}

/// `{pres}`
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pres {
    /// Where the receiver hears it.
    pub topic: String,
    /// Whom or what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<String>,
    /// What happened.
    pub what: &'static str,
    /// User agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ua: Option<String>,
    /// Position of a message.
    #[serde(skip_serializing_if = "is_zero")]
    pub seq: u32,
    /// Id of the last deletion.
    #[serde(skip_serializing_if = "is_zero")]
    pub clear: u32,
    /// What it deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delseq: Vec<Range>,
    /// Who did it, when it was not the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// Whom it was done to, when it was not the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tgt: Option<String>,
    /// How access changed. COMPAT: the key is `dacs`, whatever the API document says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dacs: Option<AccessDelta>,
}

/// A change of access.
#[derive(Clone, Debug, Serialize)]
pub struct AccessDelta {
    /// Change of what is wanted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub want: String,
    /// Change of what is given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub given: String,
}

/// A domain that cannot be reached.
#[derive(Clone, Debug, Serialize)]
pub struct Away {
    /// Since when.
    #[serde(serialize_with = "moment")]
    pub since: Timestamp,
    /// How long a message written now waits for it.
    #[serde(serialize_with = "moment")]
    pub until: Timestamp,
}

/// `{info}`
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// Where the receiver hears it.
    pub topic: String,
    /// On `me`: the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<String>,
    /// Whose note it is.
    pub from: String,
    /// `kp`, `recv`, `read`, `call`.
    pub what: &'static str,
    /// Position.
    #[serde(skip_serializing_if = "is_zero")]
    pub seq: u32,
    /// What happened to a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
    /// What only the other client understands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Raw>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_some_readers_do_not_take_is_told_from_json() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let deepest = nested(DEPTH_MAX);
        for good in ["0", "\"[[[\"", "\"\\\"[\"", "{\"a\":1,\"a\":2}", &deepest] {
            assert!(is_plain(good.as_bytes()), "{good}");
        }
        let brackets = "[".repeat(DEPTH_MAX + 1);
        assert!(is_plain(format!("\"\\\\\\\"{brackets}\"").as_bytes()));
        let deeper = nested(DEPTH_MAX + 1);
        for bad in ["", "{", "1e400", "\"\\ud800\"", "\"\\ud800x\"", &deeper] {
            assert!(!is_plain(bad.as_bytes()), "{bad}");
        }
    }
}
