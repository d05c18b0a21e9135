//! The client listener: WebSocket at `/v0/channels`, long polling at `/v0/channels/lp`, the web app at
//! `/`. Over TLS where there is a certificate.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use freehold_federation::Tasks;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tower_http::{services::ServeDir, set_header::SetResponseHeaderLayer};
use tracing::{debug, warn};

use super::{
    entrance, files, longpoll,
    reply::{self, Reply},
    tls::{self, Speaks},
    websocket,
};
use crate::server::Server;

/// Time for a client to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a connection may take to finish the requests in hand when the domain stops.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// Where a request comes from: the client, or the web server in front.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// The place that a connection takes among all, until it ends: also as the WebSocket that it may become.
#[derive(Clone, Debug)]
pub(super) struct Place(
    #[expect(dead_code, reason = "it is held, not read")] Arc<OwnedSemaphorePermit>,
);

impl Place {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}

/// Serves clients until the domain stops.
pub async fn serve(server: Arc<Server>, listener: TcpListener, web_root: Option<PathBuf>) {
    let app = router(Arc::clone(&server), web_root);
    let stop = server.tasks.stop_token();
    let free = Arc::new(Semaphore::new(server.rules.connections_max));
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
                let from = (address, Place::new(permit));
                let connection = connection(Arc::clone(&server), app.clone(), stream, from);
                server.tasks.spawn("client", connection);
            }
            Err(fault) => {
                // Out of descriptors, most likely: give some time to come free.
                warn!(%fault, "cannot accept a client");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    server: Arc<Server>,
    app: Router,
    stream: TcpStream,
    (address, place): (SocketAddr, Place),
) {
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request| {
        request.extensions_mut().insert(ClientAddress(address.ip()));
        request.extensions_mut().insert(place.clone());
        app.call(request)
    });
    // Small frames must not wait for each other.
    if let Err(fault) = stream.set_nodelay(true) {
        debug!(%fault, %address, "a client left at once");
        return;
    }
    let tasks = &server.tasks;
    let Some(certificate) = server.certificate.clone() else {
        return speak(stream, tasks, address, service).await;
    };
    let choose = |_: Option<&str>| Some(certificate);
    match tls::accept(stream, Speaks::Web, tasks, choose).await {
        Ok((stream, _)) => Box::pin(speak(stream, tasks, address, service)).await,
        Err(fault) => debug!(%fault, %address, "a client did not shake hands"),
    }
}

/// Serves one connection to its end, or until the domain stops.
pub(super) async fn speak<I, S>(stream: I, tasks: &Tasks, address: SocketAddr, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let mut http = auto::Builder::new(websocket::Spawner(tasks.clone())).http1_only();
    // Bounds on what a client may send before it is understood.
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut serving = pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = serving.as_mut() => result,
        // Upgraded connections end by themselves, with a word to the client.
        () = tasks.stopped() => {
            serving.as_mut().graceful_shutdown();
            timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(fault) = result {
        debug!(%fault, %address, "a client connection ended badly");
    }
}

pub(super) fn router(server: Arc<Server>, web_root: Option<PathBuf>) -> Router {
    let app = Router::new()
        .route("/v0/channels", get(websocket::upgrade))
        .merge(files::routes())
        .route(freehold_directory::WELL_KNOWN_PATH, get(identity))
        .merge(entrance::routes())
        .route("/v0/", any(not_found))
        .route("/v0/{*rest}", any(not_found))
        .with_state(Arc::clone(&server))
        .merge(longpoll::routes(server));
    let app = match web_root.filter(|it| has_app(it)) {
        Some(root) => app.fallback_service(ServeDir::new(root)),
        None => app.fallback(no_web_app),
    };
    let sniff = HeaderValue::from_static("nosniff");
    app.layer(SetResponseHeaderLayer::overriding(
        header::X_CONTENT_TYPE_OPTIONS,
        sniff,
    ))
}

/// Whether a folder holds a web app.
pub(crate) fn has_app(folder: &Path) -> bool {
    folder.join("index.html").is_file()
}

/// A refusal over plain HTTP: the body is the same `{ctrl}` that a session would get.
pub(super) fn refusal(server: &Server, reply: impl Into<Reply>) -> Response {
    let reply = reply.into();
    let code = StatusCode::from_u16(reply.status.code);
    let code = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let frame = reply.into_frame(None, None, server.clock.now());
    let body = Body::from(frame.to_text().to_string());
    (
        code,
        [(header::CONTENT_TYPE, "application/json; charset=utf-8")],
        body,
    )
        .into_response()
}

/// Our identity record, for other domains (PROTOCOL.md section 4.3). Who asks got here by our name under
/// a certificate that the web believes, and learns our root key that way.
async fn identity(State(server): State<Arc<Server>>) -> Response {
    let now = server.clock.now();
    let record = server.federation.get().map(|it| it.record(now));
    std::future::ready(match record {
        Some(record) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, record.to_vec()).into_response()
        }
        None => refusal(&server, reply::UNAVAILABLE),
    })
    .await
}

async fn not_found(State(server): State<Arc<Server>>) -> Response {
    std::future::ready(refusal(&server, reply::NOT_FOUND)).await
}

async fn no_web_app() -> Response {
    let text = "This is a Freehold server. Its web app is not installed: point web_root in the \
                configuration to a folder with the app, or use any Tinode client with this address.\n";
    std::future::ready((StatusCode::NOT_FOUND, text).into_response()).await
}
