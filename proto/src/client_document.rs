//! The client document: where the clients of a domain's people connect, in the domain's own word
//! (PROTOCOL.md section 3.4).

use std::time::Duration;

use prost::Message as _;

use crate::{DomainName, KeyId, Malformed, Timestamp, WebUrl, web_url::host_and_port, wire};

/// Goes before the document when it is signed.
pub const CONTEXT: &[u8] = b"freehold/client/v1\0";
/// How long a document may count at most.
pub const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// After so long a document is made anew.
pub const RENEW_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest API key, and longest version of the client protocol, in bytes.
const WORD_BYTES_MAX: usize = 256;
const WHAT: &str = "client document";

/// Where a domain's people come in, and what is open there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entrance {
    /// Where WebSockets are made.
    pub websocket: WebUrl,
    /// Where clients poll.
    pub long_polling: WebUrl,
    /// The web app, if there is one.
    pub web_app: Option<WebUrl>,
    /// Host and port where gRPC is spoken, with TLS, if it is.
    pub grpc: Option<String>,
    /// Version of the client protocol, as `0.25`.
    pub protocol_version: String,
    /// What a client shows as its API key.
    pub api_key: String,
    /// Who may make an account.
    pub registration: Registration,
    /// People may come in without name and password.
    pub anonymous: bool,
    /// Two people may call each other.
    pub calls: bool,
    /// Largest file from a client, in bytes.
    pub file_bytes_max: u64,
    /// Longest message from a client, in bytes.
    pub message_bytes_max: u64,
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registration {
    /// Everybody.
    Open,
    /// Who has a code.
    Invite,
    /// Everybody, and an administrator says yes or no.
    Approval,
    /// Nobody.
    Closed,
}

/// A well-formed client document. Whether it is *true* is for `keys` to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientDocument {
    /// Whose.
    pub domain: DomainName,
    /// The key that signs.
    pub key_id: KeyId,
    /// When it was made.
    pub issued: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// What it says.
    pub entrance: Entrance,
}

impl ClientDocument {
    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let it = &self.entrance;
        let optional = |url: &Option<WebUrl>| url.as_ref().map(ToString::to_string);
        wire::ClientDocument {
            domain: self.domain.to_string(),
            key_id: self.key_id.as_bytes().to_vec().into(),
            issued_ms: self.issued.as_millis(),
            expires_ms: self.expires.as_millis(),
            websocket_url: it.websocket.to_string(),
            long_polling_url: it.long_polling.to_string(),
            web_app_url: optional(&it.web_app).unwrap_or_default(),
            grpc_address: it.grpc.clone().unwrap_or_default(),
            protocol_version: it.protocol_version.clone(),
            api_key: it.api_key.clone(),
            registration: it.registration.to_wire().into(),
            anonymous: it.anonymous,
            calls: it.calls,
            file_bytes_max: it.file_bytes_max,
            message_bytes_max: it.message_bytes_max,
        }
        .encode_to_vec()
    }

    /// Reads document bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let words =
            wire::ClientDocument::decode(bytes).map_err(|_| Malformed::Protobuf { what: WHAT })?;
        Ok(Self {
            domain: words.domain.parse()?,
            key_id: KeyId::from_slice(&words.key_id)?,
            issued: Timestamp::from_millis(words.issued_ms)?,
            expires: Timestamp::from_millis(words.expires_ms)?,
            entrance: entrance(words)?,
        })
    }
}

fn entrance(words: wire::ClientDocument) -> Result<Entrance, Malformed> {
    let registration = Registration::from_wire(words.registration());
    let web_app = Some(&*words.web_app_url).filter(|it| !it.is_empty());
    let grpc = Some(words.grpc_address).filter(|it| !it.is_empty());
    if let Some(address) = &grpc {
        check_grpc(address).map_err(wrong)?;
    }
    Ok(Entrance {
        websocket: url(&words.websocket_url, ["wss", "ws"])?,
        long_polling: url(&words.long_polling_url, ["https", "http"])?,
        web_app: web_app.map(|it| url(it, ["https", "http"])).transpose()?,
        grpc,
        protocol_version: word(words.protocol_version)?,
        api_key: word(words.api_key)?,
        registration: registration.ok_or_else(|| wrong("nobody knows who may make an account"))?,
        anonymous: words.anonymous,
        calls: words.calls,
        file_bytes_max: words.file_bytes_max,
        message_bytes_max: words.message_bytes_max,
    })
}

