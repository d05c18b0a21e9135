//! What an operator decides about links. Values are checked before they come here.

use std::{net::SocketAddr, time::Duration};

use crate::{Backoff, Policy, Rates};

/// How links are made and bounded.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where peers connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// With whom.
    pub policy: Policy,
    /// When to try a peer again.
    pub backoff: Backoff,
    /// A link without traffic is closed after this.
    pub idle_timeout: Duration,
    /// Time to connect and finish TLS, on either side.
    pub tls_timeout: Duration,
    /// Time until a connected stranger must have said hello.
    pub hello_timeout: Duration,
    /// How long a hello waits for discovery before it is answered with "pending".
    pub discovery_wait: Duration,
    /// Time for the peer to answer one call.
    pub call_timeout: Duration,
    /// Connections from peers at once.
    pub connections_max: usize,
    /// Of these, connections that have not proven a domain yet.
    pub strangers_max: usize,
    /// Of those, connections from one IP prefix (/24 or /56).
    pub strangers_per_prefix_max: usize,
    /// How often a peer, or a stranger, may come with something.
    pub rates: Rates,
}
