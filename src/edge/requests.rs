//! What clients say to us: the client messages of the protocol (fact sheet, section 2.1), parsed from
//! one JSON frame; `grpc` makes the same from protobuf.
//!
//! COMPAT stock clients 0.25: the JavaScript SDK drops every falsy field, so an absent number is 0 and
//! an absent bool false; unknown fields are ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// One parsed frame.
#[derive(Debug)]
pub enum Request {
    /// Handshake.
    Hi(Hi),
    /// Account.
    Acc(Box<Acc>),
    /// Log-in.
    Login(Login),
    /// Subscribe and attach.
    Sub(Box<Sub>),
    /// Detach, or unsubscribe.
    Leave(Leave),
    /// Publish.
    Pub(Pub),
    /// Ask for metadata or messages.
    Get(Box<Get>),
    /// Change metadata.
    Set(Box<Set>),
    /// Delete.
    Del(Del),
    /// Note.
    Note(Note),
}

/// The frame before exactly one of its keys is chosen.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ClientFrame {
    hi: Option<Hi>,
    acc: Option<Box<Acc>>,
    login: Option<Login>,
    sub: Option<Box<Sub>>,
    leave: Option<Leave>,
    #[serde(rename = "pub")]
    publish: Option<Pub>,
    get: Option<Box<Get>>,
    set: Option<Box<Set>>,
    del: Option<Del>,
    note: Option<Note>,
    extra: Extra,
}

/// Why a frame is no request. The client's fault.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or a field of a wrong type.
    #[error("not a client message: {fault}")]
    Json {
        /// What is wrong.
        fault: serde_json::Error,
        /// The id of the request, if one can be read.
        id: Option<String>,
        /// It was meant as a note, which is never answered.
        is_note: bool,
    },
    /// None or several of the known keys.
    #[error("a frame needs exactly one of hi, acc, login, sub, leave, pub, get, set, del, note")]
    Keys,
    /// Not protobuf, or of other types.
    #[error("not a client message: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A field that is there, but holds what it must not.
    #[error("{field} cannot be read")]
    Field {
        /// The id of the request.
        id: Option<String>,
        /// Which field.
        field: &'static str,
    },
}

impl Unreadable {
    /// The id to answer with, if it is known.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Field { id, .. } | Self::Json { id, .. } => id.as_deref(),
            _ => None,
        }
    }

    /// True when it was meant as a note, as far as can be told.
    #[must_use]
    pub fn is_note(&self) -> bool {
        matches!(self, Self::Json { is_note: true, .. })
    }
}

impl Request {
    /// Reads one frame.
    pub fn parse(text: &[u8]) -> Result<(Self, Extra), Unreadable> {
        let frame: ClientFrame = serde_json::from_slice(text).map_err(|fault| {
            let (id, is_note) = Self::identify(text);
            Unreadable::Json { fault, id, is_note }
        })?;
        let mut found = [
            frame.hi.map(Self::Hi),
            frame.acc.map(Self::Acc),
            frame.login.map(Self::Login),
            frame.sub.map(Self::Sub),
            frame.leave.map(Self::Leave),
            frame.publish.map(Self::Pub),
            frame.get.map(Self::Get),
            frame.set.map(Self::Set),
            frame.del.map(Self::Del),
            frame.note.map(Self::Note),
        ]
        .into_iter()
        .flatten();
        match (found.next(), found.next()) {
            (Some(request), None) => Ok((request, frame.extra)),
            _ => Err(Unreadable::Keys),
        }
    }

    /// What kind of request it is, as clients call it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hi(_) => "hi",
            Self::Acc(_) => "acc",
            Self::Login(_) => "login",
            Self::Sub(_) => "sub",
            Self::Leave(_) => "leave",
            Self::Pub(_) => "pub",
            Self::Get(_) => "get",
            Self::Set(_) => "set",
            Self::Del(_) => "del",
            Self::Note(_) => "note",
        }
    }

    /// What can be told of a frame that is no request: its id, if it has one, and whether it was meant
    /// as a note, which is never answered.
    fn identify(text: &[u8]) -> (Option<String>, bool) {
        let frame: Value = serde_json::from_slice(text).unwrap_or_default();
        let Some(frame) = frame.as_object() else {
            return (None, false);
        };
        let id = frame.values().find_map(|it| it.get("id")?.as_str());
        let is_note =
            frame.contains_key("note") && frame.keys().all(|it| it == "note" || it == "extra");
        (id.map(str::to_owned), is_note)
    }

    /// The id to answer with, and the topic it names.
    #[must_use]
    pub fn address(&self) -> (Option<&str>, Option<&str>) {
        let (id, topic) = match self {
            Self::Hi(it) => (&it.id, None),
            Self::Acc(it) => (&it.id, None),
            Self::Login(it) => (&it.id, None),
            Self::Sub(it) => (&it.id, Some(&it.topic)),
            Self::Leave(it) => (&it.id, Some(&it.topic)),
            Self::Pub(it) => (&it.id, Some(&it.topic)),
            Self::Get(it) => (&it.id, Some(&it.topic)),
            Self::Set(it) => (&it.id, Some(&it.topic)),
            Self::Del(it) => (&it.id, Some(&it.topic)),
            Self::Note(it) => (&None, Some(&it.topic)),
        };
        // An empty name is none.
        let topic = topic.map(String::as_str).filter(|it| !it.is_empty());
        (id.as_deref(), topic)
    }
}

