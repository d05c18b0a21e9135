//! A link we opened, one type per state: [`Greeting`] has TLS with the pinned key and may only say
//! hello; [`Established`] has proven both domains and may be used.
//!
//! Invariant: one link is one TCP connection for its whole life. Nothing reconnects silently, so what
//! hello bound to the channel stays true.

use std::{
    error::Error as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use freehold_directory::Directory;
use freehold_keys::VerifiedRecord;
use freehold_proto::{Clock, DomainName, limits, wire};
use futures_util::future::BoxFuture;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Response, Status, Streaming, body::Body};

use crate::{
    LinkError, LinkLost, PeerMisbehaved, StreamPosition, Tasks,
    hello::{Answer, Channel, Ourselves, verify_answer},
    status,
    stubs::peer_client::PeerClient,
};

/// How long an acceptor may keep us waiting for the outcome of hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// A silent connection is probed this often, and given up after half the time without an answer.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a link that is no longer used may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes a peer may send on one call, and on all calls together, before we have read them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of headers a peer may send.
pub(crate) const HEADERS_MAX: u32 = 16 * 1024;

/// Runs the pieces of an HTTP/2 connection as tasks of the domain.
#[derive(Clone, Debug)]
pub(crate) struct Spawner(pub(crate) Tasks);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn("http2", task);
    }
}

/// The one connection, as tonic wants it.
#[derive(Clone, Debug)]
pub(crate) struct Wire(http2::SendRequest<Body>);

impl tower::Service<http::Request<Body>> for Wire {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer: Pin<Box<_>> = Box::pin(self.0.send_request(request));
        answer
    }
}

/// What a greeting needs to know besides the connection.
pub(crate) struct Introduction<'a> {
    pub(crate) ours: &'a Ourselves,
    pub(crate) directory: &'a Directory,
    pub(crate) clock: &'a dyn Clock,
    /// How far we have decided the peer's stream.
    pub(crate) received: StreamPosition,
}

/// A connection on which the peer's TLS key is known to be pinned, and nothing else is known.
#[derive(Debug)]
pub(crate) struct Greeting {
    record: Arc<VerifiedRecord>,
    channel: Channel,
    calls: Calls,
}

impl Greeting {
    /// Builds HTTP/2 on a TLS stream whose exporter has been taken already.
    pub(crate) async fn new<S>(
        stream: S,
        record: Arc<VerifiedRecord>,
        channel: Channel,
        tasks: &Tasks,
    ) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let calls = Calls::open(stream, &record.record().domain, tasks).await?;
        Ok(Self {
            record,
            channel,
            calls,
        })
    }

    /// Says hello until the peer answers yes or no, and checks the peer's own proof.
    pub(crate) async fn hello(self, with: &Introduction<'_>) -> Result<Established, LinkError> {
        let deadline = Instant::now() + HELLO_PATIENCE;
        match timeout_at(deadline, self.accepted(with)).await {
            Err(_) => Err(self.calls.lost(LinkLost::TimedOut("hello"))),
            Ok(Err(error)) => Err(error),
            Ok(Ok(accepted)) => {
                self.believe(&accepted, with).await?;
                let received = accepted.received.map(Into::into);
                Ok(Established {
                    channel: self.channel,
                    calls: self.calls,
                    received,
                    used: Mutex::new(Instant::now()),
                })
            }
        }
    }

    async fn accepted(&self, with: &Introduction<'_>) -> Result<wire::HelloAccepted, LinkError> {
        loop {
            let peer = &self.calls.peer;
            let request = with.ours.request(peer, &self.channel, with.received);
            let mut client = self.calls.client.clone();
            let response = client.hello(request).await;
            let response = response.map_err(|status| self.calls.failed(&status))?;
            let answer = Answer::read(response.into_inner());
            match answer.map_err(|what| self.calls.misbehaved(what))? {
                Answer::Accepted(accepted) => return Ok(*accepted),
                Answer::Pending(delay) => sleep(delay).await,
                Answer::Refused(refusal) => {
                    return Err(LinkError::Refused {
                        peer: peer.clone(),
                        refusal,
                    });
                }
            }
        }
    }

    /// Checks the acceptor's proof, once more with a fresh record if it does not hold with ours.
    async fn believe(
        &self,
        accepted: &wire::HelloAccepted,
        with: &Introduction<'_>,
    ) -> Result<(), LinkError> {
        let us = with.ours.domain();
        let verify = |record: &VerifiedRecord| {
            let now = with.clock.now();
            verify_answer(accepted, us, record.record(), &self.channel, now)
        };
        let outcome = verify(&self.record);
        if outcome.is_ok() || *accepted.record_hash == self.record.hash() {
            return outcome;
        }
        match with.directory.refresh(&self.calls.peer).await {
            Ok(record) => verify(&record),
            Err(_) => outcome,
        }
    }
}

/// A link on which both domains are proven.
#[derive(Debug)]
pub(crate) struct Established {
    calls: Calls,
    channel: Channel,
    /// How far the peer has decided our stream, as it said in hello, if it did.
    pub(crate) received: Option<StreamPosition>,
    used: Mutex<Instant>,
}

impl Established {
    pub(crate) async fn deliver(
        &self,
        request: wire::DeliverRequest,
        within: Duration,
    ) -> Result<wire::DeliverResponse, LinkError> {
        let mut client = self.calls.client.clone();
        self.call("deliver", within, client.deliver(request)).await
    }

