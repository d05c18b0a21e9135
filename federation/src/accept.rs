//! Connections that peers open to us.
//!
//! A stranger costs little before it has proven a domain: one of few places, little time, small
//! windows, and only hello is answered. Any other call closes the connection.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use freehold_directory::ResolveError;
use freehold_keys::{VerifiedRecord, spki_hash};
use freehold_proto::{
    DomainName, Refusal, RefusalCode,
    limits::{self, ALPN_CLIENT, ALPN_PEER, ALPN_RECORD},
};
use futures_util::future::{BoxFuture, Shared};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

use crate::{
    engine::Engine,
    hello::Channel,
    link::{HEADERS_MAX, PROBE_INTERVAL, Spawner},
    peer::Peer,
    service::PeerService,
    shared::Arrival,
    status,
    strangers::{Strangers, Ticket},
    stubs::peer_server::PeerServer,
    tls,
};

/// How long a hello that waits for discovery may keep its connection unproven.
pub(crate) const DISCOVERY_MAX: Duration = Duration::from_secs(10);
/// Hellos on one connection before it has proven anything.
pub(crate) const HELLOS_MAX: u32 = 100;
/// Domains that one connection may prove.
const ORIGINS_MAX: usize = 64;
/// How long a connection that is being closed may take to finish what is in hand.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause after the system refused us a connection, for lack of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Calls on one connection at once.
const CALLS_MAX: u32 = 8;
/// Streams that a peer may open and reset before we answer with the end of the connection.
const RESETS_MAX: usize = 32;
/// The only path that is answered to a stranger.
const HELLO_PATH: &str = "/freehold.peer.v1.Peer/Hello";

/// A record being looked up for a hello; all hellos that need it share it.
pub(crate) type Discovery = Shared<BoxFuture<'static, Result<Arc<VerifiedRecord>, ResolveError>>>;

/// Accepts connections until the domain stops.
pub(crate) async fn run(engine: Arc<Engine>, listener: TcpListener) {
    let config = &engine.config;
    let places = Arc::new(Semaphore::new(config.connections_max));
    let strangers = Strangers::new(config.strangers_max, config.strangers_per_prefix_max);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = engine.tasks.stopped() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, fault = "ours", "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = Arc::clone(&places).try_acquire_owned();
        let (Ok(place), Some(ticket)) = (place, strangers.admit(remote.ip())) else {
            tracing::debug!(%remote, "too many connections: dropped");
            continue;
        };
        let engine_of_task = Arc::clone(&engine);
        engine.tasks.spawn("accept", async move {
            let acceptor = TlsAcceptor::from(engine_of_task.identity.get().tls.server());
            let handshake = async {
                stream.set_nodelay(true)?;
                acceptor.accept(stream).await
            };
            serve(engine_of_task, handshake, remote, ticket).await;
            drop(place);
        });
    }
}

/// Takes connections that a listener of several domains has accepted for this one.
pub(crate) async fn run_behind(engine: Arc<Engine>, mut arrivals: mpsc::Receiver<Arrival>) {
    let config = &engine.config;
    let places = Arc::new(Semaphore::new(config.connections_max));
    let strangers = Strangers::new(config.strangers_max, config.strangers_per_prefix_max);
    loop {
        let arrived = tokio::select! {
            arrived = arrivals.recv() => arrived,
            () = engine.tasks.stopped() => return,
        };
        let Some(Arrival {
            start,
            remote,
            ticket: at_the_listener,
        }) = arrived
        else {
            return;
        };
        let place = Arc::clone(&places).try_acquire_owned();
        let (Ok(place), Some(ticket)) = (place, strangers.admit(remote.ip())) else {
            tracing::debug!(%remote, "too many connections: dropped");
            continue;
        };
        drop(at_the_listener);
        let engine_of_task = Arc::clone(&engine);
        engine.tasks.spawn("accept", async move {
            let config = engine_of_task.identity.get().tls.server();
            let handshake = async {
                start.io.set_nodelay(true)?;
                start.into_stream(config).await
            };
            serve(engine_of_task, handshake, remote, ticket).await;
            drop(place);
        });
    }
}

