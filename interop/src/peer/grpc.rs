//! Unary gRPC calls by hand: one message each way, in a frame of five bytes and the message.

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue};

/// Bytes of one message that are read.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Where a refusal of the peer protocol stands.
pub(super) const REFUSAL: &str = "freehold-refusal";

/// The first message in the body of a call, read to its end; none when it is too long or breaks off.
pub(super) async fn read(body: &mut RecvStream) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        let _more = body.flow_control().release_capacity(chunk.len());
        whole.extend_from_slice(&chunk);
        if whole.len() > MESSAGE_BYTES_MAX {
            return None;
        }
    }
    let mut whole = whole.freeze();
    let length: [u8; 4] = whole.get(1..5)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    let mut message = whole.split_off(5);
    (message.len() >= length).then(|| message.split_to(length))
}

/// The trailers of a call that went well.
pub(super) fn good() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

/// Sends all of `data` as the other side has room for it; false when it has gone.
pub(super) async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> bool {
    loop {
        stream.reserve_capacity(data.len());
        let room = match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(room)) => room.min(data.len()),
            _ => return false,
        };
        let rest = data.split_off(room);
        let last = rest.is_empty();
        if stream.send_data(data, end && last).is_err() {
            return false;
        }
        if last {
            return true;
        }
        data = rest;
    }
}