/// What goes beside a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Extra {
    /// URLs of uploaded files that the request refers to.
    pub attachments: Vec<String>,
    /// Whom an administrator acts for.
    pub obo: String,
    /// With how much authority.
    pub authlevel: String,
}

/// `{hi}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hi {
    /// Request id.
    pub id: Option<String>,
    /// Protocol version the client speaks.
    pub ver: String,
    /// User agent.
    pub ua: String,
    /// Language.
    pub lang: String,
    /// Where pushes go.
    pub dev: String,
    /// Woken by a push, not by a person.
    pub bkg: bool,
}

/// `{acc}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Acc {
    /// Request id.
    pub id: Option<String>,
    /// `new…` creates; empty is oneself.
    pub user: String,
    /// Authentication scheme.
    pub scheme: String,
    /// Its secret, base64.
    pub secret: String,
    /// Scheme of a temporary right (password reset).
    pub tmpscheme: String,
    /// Its secret, base64.
    pub tmpsecret: String,
    /// State of the account, for administrators.
    pub status: String,
    /// Authority of a new account, for administrators.
    pub authlevel: String,
    /// Log in with the new account at once.
    pub login: bool,
    /// Tags to be found by.
    pub tags: Vec<String>,
    /// Description.
    pub desc: Option<SetDesc>,
    /// Credentials.
    pub cred: Vec<Credential>,
}

/// A credential offered or confirmed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Credential {
    /// `email`, `tel`.
    pub meth: String,
    /// The address.
    pub val: String,
    /// The code that confirms it.
    pub resp: String,
}

/// `{login}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Login {
    /// Request id.
    pub id: Option<String>,
    /// Authentication scheme.
    pub scheme: String,
    /// Its secret, base64.
    pub secret: String,
    /// Credentials to confirm on the way.
    pub cred: Vec<Credential>,
}

/// `{sub}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sub {
    /// Request id.
    pub id: Option<String>,
    /// Topic.
    pub topic: String,
    /// Changes to make on the way.
    pub set: Option<SetQuery>,
    /// What to answer with.
    pub get: Option<GetQuery>,
}

/// `{leave}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Leave {
    /// Request id.
    pub id: Option<String>,
    /// Topic.
    pub topic: String,
    /// End the subscription too.
    pub unsub: bool,
}

/// `{pub}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pub {
    /// Request id.
    pub id: Option<String>,
    /// Topic.
    pub topic: String,
    /// Do not send `{data}` back to this session.
    pub noecho: bool,
    /// Head, an object.
    pub head: Option<serde_json::Map<String, Value>>,
    /// What is written.
    pub content: Option<Box<RawValue>>,
}

/// `{get}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Get {
    /// Request id.
    pub id: Option<String>,
    /// Topic.
    pub topic: String,
    /// What.
    #[serde(flatten)]
    pub query: GetQuery,
}

/// What to answer with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GetQuery {
    /// Words like `desc sub data`.
    pub what: String,
    /// Options of `desc`.
    pub desc: GetOptions,
    /// Options of `sub`.
    pub sub: GetOptions,
    /// Options of `data`.
    pub data: GetOptions,
    /// Options of `del`.
    pub del: GetOptions,
}

impl GetQuery {
    /// Whether every option goes with its part (fact sheet, section 2.2).
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let asks = |part: &str| self.what.split_whitespace().any(|it| it == part);
        let named = |it: &GetOptions| it.user.is_some() || it.topic.is_some();
        let paged = |it: &GetOptions| it.since.is_some() || it.before.is_some();
        let desc = !named(&self.desc) && !paged(&self.desc) && self.desc.limit.is_none();
        let data = !named(&self.data) && self.data.ims.is_none();
        (desc || !asks("desc")) && (!paged(&self.sub) || !asks("sub")) && (data || !asks("data"))
    }
}

/// Options of one part of a query.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GetOptions {
    /// Only if modified since.
    pub ims: Option<String>,
    /// Only this person.
    pub user: Option<String>,
    /// Only this topic.
    pub topic: Option<String>,
    /// Lowest position, included.
    pub since: Option<u32>,
    /// Highest position, excluded.
    pub before: Option<u32>,
    /// At most so many.
    pub limit: Option<u32>,
    /// These positions.
    pub ranges: Vec<Range>,
}

