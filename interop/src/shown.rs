//! Servers that show what a case puts there: somebody who answers for a domain with records that are not
//! its latest, or not its own, and web servers under certificates of an authority of the suite's own.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use freehold_keys::KeyRing;
use freehold_proto::{DomainName, limits::ALPN_RECORD};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{Failure, Result};

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request that are read.
const REQUEST_MAX: usize = 4096;

/// Somebody who answers for a domain. Ends when dropped.
#[derive(Debug)]
pub struct Shown {
    address: SocketAddr,
    bytes: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Shown {
    /// Shows a record on a free port of `ip` to whoever asks for one, with the TLS key of `ring`. Nothing
    /// else is answered.
    pub async fn record(ip: IpAddr, ring: &KeyRing, record: Vec<u8>) -> Result<Self> {
        let no = |error: &dyn std::fmt::Display| Failure::harness("show a record", error);
        let identity = ring.tls_identity().map_err(|error| no(&error))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = vec![identity.certificate];
        let key = CertifiedKey::from_der(chain, identity.private_key, &provider)
            .map_err(|error| no(&error))?;
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| no(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        tls.alpn_protocols = vec![ALPN_RECORD.to_vec()];
        Self::start((ip, 0).into(), tls, record, Kind::Record).await
    }

    /// Shows what the web has of a domain, under a certificate of `authority`.
    pub async fn web(
        at: SocketAddr,
        domain: &DomainName,
        authority: &Authority,
        record: Vec<u8>,
    ) -> Result<Self> {
        let tls = authority.certifies(domain)?;
        Self::start(at, tls, record, Kind::Web).await
    }

    async fn start(at: SocketAddr, tls: ServerConfig, bytes: Vec<u8>, kind: Kind) -> Result<Self> {
        let no = |error| Failure::harness("show something", error);
        let listener = TcpListener::bind(at).await.map_err(no)?;
        let address = listener.local_addr().map_err(no)?;
        let (bytes, asked) = (Arc::new(Mutex::new(bytes)), Arc::<AtomicU64>::default());
        let (shown, count) = (Arc::clone(&bytes), Arc::clone(&asked));
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                count.fetch_add(1, Ordering::Relaxed);
                if connections.len() < CONNECTIONS_MAX {
                    let (acceptor, shown) = (acceptor.clone(), shown.lock().clone());
                    connections.spawn(kind.answer(acceptor, stream, shown));
                }
            }
        });
        Ok(Self {
            address,
            bytes,
            asked,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on shows this.
    pub fn shows(&self, bytes: Vec<u8>) {
        *self.bytes.lock() = bytes;
    }

    /// How many have connected.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Record,
    Web,
}

impl Kind {
    async fn answer(self, acceptor: TlsAcceptor, stream: TcpStream, shown: Vec<u8>) {
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        if let Self::Web = self {
            let mut request = vec![0; REQUEST_MAX];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(request.get(..read).unwrap_or_default());
            let known = asked.starts_with("GET /.well-known/freehold/identity HTTP/1.1\r\n");
            let status = if known { "200 OK" } else { "404 Not Found" };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
                shown.len()
            );
            let _gone = stream.write_all(head.as_bytes()).await;
        }
        let _gone = (stream.write_all(&shown).await, stream.shutdown().await);
    }
}

/// An authority that certifies web servers. Servers under test believe it if they are told its file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authority").field(&self.file).finish()
    }
}

impl Authority {
    /// Makes one, and the file with its certificate in a folder.
    pub fn make(folder: &Path) -> Result<Self> {
        let no = |error: &dyn std::fmt::Display| Failure::harness("make an authority", error);
        let key = KeyPair::generate().map_err(|error| no(&error))?;
        let mut params = CertificateParams::new(Vec::new()).map_err(|error| no(&error))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).map_err(|error| no(&error))?;
        let file = folder.join("authority.pem");
        fs::write(&file, own.pem()).map_err(|error| no(&error))?;
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, file })
    }

    /// The file with its certificate.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    fn certifies(&self, domain: &DomainName) -> Result<ServerConfig> {
        let no = |error: &dyn std::fmt::Display| Failure::harness("certify a web server", error);
        let key = KeyPair::generate().map_err(|error| no(&error))?;
        let leaf = CertificateParams::new(vec![domain.to_string()]).map_err(|error| no(&error))?;
        let leaf = leaf
            .signed_by(&key, &self.issuer)
            .map_err(|error| no(&error))?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| no(&error))?;
        let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
        ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| no(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| no(&error))
    }
}
