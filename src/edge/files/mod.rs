//! Files over HTTP, as stock clients send and fetch them (fact sheet, section 1.4).
//!
//! Answers other than a file's bytes are the `{ctrl}` that a session would get, under the status of
//! the same number. Pages of other hosts may ask too: everything needs a log-in that no browser adds
//! by itself, except cookies, which nothing here sets.

mod download;
mod form;
mod range;
mod strangers;
mod upload;
mod who;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::any,
};
use tokio::sync::Semaphore;
use tower_http::set_header::SetResponseHeaderLayer;

pub(super) use download::{Found, chunks, hash_of};
use strangers::Strangers;
pub(super) use upload::{begin, may_store, patience};
pub(super) use who::Claim;

use super::{
    http::ClientAddress,
    origin::origin,
    reply::{self, Reply, Status},
};
use crate::{files::FileError, server::Server};

/// What pages of other hosts may send and see.
const METHODS: &str = "GET, HEAD, POST, PUT, OPTIONS";
const HEADERS: &str =
    "Authorization, Content-Type, If-None-Match, If-Range, Range, X-Tinode-APIKey, X-Tinode-Auth";
const EXPOSED: &str = "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag";
/// How long a browser may remember that, in seconds.
const PREFLIGHT_AGE: &str = "86400";

/// Files being sent at once; each takes a file descriptor.
const DOWNLOADS_MAX: usize = 1024;

/// What bounds requests that are no sessions, over HTTP and gRPC together.
#[derive(Debug)]
pub(crate) struct Bounds {
    strangers: Strangers,
    downloads: Arc<Semaphore>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            strangers: Strangers::default(),
            downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
        }
    }
}

/// The paths of files.
pub(super) fn routes() -> Router<Arc<Server>> {
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    Router::new()
        .route("/v0/file/u", any(upload::answer))
        .route("/v0/file/u/", any(upload::answer))
        .route("/v0/file/s/{*rest}", any(download::answer))
        .layer(fixed(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .layer(fixed(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED))
}

/// The answer to a browser that asks whether a page may ask.
fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
        (header::ALLOW, METHODS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// An answer in words, for the request with this id.
fn ctrl(server: &Server, reply: Reply, id: Option<String>) -> Response {
    let code = StatusCode::from_u16(reply.status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let frame = reply.into_frame(id, None, server.clock.now());
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (code, headers, Body::from(frame.to_text().to_string())).into_response()
}

/// Counts a request of whom nothing is known yet but where they come from.
fn count(
    server: &Server,
    ClientAddress(address): ClientAddress,
    headers: &HeaderMap,
) -> Result<(), Reply> {
    let origin = origin(&server.rules.proxies, address, headers);
    Ok(server.limits.stranger_request(origin)?)
}

fn refusal(server: &Server, status: Status) -> Response {
    ctrl(server, status.into(), None)
}

/// What a client is told of a fault: 4xx where it is at fault itself, 5xx for all that may pass.
fn status_of(fault: &FileError) -> Status {
    match fault {
        FileError::TooLarge { .. } => reply::TOO_LARGE,
        FileError::Quota { .. } => reply::POLICY,
        FileError::Busy => reply::UNAVAILABLE,
        FileError::Away => reply::FILE_AWAY,
        FileError::Full { .. } | FileError::Storage(_) => {
            tracing::error!(%fault, "a file cannot be kept or given");
            reply::UNAVAILABLE
        }
        FileError::Store(fault) => Reply::from(fault.clone()).status,
        FileError::Internal(_) => {
            tracing::error!(%fault, "a file cannot be kept");
            reply::INTERNAL
        }
    }
}

/// The text of a header, if it is one.
fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
