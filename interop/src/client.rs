//! A small client of the Tinode protocol 0.25 over WebSocket. Every frame it receives is checked.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use freehold_proto::DomainName;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self, Message as WsMessage,
        client::IntoClientRequest as _,
        http::{HeaderValue, header::HOST},
    },
};

use crate::{Failure, Result, failure::expect, frames::faults_of_frame};

/// The API key that every stock client ships with.
pub const STOCK_API_KEY: &str = "AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K";
/// Stock clients give up on a request after this.
const REPLY_WITHIN: Duration = Duration::from_secs(5);
/// Frames nobody has asked for yet that a session keeps.
const INBOX_MAX: usize = 100_000;
/// Messages asked for at once.
const PAGE: u64 = 100;

/// Where the clients of a domain connect to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Which domain.
    pub domain: DomainName,
    /// Its listener for clients.
    pub client: SocketAddr,
    /// What clients name themselves by.
    pub api_key: String,
    /// Stands behind every log-in name, where other cases have used the same names before.
    pub tag: String,
}

impl Endpoint {
    /// Of a domain that nobody has used before, for clients of the usual make.
    #[must_use]
    pub fn new(domain: DomainName, client: SocketAddr) -> Self {
        Self {
            domain,
            client,
            api_key: STOCK_API_KEY.to_owned(),
            tag: String::new(),
        }
    }
}

/// The kinds of frames from a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// The answer to a request.
    Ctrl,
    /// A message of a topic.
    Data,
    /// Description of a topic, its people, its messages.
    Meta,
    /// Something happened to a topic or a person.
    Pres,
    /// A note of somebody else.
    Info,
}

/// One frame from a server, well formed.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Which kind.
    pub kind: FrameKind,
    /// What is below the kind's key.
    pub body: Value,
}

/// A message as a client sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Position in the topic.
    pub seq: u64,
    /// Who wrote it, as this client names people.
    pub from: String,
    /// What was written.
    pub content: Value,
    /// What goes with it; null for nothing.
    pub head: Value,
}

impl Frame {
    fn from_json(frame: Value) -> Option<Self> {
        let Value::Object(frame) = frame else {
            return None;
        };
        let (kind, body) = frame.into_iter().next()?;
        let kind = match &*kind {
            "ctrl" => FrameKind::Ctrl,
            "data" => FrameKind::Data,
            "meta" => FrameKind::Meta,
            "pres" => FrameKind::Pres,
            "info" => FrameKind::Info,
            _ => return None,
        };
        Some(Self { kind, body })
    }

    /// A text of the body; empty when there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }

    /// The code of a ctrl; 0 for others.
    #[must_use]
    pub fn code(&self) -> u64 {
        self.body["code"].as_u64().unwrap_or(0)
    }

    /// The message in a data frame of `topic`.
    #[must_use]
    pub fn message_of(&self, topic: &str) -> Option<Message> {
        (self.kind == FrameKind::Data && self.text("topic") == topic).then(|| Message {
            seq: self.body["seq"].as_u64().unwrap_or(0),
            from: self.text("from").to_owned(),
            content: self.body["content"].clone(),
            head: self.body["head"].clone(),
        })
    }
}

/// One connection of one person.
#[derive(Debug)]
pub struct Session {
    who: String,
    domain: DomainName,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    hello: Value,
    next_id: u64,
    inbox: VecDeque<Frame>,
}

// === Frames ===

impl Session {
    /// Connects and shakes hands. `who` is for messages about failures.
    pub async fn open(endpoint: &Endpoint, who: &str) -> Result<Self> {
        Self::open_as(endpoint, who, false).await
    }

    /// The same, in the background when it is not a person who opens it.
    pub async fn open_as(endpoint: &Endpoint, who: &str, background: bool) -> Result<Self> {
        let gone = |why: String| Failure::Disconnected {
            who: format!("{who}@{}", endpoint.domain),
            why,
        };
        let url = format!(
            "ws://{}/v0/channels?apikey={}",
            endpoint.client, endpoint.api_key
        );
        // As a client that has looked the domain up: by its name.
        let request = url.into_client_request().and_then(|mut request| {
            let host = HeaderValue::from_str(endpoint.domain.as_str())?;
            request.headers_mut().insert(HOST, host);
            Ok(request)
        });
        let request = request.map_err(|error| gone(error.to_string()))?;
        let connected = timeout(REPLY_WITHIN, connect_async_with_config(request, None, true)).await;
        let (socket, _) = connected
            .map_err(|_| gone("connecting took too long".to_owned()))?
            .map_err(|error| gone(error.to_string()))?;
        let mut session = Self {
            who: format!("{who}@{}", endpoint.domain),
            domain: endpoint.domain.clone(),
            socket,
            hello: Value::Null,
            next_id: 1,
            inbox: VecDeque::new(),
        };
        let hi = json!({"ver": "0.25.3", "ua": "FreeholdInterop/1", "lang": "en-US",
            "platf": "web", "bkg": background});
        let answer = session.request("hi", hi).await?;
        let named = ["ver", "build"].map(|key| answer.body["params"][key].is_string());
        expect(answer.code() == 201 && named == [true; 2], || {
            format!(
                "the answer to hi should be 201 with ver and build, but is {}",
                answer.body
            )
        })?;
        session.hello = answer.body["params"].clone();
        Ok(session)
    }

