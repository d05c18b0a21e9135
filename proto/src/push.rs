//! A push request: what a domain asks a node of the directory to hand to somebody's device (PROTOCOL.md
//! section 13.3).

use std::{fmt, str::FromStr, time::Duration};

use bytes::Bytes;
use prost::Message as _;

use crate::{
    DomainName, KeyId, Malformed, Timestamp,
    malformed::excerpt,
    web_url::{self, WebHost, host_and_port},
    wire,
};

/// Goes before the request when it is signed.
pub const CONTEXT: &[u8] = b"freehold/push/v1\0";
/// How long a request may count at most.
pub const LIFETIME_MAX: Duration = Duration::from_secs(5 * 60);
/// How far a request may come from the node's future.
pub const SKEW_MAX: Duration = Duration::from_secs(60);
/// Longest body for a push service, in bytes: what every service takes.
pub const BODY_BYTES_MAX: usize = 4096;
/// How long a push may wait for its device.
pub const TTL_MAX: Duration = Duration::from_secs(28 * 24 * 60 * 60);

/// Longest token of a device, in bytes.
const TOKEN_BYTES_MAX: usize = 1024;
/// Fields of one push, and the longest name and value of one, in bytes.
const FIELDS_MAX: usize = 16;
const FIELD_NAME_BYTES_MAX: usize = 32;
const FIELD_VALUE_BYTES_MAX: usize = 1024;
/// Longest name of the node, in bytes: a domain name and a port.
const NODE_BYTES_MAX: usize = 300;
/// Longest collapse key, as push services take it.
const COLLAPSE_BYTES_MAX: usize = 32;
const WHAT: &str = "push request";

/// What a domain asks for. Who asks, and when, is in [`PushRequest`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushDraft {
    /// Host, and port if there is one, of the node: nobody else takes it.
    pub node: String,
    /// Drawn by lot: the node takes it once.
    pub nonce: [u8; 16],
    /// How long it may wait for the device.
    pub ttl: Duration,
    /// How soon the device is to have it.
    pub urgency: Urgency,
    /// A later push of the same key takes its place while the device is away; letters, digits, `-` and `_`,
    /// and nothing that says more than that; empty for none.
    pub collapse: String,
    /// To where.
    pub target: PushTarget,
}

/// How soon a device is to have a push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    /// When it is awake anyway.
    Low,
    /// Now.
    High,
}

/// A device, and what it is to have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PushTarget {
    /// By the push service that the device has chosen: Web Push and UnifiedPush.
    Web {
        /// Where that takes it.
        endpoint: PushEndpoint,
        /// What it takes.
        body: Bytes,
        /// The body is encrypted for the device alone (RFC 8291).
        encrypted: bool,
    },
    /// By Google's service.
    Fcm(Token),
    /// By Apple's service.
    Apns(Token),
}

/// A device as its vendor's service knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Its name there: for Apple hexadecimal, for Google letters, digits and `:_-.`.
    pub token: String,
    /// What it is to have.
    pub fields: Vec<(String, String)>,
}

/// A well-formed push request. Whether it is *true* is for `keys` to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushRequest {
    /// Who asks.
    pub domain: DomainName,
    /// The key that signs.
    pub key_id: KeyId,
    /// When it was made.
    pub issued: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// What for.
    pub draft: PushDraft,
}

/// Where a push service takes pushes for one device: `https://host[:port]/path[?query]`. The host is a name.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct PushEndpoint {
    text: String,
    host: DomainName,
    port: u16,
}

impl PushEndpoint {
    /// The longest that is taken, in bytes.
    pub const BYTES_MAX: usize = 2048;

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it is.
    #[must_use]
    pub fn host(&self) -> &DomainName {
        &self.host
    }

    /// The port, also where it goes without saying.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in it.
    #[must_use]
    pub fn authority(&self) -> &str {
        web_url::authority_of(&self.text)
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        web_url::path_of(&self.text)
    }
}

impl FromStr for PushEndpoint {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let url = excerpt(text);
        endpoint(text).map_err(|why| Malformed::Url { url, why })
    }
}

fn endpoint(text: &str) -> Result<PushEndpoint, &'static str> {
    if text.len() > PushEndpoint::BYTES_MAX {
        return Err("it is longer than 2048 bytes");
    }
    let rest = text.strip_prefix("https://");
    let rest = rest.ok_or("it does not begin with https://")?;
    let (authority, path) = rest.split_once('/').ok_or("it has no / behind the host")?;
    if !path.bytes().all(|it| it.is_ascii_graphic() && it != b'#') {
        return Err("its path has characters that are not taken");
    }
    match host_and_port(authority)? {
        (WebHost::Name(host), port) => Ok(PushEndpoint {
            text: text.to_owned(),
            host,
            port: port.unwrap_or(443),
        }),
        (WebHost::Address(_), _) => Err("its host is an address"),
    }
}

