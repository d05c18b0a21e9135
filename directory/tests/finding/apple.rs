//! A stand-in for Apple's service: HTTP/2, over TLS.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use h2::server::SendResponse;
use hyper::{Request, Response};
use parking_lot::Mutex;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{support::World, vendors::Heard};

/// The service.
#[derive(Clone)]
pub(crate) struct Apple {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    answer: Arc<Mutex<(u16, &'static str)>>,
    connections: Arc<AtomicUsize>,
}

impl Apple {
    pub(crate) async fn start(world: &World, tls: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let apple = Self {
            port: listener.local_addr().unwrap().port(),
            heard: Arc::default(),
            answer: Arc::new(Mutex::new((200, ""))),
            connections: Arc::default(),
        };
        let (own, tls) = (apple.clone(), TlsAcceptor::from(Arc::new(tls)));
        world.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = tls.accept(stream).await {
                    own.connections.fetch_add(1, Ordering::SeqCst);
                    own.serve(stream).await;
                }
            }
        });
        apple
    }

    /// From now on it answers with this status and reason. 0: it hangs up.
    pub(crate) fn answers(&self, status: u16, reason: &'static str) {
        *self.answer.lock() = (status, reason);
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn serve(&self, stream: TlsStream<TcpStream>) {
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut said = tokio::task::JoinSet::new();
        while let Some(asked) = connection.accept().await {
            let Ok((request, answering)) = asked else {
                return;
            };
            let answer = *self.answer.lock();
            if answer.0 == 0 {
                return;
            }
            let heard = Arc::clone(&self.heard);
            said.spawn(one(heard, request, answering, answer));
        }
    }
}

async fn one(
    heard: Arc<Mutex<Vec<Heard>>>,
    request: Request<h2::RecvStream>,
    mut answering: SendResponse<Bytes>,
    (status, reason): (u16, &'static str),
) {
    let (head, mut parts) = request.into_parts();
    let mut body = Vec::new();
    while let Some(part) = parts.data().await {
        let part = part.unwrap();
        parts.flow_control().release_capacity(part.len()).unwrap();
        body.extend_from_slice(&part);
    }
    let headers = head.headers.iter();
    let headers = headers.map(|(name, it)| (name.to_string(), it.to_str().unwrap().to_owned()));
    heard.lock().push(Heard {
        path: head.uri.path().to_owned(),
        headers: headers.collect(),
        body,
    });
    let answer = Response::builder().status(status).body(()).unwrap();
    let mut out = answering.send_response(answer, reason.is_empty()).unwrap();
    if !reason.is_empty() {
        let words = Value::from_iter([("reason", reason)]).to_string();
        out.send_data(words.into(), true).unwrap();
    }
}
