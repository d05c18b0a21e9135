//! Talking to nodes of the public directory: who they are, and one request to one of them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::StatusCode;
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

/// A connection to a node, with TLS if it is asked for.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

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
            web::get(stream, &node.host, path, max).await
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
    web::post(stream, &node.host, path, body, max).await
}

async fn connect(
    node: &NodeAddress,
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, String> {
    let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| "it takes too long to connect".to_owned())?;
    let stream = stream.map_err(|it| it.to_string())?;
    if !node.tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(node.host.clone()).map_err(|it| it.to_string())?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let stream = connector.connect(name, stream).await;
    Ok(Box::new(stream.map_err(|it| it.to_string())?))
}