impl fmt::Display for PushEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whoever has the whole of it can send to the device.
impl fmt::Debug for PushEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}/…", self.authority())
    }
}

impl Token {
    /// A token of Google's service, if it can be one.
    #[must_use]
    pub fn is_fcm(token: &str) -> bool {
        let legal = |it: u8| it.is_ascii_alphanumeric() || b":_-.".contains(&it);
        !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(legal)
    }

    /// A token of Apple's service, if it can be one.
    #[must_use]
    pub fn is_apns(token: &str) -> bool {
        let legal = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        (64..=200).contains(&token.len()) && token.bytes().all(legal)
    }

    fn to_wire(&self) -> wire::VendorPush {
        let fields = self.fields.iter().map(|(name, value)| wire::PushField {
            name: name.clone(),
            value: value.clone(),
        });
        wire::VendorPush {
            token: self.token.clone(),
            fields: fields.collect(),
        }
    }

    fn from_wire(words: wire::VendorPush, good: fn(&str) -> bool) -> Result<Self, Malformed> {
        if !good(&words.token) {
            return Err(wrong("its token is none of that service"));
        }
        let short = |it: &wire::PushField| {
            it.name.len() <= FIELD_NAME_BYTES_MAX && it.value.len() <= FIELD_VALUE_BYTES_MAX
        };
        if words.fields.len() > FIELDS_MAX || !words.fields.iter().all(short) {
            return Err(wrong("it has too many fields, or too long ones"));
        }
        let plain = |it: &wire::PushField| {
            !it.name.is_empty() && it.name.bytes().all(|it| it.is_ascii_alphanumeric())
        };
        if !words.fields.iter().all(plain) {
            return Err(wrong("the name of a field is more than letters and digits"));
        }
        Ok(Self {
            token: words.token,
            fields: words
                .fields
                .into_iter()
                .map(|it| (it.name, it.value))
                .collect(),
        })
    }
}

impl PushRequest {
    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let it = &self.draft;
        wire::PushRequest {
            domain: self.domain.to_string(),
            key_id: self.key_id.as_bytes().to_vec().into(),
            issued_ms: self.issued.as_millis(),
            expires_ms: self.expires.as_millis(),
            node: it.node.clone(),
            nonce: it.nonce.to_vec().into(),
            ttl_s: u32::try_from(it.ttl.as_secs()).unwrap_or(u32::MAX),
            urgency: match it.urgency {
                Urgency::Low => wire::PushUrgency::Low.into(),
                Urgency::High => wire::PushUrgency::High.into(),
            },
            collapse: it.collapse.clone(),
            target: Some(it.target.to_wire()),
        }
        .encode_to_vec()
    }

    /// Reads request bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let words =
            wire::PushRequest::decode(bytes).map_err(|_| Malformed::Protobuf { what: WHAT })?;
        Ok(Self {
            domain: words.domain.parse()?,
            key_id: KeyId::from_slice(&words.key_id)?,
            issued: Timestamp::from_millis(words.issued_ms)?,
            expires: Timestamp::from_millis(words.expires_ms)?,
            draft: draft(words)?,
        })
    }
}

fn draft(words: wire::PushRequest) -> Result<PushDraft, Malformed> {
    let urgency = match words.urgency() {
        wire::PushUrgency::Unspecified => return Err(wrong("nobody knows how urgent it is")),
        wire::PushUrgency::Low => Urgency::Low,
        wire::PushUrgency::High => Urgency::High,
    };
    let ttl = Duration::from_secs(words.ttl_s.into());
    let legal = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
    if words.node.len() > NODE_BYTES_MAX || !words.node.bytes().all(|it| it.is_ascii_graphic()) {
        return Err(wrong(
            "the name of its node is too long or has odd characters",
        ));
    }
    if words.collapse.len() > COLLAPSE_BYTES_MAX || !words.collapse.bytes().all(legal) {
        return Err(wrong("its collapse key is too long or has odd characters"));
    }
    if ttl > TTL_MAX {
        return Err(wrong("it may wait for more than 28 days"));
    }
    let target = words.target.ok_or_else(|| wrong("it has no target"))?;
    Ok(PushDraft {
        node: words.node,
        nonce: (&*words.nonce)
            .try_into()
            .map_err(|_| wrong("its nonce is not 16 bytes"))?,
        ttl,
        urgency,
        collapse: words.collapse,
        target: PushTarget::from_wire(target)?,
    })
}

impl PushTarget {
    fn to_wire(&self) -> wire::push_request::Target {
        use wire::push_request::Target;
        match self {
            Self::Web {
                endpoint,
                body,
                encrypted,
            } => Target::Web(wire::WebPush {
                endpoint: endpoint.to_string(),
                body: body.clone(),
                encrypted: *encrypted,
            }),
            Self::Fcm(token) => Target::Fcm(token.to_wire()),
            Self::Apns(token) => Target::Apns(token.to_wire()),
        }
    }

