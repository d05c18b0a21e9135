//! The least client of the Tinode protocol that can measure: requests, answers, messages.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config, tungstenite::Message,
};

use crate::Result;

/// The API key that every stock client ships with.
const API_KEY: &str = "AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K";
/// Nothing measured takes longer, or something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Session {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
    // Frames that came while another one was awaited.
    aside: VecDeque<Value>,
}

impl Session {
    /// Connects to `http://host:port` and shakes hands.
    pub(crate) async fn open(client: &str) -> Result<Self> {
        let server = client.trim_end_matches('/').replacen("http", "ws", 1);
        let url = format!("{server}/v0/channels?apikey={API_KEY}");
        let connected = timeout(PATIENCE, connect_async_with_config(url, None, true)).await;
        let (socket, _) = connected
            .map_err(|_| format!("connecting to {client} takes too long"))?
            .map_err(|error| format!("connecting to {client} failed: {error}"))?;
        let mut session = Self {
            socket,
            next_id: 1,
            aside: VecDeque::new(),
        };
        let hi = json!({"ver": "0.25", "ua": "FreeholdBench/1", "platf": "web"});
        session.request("hi", hi).await?;
        Ok(session)
    }

    /// Sends a request; returns its id.
    pub(crate) async fn send(&mut self, kind: &str, mut body: Value) -> Result<String> {
        let id = self.next_id.to_string();
        self.next_id += 1;
        body["id"] = json!(id);
        let frame = json!({kind: body}).to_string();
        let sent = self.socket.send(Message::text(frame)).await;
        sent.map_err(|error| format!("sending failed: {error}"))?;
        Ok(id)
    }

    /// Sends a text to a topic; returns the request id.
    pub(crate) async fn publish(&mut self, topic: &str, text: &str) -> Result<String> {
        let body = json!({"topic": topic, "noecho": true, "content": text});
        self.send("pub", body).await
    }

    /// Sends a request and returns what answers it: the body of a meta, or of a ctrl below 400.
    pub(crate) async fn request(&mut self, kind: &str, body: Value) -> Result<Value> {
        let asked = format!("{kind} {body}");
        let id = self.send(kind, body).await?;
        let answer = self.answer(&id).await?;
        match answer["code"].as_u64() {
            Some(400..) => Err(format!("{asked} was answered by {answer}")),
            _ => Ok(answer),
        }
    }

    /// Waits for the first frame that answers a request.
    pub(crate) async fn answer(&mut self, id: &str) -> Result<Value> {
        let pick = |frame: &Value| {
            let bodies = [&frame["ctrl"], &frame["meta"]];
            bodies.into_iter().find(|it| it["id"] == id).cloned()
        };
        self.wait("an answer", pick).await
    }

    /// Waits for the message with this text.
    pub(crate) async fn message(&mut self, text: &str) -> Result<()> {
        let pick = |frame: &Value| (frame["data"]["content"] == text).then_some(());
        self.wait("a message", pick).await
    }

    async fn wait<T>(&mut self, awaited: &str, pick: impl Fn(&Value) -> Option<T>) -> Result<T> {
        for at in 0..self.aside.len() {
            if let Some(found) = self.aside.get(at).and_then(&pick) {
                self.aside.remove(at);
                return Ok(found);
            }
        }
        let search = async {
            loop {
                let frame = self.receive().await?;
                match pick(&frame) {
                    Some(found) => return Ok(found),
                    None => self.aside.push_back(frame),
                }
            }
        };
        let found = timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| Err(format!("waited {} s for {awaited}", PATIENCE.as_secs())))
    }

    /// Forgets the frames that nobody waited for.
    pub(crate) fn clear(&mut self) {
        self.aside.clear();
    }

    /// The next frame from the connection.
    pub(crate) async fn receive(&mut self) -> Result<Value> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame = serde_json::from_str(&text);
                    return frame.map_err(|error| format!("not JSON: {error}: {text}"));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(format!("the connection broke: {error}")),
                None => return Err("the server closed the connection".to_owned()),
            }
        }
    }
}
