//! Finds another domain: where to connect, and which identity record to believe.
//!
//! Everything found is checked before it is used. A record counts only when the root key that
//! somebody anchored has signed it (PROTOCOL.md section 4); an address counts only when it lies where
//! we may connect (section 2).

#![warn(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod address_filter;
mod anchor;
mod budget;
mod config;
mod confirm;
mod connect;
mod directory;
mod dns;
mod error;
mod fetch;
mod limiter;
mod node;
mod nodes;
mod pin;
mod prefix;
mod secure;
mod srv;
mod web;
mod well_known;

pub use config::{Config, Dnssec, NegativeCache, StaticPeer, Trust};
pub use connect::{Connect, PATH as CLIENT_DOCUMENT_PATH};
pub use directory::{Directory, Heard, Listed, Observation, Target, TxtAnchor};
pub use error::{DirectoryError, DocumentError, Fault, ResolveError};
/// Addresses in CIDR notation, `127.0.0.0/8`.
pub use ipnet::IpNet as IpRange;
pub use limiter::{Limiter, Over, Rate};
pub use node::{
    ApnsConfig, FcmConfig, Node, NodeConfig, NodeListener, PushConfig, VapidConfig, new_vapid_key,
    serve as serve_node,
};
pub use nodes::NodeAddress;
pub use pin::{AnchorLevel, Hold, Life, MemoryPins, Pin, PinError, Pins};
pub use prefix::prefix_of;
pub use well_known::{PATH as WELL_KNOWN_PATH, tls as web_tls};
