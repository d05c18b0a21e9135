//! What a client says of its device in `{hi dev}`, and how a push for it looks.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use freehold_config::PushContent;
use freehold_proto::{PushDraft, PushEndpoint, PushTarget, Token};
use serde::{Deserialize, Serialize};

use super::{
    encryption::Subscriber,
    notification::{Content, Notification},
};

/// Longest word about a device, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 4096;

/// A device as it can be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Device {
    /// By a push service, encrypted.
    Web(PushEndpoint, Subscriber),
    /// By a push service that can read what it carries.
    Plain(PushEndpoint),
    /// By Google's.
    Fcm(String),
    /// By Apple's.
    Apns(String),
}

/// A subscription as a browser writes it.
#[derive(Deserialize, Serialize)]
struct Subscription {
    endpoint: String,
    keys: Keys,
}

#[derive(Deserialize, Serialize)]
struct Keys {
    p256dh: String,
    auth: String,
}

impl Device {
    /// Reads what a client said; `None` when nothing could ever be sent there.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        if text.starts_with('{') {
            let read: Subscription = serde_json::from_str(text).ok()?;
            let subscriber = Subscriber::read(&read.keys.p256dh, &read.keys.auth)?;
            return Some(Self::Web(read.endpoint.parse().ok()?, subscriber));
        }
        if text.starts_with("https://") {
            return text.parse().ok().map(Self::Plain);
        }
        if let Some(token) = text.strip_prefix("apns:") {
            let token = token.to_ascii_lowercase();
            return Token::is_apns(&token).then_some(Self::Apns(token));
        }
        Token::is_fcm(text).then(|| Self::Fcm(text.to_owned()))
    }

    /// What nodes call its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Web(..) | Self::Plain(_) => "web",
            Self::Fcm(_) => "fcm",
            Self::Apns(_) => "apns",
        }
    }

    /// A push to ask the node for. Whoever can read it on its way reads as much as `content` lets them.
    /// `None` when it cannot be encrypted.
    pub(super) fn draft(
        &self,
        notification: &Notification,
        content: PushContent,
        (node, salt): (&str, &[u8; 32]),
    ) -> Option<PushDraft> {
        let open = match content {
            PushContent::None => Content::Bare,
            PushContent::Preview => Content::Whole,
        };
        let vendor = |token: &String| Token {
            token: token.clone(),
            fields: notification.fields(open),
        };
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        Some(PushDraft {
            node: node.to_owned(),
            nonce,
            ttl: ttl(notification),
            urgency: notification.urgency(),
            collapse: URL_SAFE_NO_PAD.encode(notification.collapse(salt)),
            target: match self {
                Self::Web(endpoint, subscriber) => PushTarget::Web {
                    endpoint: endpoint.clone(),
                    body: subscriber
                        .encrypt(&notification.json(Content::Whole))
                        .ok()?
                        .into(),
                    encrypted: true,
                },
                Self::Plain(endpoint) => PushTarget::Web {
                    endpoint: endpoint.clone(),
                    body: notification.json(open).into(),
                    encrypted: false,
                },
                Self::Fcm(token) => PushTarget::Fcm(vendor(token)),
                Self::Apns(token) => PushTarget::Apns(vendor(token)),
            },
        })
    }
}

/// What a client said of its device, in its one spelling: a device has one owner, however clients write it
/// down. What is no device stays as it is.
pub(crate) fn spelled(text: String) -> String {
    if Device::read(&text).is_none() {
        return text;
    }
    match serde_json::from_str::<Subscription>(&text) {
        Ok(read) => serde_json::to_string(&read).unwrap_or(text),
        Err(_) if text.starts_with("apns:") => text.to_ascii_lowercase(),
        Err(_) => text,
    }
}

fn ttl(notification: &Notification) -> Duration {
    use super::notification::What;
    match notification.what {
        What::Call => Duration::from_secs(30),
        What::Read => Duration::from_secs(24 * 60 * 60),
        What::Message | What::Invitation => Duration::from_secs(7 * 24 * 60 * 60),
    }
}

