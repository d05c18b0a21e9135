//! The node's listener: plain HTTP for a web server in front, questions and answers, nothing that stays.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
    routing::{get, post},
};
use freehold_proto::{Address, DomainName};
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;

use crate::Over;

use super::{
    Look, Node, announcing,
    answers::{self, Domain, Located, Refused},
    page, push, short,
};

/// Connections at once.
const CONNECTIONS_MAX: usize = 4096;
/// Time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a connection may take to finish what is in hand when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// What the page may do: nothing but look as it does and ask this node.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Who is asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker(pub(super) IpAddr);

/// Status and reason of a refusal.
pub(super) type Refusal = (StatusCode, String);

impl Asker {
    /// From where.
    pub(super) fn address(self) -> IpAddr {
        self.0
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct NodeListener {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl NodeListener {
    /// Binds it. Port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local_addr = listener.local_addr()?;
        Ok(Self {
            listener,
            local_addr,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

/// Answers until `stopped`, then for as long as what is in hand may take.
pub async fn serve(node: Arc<Node>, listener: NodeListener, stopped: impl Future<Output = ()>) {
    let app = router(Arc::clone(&node));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped);
    let mut upkeep = pin!(node.upkeep());
    let stop = CancellationToken::new();
    loop {
        // What is done beside goes on while nobody connects.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = stopped.as_mut() => break,
            never = upkeep.as_mut() => match never {},
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok((stream, address)) => {
                let (app, stop) = (app.clone(), stop.clone());
                connections.spawn(async move {
                    connection(app, stream, address, stop).await;
                    drop(place);
                });
            }
            Err(fault) => {
                tracing::warn!(%fault, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    stop.cancel();
    timeout(FAREWELL, connections.join_all()).await.ok();
}

async fn connection(app: Router, stream: TcpStream, address: SocketAddr, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request| {
        request.extensions_mut().insert(Asker(address.ip()));
        app.call(request)
    });
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(fault) = outcome {
        tracing::debug!(%fault, "a connection ended badly");
    }
}

fn router(node: Arc<Node>) -> Router {
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    Router::new()
        .route("/", get(front))
        .route("/v1/domains/{domain}", get(domain))
        .route("/v1/locate", get(locate))
        .route("/v1/announce", post(announcing::announce))
        .route("/v1/groups", get(announcing::groups))
        .route("/v1/people", get(announcing::people))
        .route("/c/{domain}", get(short::lead))
        .route("/v1/push", get(push::http::told).post(push::http::asked))
        .route("/v1/openapi.json", get(openapi))
        .route("/metrics", get(metrics))
        .fallback(nothing)
        .with_state(node)
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
        // Anybody may ask, so the page of any site may: nothing here depends on who is logged in where.
        .layer(fixed(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .layer(fixed(header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Freehold directory node",
        description = "What can be seen of a Freehold domain from here. Nothing is signed by this node: check the record."
    ),
    paths(
        domain,
        locate,
        announcing::announce,
        announcing::groups,
        announcing::people,
        push::http::told,
        push::http::asked
    )
)]
struct Described;

async fn openapi() -> Response {
    let text = Described::openapi().to_pretty_json();
    std::future::ready(match text {
        Ok(text) => json(StatusCode::OK, text),
        Err(fault) => refused(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()),
    })
    .await
}

/// What can be seen of a domain: as JSON, or, for `Accept: application/octet-stream`, the identity record
/// as the domain serves it.
#[utoipa::path(
    get,
    path = "/v1/domains/{domain}",
    params(("domain" = String, Path, description = "The domain's name, in lower case and in its ASCII form")),
    responses(
        (status = 200, description = "It serves a record", body = Domain),
        (status = 400, description = "That is no name of a domain", body = Refused),
        (status = 404, description = "No record was found; that proves nothing", body = Domain),
        (status = 429, description = "Too many questions, or too many look-ups: ask again later", body = Refused),
    )
)]
async fn domain(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
) -> Response {
    let look = match looked_up(&node, &name, &headers, asker).await {
        Ok(look) => look,
        Err((status, why)) => return refused(status, why),
    };
    let plain = headers.get(header::ACCEPT);
    let plain = plain.is_some_and(|it| it.as_bytes() == b"application/octet-stream");
    match &look.seen.record {
        Ok(record) if plain => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, record.to_bytes()).into_response()
        }
        found => {
            let status = match found {
                Ok(_) => StatusCode::OK,
                Err(_) => StatusCode::NOT_FOUND,
            };
            answered(status, &Domain::of(&look))
        }
    }
}

/// Where the clients of somebody's domain connect. Give an address or, so that nobody need hear whose it is,
/// a domain.
#[utoipa::path(
    get,
    path = "/v1/locate",
    params(
        ("address" = Option<String>, Query, description = "Somebody's address, `alice@example.org`"),
        ("domain" = Option<String>, Query, description = "Or the domain alone, in lower case and in its ASCII form"),
    ),
    responses(
        (status = 200, description = "The domain says where", body = Located),
        (status = 400, description = "That is no address, or no name of a domain", body = Refused),
        (status = 404, description = "No word of the domain was found that holds; that proves nothing", body = Located),
        (status = 429, description = "Too many questions, or too many look-ups: ask again later", body = Refused),
    )
)]
async fn locate(
    State(node): State<Arc<Node>>,
    asked: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
) -> Response {
    let whose = asked.map_err(|it| it.body_text());
    let domain = match whose.and_then(|Query(whose)| whose.domain()) {
        Ok(domain) => domain,
        Err(why) => return refused(StatusCode::BAD_REQUEST, why),
    };
    let look = match looked_up(&node, &domain, &headers, asker).await {
        Ok(look) => look,
        Err((status, why)) => return refused(status, why),
    };
    let located = Located::of(&look);
    let status = match located.found {
        true => StatusCode::OK,
        false => StatusCode::NOT_FOUND,
    };
    answered(status, &located)
}

/// Whose clients are to connect.
#[derive(Debug, Deserialize)]
struct Whose {
    address: Option<String>,
    domain: Option<String>,
}

impl Whose {
    /// The domain asked about, or what is wrong. Who there is asked about is forgotten here.
    fn domain(self) -> Result<String, String> {
        match (self.address, self.domain) {
            (None, Some(domain)) => Ok(domain),
            (Some(address), None) => match address.parse::<Address>() {
                Ok(address) => Ok(address.domain.to_string()),
                Err(fault) => Err(fault.to_string()),
            },
            _ => Err("ask with ?address=alice@example.org or with ?domain=example.org".to_owned()),
        }
    }
}

/// The look that answers a question, or why there is none.
pub(super) async fn looked_up(
    node: &Node,
    name: &str,
    headers: &HeaderMap,
    Asker(asker): Asker,
) -> Result<Arc<Look>, Refusal> {
    let domain: DomainName = name.parse().map_err(|fault| {
        let why = format!("{name:?} is not the name of a domain: {fault}");
        (StatusCode::BAD_REQUEST, why)
    })?;
    let too_many = |over| too_many(node, over);
    let asker = node.admit(asker, headers).map_err(too_many)?;
    let look = node.look(&domain, asker).await.map_err(too_many)?;
    if answers::is_busy(&look) {
        node.metrics.refused();
        let why =
            "this node looks up too many domains now; ask again in a few seconds, or another node";
        return Err((StatusCode::TOO_MANY_REQUESTS, why.to_owned()));
    }
    Ok(look)
}

/// A network has used up what it may.
pub(super) fn too_many(node: &Node, over: Over) -> Refusal {
    node.metrics.refused();
    let seconds = over.wait.as_secs() + 1;
    let why = format!("too many questions from your network; ask again in {seconds} s");
    (StatusCode::TOO_MANY_REQUESTS, why)
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    domain: String,
}

/// The page for people.
async fn front(
    State(node): State<Arc<Node>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
) -> Response {
    // People paste what they have: with spaces around it, in capitals, somebody's whole address.
    let name = asked.domain.trim().to_ascii_lowercase();
    let name = name.rsplit_once('@').map_or(&*name, |(_, domain)| domain);
    if name.is_empty() {
        return Html(page::page("", None)).into_response();
    }
    let answer = looked_up(&node, name, &headers, asker).await;
    let status = answer.as_ref().err().map_or(StatusCode::OK, |it| it.0);
    shown(&node, status, name, answer)
}

/// The page with what is to be said of a domain.
pub(super) fn shown(
    node: &Node,
    status: StatusCode,
    name: &str,
    answer: Result<Arc<Look>, Refusal>,
) -> Response {
    let answer = answer.map_err(|(_, why)| why);
    let answer = answer.map(|look| page::Seen {
        domain: Domain::of(&look),
        located: Located::of(&look),
        short_link: short::web_app(node, &look).is_some(),
    });
    (status, Html(page::page(name, Some(&answer)))).into_response()
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    std::future::ready(match node.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(fault) => refused(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()),
    })
    .await
}

async fn nothing() -> Response {
    let why = "there is nothing here; see / for people and /v1/openapi.json for programs";
    std::future::ready(refused(StatusCode::NOT_FOUND, why.to_owned())).await
}

pub(super) fn answered(status: StatusCode, answer: &impl Serialize) -> Response {
    match serde_json::to_string(answer) {
        Ok(text) => json(status, text),
        Err(fault) => refused(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()),
    }
}

fn json(status: StatusCode, text: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, kind, text).into_response()
}

pub(super) fn refused(status: StatusCode, error: String) -> Response {
    let text = serde_json::to_string(&Refused { error }).unwrap_or_default();
    let mut response = json(status, text);
    if status == StatusCode::TOO_MANY_REQUESTS {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}
