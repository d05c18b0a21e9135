//! Protobuf written by hand: fields in any order, any number of times, with any bytes.

use bytes::{BufMut as _, Bytes, BytesMut};

const VARINT: u32 = 0;
const LENGTH: u32 = 2;

/// A number in as few bytes as it needs.
#[must_use]
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

/// The same number in so many bytes more than it needs.
#[must_use]
pub fn overlong(value: u64, more: usize) -> Vec<u8> {
    let mut bytes = varint(value);
    for _ in 0..more {
        bytes.last_mut().into_iter().for_each(|it| *it |= 0x80);
        bytes.push(0);
    }
    bytes
}

/// What stands before a field.
#[must_use]
pub fn tag(field: u32, kind: u32) -> Vec<u8> {
    varint(u64::from(field) << 3 | u64::from(kind))
}

/// A field with a number.
#[must_use]
pub fn number(field: u32, value: u64) -> Vec<u8> {
    [tag(field, VARINT), varint(value)].concat()
}

/// A field with bytes: a text, a message.
#[must_use]
pub fn bytes(field: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    [&*tag(field, LENGTH), &*varint(length), content].concat()
}

/// A message of any bytes as a gRPC call carries it.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(message);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use freehold_proto::wire;
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_is_written_by_hand_is_read_as_meant() {
        let written = [number(2, 300), bytes(1, "a.test")].concat();
        let read = wire::IdentityRecord::decode(&*written).unwrap();
        assert_eq!((&*read.domain, read.serial), ("a.test", 300));
        let long = [tag(2, VARINT), overlong(300, 3)].concat();
        assert_eq!(wire::IdentityRecord::decode(&*long).unwrap().serial, 300);
        assert_eq!(long.len(), written.len() - 8 + 3);
    }
}
