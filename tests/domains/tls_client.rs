//! A client that connects over TLS, and certificates for those it connects to.

use std::{
    fs,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_interop::STOCK_API_KEY;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use tonic::codegen::{Service, http::Uri};

/// Stock clients give up on a request after this.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// A certificate with its key.
pub(crate) struct Shown {
    pub(crate) der: CertificateDer<'static>,
    certificate: String,
    key: String,
}

impl Shown {
    /// A new one, for this name and until this year.
    pub(crate) fn until(name: &str, year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let made = params.self_signed(&key).unwrap();
        Self {
            der: made.der().clone(),
            certificate: made.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn new(name: &str) -> Self {
        Self::until(name, 4000)
    }

    /// Puts both where [`lines`] says.
    pub(crate) fn write(&self, folder: &Path) {
        self.write_certificate(folder);
        fs::write(folder.join("key.pem"), &self.key).unwrap();
    }

    pub(crate) fn write_certificate(&self, folder: &Path) {
        fs::write(folder.join("chain.pem"), &self.certificate).unwrap();
    }
}

/// What makes a domain show the certificate in this folder.
pub(crate) fn lines(folder: &Path) -> String {
    format!(
        "tls_certificate = {:?}\ntls_key = {:?}",
        folder.join("chain.pem"),
        folder.join("key.pem")
    )
}

/// How a client begins.
#[derive(Clone, Copy)]
pub(crate) struct Hand<'a> {
    pub(crate) at: SocketAddr,
    /// Whom it believes.
    pub(crate) believes: &'a Shown,
    /// The name that it asks for, if it says one.
    pub(crate) name: Option<&'a str>,
    pub(crate) version: &'static SupportedProtocolVersion,
    pub(crate) speaks: &'static [u8],
}

impl<'a> Hand<'a> {
    pub(crate) fn new(at: SocketAddr, believes: &'a Shown, name: &'a str) -> Self {
        Self {
            at,
            believes,
            name: Some(name),
            version: &TLS13,
            speaks: b"http/1.1",
        }
    }

    pub(crate) fn old(self) -> Self {
        Self {
            version: &TLS12,
            ..self
        }
    }

    /// Shakes hands.
    pub(crate) async fn shake(self) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.believes.der.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![self.speaks.to_vec()];
        config.enable_sni = self.name.is_some();
        let name = ServerName::try_from(self.name.unwrap_or("alpha.test").to_owned()).unwrap();
        let stream = TcpStream::connect(self.at).await?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        timeout(REPLY_WITHIN, Box::pin(connecting)).await?
    }

    /// Shakes hands and asks for what is not there; status of the answer.
    pub(crate) async fn asks(self, host: &str) -> u16 {
        let mut stream = self.shake().await.unwrap();
        get(&mut stream, host).await
    }
}

/// Asks for what is not there and reads to the end, which the server announces; status of the answer.
pub(crate) async fn get(stream: &mut TlsStream<TcpStream>, host: &str) -> u16 {
    let request = format!("GET /v0/nowhere HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(REPLY_WITHIN, stream.read_to_end(&mut answer)).await;
    // An end without a word (`close_notify`) is an error.
    read.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A person with a WebSocket over TLS.
pub(crate) struct Caller {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    next_id: u64,
    pub(crate) id: String,
}

impl Caller {
    /// Makes an account.
    pub(crate) async fn new(hand: Hand<'_>, login: &str) -> Self {
        let host = hand.name.expect("a WebSocket is for somebody");
        let url = format!("wss://{host}/v0/channels?apikey={STOCK_API_KEY}");
        let stream = hand.shake().await.unwrap();
        let (socket, _) = client_async(url, stream).await.unwrap();
        let mut caller = Self {
            socket,
            next_id: 0,
            id: String::new(),
        };
        caller.asks("hi", json!({"ver": "0.25"})).await;
        let secret = STANDARD.encode(format!("{login}:{login}-password"));
        let account = json!({"user": "new", "scheme": "basic", "secret": secret, "login": true});
        let answer = caller.asks("acc", account).await;
        caller.id = answer["params"]["user"].as_str().unwrap().to_owned();
        caller
    }

    /// Asks for something, and gets it.
    pub(crate) async fn asks(&mut self, kind: &str, mut body: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id.to_string();
        body["id"] = json!(id);
        let frame = Message::text(json!({kind: body}).to_string());
        self.socket.send(frame).await.unwrap();
        let answer = self.hears(|it| it["ctrl"]["id"] == id).await;
        let code = answer["ctrl"]["code"].as_u64().unwrap();
        assert!(code < 400, "{kind}: {answer}");
        answer["ctrl"].clone()
    }

    /// The next frame that fits.
    pub(crate) async fn hears(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let next = timeout(REPLY_WITHIN, self.socket.next()).await;
            if let Message::Text(text) = next.unwrap().unwrap().unwrap() {
                let frame: Value = serde_json::from_str(&text).unwrap();
                if fits(&frame) {
                    return frame;
                }
            }
        }
    }

    /// Reads what comes until the server has closed WebSocket and TLS, each with a word.
    pub(crate) async fn hears_the_end(mut self) {
        let closed = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(_))) | None => return,
                    Some(Ok(_)) => {}
                    Some(Err(fault)) => panic!("no farewell but {fault}"),
                }
            }
        };
        timeout(REPLY_WITHIN, closed).await.unwrap();
        let mut rest = Vec::new();
        let stream = self.socket.get_mut();
        let read = timeout(REPLY_WITHIN, stream.read_to_end(&mut rest)).await;
        read.unwrap().expect("TLS is ended by close_notify");
    }
}

/// A connection that is there already, for a library that would make it.
pub(crate) struct OneStream(pub(crate) Option<TlsStream<TcpStream>>);

impl Service<Uri> for OneStream {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        ready(stream.ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}
