//! Vectors for what a domain says by way of the directory: where its clients connect, and what of it may be
//! found (PROTOCOL.md sections 3.4 and 13.1).

use freehold_proto::{card, client_document, record, wire};
use prost::Message;
use serde_json::{Value, json};

use super::{DAY, HOUR, NOW, Pen, Result, hex, honest, pen, respelled, signed, turned};

const MINUTE: i64 = 60 * 1000;

/// A change, and whether what comes of it is believed: `ok`, `malformed`, or `not good`.
type Change<T> = (&'static str, &'static str, fn(&mut T));

/// What has a domain, a key and two times, as all of these have.
trait Said: Headed + Message + Clone + Default + 'static {
    const CONTEXT: &'static [u8];
    const CHANGES: &'static [Change<Self>];

    fn honest() -> Result<Self>;

    /// As it travels.
    fn signed(bytes: Vec<u8>, signature: Vec<u8>) -> Vec<u8>;
}

/// Whose it is, its key, and its times.
trait Headed {
    fn head(&mut self) -> (&mut String, &mut bytes::Bytes, &mut i64, &mut i64);
}

macro_rules! headed {
    ($($message:ty),*) => {$(
        impl Headed for $message {
            fn head(&mut self) -> (&mut String, &mut bytes::Bytes, &mut i64, &mut i64) {
                (
                    &mut self.domain,
                    &mut self.key_id,
                    &mut self.issued_ms,
                    &mut self.expires_ms,
                )
            }
        }
    )*};
}

headed!(wire::ClientDocument, wire::Card, wire::Announcement);

impl Said for wire::ClientDocument {
    const CONTEXT: &'static [u8] = client_document::CONTEXT;
    const CHANGES: &'static [Change<Self>] = &[
        ("no web app and no gRPC", "ok", |it| {
            it.web_app_url.clear();
            it.grpc_address.clear();
        }),
        ("for a week", "ok", |it| {
            it.expires_ms = it.issued_ms + 7 * DAY
        }),
        ("for more than a week", "not good", |it| {
            it.expires_ms = it.issued_ms + 7 * DAY + 1;
        }),
        ("a page in place of a WebSocket", "malformed", |it| {
            it.websocket_url = "https://alpha.test/".to_owned();
        }),
        ("a web app that is no page", "malformed", |it| {
            it.web_app_url = "javascript:alert(1)".to_owned();
        }),
        ("a gRPC address without a port", "malformed", |it| {
            it.grpc_address = "chat.alpha.test".to_owned();
        }),
        ("nobody knows who may make an account", "malformed", |it| {
            it.registration = 0;
        }),
        ("an API key with a line feed", "malformed", |it| {
            it.api_key = "K\n".to_owned();
        }),
    ];

    fn honest() -> Result<Self> {
        Ok(Self {
            domain: "alpha.test".to_owned(),
            key_id: key_id(2)?,
            issued_ms: NOW - HOUR,
            expires_ms: NOW + DAY,
            websocket_url: "wss://chat.alpha.test/v0/channels".to_owned(),
            long_polling_url: "https://chat.alpha.test/v0/channels/lp".to_owned(),
            web_app_url: "https://chat.alpha.test/".to_owned(),
            grpc_address: "chat.alpha.test:443".to_owned(),
            protocol_version: "0.25".to_owned(),
            api_key: "AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K".to_owned(),
            registration: wire::Registration::Invite.into(),
            anonymous: false,
            calls: true,
            file_bytes_max: 8_388_608,
            message_bytes_max: 131_072,
        })
    }

    fn signed(bytes: Vec<u8>, signature: Vec<u8>) -> Vec<u8> {
        wire::SignedClientDocument {
            document: bytes.into(),
            signature: signature.into(),
        }
        .encode_to_vec()
    }
}

