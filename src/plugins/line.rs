//! The way to one plugin: calls of `pbx.Plugin` over one HTTP/2 connection, made when it is needed and
//! made again when it broke.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{Uri, uri::PathAndQuery};
use bytes::Bytes;
use freehold_federation::Tasks;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Status,
    client::Grpc,
    codegen::Service,
    transport::{Channel, Endpoint},
};

use crate::edge::BytesCodec;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why a plugin cannot be used as it is configured. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The certificate by which it is known cannot be used.
    #[error("the certificate of the plugin {name} in {path}: {why}")]
    Authority {
        /// Which plugin.
        name: String,
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Its address or TLS cannot be used.
    #[error("the plugin {name} cannot be used: {why}")]
    Unusable {
        /// Which plugin.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// The way to one plugin.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    channel: Channel,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes the connection.
#[derive(Clone)]
struct Connector {
    place: Arc<(String, u16)>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Runs what the library runs as tasks of the domain, which end when it stops.
#[derive(Clone, Debug)]
struct Spawner(Tasks);

impl Line {
    /// Nobody is called yet.
    pub(super) fn new(
        config: &freehold_config::Plugin,
        tasks: &Tasks,
    ) -> Result<Self, PluginError> {
        let unusable = |why: String| PluginError::Unusable {
            name: config.name.clone(),
            why,
        };
        let connector = Connector {
            place: Arc::new((config.host.clone(), config.port)),
            tls: config.tls.then(|| tls(config)).transpose()?,
        };
        let scheme = if config.tls { "https" } else { "http" };
        let uri = format!("{scheme}://{}:{}", bracketed(&config.host), config.port);
        let uri: Uri = uri
            .parse()
            .map_err(|it: axum::http::uri::InvalidUri| unusable(it.to_string()))?;
        // The connector makes TLS, of which the library knows nothing.
        let endpoint = Endpoint::from_static("http://plugin")
            .origin(uri)
            .executor(Spawner(tasks.clone()))
            .connect_timeout(CONNECT_TIMEOUT);
        Ok(Self {
            name: config.name.clone(),
            channel: endpoint.connect_with_connector_lazy(connector),
        })
    }

    /// Calls, and waits so long for the answer.
    pub(super) async fn call(
        &self,
        path: &'static str,
        message: Bytes,
        within: Duration,
    ) -> Result<Bytes, Status> {
        let call = async {
            let mut grpc =
                Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
            let ready = grpc.ready().await;
            ready.map_err(|it| Status::unavailable(it.to_string()))?;
            let path = PathAndQuery::from_static(path);
            let answer = grpc
                .unary(tonic::Request::new(message), path, BytesCodec)
                .await?;
            Ok(answer.into_inner())
        };
        match timeout(within, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let (host, port) = &*connector.place;
            let stream = TcpStream::connect((&**host, *port)).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match connector.tls {
                Some((config, name)) => {
                    Box::new(TlsConnector::from(config).connect(name, stream).await?)
                }
                None => Box::new(stream),
            };
            Ok(TokioIo::new(stream))
        })
    }
}

impl hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for Spawner {
    fn execute(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let stop = self.0.stop_token();
        self.0.spawn("plugin", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// An address as it stands in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn tls(
    config: &freehold_config::Plugin,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), PluginError> {
    let unusable = |why: String| PluginError::Unusable {
        name: config.name.clone(),
        why,
    };
    let host = ServerName::try_from(config.host.clone()).map_err(|it| unusable(it.to_string()))?;
    let roots = match &config.authority_file {
        Some(path) => authority(&config.name, path)?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|it| unusable(it.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok((Arc::new(tls), host))
}

fn authority(name: &str, path: &Path) -> Result<RootCertStore, PluginError> {
    let fault = |why: String| PluginError::Authority {
        name: name.to_owned(),
        path: path.display().to_string(),
        why,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|it| fault(it.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|it| fault(it.to_string()))?;
        roots.add(certificate).map_err(|it| fault(it.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(fault("it holds none".to_owned())),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_library_runs_ends_when_the_domain_stops() {
        let text =
            "domain = \"a.test\"\n[[plugins]]\nname = \"p\"\naddress = \"http://127.0.0.1:9\"\n";
        let config = freehold_config::from_toml(text, "/".as_ref()).unwrap();
        let tasks = Tasks::default();
        let line = Line::new(&config.plugins[0], &tasks).unwrap();
        let within = Duration::from_secs(5);
        let call = line.call("/pbx.Plugin/Account", Bytes::new(), within);
        assert_eq!(call.await.unwrap_err().code(), tonic::Code::Unavailable);
        assert_eq!(tasks.drain(within).await, 0);
        // The line outlives it, and says so.
        let call = line.call("/pbx.Plugin/Account", Bytes::new(), within);
        assert!(call.await.is_err());
    }
}
