//! The side that calls.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use freehold_proto::{DomainName, GroupId, limits::ALPN_PEER, wire, wire::hello_response::Outcome};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Inner, ScriptedPeer, broken, grpc,
    tls::{Tls, exporter},
};
use crate::{Failure, Result};

/// gRPC's status of that name.
const UNAVAILABLE: &str = "14";
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const HELLO_WITHIN: Duration = Duration::from_secs(15);
const HELLO_POLL: Duration = Duration::from_millis(100);

/// A connection to a server on which this peer has proven itself. Ends when its last clone is dropped.
#[derive(Clone, Debug)]
pub struct Line {
    this: Arc<Inner>,
    to: DomainName,
    calls: SendRequest<Bytes>,
    exporter: [u8; 32],
    _connection: Arc<JoinSet<()>>,
}

/// Connects to a server from an address, or from any.
pub(crate) async fn connect(from: Option<IpAddr>, at: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    socket.connect(at).await
}

/// Connects to a server, from an address if that matters, and finishes TLS under a protocol name.
pub(super) async fn knock(
    tls: &Tls,
    to: &DomainName,
    (from, at): (Option<IpAddr>, SocketAddr),
    alpn: &[u8],
) -> Result<TlsStream<TcpStream>> {
    let gone = |error: std::io::Error| Failure::Disconnected {
        who: to.to_string(),
        why: error.to_string(),
    };
    let stream = connect(from, at).await.map_err(gone)?;
    let _fast = stream.set_nodelay(true);
    let name = ServerName::try_from(to.to_string());
    let name = name.map_err(|error| broken("name a server")(&error))?;
    let mut config = (*tls.client).clone();
    config.alpn_protocols = vec![alpn.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(gone)
}

impl Line {
    pub(super) async fn open(this: Arc<Inner>, to: &DomainName, at: SocketAddr) -> Result<Self> {
        let gone = |error: &dyn std::fmt::Display| Failure::Disconnected {
            who: to.to_string(),
            why: error.to_string(),
        };
        let stream = knock(&this.tls(), to, (None, at), ALPN_PEER).await?;
        let exporter = exporter(stream.get_ref().1).map_err(|error| gone(&error))?;
        let (calls, connection) = h2::client::handshake(stream)
            .await
            .map_err(|error| gone(&error))?;
        let mut task = JoinSet::new();
        task.spawn(async move { drop(connection.await) });
        Ok(Self {
            this,
            to: to.clone(),
            calls,
            exporter,
            _connection: Arc::new(task),
        })
    }

    /// The same connection, to speak for another domain.
    #[must_use]
    pub fn also_for(&self, other: &ScriptedPeer) -> Self {
        Self {
            this: Arc::clone(&other.this),
            ..self.clone()
        }
    }

    /// Proves itself.
    pub async fn hello(&mut self) -> Result<()> {
        let request = self.proof();
        match self.greets(&request).await? {
            Outcome::Accepted(_) => Ok(()),
            other => Err(Failure::Broken(format!(
                "{} answered hello by {other:?}",
                self.to
            ))),
        }
    }

    /// What proves this peer on this connection.
    #[must_use]
    pub fn proof(&self) -> wire::HelloRequest {
        self.this.hello(&self.to, self.exporter)
    }

    /// Says any hello, again while the answer is pending.
    pub async fn greets(&mut self, request: &wire::HelloRequest) -> Result<Outcome> {
        let deadline = Instant::now() + HELLO_WITHIN;
        loop {
            let answer: wire::HelloResponse = self.call("Hello", request).await?;
            match answer.outcome {
                Some(Outcome::Pending(_)) if Instant::now() < deadline => sleep(HELLO_POLL).await,
                Some(outcome) => return Ok(outcome),
                None => {
                    return Err(Failure::Broken(format!(
                        "{} answered hello by nothing",
                        self.to
                    )));
                }
            }
        }
    }

    /// What only the two ends of this connection know.
    #[must_use]
    pub fn exporter(&self) -> [u8; 32] {
        self.exporter
    }

    /// Hands over a batch; the results are as the server gives them.
    pub async fn deliver(
        &mut self,
        epoch: u64,
        items: Vec<wire::Item>,
    ) -> Result<Vec<wire::result::Verdict>> {
        let request = wire::DeliverRequest {
            from: self.this.domain().to_string(),
            to: self.to.to_string(),
            epoch,
            items,
        };
        let answer: wire::DeliverResponse = self.call("Deliver", &request).await?;
        let results = answer.results.into_iter();
        Ok(results.filter_map(|it| it.verdict).collect())
    }

    /// Looks somebody up.
    pub async fn find(&mut self, query: wire::find_request::Query) -> Result<Option<wire::Person>> {
        let request = wire::FindRequest {
            from: self.this.domain().to_string(),
            to: self.to.to_string(),
            query: Some(query),
        };
        let answer: wire::FindResponse = self.call("Find", &request).await?;
        Ok(answer.person)
    }

    /// Reads a group.
    pub async fn read_group(
        &mut self,
        group: GroupId,
        what: wire::read_group_request::What,
    ) -> Result<wire::ReadGroupResponse> {
        let request = wire::ReadGroupRequest {
            listed: false,
            from: self.this.domain().to_string(),
            to: self.to.to_string(),
            group: group.as_bytes().to_vec().into(),
            what: Some(what),
            feed: false,
        };
        self.call("ReadGroup", &request).await
    }

    /// Reads the feed of a group's channel.
    pub async fn read_feed(
        &mut self,
        group: GroupId,
        what: wire::read_group_request::What,
    ) -> Result<wire::ReadGroupResponse> {
        let request = wire::ReadGroupRequest {
            listed: false,
            from: self.this.domain().to_string(),
            to: self.to.to_string(),
            group: group.as_bytes().to_vec().into(),
            what: Some(what),
            feed: true,
        };
        self.call("ReadGroup", &request).await
    }

    /// Asks for a file; true if it is given.
    pub async fn is_given(&mut self, key: [u8; 16], sha256: Bytes) -> Result<bool> {
        let request = wire::ReadFileRequest {
            from: self.this.domain().to_string(),
            to: self.to.to_string(),
            key: key.to_vec().into(),
            sha256,
            offset: 0,
        };
        let answer = self.call::<wire::ReadFileResponse>("ReadFile", &request);
        match answer.await {
            Ok(_) => Ok(true),
            // No message at all is how a domain says that there is none.
            Err(Failure::Broken(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Sends signals.
    pub async fn signal(&mut self, signals: Vec<wire::Signal>) -> Result<()> {
        let request = wire::SignalRequest {
            from: self.this.domain().to_string(),
            to: self.to.to_string(),
            signals,
        };
        let _nothing: wire::SignalResponse = self.call("Signal", &request).await?;
        Ok(())
    }

    /// Makes any call with any message.
    pub async fn call<T: prost::Message + Default>(
        &mut self,
        method: &str,
        message: &impl prost::Message,
    ) -> Result<T> {
        let body = self.this.framed(message);
        self.call_with(method, body).await
    }

    /// Makes any call with any bytes.
    pub async fn call_with<T: prost::Message + Default>(
        &mut self,
        method: &str,
        body: Bytes,
    ) -> Result<T> {
        let called = timeout(ANSWER_WITHIN, self.exchange(method, body)).await;
        called.unwrap_or_else(|_| {
            Err(Failure::Late {
                awaited: format!("the answer of {} to {method}", self.to),
                after: ANSWER_WITHIN,
            })
        })
    }

    async fn exchange<T: prost::Message + Default>(
        &mut self,
        method: &str,
        body: Bytes,
    ) -> Result<T> {
        let gone = |error: h2::Error| Failure::Disconnected {
            who: self.to.to_string(),
            why: format!("{method}: {error}"),
        };
        let request = Request::post(format!(
            "https://{}/freehold.peer.v1.Peer/{method}",
            self.to
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|error| broken("make a request")(&error))?;
        let mut calls = self.calls.clone().ready().await.map_err(gone)?;
        let (response, mut stream) = calls.send_request(request, false).map_err(gone)?;
        grpc::send(&mut stream, body, true).await;
        let (head, mut body) = response.await.map_err(gone)?.into_parts();
        let answer = grpc::read(&mut body).await;
        let trailers = body.trailers().await.map_err(gone)?.unwrap_or_default();
        self.refused(method, &[&head.headers, &trailers])?;
        let answer = answer.and_then(|it| T::decode(it).ok());
        answer.ok_or_else(|| {
            Failure::Broken(format!("{} answered {method} by no such message", self.to))
        })
    }

    /// What the status of a call says, wherever it stands.
    fn refused(&self, method: &str, places: &[&HeaderMap]) -> Result<()> {
        let text = |name: &str| {
            let value = places.iter().find_map(|it| it.get(name));
            value.and_then(|it| it.to_str().ok()).map(str::to_owned)
        };
        match text("grpc-status").as_deref() {
            Some("0") => Ok(()),
            // "Our own fault, try again": what a server says that is just ending.
            Some(UNAVAILABLE) => Err(Failure::Disconnected {
                who: self.to.to_string(),
                why: format!("{method}: unavailable"),
            }),
            status => Err(Failure::Refused {
                who: self.this.domain().to_string(),
                request: format!("{method} at {} (gRPC {status:?})", self.to),
                code: text(grpc::REFUSAL)
                    .and_then(|it| it.parse().ok())
                    .unwrap_or(0),
                text: text("grpc-message").unwrap_or_default(),
            }),
        }
    }
}