/// Reads the address of a listener for gRPC, `host:port`, or says what is wrong with it.
pub fn check_grpc(text: &str) -> Result<(), &'static str> {
    match host_and_port(text) {
        Ok((_, Some(_))) => Ok(()),
        Ok((_, None)) => Err("its address for gRPC has no port"),
        Err(why) => Err(why),
    }
}

fn url(text: &str, schemes: [&str; 2]) -> Result<WebUrl, Malformed> {
    let url: WebUrl = text.parse()?;
    match schemes.contains(&url.scheme()) {
        true => Ok(url),
        false => Err(wrong("a URL of it has another scheme than its purpose")),
    }
}

/// A word that can be shown as it is.
fn word(text: String) -> Result<String, Malformed> {
    let legal = text.bytes().all(|it| it.is_ascii_graphic());
    match legal && text.len() <= WORD_BYTES_MAX {
        true => Ok(text),
        false => Err(wrong("a word of it is too long or has odd characters")),
    }
}

fn wrong(why: &'static str) -> Malformed {
    Malformed::Layout { what: WHAT, why }
}

impl Registration {
    fn to_wire(self) -> wire::Registration {
        match self {
            Self::Open => wire::Registration::Open,
            Self::Invite => wire::Registration::Invite,
            Self::Approval => wire::Registration::Approval,
            Self::Closed => wire::Registration::Closed,
        }
    }

    fn from_wire(words: wire::Registration) -> Option<Self> {
        match words {
            wire::Registration::Unspecified => None,
            wire::Registration::Open => Some(Self::Open),
            wire::Registration::Invite => Some(Self::Invite),
            wire::Registration::Approval => Some(Self::Approval),
            wire::Registration::Closed => Some(Self::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document() -> ClientDocument {
        ClientDocument {
            domain: "alpha.test".parse().unwrap(),
            key_id: KeyId::of(&[1; 32]),
            issued: Timestamp::from_millis(1000).unwrap(),
            expires: Timestamp::from_millis(2000).unwrap(),
            entrance: Entrance {
                websocket: "wss://chat.alpha.test/v0/channels".parse().unwrap(),
                long_polling: "https://chat.alpha.test/v0/channels/lp".parse().unwrap(),
                web_app: Some("https://chat.alpha.test/".parse().unwrap()),
                grpc: Some("chat.alpha.test:443".to_owned()),
                protocol_version: "0.25".to_owned(),
                api_key: "AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K".to_owned(),
                registration: Registration::Invite,
                anonymous: true,
                calls: true,
                file_bytes_max: 8_388_608,
                message_bytes_max: 131_072,
            },
        }
    }

    #[test]
    fn a_document_survives_its_bytes() {
        let whole = document();
        assert_eq!(ClientDocument::decode(&whole.encode()).unwrap(), whole);
        let mut bare = document();
        bare.entrance.web_app = None;
        bare.entrance.grpc = None;
        assert_eq!(ClientDocument::decode(&bare.encode()).unwrap(), bare);
    }

    #[test]
    fn a_document_with_something_else_in_it_is_refused() {
        let changes: [fn(&mut wire::ClientDocument); 10] = [
            |it| it.domain = "Alpha.test".to_owned(),
            |it| it.key_id = vec![1; 15].into(),
            |it| it.expires_ms = -1,
            |it| it.websocket_url = "https://alpha.test/".to_owned(),
            |it| it.websocket_url = String::new(),
            |it| it.long_polling_url = "wss://alpha.test/".to_owned(),
            |it| it.web_app_url = "javascript:alert(1)".to_owned(),
            |it| it.grpc_address = "chat.alpha.test".to_owned(),
            |it| it.api_key = "a key\r\nset-cookie: x".to_owned(),
            |it| it.registration = 9,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut words = wire::ClientDocument::decode(&*document().encode()).unwrap();
            change(&mut words);
            let read = ClientDocument::decode(&words.encode_to_vec());
            assert!(read.is_err(), "change {number} passed");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = ClientDocument::decode(&bytes);
        }

        /// What is read says what was written, so nothing else can be signed than is shown.
        #[test]
        fn changed_documents_are_read_as_they_are_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = document().encode();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(read) = ClientDocument::decode(&bytes) {
                prop_assert_eq!(ClientDocument::decode(&read.encode()).unwrap(), read);
            }
        }
    }
}
