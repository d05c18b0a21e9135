//! One message: from what a client sent to a row, and from a row to what clients are shown.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_proto::{
    Envelope, Malformed, MessageId, Refusal, RefusalCode, Timestamp, UserId, wire,
};
use freehold_store::{
    StoreError, Tables, TopicKey,
    tables::rows::{EnvelopeRow, MessageRow},
};
use prost::Message as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::edge::{
    frames::{Data, Raw, is_plain, raw},
    ids::{self, Head, Ids},
};

/// Head keys that name another message of the topic by its position here. Positions are local, so
/// between domains these travel as message ids (PROTOCOL.md section 7).
const REFERENCES: [&str; 3] = ["reply", "replace", "thread"];

/// Head keys that mean something only within the domain that wrote them.
const NOT_FROM_ABROAD: [&str; 5] = ["reply", "replace", "thread", "forwarded", "sender"];

/// What a client wants published, after the checks that need no topic.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) head: Head,
    pub(crate) content: Raw,
    /// URLs of files that it refers to.
    pub(crate) attachments: Vec<String>,
}

/// Head key of our own: 128 bits that a client gives a message, as 22 characters of base64url. A client
/// that sends the message again under the same id has it stored once (docs/CLIENTS.md).
const CLIENT_ID: &str = "fh-id";

/// The id of a message to which its client gave one: made of it, of the author and of the topic, so
/// that nobody can take the id of somebody else's message. `None` when the client gave none.
pub(crate) fn id_by_client(
    head: &Head,
    topic: TopicKey,
    author: &UserId,
) -> Result<Option<MessageId>, Malformed> {
    let Some(given) = head.get(CLIENT_ID) else {
        return Ok(None);
    };
    let malformed = || Malformed::Id {
        what: "message",
        id: given.to_string().chars().take(64).collect(),
    };
    let text = given.as_str().ok_or_else(malformed)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed())?;
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| malformed())?;
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"freehold/client-message/v1\0")
        .chain_update(topic.as_bytes())
        .chain_update(author.to_string())
        .chain_update(b"\0")
        .chain_update(bytes)
        .finalize()
        .into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    Ok(Some(MessageId::from_bytes(id)))
}

/// A new message id.
pub(crate) fn mint(now: Timestamp) -> Result<MessageId, freehold_keys::KeyError> {
    Ok(MessageId::mint(now, &freehold_keys::random()?))
}

/// The position that a head key refers to: `"12"`, `":12"` or `"grpX:12"`.
fn referred(value: &Value) -> Option<u32> {
    let text = value.as_str()?;
    text.rsplit_once(':')
        .map_or(text, |(_, seq)| seq)
        .parse()
        .ok()
}

/// The position that the draft replaces. Clients read no other form than `":12"`.
pub(crate) fn replaced(head: &Head) -> Result<Option<u32>, Malformed> {
    let Some(value) = head.get("replace") else {
        return Ok(None);
    };
    let digits = value.as_str().and_then(|it| it.strip_prefix(':'));
    let digits = digits.filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
    match digits.and_then(|it| it.parse().ok()) {
        Some(seq) => Ok(Some(seq)),
        None => Err(Malformed::Id {
            what: "replaced message",
            id: value.to_string().chars().take(64).collect(),
        }),
    }
}

/// True when the head speaks of other messages.
pub(crate) fn refers(head: &Head) -> bool {
    head.contains_key("forwarded") || REFERENCES.iter().any(|it| head.contains_key(*it))
}

/// A head as it is stored and sent; none at all when it is empty.
pub(crate) fn head_bytes(head: &Head) -> Bytes {
    if head.is_empty() {
        return Bytes::new();
    }
    serde_json::to_vec(head)
        .map(Bytes::from)
        .unwrap_or_default()
}

/// Moves references from the head of a draft into a list of message ids; what cannot be resolved is
/// left out. `forwarded` names a topic that the other domain does not share and is dropped. Blocks.
pub(crate) fn detach_references(
    tables: &Tables,
    topic: TopicKey,
    head: &mut Head,
) -> Result<Vec<wire::Reference>, StoreError> {
    head.remove("forwarded");
    let mut references = Vec::new();
    for key in REFERENCES {
        let Some(seq) = head.remove(key).as_ref().and_then(referred) else {
            continue;
        };
        let Some(row) = tables.message(topic, seq)? else {
            continue;
        };
        if let Ok(author) = row.author.parse::<UserId>() {
            references.push(wire::Reference {
                key: key.to_owned(),
                author_domain: author.domain().to_string(),
                message_id: row.message_id,
            });
        }
    }
    Ok(references)
}

