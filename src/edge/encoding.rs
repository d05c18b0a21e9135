//! Frames as they travel. Each transport has its encoding; what goes through a session's queue is
//! encoded already, so that one frame for many sessions is encoded once.

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use prost::Message as _;

use super::{frames::ServerFrame, grpc};

/// How the frames of a session travel, both ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// JSON text: WebSocket and long polling.
    Json,
    /// Protobuf: gRPC.
    Protobuf,
}

/// One encoded frame. Clones share the bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Encoded {
    /// JSON.
    Text(Utf8Bytes),
    /// Protobuf.
    Binary(Bytes),
}

impl ServerFrame {
    /// The frame in one encoding.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Encoded {
        match encoding {
            Encoding::Json => Encoded::Text(self.to_text()),
            Encoding::Protobuf => Encoded::Binary(grpc::message_of(self).encode_to_vec().into()),
        }
    }

    /// The frame as JSON.
    #[must_use]
    pub fn to_text(&self) -> Utf8Bytes {
        serde_json::to_string(self)
            .expect("frames hold text keys and valid JSON only")
            .into()
    }
}

impl Encoded {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

impl From<Encoded> for Bytes {
    fn from(encoded: Encoded) -> Self {
        match encoded {
            Encoded::Text(text) => text.into(),
            Encoded::Binary(bytes) => bytes,
        }
    }
}

impl From<Encoded> for Message {
    fn from(encoded: Encoded) -> Self {
        match encoded {
            Encoded::Text(text) => Self::Text(text),
            Encoded::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use freehold_proto::Timestamp;

    use super::*;
    use crate::edge::{frames::Packed, reply};

    #[test]
    fn a_frame_for_many_is_encoded_once_for_each_encoding() {
        let frame = reply::Reply::from(reply::OK).into_frame(None, None, Timestamp::EPOCH);
        let packed = Packed::new(&frame);
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let (one, other) = (packed.encoded(encoding), packed.encoded(encoding));
            assert_eq!(one, frame.encode(encoding));
            let (one, other) = (Bytes::from(one), Bytes::from(other));
            assert_eq!(one.as_ptr(), other.as_ptr(), "{encoding:?}");
        }
    }
}
