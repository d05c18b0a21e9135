//! What an operator decides about finding other domains. Values are checked before they come here.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use freehold_proto::DomainName;

use crate::{IpRange, NodeAddress};

/// How other domains are found and believed.
#[derive(Clone, Debug)]
pub struct Config {
    /// The DNS server to ask; without one, those of the system.
    pub nameserver: Option<SocketAddr>,
    /// Who finds out whether DNSSEC vouches for a TXT record.
    pub dnssec: Dnssec,
    /// Port on which the web servers of domains are asked.
    pub well_known_port: u16,
    /// A PEM file of certificate authorities that are believed beside those of the web.
    pub well_known_ca: Option<PathBuf>,
    /// Nodes of the public directory that may confirm an unsigned TXT record.
    pub nodes: Vec<NodeAddress>,
    /// Whose word counts for a domain that has never been met.
    pub trust: Trust,
    /// Ranges to connect to although they are private, local or otherwise special.
    pub allowed_ranges: Vec<IpRange>,
    /// Domains the administrator vouches for.
    pub static_peers: Vec<StaticPeer>,
    /// How long a failure is remembered.
    pub negative_cache: NegativeCache,
}

impl Default for Config {
    /// The system's resolver, no domain known, nobody trusted.
    fn default() -> Self {
        Self {
            nameserver: None,
            dnssec: Dnssec::Off,
            well_known_port: 443,
            well_known_ca: None,
            nodes: Vec::new(),
            trust: Trust::Pinned,
            allowed_ranges: Vec::new(),
            static_peers: Vec::new(),
            negative_cache: NegativeCache::USUAL,
        }
    }
}

/// Whose word counts for a domain that has never been met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trust {
    /// The administrator's and nobody else's.
    Pinned,
    /// Also that of a `_freehold` TXT record for which DNSSEC vouches or that two directory nodes confirm,
    /// and that of the domain's web server.
    Verified,
    /// Also that of an unsigned TXT record: demonstrations and closed networks.
    Dns,
    /// Also that of whoever answers first: a network without DNS of its own.
    Lan,
}

/// Who finds out whether DNSSEC vouches for a TXT record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Dnssec {
    /// Nobody: it never does.
    Off,
    /// A validating resolver on this machine, whose word is believed.
    Resolver(SocketAddr),
    /// We ourselves, with the keys in this file, or those of the root of the DNS.
    Validated(Option<PathBuf>),
}

/// A domain the administrator vouches for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StaticPeer {
    /// Which.
    pub domain: DomainName,
    /// Host (name or IP address) and port; without them, DNS says where.
    pub address: Option<(String, u16)>,
    /// SHA-256 of its root public key.
    pub root_fingerprint: [u8; 32],
}

/// How long a failed look-up is answered from memory. Doubles with each failure of the same domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NegativeCache {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl NegativeCache {
    /// 5 seconds to a minute.
    pub const USUAL: Self = Self {
        first: Duration::from_secs(5),
        longest: Duration::from_secs(60),
    };

    /// How long failure number `failures` (1, 2, …) is remembered.
    pub(crate) fn lifetime(&self, failures: u32) -> Duration {
        self.first
            .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
            .min(self.longest)
    }
}
