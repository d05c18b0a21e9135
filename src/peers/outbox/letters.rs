//! Letters that wait for a group's home, when that is another one now: found, moved, taken back.

use freehold_proto::DomainName;
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{outbox, rows::OutboxRow},
};

use super::{
    Outbox, PAGE, Refused,
    stream::{PARKED_PAGE, is_call, is_letter, is_message, pair_of},
};

/// A letter, and where it waits.
#[derive(Clone, Debug)]
pub struct Letter {
    peer: DomainName,
    position: u64,
    parked: bool,
    /// What it is.
    pub row: OutboxRow,
}

impl Letter {
    /// The position of the message that it is, if it is one.
    #[must_use]
    pub fn message(&self) -> Option<u32> {
        is_message(&self.row).then_some(self.row.seq)
    }

    /// The same for a topic that tells its author what became of it.
    #[must_use]
    pub fn refused(&self) -> Option<Refused> {
        let (_, author) = pair_of(&self.row)?;
        Some(Refused {
            peer: self.peer.clone(),
            position: self.position,
            parked_at: self.parked.then_some(self.position),
            author,
        })
    }
}

impl Outbox {
    /// What waits for `peer` as the home of a group, in order. The stream must be prepared.
    pub async fn letters(
        &self,
        peer: &DomainName,
        topic: TopicKey,
    ) -> Result<Vec<Letter>, StoreError> {
        self.barrier().await?;
        let wanted = peer.clone();
        let read = move |tables: &Tables| letters(tables, &wanted, topic);
        self.tables.read(read).await
    }

    /// Adds to a batch that a letter goes to another domain instead, behind what waits for that. Its
    /// stream must be prepared.
    pub fn readdress(&self, batch: &mut Batch, letter: &Letter, to: &DomainName) {
        self.withdraw(batch, letter);
        let row = OutboxRow {
            failed: 0,
            ..letter.row.clone()
        };
        self.put_row(batch, to, &row);
    }

    /// Adds to a batch that a letter does not go.
    pub fn withdraw(&self, batch: &mut Batch, letter: &Letter) {
        match (letter.parked, pair_of(&letter.row)) {
            (true, Some((topic, author))) => {
                outbox::unpark(batch, &letter.peer, (topic, &author), letter.position);
            }
            _ => outbox::remove_item(batch, &letter.peer, letter.position),
        }
        if let Some(stream) = self.peers.lock().get(&letter.peer) {
            stream.lock().one_less(letter.position);
        }
    }
}

/// Blocks.
fn letters(tables: &Tables, peer: &DomainName, topic: TopicKey) -> Result<Vec<Letter>, StoreError> {
    let concerns = |row: &OutboxRow| {
        let letter = is_letter(row) && !is_call(row);
        letter && pair_of(row).is_some_and(|it| it.0 == topic)
    };
    let letter = |parked: bool, position: u64, row: OutboxRow| Letter {
        peer: peer.clone(),
        position,
        parked,
        row,
    };
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let page = tables.outbox(peer, from, PAGE)?;
        let full = page.len() == PAGE;
        from = page.last().map_or(from, |it| it.0);
        let mine = page.into_iter().filter(|it| concerns(&it.1));
        found.extend(mine.map(|(position, row)| letter(false, position, row)));
        if !full {
            break;
        }
    }
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = tables.parked_after(peer, after.as_deref(), PARKED_PAGE)?;
        let full = page.len() == PARKED_PAGE;
        after = page.last().map(|it| it.0.clone());
        let mine = page.into_iter().filter(|it| concerns(&it.2));
        found.extend(mine.map(|(_, position, row)| letter(true, position, row)));
        if !full {
            break;
        }
    }
    found.sort_by_key(|it| it.position);
    Ok(found)
}