    /// What the server said of itself.
    #[must_use]
    pub fn hello(&self) -> &Value {
        &self.hello
    }

    /// Whose session it is, `alice@alpha.test`.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Sends a request without waiting for the answer; returns the request id.
    pub async fn send(&mut self, kind: &str, body: Value) -> Result<String> {
        self.send_with(kind, body, Value::Null).await
    }

    /// The same with what goes beside the request, such as for whom an administrator asks.
    pub async fn send_with(&mut self, kind: &str, mut body: Value, extra: Value) -> Result<String> {
        let id = self.next_id.to_string();
        self.next_id += 1;
        body["id"] = json!(id);
        let mut frame = json!({kind: body});
        if !extra.is_null() {
            frame["extra"] = extra;
        }
        self.send_frame(frame).await?;
        Ok(id)
    }

    /// Sends a note, which is never answered.
    pub async fn note(&mut self, topic: &str, what: &str, seq: u64) -> Result<()> {
        let mut note = json!({"topic": topic, "what": what});
        if seq > 0 {
            note["seq"] = json!(seq);
        }
        self.send_note(note).await
    }

    /// Sends a note as it is given.
    pub async fn send_note(&mut self, note: Value) -> Result<()> {
        self.send_frame(json!({"note": note})).await
    }

    async fn send_frame(&mut self, frame: Value) -> Result<()> {
        let sent = timeout(
            REPLY_WITHIN,
            self.socket.send(WsMessage::text(frame.to_string())),
        )
        .await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.gone(&error)),
            Err(_) => Err(self.late("the server to take a frame", REPLY_WITHIN)),
        }
    }

    /// The next frame, of those put aside or from the connection; none when `deadline` passes.
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<Frame>> {
        match self.inbox.pop_front() {
            Some(frame) => Ok(Some(frame)),
            None => self.receive(deadline).await,
        }
    }

    /// The next frame from the connection; none when `deadline` passes.
    async fn receive(&mut self, deadline: Instant) -> Result<Option<Frame>> {
        loop {
            let Ok(received) = timeout_at(deadline, self.socket.next()).await else {
                return Ok(None);
            };
            match received {
                Some(Ok(WsMessage::Text(text))) => return self.check(&text).map(Some),
                Some(Ok(WsMessage::Binary(_))) => {
                    return Err(Failure::Broken(format!("{} got a binary frame", self.who)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(self.gone(&error)),
                None => return Err(self.gone(&tungstenite::Error::ConnectionClosed)),
            }
        }
    }

    fn check(&self, text: &str) -> Result<Frame> {
        let broken =
            |why: String| Failure::Broken(format!("{} got a bad frame: {why}: {text}", self.who));
        let frame: Value = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        let faults = faults_of_frame(&frame, self.domain.as_str());
        if !faults.is_empty() {
            return Err(broken(faults.join("; ")));
        }
        Frame::from_json(frame).ok_or_else(|| broken("no known kind".to_owned()))
    }

    /// Waits for the first frame that `fits`, which is taken out; others are kept for later.
    pub async fn wait_for(
        &mut self,
        awaited: &str,
        within: Duration,
        fits: impl Fn(&Frame) -> bool,
    ) -> Result<Frame> {
        let kept = self.inbox.iter().position(&fits);
        if let Some(frame) = kept.and_then(|at| self.inbox.remove(at)) {
            return Ok(frame);
        }
        let deadline = Instant::now() + within;
        while let Some(frame) = self.receive(deadline).await? {
            if fits(&frame) {
                return Ok(frame);
            }
            self.put_aside(frame)?;
        }
        Err(self.late(awaited, within))
    }

    fn put_aside(&mut self, frame: Frame) -> Result<()> {
        self.inbox.push_back(frame);
        if self.inbox.len() > INBOX_MAX {
            let what = format!("keep all frames for {}", self.who);
            return Err(Failure::harness(
                what,
                format!("there are more than {INBOX_MAX}"),
            ));
        }
        Ok(())
    }

    fn gone(&self, error: &tungstenite::Error) -> Failure {
        Failure::Disconnected {
            who: self.who.clone(),
            why: error.to_string(),
        }
    }

    fn late(&self, awaited: &str, after: Duration) -> Failure {
        Failure::Late {
            awaited: format!("{awaited} ({})", self.who),
            after,
        }
    }
}

// === Requests ===

impl Session {
    /// Sends a request and waits for the first frame that answers it. A ctrl of 400 or more fails.
    pub async fn request(&mut self, kind: &str, body: Value) -> Result<Frame> {
        let request = format!("{kind} {body}");
        let id = self.send(kind, body).await?;
        let answers = [FrameKind::Ctrl, FrameKind::Meta];
        let answer = self
            .wait_for(&format!("the answer to {request}"), REPLY_WITHIN, |frame| {
                answers.contains(&frame.kind) && frame.text("id") == id
            })
            .await?;
        if answer.code() < 400 {
            return Ok(answer);
        }
        Err(Failure::Refused {
            who: self.who.clone(),
            request,
            code: answer.code(),
            text: answer.text("text").to_owned(),
        })
    }

    /// Sends a whole frame with the id `id` in its request, and waits for the answer.
    pub async fn send_whole(&mut self, frame: Value, id: &str) -> Result<Frame> {
        let request = frame.to_string();
        self.send_frame(frame).await?;
        let answer = self
            .wait_for(&format!("the answer to {request}"), REPLY_WITHIN, |frame| {
                frame.kind == FrameKind::Ctrl && frame.text("id") == id
            })
            .await?;
        if answer.code() < 400 {
            return Ok(answer);
        }
        Err(Failure::Refused {
            who: self.who.clone(),
            request,
            code: answer.code(),
            text: answer.text("text").to_owned(),
        })
    }

    /// Logs in; returns the parameters of the answer.
    pub async fn login(&mut self, scheme: &str, secret: &str) -> Result<Value> {
        let body = json!({"scheme": scheme, "secret": secret});
        let answer = self.request("login", body).await?;
        expect(answer.code() == 200, || {
            format!("login was answered by {}", answer.body)
        })?;
        Ok(answer.body["params"].clone())
    }

    /// Attaches to a topic.
    pub async fn subscribe(&mut self, topic: &str) -> Result<Frame> {
        self.request("sub", json!({"topic": topic})).await
    }

    /// Asks for one `what` of a topic; none when the server says there is nothing.
    pub async fn get(&mut self, topic: &str, what: &str) -> Result<Option<Value>> {
        let answer = self
            .request("get", json!({"topic": topic, "what": what}))
            .await?;
        let found = answer.kind == FrameKind::Meta;
        Ok(found.then(|| answer.body[what].clone()))
    }

    /// Publishes a text and waits for the acknowledgement; returns its `seq`.
    pub async fn publish(&mut self, topic: &str, text: &str) -> Result<u64> {
        let body = json!({"topic": topic, "noecho": true, "content": text});
        let answer = self.request("pub", body).await?;
        expect(answer.code() == 202, || {
            format!("pub was answered by {}", answer.body)
        })?;
        Ok(answer.body["params"]["seq"].as_u64().unwrap_or(0))
    }

    /// Reads a topic's messages from `since` on, page by page, into one list without gaps in reading.
    pub async fn history(&mut self, topic: &str, since: u64) -> Result<Vec<Message>> {
        let mut messages = BTreeMap::new();
        let mut before = None;
        loop {
            let (page, oldest) = self.page(topic, since, before).await?;
            let Some(oldest) = oldest else {
                return Ok(messages.into_values().collect());
            };
            expect(before.is_none_or(|it| oldest < it), || {
                format!("{}: paging does not get on below {before:?}", self.who)
            })?;
            before = Some(oldest);
            for message in page {
                self.file(&mut messages, message)?;
            }
        }
    }

    /// One page, and its oldest position. Messages that arrived before or meanwhile may be among them.
    async fn page(
        &mut self,
        topic: &str,
        since: u64,
        before: Option<u64>,
    ) -> Result<(Vec<Message>, Option<u64>)> {
        let mut range = json!({"since": since, "limit": PAGE});
        if let Some(before) = before {
            range["before"] = json!(before);
        }
        let body = json!({"topic": topic, "what": "data", "data": range});
        let id = self.send("get", body).await?;
        let mut page = Vec::new();
        loop {
            let fits = |frame: &Frame| frame.message_of(topic).is_some() || frame.text("id") == id;
            let frame = self
                .wait_for("a page of messages", REPLY_WITHIN, fits)
                .await?;
            if let Some(message) = frame.message_of(topic) {
                page.push(message);
                continue;
            }
            self.check_end_of_page(&frame, page.len())?;
            // A page comes newest first, so its oldest message is among the last that came.
            let count = frame.body["params"]["count"].as_u64().unwrap_or(0);
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let oldest = page.iter().rev().take(count).map(|it| it.seq).min();
            page.retain(|it| it.seq >= since && before.is_none_or(|before| it.seq < before));
            return Ok((page, oldest));
        }
    }

    fn check_end_of_page(&self, end: &Frame, received: usize) -> Result<()> {
        let params = &end.body["params"];
        let count = match end.code() {
            204 => Some(0),
            208 => params["count"].as_u64(),
            _ => None,
        };
        let enough = count.is_some_and(|it| it <= u64::try_from(received).unwrap_or(u64::MAX));
        expect(enough && params["what"] == "data", || {
            format!("{} got {received} messages, then {}", self.who, end.body)
        })
    }

    fn file(&self, messages: &mut BTreeMap<u64, Message>, message: Message) -> Result<()> {
        let seq = message.seq;
        match messages.insert(seq, message.clone()) {
            Some(other) if other != message => Err(Failure::Broken(format!(
                "{}: seq {seq} is {other:?} and {message:?}",
                self.who
            ))),
            _ => Ok(()),
        }
    }
}
