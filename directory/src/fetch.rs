//! Fetches an identity record, or a client document, over TLS (PROTOCOL.md section 4.4).
//!
//! The certificate proves nothing here and need not: the record certifies itself, and the document is
//! checked against the record. Nothing is sent
//! but the handshake, so that nothing can leak to whoever answers.

use std::{sync::Arc, time::Duration};

use freehold_keys::verify_possession;
use freehold_proto::{
    DomainName,
    limits::{ALPN_CLIENT, ALPN_RECORD, CLIENT_DOCUMENT_BYTES_MAX, RECORD_BYTES_MAX},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::Target;

/// Time for one server to hand over what it has.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// One kind of thing that servers hand over: how it is asked for, and how long it may be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    tls: Arc<ClientConfig>,
    alpn: &'static [u8],
    bytes_max: usize,
}

impl Wanted {
    /// A domain's record.
    pub(crate) fn record() -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: tls(ALPN_RECORD)?,
            alpn: ALPN_RECORD,
            bytes_max: RECORD_BYTES_MAX,
        })
    }

    /// Its client document.
    pub(crate) fn client_document() -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: tls(ALPN_CLIENT)?,
            alpn: ALPN_CLIENT,
            bytes_max: CLIENT_DOCUMENT_BYTES_MAX,
        })
    }
}

/// Makes the TLS side of fetching.
fn tls(alpn: &[u8]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The bytes that `target` serves as what is wanted of `domain`, or why there are none. Not yet checked in
/// any way.
pub(crate) async fn fetch(
    wanted: &Wanted,
    domain: &DomainName,
    target: &Target,
) -> Result<Vec<u8>, String> {
    let failed = |why: String| format!("{}: {why}", target.address);
    match timeout(FETCH_TIMEOUT, read(wanted, domain, target)).await {
        Err(_) => Err(failed("it takes too long".to_owned())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Ok(Ok(bytes)) if bytes.len() > wanted.bytes_max => {
            Err(failed("it sends more than that may have".to_owned()))
        }
        Ok(Ok(bytes)) => Ok(bytes),
    }
}

async fn read(wanted: &Wanted, domain: &DomainName, target: &Target) -> std::io::Result<Vec<u8>> {
    let name = ServerName::try_from(domain.as_str().to_owned()).map_err(std::io::Error::other)?;
    let stream = TcpStream::connect(target.address).await?;
    let stream = TlsConnector::from(Arc::clone(&wanted.tls))
        .connect(name, stream)
        .await?;
    if stream.get_ref().1.alpn_protocol() != Some(wanted.alpn) {
        return Err(std::io::Error::other("it does not serve that"));
    }
    let mut bytes = Vec::new();
    let mut bounded = stream.take(wanted.bytes_max as u64 + 1);
    bounded.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Accepts every certificate whose key the server holds.
#[derive(Debug)]
struct AnyKey;

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_possession(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
