//! What is measured of the server's inner parts: the same work for `benches/inner.rs`, which takes
//! times, and for `count.rs`, of which callgrind counts the instructions.
//!
//! Everything is decided by the code: no threads, no clock, and of randomness only keys and salts.

use bytes::Bytes;
use freehold_keys::{KeyRing, Signer, open};
use freehold_proto::{
    Destination, DomainName, Envelope, IdentityRecord, MessageId, Timestamp, pbx, wire,
};
use prost::Message as _;
use serde_json::json;

/// Words of a usual length.
pub const WORDS: &str = "Shall we meet at noon by the old bridge? I bring the maps and the red umbrella; \
    you bring bread, cheese and the two small cups that stand on the shelf. If it rains we go to the \
    museum instead, where Eve has tickets for all of us until five.";

/// What a client says to publish [`WORDS`] in the topic it calls `topic`.
#[must_use]
pub fn publish_json(topic: &str, number: u32) -> String {
    let publish = json!({"id": number.to_string(), "topic": topic, "noecho": true,
        "head": {"mime": "text/plain"}, "content": WORDS});
    json!({ "pub": publish }).to_string()
}

/// The same in protobuf.
#[must_use]
pub fn publish_protobuf(topic: &str, number: u32) -> Bytes {
    let publish = pbx::ClientPub {
        id: number.to_string(),
        topic: topic.to_owned(),
        no_echo: true,
        content: json!(WORDS).to_string().into(),
        ..pbx::ClientPub::default()
    };
    let message = pbx::ClientMsg {
        message: Some(pbx::client_msg::Message::Pub(publish)),
        ..pbx::ClientMsg::default()
    };
    message.encode_to_vec().into()
}

/// One domain that writes to another.
#[derive(Debug)]
pub struct Post {
    signer: Signer,
    record: IdentityRecord,
    to: DomainName,
    now: Timestamp,
}

impl Default for Post {
    fn default() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a few keys");
        let now = Timestamp::from_millis(1_767_323_045_678).expect("a moment of this century");
        let from: DomainName = "alpha.test".parse().expect("a domain name");
        let keys = KeyRing::create(&folder.path().join("keys"), &from, now);
        let (keys, _phrase) = keys.expect("the folder is empty");
        Self {
            signer: keys.signer(),
            record: keys.record().record().clone(),
            to: "beta.test".parse().expect("a domain name"),
            now,
        }
    }
}

impl Post {
    /// A message of alpha's Alice to beta's Bob, signed.
    #[must_use]
    pub fn seal(&self, number: u64) -> Envelope {
        let mut id = [7; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let words = wire::payload::Kind::DirectMessage(wire::DirectMessage {
            author: "usrAAAAAAAAAAA@alpha.test".to_owned(),
            recipient: "usrBBBBBBBBBBB@beta.test".to_owned(),
            content: json!(WORDS).to_string().into(),
            ..wire::DirectMessage::default()
        });
        let to = Destination::Domain(self.to.clone());
        let sealed = self
            .signer
            .seal(to, MessageId::from_bytes(id), self.now, words);
        sealed.expect("the system has randomness")
    }

    /// An envelope as bytes between domains.
    #[must_use]
    pub fn encode(envelope: Envelope) -> Bytes {
        wire::Envelope::from(envelope).encode_to_vec().into()
    }

    /// Back from bytes; nothing if they are no envelope.
    #[must_use]
    pub fn decode(bytes: Bytes) -> Option<Envelope> {
        wire::Envelope::decode(bytes).ok()?.try_into().ok()
    }

    /// Whether everything about it holds, as the other domain finds out.
    #[must_use]
    pub fn opens(&self, envelope: Envelope) -> bool {
        open(envelope, &self.record, self.now).is_ok()
    }
}
