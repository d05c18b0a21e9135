//! Where a domain can be reached, and what is served there.

use std::net::{IpAddr, SocketAddr};

use freehold_keys::VerifiedRecord;
use freehold_proto::{DomainName, limits::DEFAULT_PORT};

use super::Directory;
use crate::{
    ResolveError, fetch,
    srv::{SrvRow, order},
};

/// SRV targets of one domain that are considered.
const TARGETS_MAX: usize = 8;
/// Addresses of one domain that are considered.
const ADDRESSES_MAX: usize = 16;

/// Where a domain can be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The host name it was found under.
    pub host: String,
    /// Where to connect. Has passed the address filter.
    pub address: SocketAddr,
}

impl Directory {
    /// Addresses to try now, in this order.
    pub async fn targets(&self, domain: &DomainName) -> Result<Vec<Target>, ResolveError> {
        let fixed = self
            .static_peers
            .get(domain)
            .and_then(|it| it.address.as_ref());
        if let Some((host, port)) = fixed {
            let found = match host.parse::<IpAddr>() {
                Ok(address) => vec![address],
                Err(_) => self.dns.addresses(host, true).await?,
            };
            let found = found.into_iter().map(|it| (host.clone(), it, *port));
            return self.filtered(found.collect());
        }
        let rows = self.dns.services(domain).await?;
        if rows.iter().any(|row| row.target.is_empty()) {
            return Err(ResolveError::ServiceRefused);
        }
        if rows.is_empty() {
            let found = self.dns.addresses(domain.as_str(), true).await?;
            let found = found
                .into_iter()
                .map(|it| (domain.to_string(), it, DEFAULT_PORT));
            return self.filtered(found.collect());
        }
        self.filtered(self.service_addresses(order(rows, random_up_to)).await?)
    }

    /// The addresses behind SRV rows. A target that cannot be resolved only loses its turn.
    async fn service_addresses(
        &self,
        rows: Vec<SrvRow>,
    ) -> Result<Vec<(String, IpAddr, u16)>, ResolveError> {
        let mut found = Vec::new();
        let mut failure = None;
        for row in rows.into_iter().take(TARGETS_MAX) {
            match self.dns.addresses(&row.target, false).await {
                Ok(addresses) => {
                    let addresses = addresses.into_iter();
                    found.extend(addresses.map(|it| (row.target.clone(), it, row.port)));
                }
                Err(error) => failure = Some(error),
            }
            if found.len() >= ADDRESSES_MAX {
                break;
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// Whether one may connect there.
    pub(crate) fn may_connect(&self, address: IpAddr) -> bool {
        self.filter.check(address).is_ok()
    }

    pub(super) fn filtered(
        &self,
        found: Vec<(String, IpAddr, u16)>,
    ) -> Result<Vec<Target>, ResolveError> {
        let mut targets = Vec::new();
        let mut refused = None;
        for (host, address, port) in found.into_iter().take(ADDRESSES_MAX) {
            match self.filter.check(address) {
                Ok(()) => targets.push(Target {
                    host,
                    address: SocketAddr::new(address, port),
                }),
                Err(kind) => {
                    refused.get_or_insert(ResolveError::AddressRefused { address, kind });
                }
            }
        }
        match refused {
            _ if !targets.is_empty() => Ok(targets),
            Some(error) => Err(error),
            None => Err(ResolveError::NoAddress),
        }
    }

    /// Asks each address in turn until one serves a record that can be believed.
    pub(super) async fn fetch(
        &self,
        domain: &DomainName,
        root: Option<&[u8; 32]>,
    ) -> Result<VerifiedRecord, ResolveError> {
        let mut failure = ResolveError::NoAddress;
        for target in self.targets(domain).await? {
            match self.fetch_from(domain, &target, root).await {
                Ok(record) => return Ok(record),
                // That somebody shows something else counts for more than that somebody is silent.
                Err(_) if matches!(failure, ResolveError::Record(_)) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn fetch_from(
        &self,
        domain: &DomainName,
        target: &Target,
        root: Option<&[u8; 32]>,
    ) -> Result<VerifiedRecord, ResolveError> {
        let bytes = fetch::fetch(&self.records, domain, target)
            .await
            .map_err(ResolveError::Fetch)?;
        let root = match root {
            Some(root) => *root,
            None => VerifiedRecord::root_in(&bytes)?,
        };
        Ok(self.verify(&bytes, domain, &root)?)
    }
}

/// A random number from 0 to `max`. Spreads load; nobody's safety depends on it.
fn random_up_to(max: u32) -> u32 {
    let range = u64::from(max) + 1;
    let drawn = u64::from(getrandom::u32().unwrap_or(0));
    u32::try_from((drawn * range) >> 32).unwrap_or(0)
}