/// Puts references back as positions in our copy, where they can be resolved. A replacement counts
/// only of the same author's earlier message. Blocks.
fn attach_references(
    tables: &Tables,
    (topic, seq, author): (TopicKey, u32, &str),
    references: &[wire::Reference],
    head: &mut Head,
) -> Result<(), StoreError> {
    // Keys of a later version do not take the place of those that are known.
    let known = references.iter().filter_map(|it| {
        let key = REFERENCES.iter().find(|key| **key == it.key)?;
        Some((*key, it))
    });
    for (key, reference) in known.take(REFERENCES.len()) {
        let (Ok(domain), Ok(id)) = (
            reference.author_domain.parse(),
            MessageId::from_slice(&reference.message_id),
        ) else {
            continue;
        };
        let Some(seen) = tables.seen(&domain, id)? else {
            continue;
        };
        if TopicKey::from_slice(&seen.topic) != Some(topic) || seen.seq >= seq {
            continue;
        }
        if key == "replace" {
            let original = tables.message(topic, seen.seq)?;
            if original.is_none_or(|it| it.author != author) {
                continue;
            }
        }
        let value = if key == "reply" {
            seen.seq.to_string()
        } else {
            format!(":{}", seen.seq)
        };
        head.insert(key.to_owned(), Value::String(value));
    }
    Ok(())
}

/// A message as our clients are shown it, but for the name of the topic. Blocks.
pub(crate) fn shown(
    tables: &Tables,
    ids: &Ids,
    topic: TopicKey,
    seq: u32,
    row: &MessageRow,
) -> Result<Data, StoreError> {
    let payload = row.envelope.as_ref().and_then(|it| sealed(&it.payload));
    let (head, content) = match &payload {
        Some(words) => (&words.head, &words.content),
        None => (&row.head, &row.content),
    };
    let mut head: Head = serde_json::from_slice(head).unwrap_or_default();
    if let Some(words) = &payload {
        // Whatever another domain wrote there: it cannot know our positions, nor speak for others.
        NOT_FROM_ABROAD
            .iter()
            .for_each(|key| drop(head.remove(*key)));
        let place = (topic, seq, row.author.as_str());
        attach_references(tables, place, &words.references, &mut head)?;
        // Of what was written here our own positions are known.
        head.extend(serde_json::from_slice::<Head>(&row.head).unwrap_or_default());
    }
    let content = raw(content).map(|content| ids.localise(&mut head, content));
    let from = row
        .author
        .parse()
        .map_or_else(|_| row.author.clone(), |it| ids.shown(&it));
    let head = (!head.is_empty())
        .then(|| serde_json::value::to_raw_value(&head).ok())
        .flatten();
    Ok(Data {
        topic: String::new(),
        from,
        // rules.md 4: neither side's clock can move a message into the future of the other.
        ts: Timestamp::from_stored(row.issued.min(row.received)),
        seq,
        head,
        content,
    })
}

/// What a message says, whichever kind of topic it was written in.
struct Words {
    head: Bytes,
    content: Bytes,
    references: Vec<wire::Reference>,
}

fn sealed(payload: &Bytes) -> Option<Words> {
    let (head, content, references) = match wire::Payload::decode(payload.clone()).ok()?.kind? {
        wire::payload::Kind::DirectMessage(it) => (it.head, it.content, it.references),
        wire::payload::Kind::GroupMessage(it) => (it.head, it.content, it.references),
        _ => return None,
    };
    Some(Words {
        head,
        content,
        references,
    })
}

/// Head and content of a message as they were written.
pub(crate) fn words_of(row: &MessageRow) -> (Bytes, Bytes) {
    let sealed = row.envelope.as_ref().and_then(|it| sealed(&it.payload));
    match sealed {
        Some(words) => (words.head, words.content),
        None => (row.head.clone(), row.content.clone()),
    }
}

/// The same of one of our people's, with what it refers to as positions here: it may have been sealed for
/// readers elsewhere before there was a log.
pub(crate) fn words_with_references(row: &MessageRow) -> (Bytes, Bytes) {
    let (head, content) = words_of(row);
    if row.envelope.is_none() || row.head.is_empty() {
        return (head, content);
    }
    let mut whole: Head = serde_json::from_slice(&head).unwrap_or_default();
    whole.extend(serde_json::from_slice::<Head>(&row.head).unwrap_or_default());
    (head_bytes(&whole), content)
}

/// Head and content of a message for readers of a channel at other domains: what it refers to by `order`,
/// and nothing that leads to its author. Blocks.
pub(crate) fn for_readers(
    tables: &Tables,
    topic: TopicKey,
    (seq, row): (u32, &MessageRow),
    order: impl Fn(u32) -> Result<Option<u32>, StoreError>,
) -> Result<(Bytes, Bytes), StoreError> {
    let payload = row.envelope.as_ref().and_then(|it| sealed(&it.payload));
    let (head, content) = words_of(row);
    let mut head: Head = serde_json::from_slice(&head).unwrap_or_default();
    if let Some(words) = &payload {
        NOT_FROM_ABROAD
            .iter()
            .for_each(|key| drop(head.remove(*key)));
        let place = (topic, seq, row.author.as_str());
        attach_references(tables, place, &words.references, &mut head)?;
        head.extend(serde_json::from_slice::<Head>(&row.head).unwrap_or_default());
    }
    head.remove("sender");
    head.remove("forwarded");
    for key in REFERENCES {
        let Some(seq) = head.remove(key).as_ref().and_then(referred) else {
            continue;
        };
        if let Some(order) = order(seq)? {
            let value = match key {
                "reply" => order.to_string(),
                _ => format!(":{order}"),
            };
            head.insert(key.to_owned(), Value::String(value));
        }
    }
    Ok((head_bytes(&head), content))
}

