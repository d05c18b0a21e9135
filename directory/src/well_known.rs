//! Asks a domain's own web server for its identity record: HTTPS, one request, no redirects. Who answers
//! has shown a certificate for the domain, so the root key in the record is as good as that.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use freehold_proto::{DomainName, limits::RECORD_BYTES_MAX};
use hyper::StatusCode;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{DirectoryError, ResolveError, web};

/// Where a domain's web server has its record.
pub const PATH: &str = "/.well-known/freehold/identity";
/// Time for all of it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The TLS side of asking a web server: the certificate authorities of the web, and those in the file
/// `extra`. Fails if that cannot be read.
pub fn tls(extra: Option<&Path>) -> Result<Arc<ClientConfig>, DirectoryError> {
    client(authorities(extra)?).map_err(|error| DirectoryError::Tls(error.to_string()))
}

/// The certificate authorities of the web, and those in the file `extra`.
pub(crate) fn authorities(extra: Option<&Path>) -> Result<RootCertStore, DirectoryError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = extra {
        let fault = |why: String| DirectoryError::Authorities {
            path: path.to_owned(),
            why,
        };
        let found = CertificateDer::pem_file_iter(path).map_err(|it| fault(it.to_string()))?;
        for root in found {
            let root = root.map_err(|it| fault(it.to_string()))?;
            roots.add(root).map_err(|it| fault(it.to_string()))?;
        }
    }
    Ok(roots)
}

fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// What the web server of `domain` at `address` shows as the domain's record. Not checked in any way but
/// in length.
pub(crate) async fn fetch(
    tls: &Arc<ClientConfig>,
    domain: &DomainName,
    address: SocketAddr,
) -> Result<Bytes, ResolveError> {
    match timeout(TIMEOUT, read(tls, domain, address)).await {
        Err(_) => Err(failed("it takes too long")),
        Ok(read) => read,
    }
}

fn failed(why: impl ToString) -> ResolveError {
    ResolveError::Fetch(format!("its web server: {}", why.to_string()))
}

async fn read(
    tls: &Arc<ClientConfig>,
    domain: &DomainName,
    address: SocketAddr,
) -> Result<Bytes, ResolveError> {
    let name = ServerName::try_from(domain.as_str().to_owned()).map_err(failed)?;
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let stream = connector.connect(name, stream).await.map_err(failed)?;
    match web::get(stream, domain.as_str(), PATH, RECORD_BYTES_MAX).await {
        Ok((StatusCode::OK, body)) => Ok(body),
        Ok((status, _)) => Err(failed(format!("it answers {status}"))),
        Err(error) => Err(failed(error)),
    }
}
