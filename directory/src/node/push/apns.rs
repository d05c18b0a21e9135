//! Pushes by Apple's service: HTTP/2 over one connection, which belongs to a task of its own and is made anew
//! when it breaks. Apple takes a connection for each push for an attack.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use freehold_proto::{Clock, PushDraft, Token, Urgency};
use h2::{
    RecvStream,
    client::{Connection, ResponseFuture, SendRequest},
};
use hyper::{Request, Response};
use parking_lot::Mutex;
use rustls::ClientConfig;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{ANSWER_BYTES_MAX, Unsent, alert::aps, fcm::place, jwt::EcKey};
use crate::{
    ApnsConfig, Directory, DirectoryError, NodeAddress, directory::retry_after, nodes::Stream,
};

/// How long one token is shown: Apple wants a new one after 20 to 60 minutes.
const TOKEN_FOR: Duration = Duration::from_secs(40 * 60);
/// Pushes that wait for a connection.
const WAITING_MAX: usize = 256;
/// Time to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Time for an answer. After that the connection counts as broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
const WHAT: &str = "the key for Apple's service";

type Line = SendRequest<Bytes>;
type Wanted = oneshot::Sender<Result<Line, String>>;

/// What it takes to hand pushes to Apple.
pub(super) struct Apns {
    at: NodeAddress,
    key: EcKey,
    key_id: String,
    team_id: String,
    topic: String,
    token: Mutex<Option<(String, Duration)>>,
    lines: mpsc::Sender<Wanted>,
    /// Until somebody begins to connect.
    wanted: Mutex<Option<mpsc::Receiver<Wanted>>>,
    broken: AtomicBool,
}

impl Apns {
    pub(super) fn new(config: &ApnsConfig) -> Result<Self, DirectoryError> {
        let wrong = || {
            super::jwt::unusable(
                WHAT,
                &config.key,
                "the service is not reached by https".to_owned(),
            )
        };
        let (lines, wanted) = mpsc::channel(WAITING_MAX);
        Ok(Self {
            at: place(&config.url).ok_or_else(wrong)?,
            key: EcKey::read(WHAT, &config.key)?,
            key_id: config.key_id.clone(),
            team_id: config.team_id.clone(),
            topic: config.topic.clone(),
            token: Mutex::default(),
            lines,
            wanted: Mutex::new(Some(wanted)),
            broken: AtomicBool::new(false),
        })
    }

    /// Makes the connection, and has it for whoever asks. Does not return.
    pub(super) async fn work(&self, directory: &Directory, tls: &ClientConfig) -> Infallible {
        let Some(mut wanted) = self.wanted.lock().take() else {
            return pending().await;
        };
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let (tls, mut line) = (Arc::new(tls), None);
        loop {
            let asker = tokio::select! {
                asker = wanted.recv() => asker,
                () = ended(&mut line) => {
                    line = None;
                    continue;
                }
            };
            let Some(asker) = asker else {
                return pending().await;
            };
            if self.broken.swap(false, Ordering::AcqRel) {
                line = None;
            }
            if line.is_none() {
                let connected = timeout(CONNECT_WITHIN, self.connect(directory, &tls)).await;
                match connected.unwrap_or_else(|_| Err("it takes too long to connect".to_owned())) {
                    Ok(connected) => line = Some(connected),
                    Err(why) => {
                        // Whoever asked may have gone.
                        drop(asker.send(Err(why)));
                        continue;
                    }
                }
            }
            if let Some((line, _)) = &line {
                drop(asker.send(Ok(line.clone())));
            }
        }
    }

    async fn connect(
        &self,
        directory: &Directory,
        tls: &Arc<ClientConfig>,
    ) -> Result<(Line, Connection<Box<dyn Stream>>), String> {
        let stream = directory.reach_service(&self.at, tls).await?;
        h2::client::handshake(stream)
            .await
            .map_err(|it| it.to_string())
    }

    /// Hands a push to the service.
    pub(super) async fn send(
        &self,
        draft: &PushDraft,
        token: &Token,
        clock: &dyn Clock,
    ) -> Result<(), Unsent> {
        let failed = |why: String| Unsent::later(format!("Apple's service: {why}"), None);
        let (asker, line) = oneshot::channel();
        if self.lines.try_send(asker).is_err() {
            return Err(Unsent::Busy("this node relays too many pushes now"));
        }
        let line = line
            .await
            .unwrap_or_else(|_| Err("nobody connects".to_owned()));
        let line = line.map_err(failed)?;
        let answer = timeout(ANSWER_WITHIN, self.ask(line, draft, token, clock)).await;
        let answer = answer.unwrap_or_else(|_| {
            self.broken.store(true, Ordering::Release);
            Err("it takes too long".to_owned())
        });
        let answer = answer.map_err(failed)?;
        if answer.status() == 403 {
            // Perhaps the token, or our clock: the next push shows another one.
            self.token.lock().take();
        }
        judge(&answer)
    }

