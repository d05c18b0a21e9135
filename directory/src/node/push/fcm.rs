//! Pushes by Google's service (Firebase Cloud Messaging, its API of version 1).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use freehold_proto::{Clock, PushDraft, Token, Urgency, WebUrl, web_url::WebHost};
use hyper::{
    Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{sync::Mutex, time::timeout};

use super::{
    ANSWER_BYTES_MAX, Unsent,
    alert::aps,
    jwt::{RsaKey, read_text, unusable},
};
use crate::{Directory, DirectoryError, FcmConfig, NodeAddress, directory::retry_after, web};

/// What an access token is for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// For how long one is asked for: as long as is given.
const ACCESS_FOR: Duration = Duration::from_secs(60 * 60);
/// So much before its end another one is asked for.
const EARLY: Duration = Duration::from_secs(60);
/// Time to be given one: who pushes to others waits for it in the same places.
const ACCESS_WITHIN: Duration = Duration::from_secs(5);
/// After a refusal it is not asked again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// What a device of Apple's is refused with whose certificate the project does not have.
const THIRD_PARTY: &str = "THIRD_PARTY_AUTH_ERROR";
const WHAT: &str = "the service account";

/// What it takes to hand pushes to Google.
pub(super) struct Fcm {
    at: NodeAddress,
    tokens_at: (NodeAddress, String),
    account: Account,
    key: RsaKey,
    /// The access token, or why there is none, and until when that counts by the clock that never goes back.
    access: Mutex<Option<(Result<String, Unsent>, Duration)>>,
}

/// A service account, as Google's console writes it into a file.
#[derive(Deserialize)]
struct Account {
    project_id: String,
    private_key_id: String,
    private_key: String,
    client_email: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct Access {
    access_token: String,
    expires_in: u64,
}

impl Fcm {
    pub(super) fn new(config: &FcmConfig) -> Result<Self, DirectoryError> {
        let wrong = |why: String| unusable(WHAT, &config.account, why);
        let text = read_text(WHAT, &config.account)?;
        let mut account: Account =
            serde_json::from_str(&text).map_err(|it| wrong(it.to_string()))?;
        let key = RsaKey::from_pem(&std::mem::take(&mut account.private_key)).map_err(wrong)?;
        let tokens_at = account.token_uri.parse::<WebUrl>();
        let tokens_at = tokens_at.map_err(|it| wrong(it.to_string()))?;
        let plain = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_graphic());
        if !plain(&account.project_id) || account.project_id.contains('/') {
            return Err(wrong("its project has no name".to_owned()));
        }
        Ok(Self {
            at: place(&config.url)
                .ok_or_else(|| wrong("the service is not reached by https".to_owned()))?,
            tokens_at: (
                place(&tokens_at).ok_or_else(|| wrong("its token_uri is not https".to_owned()))?,
                tokens_at.path().to_owned(),
            ),
            account,
            key,
            access: Mutex::default(),
        })
    }

    /// Hands a push to the service.
    pub(super) async fn send(
        &self,
        directory: &Directory,
        tls: &Arc<ClientConfig>,
        draft: &PushDraft,
        token: &Token,
        clock: &dyn Clock,
    ) -> Result<(), Unsent> {
        let access = self.access(directory, tls, clock).await?;
        let failed = |why: String| Unsent::later(format!("Google's service: {why}"), None);
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {access}"));
        headers.insert(AUTHORIZATION, bearer.map_err(|it| failed(it.to_string()))?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let path = format!("/v1/projects/{}/messages:send", self.account.project_id);
        let body = Bytes::from(message(draft, token).to_string());
        let stream = directory
            .reach_service(&self.at, tls)
            .await
            .map_err(failed)?;
        let host = self.at.authority();
        let answer = web::post(stream, &host, &path, headers, body, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(failed)?;
        if answer.status() == 401 && !codes(&answer).iter().any(|it| it == THIRD_PARTY) {
            // It counts no more, whatever was said of its end.
            let mut known = self.access.lock().await;
            known.take_if(|it| it.0.as_ref().is_ok_and(|it| *it == access));
        }
        judge(&answer)
    }

    /// The access token; one look for all who need it.
    async fn access(
        &self,
        directory: &Directory,
        tls: &Arc<ClientConfig>,
        clock: &dyn Clock,
    ) -> Result<String, Unsent> {
        let mut access = self.access.lock().await;
        if let Some((known, until)) = &*access
            && clock.elapsed() < *until
        {
            return known.clone();
        }
        let asked = self.ask_for_access(directory, tls, clock);
        let given = timeout(ACCESS_WITHIN, asked).await;
        let given = given.unwrap_or_else(|_| Err("it takes too long".to_owned()));
        let (known, lasts) = match given {
            Ok(given) => {
                let lasts = Duration::from_secs(given.expires_in).min(ACCESS_FOR);
                (Ok(given.access_token), lasts.saturating_sub(EARLY))
            }
            Err(why) => {
                tracing::warn!(error = why, "Google does not let this node push");
                let why = format!("Google's service: {why}");
                (Err(Unsent::later(why, None)), REFUSED_FOR)
            }
        };
        *access = Some((known.clone(), clock.elapsed() + lasts));
        known
    }

    async fn ask_for_access(
        &self,
        directory: &Directory,
        tls: &Arc<ClientConfig>,
        clock: &dyn Clock,
    ) -> Result<Access, String> {
        let now = clock.now().as_millis() / 1000;
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": self.account.private_key_id});
        let claims = json!({
            "iss": self.account.client_email,
            "scope": SCOPE,
            "aud": self.account.token_uri,
            "iat": now,
            "exp": now + i64::try_from(ACCESS_FOR.as_secs()).unwrap_or(0),
        });
        let proof = self
            .key
            .token(&header, &claims)
            .map_err(|_| "no signature")?;
        let body = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={proof}"
        );
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        let (at, path) = &self.tokens_at;
        let stream = directory.reach_service(at, tls).await?;
        let host = at.authority();
        let answer = web::post(stream, &host, path, headers, body.into(), ANSWER_BYTES_MAX).await?;
        match answer.status().as_u16() {
            200 => serde_json::from_slice(answer.body()).map_err(|it| it.to_string()),
            status => Err(format!("it gives no access token, but answers {status}")),
        }
    }
}

/// Where a service is that the operator names: with TLS, or on this machine.
pub(super) fn place(url: &WebUrl) -> Option<NodeAddress> {
    let (host, here) = match url.host() {
        WebHost::Name(name) => (name.to_string(), false),
        WebHost::Address(address) => (address.to_string(), address.is_loopback()),
    };
    (url.is_secure() || here).then(|| NodeAddress {
        tls: url.is_secure(),
        host,
        port: url.port(),
    })
}

fn message(draft: &PushDraft, token: &Token) -> Value {
    let data: Map<_, _> = token
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let (aps, shown) = aps(token);
    let (android, apple) = match draft.urgency {
        Urgency::High if shown => ("HIGH", "10"),
        Urgency::High => ("HIGH", "5"),
        Urgency::Low => ("NORMAL", "5"),
    };
    let kind = if shown { "alert" } else { "background" };
    let collapse = Some(&*draft.collapse).filter(|it| !it.is_empty());
    let headers = [
        ("apns-priority", Some(apple)),
        ("apns-push-type", Some(kind)),
        ("apns-collapse-id", collapse),
    ];
    let headers: Map<_, _> = headers
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    json!({"message": {
        "token": token.token,
        "data": data,
        // No collapse key: the service keeps four of a device and forgets the others.
        "android": {"priority": android, "ttl": format!("{}s", draft.ttl.as_secs())},
        "apns": {
            "headers": headers,
            "payload": {"aps": aps},
        },
    }})
}

/// Why Google's service refuses, in its words.
fn codes(answer: &Response<Bytes>) -> Vec<String> {
    let words: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let details = words.pointer("/error/details").and_then(Value::as_array);
    let codes = details.into_iter().flatten();
    let codes = codes.filter_map(|it| it.get("errorCode")?.as_str());
    let plain = |it: &&str| it.len() <= 64 && it.bytes().all(|it| it.is_ascii_graphic());
    codes.filter(plain).take(8).map(str::to_owned).collect()
}

fn judge(answer: &Response<Bytes>) -> Result<(), Unsent> {
    let status = answer.status();
    let codes = codes(answer);
    let why = || format!("Google's service answers {status} {}", codes.join(" "));
    match status.as_u16() {
        200 => Ok(()),
        // Only this says that there is no such device. Another 404 may be the fault of this node's settings, for
        // which no domain is to forget anything.
        _ if codes.iter().any(|it| it == "UNREGISTERED") => Err(Unsent::Gone),
        404 => {
            tracing::warn!(
                "Google's service does not know what it is asked for: look at fcm_url and the service account"
            );
            Err(Unsent::later(why(), retry_after(answer)))
        }
        401 | 429 | 500..=599 => Err(Unsent::later(why(), retry_after(answer))),
        _ => Err(Unsent::Refused(why())),
    }
}
