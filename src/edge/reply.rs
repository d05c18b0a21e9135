//! The codes and texts of answers to clients (fact sheet, section 2.5). Some clients compare the
//! texts, so each stands here once, literally.

use freehold_proto::Timestamp;
use serde_json::Value;

use super::frames::{Ctrl, ServerFrame};

/// A code and its text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// As in HTTP.
    pub code: u16,
    /// As stock clients know it.
    pub text: &'static str,
}

macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $text:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: Status = Status { code: $code, text: $text };)+
    };
}

statuses! {
    /// Done.
    OK = 200 "ok";
    /// Session or account made.
    CREATED = 201 "created";
    /// Message stored.
    ACCEPTED = 202 "accepted";
    /// Nothing to show.
    NO_CONTENT = 204 "no content";
    /// The subscription ended, or another took the session's place.
    EVICTED = 205 "evicted";
    /// The server stops.
    SHUTDOWN = 205 "server shutdown";
    /// End of a page of messages.
    DELIVERED = 208 "delivered";
    /// Confirm a credential first.
    VALIDATE_CREDENTIALS = 300 "validate credentials";
    /// A code is on its way, if there is anybody to get it.
    AUTH_RESET = 301 "auth reset";
    /// The topic has another name for this client.
    USE_OTHER = 303 "use other";
    /// Nothing to change.
    NOT_MODIFIED = 304 "not modified";
    /// There was nothing to do.
    NO_ACTION = 304 "no action";
    /// Was not attached.
    NOT_JOINED = 304 "not joined";
    /// Cannot be read or makes no sense.
    MALFORMED = 400 "malformed";
    /// Log in first.
    AUTH_REQUIRED = 401 "authentication required";
    /// Wrong secret.
    AUTH_FAILED = 401 "authentication failed";
    /// A scheme this server does not know.
    UNKNOWN_SCHEME = 401 "unknown authentication scheme";
    /// Not allowed.
    PERMISSION_DENIED = 403 "permission denied";
    /// The account cannot be used before an administrator agrees. Ours: no stock server has it.
    AWAITS_APPROVAL = 403 "account awaits approval";
    /// No or a wrong API key.
    API_KEY_REQUIRED = 403 "valid API key required";
    /// No such topic.
    TOPIC_NOT_FOUND = 404 "topic not found";
    /// No such person, or nobody who wishes to be found.
    USER_NOT_FOUND = 404 "user not found";
    /// No such thing.
    NOT_FOUND = 404 "not found";
    /// Not in this kind of topic.
    NOT_ALLOWED = 405 "operation or method not allowed";
    /// Not the code that was sent.
    INVALID_RESPONSE = 406 "invalid response";
    /// Logged in as somebody else.
    ALREADY_AUTHENTICATED = 409 "already authenticated";
    /// The log-in name is taken.
    DUPLICATE_CREDENTIAL = 409 "duplicate credential";
    /// Subscribe first.
    ATTACH_FIRST = 409 "must attach first";
    /// Not now.
    OUT_OF_SEQUENCE = 409 "command out of sequence";
    /// Larger than allowed.
    TOO_LARGE = 413 "too large";
    /// The same over long polling. COMPAT.
    BODY_TOO_LARGE = 417 "too large";
    /// No such session, over long polling.
    SESSION_EXPIRED = 403 "invalid or expired session";
    /// Too weak, too many.
    POLICY = 422 "policy violation";
    /// The line is taken.
    BUSY = 486 "busy here";
    /// Our fault; whether it happened is not known.
    INTERNAL = 500 "internal error";
    /// Not built yet.
    NOT_IMPLEMENTED = 501 "not implemented";
    /// Our fault, for now.
    UNAVAILABLE = 503 "service unavailable";
    /// A file of another domain, which does not give it now. Ours: no stock server has it.
    FILE_AWAY = 504 "the domain of the file does not answer";
    /// A client that is too old.
    VERSION = 505 "version not supported";
}

/// An answer that is being put together.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Code and text.
    pub status: Status,
    /// More, by kind of answer.
    pub params: Option<Value>,
}

impl Reply {
    /// Adds parameters.
    #[must_use]
    pub fn with(status: Status, params: Value) -> Self {
        Self {
            status,
            params: Some(params),
        }
    }

    /// The frame for the request `id` about `topic`.
    #[must_use]
    pub fn into_frame(
        self,
        id: Option<String>,
        topic: Option<String>,
        ts: Timestamp,
    ) -> ServerFrame {
        ServerFrame::Ctrl(Ctrl {
            id,
            topic,
            params: self.params,
            code: self.status.code,
            text: self.status.text.into(),
            ts,
        })
    }
}

impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        Self {
            status,
            params: None,
        }
    }
}

impl From<freehold_store::StoreError> for Reply {
    /// An I/O error leaves the outcome unknown: 500. What was refused before it was written may be
    /// tried again: 503. Never below 500, or stock clients would forget who they are.
    fn from(fault: freehold_store::StoreError) -> Self {
        tracing::error!(%fault, "the store does not answer");
        if fault.is_refusal() {
            UNAVAILABLE.into()
        } else {
            INTERNAL.into()
        }
    }
}
