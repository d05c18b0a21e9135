//! Ann of alpha and Bob of beta, who know each other: the network that many scenes begin with.

use crate::{
    guest::Guest,
    net::{House, Net},
};

/// Two domains with a person each.
pub(crate) struct Friends {
    pub(crate) ann: Guest,
    pub(crate) bob: Guest,
    pub(crate) alpha: House,
    pub(crate) beta: House,
    pub(crate) net: Net,
}

impl Friends {
    /// Their chat begins with the same two messages at both domains.
    pub(crate) async fn new() -> Self {
        Self::configured("").await
    }

    /// The same with more lines in the section `[clients]` of alpha's configuration.
    pub(crate) async fn configured(lines: &str) -> Self {
        let net = Net::new().await;
        let alpha = net.domain_with("alpha.test", lines).await;
        let beta = net.domain("beta.test").await;
        let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
        ann.meets(&mut bob).await;
        Self {
            ann,
            bob,
            alpha,
            beta,
            net,
        }
    }
}
