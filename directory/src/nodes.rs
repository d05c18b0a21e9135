//! Talking to nodes of the public directory: who they are, and one request to one of them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::{StatusCode, header::HeaderMap};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{dns::Dns, web};

/// Addresses of a node that are tried, and the time for each to be connected.
const ADDRESSES_MAX: usize = 3;
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

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

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a node can be reached. Several may stand behind one name.
pub(crate) async fn addresses(node: &NodeAddress, dns: &Dns) -> Vec<SocketAddr> {
    let found = match node.host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => dns.addresses(&node.host, true).await.unwrap_or_default(),
    };
    let places = found.into_iter().map(|it| SocketAddr::new(it, node.port));
    places.collect()
}

/// Asks a node for a path: the first of its addresses that answers. On a machine without IPv6 the first ones
/// do not, and of several nodes behind one name one may be down, or go down while it answers. An answer longer
/// than `max` bytes is an error.
pub(crate) async fn get(
    node: &NodeAddress,
    dns: &Dns,
    tls: &Arc<ClientConfig>,
    path: &str,
    max: usize,
) -> Result<(StatusCode, Bytes), String> {
    let mut failure = "no address is known for it".to_owned();
    for address in addresses(node, dns).await.into_iter().take(ADDRESSES_MAX) {
        let asked = async {
            let stream = connect(node, address, tls).await?;
            web::get(stream, &node.authority(), path, max).await
        };
        match asked.await {
            Ok(answer) => return Ok(answer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Hands bytes to the node that is at one address. An answer longer than `max` bytes is an error.
pub(crate) async fn post(
    node: &NodeAddress,
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
    path: &str,
    body: Bytes,
    max: usize,
) -> Result<(StatusCode, Bytes), String> {
    let stream = connect(node, address, tls).await?;
    let host = node.authority();
    let answer = web::post(stream, &host, path, HeaderMap::new(), body, max).await?;
    Ok((answer.status(), answer.into_body()))
}

/// Connects to the first address of a node, or of another service that the operator names, that answers.
pub(crate) async fn reach(
    node: &NodeAddress,
    dns: &Dns,
    tls: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, String> {
    let mut failure = "no address is known for it".to_owned();
    for address in addresses(node, dns).await.into_iter().take(ADDRESSES_MAX) {
        match connect(node, address, tls).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn connect(
    node: &NodeAddress,
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, String> {
    let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| "it takes too long to connect".to_owned())?;
    let stream = stream.map_err(|it| it.to_string())?;
    match node.tls {
        true => secured(stream, &node.host, tls).await,
        false => Ok(Box::new(stream)),
    }
}

/// Makes TLS with a host.
pub(crate) async fn secured(
    stream: TcpStream,
    host: &str,
    tls: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|it| it.to_string())?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let stream = connector.connect(name, stream).await;
    Ok(Box::new(stream.map_err(|it| it.to_string())?))
}