    pub(crate) async fn signal(
        &self,
        request: wire::SignalRequest,
        within: Duration,
    ) -> Result<(), LinkError> {
        let mut client = self.calls.client.clone();
        let call = self.call("signal", within, client.signal(request));
        call.await.map(|_| ())
    }

    pub(crate) async fn find(
        &self,
        request: wire::FindRequest,
        within: Duration,
    ) -> Result<Option<wire::Person>, LinkError> {
        let mut client = self.calls.client.clone();
        let call = self.call("find", within, client.find(request));
        call.await.map(|response| response.person)
    }

    pub(crate) async fn read_group(
        &self,
        request: wire::ReadGroupRequest,
        within: Duration,
    ) -> Result<wire::ReadGroupResponse, LinkError> {
        let mut client = self.calls.client.clone();
        self.call("read group", within, client.read_group(request))
            .await
    }

    pub(crate) async fn read_file(
        &self,
        request: wire::ReadFileRequest,
        within: Duration,
    ) -> Result<Streaming<wire::ReadFileResponse>, LinkError> {
        let mut client = self.calls.client.clone();
        self.call("read file", within, client.read_file(request))
            .await
    }

    /// The next part of an answer that comes in parts.
    pub(crate) async fn next<T>(
        &self,
        name: &'static str,
        within: Duration,
        parts: &mut Streaming<T>,
    ) -> Result<Option<T>, LinkError> {
        let part = timeout(within, parts.message()).await;
        *self.used.lock() = Instant::now();
        match part {
            Err(_) => Err(self.calls.lost(LinkLost::TimedOut(name))),
            Ok(Err(status)) => Err(self.calls.failed(&status)),
            Ok(Ok(part)) => Ok(part),
        }
    }

    /// What can be measured on it.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// With whom.
    pub(crate) fn peer(&self) -> &DomainName {
        &self.calls.peer
    }

    /// The peer said something that has no meaning.
    pub(crate) fn misbehaved(&self, what: PeerMisbehaved) -> LinkError {
        self.calls.misbehaved(what)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    /// Completes when the connection is gone.
    pub(crate) async fn closed(&self) {
        self.calls.closed.cancelled().await;
    }

    /// When it was last used.
    pub(crate) fn used(&self) -> Instant {
        *self.used.lock()
    }

    async fn call<T>(
        &self,
        name: &'static str,
        within: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, LinkError> {
        *self.used.lock() = Instant::now();
        let outcome = timeout(within, call).await;
        *self.used.lock() = Instant::now();
        match outcome {
            Err(_) => Err(self.calls.lost(LinkLost::TimedOut(name))),
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.calls.failed(&status)),
        }
    }
}

/// What both states have: a way to call, and a connection that ends when nobody holds it.
#[derive(Debug)]
pub(crate) struct Calls {
    peer: DomainName,
    pub(crate) client: PeerClient<Wire>,
    closed: CancellationToken,
    _unused: DropGuard,
}

impl Calls {
    /// Builds HTTP/2 on a stream.
    pub(crate) async fn open<S>(
        stream: S,
        peer: &DomainName,
        tasks: &Tasks,
    ) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = http2::Builder::new(Spawner(tasks.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADERS_MAX)
            .keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_INTERVAL / 2)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream));
        let (send, connection) = handshake.await.map_err(|error| LinkError::Lost {
            peer: peer.clone(),
            what: LinkLost::Broken(error.to_string()),
        })?;
        let (unused, closed) = (CancellationToken::new(), CancellationToken::new());
        tasks.spawn("link", drive(connection, unused.clone(), closed.clone()));
        let origin = http::Uri::try_from(format!("https://{peer}"))
            .map_err(|error| LinkError::Ours(error.to_string()))?;
        let client = PeerClient::with_origin(Wire(send), origin)
            .max_decoding_message_size(limits::FRAME_BYTES_MAX);
        Ok(Self {
            peer: peer.clone(),
            client,
            closed,
            _unused: unused.drop_guard(),
        })
    }

    /// True when the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    fn lost(&self, what: LinkLost) -> LinkError {
        LinkError::Lost {
            peer: self.peer.clone(),
            what,
        }
    }

    fn misbehaved(&self, what: PeerMisbehaved) -> LinkError {
        LinkError::Misbehaved {
            peer: self.peer.clone(),
            what,
        }
    }

    /// Whose fault a failed call is. A status with a source was made on our side, of a broken
    /// connection; one without came from the peer.
    fn failed(&self, status: &Status) -> LinkError {
        if let Some(refusal) = status::read(status) {
            return LinkError::Refused {
                peer: self.peer.clone(),
                refusal,
            };
        }
        if status.source().is_some() || self.is_closed() {
            return self.lost(LinkLost::Broken(words(status)));
        }
        match status.code() {
            Code::Unavailable => self.lost(LinkLost::Unavailable(words(status))),
            _ => self.misbehaved(PeerMisbehaved::Failed(words(status))),
        }
    }
}

fn words(status: &Status) -> String {
    let message: String = status.message().chars().take(200).collect();
    format!("{:?} {message}", status.code())
}

/// Keeps a connection going until it breaks or nobody holds the link any longer.
async fn drive(
    connection: impl Future<Output = hyper::Result<()>>,
    unused: CancellationToken,
    closed: CancellationToken,
) {
    let farewell = async {
        unused.cancelled().await;
        sleep(FAREWELL).await;
    };
    tokio::select! {
        outcome = connection => if let Err(error) = outcome {
            tracing::debug!(%error, "a link's connection broke");
        },
        () = farewell => {}
    }
    closed.cancel();
}
