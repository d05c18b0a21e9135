//! Names, ids, times, envelopes and refusals: the words two domains share.
//!
//! Nothing here reads a socket, a clock or a disk. Bytes from outside become values of these types
//! only through a check, so a value that exists is well formed.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

pub mod access;
pub mod address;
pub mod card;
pub mod client_document;
pub mod domain;
pub mod envelope;
pub mod freshness;
pub mod group;
pub mod hello;
pub mod id;
pub mod limits;
pub mod malformed;
pub mod position;
pub mod push;
pub mod record;
pub mod refusal;
pub mod time;
pub mod web_url;

/// The messages of `schema/peer.proto`, as bytes travel. Meaning is in the other modules.
#[expect(
    missing_docs,
    clippy::large_enum_variant,
    reason = "generated; documented in the schema"
)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/freehold.peer.v1.rs"));
}

/// The messages of `schema/client.proto`, as clients speak them over gRPC.
#[expect(
    missing_docs,
    clippy::large_enum_variant,
    reason = "generated; documented in the schema"
)]
pub mod pbx {
    include!(concat!(env!("OUT_DIR"), "/pbx.rs"));
}

pub use access::AccessMode;
pub use address::Address;
pub use card::{Announcement, Card};
pub use client_document::{ClientDocument, Entrance, Registration};
pub use domain::DomainName;
pub use envelope::{Destination, Envelope, Header};
pub use freshness::Freshness;
pub use group::GroupRecord;
pub use id::{GroupId, KeyId, MessageId, UserId};
pub use malformed::Malformed;
pub use position::{Placed, Position};
pub use push::{PushDraft, PushEndpoint, PushRequest, PushTarget, Token, Urgency};
pub use record::IdentityRecord;
pub use refusal::{Refusal, RefusalCode};
pub use time::{Clock, ManualClock, Timestamp};
pub use web_url::WebUrl;
