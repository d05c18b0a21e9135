//! Links to other domains.
//!
//! A link is one HTTP/2 connection on one mutually authenticated TLS stream, over which both sides
//! have proven their domain (PROTOCOL.md sections 5 and 8). What arrives is verified before anybody
//! sees it; what leaves waits in the domain's durable outbox until the peer has decided it.

#![warn(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod accept;
mod awaited;
mod backoff;
mod batching;
mod boundary;
mod config;
mod dial;
mod engine;
mod entries;
mod error;
mod file;
mod find;
mod group;
mod hello;
pub mod hooks;
mod identity;
mod inbox;
mod link;
mod peer;
mod policy;
mod rates;
mod service;
mod shared;
mod signals;
mod status;
mod strangers;
mod tasks;
#[cfg(test)]
mod tests;
mod tls;
mod turns;
mod worker;

pub use backoff::{Backoff, BackoffError};
pub use batching::{Batching, Blame};
pub use boundary::{
    Arrived, FileHead, FileOffer, FileQuery, FindQuery, GroupAnswer, GroupQuery, Incoming, Local,
    Outbox, Outgoing, Past, StreamPosition, Unavailable, Verdict,
};
pub use config::Config;
pub use engine::{Bound, Federation, LinkReport, LinkState};
pub use error::{BindError, FindError, LinkError, LinkLost, PeerMisbehaved, PeerUnsupported};
pub use file::RemoteFile;
pub use freehold_directory::{Limiter, Over, Rate};
pub use policy::Policy;
pub use rates::Rates;
pub use shared::{Arrival, Reception, SharedListener};
pub use strangers::{Strangers, Ticket};
pub use tasks::Tasks;

/// Stubs generated from `proto/schema/peer.proto`.
#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes,
    reason = "generated; documented in the schema"
)]
mod stubs {
    tonic::include_proto!("freehold.peer.v1");
}