/// Positions from `low` up to, not including, `hi`; without `hi` just `low`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Range {
    /// First.
    pub low: u32,
    /// Behind the last; 0 for one position only.
    #[serde(skip_serializing_if = "is_zero")]
    pub hi: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// `{set}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Set {
    /// Request id.
    pub id: Option<String>,
    /// Topic.
    pub topic: String,
    /// Changes.
    #[serde(flatten)]
    pub query: SetQuery,
}

/// Changes to make.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SetQuery {
    /// To the description.
    pub desc: Option<SetDesc>,
    /// To a subscription.
    pub sub: Option<SetSub>,
    /// To the tags.
    pub tags: Option<Vec<String>>,
    /// To the credentials.
    pub cred: Option<Credential>,
    /// To what is attached to the topic.
    pub aux: Option<Value>,
}

/// Changes to a description.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SetDesc {
    /// Default access.
    pub defacs: Option<SetDefaultAccess>,
    /// Public description.
    pub public: Option<Value>,
    /// Marks of the administrators.
    pub trusted: Option<Value>,
    /// Private notes.
    pub private: Option<Value>,
}

/// Changes to default access.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SetDefaultAccess {
    /// Of people with an account.
    pub auth: Option<String>,
    /// Of anonymous people.
    pub anon: Option<String>,
}

/// Changes to a subscription.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SetSub {
    /// Whose; empty for one's own.
    pub user: Option<String>,
    /// The mode wanted or given.
    pub mode: Option<String>,
}

/// `{del}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Del {
    /// Request id.
    pub id: Option<String>,
    /// Topic.
    pub topic: String,
    /// `msg`, `topic`, `sub`, `user`, `cred`.
    pub what: String,
    /// A member, or an account; empty for one's own.
    pub user: String,
    /// Which credential.
    pub cred: Option<Credential>,
    /// Finally.
    pub hard: bool,
    /// Messages.
    pub delseq: Vec<Range>,
}

/// `{note}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Note {
    /// Topic.
    pub topic: String,
    /// `kp`, `recv`, `read`…
    pub what: String,
    /// Position.
    pub seq: u32,
    /// What happened to a call.
    pub event: String,
    /// What only the other client understands.
    pub payload: Option<Box<RawValue>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_exactly_one_known_key() {
        assert!(matches!(
            Request::parse(br#"{"hi":{"ver":"0.25"},"x":1}"#),
            Ok((Request::Hi(_), _))
        ));
        for frame in [
            "",
            "1",
            "[]",
            "{}",
            "nonsense",
            r#"{"hello":{}}"#,
            r#"{"hi":{},"get":{}}"#,
        ] {
            assert!(
                Request::parse(frame.as_bytes()).is_err(),
                "{frame:?} passed"
            );
        }
    }

    #[test]
    fn a_field_of_a_wrong_type_is_refused() {
        for frame in [
            r#"{"hi":{"ver":1}}"#,
            r#"{"note":{"seq":-1}}"#,
            r#"{"note":{"seq":"1"}}"#,
            r#"{"get":{"data":{"limit":1e99}}}"#,
            r#"{"pub":{"head":[]}}"#,
        ] {
            assert!(
                Request::parse(frame.as_bytes()).is_err(),
                "{frame:?} passed"
            );
        }
    }

    #[test]
    fn options_go_with_their_parts() {
        let query = |text: &str| serde_json::from_str::<GetQuery>(text).unwrap().is_sound();
        for text in [
            r#"{"what":"desc sub data","desc":{"ims":"x"},"sub":{"limit":1,"user":"u"},"data":{"since":1,"limit":2}}"#,
            r#"{"what":"sub","desc":{"limit":1}}"#,
            r#"{"what":""}"#,
        ] {
            assert!(query(text), "{text}");
        }
        for text in [
            r#"{"what":"desc","desc":{"limit":1}}"#,
            r#"{"what":"desc","desc":{"user":"u"}}"#,
            r#"{"what":"sub","sub":{"since":1}}"#,
            r#"{"what":"data","data":{"ims":"x"}}"#,
            r#"{"what":"data","data":{"topic":"t"}}"#,
        ] {
            assert!(!query(text), "{text} passed");
        }
    }

    #[test]
    fn a_frame_that_is_no_request_still_has_its_id() {
        let identify = |text: &str| Request::identify(text.as_bytes());
        assert_eq!(
            identify(r#"{"get":{"id":"7","what":1}}"#),
            (Some("7".to_owned()), false)
        );
        assert_eq!(identify(r#"{"get":{"id":7}}"#), (None, false));
        assert_eq!(identify(r#"{"note":{"seq":-1}}"#), (None, true));
        assert_eq!(identify("nonsense"), (None, false));
    }

    #[test]
    fn what_the_javascript_sdk_drops_counts_as_zero() {
        let Ok((Request::Get(get), _)) =
            Request::parse(br#"{"get":{"id":"1","topic":"me","what":"sub"}}"#)
        else {
            panic!("not a get");
        };
        assert_eq!(
            (get.query.sub.limit, get.query.what.as_str()),
            (None, "sub")
        );
    }
}
