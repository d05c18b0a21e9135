//! `/v1/push` as it is asked: what is relayed here, and the pushes.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use freehold_proto::limits::PUSH_REQUEST_BYTES_MAX;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{Unsent, relay};
use crate::node::{
    Node,
    answers::Refused,
    asker,
    http::{Asker, answered, refused},
};

/// Time for a request to come whole.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// What this node relays.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Relayed {
    /// Host, and port unless it goes without saying, under which requests for this node are signed.
    node: String,
    /// `web` (Web Push and UnifiedPush), `fcm` (Google), `apns` (Apple).
    kinds: Vec<&'static str>,
    /// The `applicationServerKey` with which browsers subscribe, in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    vapid: Option<String>,
}

/// A push that was handed on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sent {
    sent: bool,
}

/// Which pushes this node relays, and the key that browsers need to subscribe.
#[utoipa::path(
    get,
    path = "/v1/push",
    responses(
        (status = 200, description = "What it relays", body = Relayed),
        (status = 404, description = "It relays none", body = Refused),
    )
)]
pub(crate) async fn told(State(node): State<Arc<Node>>) -> Response {
    std::future::ready(match &node.push {
        None => no_relay(),
        Some(push) => answered(
            StatusCode::OK,
            &Relayed {
                node: push.name.clone(),
                kinds: push.kinds(),
                vapid: push.vapid(),
            },
        ),
    })
    .await
}

/// Hands a push to a device, in the name of a domain that asks for it: an encoded `SignedPushRequest`.
#[utoipa::path(
    post,
    path = "/v1/push",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The device's service has taken it", body = Sent),
        (status = 400, description = "That is no request, or none for this node: whoever made it is at fault", body = Refused),
        (status = 403, description = "The domain that is named is not believed to have asked", body = Refused),
        (status = 404, description = "This node relays none", body = Refused),
        (status = 410, description = "There is no such device any more: forget it", body = Refused),
        (status = 429, description = "Too many: ask again after `Retry-After`", body = Refused),
        (status = 502, description = "The device's service refuses it for good", body = Refused),
        (status = 503, description = "Not now: ask again after `Retry-After`", body = Refused),
    )
)]
pub(crate) async fn asked(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(push) = &node.push else {
        return no_relay();
    };
    let asker = crate::prefix_of(asker::address(&node.proxies, asker.address(), &headers));
    if let Err(over) = push.networks.take(&asker) {
        return said(Unsent::TooMuch(over));
    }
    let whole = timeout(BODY_WITHIN, to_bytes(body, PUSH_REQUEST_BYTES_MAX)).await;
    let Ok(Ok(body)) = whole else {
        let why = "the request is too long, or takes too long to come";
        return refused(StatusCode::BAD_REQUEST, why.to_owned());
    };
    match relay(&node, push, asker, &body).await {
        Ok(()) => answered(StatusCode::CREATED, &Sent { sent: true }),
        Err(unsent) => said(unsent),
    }
}

fn no_relay() -> Response {
    refused(
        StatusCode::NOT_FOUND,
        "this node relays no pushes".to_owned(),
    )
}

fn said(unsent: Unsent) -> Response {
    let (status, wait) = match &unsent {
        Unsent::Unacceptable(_) => (StatusCode::BAD_REQUEST, None),
        Unsent::NotBelieved(_) => (StatusCode::FORBIDDEN, None),
        Unsent::Gone => (StatusCode::GONE, None),
        Unsent::TooMuch(over) => (StatusCode::TOO_MANY_REQUESTS, Some(over.wait)),
        Unsent::Refused(_) => (StatusCode::BAD_GATEWAY, None),
        Unsent::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(super::BUSY_REST)),
        Unsent::Later { wait, .. } => (StatusCode::SERVICE_UNAVAILABLE, Some(*wait)),
    };
    let mut response = refused(status, unsent.to_string());
    if let Some(wait) = wait {
        let seconds = HeaderValue::from(wait.as_secs() + 1);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}
