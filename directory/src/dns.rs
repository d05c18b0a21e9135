//! Asks DNS. A thin shell over hickory-resolver, whose types do not leave this file.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use freehold_proto::DomainName;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::{
        dnssec::TrustAnchors,
        rr::{RData, RecordType},
    },
};

use crate::{ResolveError, srv::SrvRow};

/// The longest we believe that a name does not exist. Our own negative cache is on top of it.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(5);
/// Time for one question to one server.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(3);

/// Where questions go. Clones share what they have heard.
#[derive(Clone)]
pub(crate) struct Dns {
    // A machine without a usable resolv.conf can still serve static peers.
    resolver: Result<TokioResolver, String>,
}

impl Dns {
    pub(crate) fn new(nameserver: Option<SocketAddr>) -> Self {
        let resolver = resolver(nameserver, None).map_err(|error| error.to_string());
        if let Err(error) = &resolver {
            tracing::warn!(error, "DNS cannot be used; only the static table counts");
        }
        Self { resolver }
    }

    /// The texts at `_freehold.<domain>`.
    pub(crate) async fn anchors(&self, domain: &DomainName) -> Result<Vec<String>, ResolveError> {
        let name = format!("_freehold.{domain}.");
        let lookup = self.ask(&name, RecordType::TXT).await?;
        Ok(answers(&lookup, |data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        }))
    }

    /// The rows at `_freehold._tcp.<domain>`; none when there is no such name.
    pub(crate) async fn services(&self, domain: &DomainName) -> Result<Vec<SrvRow>, ResolveError> {
        let name = format!("_freehold._tcp.{domain}.");
        let lookup = self.ask(&name, RecordType::SRV).await?;
        Ok(answers(&lookup, |data| match data {
            RData::SRV(srv) => Some(SrvRow {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv
                    .target
                    .to_lowercase()
                    .to_ascii()
                    .trim_end_matches('.')
                    .to_owned(),
            }),
            _ => None,
        }))
    }

    /// The addresses of a host, IPv6 first. `alias` says whether the host may be a CNAME.
    pub(crate) async fn addresses(
        &self,
        host: &str,
        alias: bool,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let name = format!("{host}.");
        let (six, four) = tokio::join!(
            self.ask(&name, RecordType::AAAA),
            self.ask(&name, RecordType::A)
        );
        let mut addresses = Vec::new();
        let mut failure = None;
        for lookup in [six, four] {
            match lookup {
                Ok(Some(lookup)) if !alias && is_alias(&lookup) => {
                    return Err(ResolveError::Alias(host.to_owned()));
                }
                Ok(lookup) => addresses.extend(answers(&lookup, |data| match data {
                    RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                    RData::A(address) => Some(IpAddr::V4(address.0)),
                    _ => None,
                })),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if addresses.is_empty() => Err(error),
            _ => Ok(addresses),
        }
    }

    /// One question; `None` when the answer is that there is nothing.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Option<Lookup>, ResolveError> {
        let resolver = self
            .resolver
            .as_ref()
            .map_err(|error| ResolveError::Dns(error.clone()))?;
        match resolver.lookup(name, kind).await {
            Ok(lookup) => Ok(Some(lookup)),
            Err(error) if error.is_no_records_found() => Ok(None),
            Err(error) => Err(ResolveError::Dns(format!("{kind} {name} {error}"))),
        }
    }
}

/// Asks this server, or those of the system; with `keys`, validates what they answer.
pub(crate) fn resolver(
    nameserver: Option<SocketAddr>,
    keys: Option<TrustAnchors>,
) -> Result<TokioResolver, NetError> {
    let mut builder = match nameserver {
        None => TokioResolver::builder_tokio()?,
        Some(address) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut it| {
                it.port = address.port();
                it
            });
            let server = NameServerConfig::new(address.ip(), true, connections.into());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let mut builder =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        }
    };
    let options = builder.options_mut();
    options.timeout = QUESTION_TIMEOUT;
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    options.try_tcp_on_error = true;
    if let Some(keys) = keys {
        builder = builder.with_trust_anchor(Arc::new(keys));
    }
    builder.build()
}

fn answers<T>(lookup: &Option<Lookup>, pick: impl Fn(&RData) -> Option<T>) -> Vec<T> {
    let records = lookup.iter().flat_map(|it| it.answers());
    records.filter_map(|record| pick(&record.data)).collect()
}

fn is_alias(lookup: &Lookup) -> bool {
    let mut records = lookup.answers().iter();
    records.any(|record| matches!(record.data, RData::CNAME(_)))
}