impl Said for wire::Card {
    const CONTEXT: &'static [u8] = card::CONTEXT;
    const CHANGES: &'static [Change<Self>] = &[
        ("of a person", "ok", |it| {
            let user = "usrAAAAAAAAAAA@alpha.test".to_owned();
            it.subject = Some(wire::card::Subject::Person(wire::PersonCard { user }));
        }),
        ("of a person of another domain", "malformed", |it| {
            let user = "usrAAAAAAAAAAA@beta.test".to_owned();
            it.subject = Some(wire::card::Subject::Person(wire::PersonCard { user }));
        }),
        ("of nobody", "malformed", |it| it.subject = None),
        ("a title of 120 characters", "ok", |it| {
            it.title = "ä".repeat(120)
        }),
        ("a title of 121", "malformed", |it| {
            it.title = "ä".repeat(121)
        }),
        ("no title", "malformed", |it| it.title.clear()),
        ("a bell in the title", "malformed", |it| {
            it.title.push('\u{7}')
        }),
        ("a note of two lines", "ok", |it| {
            it.note = "one\ntwo".to_owned()
        }),
        ("a note of 401 characters", "malformed", |it| {
            it.note = "n".repeat(401)
        }),
        ("17 tags", "malformed", |it| {
            it.tags = vec!["tag".to_owned(); 17]
        }),
        ("for an hour", "ok", |it| {
            it.expires_ms = it.issued_ms + HOUR
        }),
        ("for more than an hour", "not good", |it| {
            it.expires_ms = it.issued_ms + HOUR + 1;
        }),
    ];

    fn honest() -> Result<Self> {
        let group = wire::GroupCard {
            group: vec![7; 16].into(),
            channel: false,
            access: "JRWPS".to_owned(),
            members: 12,
        };
        Ok(Self {
            domain: "alpha.test".to_owned(),
            key_id: key_id(2)?,
            issued_ms: NOW - MINUTE,
            expires_ms: NOW + 9 * MINUTE,
            subject: Some(wire::card::Subject::Group(group)),
            title: "Bicycle workshop".to_owned(),
            note: "Tuesdays at seven".to_owned(),
            tags: vec!["bicycles".to_owned()],
        })
    }

    fn signed(bytes: Vec<u8>, signature: Vec<u8>) -> Vec<u8> {
        wire::SignedCard {
            card: bytes.into(),
            signature: signature.into(),
        }
        .encode_to_vec()
    }
}

impl Said for wire::Announcement {
    const CONTEXT: &'static [u8] = card::ANNOUNCEMENT_CONTEXT;
    const CHANGES: &'static [Change<Self>] = &[
        ("without cards: all are withdrawn", "ok", |it| {
            it.cards.clear()
        }),
        ("a card whose signature has another bit", "not good", |it| {
            it.cards[0].signature = turned(&it.cards[0].signature).into();
        }),
        ("a card that is none", "malformed", |it| {
            it.cards[0].card = vec![0xff; 40].into();
        }),
        ("for more than an hour", "not good", |it| {
            it.expires_ms = it.issued_ms + HOUR + 1;
        }),
    ];

    fn honest() -> Result<Self> {
        let card = wire::Card::honest()?.encode_to_vec();
        let signature = pen(2)?.sign(card::CONTEXT, &card)?.to_vec().into();
        Ok(Self {
            domain: "alpha.test".to_owned(),
            key_id: key_id(2)?,
            issued_ms: NOW - MINUTE,
            expires_ms: NOW + 9 * MINUTE,
            cards: vec![wire::SignedCard {
                card: card.into(),
                signature,
            }],
        })
    }

    fn signed(bytes: Vec<u8>, signature: Vec<u8>) -> Vec<u8> {
        wire::SignedAnnouncement {
            announcement: bytes.into(),
            signature: signature.into(),
        }
        .encode_to_vec()
    }
}

fn key_id(number: u8) -> Result<bytes::Bytes> {
    Ok(pen(number)?.id().as_bytes().to_vec().into())
}

