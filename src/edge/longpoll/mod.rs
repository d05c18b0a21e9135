//! Long polling at `/v0/channels/lp`: sessions for clients without WebSocket (fact sheet, section 1.2).
//!
//! The first request opens a session and gets its name. A request with a body says one thing; one
//! without waits for the next frame. COMPAT JavaScript SDK: it takes any status below 400 for a frame.

mod polls;
mod session;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::any,
};
use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;

use self::polls::Polls;
use super::{
    apikey,
    http::ClientAddress,
    origin,
    reply::{self, Reply},
};
use crate::server::Server;

/// Time for a client to send the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// For how many seconds a browser may remember what we allow it.
const PREFLIGHT_LIFETIME: &str = "86400";

pub(super) fn routes(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v0/channels/lp", any(answer))
        .with_state(Arc::new(Polls::new(server)))
}

async fn answer(
    State(polls): State<Arc<Polls>>,
    Extension(address): Extension<ClientAddress>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let answered = match head.method {
        Method::OPTIONS => return preflight(),
        Method::GET | Method::POST => serve(&polls, address, &head, body).await,
        _ => Err(reply::NOT_ALLOWED.into()),
    };
    let (code, body) = match answered {
        Ok(Answer::Frame(frame)) => (StatusCode::OK, frame),
        Ok(Answer::Ctrl(reply)) | Err(reply) => written(&polls, reply),
    };
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    ];
    (code, headers, body).into_response()
}

enum Answer {
    /// A frame, or nothing.
    Frame(Bytes),
    Ctrl(Reply),
}

async fn serve(
    polls: &Arc<Polls>,
    ClientAddress(address): ClientAddress,
    head: &Parts,
    body: Body,
) -> Result<Answer, Reply> {
    let (server, query) = (&polls.server, head.uri.query());
    let key = apikey::of_request(&head.headers, query);
    if !key.is_some_and(|key| server.rules.api_keys.contains(&key)) {
        return Err(reply::API_KEY_REQUIRED.into());
    }
    let Some(sid) = query.and_then(sid) else {
        let address = origin::address(&server.rules.proxies, address, &head.headers);
        let sid = polls.open(address)?;
        let params = json!({ "sid": sid });
        return Ok(Answer::Ctrl(Reply::with(reply::CREATED, params)));
    };
    let session = polls.find(sid).ok_or(reply::SESSION_EXPIRED)?;
    let body = read(body, server.rules.message_bytes_max).await?;
    if body.is_empty() {
        let frame = session.poll().await.ok_or(reply::SESSION_EXPIRED)?;
        return Ok(Answer::Frame(frame));
    }
    session.say(body).await.ok_or(reply::SESSION_EXPIRED)?;
    Ok(Answer::Frame(Bytes::new()))
}

fn sid(query: &str) -> Option<&str> {
    query.split('&').find_map(|it| it.strip_prefix("sid="))
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Reply> {
    match timeout(BODY_TIMEOUT, to_bytes(body, bytes_max)).await {
        Ok(Ok(body)) => Ok(body),
        // It may have broken off as well; then nobody reads this.
        Ok(Err(_)) => Err(reply::BODY_TOO_LARGE.into()),
        Err(_) => Err(reply::MALFORMED.into()),
    }
}

/// A `{ctrl}` as status and body.
fn written(polls: &Polls, reply: Reply) -> (StatusCode, Bytes) {
    let code = StatusCode::from_u16(reply.status.code);
    let frame = reply.into_frame(None, None, polls.server.clock.now());
    let code = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, frame.to_text().into())
}

/// What a browser asks before a page of another site may talk to us. It may: keys and log-ins count.
fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Content-Type, X-Tinode-APIKey",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_LIFETIME),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (StatusCode::NO_CONTENT, headers).into_response()
}
