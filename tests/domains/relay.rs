//! A node of the directory that relays pushes, and a push service behind it that keeps what it gets; browsers
//! that can read it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use freehold_directory::{
    Node, NodeConfig, NodeListener, PushConfig, VapidConfig, new_vapid_key, serve_node,
};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{guest::SOON, net::Net};

const SERVICE: &str = "push.test";

/// A node, and the service.
pub(crate) struct Relay {
    pub(crate) node: SocketAddr,
    /// The key by which browsers know the node.
    pub(crate) vapid: String,
    port: u16,
    heard: Arc<Mutex<Vec<Pushed>>>,
    status: Arc<Mutex<u16>>,
    _running: JoinSet<()>,
}

/// A push as the service got it.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    /// For which device.
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Relay {
    pub(crate) async fn start(net: &Net) -> Self {
        let (port, authority, heard, status, mut running) = service(net).await;
        let (pem, vapid) = new_vapid_key().unwrap();
        let key = net.folder().join("vapid.pem");
        fs::write(&key, pem).unwrap();
        let nobody = "nobody.test".parse().unwrap();
        let listener = NodeListener::bind("127.0.0.1:0".parse().unwrap()).await;
        let listener = listener.unwrap();
        let node = listener.local_addr();
        let config = NodeConfig {
            listen: node,
            proxies: Vec::new(),
            cache_bytes: 1024 * 1024,
            questions: None,
            looks: None,
            announcements: None,
            listing_bytes: 1 << 20,
            discovery: freehold_directory::Config {
                well_known_ca: Some(authority),
                ..net.config_of(&nobody, net.folder(), "").directory
            },
            push: Some(PushConfig {
                name: node.to_string(),
                vapid: Some(VapidConfig {
                    key,
                    subject: "mailto:admin@example.org".to_owned(),
                }),
                fcm: None,
                apns: None,
                from_network: None,
                from_domain: None,
            }),
        };
        let serving = Arc::new(Node::new(config, net.clock.clone()).unwrap());
        running.spawn(serve_node(serving, listener, std::future::pending()));
        Self {
            node,
            vapid,
            port,
            heard,
            status,
            _running: running,
        }
    }

    /// The section of a domain's configuration that makes it use the node.
    pub(crate) fn section(&self) -> String {
        format!("[push]\nnode = \"http://{}\"\n", self.node)
    }

    /// Where the service takes pushes for a device.
    pub(crate) fn endpoint(&self, device: &str) -> String {
        format!("https://{SERVICE}:{}/{device}", self.port)
    }

    /// From now on the service answers so.
    pub(crate) fn answers(&self, status: u16) {
        *self.status.lock() = status;
    }

    /// What the service has got so far.
    pub(crate) fn pushed(&self) -> Vec<Pushed> {
        self.heard.lock().clone()
    }

    /// Waits until it has got so many.
    pub(crate) async fn has_pushed(&self, count: usize) -> Vec<Pushed> {
        let deadline = Instant::now() + SOON;
        loop {
            let pushed = self.pushed();
            if pushed.len() >= count {
                return pushed;
            }
            assert!(Instant::now() < deadline, "{count} pushes: {pushed:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn service(
    net: &Net,
) -> (
    u16,
    std::path::PathBuf,
    Arc<Mutex<Vec<Pushed>>>,
    Arc<Mutex<u16>>,
    JoinSet<()>,
) {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let path = net.folder().join("authority.pem");
    fs::write(&path, params.self_signed(&authority_key).unwrap().pem()).unwrap();
    let leaf = CertificateParams::new(vec![SERVICE.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(params, authority_key));
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.unwrap().der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    net.publish(&SERVICE.parse().unwrap(), address, "none");
    let (heard, status) = (Arc::default(), Arc::new(Mutex::new(201)));
    let (keeps, says) = (Arc::clone(&heard), Arc::clone(&status));
    let mut running = JoinSet::new();
    running.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = tls.accept(stream).await {
                let status = *says.lock();
                take(stream, &keeps, status).await;
            }
        }
    });
    (address.port(), path, heard, status, running)
}

async fn take(mut stream: TlsStream<TcpStream>, heard: &Mutex<Vec<Pushed>>, status: u16) {
    let mut bytes = Vec::new();
    let whole = loop {
        if let Some(whole) = whole(&bytes) {
            break whole;
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
    };
    heard.lock().push(whole);
    let answer = format!(
        "HTTP/1.1 {status} So\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

fn whole(bytes: &[u8]) -> Option<Pushed> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec())
        .unwrap()
        .to_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length = length.split("\r\n").next().unwrap();
    let length: usize = length.parse().unwrap();
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    let path = head.split(' ').nth(1).unwrap().trim_start_matches('/');
    Some(Pushed {
        path: path.to_owned(),
        body,
        head,
    })
}

/// A browser that has subscribed.
pub(crate) struct Browser {
    own: PrivateKey,
    public: Vec<u8>,
    secret: [u8; 16],
    endpoint: String,
}

impl Browser {
    pub(crate) fn new(relay: &Relay, device: &str) -> Self {
        let own = PrivateKey::generate(&ECDH_P256).unwrap();
        Self {
            public: own.compute_public_key().unwrap().as_ref().to_vec(),
            own,
            secret: [5; 16],
            endpoint: relay.endpoint(device),
        }
    }

    /// What a client says of it in `{hi dev}`.
    pub(crate) fn device(&self) -> String {
        let key = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let keys = json!({"p256dh": key(&self.public), "auth": key(&self.secret)});
        json!({"endpoint": self.endpoint, "expirationTime": null, "keys": keys}).to_string()
    }

    /// Reads what was encrypted for it, as RFC 8291 has browsers do.
    pub(crate) fn opens(&self, pushed: &Pushed) -> Value {
        let (salt, rest) = pushed.body.split_at(16);
        let (public, record) = rest[5..].split_at(usize::from(rest[4]));
        let theirs = UnparsedPublicKey::new(&ECDH_P256, public);
        let shared = agree(&self.own, theirs, (), |shared| {
            let info = [b"WebPush: info\0".as_slice(), &self.public, public];
            Ok(expand(
                &Salt::new(HKDF_SHA256, &self.secret).extract(shared),
                &info,
                32,
            ))
        });
        let keys = Salt::new(HKDF_SHA256, salt).extract(&shared.unwrap());
        let key = expand(&keys, &[b"Content-Encoding: aes128gcm\0"], 16);
        let nonce = expand(&keys, &[b"Content-Encoding: nonce\0"], 12);
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        let nonce = Nonce::assume_unique_for_key(nonce.try_into().unwrap());
        let mut record = record.to_vec();
        let text = key.open_in_place(nonce, Aad::empty(), &mut record).unwrap();
        let end = text.iter().rposition(|it| *it != 0).unwrap();
        assert_eq!(text[end], 2, "the mark of the last record");
        serde_json::from_slice(&text[..end]).unwrap()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(keys: &Prk, info: &[&[u8]], length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    keys.expand(info, Length(length))
        .unwrap()
        .fill(&mut out)
        .unwrap();
    out
}
