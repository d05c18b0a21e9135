//! Stand-ins for the services that reach devices: they keep what they were asked, and answer as a scene says.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::support::World;

/// What a service was asked.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value)
    }
}

type Answering = dyn Fn(&Heard) -> (u16, String) + Send + Sync;

/// A service.
#[derive(Clone)]
pub(crate) struct Vendor {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    answer: Arc<Mutex<Box<Answering>>>,
}

/// An authority of its own, whose certificates a node may be told to believe.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The file with its certificate.
    pub(crate) path: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let path = folder.join("vendors.pem");
        fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { issuer, path }
    }

    pub(crate) fn server(&self, host: &str, alpn: &[&[u8]]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
        config
    }
}

impl Vendor {
    /// A service that answers everything with this status; with TLS, or on this machine without.
    pub(crate) async fn start(world: &World, tls: Option<ServerConfig>, status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vendor = Self {
            port: listener.local_addr().unwrap().port(),
            heard: Arc::default(),
            answer: Arc::new(Mutex::new(Box::new(move |_| (status, String::new())))),
        };
        let (own, tls) = (
            vendor.clone(),
            tls.map(|it| TlsAcceptor::from(Arc::new(it))),
        );
        world.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => own.serve(stream).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => own.serve(stream).await,
                        Err(_) => continue,
                    },
                }
            }
        });
        vendor
    }

    /// From now on it answers so.
    pub(crate) fn answers(&self, status: u16) {
        self.answers_with(move |_| (status, String::new()));
    }

    /// From now on it answers as this says: a status, further head lines, an empty line and a body.
    pub(crate) fn answers_with(
        &self,
        answer: impl Fn(&Heard) -> (u16, String) + Send + Sync + 'static,
    ) {
        *self.answer.lock() = Box::new(answer);
    }

    /// What it was asked so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().clone()
    }

    /// One request on one connection.
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some(heard) = read(&mut stream).await else {
            return;
        };
        self.heard.lock().push(heard.clone());
        let (status, rest) = (self.answer.lock())(&heard);
        let (head, body) = rest.split_once("\r\n\r\n").unwrap_or(("", &rest));
        let head = match head {
            "" => String::new(),
            head => format!("{head}\r\n"),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} So\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.ok();
        stream.shutdown().await.ok();
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Heard> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (first, lines) = head.split_once("\r\n")?;
    let headers = lines.split("\r\n").filter_map(|it| it.split_once(": "));
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        (stream.read_buf(&mut body).await.ok()? > 0).then_some(())?;
    }
    Some(Heard {
        path: first.split(' ').nth(1)?.to_owned(),
        headers,
        body,
    })
}
