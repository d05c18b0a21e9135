//! Why a domain cannot be found or believed, and whose fault that is.

use std::net::IpAddr;

use freehold_keys::{DocumentFault, RecordFault};
use freehold_proto::Timestamp;

use crate::{AnchorLevel, PinError};

/// Who has to do something about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// This server: its storage, its configuration, its limits.
    Ours,
    /// Whatever lies between us and the peer; trying again may help.
    Network,
    /// The peer, or somebody who pretends to be the peer.
    Peer,
}

/// Why a domain cannot be found or believed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nobody whose word counts vouches for a root key.
    #[error("nobody vouches for its root key: {0}")]
    NoAnchor(&'static str),
    /// The `_freehold` TXT record is not of the form `v=fh1; root=…`.
    #[error("its TXT record is malformed: {0}")]
    AnchorMalformed(&'static str),
    /// Two anchors name different root keys, and the one that disagrees is not the weaker.
    #[error("{level} names another root key than the one we rely on")]
    AnchorsDisagree {
        /// Who names the other key.
        level: AnchorLevel,
    },
    /// It shows a root key that the pinned one has not named, and is being watched.
    #[error(
        "it shows another root key than the one we rely on, and DNS and its web server do so too: that is watched until {until}, and nothing is exchanged until then"
    )]
    OnHold {
        /// When the new key will be believed if nothing changes.
        until: Timestamp,
    },
    /// It lies where we may not connect.
    #[error("address {address} is {kind}, where we may not connect")]
    AddressRefused {
        /// The first of its addresses that was refused.
        address: IpAddr,
        /// What is special about it.
        kind: &'static str,
    },
    /// DNS knows no address for it.
    #[error("no address is known for it")]
    NoAddress,
    /// Its SRV record says that it offers no such service.
    #[error("it does not offer federation (SRV target \".\")")]
    ServiceRefused,
    /// The SRV record names an alias, which RFC 2782 forbids.
    #[error("SRV target {0} is an alias")]
    Alias(String),
    /// DNS does not answer, or answers with an error.
    #[error("DNS look-up failed: {0}")]
    Dns(String),
    /// Its record could not be fetched.
    #[error("its identity record cannot be fetched: {0}")]
    Fetch(String),
    /// The record fetched is not to be believed.
    #[error(transparent)]
    Record(#[from] RecordFault),
    /// More look-ups than we do at once.
    #[error("too many look-ups now")]
    Busy,
    /// Our own store.
    #[error(transparent)]
    Pins(#[from] PinError),
}

impl ResolveError {
    /// Is it disputed who the domain is? Then nothing may be exchanged, whatever we knew before.
    #[must_use]
    pub fn is_dispute(&self) -> bool {
        matches!(self, Self::AnchorsDisagree { .. } | Self::OnHold { .. })
    }

    /// Who has to do something about it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Busy | Self::Pins(_) => Fault::Ours,
            Self::Dns(_) | Self::Fetch(_) => Fault::Network,
            Self::NoAnchor(_)
            | Self::AnchorMalformed(_)
            | Self::AnchorsDisagree { .. }
            | Self::OnHold { .. }
            | Self::AddressRefused { .. }
            | Self::NoAddress
            | Self::ServiceRefused
            | Self::Alias(_)
            | Self::Record(_) => Fault::Peer,
        }
    }
}

/// Why it is not known where a domain's clients connect.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// There is nothing to check a document against.
    #[error("its identity record is not to be had, so no word of it can be checked")]
    NoRecord,
    /// It publishes none.
    #[error("it does not tell where its clients connect")]
    None,
    /// It cannot be found.
    #[error(transparent)]
    Unreached(#[from] ResolveError),
    /// It does not hand one over.
    #[error("its client document cannot be fetched: {0}")]
    Fetch(String),
    /// What it hands over is not to be believed.
    #[error(transparent)]
    Fault(#[from] DocumentFault),
}

/// Why the directory cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Two rows of the static table name one domain.
    #[error("{0} stands twice in the static table")]
    Twice(freehold_proto::DomainName),
    /// The certificates that are to be believed cannot be read.
    #[error("the certificates in {path} cannot be used: {why}")]
    Authorities {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The keys that DNSSEC is to begin with cannot be read.
    #[error("the DNSKEY records in {path} cannot be used: {why}")]
    DnssecKeys {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What a node needs to relay pushes cannot be used.
    #[error("{what} in {path} cannot be used: {why}")]
    PushKey {
        /// What it should be.
        what: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}
