//! A client that says whatever it likes, well formed or not, and sees exactly what comes back.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use freehold_interop::{STOCK_API_KEY, faults_of_frame};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Bytes, Message, client::IntoClientRequest as _, handshake::client::Request,
        http::HeaderValue,
    },
};

use crate::net::House;

/// Stock clients give up on a request after this.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Raw {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    domain: String,
}

impl Raw {
    pub(crate) async fn connect(house: &House) -> Self {
        let query = format!("?apikey={STOCK_API_KEY}");
        Self::upgraded(house, house.url(&query).into_client_request().unwrap()).await
    }

    /// Shows the API key in a header, as mobile clients do.
    pub(crate) async fn connect_with_header(house: &House, name: &'static str) -> Self {
        let mut request = house.url("").into_client_request().unwrap();
        let key = HeaderValue::from_static(STOCK_API_KEY);
        request.headers_mut().insert(name, key);
        Self::upgraded(house, request).await
    }

    async fn upgraded(house: &House, request: Request) -> Self {
        let (socket, _) = connect_async(request).await.unwrap();
        Self {
            socket,
            domain: house.name.to_string(),
        }
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.socket.send(Message::Binary(bytes)).await.unwrap();
    }

    /// Sends what may be too much for the server to take before it hangs up.
    pub(crate) async fn throw(&mut self, text: String) {
        // The connection may end in the middle of it.
        let _hung_up = self.socket.send(Message::text(text)).await;
    }

    /// The next text from the server; none when it has hung up.
    pub(crate) async fn text(&mut self) -> Option<String> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                    Some(Ok(Message::Binary(_))) => panic!("the server sends a binary frame"),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            }
        };
        timeout(REPLY_WITHIN, next)
            .await
            .expect("the server answers in time")
    }

    /// The next frame from the server, in good form.
    pub(crate) async fn frame(&mut self) -> Value {
        let text = self.text().await.expect("the connection lives");
        let frame = serde_json::from_str(&text).unwrap();
        let faults = faults_of_frame(&frame, &self.domain);
        assert!(faults.is_empty(), "{text}: {faults:?}");
        frame
    }

    /// Sends a frame and takes the next one for the answer: code, text and id.
    pub(crate) async fn asks(&mut self, frame: &str) -> (u64, String, Value) {
        self.send_text(frame).await;
        let answer = self.frame().await;
        let ctrl = &answer["ctrl"];
        assert!(ctrl.is_object(), "{frame} is answered by {answer}");
        let text = ctrl["text"].as_str().unwrap().to_owned();
        (ctrl["code"].as_u64().unwrap(), text, ctrl["id"].clone())
    }

    /// Sends a frame that must not be answered, and a probe to know that it was not.
    pub(crate) async fn says_in_vain(&mut self, frame: &str) {
        self.send_text(frame).await;
        self.send_text("1").await;
        assert_eq!(
            self.text().await.as_deref(),
            Some("0"),
            "{frame} is answered"
        );
    }
}

/// Sends an HTTP request as it is given, without a body; returns status, head and body.
pub(crate) async fn http(house: &House, request: &str) -> (u16, String, String) {
    http_at(house.endpoint.client, house.name.as_str(), request).await
}

/// The same anywhere.
pub(crate) async fn http_at(at: SocketAddr, host: &str, request: &str) -> (u16, String, String) {
    let answer = answer(at, host, request).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// Sends what is hardly a request: the start of the answer, or how the server hung up before.
pub(crate) async fn nonsense(house: &House, request: &str) -> Result<String, ErrorKind> {
    let answer = answer(house.endpoint.client, house.name.as_str(), request).await;
    answer
        .map_err(|it| it.kind())
        .map(|it| it.chars().take(12).collect())
}

async fn answer(at: SocketAddr, host: &str, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("{request}\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut answer).await
    };
    timeout(REPLY_WITHIN, exchange).await??;
    String::from_utf8(answer).map_err(std::io::Error::other)
}

/// The same for a request to become a WebSocket, which is refused.
pub(crate) async fn upgrade(house: &House, target: &str) -> (u16, String, String) {
    let request = format!(
        "GET {target} HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    );
    http(house, &request).await
}
