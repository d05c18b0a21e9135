//! What we remember of peers: their pinned identity, and how far their stream to us is decided.

use bytes::Bytes;
use freehold_proto::DomainName;
use prost::Message as _;

use super::{
    Tables, blob, damaged, decode, keys,
    rows::{PeerPolicyRow, PinRow, StreamRow},
};
use crate::{Batch, KeyRange, Order, StoreError};

impl Tables {
    /// The pinned identity of a peer.
    pub fn pin(&self, peer: &DomainName) -> Result<Option<PinRow>, StoreError> {
        let key = keys::pin(peer);
        blob::get(self, &key)?
            .map(|bytes: Bytes| decode(&key, bytes))
            .transpose()
    }

    /// Pinned identities, by domain, from `after` on.
    pub fn pins(
        &self,
        after: Option<&DomainName>,
        limit: usize,
    ) -> Result<Vec<(DomainName, PinRow)>, StoreError> {
        let rows = self.by_peer(&keys::pins(), after, limit)?;
        let whole = |(peer, row): (DomainName, Bytes)| {
            let key = keys::pin(&peer);
            let row = decode(&key, blob::complete(self, &key, &row)?)?;
            Ok((peer, row))
        };
        rows.into_iter().map(whole).collect()
    }

    /// What the operator has decided about peers, by domain, from `after` on.
    pub fn peer_policies(
        &self,
        after: Option<&DomainName>,
        limit: usize,
    ) -> Result<Vec<(DomainName, PeerPolicyRow)>, StoreError> {
        let rows = self.by_peer(&keys::peer_policies(), after, limit)?;
        let read = |(peer, row): (DomainName, Bytes)| {
            let row = decode(&keys::peer_policy(&peer), row)?;
            Ok((peer, row))
        };
        rows.into_iter().map(read).collect()
    }

    /// Rows of a table whose keys are a prefix of one byte and a domain.
    fn by_peer(
        &self,
        prefix: &[u8],
        after: Option<&DomainName>,
        limit: usize,
    ) -> Result<Vec<(DomainName, Bytes)>, StoreError> {
        let whole = KeyRange::prefix(prefix);
        let range = match after {
            Some(peer) => whole.starting_at([prefix, peer.as_str().as_bytes(), &[0]].concat()),
            None => whole,
        };
        let name = |key: &[u8]| std::str::from_utf8(key.get(1..)?).ok()?.parse().ok();
        self.page(&range, Order::Ascending, limit)?
            .into_iter()
            .map(|(key, row)| Ok((name(&key).ok_or_else(|| damaged(&key))?, row)))
            .collect()
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

/// Writes what the operator has decided about a peer.
pub fn put_peer_policy(batch: &mut Batch, peer: &DomainName, row: &PeerPolicyRow) {
    batch.put(keys::peer_policy(peer), row.encode_to_vec());
}

/// Leaves a peer to the configuration.
pub fn drop_peer_policy(batch: &mut Batch, peer: &DomainName) {
    batch.remove(keys::peer_policy(peer));
}

/// Writes how far the stream from a peer is decided.
pub fn put_stream_in(batch: &mut Batch, peer: &DomainName, row: &StreamRow) {
    batch.put(keys::stream_in(peer), row.encode_to_vec());
}
