//! Where our people's clients connect, as the domain tells anybody who asks (PROTOCOL.md section 3.4).

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use freehold_config::{Public, Registration};
use freehold_directory::{CLIENT_DOCUMENT_PATH, Connect};
use freehold_proto::{Entrance, WebUrl, client_document};
use serde_json::json;

use super::hello::VERSION;
use crate::server::{ClientRules, Server};

/// What is told of the entrance that the world reaches at `public`.
pub(crate) fn entrance(public: &Public, rules: &ClientRules, web_app: bool) -> Entrance {
    Entrance {
        websocket: below(&public.url, "ws", "v0/channels"),
        long_polling: below(&public.url, "http", "v0/channels/lp"),
        web_app: web_app.then(|| public.url.clone()),
        grpc: public.grpc.clone(),
        protocol_version: format!("{}.{}", VERSION.0, VERSION.1),
        api_key: rules.api_keys.first().cloned().unwrap_or_default(),
        registration: registration(rules.registration),
        anonymous: rules.anonymous && rules.registration == Registration::Open,
        calls: rules.calls.is_some(),
        file_bytes_max: rules.file_bytes_max,
        message_bytes_max: rules.message_bytes_max as u64,
    }
}

/// A URL at the same host, under the scheme of this family that is as protected.
fn below(url: &WebUrl, scheme: &str, path: &str) -> WebUrl {
    let protected = if url.is_secure() { "s" } else { "" };
    let text = format!("{scheme}{protected}://{}/{path}", url.authority());
    text.parse().expect("a path of ours behind a URL's host")
}

fn registration(rule: Registration) -> client_document::Registration {
    match rule {
        Registration::Open => client_document::Registration::Open,
        Registration::Invite => client_document::Registration::Invite,
        Registration::Approval => client_document::Registration::Approval,
        Registration::Closed => client_document::Registration::Closed,
    }
}

/// The path where it is told.
pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route(CLIENT_DOCUMENT_PATH, get(document))
}

/// In words for people and programs, and signed for those who check. Pages of other hosts may ask too: a
/// web app elsewhere finds us by this.
async fn document(State(server): State<Arc<Server>>) -> Response {
    let now = server.clock.now();
    let signed = server.federation.get().map(|it| it.client_document(now));
    let (status, words) = match signed {
        Some(Some(signed)) => (StatusCode::OK, serde_json::to_string(&Connect::of(&signed))),
        Some(None) => {
            let why = "this domain does not tell where clients connect (clients.public_url)";
            (
                StatusCode::NOT_FOUND,
                Ok(json!({ "error": why }).to_string()),
            )
        }
        None => {
            let why = "this domain is still starting";
            (
                StatusCode::SERVICE_UNAVAILABLE,
                Ok(json!({ "error": why }).to_string()),
            )
        }
    };
    std::future::ready(match words {
        Ok(words) => {
            let headers = [
                (header::CONTENT_TYPE, "application/json; charset=utf-8"),
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            ];
            (status, headers, words).into_response()
        }
        Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()).into_response(),
    })
    .await
}
