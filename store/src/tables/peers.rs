//! What we remember of peers: their pinned identity, and how far their stream to us is decided.

use bytes::Bytes;
use freehold_proto::DomainName;
use prost::Message as _;

use super::{
    Tables, blob, decode, keys,
    rows::{PinRow, StreamRow},
};
use crate::{Batch, StoreError};

impl Tables {
    /// The pinned identity of a peer.
    pub fn pin(&self, peer: &DomainName) -> Result<Option<PinRow>, StoreError> {
        let key = keys::pin(peer);
        blob::get(self, &key)?
            .map(|bytes: Bytes| decode(&key, bytes))
            .transpose()
    }

    /// How far the stream from a peer is decided.
    pub fn stream_in(&self, peer: &DomainName) -> Result<StreamRow, StoreError> {
        Ok(self.row(&keys::stream_in(peer))?.unwrap_or_default())
    }
}

/// Writes the pinned identity of a peer.
pub fn put_pin(batch: &mut Batch, peer: &DomainName, row: &PinRow) {
    blob::put(batch, keys::pin(peer), &row.encode_to_vec().into());
}

/// Writes how far the stream from a peer is decided.
pub fn put_stream_in(batch: &mut Batch, peer: &DomainName, row: &StreamRow) {
    batch.put(keys::stream_in(peer), row.encode_to_vec());
}
