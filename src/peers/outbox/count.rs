//! How many messages of somebody wait, for its author to see.

use freehold_proto::{DomainName, UserId};
use freehold_store::{StoreError, Tables, TopicKey};

use super::{
    Outbox, PAGE,
    stream::{PARKED_PAGE, is_message, pair_of},
};

impl Outbox {
    /// How many messages of `author` in a topic have not been decided by `peer`; those beyond the first
    /// thousand that wait for it are not looked at. They are the author's last ones: order is kept.
    pub async fn waiting_of(
        &self,
        peer: &DomainName,
        (topic, author): (TopicKey, &UserId),
    ) -> Result<u32, StoreError> {
        let known = self.peers.lock().get(peer).cloned();
        if known.is_some_and(|it| it.lock().waiting == 0) {
            return Ok(0);
        }
        let (peer, pair) = (peer.clone(), (topic, author.clone()));
        let count = move |tables: &Tables| {
            let parked = tables.parked_pair(&peer, pair.0, &pair.1, PARKED_PAGE)?;
            let rows = tables.outbox(&peer, 0, PAGE)?;
            let own = |row| is_message(row) && pair_of(row).as_ref() == Some(&pair);
            let all = rows.iter().chain(&parked);
            let waiting = all.filter(|(_, row)| own(row)).count();
            Ok(u32::try_from(waiting).unwrap_or(u32::MAX))
        };
        self.tables.read(count).await
    }
}