/// Serves one connection from TLS to its end.
async fn serve(
    engine: Arc<Engine>,
    handshake: impl Future<Output = std::io::Result<TlsStream<TcpStream>>>,
    remote: SocketAddr,
    ticket: Ticket,
) {
    let stream = tokio::select! {
        accepted = timeout(engine.config.tls_timeout, handshake) => match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::warn!(%remote, %error, fault = "peer", "TLS with a stranger failed");
                return;
            }
            Err(_) => {
                tracing::info!(%remote, fault = "peer", "a stranger did not finish TLS in time");
                return;
            }
        },
        () = engine.tasks.stopped() => return,
    };
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_RECORD) => {
            let record = engine.identity.get().served(engine.clock.now());
            hand_over(&engine, &record, stream).await;
        }
        Some(ALPN_CLIENT) => {
            // Nothing at all says that there is none.
            let document = engine.identity.client_document(engine.clock.now());
            let document = document.map(|it| it.to_bytes()).unwrap_or_default();
            hand_over(&engine, &document, stream).await;
        }
        Some(ALPN_PEER) => serve_peer(engine, stream, remote, ticket).await,
        _ => tracing::info!(%remote, fault = "peer", "a stranger speaks no protocol of ours"),
    }
}

/// Sends what anybody may have, and nothing else, to whoever connects for it.
async fn hand_over(engine: &Engine, bytes: &[u8], mut stream: TlsStream<TcpStream>) {
    let send = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        // Closing at once could reset the connection before everything has been read.
        stream.read(&mut [0; 1]).await
    };
    let outcome = timeout(engine.config.tls_timeout, send).await;
    tracing::debug!(
        ?outcome,
        bytes = bytes.len(),
        "record or client document served"
    );
}

async fn serve_peer(
    engine: Arc<Engine>,
    stream: TlsStream<TcpStream>,
    remote: SocketAddr,
    ticket: Ticket,
) {
    let Some(channel) = channel(&stream) else {
        let refusal = Refusal::new(RefusalCode::TlsKeyNotInRecord, "no certificate was shown");
        log_refusal(&remote, &refusal);
        return;
    };
    let deadline = Instant::now() + engine.config.hello_timeout;
    let connection = Arc::new(Connection {
        remote,
        channel,
        hellos: AtomicU32::new(0),
        close: CancellationToken::new(),
        state: Mutex::new(State {
            origins: BTreeMap::new(),
            discoveries: HashMap::new(),
            ticket: Some(ticket),
            deadline,
            deadline_of_discovery: deadline + DISCOVERY_MAX,
        }),
    });
    let service = || PeerServer::new(PeerService::new(Arc::clone(&engine), &connection));
    let gate = Gate {
        hello: service().max_decoding_message_size(limits::HELLO_BYTES_MAX),
        calls: service().max_decoding_message_size(limits::FRAME_BYTES_MAX),
        connection: Arc::clone(&connection),
    };
    let mut http2 = http2::Builder::new(Spawner(engine.tasks.clone()));
    http2
        .timer(TokioTimer::new())
        // Begins with 64 KiB for all streams together and grows with what is really read.
        .adaptive_window(true)
        .max_concurrent_streams(CALLS_MAX)
        .max_header_list_size(HEADERS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(PROBE_INTERVAL)
        .keep_alive_timeout(PROBE_INTERVAL / 2);
    let mut served = pin!(http2.serve_connection(TokioIo::new(stream), gate));
    let mut farewell = None;
    loop {
        let deadline = farewell.or_else(|| connection.deadline());
        tokio::select! {
            outcome = served.as_mut() => {
                tracing::debug!(%remote, ?outcome, "a peer's connection ended");
                break;
            }
            () = wait_until(deadline) => if farewell.is_some() {
                break;
            } else if connection.deadline().is_some_and(|it| it <= Instant::now()) {
                tracing::info!(%remote, fault = "peer", "a stranger did not prove a domain in time");
                break;
            },
            () = connection.close.cancelled(), if farewell.is_none() => {
                served.as_mut().graceful_shutdown();
                farewell = Some(Instant::now() + FAREWELL);
            }
            () = engine.tasks.stopped(), if farewell.is_none() => {
                served.as_mut().graceful_shutdown();
                farewell = Some(Instant::now() + FAREWELL);
            }
        }
    }
    connection.end();
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What can be measured on the connection; `None` without a client certificate.
fn channel(stream: &TlsStream<TcpStream>) -> Option<Channel> {
    let connection = stream.get_ref().1;
    Some(Channel {
        tls_key_hash: spki_hash(connection.peer_certificates()?.first()?)?,
        exporter: tls::exporter(connection).ok()?,
    })
}

/// Says in the log that a stranger was refused.
pub(crate) fn log_refusal(remote: &SocketAddr, refusal: &Refusal) {
    let code = refusal.code.number();
    tracing::warn!(%remote, code, fault = "peer", "a stranger misbehaved: {refusal}");
}

/// A connection that a peer opened.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) remote: SocketAddr,
    pub(crate) channel: Channel,
    hellos: AtomicU32,
    close: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Domains proven on this connection.
    origins: BTreeMap<DomainName, Arc<Peer>>,
    discoveries: HashMap<(DomainName, [u8; 32]), Discovery>,
    /// Held until the first domain is proven.
    ticket: Option<Ticket>,
    deadline: Instant,
    deadline_of_discovery: Instant,
}

impl Connection {
    /// Has `domain` said hello here?
    pub(crate) fn is_proven(&self, domain: &DomainName) -> bool {
        self.state.lock().origins.contains_key(domain)
    }

    /// Notes that `peer` has proven itself, if it may have one more connection.
    pub(crate) fn prove(&self, peer: &Arc<Peer>) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if state.origins.contains_key(&peer.domain) {
            return Ok(());
        }
        if state.origins.len() >= ORIGINS_MAX || !peer.connects() {
            let detail = "too many connections of this domain";
            return Err(Refusal::new(RefusalCode::RateLimited, detail));
        }
        state.origins.insert(peer.domain.clone(), Arc::clone(peer));
        state.ticket = None;
        Ok(())
    }

    /// Counts a hello. False when there have been too many.
    pub(crate) fn may_say_hello(&self) -> bool {
        self.hellos.fetch_add(1, Ordering::Relaxed) < HELLOS_MAX
    }

    /// Ends the connection once what is in hand has been answered; nothing new is.
    pub(crate) fn close(&self) {
        self.close.cancel();
    }

    fn is_closing(&self) -> bool {
        self.close.is_cancelled()
    }

    /// The look-up that belongs to a claim; `start` begins one if there is none. A connection that
    /// waits for a look-up may stay unproven a little longer.
    pub(crate) fn discovery(
        &self,
        claim: (DomainName, [u8; 32]),
        start: impl FnOnce() -> Discovery,
    ) -> Discovery {
        let mut state = self.state.lock();
        if let Some(discovery) = state.discoveries.get(&claim) {
            return discovery.clone();
        }
        state.deadline = state.deadline_of_discovery;
        state.discoveries.retain(|_, it| it.peek().is_none());
        let discovery = start();
        state.discoveries.insert(claim, discovery.clone());
        discovery
    }

    /// A look-up has been used up: the next hello starts afresh.
    pub(crate) fn discovered(&self, claim: &(DomainName, [u8; 32])) {
        self.state.lock().discoveries.remove(claim);
    }

    /// Has no domain been proven here?
    pub(crate) fn is_strange(&self) -> bool {
        self.state.lock().origins.is_empty()
    }

    /// Until when a domain must be proven; `None` when one is.
    fn deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.origins.is_empty().then_some(state.deadline)
    }

    fn end(&self) {
        for peer in std::mem::take(&mut self.state.lock().origins).into_values() {
            peer.disconnects();
        }
    }
}

