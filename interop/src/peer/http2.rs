//! HTTP/2 by hand: frames in any order, on any stream, whole or not.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use freehold_proto::{DomainName, hello::EXPORTER_LABEL, limits::ALPN_PEER, wire};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{ScriptedPeer, broken, by_hand::framed};
use crate::{Failure, Result};

/// What stands at the beginning of a connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Kinds of frames.
pub const DATA: u8 = 0;
/// The head of a request.
pub const HEADERS: u8 = 1;
/// A stream ends at once.
pub const RESET: u8 = 3;
/// What a side can do.
pub const SETTINGS: u8 = 4;
/// No new streams.
pub const GOAWAY: u8 = 7;
/// More of a head.
pub const CONTINUATION: u8 = 9;
/// The last frame of a side of a stream.
pub const END: u8 = 1;
/// The last frame of a head.
pub const HEAD_ENDS: u8 = 4;

/// One frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&*head, content].concat()
}

/// The head of a call, and more fields.
#[must_use]
pub fn head(to: &DomainName, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let path = format!("/freehold.peer.v1.Peer/{method}");
    let usual = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", to.as_str()),
        (":path", &*path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let fields = usual.iter().chain(more);
    let fields = fields.flat_map(|(name, value)| [vec![0], text(name), text(value)].concat());
    fields.collect()
}

/// A text as HPACK has it, at most a few thousand bytes long.
fn text(text: &str) -> Vec<u8> {
    let mut length = text.len();
    let mut bytes = Vec::new();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap_or(0));
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128).unwrap_or(0) | 128);
            length /= 128;
        }
        bytes.push(u8::try_from(length).unwrap_or(0));
    }
    [&*bytes, text.as_bytes()].concat()
}

/// A connection of frames.
#[derive(Debug)]
pub struct Frames {
    stream: TlsStream<TcpStream>,
    to: DomainName,
}

/// A frame that came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Came {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// On which stream.
    pub stream: u32,
    /// What it holds.
    pub content: Bytes,
}

impl Frames {
    /// Connects and says hello on stream 1.
    pub async fn proven(peer: &ScriptedPeer, to: &DomainName, at: SocketAddr) -> Result<Self> {
        let stream = peer.knocks(to, at, ALPN_PEER).await?;
        let (_, tls) = stream.get_ref();
        let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None);
        let exporter = exporter.map_err(|error| broken("export from TLS")(&error))?;
        let hello = peer.this.hello(to, exporter).encode_to_vec();
        let mut this = Self {
            stream,
            to: to.clone(),
        };
        let mut first = PREFACE.to_vec();
        first.extend(frame(SETTINGS, 0, 0, &[]));
        first.extend(frame(HEADERS, HEAD_ENDS, 1, &head(to, "Hello", &[])));
        first.extend(frame(DATA, END, 1, &framed(&hello)));
        this.send(&first).await?;
        let answer = this.answer(1).await?;
        let answer = answer.get(5..).unwrap_or_default();
        match wire::HelloResponse::decode(answer).map(|it| it.outcome) {
            Ok(Some(wire::hello_response::Outcome::Accepted(_))) => Ok(this),
            other => Err(Failure::Broken(format!("{to} answered hello by {other:?}"))),
        }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let gone = |error: std::io::Error| Failure::Disconnected {
            who: self.to.to_string(),
            why: error.to_string(),
        };
        self.stream.write_all(bytes).await.map_err(gone)
    }

    /// The next frame; none when the connection has ended, or nothing comes.
    pub async fn next(&mut self) -> Option<Came> {
        let read = async {
            let mut head = [0; HEAD];
            self.stream.read_exact(&mut head).await.ok()?;
            let [one, two, three, kind, flags, rest @ ..] = head;
            let length = usize::try_from(u32::from_be_bytes([0, one, two, three])).ok()?;
            let mut content = vec![0; length];
            self.stream.read_exact(&mut content).await.ok()?;
            Some(Came {
                kind,
                flags,
                stream: u32::from_be_bytes(rest) & (u32::MAX >> 1),
                content: content.into(),
            })
        };
        timeout(ANSWER_WITHIN, read).await.ok().flatten()
    }

    /// All data of the answer on a stream.
    pub async fn answer(&mut self, stream: u32) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        while let Some(came) = self.next().await {
            if came.stream == stream {
                if came.kind == DATA {
                    data.extend_from_slice(&came.content);
                }
                if came.flags & END == END || came.kind == RESET {
                    return Ok(data);
                }
            }
        }
        Err(Failure::Disconnected {
            who: self.to.to_string(),
            why: format!("without an answer on stream {stream}"),
        })
    }

    /// Waits until the other side has ended the connection; false when it has not in time.
    pub async fn ends(&mut self) -> bool {
        let read = async { while self.next().await.is_some() {} };
        timeout(ANSWER_WITHIN, read).await.is_ok()
    }
}
