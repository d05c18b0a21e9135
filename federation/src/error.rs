//! What can go wrong on a link, by whose fault it is.

use std::net::SocketAddr;

use freehold_directory::{Fault, ResolveError};
use freehold_proto::{DomainName, Refusal};

use crate::Unavailable;

/// Why a link cannot be had, or broke.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer broke the protocol, or somebody pretends to be the peer.
    #[error("peer {peer} misbehaved: {what}")]
    Misbehaved {
        /// Which peer.
        peer: DomainName,
        /// How.
        what: PeerMisbehaved,
    },
    /// The peer does not speak what we speak.
    #[error("peer {peer} is not supported: {what}")]
    Unsupported {
        /// Which peer.
        peer: DomainName,
        /// What is missing.
        what: PeerUnsupported,
    },
    /// The peer said no to us.
    #[error("peer {peer} {refusal}")]
    Refused {
        /// Which peer.
        peer: DomainName,
        /// Its words.
        refusal: Refusal,
    },
    /// The peer cannot be reached, or the connection broke.
    #[error("link to {peer} lost: {what}")]
    Lost {
        /// Which peer.
        peer: DomainName,
        /// Where it broke.
        what: LinkLost,
    },
    /// The peer cannot be found or believed.
    #[error("peer {peer} cannot be resolved: {source}")]
    Unresolved {
        /// Which peer.
        peer: DomainName,
        /// Why.
        source: ResolveError,
    },
    /// We do not try now: the peer failed a moment ago.
    #[error("peer {0} failed a moment ago and is not tried yet")]
    Resting(DomainName),
    /// Our policy wants nothing to do with it.
    #[error("peer {0} is denied by our policy")]
    Denied(DomainName),
    /// Something of ours.
    #[error("our own fault: {0}")]
    Ours(String),
}

impl LinkError {
    /// Who has to do something about it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Misbehaved { .. } | Self::Unsupported { .. } | Self::Refused { .. } => {
                Fault::Peer
            }
            Self::Lost { .. } | Self::Resting(_) => Fault::Network,
            Self::Unresolved { source, .. } => source.fault(),
            Self::Denied(_) | Self::Ours(_) => Fault::Ours,
        }
    }
}

/// How a peer broke the protocol.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// Its TLS key is not one of its identity record.
    #[error("its TLS key is not in its identity record")]
    WrongTlsKey,
    /// It does not prove its domain.
    #[error("it does not prove its domain: {0}")]
    Unproven(Refusal),
    /// An answer without a meaning.
    #[error("its answer has no meaning: {0}")]
    BadAnswer(&'static str),
    /// It fails on a call in a way that is no refusal.
    #[error("it failed on a call: {0}")]
    Failed(String),
}

/// What a peer does not speak.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerUnsupported {
    /// Another protocol on that port.
    #[error("it does not speak {0} there")]
    Alpn(&'static str),
    /// Another version.
    #[error("it answers in protocol version {0}")]
    Version(u32),
}

/// Where the network failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkLost {
    /// No connection to any of its addresses.
    #[error("{address} cannot be connected: {why}")]
    Connect {
        /// The address tried last.
        address: SocketAddr,
        /// What the system says.
        why: String,
    },
    /// TLS did not come about.
    #[error("TLS with {address} failed: {why}")]
    Tls {
        /// The address tried last.
        address: SocketAddr,
        /// What TLS says.
        why: String,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer in time to {0}")]
    TimedOut(&'static str),
    /// The peer says it cannot now.
    #[error("it is unavailable: {0}")]
    Unavailable(String),
}

/// Why a look-up at a peer has no outcome. It may have one a moment later.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Not within the time given. The question stays on its way; asking again joins it.
    #[error("no answer yet")]
    NotYet,
    /// Too many questions to this peer at once.
    #[error("too many look-ups at this peer")]
    Busy,
    /// There is no link.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Why federation cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Our own keys cannot be used.
    #[error(transparent)]
    Keys(#[from] freehold_keys::KeyError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Turns "storage does not answer" into what the other side of a call is told.
impl From<Unavailable> for tonic::Status {
    fn from(error: Unavailable) -> Self {
        tracing::warn!(%error, fault = "ours", "a peer's call could not be served");
        Self::unavailable("storage is unavailable")
    }
}
