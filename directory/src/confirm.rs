//! Asks nodes of the public directory which root key they see in a domain's TXT record. Nobody trusts a
//! node: two of them, who look from elsewhere, make it hard to lie to all at once (PROTOCOL.md section 4.3).

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use freehold_keys::fingerprint_from_text;
use freehold_proto::{DomainName, limits::RECORD_BYTES_MAX};
use hyper::StatusCode;
use rustls::{ClientConfig, pki_types::ServerName};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{dns::Dns, web};

/// Time for one node, which has 8 s for its look.
const TIMEOUT: Duration = Duration::from_secs(12);
/// Addresses of a node that are tried, and the time for each to be connected.
const ADDRESSES_MAX: usize = 3;
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// An answer holds a record in base64url and some words.
const ANSWER_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;
/// Nodes that have to see the same.
const NEEDED: usize = 2;

/// A node of the public directory, as the operator names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeAddress {
    /// Whether it is asked over TLS; without, only on this machine.
    pub tls: bool,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl NodeAddress {
    /// Host, and port unless it goes without saying, as they stand in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// What nodes see of a TXT record, compared with what we see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Confirmation {
    /// At least two see the same, and none sees another key.
    Confirmed,
    /// Too few see anything. That proves nothing.
    Silent,
    /// One sees another key.
    Contradicted,
}

/// Compares what each node sees with `root`.
pub(crate) fn compare(seen: &[Option<[u8; 32]>], root: &[u8; 32]) -> Confirmation {
    let named = || seen.iter().flatten();
    if named().any(|it| it != root) {
        Confirmation::Contradicted
    } else if named().count() >= NEEDED {
        Confirmation::Confirmed
    } else {
        Confirmation::Silent
    }
}

/// The root key that each node sees in the TXT record of a domain, beside the node's name; none for those
/// that see none or do not answer.
pub(crate) async fn ask(
    nodes: &[NodeAddress],
    domain: &DomainName,
    tls: &Arc<ClientConfig>,
    dns: &Dns,
) -> Vec<(String, Option<[u8; 32]>)> {
    let mut asked = JoinSet::new();
    for node in nodes {
        let (node, domain, tls) = (node.clone(), domain.clone(), Arc::clone(tls));
        let dns = dns.clone();
        asked.spawn(async move {
            let answer = timeout(TIMEOUT, one(&node, &dns, &domain, &tls)).await;
            let answer = answer.unwrap_or_else(|_| Err("it takes too long".to_owned()));
            let seen = answer.unwrap_or_else(|error| {
                tracing::info!(node = node.host, peer = %domain, error, "a node of the directory does not answer");
                None
            });
            (node.host, seen)
        });
    }
    asked.join_all().await
}

async fn addresses(node: &NodeAddress, dns: &Dns) -> Vec<IpAddr> {
    match node.host.parse() {
        Ok(address) => vec![address],
        Err(_) => dns.addresses(&node.host, true).await.unwrap_or_default(),
    }
}

/// The first of its addresses that answers: on a machine without IPv6 the first ones do not.
pub(crate) async fn connect(node: &NodeAddress, dns: &Dns) -> Result<TcpStream, String> {
    let mut failure = "no address is known for it".to_owned();
    for address in addresses(node, dns).await.into_iter().take(ADDRESSES_MAX) {
        let connected = TcpStream::connect((address, node.port));
        match timeout(CONNECT_WITHIN, connected).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error.to_string(),
            Err(_) => failure = "it takes too long to connect".to_owned(),
        }
    }
    Err(failure)
}

async fn one(
    node: &NodeAddress,
    dns: &Dns,
    domain: &DomainName,
    tls: &Arc<ClientConfig>,
) -> Result<Option<[u8; 32]>, String> {
    let stream = connect(node, dns).await?;
    let body = if node.tls {
        let name = ServerName::try_from(node.host.clone()).map_err(|it| it.to_string())?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(name, stream).await;
        get(stream.map_err(|it| it.to_string())?, &node.host, domain).await?
    } else {
        get(stream, &node.host, domain).await?
    };
    read(&body, domain)
}

/// What a node does not find it says in the same form.
async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    host: &str,
    domain: &DomainName,
) -> Result<Bytes, String> {
    let path = format!("/v1/domains/{domain}");
    match web::get(stream, host, &path, ANSWER_BYTES_MAX).await? {
        (StatusCode::OK | StatusCode::NOT_FOUND, body) => Ok(body),
        (status, _) => Err(format!("it answers {status}")),
    }
}

#[derive(Deserialize)]
struct Answer {
    domain: String,
    #[serde(default)]
    anchors: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    source: String,
    root: Option<String>,
}

/// The root key that the node saw in DNS, signed or not.
fn read(body: &[u8], domain: &DomainName) -> Result<Option<[u8; 32]>, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|it| it.to_string())?;
    if answer.domain != domain.as_str() {
        return Err(format!("it answers about {}", answer.domain));
    }
    let mut seen = answer.anchors.iter();
    let seen = seen.find(|it| matches!(&*it.source, "dns" | "dnssec"));
    match seen.and_then(|it| it.root.as_deref()) {
        None => Ok(None),
        Some(root) => match fingerprint_from_text(root) {
            Some(root) => Ok(Some(root)),
            None => Err("the fingerprint that it names is none".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_have_to_see_the_same_and_nobody_another_key() {
        let (same, other) = (Some([1; 32]), Some([2; 32]));
        for (seen, expected) in [
            (&[][..], Confirmation::Silent),
            (&[same], Confirmation::Silent),
            (&[same, None, None], Confirmation::Silent),
            (&[same, None, same], Confirmation::Confirmed),
            (&[same, same, other], Confirmation::Contradicted),
            (&[other], Confirmation::Contradicted),
        ] {
            assert_eq!(compare(seen, &[1; 32]), expected, "{seen:?}");
        }
    }

    #[test]
    fn an_answer_is_about_the_domain_and_names_a_fingerprint_or_none() {
        let domain: DomainName = "beta.test".parse().unwrap();
        let root = freehold_keys::fingerprint_to_text(&[1; 32]);
        let says = |text: String| read(text.as_bytes(), &domain);
        let named = |source: &str, root: &str| {
            format!(
                r#"{{"domain":"beta.test","anchors":[{{"source":"{source}","root":"{root}"}}]}}"#
            )
        };
        assert_eq!(says(named("dns", &root)), Ok(Some([1; 32])));
        assert_eq!(says(named("dnssec", &root)), Ok(Some([1; 32])));
        assert_eq!(says(named("well-known", &root)), Ok(None));
        assert!(says(named("dns", "x")).is_err());
        assert!(says(named("dns", &root).replace("beta", "alpha")).is_err());
        assert!(says("[]".to_owned()).is_err());
        assert_eq!(says(r#"{"domain":"beta.test"}"#.to_owned()), Ok(None));
    }
}
