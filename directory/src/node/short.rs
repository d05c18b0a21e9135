//! The short link: `/c/{domain}` leads to the web app of a domain, if the domain says so and may be believed.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use freehold_proto::{DomainName, WebUrl, web_url::WebHost};

use super::{
    Look, Node,
    answers::{self, Located},
    http::{self, Asker},
};

/// Leads to the web app, or shows the page that says why not.
pub(super) async fn lead(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
) -> Response {
    let answer = http::looked_up(&node, &name, &headers, asker).await;
    let status = match &answer {
        Ok(look) => match web_app(&node, look) {
            Some(url) => {
                let headers = [
                    (header::LOCATION, url.to_string()),
                    // Where it leads may be another place tomorrow.
                    (header::CACHE_CONTROL, "no-store".to_owned()),
                ];
                return (StatusCode::FOUND, headers).into_response();
            }
            None => StatusCode::NOT_FOUND,
        },
        Err((status, _)) => *status,
    };
    http::shown(&node, status, &name, answer)
}

/// Where somebody may be led without having looked.
pub(super) fn web_app(node: &Node, look: &Look) -> Option<WebUrl> {
    let document = look.seen.client_document.as_ref().ok()?.document();
    let url = document.entrance.web_app.clone()?;
    let leads = answers::is_vouched_for(&Located::of(look).anchors)
        && may_lead(node, &document.domain, &url);
    leads.then_some(url)
}

/// With TLS to the domain or below it: whoever has a domain cannot make this node's name stand for a page of
/// somebody else. Without TLS to this machine only, and only where domains on it may be looked for.
fn may_lead(node: &Node, domain: &DomainName, url: &WebUrl) -> bool {
    match url.host() {
        WebHost::Name(host) => url.is_secure() && host.is_within(domain),
        WebHost::Address(address) => address.is_loopback() && node.directory.may_connect(*address),
    }
}
