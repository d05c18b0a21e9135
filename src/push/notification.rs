//! What a device is told: as little as it takes to fetch the rest from here, or more where nobody on the way
//! can read it (fact sheet, section 8).

use std::time::Duration;

use freehold_proto::{AccessMode, Timestamp, Urgency, UserId};
use freehold_store::TopicKey;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::encryption::TEXT_BYTES_MAX;
use crate::{
    edge::{frames::Data, ids::Head},
    topic::message,
};

/// Longest beginning of a message that is told, in characters.
const PREVIEW_CHARS: usize = 128;

/// Longest key of a message's head that is told, in bytes.
const WORD_BYTES_MAX: usize = 64;

/// How a call stands that rings, and how it may stand later (PROTOCOL.md section 7.8).
const STARTED: &str = "started";
const LATER: [&str; 5] = ["accepted", "finished", "declined", "missed", "disconnected"];

/// Something that a person's devices are told.
#[derive(Clone, Debug)]
pub(crate) struct Notification {
    pub(crate) user: UserId,
    pub(crate) key: TopicKey,
    /// The topic as the person names it.
    pub(crate) topic: String,
    pub(crate) what: What,
    /// The last message that it is about.
    pub(crate) seq: u32,
    pub(crate) at: Timestamp,
    /// Who did it, as the person names them; nobody towards readers of a channel.
    pub(crate) from: String,
    /// Of a message.
    pub(crate) words: Words,
    /// The devices that are told, if not all.
    pub(crate) only: Option<Vec<String>>,
    /// Of an invitation: want and given.
    pub(crate) access: Option<(AccessMode, AccessMode)>,
    /// Of a call that rings: when it has rung long enough.
    pub(crate) until: Option<Instant>,
}

/// Kinds of notifications. A later one takes the place of an earlier one of the same kind about the same topic.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum What {
    /// Somebody wrote.
    Message,
    /// Somebody calls, or the call is over.
    Call,
    /// Somebody asks in.
    Invitation,
    /// The person has read it on another device.
    Read,
}

/// What is told of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Words {
    /// How the call stands that it is.
    call: Option<String>,
    audio_only: bool,
    /// The message that it takes the place of.
    replace: Option<String>,
    mime: Option<String>,
    preview: Option<String>,
}

/// How much is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Content {
    /// What it takes to fetch the rest.
    Bare,
    /// All of it.
    Whole,
}

impl Words {
    /// Reads a message; `None` for one that nobody need be told of: an edit.
    pub(crate) fn of(data: &Data) -> Option<Self> {
        let head = head(data);
        let text = |key: &str| {
            let text = head.get(key).and_then(Value::as_str);
            text.filter(|it| it.len() <= WORD_BYTES_MAX)
                .map(str::to_owned)
        };
        if head.contains_key("replace") {
            return None;
        }
        Some(Self {
            mime: text("mime"),
            preview: data.content.as_ref().and_then(|it| preview(it.get())),
            ..Self::default()
        })
    }

    /// The same between two people, of whom one may call. `begins` for the message that began the call which rings
    /// here. What another domain's head says besides is not told: these words reach vendors.
    pub(crate) fn between_two(data: &Data, begins: bool) -> Option<Self> {
        let head = head(data);
        let text = |key: &str| head.get(key).and_then(Value::as_str);
        let (stands, replaced) = (text("webrtc"), message::replaced(&head).ok().flatten());
        let call = match replaced {
            None => stands.filter(|it| begins && *it == STARTED),
            Some(_) => stands.filter(|it| LATER.contains(it)),
        };
        let Some(call) = call else {
            return Self::of(data);
        };
        Some(Self {
            call: Some(call.to_owned()),
            audio_only: head.get("aonly").and_then(Value::as_bool) == Some(true),
            replace: replaced.map(|seq| format!(":{seq}")),
            mime: None,
            preview: data.content.as_ref().and_then(|it| preview(it.get())),
        })
    }

    /// What kind of notification it makes.
    pub(crate) fn what(&self) -> What {
        match self.call {
            Some(_) => What::Call,
            None => What::Message,
        }
    }
}