#[cfg(test)]
mod tests {
    use freehold_proto::{PushRequest, Timestamp};
    use serde_json::{json, value::to_raw_value};

    use super::{
        super::notification::{What, Words, sample},
        *,
    };
    use crate::edge::frames::Data;

    fn notification() -> Notification {
        let data = Data {
            topic: "usrB".to_owned(),
            from: "usrB".to_owned(),
            ts: Timestamp::EPOCH,
            seq: 7,
            head: None,
            content: Some(to_raw_value(&json!("a secret")).unwrap()),
        };
        Notification {
            words: Words::of(&data).unwrap(),
            ..sample(1, What::Message, 7)
        }
    }

    #[test]
    fn a_device_has_one_spelling_however_clients_write_it_down() {
        let keys = r#""auth":"BTBZMqHH6r4Tts7J_aSIgg","p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4""#;
        let one = format!(
            r#"{{"keys":{{{keys}}}, "expirationTime":null, "endpoint":"https://a.test/x"}}"#
        );
        let other = format!(r#"{{"endpoint":"https://a.test/x","keys":{{{keys}}}}}"#);
        assert_ne!(spelled(one.clone()), one);
        assert_eq!(spelled(one), spelled(other));
        let token = "AB".repeat(32);
        assert_eq!(
            spelled(format!("apns:{token}")),
            spelled(format!("apns:{}", token.to_lowercase()))
        );
        assert_eq!(spelled("dQw4:APA91b".to_owned()), "dQw4:APA91b");
        assert_eq!(spelled("{ nonsense".to_owned()), "{ nonsense");
    }

    #[test]
    fn vendors_are_told_no_word_unless_the_domain_says_so_and_nodes_take_what_is_asked() {
        let apns = format!("apns:{}", "ab".repeat(32));
        for text in ["dQw4:APA91b", &*apns, "https://ntfy.a.test/upX?up=1"] {
            let device = Device::read(text).unwrap();
            for (content, told) in [(PushContent::None, false), (PushContent::Preview, true)] {
                let draft = device.draft(&notification(), content, ("node.test", &[3; 32]));
                let request = PushRequest {
                    domain: "alpha.test".parse().unwrap(),
                    key_id: freehold_proto::KeyId::of(&[1; 32]),
                    issued: Timestamp::EPOCH,
                    expires: Timestamp::EPOCH,
                    draft: draft.unwrap(),
                };
                let bytes = request.encode();
                assert_eq!(PushRequest::decode(&bytes).unwrap(), request);
                let text = String::from_utf8_lossy(&bytes);
                assert_eq!(text.contains("a secret"), told, "{text}");
                assert_eq!(text.contains("xfrom"), told, "{text}");
            }
        }
    }

    #[test]
    fn a_device_is_what_its_client_says_in_one_of_four_forms_or_nothing() {
        let keys = "\"keys\":{\"p256dh\":\"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4\",\"auth\":\"BTBZMqHH6r4Tts7J_aSIgg\"}";
        let web = format!("{{\"endpoint\":\"https://p.a.test/x\",\"expirationTime\":null,{keys}}}");
        let apns = format!("apns:{}", "AB".repeat(32));
        for (text, kind) in [
            (&*web, "web"),
            ("https://ntfy.a.test/upX?up=1", "web"),
            (&apns, "apns"),
            ("dQw4:APA91b_x-y.z", "fcm"),
        ] {
            assert_eq!(Device::read(text).map(|it| it.kind()), Some(kind), "{text}");
        }
        let elsewhere = web.replace("https://", "http://");
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        for text in [
            "",
            "␡",
            "http://a.test/x",
            "https://127.0.0.1/x",
            "apns:xyz",
            "two words",
            "{}",
            "{\"endpoint\":\"https://p.a.test/x\"}",
            &elsewhere,
            &long,
        ] {
            assert_eq!(Device::read(text), None, "{text}");
        }
    }
}