    async fn ask(
        &self,
        line: Line,
        draft: &PushDraft,
        token: &Token,
        clock: &dyn Clock,
    ) -> Result<Response<Bytes>, String> {
        let words = |it: h2::Error| it.to_string();
        let (aps, shown) = aps(token);
        let request = self.request(draft, token, shown, clock)?;
        let mut line = line.ready().await.map_err(words)?;
        let (answer, mut out) = line.send_request(request, false).map_err(words)?;
        let fields = token.fields.iter();
        let mut body: Map<String, Value> = fields
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        body.insert("aps".to_owned(), aps);
        let body = Bytes::from(Value::Object(body).to_string());
        out.send_data(body, true).map_err(words)?;
        whole(answer).await
    }

    fn request(
        &self,
        draft: &PushDraft,
        token: &Token,
        shown: bool,
        clock: &dyn Clock,
    ) -> Result<Request<()>, String> {
        let proof = self.token(clock).ok_or("no signature")?;
        let scheme = if self.at.tls { "https" } else { "http" };
        let uri = format!(
            "{scheme}://{}/3/device/{}",
            self.at.authority(),
            token.token
        );
        let urgent = shown && draft.urgency == Urgency::High;
        let expires = clock.now().plus(draft.ttl).as_millis() / 1000;
        let mut request = Request::post(uri)
            .header("authorization", format!("bearer {proof}"))
            .header("apns-topic", &self.topic)
            .header("apns-push-type", if shown { "alert" } else { "background" })
            .header("apns-priority", if urgent { "10" } else { "5" })
            .header("apns-expiration", expires);
        if !draft.collapse.is_empty() {
            request = request.header("apns-collapse-id", &draft.collapse);
        }
        request.body(()).map_err(|it| it.to_string())
    }

    fn token(&self, clock: &dyn Clock) -> Option<String> {
        let mut token = self.token.lock();
        if let Some((token, until)) = &*token
            && clock.elapsed() < *until
        {
            return Some(token.clone());
        }
        let header = json!({"alg": "ES256", "kid": self.key_id});
        let claims = json!({"iss": self.team_id, "iat": clock.now().as_millis() / 1000});
        let made = self.key.token(&header, &claims).ok()?;
        *token = Some((made.clone(), clock.elapsed() + TOKEN_FOR));
        Some(made)
    }
}

/// Drives the connection. Completes when it has ended.
async fn ended(line: &mut Option<(Line, Connection<Box<dyn Stream>>)>) {
    match line {
        None => pending().await,
        Some((_, connection)) => {
            if let Err(error) = connection.await {
                tracing::info!(%error, "the connection to Apple's service broke");
            }
        }
    }
}

async fn whole(answer: ResponseFuture) -> Result<Response<Bytes>, String> {
    let (head, mut rest): (_, RecvStream) = answer.await.map_err(|it| it.to_string())?.into_parts();
    let mut body = BytesMut::new();
    while let Some(part) = rest.data().await {
        let part = part.map_err(|it| it.to_string())?;
        // What cannot be given back is a connection that ended.
        rest.flow_control().release_capacity(part.len()).ok();
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".to_owned());
        }
        body.extend_from_slice(&part);
    }
    Ok(Response::from_parts(head, body.freeze()))
}

fn judge(answer: &Response<Bytes>) -> Result<(), Unsent> {
    let status = answer.status();
    let words: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let reason = words.get("reason").and_then(Value::as_str);
    let reason = reason.unwrap_or_default();
    let plain: String = reason
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    let why = format!("Apple's service answers {status} {plain}");
    match status.as_u16() {
        200 => Ok(()),
        410 => Err(Unsent::Gone),
        400 if matches!(reason, "BadDeviceToken" | "DeviceTokenNotForTopic") => Err(Unsent::Gone),
        403 | 429 | 500..=599 => Err(Unsent::later(why, retry_after(answer))),
        _ => Err(Unsent::Refused(why)),
    }
}