fn head(data: &Data) -> Head {
    let head = data.head.as_ref();
    let head = head.and_then(|it| serde_json::from_str(it.get()).ok());
    head.unwrap_or_default()
}

/// How a message begins: of plain text and of formatted text.
fn preview(content: &str) -> Option<String> {
    let content: Value = serde_json::from_str(content).ok()?;
    let text = match &content {
        Value::String(text) => text,
        Value::Object(formatted) => formatted.get("txt")?.as_str()?,
        _ => return None,
    };
    Some(text.chars().take(PREVIEW_CHARS).collect())
}

impl Notification {
    /// How long a device may still be told of it, if that is short.
    pub(super) fn rest(&self) -> Option<Duration> {
        let until = self.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// How soon it is to come.
    pub(super) fn urgency(&self) -> Urgency {
        match self.what {
            What::Read => Urgency::Low,
            What::Message | What::Call | What::Invitation => Urgency::High,
        }
    }

    /// Under the names that stock clients know.
    pub(super) fn fields(&self, content: Content) -> Vec<(String, String)> {
        let what = match self.what {
            What::Message | What::Call => "msg",
            What::Invitation => "sub",
            What::Read => "read",
        };
        let mut fields = vec![
            ("what", what.to_owned()),
            ("topic", self.topic.clone()),
            ("ts", self.at.to_string()),
        ];
        if self.seq > 0 {
            fields.push(("seq", self.seq.to_string()));
        }
        if let Some((want, given)) = self.access {
            fields.push(("modeWant", want.to_string()));
            fields.push(("modeGiven", given.to_string()));
        }
        let words = &self.words;
        // Without these the device would ring for a call that is over.
        fields.extend(words.call.clone().map(|it| ("webrtc", it)));
        fields.extend(words.replace.clone().map(|it| ("replace", it)));
        if words.audio_only {
            fields.push(("aonly", "true".to_owned()));
        }
        if matches!(self.what, What::Read) {
            fields.push(("silent", "true".to_owned()));
        }
        if content == Content::Whole {
            if !self.from.is_empty() {
                fields.push(("xfrom", self.from.clone()));
            }
            fields.extend(words.mime.clone().map(|it| ("mime", it)));
            fields.extend(words.preview.clone().map(|it| ("content", it)));
        }
        let fields = fields.into_iter();
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The same as JSON.
    pub(super) fn json(&self, content: Content) -> Vec<u8> {
        let write = |content| {
            let fields = self.fields(content).into_iter();
            let object: Map<_, _> = fields.map(|(name, it)| (name, it.into())).collect();
            Value::Object(object).to_string().into_bytes()
        };
        match write(content) {
            // Escapes can make a short text long.
            long if long.len() > TEXT_BYTES_MAX => write(Content::Bare),
            text => text,
        }
    }

    /// What a later notification of the same kind has too. Without the salt it says nothing.
    pub(super) fn collapse(&self, salt: &[u8; 32]) -> [u8; 24] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(salt)
            .chain_update(self.key.as_bytes())
            .chain_update([self.what as u8])
            .chain_update(self.user.to_string())
            .finalize()
            .into();
        let mut key = [0; 24];
        key.copy_from_slice(&hash[..24]);
        key
    }
}

/// A notification of somebody, for tests.
#[cfg(test)]
pub(super) fn sample(user: u16, what: What, seq: u32) -> Notification {
    let [high, low] = user.to_be_bytes();
    let domain: freehold_proto::DomainName = "alpha.test".parse().unwrap();
    Notification {
        user: UserId::new([high, low, 0, 0, 0, 0, 0, 0], domain.clone()),
        key: TopicKey::reports(&domain),
        topic: "usrB".to_owned(),
        what,
        seq,
        at: Timestamp::EPOCH,
        from: "usrB".to_owned(),
        words: Words::default(),
        only: None,
        access: None,
        until: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, value::to_raw_value};

    use super::*;

    fn data(head: &Value, content: &Value) -> Data {
        Data {
            topic: "usrB".to_owned(),
            from: "usrB".to_owned(),
            ts: Timestamp::EPOCH,
            seq: 7,
            head: Some(to_raw_value(head).unwrap()),
            content: Some(to_raw_value(content).unwrap()),
        }
    }

    fn notification(words: Words) -> Notification {
        let what = words.what();
        Notification {
            words,
            ..sample(1, what, 7)
        }
    }

    fn told(notification: &Notification, content: Content) -> Value {
        serde_json::from_slice(&notification.json(content)).unwrap()
    }

    #[test]
    fn those_who_carry_it_read_what_it_takes_to_fetch_the_message_and_no_word_of_it() {
        let words = Words::of(&data(
            &json!({"mime": "text/x-drafty"}),
            &json!({"txt": "secret"}),
        ));
        let notification = notification(words.unwrap());
        let bare =
            json!({"what": "msg", "topic": "usrB", "seq": "7", "ts": "1970-01-01T00:00:00.000Z"});
        assert_eq!(told(&notification, Content::Bare), bare);
        let whole = told(&notification, Content::Whole);
        assert_eq!(
            (&whole["content"], &whole["xfrom"], &whole["mime"]),
            (&json!("secret"), &json!("usrB"), &json!("text/x-drafty"))
        );
        assert_ne!(
            notification.collapse(&[1; 32]),
            notification.collapse(&[2; 32])
        );
    }

    #[test]
    fn of_an_edit_nobody_is_told_and_of_a_call_its_beginning_and_its_end() {
        assert_eq!(
            Words::of(&data(&json!({"replace": ":3"}), &json!("x"))),
            None
        );
        let begun = data(&json!({"webrtc": "started", "aonly": true}), &json!(""));
        let call = Words::between_two(&begun, true);
        let call = notification(call.unwrap());
        assert_eq!((call.what, call.urgency()), (What::Call, Urgency::High));
        let fields = told(&call, Content::Bare);
        assert_eq!(
            (&fields["webrtc"], &fields["aonly"]),
            (&json!("started"), &json!("true"))
        );
        let over = json!({"webrtc": "missed", "replace": ":3"});
        let over = Words::between_two(&data(&over, &json!("")), false);
        let over = notification(over.unwrap());
        let fields = told(&over, Content::Bare);
        assert_eq!(
            (&fields["webrtc"], &fields["replace"]),
            (&json!("missed"), &json!(":3"))
        );
    }

    #[test]
    fn nobody_makes_a_call_of_a_message_nor_sends_vendors_words_of_their_own() {
        let bare =
            json!({"what": "msg", "topic": "usrB", "seq": "7", "ts": "1970-01-01T00:00:00.000Z"});
        let started = json!({"webrtc": "started", "aonly": true});
        let heads = [
            started.clone(),
            json!({"webrtc": "missed"}),
            json!({"webrtc": "read this"}),
        ];
        for head in &heads {
            let words = Words::between_two(&data(head, &json!("")), false).unwrap();
            assert_eq!(told(&notification(words), Content::Bare), bare, "{head}");
        }
        let words = Words::of(&data(&started, &json!(""))).unwrap();
        assert_eq!(words.what(), What::Message, "in a group nobody calls");
        for head in [
            json!({"webrtc": "read this", "replace": ":3"}),
            json!({"webrtc": "missed", "replace": "read this"}),
            json!({"webrtc": "started", "replace": ":3"}),
        ] {
            let words = Words::between_two(&data(&head, &json!("")), true);
            assert_eq!(words, None, "{head}");
        }
    }

    #[test]
    fn what_is_told_always_fits() {
        let long = "\u{1}".repeat(1000);
        let mut notification = notification(Words::of(&data(&json!({}), &json!(long))).unwrap());
        assert_eq!(
            notification.words.preview.as_ref().unwrap().chars().count(),
            128
        );
        notification.words.mime = Some("\u{1}".repeat(1000));
        let mime = Words::of(&data(&json!({"mime": "x".repeat(65)}), &json!("")));
        assert_eq!(mime.unwrap().mime, None);
        assert!(notification.json(Content::Whole).len() <= TEXT_BYTES_MAX);
    }
}