/// All vectors of one kind.
fn list<T: Said>() -> Result<Value> {
    let own = pen(2)?;
    let mut list = Vec::new();
    let mut put = |comment: &str, expect: &str, signed: Vec<u8>| {
        list.push(json!({"comment": comment, "expect": expect, "signed": hex(signed)}));
    };
    let signed_by = |pen: &Pen, context: &[u8], it: &T| -> Result<Vec<u8>> {
        let bytes = it.encode_to_vec();
        let signature = pen.sign(context, &bytes)?;
        Ok(T::signed(bytes, signature.to_vec()))
    };
    let honest = T::honest()?;
    put("honest", "ok", signed_by(&own, T::CONTEXT, &honest)?);
    let usual: [Change<(String, bytes::Bytes, i64, i64)>; 6] = [
        ("of another domain", "not good", |it| {
            it.0 = "beta.test".to_owned()
        }),
        ("in capitals", "malformed", |it| {
            it.0 = "Alpha.test".to_owned()
        }),
        ("a key id of 15 bytes", "malformed", |it| {
            it.1 = it.1.slice(1..)
        }),
        ("issued more than an hour ahead", "not good", |it| {
            (it.2, it.3) = (NOW + HOUR + 1, NOW + HOUR + MINUTE);
        }),
        ("over now", "not good", |it| it.3 = NOW),
        ("a time before 1970", "malformed", |it| it.2 = -1),
    ];
    for (comment, expect, change) in usual {
        let mut it = honest.clone();
        let (domain, key, issued, expires) = it.head();
        let mut head = (domain.clone(), key.clone(), *issued, *expires);
        change(&mut head);
        (*domain, *key, *issued, *expires) = head;
        put(comment, expect, signed_by(&own, T::CONTEXT, &it)?);
    }
    for (comment, expect, change) in T::CHANGES {
        let mut it = honest.clone();
        change(&mut it);
        put(comment, expect, signed_by(&own, T::CONTEXT, &it)?);
    }
    let mut unknown = honest.clone();
    *unknown.head().1 = key_id(5)?;
    let no = "not good";
    put(
        "by a key that is not in the record",
        no,
        signed_by(&pen(5)?, T::CONTEXT, &unknown)?,
    );
    let root = signed_by(&pen(1)?, T::CONTEXT, &honest)?;
    put("by the root key", no, root);
    let elsewhere = signed_by(&own, record::CONTEXT, &honest)?;
    put("under the context of a record", no, elsewhere);
    let bytes = honest.encode_to_vec();
    let signature = own.sign(T::CONTEXT, &bytes)?;
    for other in respelled(&signature) {
        put("another spelling of S", no, T::signed(bytes.clone(), other));
    }
    put(
        "a signature with another bit",
        no,
        T::signed(bytes.clone(), turned(&signature)),
    );
    put("no signature", no, T::signed(bytes.clone(), Vec::new()));
    let half = T::signed(bytes, signature.to_vec());
    put("half of it", "malformed", half[..60].to_vec());
    Ok(Value::from(list))
}

/// The file.
pub(super) fn file() -> Result<Value> {
    let record = honest()?.encode_to_vec();
    let signature = pen(1)?.sign(record::CONTEXT, &record)?;
    Ok(json!({
        "comment": "What a domain says by way of the directory (docs/PROTOCOL.md sections 3.4 and 13.1), as it travels, judged at `now_ms` by `record`, which is believed by `anchor`. `expect` is \"ok\", \"malformed\", or \"not good\" of what is well formed and not to be believed.",
        "now_ms": NOW,
        "domain": "alpha.test",
        "record": hex(signed(&record, &signature)?),
        "anchor": hex(freehold_proto::IdentityRecord::hash(&pen(1)?.public())),
        "client_documents": list::<wire::ClientDocument>()?,
        "cards": list::<wire::Card>()?,
        "announcements": list::<wire::Announcement>()?,
    }))
}
