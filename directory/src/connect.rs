//! A client document in words, as a domain shows it itself and a node hands it on.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use freehold_keys::SignedClientDocument;
use freehold_proto::client_document::Registration;
use serde::Serialize;
use utoipa::ToSchema;

/// Where a domain's own listener has its client document.
pub const PATH: &str = "/.well-known/freehold/client";

/// Where the clients of a domain's people connect, and what is open there.
#[derive(Debug, Serialize, ToSchema)]
pub struct Connect {
    /// The domain: the part of addresses behind the `@`.
    pub domain: String,
    /// Host and port: what people type into an app as the name of the server.
    pub server: String,
    /// Whether apps connect with TLS there.
    pub tls: bool,
    /// Where WebSockets are made.
    pub websocket: String,
    /// Where clients poll.
    pub long_polling: String,
    /// The web app, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_app: Option<String>,
    /// Host and port where gRPC is spoken, with TLS, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Version of the client protocol.
    pub protocol_version: String,
    /// What a client shows as its API key. Not a secret.
    pub api_key: String,
    /// Who may make an account: `open`, `invite`, `approval` or `closed`.
    pub registration: String,
    /// Whether people may come in without name and password.
    pub anonymous: bool,
    /// Whether two people may call each other.
    pub calls: bool,
    /// Largest file, in bytes.
    pub file_bytes_max: u64,
    /// Longest message, in bytes.
    pub message_bytes_max: u64,
    /// When the domain said so.
    pub issued: String,
    /// Until when that counts.
    pub expires: String,
    /// The `SignedClientDocument` in base64url: the only thing here that is signed.
    pub document: String,
}

impl Connect {
    /// What a document says. Nothing is checked.
    #[must_use]
    pub fn of(signed: &SignedClientDocument) -> Self {
        let document = signed.document();
        let entrance = &document.entrance;
        Self {
            domain: document.domain.to_string(),
            server: entrance.websocket.authority().to_owned(),
            tls: entrance.websocket.is_secure(),
            websocket: entrance.websocket.to_string(),
            long_polling: entrance.long_polling.to_string(),
            web_app: entrance.web_app.as_ref().map(ToString::to_string),
            grpc: entrance.grpc.clone(),
            protocol_version: entrance.protocol_version.clone(),
            api_key: entrance.api_key.clone(),
            registration: word(entrance.registration).to_owned(),
            anonymous: entrance.anonymous,
            calls: entrance.calls,
            file_bytes_max: entrance.file_bytes_max,
            message_bytes_max: entrance.message_bytes_max,
            issued: document.issued.to_string(),
            expires: document.expires.to_string(),
            document: URL_SAFE_NO_PAD.encode(signed.to_bytes()),
        }
    }
}

fn word(registration: Registration) -> &'static str {
    match registration {
        Registration::Open => "open",
        Registration::Invite => "invite",
        Registration::Approval => "approval",
        Registration::Closed => "closed",
    }
}
