//! One connection to a server: the least of the Tinode client protocol that load can be made of.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig},
};

use crate::{
    Result,
    tls::{Stream, Tls},
};

/// Nothing that a scenario prepares takes longer, or something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Small, since there may be 100,000 connections in this process.
const READ_BUFFER: usize = 4096;

/// Where a server is reached.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// Host and port as the URL has them.
    pub(crate) host: String,
    pub(crate) api_key: String,
    /// With TLS, and which certificate counts.
    pub(crate) tls: Option<Tls>,
}

impl Door {
    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!(
            "{scheme}://{}/v0/channels?apikey={}",
            self.host, self.api_key
        )
    }

    async fn connect(&self, from: Option<Ipv4Addr>) -> Result<Box<dyn Stream>> {
        let stream = connect(self.address, from).await?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => tls.connect(stream).await,
        }
    }
}

/// One connection, past its handshake.
pub(crate) struct Session {
    socket: WebSocketStream<Box<dyn Stream>>,
    next_id: u64,
}

impl Session {
    /// Connects, from one of this machine's own addresses if one is given, and shakes hands.
    pub(crate) async fn open(door: &Door, from: Option<Ipv4Addr>) -> Result<Self> {
        let connecting = async {
            let stream = door.connect(from).await?;
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER)
                .write_buffer_size(0);
            let done = client_async_with_config(door.url(), stream, Some(config)).await;
            let (socket, _) = done.map_err(|error| format!("{}: {error}", door.host))?;
            Result::Ok(socket)
        };
        let socket = timeout(PATIENCE, connecting).await;
        let socket = socket.map_err(|_| format!("connecting to {} takes too long", door.host))?;
        let mut session = Self {
            socket: socket?,
            next_id: 1,
        };
        let hi = json!({"ver": "0.25", "ua": "FreeholdBench/2", "platf": "web"});
        session.request("hi", hi).await?;
        Ok(session)
    }

    /// A new request id.
    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: String) -> Result<()> {
        let sent = self.socket.send(Message::text(frame)).await;
        sent.map_err(|error| format!("sending failed: {error}"))
    }

    /// The next frame. Nothing is lost when this is not waited for to the end.
    pub(crate) async fn next(&mut self) -> Result<Utf8Bytes> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(format!("the connection broke: {error}")),
                None => return Err("the server closed the connection".to_owned()),
            }
        }
    }

    /// Sends a request and returns what answers it: the body of a meta, or of a ctrl below 400. Other
    /// frames that come meanwhile are dropped.
    pub(crate) async fn request(&mut self, kind: &str, body: Value) -> Result<Value> {
        let asked = format!("{kind} {body}");
        let id = self.ask(kind, body).await?;
        let answer = self.wait(|frame| {
            let bodies = [&frame["ctrl"], &frame["meta"]];
            bodies.into_iter().find(|it| it["id"] == id).cloned()
        });
        let answer = answer.await.map_err(|why| format!("{asked}: {why}"))?;
        match answer["code"].as_u64() {
            Some(400..) => Err(format!("{asked} was answered by {answer}")),
            _ => Ok(answer),
        }
    }

    /// Sends a request; returns its id.
    pub(crate) async fn ask(&mut self, kind: &str, mut body: Value) -> Result<String> {
        let id = self.id().to_string();
        body["id"] = json!(id);
        self.send(json!({kind: body}).to_string()).await?;
        Ok(id)
    }

    /// Reads until a frame is found in which there is what `pick` looks for; drops the others.
    pub(crate) async fn wait<T>(&mut self, pick: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let search = async {
            loop {
                let text = self.next().await?;
                let frame = serde_json::from_str(&text);
                let frame = frame.map_err(|error| format!("not JSON: {error}: {text}"))?;
                if let Some(found) = pick(&frame) {
                    return Ok(found);
                }
            }
        };
        let found = timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| Err(format!("no answer in {} s", PATIENCE.as_secs())))
    }
}

async fn connect(address: SocketAddr, from: Option<Ipv4Addr>) -> Result<TcpStream> {
    let connected = async {
        let stream = match from {
            Some(from) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                socket.connect(address).await?
            }
            None => TcpStream::connect(address).await?,
        };
        // Small frames must not wait for each other.
        stream.set_nodelay(true)?;
        std::io::Result::Ok(stream)
    };
    let stream = connected.await;
    stream.map_err(|error| format!("connecting to {address} failed: {error}"))
}
