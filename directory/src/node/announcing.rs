//! Announcements of domains, and questions by words for what they announced (PROTOCOL.md sections 13.1 and
//! 13.2).

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;
use freehold_keys::VerifiedAnnouncement;
use freehold_proto::limits;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    Look, Node,
    answers::{self, Announced, Domain, Found, Refused},
    http::{Asker, Refusal, answered, refused, too_many},
    listing::{Kind, Question, Unlisted},
};

/// Time for an announcement to come in.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Longest question, in bytes.
const QUESTION_BYTES_MAX: usize = 200;

/// Lists what a domain wishes to be found by, until its lease ends. The body is a `SignedAnnouncement`; it
/// takes the place of the one before, and without cards withdraws everything.
#[utoipa::path(
    post,
    path = "/v1/announce",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "An encoded SignedAnnouncement"),
    responses(
        (status = 200, description = "It is listed", body = Announced),
        (status = 400, description = "That is no announcement", body = Refused),
        (status = 403, description = "The domain's keys did not sign it for now, or nobody vouches for them", body = Refused),
        (status = 409, description = "The domain has announced something later", body = Refused),
        (status = 429, description = "Too many announcements, or too many look-ups: announce again later", body = Refused),
        (status = 503, description = "There is no room at this node", body = Refused),
    )
)]
pub(super) async fn announce(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
    body: Body,
) -> Response {
    match listed(&node, &headers, asker, body).await {
        Ok(announced) => {
            node.metrics.announced(true);
            answered(StatusCode::OK, &announced)
        }
        Err((status, why)) => {
            node.metrics.announced(false);
            refused(status, why)
        }
    }
}

async fn listed(
    node: &Node,
    headers: &HeaderMap,
    asker: Asker,
    body: Body,
) -> Result<Announced, Refusal> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let asker = node
        .admit_announcement(asker.0, headers)
        .map_err(|over| too_many(node, over))?;
    let Ok(_place) = node.announcing.try_acquire() else {
        let why = "this node hears too many announcements now; announce again in a minute";
        return Err((StatusCode::SERVICE_UNAVAILABLE, why.to_owned()));
    };
    let signed = read(body).await?;
    let claim = VerifiedAnnouncement::claim(&signed).map_err(|it| bad(it.to_string()))?;
    let domain = claim.domain;
    let refuse = |it: Unlisted| match it {
        Unlisted::Older => (StatusCode::CONFLICT, it.to_string()),
        Unlisted::Full | Unlisted::Crowded => (StatusCode::SERVICE_UNAVAILABLE, it.to_string()),
    };
    let listing = || node.listing.read();
    let known = listing().known(&domain, claim.issued, &claim.signature, node.now());
    if let Some(until) = known.map_err(refuse)? {
        return Ok(Announced::new(&domain, claim.cards, until));
    }
    let look = node.look_for_announcing(&domain, asker).await;
    let look = look.map_err(|over| too_many(node, over))?;
    let announced = match believed(node, &look, &signed) {
        // It may sign with a key that it had not when it was looked at.
        Err((StatusCode::FORBIDDEN, _)) => {
            let look = node.look(&domain, asker).await;
            let look = look.map_err(|over| too_many(node, over))?;
            believed(node, &look, &signed)?
        }
        judged => judged?,
    };
    let (until, figures) = {
        let mut listing = node.listing.write();
        (
            listing.take(&announced, asker, node.now()),
            listing.figures(),
        )
    };
    node.metrics.listed(figures);
    let until = until.map_err(refuse)?;
    Ok(Announced::new(&domain, announced.cards.len(), until))
}

/// What is announced, if the domain that was looked at has signed it and somebody vouches for its key.
fn believed(node: &Node, look: &Look, signed: &[u8]) -> Result<VerifiedAnnouncement, Refusal> {
    let domain = &look.seen.domain;
    if answers::is_busy(look) {
        let why = "this node looks up too many domains now; announce again in a minute";
        return Err((StatusCode::TOO_MANY_REQUESTS, why.to_owned()));
    }
    let forbidden = |why: String| (StatusCode::FORBIDDEN, format!("{domain}: {why}"));
    let record = look.seen.record.as_ref();
    let record = record.map_err(|it| forbidden(format!("its record cannot be had: {it}")))?;
    if !answers::is_vouched_for(&Domain::of(look).anchors) {
        let why = "neither DNS nor its web server names the root key of its record, or one of them names another";
        return Err(forbidden(why.to_owned()));
    }
    VerifiedAnnouncement::verify(signed, record, node.now().time)
        .map_err(|it| forbidden(it.to_string()))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let read = timeout(BODY_WITHIN, to_bytes(body, limits::ANNOUNCEMENT_BYTES_MAX)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(fault)) => {
            let max = limits::ANNOUNCEMENT_BYTES_MAX;
            let why = format!("an announcement of at most {max} bytes was expected: {fault}");
            Err((StatusCode::BAD_REQUEST, why))
        }
        Err(_) => {
            let why = "the announcement did not come in within 10 s";
            Err((StatusCode::REQUEST_TIMEOUT, why.to_owned()))
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Words {
    #[serde(default)]
    q: String,
}

/// Groups whose names, descriptions and tags have words that begin with all those asked for.
#[utoipa::path(
    get,
    path = "/v1/groups",
    params(("q" = String, Query, description = "Words, at least two letters each")),
    responses(
        (status = 200, description = "What was found, maybe nothing; that proves nothing", body = Found),
        (status = 400, description = "There is no word in the question", body = Refused),
        (status = 429, description = "Too many questions: ask again later", body = Refused),
    )
)]
pub(super) async fn groups(
    State(node): State<Arc<Node>>,
    Query(words): Query<Words>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
) -> Response {
    found(&node, Kind::Groups, &words.q, &headers, asker).await
}

/// People whose names, words about themselves and tags have words that begin with all those asked for.
#[utoipa::path(
    get,
    path = "/v1/people",
    params(("q" = String, Query, description = "Words, at least two letters each")),
    responses(
        (status = 200, description = "Who was found, maybe nobody; that proves nothing", body = Found),
        (status = 400, description = "There is no word in the question", body = Refused),
        (status = 429, description = "Too many questions: ask again later", body = Refused),
    )
)]
pub(super) async fn people(
    State(node): State<Arc<Node>>,
    Query(words): Query<Words>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
) -> Response {
    found(&node, Kind::People, &words.q, &headers, asker).await
}

async fn found(
    node: &Node,
    kind: Kind,
    asked: &str,
    headers: &HeaderMap,
    asker: Asker,
) -> Response {
    if let Err(over) = node.admit(asker.0, headers) {
        let (status, why) = too_many(node, over);
        return refused(status, why);
    }
    let question = Some(asked).filter(|it| it.len() <= QUESTION_BYTES_MAX);
    let Some(question) = question.and_then(Question::read) else {
        let why = "ask with ?q= and words of at least two letters, 200 bytes in all";
        return refused(StatusCode::BAD_REQUEST, why.to_owned());
    };
    let page = node.listing.read().find(kind, &question, node.now());
    node.metrics.searched();
    std::future::ready(answered(StatusCode::OK, &Found::of(&page))).await
}
