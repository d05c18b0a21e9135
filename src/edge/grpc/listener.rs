//! The listener for gRPC: HTTP/2, over TLS where there is a certificate.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::calls::Calls;
use crate::{
    edge::{
        tls::{self, Speaks},
        websocket::Spawner,
    },
    server::Server,
};

/// Connections at once.
const CONNECTIONS_MAX: usize = 1000;
/// Sessions on one connection.
const STREAMS_MAX: u32 = 100;
/// Sessions of all connections.
const SESSIONS_MAX: usize = 10_000;
/// Files coming in at once, of all connections; each holds one piece in memory before its sender is known.
const UPLOADS_MAX: usize = 256;
/// Longest header of a call, in bytes.
const HEADERS_MAX: u32 = 16 * 1024;
/// Streams that a client may open and reset before the connection ends.
const RESETS_MAX: usize = 32;
/// Bytes of one stream between us and the connection.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a connection is probed, and how long an answer may take.
const PROBE_INTERVAL: Duration = Duration::from_secs(25);
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection without a session may stay for so long, and at most for twice that.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a connection that is being closed may take to finish what is in hand.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause after the system refused us a connection, for lack of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves clients until the domain stops.
pub async fn serve(server: Arc<Server>, listener: TcpListener) {
    let stop = server.tasks.stop_token();
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let places = Arc::new(Semaphore::new(SESSIONS_MAX));
    let uploads = Arc::new(Semaphore::new(UPLOADS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let calls = Calls {
                    server: Arc::clone(&server),
                    places: Arc::clone(&places),
                    uploads: Arc::clone(&uploads),
                    address: address.ip(),
                    open: TaskTracker::new(),
                };
                server.tasks.spawn("grpc client", async move {
                    connection(calls, stream, address).await;
                    drop(permit);
                });
            }
            Err(fault) => {
                warn!(%fault, fault = "ours", "cannot accept a client");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection(calls: Calls, stream: TcpStream, address: SocketAddr) {
    // Small frames must not wait for each other.
    if let Err(fault) = stream.set_nodelay(true) {
        debug!(%fault, %address, "a client left at once");
        return;
    }
    let Some(certificate) = calls.server.certificate.clone() else {
        return speak(calls, stream, address).await;
    };
    let tasks = calls.server.tasks.clone();
    let choose = |_: Option<&str>| Some(certificate);
    match tls::accept(stream, Speaks::Grpc, &tasks, choose).await {
        Ok((stream, _)) => Box::pin(speak(calls, stream, address)).await,
        Err(fault) => debug!(%fault, %address, "a client did not shake hands"),
    }
}

async fn speak<I>(calls: Calls, stream: I, address: SocketAddr)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (tasks, open) = (calls.server.tasks.clone(), calls.open.clone());
    let http2 = protocol(Spawner(tasks.clone()));
    let mut served = pin!(http2.serve_connection(TokioIo::new(stream), calls));
    tokio::select! {
        outcome = served.as_mut() => {
            debug!(?outcome, %address, "a client's connection ended");
            return;
        }
        () = tasks.stopped() => {}
        () = unused(&open) => debug!(%address, "a client's connection is not used"),
    }
    served.as_mut().graceful_shutdown();
    let outcome = timeout(FAREWELL, served).await;
    debug!(?outcome, %address, "a client's connection was closed");
}

fn protocol(spawner: Spawner) -> http2::Builder<Spawner> {
    let mut http2 = http2::Builder::new(spawner);
    http2
        .timer(TokioTimer::new())
        // Begins with 64 KiB for all streams together and grows with what is really read.
        .adaptive_window(true)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PROBE_INTERVAL)
        .keep_alive_timeout(PROBE_TIMEOUT);
    http2
}

/// Completes when a connection has had no session for a while.
async fn unused(open: &TaskTracker) {
    let mut ticks = interval_at(Instant::now() + IDLE_MAX, IDLE_MAX);
    let mut was_empty = true;
    loop {
        ticks.tick().await;
        if was_empty && open.is_empty() {
            return;
        }
        was_empty = open.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_session_counts_as_unused_after_a_while() {
        let open = TaskTracker::new();
        let soon = IDLE_MAX * 2 + Duration::from_secs(1);
        timeout(soon, unused(&open)).await.unwrap();

        let session = open.token();
        let used = timeout(IDLE_MAX * 100, unused(&open)).await;
        assert!(used.is_err(), "a session may say nothing for hours");
        drop(session);
        timeout(soon, unused(&open)).await.unwrap();
    }
}
