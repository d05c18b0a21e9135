//! The TLS side of connections: a certificate for a server of our own, and which certificates count.

use std::{net::IpAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::Result;

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Which certificate a server must show.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A certificate and its key, in PEM form.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

impl Pair {
    /// A new one, for an address of this machine.
    pub(crate) fn new(address: IpAddr) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([address.to_string()]);
        let made = made.map_err(|it| format!("no certificate can be made: {it}"))?;
        Ok(Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            der: made.cert.der().clone(),
        })
    }
}

impl Tls {
    /// A server of our own, which shows this certificate.
    pub(crate) fn to(address: IpAddr, pair: &Pair) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let added = roots.add(pair.der.clone());
        added.map_err(|it| format!("our own certificate: {it}"))?;
        Self::with(roots, ServerName::IpAddress(address.into()))
    }

    /// A server elsewhere, believed by an authority of the web or one in the file.
    pub(crate) fn to_host(host: &str, authorities: Option<&Path>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(file) = authorities {
            let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
            for root in CertificateDer::pem_file_iter(file).map_err(|it| wrong(&it))? {
                let root = root.map_err(|it| wrong(&it))?;
                roots.add(root).map_err(|it| wrong(&it))?;
            }
        }
        let name = ServerName::try_from(host.to_owned());
        Self::with(roots, name.map_err(|it| format!("{host}: {it}"))?)
    }

    fn with(roots: RootCertStore, name: ServerName<'static>) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|it| format!("TLS: {it}"))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        // Each connection stands for somebody else.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// Shakes hands.
    pub(crate) async fn connect(&self, stream: TcpStream) -> Result<Box<dyn Stream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connecting = Box::pin(connector.connect(self.name.clone(), stream));
        match connecting.await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(format!("TLS: {error}")),
        }
    }
}