/// Stands before the calls of one connection: nothing but hello, and that short, until a domain has
/// been proven.
struct Gate {
    connection: Arc<Connection>,
    hello: PeerServer<PeerService>,
    calls: PeerServer<PeerService>,
}

impl hyper::service::Service<http::Request<hyper::body::Incoming>> for Gate {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        use tower::Service as _;

        let remote = self.connection.remote;
        let answer = if self.connection.is_closing() {
            // It may not have heard of that yet.
            let refusal = Refusal::new(RefusalCode::HelloRequired, "this connection is closing");
            return Box::pin(async move { Ok(status::refused(&refusal).into_http()) });
        } else if request.uri().path() == HELLO_PATH {
            self.hello.clone().call(request)
        } else if self.connection.deadline().is_none() {
            self.calls.clone().call(request)
        } else {
            let refusal = Refusal::new(RefusalCode::HelloRequired, request.uri().path());
            log_refusal(&remote, &refusal);
            self.connection.close();
            return Box::pin(async move { Ok(status::refused(&refusal).into_http()) });
        };
        Box::pin(async move { Ok(numbered(answer.await?, &remote)) })
    }
}

/// Gives a number to what the gRPC library refused before our code saw it.
fn numbered(response: http::Response<Body>, remote: &SocketAddr) -> http::Response<Body> {
    let status = Status::from_header_map(response.headers());
    match status.as_ref().and_then(status::from_library) {
        None => response,
        Some(refusal) => {
            log_refusal(remote, &refusal);
            status::refused(&refusal).into_http()
        }
    }
}