/// Files that a message speaks of, as its author's domain has sealed it.
pub(crate) fn attachments_in(row: &MessageRow) -> Vec<wire::Attachment> {
    let payload = row.envelope.as_ref().map(|it| it.payload.clone());
    let payload = payload.and_then(|it| wire::Payload::decode(it).ok());
    match payload.and_then(|it| it.kind) {
        Some(wire::payload::Kind::GroupMessage(it)) => it.attachments,
        _ => Vec::new(),
    }
}

/// What another domain's person wrote, read: head and content, if they are such that they can be
/// shown here.
pub(crate) fn makes_sense(head: &Bytes, content: &Bytes) -> Result<(Head, Raw), Refusal> {
    let malformed = |what: &str| {
        let detail = format!("the {what} is not valid JSON");
        Refusal::new(RefusalCode::Malformed, detail)
    };
    let head: Head = match head.len() {
        0 => Head::new(),
        _ => serde_json::from_slice(head).map_err(|_| malformed("head"))?,
    };
    if !is_plain(content) || &**content == b"null" {
        return Err(malformed("content"));
    }
    let content: Raw = serde_json::from_slice(content).map_err(|_| malformed("content"))?;
    match ids::bare_id(&head, &content) {
        Some(bare) => {
            let detail = format!("{bare} lacks its domain");
            Err(Refusal::new(RefusalCode::BareId, detail))
        }
        None => Ok((head, content)),
    }
}

/// References of a head as positions here, for a message whose signed form names ids.
pub(crate) fn own_references(head: &Head) -> Bytes {
    let own = REFERENCES.iter().filter_map(|key| {
        let value = head.get(*key)?;
        Some(((*key).to_owned(), value.clone()))
    });
    head_bytes(&own.collect())
}

/// The stored form of an envelope.
pub(crate) fn envelope_row(envelope: &Envelope) -> EnvelopeRow {
    EnvelopeRow {
        header: envelope.header.clone(),
        signature: Bytes::copy_from_slice(&envelope.signature),
        salt: Bytes::copy_from_slice(&envelope.salt),
        payload: envelope.payload.clone(),
    }
}

/// The envelope in a row; `None` if the row is damaged.
pub(crate) fn envelope_of(row: EnvelopeRow) -> Option<Envelope> {
    Some(Envelope {
        header: row.header,
        signature: (&*row.signature).try_into().ok()?,
        salt: match row.salt.len() {
            // The words have been erased.
            0 => [0; 16],
            _ => (&*row.salt).try_into().ok()?,
        },
        payload: row.payload,
    })
}

/// Length in characters when the message is plain text: no formatting, nothing attached. A first
/// contact may hold nothing else.
pub(crate) fn plain_text_chars(content: &Raw) -> Option<usize> {
    let text: String = serde_json::from_str(content.get()).ok()?;
    Some(text.chars().count())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_read_in_every_form_that_clients_send() {
        for value in [json!("12"), json!(":12"), json!("grpX:12")] {
            assert_eq!(referred(&value), Some(12), "{value}");
        }
        assert_eq!(referred(&json!("x")), None);
        assert_eq!(referred(&json!(12)), None);
    }

    #[test]
    fn a_message_that_is_sent_again_has_the_same_id_and_nobody_else_gets_it() {
        let user = |number| UserId::new([number; 8], "alpha.test".parse().unwrap());
        let (ann, ben) = (user(1), user(2));
        let chat = TopicKey::one_to_one(&ann, &ben);
        let head = |id: Value| Head::from_iter([(CLIENT_ID.to_owned(), id)]);
        let given = head(json!("AAAAAAAAAAAAAAAAAAAAAA"));
        let id = |head: &Head, topic, author| id_by_client(head, topic, author).unwrap();
        let first = id(&given, chat, &ann).unwrap();
        assert_eq!(id(&given, chat, &ann), Some(first));
        assert_ne!(id(&given, chat, &ben), Some(first));
        assert_ne!(id(&given, TopicKey::saved(&ann), &ann), Some(first));
        assert_eq!(id(&Head::new(), chat, &ann), None);
        for wrong in [json!(1), json!(""), json!("AAAA"), json!("?")] {
            assert!(id_by_client(&head(wrong), chat, &ann).is_err());
        }
    }

    #[test]
    fn only_plain_text_counts_as_text() {
        let raw = |text: &str| serde_json::from_str::<Raw>(text).unwrap();
        assert_eq!(plain_text_chars(&raw(r#""héllo""#)), Some(5));
        assert_eq!(plain_text_chars(&raw(r#"{"txt":"x","ent":[]}"#)), None);
    }
}
