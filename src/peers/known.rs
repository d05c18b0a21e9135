//! What the store says of a batch, read in one go: each read is a turn on another thread, which costs more
//! than the read.

use std::collections::{BTreeSet, HashMap, HashSet};

use freehold_federation::{Arrived, Incoming};
use freehold_proto::{Destination, DomainName, MessageId, UserId, wire::payload::Kind};
use freehold_store::{StoreError, Tables, tables::rows::SeenRow};

use super::{evenly, local::exists};

/// What is known of the items of a batch before any of them is decided.
#[derive(Debug, Default)]
pub(super) struct Known {
    seen: HashMap<(DomainName, MessageId), SeenRow>,
    there: HashSet<UserId>,
    /// Whether anybody is spoken to who was never heard to agree.
    pub(super) strange: bool,
}

/// What is to be looked up.
#[derive(Debug, Default)]
struct Questions {
    ids: BTreeSet<(DomainName, MessageId)>,
    recipients: BTreeSet<UserId>,
    pairs: BTreeSet<(UserId, UserId)>,
}

impl Known {
    /// Reads it, of items of `origin`.
    pub(super) async fn read(
        tables: &Tables,
        origin: &DomainName,
        items: &[Incoming],
    ) -> Result<Self, StoreError> {
        let questions = Questions::of(origin, items);
        if questions.is_empty() {
            return Ok(Self::default());
        }
        tables.read(move |tables| questions.answer(tables)).await
    }

    /// What became of a message id of `from` before this batch.
    pub(super) fn seen(&self, from: &DomainName, id: MessageId) -> Option<&SeenRow> {
        self.seen.get(&(from.clone(), id))
    }

    /// Whether the recipient of a message of this batch is there.
    pub(super) fn is_there(&self, recipient: &UserId) -> bool {
        self.there.contains(recipient)
    }
}

impl Questions {
    fn of(origin: &DomainName, items: &[Incoming]) -> Self {
        let mut questions = Self::default();
        for Incoming { item, .. } in items {
            questions.pairs.extend(evenly::parties(item));
            let (from, id) = match item {
                Arrived::Entry(entry) => (&entry.header.from, entry.header.message_id),
                Arrived::Envelope(opened) => {
                    if let Kind::DirectMessage(message) = &opened.payload {
                        questions.recipients.extend(message.recipient.parse().ok());
                    } else if !matches!(opened.header.to, Destination::Group(_)) {
                        continue;
                    }
                    (origin, opened.header.message_id)
                }
            };
            questions.ids.insert((from.clone(), id));
        }
        questions
    }

    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.recipients.is_empty() && self.pairs.is_empty()
    }

    /// Blocks.
    fn answer(self, tables: &Tables) -> Result<Known, StoreError> {
        let mut known = Known {
            strange: evenly::is_to_strangers(tables, &self.pairs)?,
            ..Known::default()
        };
        for (from, id) in self.ids {
            if let Some(row) = tables.seen(&from, id)? {
                known.seen.insert((from, id), row);
            }
        }
        for recipient in self.recipients {
            if exists(tables, &recipient)? {
                known.there.insert(recipient);
            }
        }
        Ok(known)
    }
}
