//! What a peer has decided, as long as it can still happen that the peer loses it: a domain that was
//! restored from a backup says at hello how far it has got, and is offered again what came after
//! (rules.md 14). Letters and invitations stand by position, for some days. Of a relation, a cursor or
//! the marks of a group only the last one stands, for good.

use freehold_proto::{DomainName, UserId};
use prost::Message as _;

use super::{
    Tables, damaged, decode,
    keys::{self, TopicKey},
    rows::KeptRow,
};
use crate::{Batch, KeyRange, Order, StoreError};

impl Tables {
    /// What `peer` has decided above a position, in order.
    pub fn kept(
        &self,
        peer: &DomainName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, KeptRow)>, StoreError> {
        let range = KeyRange::prefix(&keys::kept_of(peer))
            .starting_at(keys::kept(peer, after.saturating_add(1)));
        self.page(&range, Order::Ascending, limit)?
            .into_iter()
            .map(|(key, row)| {
                let position = keys::last_number(&key).ok_or_else(|| damaged(&key))?;
                Ok((position, decode(&key, row)?))
            })
            .collect()
    }

    /// Relations, cursors and marks that `peer` has decided, each with the key from which the next page
    /// goes on.
    pub fn told_cells(
        &self,
        peer: &DomainName,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, KeptRow)>, StoreError> {
        let whole = KeyRange::prefix(&keys::told_cells(peer));
        let range = match after {
            Some(key) => whole.starting_at([key, &[0]].concat()),
            None => whole,
        };
        self.page(&range, Order::Ascending, limit)?
            .into_iter()
            .map(|(key, row)| Ok((key.to_vec(), decode(&key, row)?)))
            .collect()
    }
}

/// Keeps what was decided at a position.
pub fn put_kept(batch: &mut Batch, peer: &DomainName, position: u64, row: &KeptRow) {
    batch.put(keys::kept(peer, position), row.encode_to_vec());
}

/// Keeps it no longer.
pub fn remove_kept(batch: &mut Batch, peer: &DomainName, position: u64) {
    batch.remove(keys::kept(peer, position));
}

/// Keeps where the last word on a relation, cursor or the marks of a group was decided.
pub fn put_told_cell(
    batch: &mut Batch,
    peer: &DomainName,
    kind: u8,
    (topic, user): (TopicKey, &UserId),
    row: &KeptRow,
) {
    batch.put(
        keys::told_cell(peer, kind, topic, user),
        row.encode_to_vec(),
    );
}
