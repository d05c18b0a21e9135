//! What DNS tells others of this domain, compared with what they would find here.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use freehold_config::Config;
use freehold_keys::KeyRing;
use freehold_proto::{DomainName, limits::DEFAULT_PORT};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};

use super::findings::{Finding, Findings};
use crate::commands::init::{anchor_text, dns_records};

/// One SRV record.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Service {
    port: u16,
    host: String,
}

pub(super) async fn records(config: &Config, keys: &KeyRing, findings: &mut Findings) {
    let resolver = match resolver(config.directory.nameserver) {
        Ok(resolver) => resolver,
        Err(error) => return findings.wrong(format_args!("DNS cannot be asked: {error}.")),
    };
    let domain = &config.domain;
    let [srv, txt] = dns_records(keys);
    match ask(&resolver, &format!("_freehold.{domain}."), RecordType::TXT).await {
        Ok(data) => findings.say(judge_anchor(&texts(&data), &anchor_text(keys), &txt)),
        Err(error) => return findings.wrong(format_args!("DNS does not answer: {error}.")),
    }
    let services = ask(
        &resolver,
        &format!("_freehold._tcp.{domain}."),
        RecordType::SRV,
    )
    .await;
    let services = services.map(|data| services_of(&data)).unwrap_or_default();
    let port = config.federation.listen.port();
    findings.say(judge_services(domain, &services, port, &srv));
    let hosts = match &*services {
        [] => vec![domain.to_string()],
        services => services.iter().map(|it| it.host.clone()).collect(),
    };
    for host in hosts {
        findings.say(judge_host(
            &host,
            &addresses(&resolver, &host).await,
            is_ours,
        ));
    }
}

/// Is the TXT record there, and does it name our root key?
fn judge_anchor(texts: &[String], ours: &str, wanted: &str) -> Finding {
    let squeezed = |text: &str| text.replace(' ', "");
    let mut anchors = texts.iter().filter(|it| it.starts_with("v=fh1")).peekable();
    if anchors.peek().is_none() {
        return Finding::Wrong(format!(
            "DNS has no TXT record with our root key; publish {wanted}"
        ));
    }
    match anchors.find(|it| squeezed(it) != squeezed(ours)) {
        Some(other) => Finding::Wrong(format!(
            "The TXT record in DNS names another root key ({other}); publish {wanted}"
        )),
        None => Finding::Right("The TXT record in DNS names our root key.".to_owned()),
    }
}

/// Is there an SRV record, and does it name the port we listen on?
fn judge_services(domain: &DomainName, services: &[Service], port: u16, wanted: &str) -> Finding {
    if services.is_empty() && port == DEFAULT_PORT {
        return Finding::Note(format!(
            "DNS has no SRV record; others will try {domain} itself on port {DEFAULT_PORT}, which is ours."
        ));
    }
    if services.is_empty() {
        return Finding::Wrong(format!("DNS has no SRV record; publish {wanted}"));
    }
    if services.iter().any(|it| it.host.is_empty()) {
        return Finding::Wrong(
            "The SRV record (target \".\") says that there is no server.".to_owned(),
        );
    }
    match services.iter().find(|it| it.port != port && port != 0) {
        Some(other) => Finding::Note(format!(
            "The SRV record names port {} of {}, but federation.listen has port {port}; that is right \
             only if something passes one on to the other.",
            other.port, other.host
        )),
        None => Finding::Right("The SRV record in DNS names our port.".to_owned()),
    }
}

/// Does a host lead to this machine?
fn judge_host(host: &str, addresses: &[IpAddr], is_ours: impl Fn(IpAddr) -> bool) -> Finding {
    if addresses.is_empty() {
        return Finding::Wrong(format!("DNS has no address for {host}."));
    }
    match addresses.iter().find(|&&it| !is_ours(it)) {
        Some(other) => Finding::Note(format!(
            "{host} has the address {other}, which is not one of this machine; that is right only if a \
             router or proxy passes the port on to here."
        )),
        None => Finding::Right(format!("{host} leads to this machine.")),
    }
}

