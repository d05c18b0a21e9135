//! Web Push (RFC 8030) with a VAPID key (RFC 8292). UnifiedPush is the same.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::error::Unspecified;
use bytes::Bytes;
use freehold_proto::{PushDraft, PushEndpoint, Timestamp, Urgency};
use hyper::{
    Response,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use rustls::ClientConfig;
use serde_json::json;

use super::{ANSWER_BYTES_MAX, Unsent, jwt::EcKey};
use crate::{
    Directory, DirectoryError, VapidConfig,
    directory::{NotReached, retry_after},
    web,
};

/// How long a push service may believe one token; a day at most.
const TOKEN_FOR: Duration = Duration::from_secs(12 * 60 * 60);

/// What it takes to hand pushes to push services.
pub(super) struct Web {
    key: EcKey,
    subject: String,
}

impl Web {
    pub(super) fn new(config: &VapidConfig) -> Result<Self, DirectoryError> {
        Ok(Self {
            key: EcKey::read("the VAPID key", &config.key)?,
            subject: config.subject.clone(),
        })
    }

    /// The key by which push services know this node.
    pub(super) fn public_key(&self) -> String {
        self.key.public()
    }

    /// Hands a push to the service that the device has chosen.
    pub(super) async fn send(
        &self,
        directory: &Directory,
        tls: &Arc<ClientConfig>,
        draft: &PushDraft,
        (endpoint, body, encrypted): (&PushEndpoint, &Bytes, bool),
        now: Timestamp,
    ) -> Result<(), Unsent> {
        let headers = self.headers(draft, endpoint, encrypted, now);
        let headers = headers.ok_or(Unsent::Busy("this node cannot sign now"))?;
        let stream = directory.reach(endpoint.host(), endpoint.port(), tls).await;
        let stream = stream.map_err(|it| match it {
            NotReached::Refused(why) => Unsent::Unacceptable(format!("the push service: {why}")),
            NotReached::Failed(why) => Unsent::later(why, None),
        })?;
        let (host, path) = (endpoint.authority(), endpoint.path());
        let answer = web::post(stream, host, path, headers, body.clone(), ANSWER_BYTES_MAX).await;
        judge(&answer.map_err(|why| Unsent::later(why, None))?)
    }

    fn headers(
        &self,
        draft: &PushDraft,
        endpoint: &PushEndpoint,
        encrypted: bool,
        now: Timestamp,
    ) -> Option<HeaderMap> {
        let token = self.token(endpoint, now).ok()?;
        let vapid = format!("vapid t={token}, k={}", self.key.public());
        let urgency = match draft.urgency {
            Urgency::Low => "low",
            Urgency::High => "high",
        };
        let mut headers = HeaderMap::new();
        let text = |it: &str| HeaderValue::from_str(it).ok();
        headers.insert(AUTHORIZATION, text(&vapid)?);
        headers.insert(HeaderName::from_static("ttl"), draft.ttl.as_secs().into());
        headers.insert(
            HeaderName::from_static("urgency"),
            HeaderValue::from_static(urgency),
        );
        if !draft.collapse.is_empty() {
            headers.insert(HeaderName::from_static("topic"), text(&draft.collapse)?);
        }
        let kind = match encrypted {
            true => "application/octet-stream",
            false => "application/json",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if encrypted {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
        }
        Some(headers)
    }

    fn token(&self, endpoint: &PushEndpoint, now: Timestamp) -> Result<String, Unspecified> {
        let claims = json!({
            "aud": format!("https://{}", endpoint.authority()),
            "exp": now.plus(TOKEN_FOR).as_millis() / 1000,
            "sub": self.subject,
        });
        self.key
            .token(&json!({"typ": "JWT", "alg": "ES256"}), &claims)
    }
}

fn judge(answer: &Response<Bytes>) -> Result<(), Unsent> {
    let status = answer.status();
    match status.as_u16() {
        200..=204 => Ok(()),
        404 | 410 => Err(Unsent::Gone),
        429 | 500..=599 => Err(Unsent::later(
            format!("the push service answers {status}"),
            retry_after(answer),
        )),
        _ => Err(Unsent::Refused(format!(
            "the push service answers {status}"
        ))),
    }
}
