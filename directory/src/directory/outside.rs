//! Connections to hosts that are no domains: those that strangers name, which may lie where we may connect
//! only, and those that the operator names.

use std::sync::Arc;

use bytes::Bytes;
use freehold_proto::DomainName;
use hyper::{Response, header::HeaderMap};
use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    time::{Duration, timeout},
};

use super::Directory;
use crate::{
    NodeAddress, ResolveError,
    nodes::{self, Stream, secured},
    web,
};

/// Addresses of a host that are tried, and the time for each to be connected.
const ADDRESSES_MAX: usize = 3;
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Time for a node to answer. It may have to look first, and then to ask somebody else.
const NODE_WITHIN: Duration = Duration::from_secs(25);
/// Longest answer of a node to what is handed to it, in bytes.
const NODE_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Why there is no connection to a host that a stranger names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NotReached {
    /// It lies where we may not connect: whoever named it is at fault.
    Refused(String),
    /// It cannot be reached now.
    Failed(String),
}

impl From<ResolveError> for NotReached {
    fn from(error: ResolveError) -> Self {
        let why = error.to_string();
        match error {
            ResolveError::AddressRefused { .. } => Self::Refused(why),
            _ => Self::Failed(why),
        }
    }
}

impl Directory {
    /// Connects to a host that a stranger names, if it lies where we may connect.
    pub(crate) async fn reach(
        &self,
        host: &DomainName,
        port: u16,
        tls: &Arc<ClientConfig>,
    ) -> Result<Box<dyn Stream>, NotReached> {
        let found = self.dns.addresses(host.as_str(), true).await?;
        let found = found.into_iter().map(|it| (host.to_string(), it, port));
        let mut failure = "no address is known for it".to_owned();
        for target in self.filtered(found.collect())?.iter().take(ADDRESSES_MAX) {
            let connected = TcpStream::connect(target.address);
            match timeout(CONNECT_WITHIN, connected).await {
                Ok(Ok(stream)) => {
                    let stream = secured(stream, host.as_str(), tls).await;
                    return stream.map_err(NotReached::Failed);
                }
                Ok(Err(error)) => failure = error.to_string(),
                Err(_) => failure = "it takes too long to connect".to_owned(),
            }
        }
        Err(NotReached::Failed(failure))
    }

    /// Connects to a service that the operator names, wherever it lies.
    pub(crate) async fn reach_service(
        &self,
        service: &NodeAddress,
        tls: &Arc<ClientConfig>,
    ) -> Result<Box<dyn Stream>, String> {
        nodes::reach(service, &self.dns, tls).await
    }

    /// Hands something to a node of the public directory. Returns the status, for how many seconds to wait
    /// if it says so, and what else it says. Fails with words when there is no answer.
    pub async fn hand_to_node(
        &self,
        node: &NodeAddress,
        path: &str,
        body: Bytes,
    ) -> Result<(u16, Option<u64>, Bytes), String> {
        let asked = async {
            let stream = self.reach_service(node, &self.web_tls).await?;
            let (host, most) = (node.authority(), NODE_ANSWER_BYTES_MAX);
            web::post(stream, &host, path, HeaderMap::new(), body, most).await
        };
        let answer = timeout(NODE_WITHIN, asked).await;
        let answer = answer.unwrap_or_else(|_| Err("it takes too long".to_owned()))?;
        let wait = retry_after(&answer).map(|it| it.as_secs());
        Ok((answer.status().as_u16(), wait, answer.into_body()))
    }

    /// Asks a node of the public directory for what it has under `path`.
    pub async fn read_from_node(
        &self,
        node: &NodeAddress,
        path: &str,
    ) -> Result<(u16, Bytes), String> {
        let asked = nodes::get(node, &self.dns, &self.web_tls, path, NODE_ANSWER_BYTES_MAX);
        let answer = timeout(NODE_WITHIN, asked).await;
        let (status, body) = answer.unwrap_or_else(|_| Err("it takes too long".to_owned()))?;
        Ok((status.as_u16(), body))
    }
}

/// How long somebody asks us to wait, in the form that programs use.
pub(crate) fn retry_after<B>(answer: &Response<B>) -> Option<Duration> {
    let said = answer.headers().get(hyper::header::RETRY_AFTER)?;
    let seconds = said.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