    fn from_wire(words: wire::push_request::Target) -> Result<Self, Malformed> {
        use wire::push_request::Target;
        Ok(match words {
            Target::Web(web) if web.body.len() > BODY_BYTES_MAX => {
                return Err(wrong("its body is longer than 4096 bytes"));
            }
            Target::Web(web) => Self::Web {
                endpoint: web.endpoint.parse()?,
                body: web.body,
                encrypted: web.encrypted,
            },
            Target::Fcm(token) => Self::Fcm(Token::from_wire(token, Token::is_fcm)?),
            Target::Apns(token) => Self::Apns(Token::from_wire(token, Token::is_apns)?),
        })
    }
}

fn wrong(why: &'static str) -> Malformed {
    Malformed::Layout { what: WHAT, why }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(target: PushTarget) -> PushRequest {
        PushRequest {
            domain: "alpha.test".parse().unwrap(),
            key_id: KeyId::of(&[1; 32]),
            issued: Timestamp::from_millis(1000).unwrap(),
            expires: Timestamp::from_millis(2000).unwrap(),
            draft: PushDraft {
                node: "node.example.org:8443".to_owned(),
                nonce: [7; 16],
                ttl: Duration::from_secs(60),
                urgency: Urgency::High,
                collapse: "aA0-_".to_owned(),
                target,
            },
        }
    }

    fn web() -> PushTarget {
        PushTarget::Web {
            endpoint: "https://push.example.net/up/x?token=a%3d&b"
                .parse()
                .unwrap(),
            body: vec![1, 2, 3].into(),
            encrypted: true,
        }
    }

    fn vendor(token: &str) -> Token {
        Token {
            token: token.to_owned(),
            fields: vec![("what".to_owned(), "msg".to_owned())],
        }
    }

    #[test]
    fn a_request_survives_its_bytes() {
        let hex = "0123456789abcdef".repeat(4);
        for target in [
            web(),
            PushTarget::Fcm(vendor("dQw4:APA91b_x-y.z")),
            PushTarget::Apns(vendor(&hex)),
        ] {
            let whole = request(target);
            assert_eq!(PushRequest::decode(&whole.encode()).unwrap(), whole);
        }
    }

    #[test]
    fn a_request_with_something_else_in_it_is_refused() {
        use wire::push_request::Target;
        let changes: [fn(&mut wire::PushRequest); 13] = [
            |it| it.domain = "Alpha.test".to_owned(),
            |it| it.key_id = vec![1; 15].into(),
            |it| it.issued_ms = -1,
            |it| it.nonce = vec![1; 15].into(),
            |it| it.node = "a\r\nb".to_owned(),
            |it| it.ttl_s = u32::MAX,
            |it| it.urgency = 9,
            |it| it.collapse = "a b".to_owned(),
            |it| it.collapse = "a".repeat(33),
            |it| it.target = None,
            |it| {
                it.target = Some(Target::Web(wire::WebPush {
                    endpoint: "https://a.test/".to_owned(),
                    body: vec![0; BODY_BYTES_MAX + 1].into(),
                    encrypted: false,
                }));
            },
            |it| it.target = Some(Target::Apns(vendor("xyz").to_wire())),
            |it| {
                let mut token = vendor("a").to_wire();
                token.fields = vec![wire::PushField::default(); 17];
                it.target = Some(Target::Fcm(token));
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut words = wire::PushRequest::decode(&*request(web()).encode()).unwrap();
            change(&mut words);
            let read = PushRequest::decode(&words.encode_to_vec());
            assert!(read.is_err(), "change {number} passed");
        }
    }

    #[test]
    fn endpoints_are_https_at_a_name_and_nothing_that_hides() {
        let endpoint: PushEndpoint = "https://push.a.test:8443/w/?token=x%3d".parse().unwrap();
        assert_eq!(
            (endpoint.authority(), endpoint.port(), endpoint.path()),
            ("push.a.test:8443", 8443, "/w/?token=x%3d")
        );
        assert!(!format!("{endpoint:?}").contains("token"));
        let long = format!("https://push.a.test/{}", "a".repeat(2048));
        for text in [
            "http://push.a.test/x",
            "https://push.a.test",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://user@push.a.test/x",
            "https://push.a.test:0/x",
            "https://push.a.test\\@b.test/x",
            "https://Push.a.test/x",
            "https://push.a.test/x y",
            "https://push.a.test/x#y",
            "https://push.a.test/x\r\nhost: b",
            "",
            &long,
        ] {
            assert!(text.parse::<PushEndpoint>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = PushRequest::decode(&bytes);
        }
    }
}