/// The operating system lets only the machine's own addresses be bound.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn resolver(nameserver: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let Some(address) = nameserver else {
        return TokioResolver::builder_tokio()?.build();
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut it| {
        it.port = address.port();
        it
    });
    let server = NameServerConfig::new(address.ip(), true, connections.into());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let provider = TokioRuntimeProvider::default();
    let mut builder = TokioResolver::builder_with_config(config, provider);
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build()
}

/// The answers to one question; none when there is nothing.
async fn ask(
    resolver: &TokioResolver,
    name: &str,
    kind: RecordType,
) -> Result<Vec<RData>, NetError> {
    match resolver.lookup(name, kind).await {
        Ok(lookup) => Ok(lookup.answers().iter().map(|it| it.data.clone()).collect()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

async fn addresses(resolver: &TokioResolver, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for kind in [RecordType::AAAA, RecordType::A] {
        let data = ask(resolver, &format!("{host}."), kind)
            .await
            .unwrap_or_default();
        found.extend(data.iter().filter_map(|data| match data {
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            RData::A(address) => Some(IpAddr::V4(address.0)),
            _ => None,
        }));
    }
    found
}

fn texts(data: &[RData]) -> Vec<String> {
    let texts = data.iter().filter_map(|data| match data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    });
    texts.collect()
}

fn services_of(data: &[RData]) -> Vec<Service> {
    let services = data.iter().filter_map(|data| match data {
        RData::SRV(srv) => Some(Service {
            port: srv.port,
            host: srv.target.to_ascii().trim_end_matches('.').to_owned(),
        }),
        _ => None,
    });
    services.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(port: u16) -> Service {
        Service {
            port,
            host: "fh.a.test".to_owned(),
        }
    }

    #[test]
    fn the_anchor_must_be_ours_and_nobody_elses() {
        let judge = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&it| it.to_owned()).collect();
            judge_anchor(&texts, "v=fh1; root=AB", "…")
        };
        assert!(matches!(judge(&["v=fh1; root=AB"]), Finding::Right(_)));
        assert!(matches!(
            judge(&["v=spf1 -all", "v=fh1;root=AB"]),
            Finding::Right(_)
        ));
        assert!(matches!(judge(&["v=spf1 -all"]), Finding::Wrong(_)));
        assert!(matches!(
            judge(&["v=fh1; root=AB", "v=fh1; root=CD"]),
            Finding::Wrong(_)
        ));
    }

    #[test]
    fn the_port_must_be_ours_or_passed_on() {
        let judge = |services: &[Service], port| {
            judge_services(&"a.test".parse().unwrap(), services, port, "…")
        };
        assert!(matches!(judge(&[service(7000)], 7000), Finding::Right(_)));
        assert!(matches!(judge(&[service(7000)], 7001), Finding::Note(_)));
        assert!(matches!(judge(&[], DEFAULT_PORT), Finding::Note(_)));
        assert!(matches!(judge(&[], 7000), Finding::Wrong(_)));
        let refused = Service {
            port: 0,
            host: String::new(),
        };
        assert!(matches!(judge(&[refused], 7000), Finding::Wrong(_)));
    }

    #[test]
    fn a_host_must_lead_here() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let elsewhere = IpAddr::from([192, 0, 2, 1]);
        let judge = |addresses: &[IpAddr]| judge_host("fh.a.test", addresses, |it| it == loopback);
        assert!(matches!(judge(&[loopback]), Finding::Right(_)));
        assert!(matches!(judge(&[loopback, elsewhere]), Finding::Note(_)));
        assert!(matches!(judge(&[]), Finding::Wrong(_)));
        assert!(is_ours(loopback) && !is_ours(elsewhere));
    }
}
